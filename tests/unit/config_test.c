/* Configuration files: what a good one becomes, and what each mistake is called, to the column. */
#include "broker/core/config.h"
#include "broker/edge/config_file.h"
#include "broker/edge/mistakes.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

/* ---- helpers ---- */

static char text_buffer[1 << 20];

static const char *in_directory(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", test_directory(), name);
    return path;
}

static void write_file(const char *name, const char *text, size_t len, mode_t mode)
{
    const char *path = in_directory(name);
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(text, 1, len, file) != len || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    (void)chmod(path, mode);
}

/* The folder every test finds: programs, a code folder, tokens. */
static void given_programs(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    (void)mkdir(in_directory("code"), 0755);
    write_file("run.sh", "#!/bin/sh\n", 10, 0755);
    write_file("code/handler", "#!/bin/sh\n", 10, 0755);
    write_file("plain.txt", "text\n", 5, 0644);
    write_file("token", "secret\n", 7, 0600);
    (void)mkdir(in_directory("bin"), 0755);
    (void)mkdir(in_directory("runtimes"), 0755);
    (void)mkdir(in_directory("runtimes/nodejs"), 0755);
    (void)mkdir(in_directory("runtimes/python"), 0755);
    write_file("bin/node", "#!/bin/sh\n", 10, 0755);
    write_file("bin/python3", "#!/bin/sh\n", 10, 0755);
    write_file("runtimes/nodejs/bootstrap.cjs", "", 0, 0644);
    write_file("runtimes/python/bootstrap.py", "", 0, 0644);
    write_file("code/bootstrap", "#!/bin/sh\n", 10, 0755);
    char path[512];
    (void)snprintf(path, sizeof path, "%s:/usr/bin:/bin", in_directory("bin"));
    (void)setenv("PATH", path, 1);
    write_file("token-open", "secret\n", 7, 0644);
    write_file("token-empty", "", 0, 0600);
}

/* Loads `path`; what was printed, without the test directory's name, is in text_buffer. */
static struct config_file *load_path(const char *path, unsigned *count)
{
    char *printed = NULL;
    size_t len = 0;
    FILE *errors = open_memstream(&printed, &len);
    struct config_file *file = config_file_load(path, in_directory("runtimes"), errors, count);
    (void)fclose(errors);

    char *to = text_buffer;
    const char *directory = test_directory();
    size_t directory_len = strlen(directory);
    for (const char *from = printed; *from != '\0' && to < text_buffer + sizeof text_buffer - 1;) {
        if (strncmp(from, directory, directory_len) == 0)
            from += directory_len + (from[directory_len] == '/');
        else
            *to++ = *from++;
    }
    *to = '\0';
    free(printed);
    return file;
}

static struct config_file *load_text(const char *name, const char *text, unsigned *count)
{
    given_programs();
    write_file(name, text, strlen(text), 0644);
    return load_path(in_directory(name), count);
}

static const char *below(const char *path)
{
    const char *directory = test_directory();
    size_t len = strlen(directory);
    return path != NULL && strncmp(path, directory, len) == 0 ? path + len + (path[len] == '/') : path;
}

#define FUNCTION_F "functions: {f: {command: [./run.sh], protocol: stdio}}\n"

/* ---- good configurations ---- */

TEST(every_key_reaches_the_model)
{
    unsigned count = 99;
    struct config_file *file = load_text("every.yaml",
        "listen:\n"
        "  bus: [ipc://bus.sock, 'tcp://127.0.0.1:4560', ipc:///run/x.sock]\n"
        "  http: '[::1]:0'\n"
        "  token-file: token\n"
        "data: ./var\n"
        "buses: [orders, a/b]\n"
        "functions:\n"
        "  zed:\n"
        "    command: [./handler, 5, true, '', \"a\\tb\"]\n"
        "    code: code\n"
        "    environment: {LEVEL: 7, DEBUG: false, EMPTY: '', NO: no}\n"
        "    protocol: stdio-lines\n"
        "    timeout: 15m\n"
        "    memory: 128MB\n"
        "    concurrency: 4\n"
        "    batch: {size: 100, window: 250ms, partial-failures: true}\n"
        "    scale: {min: 1, max: 20, idle: 1d, drain-target: 5s}\n"
        "    retry: {attempts: 5, backoff: 2s..5m, max-age: 7d}\n"
        "    input: cloudevent\n"
        "rules:\n"
        "  r1:\n"
        "    bus: mine\n"
        "    description: what it is for\n"
        "    enabled: false\n"
        "    pattern: {source: [files], n: [1.50, -0, true, null, no, 0o17, .jpg, '1', \"x\\ny\"]}\n"
        "    targets:\n"
        "      - {function: zed, input-path: $.detail}\n"
        "      - {function: zed, input-template: '\"<n> is\"', input-paths-map: {n: $.detail.n}}\n"
        "      - {function: zed, input: {a: [1, two, {b: null}], c: \"l1\\nl2\"}}\n"
        "      - function: zed\n", &count);
    EXPECT_TEXT("", text_buffer);
    EXPECT_EQ(0, count);
    if (file == NULL)
        return;
    const struct config *config = &file->config;
    EXPECT_TEXT("ipc://", memcmp(config->bus_listeners[0], "ipc://", 6) == 0 ? "ipc://" : config->bus_listeners[0]);
    EXPECT_TEXT("bus.sock", below(config->bus_listeners[0] + 6));
    EXPECT_TEXT("tcp://127.0.0.1:4560", config->bus_listeners[1]);
    EXPECT_TEXT("ipc:///run/x.sock", config->bus_listeners[2]);
    EXPECT(config->bus_listeners[3] == NULL);
    EXPECT_TEXT("[::1]:0", config->http);
    EXPECT_TEXT("token", below(config->token_file));
    EXPECT_TEXT("var", below(config->data));
    EXPECT_EQ(4, config->buses_count);
    EXPECT_TEXT("a/b", config->buses[0]);
    EXPECT_TEXT("default", config->buses[1]);
    EXPECT_TEXT("mine", config->buses[2]);
    EXPECT_TEXT("orders", config->buses[3]);
    EXPECT(config->buses[4] == NULL);
    EXPECT_TEXT("every.yaml", below(file->paths[0]));
    EXPECT(file->paths[1] == NULL);

    const struct config_function *zed = config_function_find(config, "zed");
    EXPECT_EQ(1, config->functions_count);
    EXPECT_TEXT("code/handler", below(zed->command[0]));
    EXPECT_TEXT("5", zed->command[1]);
    EXPECT_TEXT("true", zed->command[2]);
    EXPECT_TEXT("", zed->command[3]);
    EXPECT_TEXT("a\tb", zed->command[4]);
    EXPECT(zed->command[5] == NULL);
    EXPECT_TEXT("code", below(zed->directory));
    EXPECT_TEXT("LEVEL=7", zed->environment[0]);
    EXPECT_TEXT("DEBUG=false", zed->environment[1]);
    EXPECT_TEXT("EMPTY=", zed->environment[2]);
    EXPECT_TEXT("NO=no", zed->environment[3]);
    EXPECT(zed->environment[4] == NULL);
    EXPECT_EQ(PROTOCOL_STDIO_LINES, zed->protocol);
    EXPECT_EQ(900000, zed->timeout_ms);
    EXPECT_EQ(128000000, zed->memory_bytes);
    EXPECT_EQ(4, zed->concurrency);
    EXPECT_EQ(100, zed->batch_size);
    EXPECT_EQ(250, zed->batch_window_ms);
    EXPECT(zed->batch_partial_failures);
    EXPECT_EQ(1, zed->scale_min);
    EXPECT_EQ(20, zed->scale_max);
    EXPECT_EQ(86400000, zed->idle_ms);
    EXPECT_EQ(5000, zed->drain_target_ms);
    EXPECT_EQ(5, zed->retry_attempts);
    EXPECT_EQ(2000, zed->backoff_min_ms);
    EXPECT_EQ(300000, zed->backoff_max_ms);
    EXPECT_EQ(604800000, zed->max_age_ms);
    EXPECT_EQ(EVENT_SHAPE_CLOUDEVENT, zed->input);

    const struct config_rule *rule = config_rule_find(config, "r1");
    EXPECT_EQ(1, config->rules_count);
    EXPECT_TEXT("mine", rule->bus);
    EXPECT(!rule->enabled);
    EXPECT_TEXT("{\"source\":[\"files\"],\"n\":[1.50,-0,true,null,\"no\",\"0o17\",\".jpg\",\"1\",\"x\\ny\"]}", rule->pattern);
    EXPECT_EQ(4, rule->targets_count);
    EXPECT_EQ(TARGET_INPUT_PATH, rule->targets[0].input);
    EXPECT_TEXT("$.detail", rule->targets[0].text);
    EXPECT_EQ(TARGET_INPUT_TEMPLATE, rule->targets[1].input);
    EXPECT_TEXT("{\"template\":\"\\\"<n> is\\\"\",\"paths\":{\"n\":\"$.detail.n\"}}", rule->targets[1].text);
    EXPECT_EQ(TARGET_INPUT_CONSTANT, rule->targets[2].input);
    EXPECT_TEXT("{\"a\":[1,\"two\",{\"b\":null}],\"c\":\"l1\\nl2\"}", rule->targets[2].text);
    EXPECT_EQ(TARGET_INPUT_EVENT, rule->targets[3].input);
    EXPECT(rule->targets[3].text == NULL);
    EXPECT(rule->targets[3].function == zed->name);
    EXPECT_TEXT("every.yaml", below(rule->file));
    EXPECT_EQ(21, rule->line);
    (void)config_file_free(file);
}

