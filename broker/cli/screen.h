/* screen.h - a terminal as lines of text and keys, by termios and the escape sequences that every terminal of the last thirty
 * years knows; no terminfo, so that it works over ssh from anything.
 *
 * Between screen_open() and screen_close() the terminal is in raw mode on its second screen, the cursor hidden. It is put back
 * however the program ends: by screen_close(), by SIGINT, SIGTERM, SIGHUP, SIGQUIT (the signal then does what it always does),
 * and while it is stopped by SIGTSTP. Only SIGKILL leaves it as it was.
 * There is one screen, for there is one terminal: its state is the one global of the tool, since signal handlers need it. */
#ifndef SLUICE_CLI_SCREEN_H
#define SLUICE_CLI_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "schemas/codec/view.h"

enum key {                       /* what is none of these is the byte itself, 0 to 255 */
    KEY_NONE = 256,              /* time is up */
    KEY_ESCAPE, KEY_UP, KEY_DOWN, KEY_PAGE_UP, KEY_PAGE_DOWN, KEY_HOME, KEY_END,
    KEY_RESIZE,                  /* another size, or back from a stop: draw again */
    KEY_GONE,                    /* the terminal is gone */
};
enum { KEY_ENTER = '\r', KEY_BACKSPACE = 0x7f };

struct screen_size { unsigned rows, columns; };

/* Both stdin and stdout are a terminal that takes escape sequences. */
bool screen_possible(void);
/* false: the terminal refused, errno says why. */
bool screen_open(void);
void screen_close(void);
struct screen_size screen_size(void);

/* A frame: lines from the top, cut at the right edge and at the bottom; what is left of the screen becomes empty. Text comes from
 * outside: control characters and bytes that are not UTF-8 are shown as '?', so that nothing steers the terminal. */
void screen_begin(void);
void screen_line(struct view text, bool inverse);
/* The frame is written at once. false: it could not be. */
bool screen_end(void);

/* The next key, waiting for it until `deadline_ms` at most (CLOCK_MONOTONIC). */
int screen_key(int64_t deadline_ms);
int64_t screen_clock_ms(void);

#endif
