/* The spawner as the daemon sees it: real processes on a real loop. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/edge/spawner.h"
#include "tests/processes.h"
#include "tests/test.h"

struct heard {                       /* what was said about one instance */
    pid_t pid;
    int pidfd, error_number, status;
    const char *step;
    unsigned started, failed, ended, exited;
    int64_t cpu_us;
};

enum { INSTANCES_MAX = 1200 };

struct bench {
    struct ev_loop *loop;
    struct spawner *spawner;
    struct heard heard[INSTANCES_MAX];
    unsigned ready, lost, ended;
    unsigned fds_before;
    int null_fd;
    char lock_path[256];
};
static struct bench bench;

static void heard_ready(void *ctx)
{
    ((struct bench *)ctx)->ready++;
}

static void heard_started(void *ctx, uint64_t instance, pid_t pid, int pidfd)
{
    struct heard *heard = &((struct bench *)ctx)->heard[instance];

    heard->started++;
    heard->pid = pid;
    heard->pidfd = pidfd;
}

static void heard_failed(void *ctx, uint64_t instance, int error_number, const char *step)
{
    struct heard *heard = &((struct bench *)ctx)->heard[instance];

    ((struct bench *)ctx)->ended++;
    heard->failed++;
    heard->error_number = error_number;
    heard->step = step;
}

static void heard_exited(void *ctx, uint64_t instance, const struct spawner_exit *exit)
{
    struct heard *heard = &((struct bench *)ctx)->heard[instance];

    ((struct bench *)ctx)->ended++;
    heard->exited++;
    heard->status = exit->wait_status;
    const struct rusage *usage = &exit->usage;
    heard->cpu_us = (int64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 + usage->ru_utime.tv_usec + usage->ru_stime.tv_usec;
}

static void heard_ended(void *ctx, uint64_t instance, const struct spawner_exit *exit)
{
    struct heard *heard = &((struct bench *)ctx)->heard[instance];

    heard->ended++;
    heard->status = exit->wait_status;
}

static void heard_lost(void *ctx)
{
    ((struct bench *)ctx)->lost++;
}

static enum sluice_err start(struct spawner **ret_spawner)
{
    struct spawner_events events = { .ctx = &bench, .on_ready = heard_ready, .on_started = heard_started,
                                     .on_failed = heard_failed, .on_ended = heard_ended, .on_exited = heard_exited, .on_lost = heard_lost };
    struct sluice_error error;

    enum sluice_err err = spawner_start(bench.loop, TEST_SPAWNER, bench.lock_path, &events, ret_spawner, &error);
    if (err != SLUICE_OK)
        test_fail(__FILE__, __LINE__, "%s", error.text);
    return err;
}

static void given_spawner(void)
{
    bench = (struct bench){ .fds_before = fds_open() };
    for (size_t i = 0; i < INSTANCES_MAX; i++)
        bench.heard[i].pidfd = -1;
    bench.loop = ev_loop_new(EVFLAG_AUTO);
    bench.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)snprintf(bench.lock_path, sizeof bench.lock_path, "%s/spawner.lock", test_directory());
    EXPECT_EQ(SLUICE_OK, start(&bench.spawner));
    WAIT_FOR(bench.loop, bench.ready == 1);
}

static void pidfds_close(void)
{
    for (size_t i = 0; i < INSTANCES_MAX; i++)
        if (bench.heard[i].pidfd >= 0)
            (void)close(bench.heard[i].pidfd);
}

/* Stops, and sees that neither descriptors nor processes are left. */
static void done(void)
{
    spawner_stop(bench.spawner);
    pidfds_close();
    (void)close(bench.null_fd);
    ev_loop_destroy(bench.loop);
    EXPECT_EQ(-1, waitpid(-1, NULL, WNOHANG));
    EXPECT_EQ(bench.fds_before, fds_open());
}

static enum sluice_err run_fds(uint64_t instance, const char *const *command, const char *directory, int stdout_fd)
{
    char id[40];
    (void)snprintf(id, sizeof id, "SLUICE_INSTANCE=%llu", (unsigned long long)instance);
    const char *environment[] = { id, "PATH=/usr/bin:/bin", NULL };
    struct spawn_request request = { .instance = instance, .command = command, .environment = environment, .directory = directory,
                                     .stdin_fd = bench.null_fd, .stdout_fd = stdout_fd, .stderr_fd = STDERR_FILENO };
    return spawner_spawn(bench.spawner, &request, NULL);
}

