#include "broker/cli/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "schemas/codec/bytes.h"
#include "schemas/codec/utf8.h"

/* A terminal sends a key's sequence at once; a lone escape that is followed by nothing for so long is the key. */
enum { ESCAPE_WAIT_MS = 50, KEYS_BYTES_MAX = 256 };
enum { ROWS_DEFAULT = 24, COLUMNS_DEFAULT = 80, COLUMNS_MAX = 1000 };

#define ENTER "\x1b[?1049h\x1b[?25l"            /* second screen, no cursor */
#define LEAVE "\x1b[0m\x1b[?25h\x1b[?1049l"

static struct screen {
    struct termios before, raw;
    volatile sig_atomic_t is_open, resized;
    sigset_t waiting;            /* the mask while we wait for keys: SIGWINCH comes through only there */
    uint8_t keys[KEYS_BYTES_MAX];/* typed, not taken yet */
    size_t keys_count;
    struct bytes frame;
    unsigned frame_rows;
    struct screen_size frame_size;
} screen;

static const int fatal_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

/* ---- in and out of raw mode; all that signal handlers call is safe in them ---- */

static void terminal_enter(void)
{
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &screen.raw);
    (void)!write(STDOUT_FILENO, ENTER, sizeof ENTER - 1);
}

static void terminal_leave(void)
{
    (void)!write(STDOUT_FILENO, LEAVE, sizeof LEAVE - 1);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &screen.before);
}

static void on_fatal(int number)
{
    if (screen.is_open)
        terminal_leave();
    screen.is_open = 0;
    (void)signal(number, SIG_DFL);
    (void)raise(number);         /* comes when this handler returns */
}

static void on_stop(int number)
{
    (void)number;
    terminal_leave();
    (void)raise(SIGSTOP);        /* goes on below after SIGCONT */
    terminal_enter();
    screen.resized = 1;
}

static void on_resize(int number)
{
    (void)number;
    screen.resized = 1;
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = { .sa_handler = handler };
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(number, &action, NULL); /* without SA_RESTART: a wait for keys ends */
}

static void handle_signals(void)
{
    sigset_t resize;

    for (unsigned i = 0; i < sizeof fatal_signals / sizeof *fatal_signals; i++)
        handle(fatal_signals[i], on_fatal);
    handle(SIGTSTP, on_stop);
    (void)sigemptyset(&resize);
    (void)sigaddset(&resize, SIGWINCH);
    (void)pthread_sigmask(SIG_BLOCK, &resize, &screen.waiting);
    (void)sigdelset(&screen.waiting, SIGWINCH);
    handle(SIGWINCH, on_resize);
}

bool screen_possible(void)
{
    const char *terminal = getenv("TERM");

    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && terminal != NULL && terminal[0] != '\0' && strcmp(terminal, "dumb") != 0;
}

bool screen_open(void)
{
    if (tcgetattr(STDIN_FILENO, &screen.before) != 0)
        return false;
    screen.raw = screen.before;
    /* ISIG stays: control-C and control-Z do what they do everywhere, also while a call to the daemon is under way. */
    screen.raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN);
    screen.raw.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IXON);
    screen.raw.c_oflag &= ~(tcflag_t)OPOST;
    screen.raw.c_cc[VMIN] = 1;
    screen.raw.c_cc[VTIME] = 0;
    screen.is_open = 1;
    handle_signals();
    terminal_enter();
    return true;
}

void screen_close(void)
{
    if (!screen.is_open)
        return;
    terminal_leave();
    screen.is_open = 0;
    bytes_done(&screen.frame);
}

/* ---- frames ---- */

struct screen_size screen_size(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
        return (struct screen_size){ ROWS_DEFAULT, COLUMNS_DEFAULT }; /* a serial line does not know */
    return (struct screen_size){ size.ws_row, size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX };
}

void screen_begin(void)
{
    screen.frame_size = screen_size();
    screen.frame_rows = 0;
    bytes_clear(&screen.frame);
    bytes_put_text(&screen.frame, "\x1b[H");
}

/* The next character's length, and whether it can be shown as it is: C0, DEL, C1 and what is not UTF-8 cannot. */
static unsigned character(const uint8_t *at, const uint8_t *end, bool *ret_shown)
{
    unsigned len = at[0] < 0x80 ? 1 : utf8_sequence(at, end);
    bool c1 = len == 2 && at[0] == 0xc2 && at[1] < 0xa0;

    *ret_shown = len > 0 && !c1 && at[0] >= 0x20 && at[0] != 0x7f;
    return len == 0 ? 1 : len;
}

