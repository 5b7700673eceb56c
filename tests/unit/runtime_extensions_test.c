/* The Extensions and the Telemetry API over real sockets: who is heard, who is waited for, and what subscribers are sent. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/log.h"
#include "schemas/codec/ids.h"
#include "tests/test.h"
#include "tests/unit/runtime_bench.h"

#define REGISTER_PATH "/2020-01-01/extension/register"
#define EVENT_PATH "/2020-01-01/extension/event/next"

/* A function's folder with external extensions "ext" and "two". */
static const char *function_folder(void)
{
    static char folder[256];
    static const char *const names[] = { "ext", "two" };
    char path[512];

    (void)snprintf(folder, sizeof folder, "%s", test_directory());
    (void)snprintf(path, sizeof path, "%s/extensions", folder);
    (void)mkdir(path, 0755); /* an earlier test may have made it */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/extensions/%s", folder, names[i]);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
        ASSERT(fd >= 0);
        (void)close(fd);
    }
    return folder;
}

struct extension_client {
    struct client client;
    char header[128]; /* "Lambda-Extension-Identifier: ...\r\n" */
};

static int extension_register(struct extension_client *extension, struct bench *bench, const char *name, const char *body)
{
    char headers[256];

    (void)snprintf(headers, sizeof headers, "Lambda-Extension-Name: %s\r\n", name);
    struct answer answer = ask(&extension->client, bench, "POST", REGISTER_PATH, headers, body);
    const char *id = answer_header(&answer, "Lambda-Extension-Identifier");
    (void)snprintf(extension->header, sizeof extension->header, "Lambda-Extension-Identifier: %s\r\n", id != NULL ? id : "none");
    return answer.status;
}

static void extension_next(struct extension_client *extension)
{
    client_request(&extension->client, "GET", EVENT_PATH, extension->header, (struct view){ 0 });
    bench_pass(extension->client.bench);
}

static void runtime_next(struct client *client, struct bench *bench)
{
    client_open(client, bench);
    client_request(client, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    bench_pass(bench);
}

static bool holds(struct view text, const char *part)
{
    return text.len > 0 && memmem(text.data, text.len, part, strlen(part)) != NULL;
}

/* ---- extensions ---- */

TEST(an_extension_registers_and_learns_whose_it_is)
{
    struct bench *bench = bench_open((struct bench_options){ .directory = function_folder() });
    struct client client;
    struct answer answer = ask(&client, bench, "POST", REGISTER_PATH, "Lambda-Extension-Name: ext\r\nLambda-Extension-Accept-Feature: accountId\r\n",
                               "{\"events\":[\"INVOKE\",\"SHUTDOWN\"]}");

    EXPECT_EQ(200, answer.status);
    EXPECT_VIEW("{\"functionName\":\"thumbnail\",\"functionVersion\":\"$LATEST\",\"handler\":\"index.handler\",\"accountId\":\"000000000000\"}", answer.body);
    EXPECT_EQ(36, (int)strlen(answer_header(&answer, "Lambda-Extension-Identifier")));
    client_close(&client);
    bench_close(bench);
}

static const struct { const char *label, *headers, *body, *type; } registrations[] = {
    { "no name", NULL, "{\"events\":[]}", "Extension.InvalidExtensionName" },
    { "an empty name", "Lambda-Extension-Name: \r\n", "{\"events\":[]}", "Extension.InvalidExtensionName" },
    { "a quote in the name", "Lambda-Extension-Name: a\"b\r\n", "{\"events\":[]}", "Extension.InvalidExtensionName" },
    { "a name of more than ASCII", "Lambda-Extension-Name: \xc3\xa4\r\n", "{\"events\":[]}", "Extension.InvalidExtensionName" },
    { "no JSON", "Lambda-Extension-Name: a\r\n", "{\"events\"", "InvalidRequestFormat" },
    { "no body", "Lambda-Extension-Name: a\r\n", "", "InvalidRequestFormat" },
    { "no object", "Lambda-Extension-Name: a\r\n", "[\"INVOKE\"]", "InvalidRequestFormat" },
    { "events that are no list", "Lambda-Extension-Name: a\r\n", "{\"events\":\"INVOKE\"}", "InvalidRequestFormat" },
    { "keys of a time long gone", "Lambda-Extension-Name: a\r\n", "{\"events\":[],\"configurationKeys\":[\"x\"]}", "InvalidRequestFormat" },
    { "an event that there is not", "Lambda-Extension-Name: a\r\n", "{\"events\":[\"INVOKE\",\"RESTORE\"]}", "Extension.InvalidEventType" },
    { "an event that is no text", "Lambda-Extension-Name: a\r\n", "{\"events\":[1]}", "Extension.InvalidEventType" },
    { "SHUTDOWN for an internal one", "Lambda-Extension-Name: a\r\n", "{\"events\":[\"SHUTDOWN\"]}", "Extension.InvalidEventType" },
    { "a path is no external one's name", "Lambda-Extension-Name: ../extensions/ext\r\n", "{\"events\":[\"SHUTDOWN\"]}", "Extension.InvalidEventType" },
};

TEST(registrations_are_refused_with_aws_types)
{
    struct bench *bench = bench_open((struct bench_options){ .directory = function_folder() });

    for (size_t i = 0; i < sizeof registrations / sizeof *registrations; i++) {
        struct client client;
        char type[128];
        test_label(registrations[i].label);
        struct answer answer = ask(&client, bench, "POST", REGISTER_PATH, registrations[i].headers, registrations[i].body);
        (void)snprintf(type, sizeof type, "\"errorType\":\"%s\"", registrations[i].type);
        EXPECT_EQ(403, answer.status);
        EXPECT(holds(answer.body, type));
        client_close(&client);
    }
    test_label(NULL);
    bench_close(bench);
}

TEST(ten_extensions_may_register_each_under_its_own_name_and_only_in_time)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct extension_client extension;
    struct client client;
    char name[16];

    for (int i = 0; i < RUNTIME_EXTENSIONS_MAX; i++) {
        (void)snprintf(name, sizeof name, "ext-%d", i);
        EXPECT_EQ(200, extension_register(&extension, bench, name, "{\"events\":null}"));
        client_close(&extension.client);
    }
    EXPECT_EQ(403, extension_register(&extension, bench, "ext-0", "{}"));
    client_close(&extension.client);
    struct answer answer = ask(&client, bench, "POST", REGISTER_PATH, "Lambda-Extension-Name: more\r\n", "{}");
    EXPECT(holds(answer.body, "\"Extension.TooManyExtensions\""));
    client_close(&client);
    runtime_next(&client, bench);
    struct client late;
    answer = ask(&late, bench, "POST", REGISTER_PATH, "Lambda-Extension-Name: late\r\n", "{}");
    EXPECT(holds(answer.body, "\"Extension.RegistrationClosed\""));
    client_close(&late);
    client_close(&client);
    bench_close(bench);
}

