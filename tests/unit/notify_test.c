#include "broker/edge/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/test.h"

enum { WATCHDOG_US = 3000000 };

/* The service manager's end. `name` as in $NOTIFY_SOCKET. */
static int given_manager(const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t len = strlen(name);

    memcpy(address.sun_path, name, len);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    EXPECT_EQ(0, bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)));
    (void)setenv("NOTIFY_SOCKET", name, 1);
    (void)setenv("WATCHDOG_USEC", "3000000", 1);
    return fd;
}

static const char *given_path(void)
{
    static char path[100];
    static unsigned count;

    (void)snprintf(path, sizeof path, "%s/%u", test_directory(), count++);
    return path;
}

/* What came; "" for nothing. */
static const char *heard(int manager)
{
    static char text[4096];
    ssize_t len = recv(manager, text, sizeof text - 1, 0);

    text[len < 0 ? 0 : len] = '\0';
    return text;
}

TEST(the_daemons_life_is_told_in_datagrams)
{
    struct notify notify;
    int manager = given_manager(given_path());

    notify_open(&notify);
    EXPECT_TEXT("", heard(manager));
    notify_ready(&notify, "%d pending", 3);
    EXPECT_TEXT("READY=1\nSTATUS=3 pending", heard(manager));
    notify_reloading(&notify, (struct mono){ 42 });
    EXPECT_TEXT("RELOADING=1\nMONOTONIC_USEC=42\nSTATUS=reads its configuration", heard(manager));
    notify_ready(&notify, "refused:\nREADY=0");
    EXPECT_TEXT("READY=1\nSTATUS=refused: READY=0", heard(manager));
    notify_stopping(&notify);
    EXPECT_TEXT("STOPPING=1\nSTATUS=drains", heard(manager));
    notify_close(&notify);
    (void)close(manager);
}

TEST(an_abstract_socket_is_reached_and_the_environment_is_not_passed_on)
{
    struct notify notify;
    int manager = given_manager("@sluice-notify-test");

    (void)setenv("WATCHDOG_PID", "1", 1);
    notify_open(&notify);
    notify_ready(&notify, "up");
    EXPECT_TEXT("READY=1\nSTATUS=up", heard(manager));
    EXPECT(getenv("NOTIFY_SOCKET") == NULL);
    EXPECT(getenv("WATCHDOG_USEC") == NULL);
    EXPECT(getenv("WATCHDOG_PID") == NULL);
    EXPECT(notify_wake_s(&notify) == 0); /* the watchdog was for another process */
    EXPECT(!notify_turn(&notify, (struct mono){ INT64_MAX / 2 }, MONO_NEVER));
    notify_close(&notify);
    (void)close(manager);
}

TEST(pings_come_from_turns_and_stop_when_a_commit_does_not_return)
{
    static const struct { const char *label; int64_t now_us, commit_since_us; bool pings; } turns[] = {
        { "the first turn",                       10 * WATCHDOG_US,                             MONO_NEVER,       true  },
        { "a turn soon after",                    10 * WATCHDOG_US + WATCHDOG_US / 3 - 1,       MONO_NEVER,       false },
        { "a third of the time later",            10 * WATCHDOG_US + WATCHDOG_US / 3,           MONO_NEVER,       true  },
        { "a commit that is young",               11 * WATCHDOG_US,                             11 * WATCHDOG_US, true  },
        { "a slow one",                           12 * WATCHDOG_US - 1,                         11 * WATCHDOG_US, true  },
        { "one that takes the watchdog's time",   12 * WATCHDOG_US + WATCHDOG_US / 2,           11 * WATCHDOG_US, false },
        { "it came back after all",               12 * WATCHDOG_US + WATCHDOG_US / 2 + 1,       MONO_NEVER,       true  },
    };
    struct notify notify;
    int manager = given_manager(given_path());

    notify_open(&notify);
    EXPECT(notify_wake_s(&notify) == 1);
    for (unsigned i = 0; i < sizeof turns / sizeof *turns; i++) {
        test_label(turns[i].label);
        EXPECT_EQ(turns[i].pings, notify_turn(&notify, (struct mono){ turns[i].now_us }, turns[i].commit_since_us));
        EXPECT_TEXT(turns[i].pings ? "WATCHDOG=1" : "", heard(manager));
    }
    test_label(NULL);
    notify_close(&notify);
    (void)close(manager);
}

TEST(without_a_manager_nothing_happens)
{
    static const char *const names[] = { NULL, "", "relative", "/nonexistent/socket",
                                         "/012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
                                         "0123456789012345678901234567890" };
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        struct notify notify;
        test_label(names[i]);
        (void)unsetenv("NOTIFY_SOCKET");
        if (names[i] != NULL)
            (void)setenv("NOTIFY_SOCKET", names[i], 1);
        (void)setenv("WATCHDOG_USEC", "3000000", 1);
        notify_open(&notify);
        EXPECT_EQ(-1, notify.fd);
        EXPECT(!notify_turn(&notify, (struct mono){ 10 * WATCHDOG_US }, MONO_NEVER));
        notify_ready(&notify, "up");
        notify_close(&notify);
    }
    test_label(NULL);
}

TEST(a_manager_that_does_not_listen_is_not_waited_for)
{
    struct notify notify;
    int manager = given_manager(given_path());

    notify_open(&notify);
    for (int i = 0; i < 10000 && !notify.failed; i++) /* its queue fills up: net.unix.max_dgram_qlen */
        notify_ready(&notify, "%d", i);
    EXPECT(notify.failed);
    notify_close(&notify);
    (void)close(manager);
}