TEST(what_is_not_said_has_its_default)
{
    unsigned count = 99;
    struct config_file *file = load_text("least.yaml",
        "functions:\n  f:\n    command: [sh]\n    protocol: native\n"
        "rules:\n  r: {pattern: {source: [a]}, targets: [{function: f}]}\n", &count);
    EXPECT_TEXT("", text_buffer);
    if (file == NULL)
        return;
    const struct config *config = &file->config;
    const struct config_function *f = config_function_find(config, "f");
    EXPECT(config->bus_listeners[0] == NULL);
    EXPECT(config->token_file == NULL);
    EXPECT(config->http == NULL);
    EXPECT(config->data == NULL);
    EXPECT_EQ(1, config->buses_count);
    EXPECT_TEXT("default", config->buses[0]);
    EXPECT_EQ('/', f->command[0][0]);
    EXPECT(access(f->command[0], X_OK) == 0);
    EXPECT_TEXT("", below(f->directory));
    EXPECT(f->environment[0] == NULL);
    EXPECT_EQ(PROTOCOL_NATIVE, f->protocol);
    EXPECT_EQ(3000, f->timeout_ms);
    EXPECT_EQ(0, f->memory_bytes);
    EXPECT_EQ(1, f->concurrency);
    EXPECT_EQ(1, f->batch_size);
    EXPECT_EQ(0, f->batch_window_ms);
    EXPECT(!f->batch_partial_failures);
    EXPECT_EQ(0, f->scale_min);
    EXPECT_EQ(10, f->scale_max);
    EXPECT_EQ(60000, f->idle_ms);
    EXPECT_EQ(1000, f->drain_target_ms);
    EXPECT_EQ(3, f->retry_attempts);
    EXPECT_EQ(1000, f->backoff_min_ms);
    EXPECT_EQ(60000, f->backoff_max_ms);
    EXPECT_EQ(21600000, f->max_age_ms);
    EXPECT_EQ(EVENT_SHAPE_EVENTBRIDGE, f->input);
    EXPECT_TEXT("default", config->rules[0].bus);
    EXPECT(config->rules[0].enabled);
    (void)config_file_free(file);
}

TEST(each_runtime_becomes_a_command)
{
    static const struct { const char *label, *keys, *program, *argument, *handler; enum function_runtime runtime; } cases[] = {
        { "nodejs", "runtime: nodejs, handler: src/index.handler", "bin/node", "runtimes/nodejs/bootstrap.cjs", "src/index.handler", RUNTIME_NODEJS },
        { "python", "runtime: python, handler: a.b.c, protocol: lambda", "bin/python3", "runtimes/python/bootstrap.py", "a.b.c", RUNTIME_PYTHON },
        { "provided", "runtime: provided, code: code", "code/bootstrap", "", "", RUNTIME_PROVIDED },
        { "provided, with a handler", "runtime: provided, code: code, handler: any", "code/bootstrap", "", "any", RUNTIME_PROVIDED },
        { "command", "command: [./run.sh, x], handler: h", "run.sh", "x", "h", RUNTIME_NONE },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        test_label(cases[i].label);
        (void)snprintf(text, sizeof text, "functions: {f: {%s}}\n", cases[i].keys);
        struct config_file *file = load_text("runtime.yaml", text, NULL);
        EXPECT_TEXT("", text_buffer);
        if (file == NULL)
            continue;
        const struct config_function *f = config_function_find(&file->config, "f");
        EXPECT_EQ(PROTOCOL_LAMBDA, f->protocol);
        EXPECT_EQ(cases[i].runtime, f->runtime);
        EXPECT_TEXT(cases[i].program, below(f->command[0]));
        EXPECT_TEXT(cases[i].argument, f->command[1] == NULL ? "" : below(f->command[1]));
        EXPECT(f->command[1] == NULL || f->command[2] == NULL);
        EXPECT_TEXT(cases[i].handler, f->handler == NULL ? "" : f->handler);
        (void)config_file_free(file);
    }
}

