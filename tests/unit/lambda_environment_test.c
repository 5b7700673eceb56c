/* The environment of a Lambda function's process. */
#include <stdlib.h>

#include "broker/api/runtime/runtime_api.h"
#include "broker/base/arena.h"
#include "tests/test.h"

static const char *value_of(const char *const *environment, const char *name)
{
    size_t len = strlen(name);

    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
            return *environment + len + 1;
    return "(absent)";
}

static const char *const no_variables[] = { NULL };
static const char *const node_command[] = { "/usr/bin/node", "/usr/share/sluice/runtimes/nodejs/bootstrap.cjs", NULL };
static const char *const python_command[] = { "/usr/bin/python3", "/usr/share/sluice/runtimes/python/bootstrap.py", NULL };
static const char *const wrapped_command[] = { "/bin/sh", "/usr/share/sluice/runtimes/wrapped.sh", "/usr/bin/node",
                                               "/usr/share/sluice/runtimes/nodejs/bootstrap.cjs", NULL };
static const char *const own_command[] = { "/srv/code/bootstrap", NULL };

static void given_daemon(void)
{
    (void)setenv("AWS_SECRET_ACCESS_KEY", "of the operator", 1);
    (void)setenv("PATH", "/daemon/bin", 1);
    (void)setenv("HOME", "/home/daemon", 1);
    (void)setenv("LANG", "de_DE.UTF-8", 1);
    (void)setenv("TZ", "Europe/Berlin", 1);
    (void)setenv("EDITOR", "ed", 1);
}

static struct config_function function_of(const char *const *environment)
{
    return (struct config_function){
        .name = "thumbnail", .command = own_command, .directory = "/srv/code", .environment = environment, .handler = "index.handler", .concurrency = 1,
        .path = "/opt/node/bin:/usr/bin",
    };
}

static const char *const *environment_of(struct arena *arena, const struct config_function *function)
{
    return lambda_environment(arena, function, &(struct lambda_process){
        .instance = 17, .runtime_port = 40001, .endpoint_url = "http://127.0.0.1:4566",
        .log_stream = "2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef" });
}

/* All of it, in any order: what is not in `wanted` must not be there. */
static void expect_all(const char *const *wanted, const char *const *environment)
{
    size_t wanted_count = 0, count = 0;

    for (; wanted[wanted_count] != NULL; wanted_count++) {
        const char *equals = strchr(wanted[wanted_count], '=');
        char name[64];
        (void)snprintf(name, sizeof name, "%.*s", (int)(equals - wanted[wanted_count]), wanted[wanted_count]);
        test_label(name);
        EXPECT_TEXT(equals + 1, value_of(environment, name));
    }
    for (; environment[count] != NULL; count++) {
        size_t at = 0;
        while (wanted[at] != NULL && strcmp(wanted[at], environment[count]) != 0)
            at++;
        test_label(environment[count]);
        EXPECT(wanted[at] != NULL);
    }
    test_label(NULL);
    EXPECT_EQ(wanted_count, count);
}

/* What AWS documents, and where: aws-lambda "Defined runtime environment variables", and a process of each kind there. */
#define OF_ALL \
    "SLUICE_FUNCTION=thumbnail", "SLUICE_INSTANCE=17", "AWS_LAMBDA_RUNTIME_API=127.0.0.1:40001", "_HANDLER=index.handler", "LAMBDA_TASK_ROOT=/srv/code", \
    "AWS_LAMBDA_FUNCTION_NAME=thumbnail", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", \
    "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/thumbnail", "AWS_LAMBDA_LOG_STREAM_NAME=2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef", \
    "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", \
    "AWS_SECRET_ACCESS_KEY=test", "AWS_SESSION_TOKEN=test", "AWS_ENDPOINT_URL=http://127.0.0.1:4566", "AWS_XRAY_CONTEXT_MISSING=LOG_ERROR", \
    "AWS_XRAY_DAEMON_ADDRESS=127.0.0.1:2000", "_AWS_XRAY_DAEMON_ADDRESS=127.0.0.1", "_AWS_XRAY_DAEMON_PORT=2000", "AWS_LAMBDA_LOG_FORMAT=Text", \
    "TZ=:UTC", "LANG=en_US.UTF-8", "PATH=/opt/node/bin:/usr/bin", "LD_LIBRARY_PATH=/srv/code:/srv/code/lib:/opt/lib", "HOME=/home/daemon"
static const char *const of_own[] = { OF_ALL, "LAMBDA_RUNTIME_DIR=/srv/code", NULL };
static const char *const of_node[] = { OF_ALL, "LAMBDA_RUNTIME_DIR=/usr/share/sluice/runtimes/nodejs", "AWS_EXECUTION_ENV=AWS_Lambda_nodejs",
                                       "NODE_PATH=/opt/nodejs/node_modules:/usr/share/sluice/runtimes/nodejs/node_modules", NULL };
static const char *const of_python[] = { OF_ALL, "LAMBDA_RUNTIME_DIR=/usr/share/sluice/runtimes/python", "AWS_EXECUTION_ENV=AWS_Lambda_python",
                                         "PYTHONPATH=/usr/share/sluice/runtimes/python", NULL };

