/* Configuration files: what a good one becomes. */
#include "tests/unit/config_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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
    EXPECT_TEXT("", printed);
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
    EXPECT_TEXT("", printed);
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

/* AWS's own, and in front of it the folders in which the daemon finds node and python3, where they are not the ones that would be found anyway. */
TEST(a_lambda_functions_path_finds_the_interpreters_that_the_daemon_finds)
{
    static const char lambdas[] = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin";
    char *before = NULL, both[512], one[1024], wanted[2048];
    given_programs();
    before = strdup(getenv("PATH"));
    (void)mkdir(in_directory("other"), 0755);
    write_file("other/node", "#!/bin/sh\n", 10, 0755);
    (void)snprintf(both, sizeof both, "%s", in_directory("bin"));
    (void)snprintf(one, sizeof one, "relative:%s:%s:/usr/bin", in_directory("other"), both);
    const struct { const char *label, *path, *in_front[2]; } cases[] = {
        { "both in one folder", both, { both, NULL } },
        { "each in its own", one, { in_directory("other"), both } },
        { "where they would be found anyway, or nowhere", "/usr/local/bin:/usr/bin:/bin", { NULL, NULL } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        (void)setenv("PATH", cases[i].path, 1);
        struct config_file *file = load_text("path.yaml", "functions: {f: {command: [./run.sh]}, g: {command: [./run.sh], protocol: stdio}}\n", NULL);
        EXPECT_TEXT("", printed);
        if (file == NULL)
            continue;
        (void)snprintf(wanted, sizeof wanted, "%s%s%s%s%s", cases[i].in_front[0] == NULL ? "" : cases[i].in_front[0], cases[i].in_front[0] == NULL ? "" : ":",
                       cases[i].in_front[1] == NULL ? "" : cases[i].in_front[1], cases[i].in_front[1] == NULL ? "" : ":", lambdas);
        EXPECT_TEXT(wanted, config_function_find(&file->config, "f")->path);
        EXPECT(config_function_find(&file->config, "g")->path == NULL);
        (void)config_file_free(file);
    }
    test_label(NULL);
    (void)setenv("PATH", before, 1);
    free(before);
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
        EXPECT_TEXT("", printed);
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

TEST(a_handlers_module_is_found_where_the_bootstraps_look)
{
    static const char *const keys[] = {
        "runtime: nodejs, handler: a.b",
        "runtime: nodejs, handler: src/index.handler",
        "runtime: nodejs, handler: src/index.deep.handler",
        "runtime: nodejs, handler: src/deep/later.handler",
        "runtime: nodejs, handler: src/old.handler",
        "runtime: nodejs, handler: deep.handler, code: src",
        "runtime: nodejs, handler: pack.handler",
        "runtime: nodejs, handler: pack.handler, code: src/deep",
        "runtime: nodejs, handler: nowhere.handler, environment: {NODE_PATH: /srv/modules}",
        "runtime: nodejs, handler: nowhere.handler, environment: {NODE_OPTIONS: --import tsx}",
        "runtime: python, handler: a.b",
        "runtime: python, handler: src/app.handler",
        "runtime: python, handler: src.app.handler",
        "runtime: python, handler: src.handler",
        "runtime: python, handler: src/native.handler",
        "runtime: python, handler: app.handler, code: src",
        "runtime: python, handler: installed.package.handler",
        "runtime: python, handler: nowhere.handler, environment: {PYTHONPATH: /srv/modules}",
        "runtime: python, handler: nowhere.handler, environment: {AWS_LAMBDA_EXEC_WRAPPER: ./run.sh}",
        "runtime: provided, code: code, handler: nowhere.handler",
        "command: [./run.sh], handler: nowhere.handler",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char text[256];
        test_label(keys[i]);
        (void)snprintf(text, sizeof text, "functions: {f: {%s}}\n", keys[i]);
        struct config_file *file = load_text("handler.yaml", text, NULL);
        EXPECT_TEXT("", printed);
        EXPECT(file != NULL);
        (void)config_file_free(file);
    }
    test_label(NULL);
}

TEST(a_wrapper_stands_before_the_commands_of_our_runtimes)
{
    static const struct { const char *label, *keys, *words[5]; } cases[] = {
        { "nodejs", "runtime: nodejs, handler: a.b, environment: {A: b, AWS_LAMBDA_EXEC_WRAPPER: ./run.sh}",
          { "/bin/sh", "runtimes/wrapped.sh", "bin/node", "runtimes/nodejs/bootstrap.cjs" } },
        { "python", "runtime: python, handler: a.b, environment: {AWS_LAMBDA_EXEC_WRAPPER: run.sh}",
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
        EXPECT_TEXT("", printed);
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
    static const char text[] = "functions: {f: {runtime: nodejs, handler: none.b, environment: {AWS_LAMBDA_EXEC_WRAPPER: none}}}\n";
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
        EXPECT_TEXT("", printed);
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
        EXPECT_TEXT("", printed);
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
        EXPECT_TEXT("", printed);
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
    EXPECT_TEXT("", printed);
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
    EXPECT_TEXT("", printed);
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
        EXPECT_TEXT("", printed);
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
    EXPECT_TEXT("", printed);
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
    EXPECT_TEXT("", printed);
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