TEST(a_wrapper_stands_before_the_commands_of_our_runtimes)
{
    static const struct { const char *label, *keys, *words[5]; } cases[] = {
        { "nodejs", "runtime: nodejs, handler: a.b, environment: {A: b, AWS_LAMBDA_EXEC_WRAPPER: /opt/w}",
          { "/bin/sh", "runtimes/wrapped.sh", "bin/node", "runtimes/nodejs/bootstrap.cjs" } },
        { "python", "runtime: python, handler: a.b, environment: {AWS_LAMBDA_EXEC_WRAPPER: ./w}",
          { "/bin/sh", "runtimes/wrapped.sh", "bin/python3", "runtimes/python/bootstrap.py" } },
        { "an empty one", "runtime: python, handler: a.b, environment: {AWS_LAMBDA_EXEC_WRAPPER: ''}", { "bin/python3", "runtimes/python/bootstrap.py" } },
        { "another variable", "runtime: python, handler: a.b, environment: {AWS_LAMBDA_EXEC_WRAPPERS: x}", { "bin/python3", "runtimes/python/bootstrap.py" } },
        { "provided", "runtime: provided, code: code, environment: {AWS_LAMBDA_EXEC_WRAPPER: /opt/w}", { "code/bootstrap" } },
        { "command", "command: [./run.sh, x], environment: {AWS_LAMBDA_EXEC_WRAPPER: /opt/w}", { "run.sh", "x" } },
        { "stdio", "command: [./run.sh], protocol: stdio, environment: {AWS_LAMBDA_EXEC_WRAPPER: /opt/w}", { "run.sh" } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        test_label(cases[i].label);
        (void)snprintf(text, sizeof text, "functions: {f: {%s}}\n", cases[i].keys);
        struct config_file *file = load_text("wrapper.yaml", text, NULL);
        EXPECT_TEXT("", text_buffer);
        if (file == NULL)
            continue;
        const char *const *command = config_function_find(&file->config, "f")->command;
        unsigned words = 0;
        for (; words < 4 && cases[i].words[words] != NULL && command[words] != NULL; words++)
            EXPECT_TEXT(cases[i].words[words], below(command[words]));
        EXPECT(cases[i].words[words] == NULL);
        EXPECT(command[words] == NULL);
        (void)config_file_free(file);
    }
    test_label(NULL);
}

/* What only looks at the rules, such as `rule test`, needs none. */
TEST(without_a_folder_of_runtimes_none_is_looked_for)
{
    given_programs();
    static const char text[] = "functions: {f: {runtime: nodejs, handler: a.b}}\n";
    write_file("rules-only.yaml", text, strlen(text), 0644);
    struct config_file *file = config_file_load(in_directory("rules-only.yaml"), NULL, stderr, NULL);
    EXPECT(file != NULL);
    (void)config_file_free(file);
}

TEST(a_retry_that_was_given_is_told_from_the_default)
{
    static const struct { const char *label, *keys; bool given; } cases[] = {
        { "none", "command: [sh]", false }, { "empty", "command: [sh], retry: {}", true }, { "some", "command: [sh], retry: {attempts: 1}", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        test_label(cases[i].label);
        (void)snprintf(text, sizeof text, "functions: {f: {%s}}\n", cases[i].keys);
        struct config_file *file = load_text("retry.yaml", text, NULL);
        EXPECT(file != NULL && config_function_find(&file->config, "f")->retry_given == cases[i].given);
        (void)config_file_free(file);
    }
}

TEST(values_at_the_edges_are_taken)
{
    static const struct { const char *label, *key; } cases[] = {
        { "shortest timeout", "timeout: 1ms" }, { "longest timeout", "timeout: 7d" },
        { "paused", "scale: {max: 0}" }, { "as many as can be", "scale: {min: 10000, max: 10000}" },
        { "no idle time", "scale: {idle: 0s}" }, { "one backoff for all tries", "retry: {backoff: 1s}" },
        { "one attempt", "retry: {attempts: 1}" }, { "most attempts", "retry: {attempts: 1000}" },
        { "bytes", "memory: 1048576" }, { "binary", "memory: 1GiB" }, { "quoted size", "memory: '64MiB'" },
        { "empty map", "batch: {}" }, { "empty environment", "environment: {}" }, { "absolute folder", "code: /" },
        { "quoted duration", "timeout: \"3s\"" }, { "explicit event", "input: event" }, { "detail", "input: detail" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned count = 99;
        char text[256];
        test_label(cases[i].label);
        (void)snprintf(text, sizeof text, "functions: {f: {command: [sh], protocol: stdio, %s}}\n", cases[i].key);
        struct config_file *file = load_text("edge.yaml", text, &count);
        EXPECT_TEXT("", text_buffer);
        EXPECT_EQ(0, count);
        (void)config_file_free(file);
    }
}

TEST(files_that_say_nothing_are_good)
{
    static const char *const texts[] = { "", "# comment\n", "---\n", "functions:\nrules:\nbuses:\n", "{}", "null\n", "\xef\xbb\xbf# bom\n" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        unsigned count = 99;
        test_label(texts[i]);
        struct config_file *file = load_text("nothing.yaml", texts[i], &count);
        EXPECT_TEXT("", text_buffer);
        EXPECT_EQ(0, count);
        if (file != NULL)
            EXPECT_EQ(1, file->config.buses_count);
        (void)config_file_free(file);
    }
}

TEST(json_is_read_too)
{
    unsigned count = 99;
    static const char text[] =
        "{\n\t\"functions\": {\"f\": {\"command\": [\"./run.sh\", \"a\\/b\\ud83d\\ude00\"], \"protocol\": \"stdio\"}},\n"
        "\t\"rules\": {\"r\": {\"pattern\": {\"source\": [\"1\", 1]}, \"targets\": [{\"function\": \"f\", \"input\": [1, \"1\"]}]}}\n}\n";
    static const char *const names[] = { "config.json", "json.yaml" };
    for (int i = 0; i < 2; i++) {
        test_label(names[i]);
        struct config_file *file = load_text(names[i], text, &count);
        EXPECT_TEXT("", text_buffer);
        if (file == NULL)
            continue;
        EXPECT_TEXT("a/b\xf0\x9f\x98\x80", file->config.functions[0].command[1]);
        EXPECT_TEXT("{\"source\":[\"1\",1]}", file->config.rules[0].pattern);
        EXPECT_TEXT("[1,\"1\"]", file->config.rules[0].targets[0].text);
        (void)config_file_free(file);
    }
}

TEST(a_pattern_may_be_json_text)
{
    unsigned count = 99;
    struct config_file *file = load_text("text.yaml",
        FUNCTION_F
        "rules:\n"
        "  r:\n"
        "    pattern: |\n"
        "      {\"source\":\n"
        "        [\"a\"]}\n"
        "    targets: [{function: f}]\n", &count);
    EXPECT_TEXT("", text_buffer);
    if (file != NULL)
        EXPECT_TEXT("{\"source\":\n  [\"a\"]}\n", file->config.rules[0].pattern);
    (void)config_file_free(file);
}

TEST(lists_are_sorted_and_found_by_name)
{
    unsigned count = 99;
    struct config_file *file = load_text("sorted.yaml",
        "buses: [z, b, default, b2]\n"
        "functions:\n"
        "  b: {command: [sh], protocol: stdio}\n  a-1: {command: [sh], protocol: stdio}\n"
        "  a: {command: [sh], protocol: stdio}\n  B: {command: [sh], protocol: stdio}\n"
        "rules:\n"
        "  two: {pattern: {a: [1]}, targets: [{function: b}]}\n  one: {pattern: {a: [1]}, targets: [{function: a}]}\n", &count);
    EXPECT_TEXT("", text_buffer);
    if (file == NULL)
        return;
    static const char *const functions[] = { "B", "a", "a-1", "b" };
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_TEXT(functions[i], file->config.functions[i].name);
        EXPECT(config_function_find(&file->config, functions[i]) == &file->config.functions[i]);
    }
    EXPECT(config_function_find(&file->config, "c") == NULL);
    EXPECT(config_function_find(&file->config, "") == NULL);
    EXPECT_TEXT("one", file->config.rules[0].name);
    EXPECT(config_rule_find(&file->config, "two") == &file->config.rules[1]);
    EXPECT(config_rule_find(&file->config, "three") == NULL);
    static const struct { const char *bus; bool known; } buses[] = {
        { "b", true }, { "b2", true }, { "default", true }, { "z", true }, { "", false }, { "b1", false }, { "defaul", false }, { "zz", false },
    };
    for (size_t i = 0; i < sizeof buses / sizeof buses[0]; i++) {
        test_label(buses[i].bus);
        EXPECT_EQ(buses[i].known, config_bus_known(&file->config, view_of(buses[i].bus)));
    }
    EXPECT(!config_bus_known(&file->config, (struct view){ "b\0x", 3 }));
    (void)config_file_free(file);
}

TEST(a_log_is_text_or_json_with_a_level)
{
    static const struct { const char *label, *keys; enum log_format format; const char *level; } cases[] = {
        { "nothing said", "command: [sh]", LOG_FORMAT_TEXT, NULL }, { "text", "command: [sh], log: {format: text}", LOG_FORMAT_TEXT, NULL },
        { "json", "command: [sh], log: {format: json}", LOG_FORMAT_JSON, "INFO" },
        { "a level", "command: [sh], log: {level: debug, format: json, report: none}", LOG_FORMAT_JSON, "DEBUG" },
        { "stdio", "command: [sh], protocol: stdio, log: {format: json}", LOG_FORMAT_JSON, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        test_label(cases[i].label);
        (void)snprintf(text, sizeof text, "functions: {f: {%s}}\n", cases[i].keys);
        struct config_file *file = load_text("log.yaml", text, NULL);
        EXPECT_TEXT("", text_buffer);
        if (file == NULL)
            continue;
        const struct config_function *f = config_function_find(&file->config, "f");
        EXPECT_EQ(cases[i].format, f->log_format);
        EXPECT_TEXT(cases[i].level == NULL ? "" : cases[i].level, f->log_level == NULL ? "" : f->log_level);
        (void)config_file_free(file);
    }
    test_label(NULL);
}

TEST(a_functions_url_has_the_keys_of_a_route)
{
    unsigned count = 99;
    struct config_file *file = load_text("url.yaml",
        "functions:\n"
        "  f: {command: [./run.sh], url: {stream: true, cors: {allow-origins: ['https://a'], max-age: 5m}}}\n"
        "  g: {command: [./run.sh], protocol: stdio, url: {}}\n"
        "  h: {command: [./run.sh]}\n", &count);
    EXPECT_TEXT("", text_buffer);
    if (file == NULL)
        return;
    const struct config_web *url = &config_function_find(&file->config, "f")->url;
    EXPECT(url->stream);
    EXPECT_TEXT("https://a", url->cors->allow_origins[0]);
    EXPECT(url->cors->allow_methods[0] == NULL);
    EXPECT_EQ(300000, url->cors->max_age_ms);
    for (const char *name = "g"; name != NULL; name = *name == 'g' ? "h" : NULL) {
        url = &config_function_find(&file->config, name)->url;
        EXPECT(!url->stream && url->cors == NULL);
    }
    (void)config_file_free(file);
}

TEST(routes_are_sorted_by_what_they_say)
{
    unsigned count = 99;
    struct config_file *file = load_text("routes.yaml",
        "listen: {http: 'localhost:0', http-hosts: [a.example, b]}\n"
        "functions: {f: {command: [./run.sh]}, g: {command: [./run.sh], protocol: stdio-lines}}\n"
        "routes:\n"
        "  all: {path: '/{rest+}', function: g}\n"
        "  one:\n"
        "    path: /a/{id}\n"
        "    methods: [GET, PUT]\n"
        "    function: f\n"
        "    stream: true\n"
        "    cors: {allow-origins: ['https://a', 'http://b:1'], allow-methods: GET, allow-headers: [x-a, x-b], expose-headers: '*', max-age: 5m,\n"
        "           allow-credentials: true}\n"
        "  any: {path: '/a/{x}', function: g}\n"
        "  two: {path: '/a/{id}', methods: POST, function: g, cors: {allow-origins: '*'}}\n"
        "  plain: {path: /a/b, function: f}\n", &count);
    EXPECT_TEXT("", text_buffer);
    if (file == NULL)
        return;
    static const char *const order[] = { "plain", "one", "two", "any", "all" };
    const struct config *config = &file->config;
    EXPECT_EQ(5, config->routes_count);
    for (unsigned i = 0; i < config->routes_count; i++)
        EXPECT_TEXT(order[i], config->routes[i].name);
    const struct config_route *one = &config->routes[1];
    EXPECT_TEXT("/a/{id}", one->path);
    EXPECT_TEXT("GET", one->methods[0]);
    EXPECT_TEXT("PUT", one->methods[1]);
    EXPECT(one->methods[2] == NULL);
    EXPECT_TEXT("f", one->function);
    EXPECT(one->web.stream);
    EXPECT_TEXT("https://a", one->web.cors->allow_origins[0]);
    EXPECT_TEXT("http://b:1", one->web.cors->allow_origins[1]);
    EXPECT_TEXT("GET", one->web.cors->allow_methods[0]);
    EXPECT_TEXT("x-b", one->web.cors->allow_headers[1]);
    EXPECT_TEXT("*", one->web.cors->expose_headers[0]);
    EXPECT_EQ(300000, one->web.cors->max_age_ms);
    EXPECT(one->web.cors->allow_credentials);
    EXPECT_EQ(5, one->line);
    EXPECT(config->routes[0].web.cors == NULL);
    EXPECT(config->routes[0].methods[0] == NULL);
    EXPECT(!config->routes[0].web.stream);
    EXPECT_EQ(0, config->routes[2].web.cors->max_age_ms);
    EXPECT_TEXT("a.example", config->http_hosts[0]);
    EXPECT(config->http_hosts[2] == NULL);
    (void)config_file_free(file);
}

/* ---- mistakes ---- */

/* Takes the printed mistakes apart: "LINE:COL text\n" each. That each is followed by its source line, and by a caret below the
 * right character of it, is checked here for all. */
static const char *condensed(const char *name, const char *text)
{
    static char out[1 << 16];
    char *to = out;
    char *save = NULL;

    out[0] = '\0';
    for (char *line = strtok_r(text_buffer, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        unsigned row = 0, column = 0;
        int text_at = 0;
        char format[64];
        (void)snprintf(format, sizeof format, "%s:%%u:%%u: error: %%n", name);
        if (sscanf(line, format, &row, &column, &text_at) < 2 || text_at == 0) {
            to += snprintf(to, (size_t)(out + sizeof out - to), "%s\n", line);
            continue;
        }
        to += snprintf(to, (size_t)(out + sizeof out - to), "%u:%u %s\n", row, column, line + text_at);
        const char *source = text;
        for (unsigned i = 1; i < row && source != NULL; i++)
            source = strchr(source, '\n') + 1;
        size_t source_len = strcspn(source, "\r\n");
        /* strtok_r skips an empty source line; only the caret is left then. */
        char *shown = source_len > 0 ? strtok_r(NULL, "\n", &save) : NULL;
        if (source_len > 0 && (shown == NULL || strlen(shown) != source_len))
            test_fail(__FILE__, __LINE__, "the line shown is \"%s\"", shown);
        char *caret = strtok_r(NULL, "\n", &save);
        if (caret == NULL || strspn(caret, " \t") != column - 1 || caret[column - 1] != '^')
            test_fail(__FILE__, __LINE__, "column %u, caret line \"%s\"", column, caret);
    }
    return out;
}

#define F "functions:\n  f: {command: [sh], protocol: stdio, "
#define R FUNCTION_F "rules:\n  r:\n    "
#define NAME65 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

#define W FUNCTION_F "routes:\n  w: "
static const struct { const char *label, *text, *told; } mistakes[] = {
    /* syntax and structure */
    { "tab as indentation", "data: /x\n\tlisten: {}\n", NULL },
    { "open bracket", "buses: [a, b\n", NULL },
    { "not UTF-8", "data: a\n# \xff\n", "2:3 not UTF-8\n" },
    { "overlong UTF-8", "# \xc0\x80\n", "1:3 not UTF-8\n" },
    { "control character", "data: 'a\x01'\n", "1:9 control character; write it as an escape in double quotes\n" },
    { "alias", "data: &a /x\n", "1:10 anchors and aliases are not supported; write the value out\n" },
    { "alias used", "buses: [a, *b]\n", "1:13 anchors and aliases are not supported; write the value out\n" },
    { "tag", "data: !!str 5\n", "1:13 tags are not supported; quote the value to make it text\n" },
    { "second document", "data: /x\n---\ndata: /y\n", "2:1 a second document; a configuration is one\n" },
    { "key is a list", "? [a]\n: b\n", "1:3 a key must be text, not a list or a map\n" },
    { "root is a list", "- a\n", "1:1 the configuration must be a map, not a list\n" },
    { "root is a word", "hello\n", "1:1 the configuration must be a map, not a single value\n" },
    { "duplicate key", "data: /a\nbuses: []\ndata: /b\n", "3:1 duplicate key 'data'; the first is on line 1\n" },
    { "duplicate key, quoted", "buses: []\n\"buses\": []\n", "2:1 duplicate key 'buses'; the first is on line 1\n" },
    { "duplicate key in a pattern", R "pattern: {a: [1], a: [2]}\n    targets: [{function: f}]\n",
      "4:23 duplicate key 'a'; the first is on line 4\n" },
    { "unknown key", "fucntions: {}\n", "1:1 unknown key 'fucntions' in the configuration (did you mean 'functions'?)\n" },
    { "unknown key, nothing near", "\nxyz: 1\n", "2:1 unknown key 'xyz' in the configuration\n" },
    { "column counts characters", "{data: /\xc3\xa9\xe2\x82\xac, nope: 1}\n", "1:13 unknown key 'nope' in the configuration\n" },
    { "sections of the wrong kind", "functions: []\nrules: 5\nbuses: {}\nlisten: x\n",
      "1:12 'functions' must be a map, not a list\n2:8 'rules' must be a map, not a single value\n"
      "3:8 'buses' must be a list, not a map\n4:9 'listen' must be a map, not a single value\n" },

    /* listen, data, buses */
    { "bus address of another kind", "listen: {bus: http://x}\n", "1:15 'listen.bus' must begin with ipc:// or tcp://, not 'http://x'\n" },
    { "tcp without a token", "listen:\n  bus: [tcp://127.0.0.1:1]\n",
      "2:9 a tcp address needs 'listen.token-file': anyone who reaches the port could publish\n" },
    { "tcp without a port", "listen: {bus: tcp://host, token-file: token}\n", "1:15 a tcp address is tcp://HOST:PORT, not 'tcp://host'\n" },
    { "port too large", "listen: {bus: 'tcp://host:65536', token-file: token}\n",
      "1:15 a tcp address is tcp://HOST:PORT, not 'tcp://host:65536'\n" },
    { "no addresses", "listen: {bus: []}\n", "1:15 'listen.bus' must have from 1 to 16 addresses, not 0; leave it out for the default\n" },
    { "address twice", "listen: {bus: [ipc:///a, ipc:///a]}\n", "1:26 'ipc:///a' is there twice\n" },
    { "long ipc path", "listen: {bus: ipc:///" NAME65 NAME65 "}\n", "1:15 the path of an ipc address can be 107 bytes long; this one has 131\n" },
    { "token missing", "listen: {token-file: nope}\n", "1:22 'listen.token-file': nope cannot be read: No such file or directory\n" },
    { "token open to others", "listen: {token-file: token-open}\n", "1:22 'listen.token-file': token-open is open to others; chmod 600 it\n" },
    { "token empty", "listen: {token-file: token-empty}\n", "1:22 'listen.token-file': token-empty is empty\n" },
    { "token is a folder", "listen: {token-file: code}\n", "1:22 'listen.token-file': code is not a regular file\n" },
    { "http is a number", "listen: {http: 4566}\n", "1:16 'listen.http' must be text; quote it: \"4566\"\n" },
    { "http without a host", "listen: {http: ':4566'}\n", "1:16 'listen.http' must be HOST:PORT like 127.0.0.1:4566, not ':4566'\n" },
    { "http without a port", "listen: {http: localhost}\n", "1:16 'listen.http' must be HOST:PORT like 127.0.0.1:4566, not 'localhost'\n" },
    { "data is left out", "data:\n", "1:1 'data' must be text, not empty\n" },
    { "data is a list", "data: [a]\n", "1:7 'data' must be text, not a list\n" },
    { "data is a number", "data: 12\n", "1:7 'data' must be text; quote it: \"12\"\n" },
    { "data holds a NUL", "data: \"a\\0b\"\n", "1:7 'data' must not contain a NUL character\n" },
    { "bus name", "buses: [ok, 'not ok', '']\n",
      "1:13 bus 'not ok': a name is 1 to 256 letters, digits, dots, underscores, dashes, slashes\n"
      "1:23 bus '': a name is 1 to 256 letters, digits, dots, underscores, dashes, slashes\n" },

    /* functions */
    { "function name", "functions:\n  'a b': {command: [sh], protocol: stdio}\n",
      "2:3 function 'a b': a name is 1 to 64 letters, digits, dots, underscores, dashes\n" },
    { "long function name", "functions:\n  " NAME65 ": {command: [sh], protocol: stdio}\n",
      "2:3 function '" NAME65 "': a name is 1 to 64 letters, digits, dots, underscores, dashes\n" },
    { "slash in a name", "functions:\n  a/b: {command: [sh], protocol: stdio}\n",
      "2:3 function 'a/b': a name is 1 to 64 letters, digits, dots, underscores, dashes\n" },
    { "function is left out", "functions:\n  f:\n", "2:3 function 'f' must be a map, not empty\n" },
    { "function is a list", "functions: {f: [sh]}\n", "1:16 function 'f' must be a map, not a list\n" },
    { "unknown key of a function", F "timeuot: 3s}\n", "2:39 unknown key 'timeuot' in function 'f' (did you mean 'timeout'?)\n" },
    { "underscore for dash", F "batch: {partial_failures: true}}\n",
      "2:47 unknown key 'partial_failures' in 'batch' (did you mean 'partial-failures'?)\n" },
    { "no command", "functions:\n  f: {protocol: stdio}\n", "2:3 function 'f' has no 'command'; only with protocol native may it be left out\n" },
    { "none of those that are not started are kept", "functions:\n  f: {protocol: native, scale: {min: 1}}\n",
      "2:3 function 'f' has no 'command', so that 'scale.min' cannot be kept\n" },
    { "command is a word", "functions:\n  f: {command: ./run.sh, protocol: stdio}\n",
      "2:16 'command' must be a list: [\"./run.sh\"]; no shell takes it apart\n" },
    { "command is empty", "functions:\n  f: {command: [], protocol: stdio}\n", "2:16 'command' must have from 1 to 1000 items, not 0\n" },
    { "command holds a list", "functions:\n  f: {command: [sh, [a]], protocol: stdio}\n", "2:21 'command' must be text, not a list\n" },
    { "command holds nothing", "functions:\n  f: {command: ['', x], protocol: stdio}\n",
      "2:17 the first item of 'command' must name a program\n" },
    { "not in PATH", "functions:\n  f: {command: [no-such-program-here], protocol: stdio}\n",
      "2:17 command 'no-such-program-here' was not found in PATH; a file beside it is ./no-such-program-here\n" },
    { "does not exist", "functions:\n  f: {command: [./nope.sh], protocol: stdio}\n",
      "2:17 command './nope.sh': nope.sh does not exist\n" },
    { "not executable", "functions:\n  f: {command: [./plain.txt], protocol: stdio}\n",
      "2:17 command './plain.txt': plain.txt is not executable; chmod +x it\n" },
    { "is a folder", "functions:\n  f: {command: [./code], protocol: stdio}\n", "2:17 command './code': code is a folder\n" },
    { "relative to code", "functions:\n  f: {command: [./run.sh], code: code, protocol: stdio}\n",
      "2:17 command './run.sh': code/run.sh does not exist\n" },
    { "code does not exist", "functions:\n  f: {command: [./run.sh], code: nope, protocol: stdio}\n",
      "2:34 'code' must be a readable folder; nope: No such file or directory\n" },
    { "code is a file", "functions:\n  f: {command: [./run.sh], code: run.sh, protocol: stdio}\n",
      "2:34 'code' must be a readable folder; run.sh: not a folder\n" },
    { "environment name", F "environment: {'A=B': 1, '': 2}}\n",
      "2:53 'A=B' cannot be the name of a variable: it is empty or contains '='\n"
      "2:63 '' cannot be the name of a variable: it is empty or contains '='\n" },
    { "environment value", F "environment: {A: [1], B: }}\n", "2:56 'A' must be text, not a list\n2:61 'B' must be text, not empty\n" },
    { "neither runtime nor command", "functions:\n  f: {handler: a.b}\n",
      "2:3 function 'f' needs a 'runtime' (nodejs, python, provided), or a 'command'\n" },
    { "runtime and command", "functions:\n  f: {command: [sh], runtime: provided, code: code}\n",
      "2:16 'command' and 'runtime' both say what runs; leave one of them out\n" },
    { "runtime of another protocol", "functions:\n  f: {command: [sh], protocol: stdio, runtime: nodejs, handler: index.handler}\n",
      "2:48 'runtime' belongs to protocol lambda; this function speaks stdio\n"
      "2:65 'handler' belongs to protocol lambda; this function speaks stdio\n" },
    { "runtime misspelt", "functions:\n  f: {runtime: node, handler: index.handler}\n",
      "2:16 'runtime' must be nodejs, python or provided, not 'node' (did you mean 'nodejs'?)\n" },
    { "runtime without a handler", "functions:\n  f: {runtime: nodejs}\n",
      "2:16 runtime nodejs needs 'handler': FILE.FUNCTION, like index.handler\n" },
    { "handler is half", "functions:\n  f: {runtime: python, handler: app}\n",
      "2:33 'handler' must be FILE.FUNCTION, like index.handler, not 'app'\n" },
    { "handler without a function", "functions:\n  f: {runtime: python, handler: app.}\n",
      "2:33 'handler' must be FILE.FUNCTION, like index.handler, not 'app.'\n" },
    { "handler is a folder's", "functions:\n  f: {runtime: nodejs, handler: a.b/handler}\n",
      "2:33 'handler' must be FILE.FUNCTION, like index.handler, not 'a.b/handler'\n" },
    { "handler is a number", "functions:\n  f: {runtime: nodejs, handler: 5}\n", "2:33 'handler' must be text; quote it: \"5\"\n" },
    { "provided without a bootstrap", "functions:\n  f: {runtime: provided}\n",
      "2:16 runtime provided runs bootstrap, which does not exist\n" },
    { "batch of protocol lambda", "functions:\n  f: {command: [sh], batch: {size: 2}}\n",
      "2:36 'batch.size' must be 1 with protocol lambda: it gets one event at a time; 'concurrency' has several at once\n" },
    { "reserved variable", "functions:\n  f: {command: [sh], environment: {TZ: x, AWS_REGION: a, _HANDLER: b, AWS_REGIONS: c}}\n",
      "2:43 'AWS_REGION' is set for each Lambda function by the daemon; it cannot be given\n"
      "2:58 '_HANDLER' is set for each Lambda function by the daemon; it cannot be given\n" },
    { "protocol misspelt", "functions:\n  f: {command: [sh], protocol: stdio_lines}\n",
      "2:32 'protocol' must be stdio, stdio-lines, native or lambda, not 'stdio_lines' (did you mean 'stdio-lines'?)\n" },
    { "duration without a unit", F "timeout: 30}\n", "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '30'\n" },
    { "duration with a fraction", F "timeout: 1.5s}\n", "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '1.5s'\n" },
    { "duration with a space", F "timeout: 1 s}\n", "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '1 s'\n" },
    { "duration in another unit", F "timeout: 1w}\n", "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '1w'\n" },
    { "duration beyond numbers", F "timeout: 9999999999999999d}\n",
      "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '9999999999999999d'\n" },
    { "duration out of range", F "timeout: 0s}\n", "2:48 'timeout' must be from 1ms to 7d, not '0s'\n" },
    { "duration out of range", F "timeout: 8d}\n", "2:48 'timeout' must be from 1ms to 7d, not '8d'\n" },
    { "size", F "memory: 64 MB}\n", "2:47 'memory' must be a size like 64MiB, 128MB, 1GiB or a number of bytes, not '64 MB'\n" },
    { "size too small", F "memory: 1000}\n", "2:47 'memory' must be from 1048576 to 1125899906842624 bytes, not '1000'\n" },
    { "size beyond numbers", F "memory: 99999999999999999999}\n",
      "2:47 'memory' must be a size like 64MiB, 128MB, 1GiB or a number of bytes, not '99999999999999999999'\n" },
    { "number is quoted", F "concurrency: '4'}\n", "2:52 'concurrency' must be a whole number from 1 to 10000, not the quoted '4'\n" },
    { "number out of range", F "concurrency: 0}\n", "2:52 'concurrency' must be a whole number from 1 to 10000, not '0'\n" },
    { "octal number", F "concurrency: 010}\n", "2:52 'concurrency' must be a whole number from 1 to 10000, not '010'\n" },
    { "number with a fraction", F "concurrency: 1.0}\n", "2:52 'concurrency' must be a whole number from 1 to 10000, not '1.0'\n" },
    { "batch is a number", F "batch: 5}\n", "2:46 'batch' must be a map, not a single value\n" },
    { "batch size", F "batch: {size: 10001}}\n", "2:53 'batch.size' must be a whole number from 1 to 10000, not '10001'\n" },
    { "batch window", F "batch: {window: 6m}}\n", "2:55 'batch.window' must be from 0ms to 5m, not '6m'\n" },
    { "yes is not true", F "batch: {partial-failures: yes}}\n", "2:65 'batch.partial-failures' must be true or false, not 'yes'\n" },
    { "quoted true", F "batch: {partial-failures: 'true'}}\n", "2:65 'batch.partial-failures' must be true or false, not the quoted 'true'\n" },
    { "min above max", F "scale: {min: 5, max: 4}}\n", "2:52 'scale.min' is 5, more than 'scale.max', which is 4\n" },
    { "min above the default max", F "scale: {min: 11}}\n", "2:52 'scale.min' is 11, more than 'scale.max', which is 10 unless given\n" },
    { "drain target", F "scale: {drain-target: 0ms}}\n", "2:61 'scale.drain-target' must be from 1ms to 1d, not '0ms'\n" },
    { "attempts", F "retry: {attempts: 0}}\n", "2:57 'retry.attempts' must be a whole number from 1 to 1000, not '0'\n" },
    { "backoff backwards", F "retry: {backoff: 60s..1s}}\n",
      "2:56 'retry.backoff' must go from the shorter to the longer, not '60s..1s'\n" },
    { "backoff half", F "retry: {backoff: 1s..}}\n", "2:56 'retry.backoff' must be a duration or a range of durations like 1s..60s, not '1s..'\n" },
    { "backoff too long", F "retry: {backoff: 1s..2d}}\n", "2:56 'retry.backoff' must be from 1ms to 1d, not '1s..2d'\n" },
    { "max age", F "retry: {max-age: 1ms}}\n", "2:56 'retry.max-age' must be from 1s to 365d, not '1ms'\n" },
    { "input shape", F "input: evnt}\n", "2:46 'input' must be event, cloudevent or detail, not 'evnt' (did you mean 'event'?)\n" },

    { "log format", F "log: {format: jsn}}\n", "2:53 'log.format' must be text or json, not 'jsn' (did you mean 'json'?)\n" },
    { "level of another protocol", F "log: {format: json, level: info}}\n",
      "2:66 'log.level' belongs to protocol lambda: what others log is their own affair\n" },
    { "level of text", "functions:\n  f: {command: [sh], log: {level: warn}}\n", "2:35 'log.level' needs 'log.format: json', as on Lambda\n" },
    { "unknown level", "functions:\n  f: {command: [sh], log: {format: json, level: WARN}}\n",
      "2:49 'log.level' must be trace, debug, info, warn, error or fatal, not 'WARN'\n" },
    { "unknown key of a URL", F "url: {streams: true}}\n", "2:45 unknown key 'streams' in 'url' (did you mean 'stream'?)\n" },
    { "URL that is a word", F "url: 'on'}\n", "2:44 'url' must be a map, not a single value\n" },
    { "URL that streams a word", F "url: {stream: yes}}\n", "2:53 'url.stream' must be true or false, not 'yes'\n" },
    { "URL with cors of nobody", F "url: {cors: {}}}\n", "2:51 'cors' has no 'allow-origins'\n" },
    { "URL of a native function", "functions: {f: {command: [./run.sh], protocol: native, url: {}}}\n",
      "1:61 'url' is of no use: function 'f' has protocol native, which returns nothing to a caller\n" },

    /* rules */
    { "host with a port", "listen: {http-hosts: ['a:1', 5]}\n",
      "1:23 'listen.http-hosts': 'a:1' is not the name of a host, without a port\n1:30 'listen.http-hosts' must be text; quote it: \"5\"\n" },
    { "route without keys", W "{}\n", "3:3 route 'w' has no 'path'\n3:3 route 'w' has no 'function'\n" },
    { "unknown key of a route", W "{path: /, function: f, method: GET}\n", "3:29 unknown key 'method' in route 'w' (did you mean 'methods'?)\n" },
    { "path without a slash", W "{path: a, function: f}\n", "3:13 'path': a path begins with '/' and has at most 1024 bytes\n" },
    { "names in a path", W "{path: '/{a}/{a}', function: f}\n", "3:13 'path': the name {a} is there twice\n" },
    { "path of the daemon", W "{path: /healthz, function: f}\n", "3:13 'path': /healthz is answered by the daemon itself\n" },
    { "path of the daemon", W "{path: '/2015-03-31/{a+}', function: f}\n", "3:13 'path': /2015-03-31/{a+} is answered by the daemon itself\n" },
    { "method in small letters", W "{path: /, function: f, methods: [GET, put]}\n", "3:44 'put' is not a method like GET\n" },
    { "no methods", W "{path: /, function: f, methods: []}\n",
      "3:38 'methods' must have from 1 to 100 items, not 0; leave it out for the default\n" },
    { "function of a route", W "{path: /, function: fx}\n", "3:26 route 'w': there is no function 'fx' (did you mean 'f'?)\n" },
    { "native function of a route", "functions: {f: {command: [./run.sh], protocol: native}}\nroutes:\n  w: {path: /, function: f}\n",
      "3:26 route 'w': function 'f' has protocol native, which returns nothing to a caller\n" },
    { "cors of nobody", W "{path: /, function: f, cors: {max-age: 2d}}\n",
      "3:35 'cors' has no 'allow-origins'\n3:45 'cors.max-age' must be from 0ms to 1d, not '2d'\n" },
    { "origin with a path", W "{path: /, function: f, cors: {allow-origins: 'http://a/'}}\n",
      "3:51 'http://a/' is not an origin like https://example.com, or '*'\n" },
    { "two routes that are one", W "{path: '/{a}', methods: [GET, PUT], function: f}\n  x: {path: '/{b}', methods: [PUT], function: f}\n",
      "4:3 route 'x' takes the same requests as route 'w' at c.yaml:3\n" },
    { "rule name", FUNCTION_F "rules:\n  'a b': {pattern: {a: [1]}, targets: [{function: f}]}\n",
      "3:3 rule 'a b': a name is 1 to 64 letters, digits, dots, underscores, dashes\n" },
    { "rule is left out", FUNCTION_F "rules:\n  r:\n", "3:3 rule 'r' must be a map, not empty\n" },
    { "unknown key of a rule", R "patern: {}\n    pattern: {a: [1]}\n    targets: [{function: f}]\n",
      "4:5 unknown key 'patern' in rule 'r' (did you mean 'pattern'?)\n" },
    { "no pattern, no targets", R "enabled: true\n", "3:3 rule 'r' has no 'pattern'\n3:3 rule 'r' has no 'targets'\n" },
    { "pattern is a list", R "pattern: [a]\n    targets: [{function: f}]\n", "4:14 'pattern' must be a map, or text that holds JSON\n" },
    { "pattern is a number", R "pattern: 5\n    targets: [{function: f}]\n", "4:14 'pattern' must be a map, or text that holds JSON\n" },
    { "value left out in a pattern", R "pattern: {a: [1], b: }\n    targets: [{function: f}]\n",
      "4:23 a value is missing; write null, \"\" or []\n" },
    { "enabled", R "enabled: on\n    pattern: {a: [1]}\n    targets: [{function: f}]\n", "4:14 'enabled' must be true or false, not 'on'\n" },
    { "bus of a rule", R "bus: a b\n    pattern: {a: [1]}\n    targets: [{function: f}]\n",
      "4:10 bus 'a b': a name is 1 to 256 letters, digits, dots, underscores, dashes, slashes\n" },
    { "no targets", R "pattern: {a: [1]}\n    targets: []\n",
      "5:14 'targets' must have from 1 to 64 items, not 0; a rule is switched off by enabled: false\n" },
    { "targets is a map", R "pattern: {a: [1]}\n    targets: {function: f}\n", "5:14 'targets' must be a list, not a map\n" },
    { "target is a word", R "pattern: {a: [1]}\n    targets: [f]\n", "5:15 a target must be a map, not a single value\n" },
    { "target without a function", R "pattern: {a: [1]}\n    targets: [{input: 1}]\n", "5:15 a target of rule 'r' has no 'function'\n" },
    { "missing function", "functions: {thumbnail: {command: [sh], protocol: stdio}}\nrules:\n  r:\n    pattern: {a: [1]}\n"
      "    targets: [{function: thumbnial}]\n",
      "5:26 rule 'r': there is no function 'thumbnial' (did you mean 'thumbnail'?)\n" },
    { "input twice", R "pattern: {a: [1]}\n    targets: [{function: f, input: 1, input-path: $.detail}]\n",
      "5:36 a target takes 'input-path' or 'input', not both\n" },
    { "template and path", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: '[]', input-path: $.a}]\n",
      "5:45 a target takes 'input-path' or 'input-template', not both\n" },
    { "template and input", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: '[]', input: 1}]\n",
      "5:45 a target takes 'input' or 'input-template', not both\n" },
    { "map without template", R "pattern: {a: [1]}\n    targets: [{function: f, input-paths-map: {a: $.a}}]\n",
      "5:46 'input-paths-map' has no 'input-template' beside it\n" },
    { "template that is no text", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: {a: <b>}}]\n",
      "5:45 'input-template' must be text: put it in quotes, or after '|'\n" },
    { "placeholder nobody defines", R "pattern: {a: [1]}\n    targets:\n      - function: f\n        input-paths-map: {a: $.a}\n"
      "        input-template: |\n          {\"x\": <a>,\n           \"y\": \"it is <b>\"}\n",
      "10:24 rule 'r': 'input-template': placeholder '<b>' is neither in 'input-paths-map' nor a reserved one\n" },
    { "name of a placeholder", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: '[]', input-paths-map: {a.b: $.a}}]\n",
      "5:69 'input-paths-map': name 'a.b': only A-Z, a-z, 0-9, '_' and '-' may stand in it\n" },
    { "path of a placeholder", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: '[]', input-paths-map: {a: b}}]\n",
      "5:72 'input-paths-map': input path 'b': it must begin with '$'\n" },
    { "empty input", R "pattern: {a: [1]}\n    targets: [{function: f, input: }]\n", "5:29 a value is missing; write null, \"\" or []\n" },
    { "all mistakes in the order of the file", "rules:\n  r: {pattern: {a: [1]}, targets: [{function: g}]}\nfunctions:\n  f: {command: [sh], protocol: x}\ndata: 5\n",
      "2:47 rule 'r': there is no function 'g' (did you mean 'f'?)\n"
      "4:32 'protocol' must be stdio, stdio-lines, native or lambda, not 'x'\n5:7 'data' must be text; quote it: \"5\"\n" },
};