static void run_shell(uint64_t instance, const char *script)
{
    const char *command[] = { "/bin/sh", "-c", script, NULL };

    EXPECT_EQ(SLUICE_OK, run_fds(instance, command, test_directory(), bench.null_fd));
}

static const char *path_in(const char *name)
{
    static char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", test_directory(), name);
    return path;
}

/* Waits for the number that a script writes, by rename so that it is whole. */
static int wait_number(const char *name)
{
    int number = 0;

    WAIT_FOR(bench.loop, (number = number_in(path_in(name))) != 0);
    (void)unlink(path_in(name));
    return number;
}

TEST(an_exit_status_and_its_usage_are_told)
{
    given_spawner();
    run_shell(1, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 7");
    WAIT_FOR(bench.loop, bench.heard[1].exited == 1);
    EXPECT_EQ(1, bench.heard[1].started);
    EXPECT_EQ(7, WEXITSTATUS(bench.heard[1].status));
    EXPECT(bench.heard[1].cpu_us > 0);
    struct pollfd ended = { .fd = bench.heard[1].pidfd, .events = POLLIN };
    EXPECT_EQ(1, poll(&ended, 1, 0));
    done();
}

TEST(what_cannot_start_says_at_which_step)
{
    static const struct { const char *label, *program, *directory; int error_number; const char *step; } cases[] = {
        { "not found", "/nonexistent/program", "/", ENOENT, "exec" },
        { "not executable", "/etc/passwd", "/", EACCES, "exec" },
        { "a folder", "/usr", "/", EACCES, "exec" },
        { "no such working directory", "/bin/true", "/nonexistent", ENOENT, "chdir" },
    };
    given_spawner();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *command[] = { cases[i].program, NULL };
        test_label(cases[i].label);
        EXPECT_EQ(SLUICE_OK, run_fds(i, command, cases[i].directory, bench.null_fd));
        WAIT_FOR(bench.loop, bench.heard[i].failed == 1);
        EXPECT_EQ(0, bench.heard[i].started);
        EXPECT_EQ(cases[i].error_number, bench.heard[i].error_number);
        EXPECT_TEXT(cases[i].step, bench.heard[i].step);
    }
    test_label(NULL);
    done();
}

TEST(a_request_is_refused_before_ready_and_over_its_limits)
{
    static char large[(128 << 10) + 1];
    const char *command[] = { "/bin/echo", large, NULL };
    static const char *many[4098];

    memset(large, 'x', sizeof large - 1);
    given_spawner();
    EXPECT_EQ(SLUICE_EINVAL, run_fds(1, command, "/", bench.null_fd));
    for (size_t i = 0; i < 4097; i++)
        many[i] = "/bin/true";
    EXPECT_EQ(SLUICE_EINVAL, run_fds(1, many, "/", bench.null_fd));
    struct spawner *ready = bench.spawner;
    EXPECT_EQ(SLUICE_OK, start(&bench.spawner));
    EXPECT_EQ(SLUICE_EUNAVAILABLE, run_fds(1, (const char *[]){ "/bin/true", NULL }, "/", bench.null_fd));
    spawner_stop(bench.spawner);
    bench.spawner = ready;
    done();
}

static void read_all(int fd, char *text, size_t room)
{
    size_t len = 0;
    ssize_t got;

    while (len < room - 1 && (got = read(fd, text + len, room - 1 - len)) > 0)
        len += (size_t)got;
    text[len] = '\0';
}

TEST(an_instance_gets_its_environment_three_descriptors_and_clean_signals)
{
    static const struct { const char *label; const char *command[4], *output; } cases[] = {
        { "descriptors; one more is the open folder", { "/bin/ls", "/proc/self/fd" }, "0\n1\n2\n3\n" },
        { "environment", { "/usr/bin/env" }, "SLUICE_INSTANCE=1\nPATH=/usr/bin:/bin\n" },
        { "folder", { "/bin/pwd" }, "/usr\n" },
        { "signals", { "/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status" }, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n" },
    };
    int inherited = open("/dev/null", O_RDONLY); /* not close-on-exec, as if the daemon's starter had left it open */
    given_spawner();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *command[5] = { cases[i].command[0], cases[i].command[1], cases[i].command[2], cases[i].command[3], NULL };
        char text[4096];
        int ends[2];
        test_label(cases[i].label);
        EXPECT_EQ(0, pipe2(ends, O_CLOEXEC));
        EXPECT_EQ(SLUICE_OK, run_fds(i, command, "/usr", ends[1]));
        WAIT_FOR(bench.loop, bench.heard[i].exited == 1);
        (void)close(ends[1]);
        read_all(ends[0], text, sizeof text);
        (void)close(ends[0]);
        EXPECT_TEXT(cases[i].output, text);
    }
    test_label(NULL);
    run_shell(9, "exec sleep 1000");
    WAIT_FOR(bench.loop, bench.heard[9].started == 1);
    EXPECT_EQ(bench.heard[9].pid, getpgid(bench.heard[9].pid));
    done();
    (void)close(inherited);
}