static const struct { const char *headers, *type; } identities[] = {
    { NULL, "Extension.MissingExtensionIdentifier" },
    { "Lambda-Extension-Identifier: me\r\n", "Extension.InvalidExtensionIdentifier" },
    { "Lambda-Extension-Identifier: 00000000-0000-4000-8000-000000000000\r\n", "Extension.UnknownExtensionIdentifier" },
};

TEST(extensions_are_known_by_their_identifier)
{
    static const struct { const char *method, *path; } calls[] = {
        { "GET", EVENT_PATH }, { "POST", "/2020-01-01/extension/init/error" }, { "POST", "/2020-01-01/extension/exit/error" },
        { "PUT", "/2022-07-01/telemetry" }, { "PUT", "/2020-08-15/logs" },
    };
    struct bench *bench = bench_open((struct bench_options){ 0 });

    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (size_t j = 0; j < sizeof identities / sizeof *identities; j++) {
            struct client client;
            test_label(calls[i].path);
            struct answer answer = ask(&client, bench, calls[i].method, calls[i].path, identities[j].headers, "{}");
            EXPECT_EQ(403, answer.status);
            EXPECT(holds(answer.body, identities[j].type));
            client_close(&client);
        }
    }
    test_label(NULL);
    bench_close(bench);
}

TEST(go_registers_for_no_event_and_waits_for_none)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct extension_client go;
    struct client runtime;

    EXPECT_EQ(200, extension_register(&go, bench, "GoLangEnableSIGTERM", "{\"events\":null}"));
    extension_next(&go);
    runtime_next(&runtime, bench);
    EXPECT_TEXT("wants", bench_heard(bench));
    bench_deliver(bench, 7, "{}");
    EXPECT_EQ(200, client_answer(&runtime).status);
    client_request(&runtime, "POST", RESPONSE_PATH("id-7"), NULL, VIEW_LITERAL("{}"));
    EXPECT_EQ(202, client_answer(&runtime).status);
    client_request(&runtime, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    bench_pass(bench);
    EXPECT_TEXT("ok7:{} wants", bench_heard(bench));
    EXPECT(runtime_shutdown(bench->api, BENCH_INSTANCE, "spindown", 0)); /* it is to have its SIGTERM */
    client_close(&runtime);
    client_close(&go.client);
    bench_close(bench);
}

TEST(the_first_invocation_waits_for_all_extensions)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct extension_client extension;
    struct client runtime;

    EXPECT_EQ(200, extension_register(&extension, bench, "int", "{\"events\":[\"INVOKE\"]}"));
    runtime_next(&runtime, bench);
    EXPECT_TEXT("", bench_heard(bench));
    extension_next(&extension);
    EXPECT_TEXT("wants", bench_heard(bench));
    /* It goes away, and comes back: so does the wish for work. */
    client_close(&extension.client);
    EXPECT(bench_until_heard(bench, "cancel"));
    (void)bench_heard(bench);
    client_open(&extension.client, bench);
    extension_next(&extension);
    EXPECT_TEXT("wants", bench_heard(bench));
    client_close(&runtime);
    client_close(&extension.client);
    bench_close(bench);
}

TEST(an_extension_hears_of_each_invocation_and_is_waited_for_after_it)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct extension_client extension;
    struct client runtime;

    EXPECT_EQ(200, extension_register(&extension, bench, "int", "{\"events\":[\"INVOKE\"]}"));
    extension_next(&extension);
    runtime_next(&runtime, bench);
    EXPECT_TEXT("wants", bench_heard(bench));
    bench_deliver(bench, 7, "{}");
    struct answer event = client_answer(&extension.client);
    EXPECT_EQ(200, event.status);
    EXPECT_VIEW("{\"eventType\":\"INVOKE\",\"deadlineMs\":1767225603000,\"requestId\":\"id-7\","
                "\"invokedFunctionArn\":\"arn:aws:lambda:us-east-1:000000000000:function:thumbnail:live\",\"tracing\":{\"type\":\"X-Amzn-Trace-Id\","
                "\"value\":\"Root=1-00000001-000000000000000000000001;Parent=0000000000000001;Sampled=0\"}}", event.body);
    EXPECT(answer_header(&event, "Lambda-Extension-Event-Identifier") != NULL);
    EXPECT_EQ(200, client_answer(&runtime).status);
    client_request(&runtime, "POST", RESPONSE_PATH("id-7"), NULL, VIEW_LITERAL("{}"));
    EXPECT_EQ(202, client_answer(&runtime).status);
    EXPECT_TEXT("ok7:{}", bench_heard(bench)); /* the caller does not wait for it */
    client_request(&runtime, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    bench_pass(bench);
    EXPECT_TEXT("", bench_heard(bench));       /* the next invocation does */
    extension_next(&extension);
    EXPECT_TEXT("wants", bench_heard(bench));
    client_close(&runtime);
    client_close(&extension.client);
    bench_close(bench);
}