TEST(each_mistake_is_told_with_its_place)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        unsigned count = 0, told = 0;
        char label[128];
        (void)snprintf(label, sizeof label, "%zu %s", i, mistakes[i].label);
        test_label(label);
        struct config_file *file = load_text("c.yaml", mistakes[i].text, &count);
        EXPECT(file == NULL);
        const char *text = condensed("c.yaml", mistakes[i].text);
        for (const char *end = text; (end = strchr(end, '\n')) != NULL; end++)
            told++;
        EXPECT_EQ(told, count);
        if (mistakes[i].told != NULL) /* NULL: libfyaml's words; that and where they are told is enough */
            EXPECT_TEXT(mistakes[i].told, text);
        else
            EXPECT(count == 1 && text[0] >= '1' && text[0] <= '9');
        (void)config_file_free(file);
    }
}

TEST(a_runtime_that_is_not_installed_says_what_is_missing)
{
    static const char text[] = "functions: {f: {runtime: python, handler: a.b}}\n";
    char *path = strdup(getenv("PATH"));
    given_programs();
    (void)setenv("PATH", in_directory("code"), 1);
    (void)rename(in_directory("runtimes"), in_directory("gone"));
    (void)load_text("missing.yaml", text, NULL);
    EXPECT_TEXT("1:26 runtime python needs 'python3', which was not found in PATH; install it\n"
                "1:26 runtime python needs runtimes/python/bootstrap.py, which is not there; install sluice again\n",
                condensed("missing.yaml", text));
    (void)rename(in_directory("gone"), in_directory("runtimes"));
    (void)setenv("PATH", path, 1);
    free(path);
}