TEST(children_in_the_group_end_with_the_leader)
{
    given_spawner();
    run_shell(1, "sleep 1000 & echo $! >t; mv t child; exit 0");
    WAIT_FOR(bench.loop, bench.heard[1].exited == 1);
    pid_t child = wait_number("child");
    WAIT_FOR(bench.loop, process_gone(child));
    done();
}

TEST(of_one_that_is_held_the_others_live_until_it_is_killed)
{
    static const struct { const char *label, *script; int status; } cases[] = {
        { "an exit", "sleep 1000 & echo $! >t; mv t child; until [ -e go ]; do sleep 0.01; done; exit 7", W_EXITCODE(7, 0) },
        { "a signal", "sleep 1000 & echo $! >t; mv t child; until [ -e go ]; do sleep 0.01; done; kill -TERM $$", W_EXITCODE(0, SIGTERM) },
        { "a process of another session", "setsid sleep 1000 & echo $! >t; mv t child; until [ -e go ]; do sleep 0.01; done; exit 0", 0 },
    };
    given_spawner();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct heard *heard = &bench.heard[i];
        test_label(cases[i].label);
        run_shell(i, cases[i].script);
        pid_t child = wait_number("child");
        spawner_hold(bench.spawner, i);
        run_shell(100 + i, "echo 1 >t; mv t go"); /* behind the hold */
        WAIT_FOR(bench.loop, heard->ended == 1);
        EXPECT_EQ(cases[i].status, heard->status);
        /* Others come and go meanwhile, and what this one has sent elsewhere is looked for. */
        run_shell(200 + i, "(sleep 0.01 &); exit 3");
        WAIT_FOR(bench.loop, bench.heard[100 + i].exited == 1 && bench.heard[200 + i].exited == 1);
        EXPECT_EQ(3, WEXITSTATUS(bench.heard[200 + i].status));
        EXPECT(!process_gone(child));
        EXPECT_EQ(0, heard->exited);
        spawner_signal(bench.spawner, i, SIGTERM);
        spawner_signal(bench.spawner, i, SIGKILL);
        WAIT_FOR(bench.loop, heard->exited == 1 && process_gone(child));
        EXPECT_EQ(cases[i].status, heard->status);
        EXPECT_EQ(1, heard->ended);
        (void)unlink(path_in("go"));
    }
    test_label(NULL);
    done();
}

TEST(a_hold_ends_with_a_kill_or_with_the_spawner)
{
    given_spawner();
    run_shell(1, "exec sleep 1000");
    run_shell(2, "sleep 1000 & exit 0");
    spawner_hold(bench.spawner, 1);
    spawner_hold(bench.spawner, 2);
    spawner_hold(bench.spawner, 3); /* which is not there */
    WAIT_FOR(bench.loop, bench.heard[2].ended == 1 || bench.heard[2].exited == 1); /* it may have been faster */
    spawner_signal(bench.spawner, 1, SIGKILL);
    WAIT_FOR(bench.loop, bench.heard[1].exited == 1);
    EXPECT_EQ(0, bench.heard[1].ended);
    done();
}