TEST(external_extensions_hear_of_the_end_whenever_they_ask)
{
    struct bench *bench = bench_open((struct bench_options){ .directory = function_folder() });
    struct extension_client parked, busy;

    EXPECT_EQ(200, extension_register(&parked, bench, "ext", "{\"events\":[\"SHUTDOWN\"]}"));
    EXPECT_EQ(200, extension_register(&busy, bench, "two", "{\"events\":[\"INVOKE\",\"SHUTDOWN\"]}"));
    extension_next(&parked);
    EXPECT(runtime_shutdown(bench->api, BENCH_INSTANCE, "timeout", 1767225603000));
    struct answer event = client_answer(&parked.client);
    EXPECT_VIEW("{\"eventType\":\"SHUTDOWN\",\"shutdownReason\":\"timeout\",\"deadlineMs\":1767225603000}", event.body);
    extension_next(&busy);
    event = client_answer(&busy.client);
    EXPECT(holds(event.body, "\"SHUTDOWN\""));
    client_close(&parked.client);
    client_close(&busy.client);
    bench_close(bench);
}

/* One that hears of the end, and a runtime: both wait for their next event. */
static struct bench *given_waiting(struct extension_client *extension, struct client *runtime)
{
    struct bench *bench = bench_open((struct bench_options){ .directory = function_folder() });

    EXPECT_EQ(200, extension_register(extension, bench, "ext", "{\"events\":[\"INVOKE\",\"SHUTDOWN\"]}"));
    extension_next(extension);
    runtime_next(runtime, bench);
    EXPECT_TEXT("wants", bench_heard(bench));
    return bench;
}

static int64_t wall_in(int64_t ms)
{
    return clock_now().wall_ms + ms;
}

TEST(the_runtime_stays_until_extensions_have_come_to_their_end)
{
    struct extension_client extension;
    struct client runtime;
    struct bench *bench = given_waiting(&extension, &runtime);

    EXPECT_EQ(RUNTIME_WAITS, runtime_shutdown(bench->api, BENCH_INSTANCE, "spindown", wall_in(BENCH_WAIT_MS_MAX)));
    struct answer event = client_answer(&extension.client);
    EXPECT(holds(event.body, "\"SHUTDOWN\""));
    bench_pass(bench);
    EXPECT_TEXT("", bench_heard(bench));
    extension_next(&extension);                 /* it has nothing more to do */
    EXPECT(bench_until_heard(bench, "done"));
    EXPECT(client_waits(&runtime));
    EXPECT_TEXT("done", bench_heard(bench));    /* once */
    client_close(&runtime);
    client_close(&extension.client);
    bench_close(bench);
}

TEST(extensions_that_fail_at_the_end_are_not_waited_for)
{
    struct extension_client extension;
    struct client runtime, error;
    struct bench *bench = given_waiting(&extension, &runtime);
    char headers[256];

    EXPECT_EQ(RUNTIME_WAITS, runtime_shutdown(bench->api, BENCH_INSTANCE, "spindown", wall_in(BENCH_WAIT_MS_MAX)));
    (void)client_answer(&extension.client);
    (void)snprintf(headers, sizeof headers, "%sLambda-Extension-Function-Error-Type: Extension.Bad\r\n", extension.header);
    EXPECT_EQ(202, ask(&error, bench, "POST", "/2020-01-01/extension/exit/error", headers, "{}").status);
    EXPECT(bench_until_heard(bench, "done"));
    client_close(&error);
    client_close(&runtime);
    client_close(&extension.client);
    bench_close(bench);
}

TEST(extensions_have_no_more_than_their_time)
{
    struct extension_client extension;
    struct client runtime;
    struct bench *bench = given_waiting(&extension, &runtime);

    EXPECT_EQ(RUNTIME_WAITS, runtime_shutdown(bench->api, BENCH_INSTANCE, "timeout", wall_in(RUNTIME_PART_MS + 50)));
    EXPECT(bench_until_heard(bench, "done"));
    EXPECT(client_waits(&runtime));
    client_close(&runtime);
    client_close(&extension.client);
    bench_close(bench);
}

TEST(a_second_end_is_at_once)
{
    struct extension_client extension;
    struct client runtime;
    struct bench *bench = given_waiting(&extension, &runtime);

    EXPECT_EQ(RUNTIME_WAITS, runtime_shutdown(bench->api, BENCH_INSTANCE, "spindown", wall_in(BENCH_WAIT_MS_MAX)));
    EXPECT_EQ(RUNTIME_HAS_EXTENSIONS, runtime_shutdown(bench->api, BENCH_INSTANCE, "timeout", wall_in(BENCH_WAIT_MS_MAX)));
    EXPECT(client_waits(&runtime));
    extension_next(&extension);
    EXPECT_TEXT("", bench_heard(bench));
    client_close(&runtime);
    client_close(&extension.client);
    bench_close(bench);
}

/* A process of the instance that registers, says so by a byte, asks for an event, and lives until it is killed. */
static pid_t process_start(const struct bench *bench, int registered_fd)
{
    static const char lines[] = "POST " REGISTER_PATH " HTTP/1.1\r\nHost: h\r\nLambda-Extension-Name: ext\r\nContent-Length: 32\r\n\r\n"
                                "{\"events\":[\"INVOKE\",\"SHUTDOWN\"]}";
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(bench->port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    static const char mark[] = "Lambda-Extension-Identifier: ";
    char answer[4096], request[256], *id;
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 || write(fd, lines, sizeof lines - 1) < 0)
        _exit(1);
    ssize_t len = read(fd, answer, sizeof answer - 1);
    answer[len > 0 ? len : 0] = '\0';
    id = strcasestr(answer, mark);
    if (id == NULL)
        _exit(1);
    int asked = snprintf(request, sizeof request, "GET " EVENT_PATH " HTTP/1.1\r\nHost: h\r\n%s%.36s\r\n\r\n", mark, id + sizeof mark - 1);
    if (write(registered_fd, "", 1) != 1 || write(fd, request, (size_t)asked) < 0)
        _exit(1);
    for (;;)
        (void)pause();
}

static bool has_a_byte(void *ctx)
{
    struct pollfd wanted = { .fd = *(int *)ctx, .events = POLLIN };

    return poll(&wanted, 1, 0) == 1;
}

