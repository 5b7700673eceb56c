/* capture.h - what functions print, line by line, into bounded log files: DATA/logs/NAME.log, NAME.log.1 (older), NAME.log.2.
 *
 *   2026-11-21T23:14:00.123Z 17 text of the line            time read, instance, text
 *
 * Lines wait in memory for captures_flush(), which the end of each pass of the loop calls: one write for all that was said meanwhile, by the
 * function and about it. A crash of ours loses those of that pass.
 * A line longer than LOG_LINE_BYTES_MAX is cut, with " [cut]" at its end. A file that would grow over LOG_FILE_BYTES_MAX is renamed and
 * a new one begun; LOG_FILES_KEPT are kept, so a flood costs disk bandwidth, never disk space. When the disk takes no more, lines are
 * lost, which is said once on stderr: output never stops a function. */
#ifndef SLUICE_EDGE_CAPTURE_H
#define SLUICE_EDGE_CAPTURE_H

#include "schemas/codec/bytes.h"
#include "sluice/error.h"

struct captures;                     /* all log files of a data directory */
struct capture;                      /* those of one function; open while it has instances */

struct captured {                    /* the stream of one instance: zero at first, done with captured_done() */
    struct bytes line;               /* begun, its end not read yet */
    bool cutting;                    /* what follows, up to the line's end, is beyond the limit */
    bool told;                       /* to captures_listen()'s listener */
    struct bytes tail;               /* see tail_view() */
};

/* Makes `directory` if it is missing. */
enum sluice_err captures_new(const char *directory, struct captures **ret_captures, struct sluice_error *reterr);
void captures_free(struct captures *captures);       /* NULL is fine; every capture must have been closed */
/* Who hears each whole line of the streams that are `told`, before it waits for the file. NULL: nobody. */
void captures_listen(struct captures *captures, void (*on_line)(void *ctx, uint64_t instance, struct view line), void *ctx);

struct capture *capture_open(struct captures *captures, const char *function); /* counted; NULL: out of memory */
void capture_close(struct capture *capture);
/* Takes what was read. */
void capture_feed(struct capture *capture, struct captured *captured, uint64_t instance, struct view data);
/* The stream has ended: a last line without a line break is written too. */
void capture_end(struct capture *capture, struct captured *captured, uint64_t instance);
/* A line of our own, between the function's. */
void capture_note(struct capture *capture, uint64_t instance, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* No line break in it. */
void capture_line(struct capture *capture, uint64_t instance, struct view line);
/* Several, of one moment: each with its line break. */
void capture_lines(struct capture *capture, uint64_t instance, struct view lines);

/* What waits goes to its file. */
void captures_flush(struct captures *captures);

/* Keeps the last OUTPUT_TAIL_BYTES of all that was put. */
void tail_put(struct bytes *tail, struct view data);
struct view tail_view(const struct bytes *tail);
void captured_done(struct captured *captured);

/* Of what was flushed: as many of the last lines of the function's files as have at most `bytes_max` bytes; where the last line alone
 * has more, its end. SLUICE_ENOTFOUND: none yet. */
enum sluice_err captures_tail(const struct captures *captures, const char *function, size_t bytes_max, struct bytes *out);
/* How many bytes were ever written to its files, as far as is known: grows by one with each while the daemon runs. */
uint64_t captures_position(const struct captures *captures, const char *function);

#endif