TEST(a_mistake_is_shown_as_compilers_show_it)
{
    unsigned count = 0;
    (void)load_text("shown.yaml", "functions:\n  f: {command: [sh], protocol: stdio,\n   \ttimeout:\t30}\n", &count);
    EXPECT_TEXT("shown.yaml:3:14: error: 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '30'\n"
                "   \ttimeout:\t30}\n"
                "   \t        \t^\n", text_buffer);
    (void)load_text("shown.yaml", "buses: []\r\ndaat: x\r\n", &count);
    EXPECT_TEXT("shown.yaml:2:1: error: unknown key 'daat' in the configuration (did you mean 'data'?)\ndaat: x\n^\n", text_buffer);
}

TEST(a_long_line_is_shown_around_the_place)
{
    char text[2000];
    unsigned count = 0;
    int len = snprintf(text, sizeof text, "{\"buses\": [");
    for (int i = 0; i < 100; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "\"bus%03d\", ", i);
    (void)snprintf(text + len, sizeof text - (size_t)len, "\"\"], \"data\": \"/tmp/%0500d\"}", 0);
    (void)load_text("long.json", text, &count);
    EXPECT_EQ(1, count);
    EXPECT(strncmp(text_buffer, "long.json:1:1012: error: bus ''", 31) == 0);
    const char *shown = strchr(text_buffer, '\n') + 1;
    const char *caret = strchr(shown, '\n') + 1;
    EXPECT(strncmp(shown, "...", 3) == 0);
    EXPECT(strncmp(caret - 4, "...\n", 4) == 0);
    EXPECT(caret - shown <= MISTAKE_LINE_BYTES_MAX + 7);
    size_t at = strspn(caret, " ");
    EXPECT_TEXT("^\n", caret + at);
    EXPECT(strncmp(shown + at, "\"\"], ", 5) == 0);
}