/* One column a character: good enough for names; a wide one may stick out, and the terminal cuts it. */
void screen_line(struct view text, bool inverse)
{
    const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;

    if (screen.frame_rows >= screen.frame_size.rows)
        return;
    if (screen.frame_rows++ > 0)
        bytes_put_text(&screen.frame, "\r\n");
    bytes_put_text(&screen.frame, inverse ? "\x1b[7m" : "");
    unsigned columns = 0;
    for (; at < end && columns < screen.frame_size.columns; columns++) {
        bool shown;
        unsigned len = character(at, end, &shown);
        bytes_put(&screen.frame, shown ? (const char *)at : "?", shown ? len : 1);
        at += len;
    }
    for (; inverse && columns < screen.frame_size.columns; columns++)
        bytes_put_char(&screen.frame, ' ');
    bytes_put_text(&screen.frame, inverse ? "\x1b[0m" : "");
    /* After a full line the cursor stands on its last column, and erasing would take that away. */
    if (columns < screen.frame_size.columns)
        bytes_put_text(&screen.frame, "\x1b[K");
}

bool screen_end(void)
{
    if (screen.frame_rows < screen.frame_size.rows)
        bytes_put_text(&screen.frame, "\r\n\x1b[J");
    if (screen.frame.failed)
        return false;
    for (size_t at = 0; at < screen.frame.len;) {
        ssize_t len = write(STDOUT_FILENO, screen.frame.data + at, screen.frame.len - at);
        if (len < 0 && errno != EINTR)
            return false;
        at += len < 0 ? 0 : (size_t)len;
    }
    return true;
}

/* ---- keys ---- */

int64_t screen_clock_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int keys_take(size_t count, int key)
{
    screen.keys_count -= count;
    memmove(screen.keys, screen.keys + count, screen.keys_count);
    return key;
}

static int sequence_key(const uint8_t *parameters, uint8_t final)
{
    switch (final) {
    case 'A': return KEY_UP;
    case 'B': return KEY_DOWN;
    case 'H': return KEY_HOME;
    case 'F': return KEY_END;
    case '~': break;
    default: return KEY_NONE;    /* some other key: nothing to us */
    }
    switch (parameters[0]) {
    case '1': case '7': return KEY_HOME;
    case '4': case '8': return KEY_END;
    case '5': return KEY_PAGE_UP;
    case '6': return KEY_PAGE_DOWN;
    default: return KEY_NONE;
    }
}

/* The key at the start of what was typed. false: a sequence that is not whole yet (with `whole`: it will not become so). */
static bool keys_next(bool whole, int *ret_key)
{
    const uint8_t *keys = screen.keys;
    size_t at = 2;

    if (screen.keys_count == 0)
        return false;
    if (keys[0] != 0x1b) {
        *ret_key = keys_take(1, keys[0]);
        return true;
    }
    if (screen.keys_count > 1 && (keys[1] == '[' || keys[1] == 'O')) { /* ESC [ parameters final; ESC O final */
        while (at < screen.keys_count && (keys[at] < 0x40 || keys[at] > 0x7e))
            at++;
        if (at < screen.keys_count) {
            int key = sequence_key(keys + 2, keys[at]);
            *ret_key = keys_take(at + 1, key);
            return true;
        }
    } else if (screen.keys_count > 1) {
        whole = true;            /* an escape, and then some other key */
    }
    if (!whole && screen.keys_count < sizeof screen.keys)
        return false;
    *ret_key = keys_take(1, KEY_ESCAPE);
    return true;
}

int screen_key(int64_t deadline_ms)
{
    for (;;) {
        int key;
        if (screen.resized) {
            screen.resized = 0;
            return KEY_RESIZE;
        }
        while (keys_next(false, &key)) {
            if (key != KEY_NONE)
                return key;
        }
        int64_t left_ms = deadline_ms - screen_clock_ms();
        bool escape = screen.keys_count > 0;
        if (escape)
            left_ms = ESCAPE_WAIT_MS;
        if (left_ms <= 0)
            return KEY_NONE;
        struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
        struct timespec left = { .tv_sec = left_ms / 1000, .tv_nsec = left_ms % 1000 * 1000000 };
        int ready = ppoll(&input, 1, &left, &screen.waiting);
        if (ready == 0 && escape && keys_next(true, &key))
            return key;
        if (ready <= 0)
            continue;
        ssize_t len = read(STDIN_FILENO, screen.keys + screen.keys_count, sizeof screen.keys - screen.keys_count);
        if (len == 0 || (len < 0 && errno != EINTR && errno != EAGAIN))
            return KEY_GONE;
        screen.keys_count += len < 0 ? 0 : (size_t)len;
    }
}