TEST(an_extension_whose_process_has_ended_is_not_waited_for)
{
    int pipe_fds[2];
    EXPECT_EQ(0, pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC));
    (void)setpgid(0, 0); /* the instance's leader leads its group */
    struct bench *bench = bench_open((struct bench_options){ .directory = function_folder() });
    struct client runtime;
    pid_t process = process_start(bench, pipe_fds[1]);

    EXPECT(bench_until(bench, has_a_byte, &pipe_fds[0]));
    runtime_next(&runtime, bench);
    EXPECT(bench_until_heard(bench, "wants"));
    bench_deliver(bench, 7, "{}");              /* it hears of it, and does not come back */
    EXPECT_EQ(200, client_answer(&runtime).status);
    client_request(&runtime, "POST", RESPONSE_PATH("id-7"), NULL, VIEW_LITERAL("{}"));
    EXPECT_EQ(202, client_answer(&runtime).status);
    client_request(&runtime, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    bench_pass(bench);
    EXPECT_TEXT("wants ok7:{}", bench_heard(bench));
    (void)kill(process, SIGKILL);
    (void)waitpid(process, NULL, 0);
    EXPECT(bench_until_heard(bench, "wants"));
    EXPECT_EQ(RUNTIME_HAS_EXTENSIONS, runtime_shutdown(bench->api, BENCH_INSTANCE, "spindown", wall_in(BENCH_WAIT_MS_MAX)));
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    client_close(&runtime);
    bench_close(bench);
}

TEST(an_extension_asks_for_one_event_at_a_time)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct extension_client extension, again;

    EXPECT_EQ(200, extension_register(&extension, bench, "int", "{\"events\":[\"INVOKE\"]}"));
    extension_next(&extension);
    again = extension;
    struct answer answer = ask(&again.client, bench, "GET", EVENT_PATH, extension.header, "");
    EXPECT_EQ(403, answer.status);
    EXPECT(holds(answer.body, "\"Extension.InvalidExtensionState\""));
    client_close(&again.client);
    client_close(&extension.client);
    bench_close(bench);
}

TEST(an_extension_that_fails_in_its_start_ends_the_instance)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct extension_client extension;
    struct client client;
    char headers[256];

    EXPECT_EQ(200, extension_register(&extension, bench, "int", "{\"events\":[\"INVOKE\"]}"));
    EXPECT_EQ(403, ask(&client, bench, "POST", "/2020-01-01/extension/init/error", extension.header, "{}").status); /* without a type */
    client_close(&client);
    (void)snprintf(headers, sizeof headers, "%sLambda-Extension-Function-Error-Type: Extension.NoKey\r\n", extension.header);
    EXPECT_EQ(202, ask(&client, bench, "POST", "/2020-01-01/extension/init/error", headers, "{\"errorMessage\":\"m\"}").status);
    client_close(&client);
    EXPECT_TEXT("init:Extension.NoKey:{\"errorMessage\":\"m\"}", bench_heard(bench));
    EXPECT_EQ(403, ask(&client, bench, "POST", "/2020-01-01/extension/init/error", headers, "{}").status);
    client_close(&client);
    EXPECT(!runtime_shutdown(bench->api, BENCH_INSTANCE, "failure", 0));
    client_close(&extension.client);
    bench_close(bench);
}

TEST(an_extension_that_ends_is_not_waited_for_any_more)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct extension_client extension;
    struct client client, runtime;
    char headers[256];

    EXPECT_EQ(200, extension_register(&extension, bench, "int", "{\"events\":[\"INVOKE\"]}"));
    runtime_next(&runtime, bench);
    EXPECT_TEXT("", bench_heard(bench));
    (void)snprintf(headers, sizeof headers, "%sLambda-Extension-Function-Error-Type: Extension.Broken\r\n", extension.header);
    EXPECT_EQ(202, ask(&client, bench, "POST", "/2020-01-01/extension/exit/error", headers, "{}").status);
    EXPECT_TEXT("wants", bench_heard(bench));
    client_close(&client);
    EXPECT_EQ(403, ask(&client, bench, "GET", EVENT_PATH, extension.header, "").status);
    client_close(&client);
    client_close(&runtime);
    client_close(&extension.client);
    bench_close(bench);
}

TEST(several_invocations_at_once_are_not_told_to_extensions)
{
    struct bench *bench = bench_open((struct bench_options){ .concurrency = 2 });
    struct extension_client extension;

    EXPECT_EQ(403, extension_register(&extension, bench, "int", "{\"events\":[\"INVOKE\"]}"));
    client_close(&extension.client);
    EXPECT_EQ(200, extension_register(&extension, bench, "int", "{\"events\":[]}"));
    client_close(&extension.client);
    bench_close(bench);
}

/* ---- telemetry: a subscriber ---- */

struct subscriber {
    struct bench *bench;
    int listening, fd;
    uint16_t port;
    struct bytes in;
};

static void subscriber_open(struct subscriber *subscriber, struct bench *bench)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;

    *subscriber = (struct subscriber){ .bench = bench, .fd = -1 };
    subscriber->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ASSERT(bind(subscriber->listening, (struct sockaddr *)&address, sizeof address) == 0 && listen(subscriber->listening, 8) == 0);
    ASSERT(getsockname(subscriber->listening, (struct sockaddr *)&address, &len) == 0);
    subscriber->port = ntohs(address.sin_port);
}

static void subscriber_hang_up(struct subscriber *subscriber)
{
    if (subscriber->fd >= 0)
        (void)close(subscriber->fd);
    subscriber->fd = -1;
    bytes_clear(&subscriber->in);
}

static void subscriber_close(struct subscriber *subscriber)
{
    subscriber_hang_up(subscriber);
    (void)close(subscriber->listening);
    bytes_done(&subscriber->in);
}

struct receiving {
    struct subscriber *subscriber;
    const char *wanted;
};

