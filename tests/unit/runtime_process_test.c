/* A real process at the Runtime API: started in a group of its own with the environment of a Lambda function, a child of it speaks. */
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/arena.h"
#include "broker/base/assert.h"
#include "tests/test.h"
#include "tests/unit/runtime_bench.h"

/* A runtime in a few lines, behind a shell as many are. It echoes; "fail" is an error, "large" a response of 2 MiB in chunks, "exit" its end. */
#define RUNTIME_PY \
    "import http.client, json, os, sys\n" \
    "c = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])\n" \
    "base = '/2018-06-01/runtime/invocation/'\n" \
    "while True:\n" \
    "    c.request('GET', base + 'next')\n" \
    "    r = c.getresponse()\n" \
    "    event = json.loads(r.read())\n" \
    "    post = base + r.headers['Lambda-Runtime-Aws-Request-Id']\n" \
    "    if event == 'exit':\n" \
    "        sys.exit(3)\n" \
    "    elif event == 'fail':\n" \
    "        c.request('POST', post + '/error', json.dumps({'errorMessage': 'no', 'errorType': 'ValueError'}))\n" \
    "    elif event == 'large':\n" \
    "        c.request('POST', post + '/response', (b'x' * 65536 for _ in range(32)), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})\n" \
    "    else:\n" \
    "        c.request('POST', post + '/response', json.dumps([event, os.environ['_HANDLER'], os.getcwd() == os.environ['LAMBDA_TASK_ROOT']]))\n" \
    "    assert (c.getresponse().read(), 202) == (b'{\"status\":\"OK\"}', 202)\n"

static pid_t process_start(struct bench *bench, struct arena *arena)
{
    const char *const arguments[] = { "/bin/sh", "-c", "cd \"$LAMBDA_TASK_ROOT\" && python3 -c \"$RUNTIME\"; exit $?", NULL };
    static const char *const own[] = { "RUNTIME=" RUNTIME_PY, NULL };
    posix_spawnattr_t attributes;
    pid_t pid = 0;

    bench->function.environment = own;
    const char *const *environment = lambda_environment(arena, &bench->function, &(struct lambda_process){
        .instance = BENCH_INSTANCE, .runtime_port = bench->port, .log_stream = "stream" });
    ASSERT(posix_spawnattr_init(&attributes) == 0);
    ASSERT(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP) == 0);
    EXPECT_EQ(0, posix_spawn(&pid, arguments[0], NULL, &attributes, (char *const *)arguments, (char *const *)environment));
    (void)posix_spawnattr_destroy(&attributes);
    return pid;
}

static bool has_ended(void *ctx)
{
    siginfo_t info = { 0 };

    return waitid(P_PID, (id_t) * (pid_t *)ctx, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

TEST(a_process_with_the_environment_of_a_function_is_a_runtime)
{
    struct bench *bench = bench_open((struct bench_options){ .not_started = true, .directory = test_directory() });
    struct arena *arena = arena_new(4096);
    pid_t pid = process_start(bench, arena);

    runtime_started(bench->api, BENCH_INSTANCE, pid);
    EXPECT(bench_until_heard(bench, "wants"));
    bench_deliver(bench, 1, "{\"a\":[1]}");
    EXPECT(bench_until_heard(bench, "ok1:[{\"a\": [1]}, \"index.handler\", true] wants"));
    bench_deliver(bench, 2, "\"fail\"");
    EXPECT(bench_until_heard(bench, "fail2:ValueError:{\"errorMessage\": \"no\", \"errorType\": \"ValueError\"} wants"));
    bench_deliver(bench, 3, "\"large\"");
    EXPECT(bench_until_heard(bench, "ok3:(2097152 bytes) wants"));
    bench_deliver(bench, 4, "\"exit\"");
    EXPECT(bench_until(bench, has_ended, &pid));
    EXPECT(memmem(bench->heard.data, bench->heard.len, "ok4", 3) == NULL);
    (void)waitpid(pid, NULL, 0);
    arena_free(arena);
    bench_close(bench);
}

TEST(a_process_of_another_instance_is_closed_unheard)
{
    struct bench *bench = bench_open((struct bench_options){ .not_started = true });
    struct client stranger;
    struct arena *arena = arena_new(4096);
    pid_t pid = process_start(bench, arena);

    runtime_started(bench->api, BENCH_INSTANCE, pid);
    client_open(&stranger, bench); /* this process: not of that group */
    client_request(&stranger, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    EXPECT(client_closed(&stranger));
    EXPECT(bench_until_heard(bench, "wants"));
    EXPECT_TEXT("wants", bench_heard(bench)); /* once: of the instance itself */
    client_close(&stranger);
    (void)kill(-pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    arena_free(arena);
    bench_close(bench);
}