TEST(only_the_first_fifty_mistakes_are_printed)
{
    char text[4000] = "functions:\n";
    unsigned count = 0, lines = 0;
    size_t len = strlen(text);
    for (int i = 0; i < 70; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "  f%02d: {protocol: stdio}\n", i);
    (void)load_text("many.yaml", text, &count);
    EXPECT_EQ(70, count);
    for (const char *end = text_buffer; (end = strchr(end, '\n')) != NULL; end++)
        lines++;
    EXPECT_EQ(3 * MISTAKES_PRINTED_MAX + 1, lines);
    EXPECT(strstr(text_buffer, "many.yaml:51:3: ") != NULL);
    EXPECT(strstr(text_buffer, "many.yaml:52:3: ") == NULL);
    EXPECT(strstr(text_buffer, "\n20 more errors are not shown\n") != NULL);
}

TEST(mistakes_in_patterns_are_placed_inside_them)
{
    static const struct { const char *label, *text, *place; } cases[] = {
        { "flow map", R "pattern: {a: [x], b: [ok, {BAD: 1}]}\n    targets: [{function: f}]\n",
          "4:32 rule 'r': Event pattern is not valid. Reason: Unrecognized match type BAD at b[1]\n" },
        { "block map", R "pattern:\n      a: [x]\n      b:\n        - prefix: 5\n    targets: [{function: f}]\n",
          "7:19 rule 'r': Event pattern is not valid. Reason: prefix match pattern must be a string at b[0]\n" },
        { "a leaf that is no list", R "pattern:\n      a: {b: x}\n    targets: [{function: f}]\n", "5:14 rule 'r': " },
        { "quoted text", R "pattern: '{\"a\":[{\"BAD\":1}]}'\n    targets: [{function: f}]\n", "4:22 rule 'r': " },
        { "block text", R "pattern: |\n        {\"a\":\n          [{\"BAD\":1}]}\n    targets: [{function: f}]\n", "6:13 rule 'r': " },
        { "text with escapes", R "pattern: \"{\\\"a\\\":[{\\\"BAD\\\":1}]}\"\n    targets: [{function: f}]\n", "4:14 rule 'r': " },
        { "folded text", R "pattern: >\n        {\"a\":\n\n        [{\"BAD\":1}]}\n    targets: [{function: f}]\n", "5:" },
        { "not JSON", R "pattern: hello\n    targets: [{function: f}]\n", "4:14 rule 'r': " },
        { "nothing to match", R "pattern: {}\n    targets: [{function: f}]\n", "4:14 rule 'r': " },
        { "input path", R "pattern: {a: [1]}\n    targets: [{function: f, input-path: detail}]\n", "5:41 'input-path': " },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned count = 0;
        test_label(cases[i].label);
        (void)config_file_free(load_text("c.yaml", cases[i].text, &count));
        EXPECT_EQ(1, count);
        const char *text = condensed("c.yaml", cases[i].text);
        if (strncmp(text, cases[i].place, strlen(cases[i].place)) != 0)
            EXPECT_TEXT(cases[i].place, text);
    }
}