static bool is_received(void *ctx)
{
    struct receiving *receiving = ctx;
    struct subscriber *subscriber = receiving->subscriber;
    char buffer[65536];

    if (subscriber->fd < 0)
        subscriber->fd = accept4(subscriber->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (ssize_t got = 1; subscriber->fd >= 0 && got > 0;) {
        got = recv(subscriber->fd, buffer, sizeof buffer, 0);
        if (got > 0)
            bytes_put(&subscriber->in, buffer, (size_t)got);
    }
    return holds(bytes_view(&subscriber->in), receiving->wanted);
}

static bool subscriber_until(struct subscriber *subscriber, const char *wanted)
{
    return bench_until(subscriber->bench, is_received, &(struct receiving){ subscriber, wanted });
}

static void subscriber_answer(struct subscriber *subscriber, const char *answer)
{
    EXPECT(send(subscriber->fd, answer, strlen(answer), MSG_NOSIGNAL) == (ssize_t)strlen(answer));
    subscriber_hang_up(subscriber);
}

/* The status of a subscription to `port` by a new extension; more: of the JSON, behind the destination. */
static int subscribe(struct bench *bench, uint16_t port, const char *protocol, const char *more)
{
    struct extension_client extension;
    struct client client;
    char body[512];

    EXPECT_EQ(200, extension_register(&extension, bench, "ext", "{\"events\":null}"));
    if (strcmp(protocol, "TCP") == 0)
        (void)snprintf(body, sizeof body, "{\"destination\":{\"protocol\":\"TCP\",\"port\":%u},%s}", port, more);
    else
        (void)snprintf(body, sizeof body, "{\"schemaVersion\":\"2022-07-01\",\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://sandbox.localdomain:%u/in?a=b\"},%s}", port, more);
    struct answer answer = ask(&client, bench, "PUT", strcmp(protocol, "TCP") == 0 ? "/2020-08-15/logs" : "/2022-07-01/telemetry", extension.header, body);
    int status = answer.status;
    EXPECT(status != 200 || view_is(answer.body, "\"OK\""));
    client_close(&client);
    client_close(&extension.client);
    return status;
}

#define ALL_TYPES "\"types\":[\"platform\",\"function\",\"extension\"],\"buffering\":{\"timeoutMs\":25}"
#define HTTP_OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* Its clients refuse a whole batch for a type that they do not know. */
TEST(the_logs_api_has_records_of_its_own)
{
    static const struct { const char *label, *version; bool done; } cases[] = {
        { "the first", "2020-08-15", false }, { "the second", "2021-03-18", true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench *bench = bench_open((struct bench_options){ 0 });
        struct extension_client extension;
        struct subscriber subscriber;
        struct client client, runtime;
        char body[512];

        test_label(cases[i].label);
        subscriber_open(&subscriber, bench);
        EXPECT_EQ(200, extension_register(&extension, bench, "ext", "{\"events\":null}"));
        (void)snprintf(body, sizeof body, "{\"schemaVersion\":\"%s\",\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://sandbox:%u\"},"
                       "\"types\":[\"platform\"],\"buffering\":{\"timeoutMs\":30000}}", cases[i].version, subscriber.port);
        EXPECT_EQ(200, ask(&client, bench, "PUT", "/2020-08-15/logs", extension.header, body).status);
        extension_next(&extension);
        runtime_next(&runtime, bench);
        bench_deliver(bench, 7, "{}");
        EXPECT_EQ(200, client_answer(&runtime).status);
        client_request(&runtime, "POST", RESPONSE_PATH("id-7"), NULL, VIEW_LITERAL("{}"));
        EXPECT_EQ(202, client_answer(&runtime).status);
        (void)runtime_shutdown(bench->api, BENCH_INSTANCE, "spindown", 0);
        EXPECT(subscriber_until(&subscriber, "]"));
        struct view in = bytes_view(&subscriber.in);
        EXPECT(holds(in, "\"type\":\"platform.logsSubscription\",\"record\":{\"name\":\"ext\",\"state\":\"Subscribed\",\"types\":[\"platform\"]}}"));
        EXPECT(holds(in, "\"type\":\"platform.start\",\"record\":{\"requestId\":\"id-7\""));
        EXPECT(holds(in, "\"type\":\"platform.end\",\"record\":{\"requestId\":\"id-7\"}}"));
        EXPECT_EQ(cases[i].done, holds(in, "platform.runtimeDone"));
        EXPECT(!holds(in, "platform.init"));
        EXPECT(!holds(in, "telemetrySubscription"));
        client_close(&client);
        client_close(&runtime);
        client_close(&extension.client);
        subscriber_close(&subscriber);
        bench_close(bench);
    }
    test_label(NULL);
}

TEST(records_are_posted_as_an_array)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct subscriber subscriber;

    subscriber_open(&subscriber, bench);
    EXPECT(!runtime_telemetry_wanted(bench->api, BENCH_INSTANCE));
    EXPECT_EQ(200, subscribe(bench, subscriber.port, "HTTP", ALL_TYPES));
    EXPECT(runtime_telemetry_wanted(bench->api, BENCH_INSTANCE));
    runtime_telemetry(bench->api, BENCH_INSTANCE, "function", VIEW_LITERAL("\"hello\\n\""));
    runtime_telemetry(bench->api, BENCH_INSTANCE, "platform.start", VIEW_LITERAL("{\"requestId\":\"r\"}"));
    EXPECT(subscriber_until(&subscriber, "}]"));
    struct view in = bytes_view(&subscriber.in);
    EXPECT(in.len > 0 && memcmp(in.data, "POST /in?a=b HTTP/1.1\r\nHost: sandbox.localdomain:", 48) == 0);
    EXPECT(holds(in, "\r\n\r\n[{\"time\":\"2"));
    EXPECT(holds(in, "Z\",\"type\":\"platform.initStart\",\"record\":{\"initializationType\":\"on-demand\",\"phase\":\"init\","
                     "\"runtimeVersion\":\"provided:sluice.v"));
    EXPECT(holds(in, "\",\"functionName\":\"thumbnail\",\"functionVersion\":\"$LATEST\"}},"));
    EXPECT(holds(in, "Z\",\"type\":\"platform.telemetrySubscription\",\"record\":{\"name\":\"ext\",\"state\":\"Subscribed\",\"types\":[\"platform\",\"function\",\"extension\"]}},"));
    EXPECT(holds(in, "\"type\":\"function\",\"record\":\"hello\\n\"},{"));
    EXPECT(holds(in, "\"type\":\"platform.start\",\"record\":{\"requestId\":\"r\"}}]"));
    subscriber_answer(&subscriber, HTTP_OK);
    /* The next batch comes by itself, on a connection of its own. */
    runtime_telemetry(bench->api, BENCH_INSTANCE, "function", VIEW_LITERAL("\"again\""));
    EXPECT(subscriber_until(&subscriber, "\"again\"}]"));
    EXPECT(!holds(bytes_view(&subscriber.in), "hello"));
    subscriber_close(&subscriber);
    bench_close(bench);
}

/* What of "type":"..." is in the text, in order. */
static const char *types_in(struct view text)
{
    static char types[1024];
    size_t len = 0;
    const char *at = text.data, *end = text.data + text.len;

    types[0] = '\0';
    while ((at = memmem(at, (size_t)(end - at), "\"type\":\"platform.", 17)) != NULL && len < sizeof types - 64) {
        at += 17;
        len += (size_t)snprintf(types + len, sizeof types - len, "%.*s ", (int)strcspn(at, "\""), at);
    }
    types[len > 0 ? len - 1 : 0] = '\0';
    return types;
}

TEST(the_platform_tells_of_init_and_invocations)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct subscriber subscriber;
    struct extension_client extension;
    struct client runtime, client;
    char body[256];

    subscriber_open(&subscriber, bench);
    EXPECT_EQ(200, extension_register(&extension, bench, "ext", "{\"events\":[]}"));
    (void)snprintf(body, sizeof body, "{\"destination\":{\"protocol\":\"TCP\",\"port\":%u},\"types\":[\"platform\"],\"buffering\":{\"timeoutMs\":25}}", subscriber.port);
    EXPECT_EQ(200, ask(&client, bench, "PUT", "/2022-07-01/telemetry", extension.header, body).status);
    client_close(&client);
    extension_next(&extension);
    runtime_next(&runtime, bench);
    for (unsigned lease = 1; lease <= 3; lease++) {
        bench_deliver(bench, lease, "{}");
        EXPECT_EQ(200, client_answer(&runtime).status);
        if (lease == 1)
            client_request(&runtime, "POST", RESPONSE_PATH("id-1"), NULL, VIEW_LITERAL("four"));
        else if (lease == 2)
            client_request(&runtime, "POST", ERROR_PATH("id-2"), NULL, VIEW_LITERAL("{\"errorType\":\"Oops\"}"));
        if (lease < 3)
            EXPECT_EQ(202, client_answer(&runtime).status);
        else
            runtime_forget(bench->api, BENCH_INSTANCE, 3);
        client_request(&runtime, "GET", NEXT_PATH, NULL, (struct view){ 0 });
        bench_pass(bench);
    }
    EXPECT(subscriber_until(&subscriber, "\"timeout\""));
    struct view in = bytes_view(&subscriber.in);
    EXPECT_TEXT("initStart telemetrySubscription initRuntimeDone extension initReport start runtimeDone start runtimeDone start runtimeDone", types_in(in));
    EXPECT(holds(in, "\"platform.initRuntimeDone\",\"record\":{\"initializationType\":\"on-demand\",\"phase\":\"init\",\"status\":\"success\"}}\n"));
    EXPECT(holds(in, "\"platform.start\",\"record\":{\"requestId\":\"id-1\",\"version\":\"$LATEST\",\"tracing\":{\"type\":\"X-Amzn-Trace-Id\",\"value\":\"Root=1-"));
    EXPECT(holds(in, "\"platform.runtimeDone\",\"record\":{\"requestId\":\"id-1\",\"status\":\"success\",\"tracing\":{"));
    EXPECT(holds(in, ",\"producedBytes\":4}}}\n"));
    EXPECT(holds(in, "{\"requestId\":\"id-2\",\"status\":\"error\",\"errorType\":\"Oops\",\"tracing\":{"));
    EXPECT(holds(in, "{\"requestId\":\"id-3\",\"status\":\"timeout\",\"tracing\":{"));
    client_close(&runtime);
    client_close(&extension.client);
    subscriber_close(&subscriber);
    bench_close(bench);
}