TEST(the_whole_environment_is_what_is_documented)
{
    static const struct { const char *label; enum function_runtime runtime; const char *const *command, *const *wanted; } cases[] = {
        { "command", RUNTIME_NONE, own_command, of_own },
        { "provided", RUNTIME_PROVIDED, own_command, of_own },
        { "nodejs", RUNTIME_NODEJS, node_command, of_node },
        { "nodejs, through a wrapper", RUNTIME_NODEJS, wrapped_command, of_node },
        { "python", RUNTIME_PYTHON, python_command, of_python },
    };
    struct arena *arena = arena_new(4096);
    struct config_function function = function_of(no_variables);

    given_daemon();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        function.runtime = cases[i].runtime;
        function.command = cases[i].command;
        expect_all(cases[i].wanted, environment_of(arena, &function));
    }
    arena_free(arena);
}

TEST(they_follow_the_configuration)
{
    struct arena *arena = arena_new(4096);
    struct config_function function = function_of(NULL);

    function.memory_bytes = INT64_C(512) << 20;
    function.concurrency = 4;
    function.runtime = RUNTIME_NODEJS;
    function.command = node_command;
    function.handler = NULL;
    const char *const *environment = lambda_environment(arena, &function, &(struct lambda_process){
        .instance = 17, .provisioned = true, .runtime_port = 1, .log_stream = "s" });
    EXPECT_TEXT("512", value_of(environment, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
    EXPECT_TEXT("provisioned-concurrency", value_of(environment, "AWS_LAMBDA_INITIALIZATION_TYPE"));
    EXPECT_TEXT("4", value_of(environment, "AWS_LAMBDA_MAX_CONCURRENCY"));
    EXPECT_TEXT("AWS_Lambda_nodejs", value_of(environment, "AWS_EXECUTION_ENV"));
    EXPECT_TEXT("/usr/share/sluice/runtimes/nodejs", value_of(environment, "LAMBDA_RUNTIME_DIR"));
    EXPECT_TEXT("bootstrap", value_of(environment, "_HANDLER"));
    EXPECT_TEXT("(absent)", value_of(environment, "AWS_ENDPOINT_URL"));
    function.log_format = LOG_FORMAT_JSON;
    function.log_level = "DEBUG";
    function.command = wrapped_command;
    environment = lambda_environment(arena, &function, &(struct lambda_process){ .instance = 17, .runtime_port = 1, .log_stream = "s" });
    EXPECT_TEXT("/usr/share/sluice/runtimes/nodejs", value_of(environment, "LAMBDA_RUNTIME_DIR"));
    EXPECT_TEXT("JSON", value_of(environment, "AWS_LAMBDA_LOG_FORMAT"));
    EXPECT_TEXT("DEBUG", value_of(environment, "AWS_LAMBDA_LOG_LEVEL"));
    arena_free(arena);
}

TEST(a_functions_own_variables_stand_below_the_platforms_and_above_the_defaults)
{
    static const char *const own[] = { "AWS_LAMBDA_RUNTIME_API=evil:1", "LAMBDA_TASK_ROOT=/", "TZ=Europe/Berlin", "PATH=/opt/mine", "AWS_REGION=eu-central-1",
                                       "AWS_ENDPOINT_URL=http://localhost:1", "TABLE=", NULL };
    struct arena *arena = arena_new(4096);
    struct config_function function = function_of(own);
    const char *const *environment = environment_of(arena, &function);
    unsigned tasks = 0;

    for (const char *const *at = environment; *at != NULL; at++)
        tasks += strncmp(*at, "LAMBDA_TASK_ROOT=", 17) == 0;
    EXPECT_EQ(1, tasks);
    EXPECT_TEXT("127.0.0.1:40001", value_of(environment, "AWS_LAMBDA_RUNTIME_API"));
    EXPECT_TEXT("/srv/code", value_of(environment, "LAMBDA_TASK_ROOT"));
    EXPECT_TEXT("Europe/Berlin", value_of(environment, "TZ"));
    EXPECT_TEXT("/opt/mine", value_of(environment, "PATH"));
    EXPECT_TEXT("eu-central-1", value_of(environment, "AWS_REGION"));
    EXPECT_TEXT("http://localhost:1", value_of(environment, "AWS_ENDPOINT_URL"));
    EXPECT_TEXT("", value_of(environment, "TABLE"));
    arena_free(arena);
}

TEST(a_function_with_credentials_of_its_own_gets_no_placeholders)
{
    static const char *const keys[] = { "AWS_ACCESS_KEY_ID=A", "AWS_SECRET_ACCESS_KEY=B", "TZX=1", NULL }, *const profile[] = { "AWS_PROFILE=p", NULL };
    struct arena *arena = arena_new(4096);
    struct config_function function = function_of(keys);
    const char *const *environment = environment_of(arena, &function);

    EXPECT_TEXT("A", value_of(environment, "AWS_ACCESS_KEY_ID"));
    EXPECT_TEXT("(absent)", value_of(environment, "AWS_SESSION_TOKEN"));
    EXPECT_TEXT(":UTC", value_of(environment, "TZ")); /* TZX is another one */
    function = function_of(profile);
    EXPECT_TEXT("(absent)", value_of(environment_of(arena, &function), "AWS_ACCESS_KEY_ID"));
    arena_free(arena);
}

TEST(of_the_daemons_environment_only_home_is_inherited)
{
    struct arena *arena = arena_new(4096);
    struct config_function function = function_of(NULL);

    given_daemon();
    const char *const *environment = environment_of(arena, &function);
    EXPECT_TEXT("test", value_of(environment, "AWS_SECRET_ACCESS_KEY"));
    EXPECT_TEXT("(absent)", value_of(environment, "EDITOR"));
    EXPECT_TEXT("/home/daemon", value_of(environment, "HOME"));
    (void)unsetenv("HOME");
    EXPECT_TEXT("(absent)", value_of(environment_of(arena, &function), "HOME"));
    arena_free(arena);
}