TEST(nesting_is_bounded)
{
    char text[2000];
    unsigned count = 0;
    size_t len = (size_t)snprintf(text, sizeof text, "data: ");
    memset(text + len, '[', 600);
    memset(text + len + 600, ']', 600);
    text[len + 1200] = '\0';
    (void)load_text("deep.yaml", text, &count);
    EXPECT_EQ(1, count);
    EXPECT(strncmp(text_buffer, "deep.yaml:1:262: error: nested deeper than 256\n", 47) == 0);
}

/* ---- folders and files ---- */

static void given_folder(const char *name, const char *a, const char *b)
{
    char path[64];
    given_programs();
    (void)mkdir(in_directory(name), 0755);
    (void)snprintf(path, sizeof path, "%s/a.yaml", name);
    write_file(path, a, strlen(a), 0644);
    (void)snprintf(path, sizeof path, "%s/b.yaml", name);
    write_file(path, b, strlen(b), 0644);
}

TEST(files_of_a_folder_are_merged_by_name)
{
    unsigned count = 99;
    given_folder("merged", "functions: {f: {command: [../run.sh], protocol: stdio}}\nbuses: [one]\n",
                 "rules: {r: {pattern: {a: [1]}, targets: [{function: f}]}}\nlisten: {bus: ipc:///b}\nbuses: [two, one]\n");
    write_file("merged/notes.txt", "not yaml: [", 11, 0644);
    write_file("merged/.hidden.yaml", "not yaml: [", 11, 0644);
    struct config_file *file = load_path(in_directory("merged"), &count);
    EXPECT_TEXT("", text_buffer);
    if (file == NULL)
        return;
    EXPECT_TEXT("merged/a.yaml", below(file->paths[0]));
    EXPECT_TEXT("merged/b.yaml", below(file->paths[1]));
    EXPECT(file->paths[2] == NULL);
    EXPECT_TEXT("merged/../run.sh", below(file->config.functions[0].command[0]));
    EXPECT_TEXT("merged", below(file->config.functions[0].directory));
    EXPECT_TEXT("merged/b.yaml", below(file->config.rules[0].file));
    EXPECT_TEXT("ipc:///b", file->config.bus_listeners[0]);
    EXPECT_EQ(3, file->config.buses_count);
    (void)config_file_free(file);
}