TEST(what_left_the_group_ends_with_the_leader_too)
{
    static const struct { const char *label, *script; } cases[] = {
        { "setsid", "setsid sh -c 'echo $$ >t; mv t child; exec sleep 1000' & while [ ! -e child ]; do :; done" },
        { "setsid twice", "setsid setsid sh -c 'setsid sh -c \"echo \\$\\$ >t; mv t child; exec sleep 1000\" & exit' & while [ ! -e child ]; do :; done" },
        { "without its environment", "setsid env -i /bin/sh -c 'echo $$ >t; mv t child; sleep 1000' & while [ ! -e child ]; do :; done" },
        { "child of an escaped one", "setsid sh -c 'setsid sleep 1000 & echo $! >t; mv t child; sleep 1000' & while [ ! -e child ]; do :; done" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        given_spawner();
        run_shell(1, cases[i].script);
        WAIT_FOR(bench.loop, bench.heard[1].exited == 1);
        pid_t child = wait_number("child");
        WAIT_FOR(bench.loop, process_gone(child));
        done();
    }
    test_label(NULL);
}

TEST(what_left_the_group_of_a_living_instance_stays)
{
    given_spawner();
    /* The child's parent ends at once, so it is the spawner's child long before its instance ends. */
    run_shell(1, "(setsid sh -c 'echo $$ >t; mv t child; exec sleep 1000' &) ; exec sleep 1000");
    pid_t child = wait_number("child");
    for (uint64_t other = 2; other < 10; other++) {
        run_shell(other, "setsid sh -c 'echo $$ >t; mv t other; exec sleep 1000' & while [ ! -e other ]; do :; done");
        WAIT_FOR(bench.loop, bench.heard[other].exited == 1);
        pid_t escaped = wait_number("other");
        WAIT_FOR(bench.loop, process_gone(escaped));
    }
    EXPECT(!process_gone(child));
    spawner_signal(bench.spawner, 1, SIGTERM);
    WAIT_FOR(bench.loop, bench.heard[1].exited == 1);
    EXPECT_EQ(SIGTERM, WTERMSIG(bench.heard[1].status));
    WAIT_FOR(bench.loop, process_gone(child));
    done();
}

static void spawn_in_prepare(struct ev_loop *loop, struct ev_prepare *watcher, int revents)
{
    (void)revents;
    ev_prepare_stop(loop, watcher);
    run_shell(1, "exit 0");
}

TEST(a_start_asked_for_before_the_loop_sleeps_leaves_before_it_sleeps)
{
    struct ev_prepare turn;

    given_spawner();
    ev_prepare_init(&turn, spawn_in_prepare);
    ev_prepare_start(bench.loop, &turn);
    /* Nothing else wakes this loop; a start left behind would make it sleep until the alarm ends the test. */
    (void)alarm(20);
    while (bench.heard[1].exited == 0)
        (void)ev_run(bench.loop, EVRUN_ONCE);
    (void)alarm(0);
    done();
}

TEST(a_burst_of_starts_is_served_in_order_and_leaks_nothing)
{
    enum { BURST = (SPAWNER_QUEUE_PACKETS_MAX - 1) * 16 };
    given_spawner();
    const char *command[] = { "/bin/true", NULL };
    unsigned accepted = 0;
    for (uint64_t i = 0; i < BURST; i++)
        accepted += run_fds(i, command, "/", bench.null_fd) == SLUICE_OK;
    EXPECT_EQ(BURST, accepted);
    WAIT_FOR(bench.loop, bench.ended == BURST);
    for (size_t i = 0; i < BURST; i++)
        EXPECT(bench.heard[i].exited == 1 && bench.heard[i].status == 0);
    done();
}

TEST(more_than_the_queue_holds_is_refused)
{
    given_spawner();
    const char *command[] = { "/bin/true", NULL };
    unsigned accepted = 0;
    while (accepted < INSTANCES_MAX && run_fds(accepted, command, "/", bench.null_fd) == SLUICE_OK)
        accepted++;
    EXPECT_EQ((SPAWNER_QUEUE_PACKETS_MAX - 1) * 16 + 1, accepted); /* one in the last packet: 16 fit one */
    WAIT_FOR(bench.loop, bench.ended == accepted);
    done();
}

TEST(without_a_free_descriptor_an_instance_runs_without_its_pidfd)
{
    struct rlimit before, few;

    given_spawner();
    EXPECT_EQ(0, getrlimit(RLIMIT_NOFILE, &before));
    int lowest_free = fcntl(bench.null_fd, F_DUPFD_CLOEXEC, 0);
    (void)close(lowest_free);
    few = (struct rlimit){ .rlim_cur = (rlim_t)lowest_free, .rlim_max = before.rlim_max };
    run_shell(1, "exit 3");
    EXPECT_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
    WAIT_FOR(bench.loop, bench.heard[1].exited == 1);
    EXPECT_EQ(0, setrlimit(RLIMIT_NOFILE, &before));
    EXPECT_EQ(-1, bench.heard[1].pidfd);
    EXPECT_EQ(3, WEXITSTATUS(bench.heard[1].status));
    EXPECT_EQ(0, bench.lost);
    done();
}

TEST(stop_kills_everything_that_runs)
{
    given_spawner();
    run_shell(1, "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; echo $$ >t; mv t child; sleep 1000' & sleep 1000; sleep 1000");
    pid_t child = wait_number("child"), leader = bench.heard[1].pid;
    done();
    EXPECT(process_gone(child));
    EXPECT(process_gone(leader));
}

TEST(a_killed_spawner_takes_all_along_and_is_started_again)
{
    given_spawner();
    run_shell(1, "sleep 1000 & echo $! >t; mv t grouped; setsid sh -c 'echo $$ >t2; mv t2 child; sleep 1000' & sleep 1000");
    pid_t child = wait_number("child"), grouped = wait_number("grouped"), leader = bench.heard[1].pid;
    (void)kill(spawner_pid(), SIGKILL);
    WAIT_FOR(bench.loop, bench.lost == 1);
    EXPECT_EQ(SLUICE_EUNAVAILABLE, run_fds(2, (const char *[]){ "/bin/true", NULL }, "/", bench.null_fd));
    spawner_signal(bench.spawner, 1, SIGTERM); /* to nobody: no harm */
    WAIT_FOR(bench.loop, bench.ready == 2);
    EXPECT(process_gone(leader) && process_gone(grouped) && process_gone(child));
    run_shell(2, "exit 0");
    WAIT_FOR(bench.loop, bench.heard[2].exited == 1);
    done();
}

TEST(signals_from_a_terminal_do_not_end_the_spawner)
{
    given_spawner();
    pid_t pid = spawner_pid();
    for (int signal = 1; signal < 32; signal++)
        if (signal != SIGKILL && signal != SIGSTOP)
            (void)kill(pid, signal);
    run_shell(1, "exit 0");
    WAIT_FOR(bench.loop, bench.heard[1].exited == 1);
    EXPECT_EQ(pid, spawner_pid());
    EXPECT_EQ(0, bench.lost);
    done();
}

TEST(a_new_spawner_waits_until_the_old_one_is_gone)
{
    given_spawner();
    struct spawner *second = NULL;
    run_shell(1, "sleep 1000");
    WAIT_FOR(bench.loop, bench.heard[1].started == 1);
    EXPECT_EQ(SLUICE_OK, start(&second));
    run_shell(2, "sleep 0.1");
    WAIT_FOR(bench.loop, bench.heard[2].exited == 1);
    EXPECT_EQ(1, bench.ready);
    spawner_stop(bench.spawner);
    EXPECT(process_gone(bench.heard[1].pid));
    bench.spawner = second;
    WAIT_FOR(bench.loop, bench.ready == 2);
    done();
}

/* Runs in a process of its own, which is killed: it must not end by itself. */
static _Noreturn void be_a_daemon(void)
{
    bench.loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_FORKCHECK);
    if (start(&bench.spawner) != SLUICE_OK)
        _exit(1);
    WAIT_FOR(bench.loop, bench.ready == 1);
    run_shell(1, "echo $$ >t; mv t leader; setsid sh -c 'trap \"\" TERM; echo $$ >t2; mv t2 child; sleep 1000' & sleep 1000");
    for (;;)
        (void)ev_run(bench.loop, 0);
}

