/* Who may connect to an instance's Runtime API: its processes, whatever they did to their group, and nobody else. */
#include "broker/api/runtime/peer.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "tests/test.h"

struct port {
    int listening;
    struct sockaddr_in address;
};

static struct port port_open(void)
{
    struct port port = { .address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof port.address;

    port.listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(bind(port.listening, (struct sockaddr *)&port.address, sizeof port.address) == 0 && listen(port.listening, 8) == 0);
    ASSERT(getsockname(port.listening, (struct sockaddr *)&port.address, &len) == 0);
    return port;
}

/* By an IPv6 socket that speaks IPv4, as those of Java and Node are. */
static int connect_mapped(const struct sockaddr_in *to)
{
    struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = to->sin_port };
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    mapped.sin6_addr.s6_addr[10] = mapped.sin6_addr.s6_addr[11] = 0xff;
    memcpy(mapped.sin6_addr.s6_addr + 12, &to->sin_addr, 4);
    return fd >= 0 && connect(fd, (struct sockaddr *)&mapped, sizeof mapped) == 0 ? fd : -1;
}

static int connect_plain(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof *to) == 0 ? fd : -1;
}

enum shape { LEADER, MAPPED, CHILD, CHILD_OF_OTHER_GROUP, ORPHAN_OF_GROUP, ORPHAN_OF_OTHER_GROUP, CLOSED, SHAPES };
static const struct { const char *label; enum sluice_err err; } shapes[SHAPES] = {
    [LEADER] = { "the leader itself", SLUICE_OK },
    [MAPPED] = { "through an IPv6 socket", SLUICE_OK },
    [CHILD] = { "a child, as curl is of a shell", SLUICE_OK },
    [CHILD_OF_OTHER_GROUP] = { "a child with a group of its own, as in a shell with job control", SLUICE_OK },
    [ORPHAN_OF_GROUP] = { "one whose parents are gone, of the group", SLUICE_OK },
    [ORPHAN_OF_OTHER_GROUP] = { "one whose parents are gone, of no group of ours", SLUICE_EACCESS },
    [CLOSED] = { "one that has closed its socket", SLUICE_ENOTFOUND },
};

/* Until the test closes its end of `alive`: so none of them outlives the test, whatever group it is in. */
static _Noreturn void wait_for_the_end(int alive)
{
    char byte;

    (void)!read(alive, &byte, 1);
    _exit(0);
}

static _Noreturn void connect_and_wait(const struct sockaddr_in *to, bool mapped, int alive)
{
    if ((mapped ? connect_mapped(to) : connect_plain(to)) < 0)
        _exit(1);
    wait_for_the_end(alive);
}

/* A grandchild of the leader that connects once its parent is gone. */
static void run_orphan(const struct sockaddr_in *to, bool own_group, int alive)
{
    int parted[2];
    char byte;

    if (pipe(parted) != 0)
        _exit(1);
    if (fork() == 0) {
        if (fork() == 0) {
            (void)close(parted[1]);
            (void)!read(parted[0], &byte, 1);
            if (own_group)
                (void)setpgid(0, 0);
            connect_and_wait(to, false, alive);
        }
        _exit(0);
    }
    (void)wait(NULL);
    (void)close(parted[1]);
}

/* The leader of a group. */
static _Noreturn void run_shape(enum shape shape, const struct sockaddr_in *to, int alive)
{
    (void)setpgid(0, 0);
    switch (shape) {
    case LEADER:
    case MAPPED:
        connect_and_wait(to, shape == MAPPED, alive);
    case CHILD:
    case CHILD_OF_OTHER_GROUP:
        if (fork() == 0) {
            if (shape == CHILD_OF_OTHER_GROUP)
                (void)setpgid(0, 0);
            connect_and_wait(to, false, alive);
        }
        break;
    case ORPHAN_OF_GROUP:
    case ORPHAN_OF_OTHER_GROUP:
        run_orphan(to, shape == ORPHAN_OF_OTHER_GROUP, alive);
        break;
    case CLOSED:
        (void)close(connect_plain(to));
        break;
    case SHAPES:
        break;
    }
    wait_for_the_end(alive);
}