/* The time of the first record of this type. */
static int64_t time_of(struct view text, const char *type)
{
    static const char mark[] = "{\"time\":\"";
    char behind[64];
    int64_t time_ms = 0;
    int len = snprintf(behind, sizeof behind, "\",\"type\":\"%s\"", type);
    const char *at = memmem(text.data, text.len, behind, (size_t)len), *time = at;

    while (time != NULL && time > text.data && time[-1] != '"')
        time--;
    EXPECT(time != NULL && time - text.data >= (ptrdiff_t)sizeof mark - 1 && memcmp(time - (sizeof mark - 1), mark, sizeof mark - 1) == 0);
    EXPECT(time != NULL && time_from_text((struct view){ time, (size_t)(at - time) }, &time_ms));
    return time_ms;
}

static bool is_later_than(void *ctx)
{
    return clock_now().wall_ms > *(int64_t *)ctx;
}

TEST(a_subscriber_is_told_when_init_began)
{
    enum { LATER_MS = 200 };
    int64_t before_ms = clock_now().wall_ms;
    struct bench *bench = bench_open((struct bench_options){ 0 });
    int64_t opened_ms = clock_now().wall_ms, subscribed_ms = opened_ms + LATER_MS;
    struct subscriber subscriber;

    subscriber_open(&subscriber, bench);
    EXPECT(bench_until(bench, is_later_than, &subscribed_ms));
    EXPECT_EQ(200, subscribe(bench, subscriber.port, "HTTP", ALL_TYPES));
    EXPECT(subscriber_until(&subscriber, "}]"));
    int64_t began_ms = time_of(bytes_view(&subscriber.in), "platform.initStart");
    EXPECT(began_ms >= before_ms && began_ms < opened_ms + LATER_MS / 2); /* by two clocks, which are not read at once */
    EXPECT(time_of(bytes_view(&subscriber.in), "platform.telemetrySubscription") > subscribed_ms);
    subscriber_close(&subscriber);
    bench_close(bench);
}

