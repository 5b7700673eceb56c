#include "broker/edge/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/edge/log.h"

/* A ping is sent when a third of the watchdog's time has passed: two may be late before anything happens. */
enum { PINGS_PER_WATCHDOG = 3 };

static void notify_failed(struct notify *notify, const char *what)
{
    if (!notify->failed)
        log_format(LOG_WARN, "event=notify-failed step=%s reason=\"%s\" msg=\"the service manager does not hear how the daemon is\"", what,
                   strerror(errno));
    notify->failed = true;
}

/* A path, or "@name" for one in the abstract namespace, which begins with a NUL and has none at its end. */
static bool notify_connect(struct notify *notify, const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t len = strlen(name);

    errno = EINVAL;
    if ((name[0] != '/' && name[0] != '@') || len >= sizeof address.sun_path)
        return false;
    memcpy(address.sun_path, name, len);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return notify->fd >= 0 &&
           connect(notify->fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0;
}

/* WATCHDOG_PID names the process the watchdog is for: a wrapper may have started us. */
static int64_t watchdog_us(void)
{
    const char *us_text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    char *end;

    if (us_text == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid()))
        return 0;
    errno = 0;
    long long us = strtoll(us_text, &end, 10);
    return errno != 0 || *end != '\0' || us <= 0 ? 0 : us;
}

void notify_open(struct notify *notify)
{
    const char *name = getenv("NOTIFY_SOCKET");

    *notify = (struct notify){ .fd = -1 };
    if (name != NULL && name[0] != '\0') {
        if (notify_connect(notify, name)) {
            notify->watchdog_us = watchdog_us();
        } else {
            notify_failed(notify, "connect");
            notify_close(notify);
        }
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}

void notify_close(struct notify *notify)
{
    if (notify->fd >= 0)
        (void)close(notify->fd);
    notify->fd = -1;
    notify->watchdog_us = 0;
}

static bool notify_send(struct notify *notify, const char *text)
{
    if (notify->fd < 0)
        return false;
    if (send(notify->fd, text, strlen(text), MSG_NOSIGNAL) >= 0)
        return true;
    notify_failed(notify, "send");
    return false;
}

void notify_ready(struct notify *notify, const char *status, ...)
{
    char text[NOTIFY_TEXT_MAX] = "READY=1\nSTATUS=";
    size_t len = strlen(text);
    va_list arguments;

    va_start(arguments, status);
    (void)vsnprintf(text + len, sizeof text - len, status, arguments);
    va_end(arguments);
    for (char *at = text + len; *at != '\0'; at++) { /* the status is one line: another would be another variable */
        if (*at == '\n')
            *at = ' ';
    }
    (void)notify_send(notify, text);
}

void notify_reloading(struct notify *notify, struct mono now)
{
    char text[NOTIFY_TEXT_MAX];

    (void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=reads its configuration", now.us);
    (void)notify_send(notify, text);
}

void notify_stopping(struct notify *notify)
{
    (void)notify_send(notify, "STOPPING=1\nSTATUS=drains");
}

double notify_wake_s(const struct notify *notify)
{
    return (double)notify->watchdog_us / PINGS_PER_WATCHDOG / 1e6;
}

bool notify_turn(struct notify *notify, struct mono now, int64_t commit_since_us)
{
    if (notify->watchdog_us == 0 || now.us - notify->pinged.us < notify->watchdog_us / PINGS_PER_WATCHDOG)
        return false;
    if (commit_since_us != MONO_NEVER && now.us - commit_since_us >= notify->watchdog_us)
        return false;
    notify->pinged = now;
    return notify_send(notify, "WATCHDOG=1");
}