TEST(only_processes_of_the_instance_are_taken)
{
    struct peer_finder *finder = peer_finder_new();
    struct sluice_error error;

    for (enum shape shape = 0; shape < SHAPES; shape++) {
        struct port port = port_open();
        int alive[2];
        char byte;
        test_label(shapes[shape].label);
        ASSERT(pipe(alive) == 0);
        pid_t leader = fork();
        ASSERT(leader >= 0);
        if (leader == 0) {
            (void)close(alive[1]);
            run_shape(shape, &port.address, alive[0]);
        }
        int fd = accept(port.listening, NULL, NULL);
        ASSERT(fd >= 0);
        if (shape == CLOSED)
            EXPECT_EQ(0, (int)recv(fd, &byte, 1, 0));
        enum sluice_err err = peer_check(finder, fd, leader, NULL, 0, &error);
        EXPECT_EQ(shapes[shape].err, err);
        /* Nor is any of them taken for another's: this process is no descendant of theirs. */
        int own = connect_plain(&port.address), accepted = accept(port.listening, NULL, NULL);
        EXPECT_EQ(SLUICE_EACCESS, peer_check(finder, accepted, leader, NULL, 0, &error));
        EXPECT_EQ(SLUICE_OK, peer_check(finder, accepted, getpid(), NULL, 0, &error));
        pid_t self = getpid(); /* but if it is known */
        EXPECT_EQ(SLUICE_OK, peer_check(finder, accepted, leader, &self, 1, &error));
        (void)close(accepted), (void)close(own), (void)close(fd), (void)close(port.listening), (void)close(alive[0]), (void)close(alive[1]);
        (void)waitpid(leader, NULL, 0);
    }
    test_label(NULL);
    peer_finder_free(finder);
}

TEST(that_no_descriptor_is_left_to_look_with_is_said)
{
    struct peer_finder *finder = peer_finder_new();
    struct port port = port_open();
    struct sluice_error error;
    struct rlimit files, none;

    int own = connect_plain(&port.address), accepted = accept(port.listening, NULL, NULL), next = dup(own);
    EXPECT_EQ(0, getrlimit(RLIMIT_NOFILE, &files));
    (void)close(next);
    none = (struct rlimit){ .rlim_cur = (rlim_t)next, .rlim_max = files.rlim_max };
    EXPECT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
    EXPECT_EQ(SLUICE_ELIMIT, peer_check(finder, accepted, getpid(), NULL, 0, &error));
    EXPECT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
    EXPECT(strstr(error.text, "no descriptor left") != NULL);
    EXPECT_EQ(SLUICE_OK, peer_check(finder, accepted, getpid(), NULL, 0, &error));
    (void)close(own), (void)close(accepted), (void)close(port.listening);
    peer_finder_free(finder);
}

/* What one more connection from `self` costs to find, in descriptors looked at; the connection stays. */
static unsigned looks_for_another(struct peer_finder *finder, const struct port *port, pid_t self, int *ret_fd)
{
    struct sluice_error error;

    *ret_fd = connect_plain(&port->address);
    int accepted = accept(port->listening, NULL, NULL);
    EXPECT_EQ(SLUICE_OK, peer_check(finder, accepted, self, NULL, 0, &error));
    EXPECT_EQ(self, peer_process(finder));
    (void)close(accepted);
    return peer_looks(finder);
}

/* A runtime opens one for each invocation it may have at once. To look through all of its descriptors for each would cost their square. */
TEST(the_thousandth_connection_of_a_process_is_found_beside_the_one_before)
{
    enum { OPENED = 1000, LOOKS_EACH_MAX = 40, LOW = 10 };
    static int opened[OPENED];
    struct peer_finder *finder = peer_finder_new();
    struct port port = port_open();
    struct rlimit files;
    pid_t self = getpid();
    int other;

    EXPECT_EQ(0, getrlimit(RLIMIT_NOFILE, &files));
    files.rlim_cur = files.rlim_max;
    EXPECT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
    for (unsigned i = 0; i < OPENED; i++)
        EXPECT(looks_for_another(finder, &port, self, &opened[i]) <= LOOKS_EACH_MAX);
    /* One far before the last is found as well, */
    (void)close(opened[LOW]);
    EXPECT(looks_for_another(finder, &port, self, &other) <= LOOKS_EACH_MAX + (unsigned)opened[LOW]);
    EXPECT_EQ(opened[LOW], other);
    /* and so is one a little before it: of several threads the second may be the first to connect. */
    (void)close(opened[LOW - 2]);
    EXPECT(looks_for_another(finder, &port, self, &opened[LOW - 2]) <= LOOKS_EACH_MAX);
    /* Far behind the last, all between them is looked through, and that is said. */
    EXPECT(looks_for_another(finder, &port, self, &other) > OPENED / 2);
    (void)close(other);
    for (unsigned i = 0; i < OPENED; i++)
        (void)close(opened[i]);
    (void)close(port.listening);
    peer_finder_free(finder);
}