/* Nobody can subscribe after INIT: so all hear of all, whoever was the first. */
TEST(a_subscriber_hears_of_extensions_that_came_before_it)
{
    struct bench *bench = bench_open((struct bench_options){ .directory = function_folder() });
    struct extension_client ready, failed, extension;
    struct subscriber subscriber;
    struct client runtime, client;
    char text[256];

    EXPECT_EQ(200, extension_register(&ready, bench, "ext", "{\"events\":[\"INVOKE\",\"SHUTDOWN\"]}"));
    extension_next(&ready);
    EXPECT_EQ(200, extension_register(&failed, bench, "failed", "{\"events\":[\"INVOKE\"]}"));
    (void)snprintf(text, sizeof text, "%sLambda-Extension-Function-Error-Type: Extension.Gone\r\n", failed.header);
    EXPECT_EQ(202, ask(&client, bench, "POST", "/2020-01-01/extension/exit/error", text, "{}").status);
    client_close(&client);
    subscriber_open(&subscriber, bench);
    EXPECT_EQ(200, extension_register(&extension, bench, "late", "{\"events\":[]}"));
    (void)snprintf(text, sizeof text, "{\"destination\":{\"protocol\":\"TCP\",\"port\":%u},\"types\":[\"platform\"],\"buffering\":{\"timeoutMs\":25}}", subscriber.port);
    EXPECT_EQ(200, ask(&client, bench, "PUT", "/2022-07-01/telemetry", extension.header, text).status);
    client_close(&client);
    runtime_next(&runtime, bench);
    extension_next(&extension);
    EXPECT(subscriber_until(&subscriber, "initReport"));
    struct view in = bytes_view(&subscriber.in);
    EXPECT_TEXT("initStart telemetrySubscription initRuntimeDone extension extension extension initReport", types_in(in));
    EXPECT(holds(in, "\"platform.extension\",\"record\":{\"name\":\"ext\",\"state\":\"Ready\",\"events\":[\"INVOKE\",\"SHUTDOWN\"]}}\n"));
    EXPECT(holds(in, "\"platform.extension\",\"record\":{\"name\":\"failed\",\"state\":\"ExitError\",\"events\":[\"INVOKE\"],\"errorType\":\"Extension.Gone\"}}\n"));
    EXPECT(holds(in, "\"platform.extension\",\"record\":{\"name\":\"late\",\"state\":\"Ready\",\"events\":[]}}\n"));
    client_close(&runtime);
    client_close(&ready.client);
    client_close(&failed.client);
    client_close(&extension.client);
    subscriber_close(&subscriber);
    bench_close(bench);
}

/* INIT ends by it; those that end later are told of when they do. */
TEST(a_subscriber_hears_of_an_extension_that_fails)
{
    static const struct { const char *label, *path, *types, *record; bool runs; } cases[] = {
        { "in its start", "/2020-01-01/extension/init/error", "initStart telemetrySubscription initRuntimeDone extension initReport",
          "{\"name\":\"ext\",\"state\":\"InitError\",\"events\":[],\"errorType\":\"Extension.Broken\"}", false },
        { "at work", "/2020-01-01/extension/exit/error", "initStart telemetrySubscription initRuntimeDone extension initReport extension",
          "{\"name\":\"ext\",\"state\":\"ExitError\",\"events\":[],\"errorType\":\"Extension.Broken\"}", true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench *bench = bench_open((struct bench_options){ 0 });
        struct extension_client extension;
        struct subscriber subscriber;
        struct client runtime, client;
        char text[256];

        test_label(cases[i].label);
        subscriber_open(&subscriber, bench);
        EXPECT_EQ(200, extension_register(&extension, bench, "ext", "{\"events\":[]}"));
        (void)snprintf(text, sizeof text, "{\"destination\":{\"protocol\":\"TCP\",\"port\":%u},\"types\":[\"platform\"],\"buffering\":{\"timeoutMs\":25}}", subscriber.port);
        EXPECT_EQ(200, ask(&client, bench, "PUT", "/2022-07-01/telemetry", extension.header, text).status);
        client_close(&client);
        if (cases[i].runs) {
            extension_next(&extension);
            runtime_next(&runtime, bench);
        }
        (void)snprintf(text, sizeof text, "%sLambda-Extension-Function-Error-Type: Extension.Broken\r\n", extension.header);
        EXPECT_EQ(202, ask(&client, bench, "POST", cases[i].path, text, "{}").status);
        client_close(&client);
        EXPECT(subscriber_until(&subscriber, cases[i].record));
        EXPECT(subscriber_until(&subscriber, "initReport"));
        EXPECT_TEXT(cases[i].types, types_in(bytes_view(&subscriber.in)));
        if (cases[i].runs)
            client_close(&runtime);
        client_close(&extension.client);
        subscriber_close(&subscriber);
        bench_close(bench);
    }
    test_label(NULL);
}

TEST(a_provisioned_instance_says_so)
{
    struct bench *bench = bench_open((struct bench_options){ .provisioned = true });
    struct subscriber subscriber;

    subscriber_open(&subscriber, bench);
    EXPECT_EQ(200, subscribe(bench, subscriber.port, "HTTP", ALL_TYPES));
    EXPECT(subscriber_until(&subscriber, "}]"));
    EXPECT(holds(bytes_view(&subscriber.in), "\"platform.initStart\",\"record\":{\"initializationType\":\"provisioned-concurrency\","));
    subscriber_answer(&subscriber, HTTP_OK);
    subscriber_close(&subscriber);
    bench_close(bench);
}

TEST(a_batch_that_is_refused_is_sent_again)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct subscriber subscriber;

    subscriber_open(&subscriber, bench);
    EXPECT_EQ(200, subscribe(bench, subscriber.port, "HTTP", "\"types\":[\"function\"],\"buffering\":{\"timeoutMs\":25}"));
    runtime_telemetry(bench->api, BENCH_INSTANCE, "platform.start", VIEW_LITERAL("{}")); /* not asked for */
    runtime_telemetry(bench->api, BENCH_INSTANCE, "function", VIEW_LITERAL("\"once\""));
    EXPECT(subscriber_until(&subscriber, "]"));
    subscriber_answer(&subscriber, "HTTP/1.1 500 No\r\n\r\n");
    EXPECT(subscriber_until(&subscriber, "\"once\"}]"));
    EXPECT(!holds(bytes_view(&subscriber.in), "platform"));
    subscriber_close(&subscriber);
    bench_close(bench);
}