TEST(a_killed_daemon_leaves_no_instance)
{
    given_spawner(); /* which makes this process the subreaper, so that all that is left would come here */
    spawner_stop(bench.spawner);
    bench.ready = 0;
    pid_t daemon_pid = fork();
    if (daemon_pid == 0)
        be_a_daemon();
    pid_t leader = wait_number("leader"), child = wait_number("child");
    EXPECT(!process_gone(leader) && !process_gone(child));
    (void)kill(daemon_pid, SIGKILL);
    /* Daemon, spawner, leader and child: all end, without a hand from us. */
    int status;
    while (wait(&status) > 0)
        continue;
    EXPECT(process_gone(leader) && process_gone(child));
    EXPECT_EQ(SLUICE_OK, start(&bench.spawner));
    WAIT_FOR(bench.loop, bench.ready == 1);
    done();
}

TEST(with_daemon_and_spawner_killed_at_once_leaders_still_end)
{
    given_spawner();
    spawner_stop(bench.spawner);
    bench.ready = 0;
    pid_t daemon_pid = fork();
    if (daemon_pid == 0)
        be_a_daemon();
    pid_t leader = wait_number("leader"), child = wait_number("child");
    pid_t spawner;
    EXPECT(parent_of_process(leader, &spawner));
    (void)kill(spawner, SIGSTOP); /* or it might be faster than the second signal */
    (void)kill(daemon_pid, SIGKILL);
    (void)kill(spawner, SIGKILL);
    WAIT_FOR(bench.loop, process_gone(leader));
    (void)kill(-leader, SIGKILL); /* its children have nobody left who knows them */
    (void)kill(-child, SIGKILL);
    while (wait(NULL) > 0)
        continue;
    EXPECT_EQ(SLUICE_OK, start(&bench.spawner));
    WAIT_FOR(bench.loop, bench.ready == 1);
    done();
}
