/* Instances as the engine sees them: real processes, each fault that a function can have, and what is left behind: nothing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/vec.h"
#include "broker/edge/instances.h"
#include "tests/processes.h"
#include "tests/test.h"

struct result {
    uint64_t instance, lease;
    unsigned first, count;
    bool failed;
    char type[64], message[256], output[256], answer[64];
    size_t answer_len;
};

struct gone {
    uint64_t instance;
    enum end_reason reason;
    int code;
    bool input_unread, out_of_memory;
    char step[32], tail[OUTPUT_TAIL_BYTES + 1];
    int64_t cpu_us, memory_peak_bytes;
};

static struct bench {
    struct ev_loop *loop;
    struct instances *instances;
    unsigned ready, fds_before;
    VEC(struct result) results;
    VEC(struct gone) gone;
    pid_t pids[64];                  /* by instance */
    uint64_t refill;                 /* inputs still to be delivered from within on_result */
    unsigned answered;
} bench;

static void text_copy(char *to, size_t room, struct view from)
{
    (void)snprintf(to, room, "%.*s", VIEW_ARGS(from));
}

static void heard_started(void *ctx, uint64_t instance, pid_t pid)
{
    (void)ctx;
    bench.pids[instance] = pid;
}

static void heard_result(void *ctx, uint64_t instance, uint64_t lease, unsigned first, unsigned count,
                         const struct invocation_failure *failure, struct view answer)
{
    struct result result = { .instance = instance, .lease = lease, .first = first, .count = count, .failed = failure != NULL,
                             .answer_len = answer.len };

    (void)ctx;
    bench.answered += count;
    text_copy(result.answer, sizeof result.answer, answer);
    if (failure != NULL) {
        text_copy(result.type, sizeof result.type, failure->type);
        text_copy(result.message, sizeof result.message, failure->message);
        text_copy(result.output, sizeof result.output, failure->output);
    }
    VEC_PUSH(&bench.results, result);
    for (; bench.refill > 0 && count > 0; count--, bench.refill--)
        instances_deliver(bench.instances, instance, 1000 + bench.refill, &VIEW_LITERAL("{\"refilled\":true}"), 1);
}

static void heard_gone(void *ctx, uint64_t instance, const struct instance_end *end)
{
    struct gone gone = { .instance = instance, .reason = end->reason, .code = end->code, .input_unread = end->input_unread,
                         .out_of_memory = end->out_of_memory, .cpu_us = end->cpu_us, .memory_peak_bytes = end->memory_peak_bytes };

    (void)ctx;
    text_copy(gone.step, sizeof gone.step, view_of(end->step != NULL ? end->step : ""));
    text_copy(gone.tail, sizeof gone.tail, end->output_tail);
    VEC_PUSH(&bench.gone, gone);
}

static void heard_ready(void *ctx)
{
    (void)ctx;
    bench.ready++;
}

static const char *path_in(const char *name)
{
    static char path[512];

    (void)snprintf(path, sizeof path, "%s/%s", test_directory(), name);
    return path;
}

static void given_instances(void)
{
    struct instances_events events = { .on_started = heard_started, .on_result = heard_result,
                                       .on_gone = heard_gone, .on_spawner_ready = heard_ready };
    struct sluice_error error;

    (void)test_directory();
    bench = (struct bench){ .fds_before = fds_open() };
    bench.loop = ev_loop_new(EVFLAG_AUTO);
    if (instances_new(bench.loop, TEST_SPAWNER, test_directory(), "ipc:///tmp/bus", &events, &bench.instances, &error) != SLUICE_OK)
        test_fail(__FILE__, __LINE__, "%s", error.text);
    WAIT_FOR(bench.loop, bench.ready == 1);
}

static void logs_remove(void)
{
    DIR *logs = opendir(path_in("logs"));

    for (struct dirent *entry = readdir(logs); entry != NULL; entry = readdir(logs))
        (void)unlinkat(dirfd(logs), entry->d_name, 0);
    (void)closedir(logs);
}

static void done(void)
{
    instances_free(bench.instances);
    ev_loop_destroy(bench.loop);
    VEC_DONE(&bench.results);
    VEC_DONE(&bench.gone);
    EXPECT_EQ(-1, waitpid(-1, NULL, WNOHANG));
    EXPECT_EQ(bench.fds_before, fds_open());
    logs_remove();
}

/* ---- functions ---- */

static void start_command(uint64_t instance, enum function_protocol protocol, const char *const *command)
{
    static const char *const environment[] = { "GREETING=hello", "TZ=UTC", "SLUICE_INSTANCE=forged", NULL };
    struct config_function function = { .name = "f", .command = command, .directory = test_directory(), .environment = environment,
                                        .protocol = protocol, .concurrency = 4, .batch_size = 10 };
    struct sluice_error error;

    if (instances_start(bench.instances, instance, &function, NULL, &error) != SLUICE_OK)
        test_fail(__FILE__, __LINE__, "%s", error.text);
}

static void start_shell(uint64_t instance, enum function_protocol protocol, const char *script)
{
    start_command(instance, protocol, (const char *[]){ "/bin/sh", "-c", script, NULL });
}

static void deliver(uint64_t instance, uint64_t lease, const char *input)
{
    struct view view = view_of(input);

    instances_deliver(bench.instances, instance, lease, &view, 1);
}