TEST(tcp_subscribers_get_lines_on_one_connection)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct subscriber subscriber;

    subscriber_open(&subscriber, bench);
    EXPECT_EQ(200, subscribe(bench, subscriber.port, "TCP", ALL_TYPES));
    runtime_telemetry(bench->api, BENCH_INSTANCE, "platform.start", VIEW_LITERAL("{\"a\":\n1}"));
    EXPECT(subscriber_until(&subscriber, "\"record\":{\"a\": 1}}\n"));
    runtime_telemetry(bench->api, BENCH_INSTANCE, "function", VIEW_LITERAL("\"second\""));
    EXPECT(subscriber_until(&subscriber, "\"record\":\"second\"}\n"));
    EXPECT(bytes_view(&subscriber.in).data[0] == '{');
    subscriber_close(&subscriber);
    bench_close(bench);
}

TEST(what_a_slow_subscriber_does_not_take_is_dropped_counted_and_told)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct subscriber subscriber;

    subscriber_open(&subscriber, bench);
    EXPECT_EQ(200, subscribe(bench, subscriber.port, "HTTP", "\"types\":[\"function\"],\"buffering\":{\"maxItems\":1000,\"timeoutMs\":25}"));
    for (int i = 0; i < 2500; i++) /* 1,000 leave, 1,000 are gathered, 500 are too many */
        runtime_telemetry(bench->api, BENCH_INSTANCE, "function", VIEW_LITERAL("\"x\""));
    EXPECT(subscriber_until(&subscriber, "]"));
    subscriber_answer(&subscriber, HTTP_OK);
    EXPECT(subscriber_until(&subscriber, "]"));
    EXPECT(holds(bytes_view(&subscriber.in), "\"type\":\"platform.logsDropped\",\"record\":{\"reason\":\"the subscriber did not take them in time\",\"droppedRecords\":500,\"droppedBytes\":1500}}]"));
    subscriber_close(&subscriber);
    bench_close(bench);
}

TEST(what_is_gathered_is_sent_at_the_end_of_the_instance)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct subscriber subscriber;

    subscriber_open(&subscriber, bench);
    EXPECT_EQ(200, subscribe(bench, subscriber.port, "HTTP", "\"types\":[\"function\"],\"buffering\":{\"timeoutMs\":30000}"));
    runtime_telemetry(bench->api, BENCH_INSTANCE, "function", VIEW_LITERAL("\"last words\""));
    EXPECT(runtime_shutdown(bench->api, BENCH_INSTANCE, "spindown", 0));
    EXPECT(subscriber_until(&subscriber, "last words"));
    subscriber_close(&subscriber);
    bench_close(bench);
}

static const struct { const char *label, *body; int status; } subscriptions[] = {
    { "localhost", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://localhost:9\"}}", 200 },
    { "127.0.0.1", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://127.0.0.1:9/\"}}", 200 },
    { "no port is 80", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://sandbox/x\"}}", 200 },
    { "another host", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://169.254.169.254:80/\"}}", 400 },
    { "a host behind a user", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://localhost:1@evil:80/\"}}", 400 },
    { "another scheme", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"https://localhost:9\"}}", 400 },
    { "port 0", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://localhost:0\"}}", 400 },
    { "port 65536", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://localhost:65536\"}}", 400 },
    { "a port with more digits than a number", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://localhost:18446744073709551617\"}}", 400 },
    { "a request line's end in the path", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://localhost:9/\\r\\nX: y\"}}", 400 },
    { "a NUL in the path", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\",\"URI\":\"http://localhost:9/\\u0000\"}}", 400 },
    { "no URI", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"HTTP\"}}", 400 },
    { "no destination", "{\"types\":[\"platform\"]}", 400 },
    { "another protocol", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"UDP\",\"port\":9}}", 400 },
    { "a TCP port that is no number", "{\"types\":[\"platform\"],\"destination\":{\"protocol\":\"TCP\",\"port\":\"9\"}}", 400 },
    { "no types", "{\"types\":[],\"destination\":{\"protocol\":\"TCP\",\"port\":9}}", 400 },
    { "a type that there is not", "{\"types\":[\"logs\"],\"destination\":{\"protocol\":\"TCP\",\"port\":9}}", 400 },
    { "another version", "{\"schemaVersion\":\"1999-01-01\",\"types\":[\"platform\"],\"destination\":{\"protocol\":\"TCP\",\"port\":9}}", 400 },
    { "too few items", "{\"buffering\":{\"maxItems\":999},\"types\":[\"platform\"],\"destination\":{\"protocol\":\"TCP\",\"port\":9}}", 400 },
    { "too many bytes", "{\"buffering\":{\"maxBytes\":1048577},\"types\":[\"platform\"],\"destination\":{\"protocol\":\"TCP\",\"port\":9}}", 400 },
    { "too long a time", "{\"buffering\":{\"timeoutMs\":30001},\"types\":[\"platform\"],\"destination\":{\"protocol\":\"TCP\",\"port\":9}}", 400 },
    { "the bounds themselves", "{\"buffering\":{\"timeoutMs\":25,\"maxBytes\":1048576,\"maxItems\":1000},\"types\":[\"platform\"],\"destination\":{\"protocol\":\"TCP\",\"port\":9}}", 200 },
    { "no JSON", "{", 400 },
    { "no object", "[]", 400 },
};

TEST(subscriptions_are_checked)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct extension_client extension;

    EXPECT_EQ(200, extension_register(&extension, bench, "ext", "{}"));
    for (size_t i = 0; i < sizeof subscriptions / sizeof *subscriptions; i++) {
        struct client client;
        test_label(subscriptions[i].label);
        struct answer answer = ask(&client, bench, "PUT", "/2022-07-01/telemetry", extension.header, subscriptions[i].body);
        EXPECT_EQ(subscriptions[i].status, answer.status);
        EXPECT(answer.status != 400 || holds(answer.body, "\"errorType\":\"ValidationError\""));
        client_close(&client);
    }
    test_label(NULL);
    struct client runtime, late;
    runtime_next(&runtime, bench);
    struct answer answer = ask(&late, bench, "PUT", "/2022-07-01/telemetry", extension.header, subscriptions[0].body);
    EXPECT_EQ(403, answer.status);
    EXPECT(holds(answer.body, "\"Telemetry.SubscriptionClosed\""));
    client_close(&late);
    client_close(&runtime);
    client_close(&extension.client);
    bench_close(bench);
}