TEST(what_two_files_both_set_is_refused_naming_both)
{
    unsigned count = 0;
    given_folder("twice", "data: /a\nlisten: {bus: ipc:///a}\nfunctions:\n  f: {command: [sh], protocol: stdio}\nrules:\n  r: {pattern: {a: [1]}, targets: [{function: f}]}\n",
                 "rules:\n  r: {pattern: {a: [1]}, targets: [{function: f}]}\nfunctions:\n  f: {command: [sh], protocol: stdio}\nlisten: {bus: ipc:///b}\ndata: /b\n");
    (void)load_path(in_directory("twice"), &count);
    EXPECT_EQ(4, count);
    EXPECT_TEXT("twice/b.yaml:2:3: error: rule 'r' is already defined at twice/a.yaml:6\n"
                "  r: {pattern: {a: [1]}, targets: [{function: f}]}\n"
                "  ^\n"
                "twice/b.yaml:4:3: error: function 'f' is already defined at twice/a.yaml:4\n"
                "  f: {command: [sh], protocol: stdio}\n"
                "  ^\n"
                "twice/b.yaml:5:15: error: 'listen.bus' is already set at twice/a.yaml:2\n"
                "listen: {bus: ipc:///b}\n"
                "              ^\n"
                "twice/b.yaml:6:7: error: 'data' is already set at twice/a.yaml:1\n"
                "data: /b\n"
                "      ^\n", text_buffer);
}

TEST(a_broken_file_does_not_hide_the_other_nor_blame_it)
{
    unsigned count = 0;
    given_folder("broken", "functions: {f: [\n", "rules: {r: {pattern: {a: [1]}, targets: [{function: f}]}}\n");
    (void)load_path(in_directory("broken"), &count);
    EXPECT_EQ(1, count);
    EXPECT(strncmp(text_buffer, "broken/a.yaml:", 14) == 0);
}

TEST(what_cannot_be_read_is_said)
{
    unsigned count = 0;
    given_programs();
    (void)mkdir(in_directory("empty"), 0755);
    (void)mkdir(in_directory("folder-in-it"), 0755);
    (void)mkdir(in_directory("folder-in-it/x.yaml"), 0755);
    (void)mkfifo(in_directory("pipe.yaml"), 0600);
    static const struct { const char *path, *printed; } cases[] = {
        { "nope.yaml", "nope.yaml: error: cannot be read: No such file or directory\n" },
        { "empty", "empty: error: there is no *.yaml in this folder\n" },
        { "folder-in-it", "folder-in-it/x.yaml: error: cannot be read: not a regular file\n" },
        { "pipe.yaml", "pipe.yaml: error: cannot be read: not a regular file\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_label(cases[i].path);
        EXPECT(load_path(in_directory(cases[i].path), &count) == NULL);
        EXPECT_EQ(1, count);
        EXPECT_TEXT(cases[i].printed, text_buffer);
    }
    EXPECT(load_path("", &count) == NULL);
    EXPECT_TEXT(": error: cannot be read: No such file or directory\n", text_buffer);
}

/* ---- size and noise ---- */

/* A tenth of what must load: with the sanitizers on this tells a quadratic step by the test's own time limit. */
TEST(many_rules_load)
{
    enum { RULES = 10000 };
    char *text = NULL;
    size_t len = 0;
    unsigned count = 0;
    FILE *out = open_memstream(&text, &len);
    (void)fputs(FUNCTION_F "rules:\n", out);
    for (unsigned i = 0; i < RULES; i++)
        (void)fprintf(out, "  rule-%05u:\n    pattern: {source: [files], detail: {object: {key: [{suffix: .jpg}], size: [{numeric: ['>', %u]}]}}}\n"
                           "    targets: [{function: f}]\n", i * 7919 % RULES, i);
    (void)fclose(out);
    struct config_file *file = load_text("large.yaml", text, &count);
    EXPECT_TEXT("", text_buffer);
    if (file != NULL)
        EXPECT_EQ(RULES, file->config.rules_count);
    for (unsigned i = 0; file != NULL && i < RULES; i += 99)
        EXPECT_EQ(i, atoi(file->config.rules[i].name + 5));
    (void)config_file_free(file);
    free(text);
}

/* Bytes of a good file changed, dropped, doubled and swapped for what means something to YAML: no crash, no leak, and either a
 * config or a mistake. */
TEST(noise_gives_a_config_or_a_mistake)
{
    static const char yaml[] =
        "listen:\n  bus: [ipc://bus.sock]\ndata: /x # comment\nbuses: [a, \"b\\u0065\"]\n"
        "functions:\n  f:\n    command: [./run.sh, \"a\\tb\", 'it''s']\n    protocol: stdio\n    timeout: 15m\n"
        "    environment:\n      A: 1\n      B: >-\n        folded\n        text\n    retry: {attempts: 5, backoff: 2s..5m}\n"
        "rules:\n  r:\n    pattern: {source: [files], n: [1.50, {suffix: .jpg}]}\n    targets:\n"
        "      - {function: f, input: {a: [1, two]}}\n      - function: f\n        input-path: $.detail\n"
        "  s:\n    pattern: |\n      {\"a\": [1]}\n    targets: [{function: f}]\n";
    static const char json[] =
        "{\n  \"data\": \"/\\u00e9\", \"buses\": [\"a\", \"b\"],\n  \"functions\": {\"f\": {\"command\": [\"./run.sh\", 1e5],\n"
        "    \"protocol\": \"native\", \"scale\": {\"max\": 0}}},\n  \"rules\": {\"r\": {\"pattern\": {\"a\": [1, null, {\"prefix\": \"x\"}]},\n"
        "    \"enabled\": false, \"targets\": [{\"function\": \"f\", \"input\": {\"b\": [[], {}]}}]}}\n}\n";
    static const struct { const char *name, *text; } good[] = { { "noise.yaml", yaml }, { "noise.json", json } };
    static const char *const pieces[] = {
        "\n", "  ", "\t", ":", ": ", "- ", "[", "]", "{", "}", "'", "\"", "#", "&a ", "*a", "!!str ", "|\n", ">\n", "? ", "---\n", "...\n",
        "%YAML 1.1\n", "\\", "\xc3", "\xef\xbb\xbf", "\r\n", ",", "<<: ", "null", "~", "\"\\ud800\"", "\"\\0\"", "@", "`", "\xe2\x80\xa8",
    };
    uint64_t seed = 20231;
    unsigned loaded[2] = { 0, 0 };
    for (unsigned round = 0; round < 2000; round++) {
        char text[4096], label[32];
        const char *name = good[round % 2].name;
        size_t len = strlen(good[round % 2].text);
        memcpy(text, good[round % 2].text, len);
        for (unsigned change = 0; change <= round / 2 % 4; change++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            size_t at = (size_t)(seed >> 33) % (len + 1);
            unsigned how = (unsigned)(seed >> 20) % 4;
            const char *piece = pieces[(seed >> 24) % (sizeof pieces / sizeof pieces[0])];
            size_t piece_len = strlen(piece);
            if (how == 0 && at < len) {
                text[at] = (char)(seed >> 40);
            } else if (how == 1) {
                size_t cut = at + (size_t)(seed >> 50) % 40 < len ? (size_t)(seed >> 50) % 40 : len - at;
                memmove(text + at, text + at + cut, len - at - cut);
                len -= cut;
            } else if (len + piece_len < sizeof text) {
                memmove(text + at + piece_len, text + at, len - at);
                memcpy(text + at, piece, piece_len);
                len += piece_len;
            }
        }
        unsigned count = 0;
        (void)snprintf(label, sizeof label, "round %u", round);
        test_label(label);
        given_programs();
        write_file(name, text, len, 0644);
        struct config_file *file = load_path(in_directory(name), &count);
        EXPECT((file == NULL) == (count > 0));
        loaded[round % 2] += file != NULL;
        EXPECT((count > 0) == (text_buffer[0] != '\0'));
        (void)config_file_free(file);
    }
    test_label(NULL);
    EXPECT(loaded[0] > 0); /* else the texts were not good to begin with, and nothing behind the syntax was reached */
    EXPECT(loaded[1] > 0);
}