static int wait_number(const char *name)
{
    int number = 0;

    WAIT_FOR(bench.loop, (number = number_in(path_in(name))) != 0);
    (void)unlink(path_in(name));
    return number;
}

static const char *log_text(void)
{
    static struct bytes log;

    bytes_clear(&log);
    if (instances_log_tail(bench.instances, "f", 1 << 20, &log) != SLUICE_OK)
        return "";
    bytes_put_char(&log, '\0');
    return log.data;
}

/* ---- stdio ---- */

TEST(stdio_ends_and_what_they_mean)
{
    static const struct {
        const char *label, *script, *type, *message, *output; /* type NULL: success; "": no result at all */
        enum end_reason reason;
        int code;
        bool input_unread;
    } cases[] = {
        { "exit 0", "cat >/dev/null", NULL, NULL, NULL, END_EXITED, 0, false },
        { "exit 0 without reading", "exit 0", NULL, NULL, NULL, END_EXITED, 0, true },
        { "exit 3", "cat >/dev/null; echo oops >&2; exit 3", "Runtime.ExitError", "Runtime exited with error: exit status 3", "oops\n",
          END_EXITED, 3, false },
        { "exit 1, said on stdout", "cat; exit 1", "Runtime.ExitError", "Runtime exited with error: exit status 1", "{\"n\":1}\n",
          END_EXITED, 1, false },
        { "killed before it read", "kill -9 $$", "", NULL, NULL, END_SIGNALLED, 9, true },
        { "killed after it read", "read line; kill -15 $$", "", NULL, NULL, END_SIGNALLED, 15, false },
        { "closes stdout", "exec >&-; cat >&2; exit 0", NULL, NULL, NULL, END_EXITED, 0, false },
        { "closes everything", "cat >/dev/null; exec <&- >&- 2>&-; exit 0", NULL, NULL, NULL, END_EXITED, 0, false },
        { "returns the largest result", "cat >/dev/null; head -c 6291556 /dev/zero", NULL, NULL, NULL, END_EXITED, 0, false },
        { "returns one byte more", "cat >/dev/null; head -c 6291557 /dev/zero; exec sleep 1000", "Function.ResponseSizeTooLarge",
          "Response payload size exceeded maximum allowed payload size (6291556 bytes).", NULL, END_SIGNALLED, 9, false },
        { "returns 100 MB", "cat >/dev/null; head -c 100000000 /dev/zero", "Function.ResponseSizeTooLarge", NULL, NULL,
          END_SIGNALLED, 9, false },
        { "leaves a child with stdout", "cat >/dev/null; sleep 1000 & exit 0", NULL, NULL, NULL, END_EXITED, 0, false },
        { "leaves an escaped child with stdout", "cat >/dev/null; setsid sleep 1000 & exit 0", NULL, NULL, NULL, END_EXITED, 0, false },
        { "leaves a flooding child", "cat >/dev/null; setsid yes >&2 & exit 0", NULL, NULL, NULL, END_EXITED, 0, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        given_instances();
        start_shell(1, PROTOCOL_STDIO, cases[i].script);
        deliver(1, 7, "{\"n\":1}");
        WAIT_FOR(bench.loop, bench.gone.count == 1);
        bool told = cases[i].type == NULL || cases[i].type[0] != '\0';
        EXPECT_EQ(told, bench.results.count);
        if (told && bench.results.count == 1) {
            const struct result *result = &bench.results.items[0];
            EXPECT_EQ(7, result->lease);
            EXPECT_EQ(1, result->count);
            EXPECT_EQ(cases[i].type != NULL, result->failed);
            EXPECT_TEXT(cases[i].type != NULL ? cases[i].type : "", result->type);
            if (cases[i].message != NULL)
                EXPECT_TEXT(cases[i].message, result->message);
            if (cases[i].output != NULL)
                EXPECT_TEXT(cases[i].output, result->output);
        }
        EXPECT_EQ(cases[i].reason, bench.gone.items[0].reason);
        EXPECT_EQ(cases[i].code, bench.gone.items[0].code);
        EXPECT_EQ(cases[i].input_unread, bench.gone.items[0].input_unread);
        done();
    }
    test_label(NULL);
}

TEST(what_cannot_be_started_is_gone_with_the_step_and_no_result)
{
    given_instances();
    start_command(1, PROTOCOL_STDIO, (const char *[]){ "/nonexistent/command", NULL });
    deliver(1, 1, "{}");
    start_command(2, PROTOCOL_STDIO_LINES, (const char *[]){ "/etc/passwd", NULL });
    WAIT_FOR(bench.loop, bench.gone.count == 2);
    EXPECT_EQ(0, bench.results.count);
    EXPECT_EQ(END_SPAWN_FAILED, bench.gone.items[0].reason);
    EXPECT_EQ(ENOENT, bench.gone.items[0].code);
    EXPECT_TEXT("exec", bench.gone.items[0].step);
    EXPECT(bench.gone.items[0].input_unread);
    EXPECT_EQ(EACCES, bench.gone.items[1].code);
    done();
}

TEST(stdio_gets_the_lines_of_its_lease_then_the_end)
{
    struct view lines[] = { VIEW_LITERAL("{\"n\":1}"), VIEW_LITERAL("{\"n\":2}"), VIEW_LITERAL("{\"n\":3}") };

    given_instances();
    start_shell(1, PROTOCOL_STDIO, "cat >&2; echo end >&2");
    instances_deliver(bench.instances, 1, 9, lines, 3);
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    EXPECT_EQ(3, bench.results.items[0].count);
    EXPECT_TEXT("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\nend\n", bench.gone.items[0].tail);
    EXPECT(bench.gone.items[0].memory_peak_bytes > 0);
    done();
}

TEST(who_invokes_gets_the_whole_answer)
{
    static const struct { const char *label; enum function_protocol protocol; const char *script, *answer; size_t len; const char *type; } cases[] = {
        { "all of stdout", PROTOCOL_STDIO, "cat; echo more", "{\"n\":1}\nmore\n", 13, "" },
        { "more than a tail", PROTOCOL_STDIO, "head -c 1000000 /dev/zero | tr '\\0' x", NULL, 1000000, "" },
        { "nothing", PROTOCOL_STDIO, "exit 0", "", 0, "" },
        { "none of a failure", PROTOCOL_STDIO, "cat; exit 3", "", 0, "Runtime.ExitError" },
        { "stdout beyond the limit", PROTOCOL_STDIO, "head -c 6291557 /dev/zero; sleep 1000", "", 0, "Function.ResponseSizeTooLarge" },
        { "stdout at the limit", PROTOCOL_STDIO, "head -c 6291556 /dev/zero", NULL, 6291556, "" },
        { "a line", PROTOCOL_STDIO_LINES, "read -r line; echo \"<$line>\"", "<{\"n\":1}>", 9, "" },
        { "an error", PROTOCOL_STDIO_LINES, "echo '{\"error\":{\"type\":\"T\"}}'", "", 0, "T" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        given_instances();
        start_shell(1, cases[i].protocol, cases[i].script);
        instances_invoke(bench.instances, 1, 5, VIEW_LITERAL("{\"n\":1}"));
        WAIT_FOR(bench.loop, bench.gone.count == 1);
        EXPECT_EQ(1, bench.results.count);
        const struct result *result = &bench.results.items[0];
        EXPECT_EQ(5, result->lease);
        EXPECT_TEXT(cases[i].type, result->type);
        EXPECT_EQ(cases[i].len, result->answer_len);
        if (cases[i].answer != NULL)
            EXPECT_TEXT(cases[i].answer, result->answer);
        done();
    }
    test_label(NULL);
}

TEST(events_and_invocations_in_one_pipe_keep_their_answers_apart)
{
    static const struct { uint64_t lease; unsigned first, count; const char *answer; } expected[] = {
        { 1, 0, 2, "" }, { 2, 0, 1, "\"three\"" }, { 3, 0, 1, "" }, { 4, 0, 1, "\"five\"" },
    };
    struct view lines[] = { VIEW_LITERAL("\"one\""), VIEW_LITERAL("\"two\"") };

    given_instances();
    start_shell(1, PROTOCOL_STDIO_LINES, "read -r a; read -r b; read -r c; read -r d; read -r e; printf '%s\\n' \"$a\" \"$b\" \"$c\" \"$d\" \"$e\"");
    instances_deliver(bench.instances, 1, 1, lines, 2);
    instances_invoke(bench.instances, 1, 2, VIEW_LITERAL("\"three\""));
    deliver(1, 3, "\"four\"");
    instances_invoke(bench.instances, 1, 4, VIEW_LITERAL("\"five\""));
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    EXPECT_EQ(4, bench.results.count);
    for (size_t i = 0; i < 4 && i < bench.results.count; i++) {
        EXPECT_EQ(expected[i].lease, bench.results.items[i].lease);
        EXPECT_EQ(expected[i].first, bench.results.items[i].first);
        EXPECT_EQ(expected[i].count, bench.results.items[i].count);
        EXPECT_TEXT(expected[i].answer, bench.results.items[i].answer);
    }
    done();
}

TEST(a_lambda_process_has_the_environment_it_was_given_and_both_outputs_are_log)
{
    static const char *const command[] = { "/bin/sh", "-c", "env; cat; echo also >&2", NULL }, *const given[] = { "A=1", "PATH=/usr/bin:/bin", NULL };
    struct config_function function = { .name = "f", .command = command, .directory = "/", .protocol = PROTOCOL_LAMBDA, .concurrency = 1 };

    given_instances();
    EXPECT_EQ(SLUICE_OK, instances_start(bench.instances, 1, &function, given, NULL));
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    EXPECT(bench.pids[1] > 0);
    EXPECT_EQ(0, bench.gone.items[0].code);
    EXPECT_EQ(0, bench.results.count);
    EXPECT(strstr(bench.gone.items[0].tail, "A=1\n") != NULL);
    EXPECT(strstr(bench.gone.items[0].tail, "also\n") != NULL);
    EXPECT(strstr(bench.gone.items[0].tail, "SLUICE_") == NULL);
    EXPECT(strstr(bench.gone.items[0].tail, "HOME=") == NULL);
    done();
}

static struct bytes larger_than_a_pipe(void)
{
    struct bytes large = { 0 };

    EXPECT(bytes_reserve(&large, 5 << 20));
    memset(large.data, 'x', 5 << 20);
    large.len = 5 << 20;
    return large;
}

TEST(an_input_larger_than_the_pipe_arrives_whole_or_is_left)
{
    struct bytes large = larger_than_a_pipe();
    struct view line = bytes_view(&large);

    given_instances();
    start_shell(1, PROTOCOL_STDIO, "wc -c >&2");
    start_shell(2, PROTOCOL_STDIO, "exit 0");
    start_shell(3, PROTOCOL_STDIO, "head -c 100000 >/dev/null; exec <&-; exit 0");
    for (uint64_t instance = 1; instance <= 3; instance++)
        instances_deliver(bench.instances, instance, instance, &line, 1);
    WAIT_FOR(bench.loop, bench.gone.count == 3);
    EXPECT_EQ(3, bench.results.count);
    for (size_t i = 0; i < 3; i++)
        if (bench.gone.items[i].instance == 1)
            EXPECT_TEXT("5242881\n", bench.gone.items[i].tail);
        else
            EXPECT_EQ(bench.gone.items[i].instance == 2, bench.gone.items[i].input_unread);
    bytes_done(&large);
    done();
}

TEST(the_environment_is_what_is_inherited_and_given_and_nothing_else)
{
    given_instances();
    EXPECT_EQ(0, setenv("TZ", "Mars/Base", 1));
    EXPECT_EQ(0, setenv("HOME", "/home/of/test", 1));
    EXPECT_EQ(0, setenv("SECRET", "not for functions", 1));
    EXPECT_EQ(0, setenv("PATH", "/usr/bin:/bin", 1));
    EXPECT_EQ(0, unsetenv("LANG"));
    start_shell(1, PROTOCOL_STDIO, "tr '\\0' '\\n' </proc/$$/environ >&2");
    deliver(1, 1, "{}");
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    EXPECT_TEXT("SLUICE_FUNCTION=f\nSLUICE_INSTANCE=1\nGREETING=hello\nTZ=UTC\nPATH=/usr/bin:/bin\nHOME=/home/of/test\n",
                bench.gone.items[0].tail);
    start_shell(2, PROTOCOL_NATIVE, "tr '\\0' '\\n' </proc/$$/environ; wc -c; echo also >&2");
    WAIT_FOR(bench.loop, bench.gone.count == 2);
    EXPECT_TEXT("SLUICE_FUNCTION=f\nSLUICE_INSTANCE=2\nSLUICE_BUS=ipc:///tmp/bus\nSLUICE_CONCURRENCY=4\nSLUICE_BATCH_SIZE=10\n"
                "GREETING=hello\nTZ=UTC\nPATH=/usr/bin:/bin\nHOME=/home/of/test\n0\nalso\n", bench.gone.items[1].tail);
    EXPECT_EQ(0, bench.pids[2]); /* ready by its own word, not by being started */
    done();
}

static const char *const dd_256[] = { "/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1", NULL };

TEST(without_a_cgroup_each_process_is_refused_memory_over_the_limit)
{
    struct config_function function = { .name = "f", .command = dd_256, .directory = "/", .protocol = PROTOCOL_STDIO,
                                        .memory_bytes = 64 << 20 };
    (void)setenv("SLUICE_MEMORY_LIMITS", "rlimit", 1);
    given_instances();
    (void)unsetenv("SLUICE_MEMORY_LIMITS");
    EXPECT_EQ(MEMORY_BY_RLIMIT, instances_memory_limits(bench.instances)->limiter);
    EXPECT_EQ(SLUICE_OK, instances_start(bench.instances, 1, &function, NULL, NULL));
    deliver(1, 1, "{}");
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    EXPECT_EQ(END_EXITED, bench.gone.items[0].reason);
    EXPECT_EQ(1, bench.gone.items[0].code);
    EXPECT(strstr(bench.gone.items[0].tail, "memory exhausted") != NULL);
    EXPECT(!bench.gone.items[0].out_of_memory);
    done();
}

/* False: this machine gives us none. */
static bool given_instances_in_cgroups(void)
{
    given_instances();
    const struct cgroup *limits = instances_memory_limits(bench.instances);
    if (limits->limiter != MEMORY_BY_RLIMIT)
        return true;
    test_skip("no cgroup is given to us here: %s", limits->reason);
    return false;
}

TEST(in_a_cgroup_an_instance_is_killed_at_the_limit_and_its_folder_goes_with_it)
{
    struct config_function function = { .name = "f", .command = dd_256, .directory = "/", .protocol = PROTOCOL_STDIO,
                                        .memory_bytes = 64 << 20 };
    char folder[CGROUP_PATH_MAX + 32];
    if (given_instances_in_cgroups()) {
        (void)snprintf(folder, sizeof folder, "%s/1", instances_memory_limits(bench.instances)->folder);
        EXPECT_EQ(SLUICE_OK, instances_start(bench.instances, 1, &function, NULL, NULL));
        deliver(1, 1, "{}");
        WAIT_FOR(bench.loop, bench.gone.count == 1);
        EXPECT_EQ(END_SIGNALLED, bench.gone.items[0].reason);
        EXPECT_EQ(SIGKILL, bench.gone.items[0].code);
        EXPECT(bench.gone.items[0].out_of_memory);
        EXPECT(bench.gone.items[0].memory_peak_bytes > 60 << 20);
        EXPECT(bench.gone.items[0].memory_peak_bytes <= 64 << 20);
        WAIT_FOR(bench.loop, access(folder, F_OK) != 0);
    }
    done();
}

TEST(a_shell_whose_child_was_killed_at_the_limit_ran_out_of_memory_too)
{
    static const char *const command[] = { "/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=256M count=1; exit 9", NULL };
    struct config_function function = { .name = "f", .command = command, .directory = "/", .protocol = PROTOCOL_STDIO,
                                        .memory_bytes = 64 << 20 };
    if (given_instances_in_cgroups()) {
        EXPECT_EQ(SLUICE_OK, instances_start(bench.instances, 1, &function, NULL, NULL));
        deliver(1, 1, "{}");
        WAIT_FOR(bench.loop, bench.gone.count == 1);
        EXPECT(bench.gone.items[0].out_of_memory);
        if (bench.gone.items[0].reason == END_EXITED) { /* by cgroup v1, which does not kill all of them */
            EXPECT_EQ(1, bench.results.count);
            EXPECT_TEXT("Runtime exited with error: signal: killed", bench.results.items[0].message);
        }
    }
    done();
}

TEST(the_peak_of_a_living_instance_is_told_and_begins_anew)
{
    static const struct { const char *label; int64_t memory_bytes; } cases[] = {
        { "by its process", 0 }, { "by its cgroup, where there are any", 256 << 20 },
    };
    given_instances();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        /* Each answer follows its input: what a process says before it was asked is dropped. */
        static const char *const command[] = {
            "/bin/sh", "-c", "x=$(head -c 20000000 /dev/zero | tr '\\0' x); read l; echo; x=; read l; echo; read l", NULL
        };
        struct config_function function = { .name = "f", .command = command, .directory = "/", .protocol = PROTOCOL_STDIO_LINES,
                                            .memory_bytes = cases[i].memory_bytes };
        uint64_t id = i + 1;
        test_label(cases[i].label);
        EXPECT_EQ(0, instances_memory_peak(bench.instances, id));
        EXPECT_EQ(SLUICE_OK, instances_start(bench.instances, id, &function, NULL, NULL));
        deliver(id, id, "1");
        WAIT_FOR(bench.loop, bench.answered == 2 * i + 1);
        int64_t first = instances_memory_peak(bench.instances, id);
        EXPECT(first > 18 << 20);
        EXPECT(first < 200 << 20);
        deliver(id, id, "2");
        WAIT_FOR(bench.loop, bench.answered == 2 * i + 2);
        (void)instances_memory_peak(bench.instances, id); /* began while the text was still held */
        EXPECT(instances_memory_peak(bench.instances, id) < first);
        instances_stop(bench.instances, id);
        WAIT_FOR(bench.loop, bench.gone.count == i + 1);
    }
    test_label(NULL);
    done();
}

/* ---- stdio-lines ---- */

TEST(lines_are_answered_in_order_and_errors_singly)
{
    static const char script[] = "while read -r line; do case $line in "
                                 "1) echo '{\"error\":{\"type\":\"Bad.Type\",\"message\":\"line \\u00e9\"}}';; "
                                 "2) echo '{\"error\":\"only a text\"}';; "
                                 "3) echo 'no JSON: \"error\"';; "
                                 "4) echo '{\"in\":{\"error\":{\"type\":\"deeper\"}}}';; "
                                 "5) echo '{\"error\":{}}';; "
                                 "*) echo ok;; esac; done";
    struct view lines[] = { VIEW_LITERAL("0"), VIEW_LITERAL("1"), VIEW_LITERAL("2"), VIEW_LITERAL("3"),
                            VIEW_LITERAL("4"), VIEW_LITERAL("5"), VIEW_LITERAL("6") };
    static const char *const types[] = { "", "Bad.Type", "", "", "", "Unhandled", "" };
    given_instances();
    start_shell(1, PROTOCOL_STDIO_LINES, script);
    instances_deliver(bench.instances, 1, 5, lines, 7);
    deliver(1, 6, "again");
    WAIT_FOR(bench.loop, bench.answered == 8);
    unsigned next = 0;
    for (size_t i = 0; i < bench.results.count; i++) {
        const struct result *result = &bench.results.items[i];
        EXPECT_EQ(next < 7 ? 5 : 6, result->lease);
        EXPECT_EQ(next < 7 ? next : 0, result->first);
        for (unsigned line = 0; line < result->count && next < 7; line++)
            EXPECT_TEXT(types[result->first + line], result->type);
        if (result->first == 1 && result->failed)
            EXPECT_TEXT("line \303\251", result->message);
        next += result->count;
    }
    EXPECT_EQ(8, next);
    EXPECT_EQ(0, bench.gone.count);
    instances_stop(bench.instances, 1);
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    done();
}

TEST(inputs_may_be_delivered_from_within_a_result)
{
    given_instances();
    bench.refill = 5000;
    start_command(1, PROTOCOL_STDIO_LINES, (const char *[]){ TEST_FILTER, NULL });
    for (uint64_t lease = 1; lease <= 10; lease++)
        deliver(1, lease, "{}");
    WAIT_FOR(bench.loop, bench.answered == 5010);
    EXPECT_EQ(0, bench.gone.count);
    done();
}

TEST(many_lines_come_back_in_few_runs)
{
    enum { LINES = 200000, PER_LEASE = 10000 };
    static struct view lines[PER_LEASE];

    given_instances();
    for (size_t i = 0; i < PER_LEASE; i++)
        lines[i] = VIEW_LITERAL("{\"detail\":{\"some\":\"bytes of an event as they come\"}}");
    start_command(1, PROTOCOL_STDIO_LINES, (const char *[]){ TEST_FILTER, NULL });
    for (uint64_t lease = 0; lease < LINES / PER_LEASE; lease++)
        instances_deliver(bench.instances, 1, lease, lines, PER_LEASE);
    WAIT_FOR(bench.loop, bench.answered == LINES);
    unsigned expected = 0;
    for (size_t i = 0; i < bench.results.count; i++) {
        EXPECT_EQ(expected, bench.results.items[i].lease * PER_LEASE + bench.results.items[i].first);
        expected += bench.results.items[i].count;
    }
    EXPECT(bench.results.count < LINES / 100);
    done();
}

/* An invocation may be of any bytes; what stands behind a line break must not be answered as an input of its own. */
TEST(line_breaks_within_an_input_do_not_make_two_lines_of_it)
{
    struct view lines[] = { VIEW_LITERAL("a\nb\n\nc"), VIEW_LITERAL("\n"), VIEW_LITERAL("d") };

    given_instances();
    start_shell(1, PROTOCOL_STDIO, "cat >&2");
    instances_deliver(bench.instances, 1, 9, lines, 3);
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    EXPECT_TEXT("a b  c\n \nd\n", bench.gone.items[0].tail);
    start_shell(2, PROTOCOL_STDIO, "cat >&2");
    instances_deliver(bench.instances, 2, 9, lines, 1); /* alone it ends where the input ends */
    WAIT_FOR(bench.loop, bench.gone.count == 2);
    EXPECT_TEXT("a\nb\n\nc\n", bench.gone.items[1].tail);

    bench.answered = 0;
    start_shell(3, PROTOCOL_STDIO_LINES, "while read -r line; do echo ok; done");
    instances_deliver(bench.instances, 3, 9, lines, 3);
    WAIT_FOR(bench.loop, bench.answered == 3);
    instances_stop(bench.instances, 3);
    WAIT_FOR(bench.loop, bench.gone.count == 3);
    EXPECT(strstr(log_text(), "answers no input") == NULL);
    done();
}

TEST(faults_of_filters)
{
    static const struct {
        const char *label, *script, *logged;
        unsigned answered;
        enum end_reason reason;
        int code;
        const char *type;
    } cases[] = {
        { "exits with inputs outstanding", "read -r a; echo ok; exit 4", NULL, 1, END_EXITED, 4, "" },
        { "exits at once", "exit 0", NULL, 0, END_EXITED, 0, "" },
        { "is killed", "read -r a; kill -9 $$", NULL, 0, END_SIGNALLED, 9, "" },
        { "ends within a line", "read -r a; printf half; exit 0", "ended within a line of 4 bytes", 0, END_EXITED, 0, "" },
        { "answers what nobody asked", "read -r a; read -r b; read -r c; printf '1\\n2\\n3\\n4\\n'; exit 0", "dropped a line that answers no input: 4",
          3, END_EXITED, 0, "" },
        { "answers a line of 100 MB", "read -r a; echo ok; tr '\\0' x </dev/zero | head -c 100000000; exec sleep 1000",
          "an answer line is over 6291556 bytes: killed", 2, END_SIGNALLED, 9, "Function.ResponseSizeTooLarge" },
        { "floods with answers to nothing", "read -r a; read -r b; read -r c; yes | head -c 30000000; exit 7", "more lines that answer no input", 3,
          END_EXITED, 7, "" },
        { "closes stdout and stays", "exec >&-; trap '' TERM; while :; do sleep 1000; done", NULL, 0, END_SIGNALLED, 9, "" },
        { "closes stdout and ends", "exec >&-; exit 5", NULL, 0, END_EXITED, 5, "" },
        { "closes stdin and stays, then ends", "exec <&-; echo ok; exit 6", NULL, 1, END_EXITED, 6, "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        given_instances();
        start_shell(1, PROTOCOL_STDIO_LINES, cases[i].script);
        deliver(1, 1, "{\"n\":1}");
        deliver(1, 2, "{\"n\":2}");
        deliver(1, 3, "{\"n\":3}");
        WAIT_FOR(bench.loop, bench.gone.count == 1);
        EXPECT_EQ(cases[i].answered, bench.answered);
        EXPECT_EQ(cases[i].reason, bench.gone.items[0].reason);
        EXPECT_EQ(cases[i].code, bench.gone.items[0].code);
        EXPECT_TEXT(cases[i].type, bench.results.count > 0 ? bench.results.items[bench.results.count - 1].type : "");
        if (cases[i].logged != NULL && strstr(log_text(), cases[i].logged) == NULL)
            test_fail(__FILE__, __LINE__, "log lacks \"%s\": %.300s", cases[i].logged, log_text());
        done();
    }
    test_label(NULL);
}

/* ---- stop, kill, loss ---- */

TEST(stop_closes_stdin_and_terminates)
{
    given_instances();
    start_command(1, PROTOCOL_STDIO_LINES, (const char *[]){ TEST_FILTER, NULL });
    start_shell(2, PROTOCOL_STDIO_LINES, "trap 'exit 0' TERM; cat");
    instances_stop(bench.instances, 1);
    instances_stop(bench.instances, 2);
    instances_stop(bench.instances, 2);
    WAIT_FOR(bench.loop, bench.gone.count == 2);
    instances_stop(bench.instances, 2); /* gone: nothing to do */
    instances_deliver(bench.instances, 2, 1, &VIEW_LITERAL("{}"), 1);
    pid_t pid;
    EXPECT(!instances_pid(bench.instances, 1, &pid));
    done();
}

TEST(stop_cuts_no_input_short)
{
    struct bytes large = larger_than_a_pipe();
    struct view line = bytes_view(&large);

    given_instances();
    start_shell(1, PROTOCOL_STDIO, "trap '' TERM; echo $$ >t1; mv t1 first; while [ ! -e go ]; do :; done; wc -c >&2");
    start_shell(2, PROTOCOL_STDIO_LINES, "trap '' TERM; echo $$ >t2; mv t2 second; while [ ! -e go ]; do :; done; wc -c >&2");
    instances_deliver(bench.instances, 1, 1, &line, 1);
    instances_deliver(bench.instances, 2, 2, &line, 1);
    (void)wait_number("first");
    (void)wait_number("second");
    instances_stop(bench.instances, 1);
    instances_stop(bench.instances, 2);
    (void)close(open(path_in("go"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    WAIT_FOR(bench.loop, bench.gone.count == 2);
    (void)unlink(path_in("go"));
    for (size_t i = 0; i < 2; i++)
        EXPECT_TEXT("5242881\n", bench.gone.items[i].tail);
    bytes_done(&large);
    done();
}

TEST(what_ignores_term_is_killed_after_the_grace)
{
    given_instances();
    start_shell(1, PROTOCOL_NATIVE, "trap '' TERM; echo $$ >t; mv t stubborn; while :; do sleep 1000; done");
    pid_t pid = wait_number("stubborn");
    ev_tstamp stopped_at = ev_time();
    instances_stop(bench.instances, 1);
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    EXPECT_EQ(SIGKILL, bench.gone.items[0].code);
    EXPECT(ev_time() - stopped_at >= STOP_GRACE_MS / 1000.0 - 0.1);
    EXPECT(process_gone(pid));
    done();
}

TEST(a_killed_instance_is_gone_at_once)
{
    given_instances();
    start_shell(1, PROTOCOL_STDIO, "read -r line; sleep 1000 & wait");
    deliver(1, 1, "{}");
    start_shell(2, PROTOCOL_STDIO, "sleep 1000");
    WAIT_FOR(bench.loop, bench.pids[1] != 0 && bench.pids[2] != 0);
    pid_t pid;
    EXPECT(instances_pid(bench.instances, 1, &pid) && pid == bench.pids[1]);
    (void)kill(bench.pids[1], SIGKILL); /* by somebody */
    instances_kill(bench.instances, 2); /* by us */
    WAIT_FOR(bench.loop, bench.gone.count == 2);
    EXPECT_EQ(0, bench.results.count);
    EXPECT_EQ(END_SIGNALLED, bench.gone.items[0].reason);
    EXPECT_EQ(END_SIGNALLED, bench.gone.items[1].reason);
    done();
}

TEST(with_the_spawner_all_instances_are_lost_and_others_start_later)
{
    given_instances();
    start_shell(1, PROTOCOL_STDIO, "read -r line; exec sleep 1000");
    deliver(1, 1, "{}");
    start_command(2, PROTOCOL_STDIO_LINES, (const char *[]){ TEST_FILTER, NULL });
    start_shell(3, PROTOCOL_NATIVE, "setsid sh -c 'echo $$ >t; mv t escaped; sleep 1000' & sleep 1000");
    pid_t escaped = wait_number("escaped");
    WAIT_FOR(bench.loop, bench.pids[1] != 0 && bench.pids[2] != 0);
    (void)kill(spawner_pid(), SIGKILL);
    start_shell(4, PROTOCOL_STDIO, "exit 0"); /* accepted, never started */
    WAIT_FOR(bench.loop, bench.gone.count == 4);
    for (size_t i = 0; i < 4; i++)
        EXPECT_EQ(END_SPAWNER_LOST, bench.gone.items[i].reason);
    EXPECT(process_gone(bench.pids[1]) && process_gone(bench.pids[2]));
    struct config_function function = { .name = "f", .command = (const char *[]){ "/bin/true", NULL }, .directory = "/" };
    EXPECT_EQ(SLUICE_EUNAVAILABLE, instances_start(bench.instances, 5, &function, NULL, NULL));
    WAIT_FOR(bench.loop, bench.ready == 2);
    EXPECT(process_gone(escaped));
    start_shell(6, PROTOCOL_STDIO, "exit 0");
    deliver(6, 6, "{}");
    WAIT_FOR(bench.loop, bench.results.count == 1);
    EXPECT_EQ(6, bench.results.items[0].lease);
    done();
}

TEST(a_burst_of_invocations_leaks_nothing)
{
    enum { BURST = 100 };
    given_instances();
    unsigned fds = fds_open();
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < BURST; i++) {
            start_command(i % 60 + 1 + 1000 * (i / 60), PROTOCOL_NATIVE, (const char *[]){ "/bin/true", NULL });
        }
        WAIT_FOR(bench.loop, bench.gone.count == BURST * (round + 1));
    }
    EXPECT_EQ(fds, fds_open());
    done();
}

/* ---- captured output ---- */

TEST(captured_lines_have_time_and_instance)
{
    given_instances();
    start_shell(1, PROTOCOL_STDIO, "echo one >&2; printf 'two\\n\\nlast' >&2");
    deliver(1, 1, "{}");
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    char text[4096], expected[] = "one|two||last|";
    (void)snprintf(text, sizeof text, "%s", log_text());
    size_t at = 0;
    for (char *line = strtok(text, "\n"), *end = expected; line != NULL; line = strtok(NULL, "\n"), at++) {
        /* 2026-11-21T23:14:00.123Z 1 one */
        char *bar = strchr(end, '|');
        *bar = '\0';
        EXPECT_EQ('T', line[10]);
        EXPECT_EQ('.', line[19]);
        EXPECT_EQ('Z', line[23]);
        EXPECT(strncmp(line + 24, " 1 ", 3) == 0);
        EXPECT_TEXT(end, line + 27);
        end = bar + 1;
    }
    EXPECT_EQ(4, at);
    EXPECT_TEXT("one\ntwo\n\nlast", bench.gone.items[0].tail);
    struct bytes few = { 0 };
    EXPECT_EQ(SLUICE_OK, instances_log_tail(bench.instances, "f", 40, &few));
    EXPECT_EQ(0, few.len > 0 ? strncmp(few.data + few.len - 5, "last\n", 5) : 1);
    EXPECT(few.len < 40);
    bytes_done(&few);
    EXPECT_EQ(SLUICE_ENOTFOUND, instances_log_tail(bench.instances, "other", 40, &few));
    done();
}

TEST(a_long_line_is_cut_with_a_mark)
{
    given_instances();
    start_shell(1, PROTOCOL_STDIO, "head -c 65536 /dev/zero | tr '\\0' a >&2; echo >&2; head -c 200000 /dev/zero | tr '\\0' b >&2; echo >&2; echo after >&2");
    deliver(1, 1, "{}");
    WAIT_FOR(bench.loop, bench.gone.count == 1);
    const char *log = log_text(), *second = strchr(log, '\n');
    EXPECT(second != NULL && second - log == 27 + 65536);
    const char *third = second != NULL ? strchr(second + 1, '\n') : NULL;
    EXPECT(third != NULL && third - second - 1 == 27 + 65536 + 6 && strncmp(third - 6, " [cut]", 6) == 0);
    EXPECT(third != NULL && strcmp(third + 1 + 27, "after\n") == 0);
    done();
}

TEST(a_flood_is_bounded_on_disk_and_others_run_meanwhile)
{
    /* Written: each line with its head of 27 bytes, the long one cut. */
    static const struct { const char *label, *script; uint64_t written; } cases[] = {
        { "1 GB in one line", "head -c 1000000000 /dev/zero >&2; echo flooded >&2", 27 + 65536 + 7 },
        { "300 MB in lines", "yes 'a line of a flood, as long as such lines usually are, and then some more of it' | head -c 300000000 >&2;"
                             " echo flooded >&2", 0 },
        { "30 MB of empty lines", "yes '' | head -c 30000000 >&2; echo flooded >&2", UINT64_C(30000000) * 28 + 27 + 8 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        given_instances();
        start_shell(1, PROTOCOL_NATIVE, cases[i].script);
        start_command(2, PROTOCOL_STDIO_LINES, (const char *[]){ TEST_FILTER, NULL });
        unsigned rounds = 0;
        while (bench.gone.count == 0 && rounds < 200) {
            deliver(2, rounds, "{}");
            WAIT_FOR(bench.loop, bench.answered == rounds + 1);
            rounds++;
        }
        EXPECT(rounds > 20);
        WAIT_FOR(bench.loop, bench.gone.count == 1);
        EXPECT_EQ(END_EXITED, bench.gone.items[0].reason);
        EXPECT_EQ(0, bench.gone.items[0].code);
        size_t tail_len = strlen(bench.gone.items[0].tail);
        EXPECT(i == 0 || (tail_len > 8 && strcmp(bench.gone.items[0].tail + tail_len - 8, "flooded\n") == 0));
        static const char *const files[] = { "logs/f.log", "logs/f.log.1", "logs/f.log.2", "logs/f.log.3" };
        struct stat info;
        for (size_t file = 0; file < 3; file++)
            EXPECT(stat(path_in(files[file]), &info) != 0 || info.st_size <= LOG_FILE_BYTES_MAX);
        EXPECT(stat(path_in(files[3]), &info) != 0);
        EXPECT(i == 0 || stat(path_in(files[2]), &info) == 0);
        EXPECT(strlen(log_text()) <= 1 << 20);
        EXPECT(cases[i].written == 0 || instances_log_position(bench.instances, "f") == cases[i].written); /* removed files count */
        done();
    }
    test_label(NULL);
}
