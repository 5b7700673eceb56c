#include "tests/unit/api_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/assert.h"

/* ---- an engine with functions and rules, without events ---- */

static bool no_batch(void *ctx, uint32_t function, uint64_t at, struct batch_row *ret_row)
{
    (void)ctx, (void)function, (void)at, (void)ret_row;
    return false;
}
static enum sluice_err no_event(void *ctx, uint64_t seq, struct stored_event *ret_event)
{
    (void)ctx, (void)seq, (void)ret_event;
    return SLUICE_ENOTFOUND;
}
static bool no_record(void *ctx, uint64_t after, struct record *ret_record)
{
    (void)ctx, (void)after, (void)ret_record;
    return false;
}
static bool no_due(void *ctx, uint32_t function, struct due_key after, struct due_key *ret_key)
{
    (void)ctx, (void)function, (void)after, (void)ret_key;
    return false;
}
static enum sluice_err no_exception(void *ctx, enum exception_table table, uint32_t function, struct delivery delivery, struct exception *ret_row)
{
    (void)ctx, (void)table, (void)function, (void)delivery, (void)ret_row;
    return SLUICE_ENOTFOUND;
}
static bool no_exception_after(void *ctx, enum exception_table table, uint32_t function, struct delivery after, struct exception *ret_row)
{
    (void)ctx, (void)table, (void)function, (void)after, (void)ret_row;
    return false;
}
static bool no_start(void *ctx, uint64_t instance, const struct config_function *function)
{
    (void)ctx, (void)instance, (void)function;
    return false;
}
static void no_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

static const char *const command[] = { "/bin/true", NULL }, *const nothing[] = { NULL };
static const char *const buses[] = { "default", "orders", NULL };
static const struct config_target targets[] = { { .function = "f" }, { .function = "g", .input = TARGET_INPUT_PATH, .text = "$.detail" } };
static const struct config_rule rules[] = {
    { .name = "a", .bus = "default", .pattern = "{\"source\":[\"s\"]}", .enabled = true, .targets = targets, .targets_count = 2, .file = "t", .line = 1 },
    { .name = "b", .bus = "orders", .pattern = "{\"source\":[\"s\"]}", .targets = targets, .targets_count = 1, .file = "t", .line = 1 },
    { .name = "bc", .bus = "default", .pattern = "{\"source\":[\"t\"]}", .enabled = true, .targets = targets, .targets_count = 1, .file = "t", .line = 1 },
};

static const char *const get[] = { "GET", NULL }, *const change[] = { "PUT", "DELETE", NULL };
static const char *const origins[] = { "https://shop.example", NULL }, *const all[] = { "*", NULL }, *const some[] = { "x-a", "x-b", NULL };
static const struct config_cors strict = { .allow_origins = origins, .allow_methods = change, .allow_headers = some, .expose_headers = some,
                                           .max_age_ms = 600000, .allow_credentials = true };
static const struct config_cors open_to_all = { .allow_origins = all, .allow_methods = nothing, .allow_headers = all, .expose_headers = nothing };
/* In the order of route_path_compare(). */
static const struct config_route routes[] = {
    { .name = "shop", .path = "/cart", .methods = change, .function = "f", .web = { .cors = &strict } },
    { .name = "live", .path = "/live", .methods = get, .function = "f", .web = { .cors = &open_to_all, .stream = true } },
    { .name = "one", .path = "/orders/{id}", .methods = get, .function = "f" },
    { .name = "any", .path = "/orders/{id}/{rest+}", .methods = nothing, .function = "g" },
};

static struct config_function function_of(const char *name)
{
    return (struct config_function){ .name = name, .command = command, .directory = "/", .environment = nothing, .protocol = PROTOCOL_STDIO,
                                     .timeout_ms = 3000, .concurrency = 1, .batch_size = 1, .scale_max = 4, .idle_ms = 1000,
                                     .drain_target_ms = 1000, .retry_attempts = 3, .backoff_min_ms = 1, .backoff_max_ms = 1, .max_age_ms = 10000 };
}

static void engine_open(struct bench *bench)
{
    static const char *const names[] = { "f", "g", "with.dots-and_more" };
    struct world world = {
        .reader = { .batch_after = no_batch, .batch_at = no_batch, .event = no_event, .record_after = no_record, .due_after = no_due,
                    .exception = no_exception, .exception_after = no_exception_after },
        .start = no_start, .log = no_log,
    };
    struct config_function *functions = arena_zalloc(bench->arena, 3 * sizeof *functions);
    struct now now = { .mono = { 1000000 }, .wall_ms = 1700000000000 };
    struct sluice_error error;

    for (size_t i = 0; i < 3; i++)
        functions[i] = function_of(names[i]);
    functions[1].log_format = LOG_FORMAT_JSON;
    functions[1].log_level = "DEBUG";
    functions[1].url = (struct config_web){ .cors = &strict, .stream = true };
    static const char *const hosts[] = { "proxy.example", NULL };
    bench->config = (struct config){ .http_hosts = hosts, .buses = buses, .buses_count = 2, .functions = functions, .functions_count = 3, .rules = rules, .rules_count = 3,
                                     .routes = routes, .routes_count = sizeof routes / sizeof *routes };
    bench->engine = engine_new(&(struct engine_options){ .seed = 1, .cores = 1, .memory_free_bytes = 1 << 30 }, &world);
    EXPECT_EQ(SLUICE_OK, engine_configure_at_once(bench->engine, &bench->config, NULL, NULL, now, &error));
}

/* ---- the hands ---- */

static const struct config *hand_config(void *ctx)
{
    return &((struct bench *)ctx)->config;
}

static enum sluice_err hand_invoke(void *ctx, uint32_t function, uint64_t invoke, struct sluice_error *reterr)
{
    struct bench *bench = ctx;

    EXPECT((invoke & API_HANDLE_BIT) != 0);
    if (bench->invoke_err != SLUICE_OK)
        return sluice_fail(reterr, bench->invoke_err, "refused by the test");
    VEC_PUSH(&bench->invokes, invoke);
    VEC_PUSH(&bench->functions, function);
    return SLUICE_OK;
}

static void invoke_forget(struct bench *bench, size_t index)
{
    bench->invokes.count--;
    bench->functions.count--;
    for (; index < bench->invokes.count; index++) {
        bench->invokes.items[index] = bench->invokes.items[index + 1];
        bench->functions.items[index] = bench->functions.items[index + 1];
    }
}

static void hand_invoke_cancel(void *ctx, uint64_t invoke)
{
    struct bench *bench = ctx;

    VEC_PUSH(&bench->cancelled, invoke);
    for (size_t i = 0; i < bench->invokes.count; i++) {
        if (bench->invokes.items[i] == invoke) {
            invoke_forget(bench, i);
            return;
        }
    }
    EXPECT(!"an invoke that was cancelled had not been asked for");
}

static void hand_publish(void *ctx, const struct publish *publish)
{
    EXPECT((publish->reply & API_HANDLE_BIT) != 0);
    VEC_PUSH(&((struct bench *)ctx)->publishes, (struct publish_seen){ .publish = *publish });
}

static void hand_publish_cancel(void *ctx, uint64_t reply)
{
    struct bench *bench = ctx;

    for (size_t i = 0; i < bench->publishes.count; i++)
        bench->publishes.items[i].cancelled |= bench->publishes.items[i].publish.reply == reply;
}

static void hand_resume(void *ctx, uint64_t invoke)
{
    VEC_PUSH(&((struct bench *)ctx)->resumed, invoke);
}

static void hand_look(void *ctx)
{
    (void)ctx;
}

static void hand_metrics(void *ctx, struct bytes *out)
{
    (void)ctx;
    bytes_put_text(out, "# HELP sluice_test_total Of the test.\n# TYPE sluice_test_total counter\nsluice_test_total 7\n");
}

static bool hand_ready(void *ctx, const char **ret_reason)
{
    *ret_reason = "still recovering";
    return !((struct bench *)ctx)->not_ready;
}

/* ---- the bench ---- */

static struct api_hands bench_hands(struct bench *bench)
{
    return (struct api_hands){
        .ctx = bench, .engine = bench->engine, .config = hand_config, .invoke = hand_invoke, .invoke_cancel = hand_invoke_cancel,
        .publish = hand_publish, .publish_cancel = hand_publish_cancel, .resume = hand_resume, .look = hand_look, .metrics = hand_metrics,
        .ready = hand_ready,
    };
}

void bench_open(struct bench *bench)
{
    struct sluice_error error;

    *bench = (struct bench){ .loop = ev_loop_new(EVFLAG_AUTO), .arena = arena_new(4096) };
    engine_open(bench);
    struct api_hands hands = bench_hands(bench);
    ASSERT(api_open(bench->loop, "127.0.0.1:0", &hands, &bench->api, &error) == SLUICE_OK);
    EXPECT(api_port(bench->api) > 0);
}

void bench_close(struct bench *bench)
{
    api_close(bench->api);
    (void)engine_free(bench->engine);
    (void)arena_free(bench->arena);
    VEC_DONE(&bench->invokes);
    VEC_DONE(&bench->functions);
    VEC_DONE(&bench->cancelled);
    VEC_DONE(&bench->resumed);
    VEC_DONE(&bench->publishes);
    ev_loop_destroy(bench->loop);
}

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events, (void)timer;
    ev_break(loop, EVBREAK_ALL);
}

void bench_run(struct bench *bench, bool (*true_of)(void *ctx), void *ctx)
{
    ev_timer deadline;

    ev_timer_init(&deadline, on_deadline, BENCH_WAIT_MS_MAX / 1000.0, 0);
    ev_now_update(bench->loop);
    ev_timer_start(bench->loop, &deadline);
    while (!true_of(ctx) && ev_is_active(&deadline))
        (void)ev_run(bench->loop, EVRUN_ONCE);
    EXPECT(ev_is_active(&deadline));
    ev_timer_stop(bench->loop, &deadline);
}

struct wanted {
    const size_t *count;
    size_t least;
};
static bool is_enough(void *ctx)
{
    struct wanted *wanted = ctx;
    return *wanted->count >= wanted->least;
}

void bench_wait_invokes(struct bench *bench, size_t count)
{
    bench_run(bench, is_enough, &(struct wanted){ &bench->invokes.count, count });
}

void bench_wait_publishes(struct bench *bench, size_t count)
{
    bench_run(bench, is_enough, &(struct wanted){ &bench->publishes.count, count });
}

void bench_wait_cancelled(struct bench *bench, size_t count)
{
    bench_run(bench, is_enough, &(struct wanted){ &bench->cancelled.count, count });
}

const struct api_invocation *bench_invocation(struct bench *bench)
{
    ASSERT(bench->invokes.count > 0);
    const struct api_invocation *invocation = api_invocation_find(bench->api, bench->invokes.items[0]);
    ASSERT(invocation != NULL);
    return invocation;
}

static void answer(struct bench *bench, const struct invoke_answer *what, const char *log)
{
    ASSERT(bench->invokes.count > 0);
    uint64_t invoke = bench->invokes.items[0];
    invoke_forget(bench, 0);
    api_invoke_answered(bench->api, invoke, what, view_of(log));
}

void bench_answer(struct bench *bench, const char *result)
{
    answer(bench, &(struct invoke_answer){ .outcome = INVOKE_DONE, .result = view_of(result) }, "START\nhello\nREPORT\n");
}

void bench_fail(struct bench *bench, const char *type, const char *message, const char *result)
{
    struct failure failure = { .type = view_of(type), .message = view_of(message), .output = VIEW_LITERAL("") };

    answer(bench, &(struct invoke_answer){ .outcome = INVOKE_FAILED, .failure = &failure, .result = view_of(result) }, "oops\n");
}

void bench_answer_outcome(struct bench *bench, enum invoke_outcome outcome)
{
    answer(bench, &(struct invoke_answer){ .outcome = outcome }, "");
}

void bench_committed(struct bench *bench)
{
    const struct publish *publish = &bench->publishes.items[bench->publishes.count - 1].publish;

    api_publish_answered(bench->api, publish->reply, &(struct publish_answer){ .code = SLUICE_OK, .accepted = publish->count });
}

struct event bench_event(const struct publish_seen *seen, unsigned index)
{
    struct mpack_reader reader = mpack_reader_of(seen->publish.events);
    struct sluice_error error = { 0 };
    struct event event = { 0 };

    for (unsigned i = 0; i <= index; i++) {
        if (envelope_decode(&reader, &event, &error) != SLUICE_OK || envelope_check_detail(&event, &error) != SLUICE_OK)
            test_fail(__FILE__, __LINE__, "event %u: %s", i, error.text);
    }
    return event;
}

/* ---- clients ---- */

static void client_on_event(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct client *client = watcher->data;

    if (events & EV_WRITE) {
        ssize_t sent = send(client->fd, client->out.data + client->sent, client->out.len - client->sent, MSG_NOSIGNAL);
        if (sent > 0)
            client->sent += (size_t)sent;
        if (client->sent == client->out.len || (sent < 0 && errno != EAGAIN)) {
            ev_io_stop(loop, watcher);
            ev_io_set(watcher, client->fd, EV_READ);
            ev_io_start(loop, watcher);
        }
    }
    if (events & EV_READ) {
        ASSERT(bytes_reserve(&client->in, 65536));
        ssize_t got = recv(client->fd, client->in.data + client->in.len, 65536, 0);
        if (got > 0)
            client->in.len += (size_t)got;
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            client->closed = true;
            ev_io_stop(loop, watcher);
        }
    }
}

void client_open(struct client *client, struct bench *bench)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(api_port(bench->api)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    *client = (struct client){ .bench = bench, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    ASSERT(client->fd >= 0);
    ASSERT(connect(client->fd, (struct sockaddr *)&address, sizeof address) == 0);
    ASSERT(fcntl(client->fd, F_SETFL, O_NONBLOCK) == 0);
    ev_io_init(&client->watcher, client_on_event, client->fd, EV_READ);
    client->watcher.data = client;
    ev_io_start(bench->loop, &client->watcher);
}

void client_close(struct client *client)
{
    ev_io_stop(client->bench->loop, &client->watcher);
    (void)close(client->fd);
    bytes_done(&client->out);
    bytes_done(&client->in);
}

void client_send(struct client *client, struct view bytes)
{
    bytes_put_view(&client->out, bytes);
    ev_io_stop(client->bench->loop, &client->watcher);
    ev_io_set(&client->watcher, client->fd, EV_READ | EV_WRITE);
    ev_io_start(client->bench->loop, &client->watcher);
}

void client_ask(struct client *client, const char *line, const char *headers, struct view body)
{
    struct bytes request = { 0 };

    client->head = strncmp(line, "HEAD ", 5) == 0;
    bytes_put_format(&request, "%s HTTP/1.1\r\n%s", line, headers);
    if (strstr(headers, "Host:") == NULL)
        bytes_put_format(&request, "Host: 127.0.0.1:%u\r\n", api_port(client->bench->api));
    if (body.len > 0 || strncmp(line, "POST", 4) == 0)
        bytes_put_format(&request, "Content-Length: %zu\r\n", body.len);
    bytes_put_text(&request, "\r\n");
    bytes_put_view(&request, body);
    client_send(client, bytes_view(&request));
    bytes_done(&request);
}

/* Length of the first whole answer; 0: it is not whole. Appends its body to `body`, unless NULL. */
static size_t answer_len(const struct client *client, struct bytes *body)
{
    const char *start = client->in.data, *end = start + client->in.len;
    const char *head_end = client->in.len == 0 ? NULL : memmem(start, client->in.len, "\r\n\r\n", 4);

    if (head_end == NULL)
        return 0;
    head_end += 4;
    char *head = strndup(start, (size_t)(head_end - start));
    const char *length = strcasestr(head, "\r\ncontent-length: ");
    bool chunked = strcasestr(head, "\r\ntransfer-encoding: chunked") != NULL;
    size_t len = length == NULL || client->head ? 0 : strtoul(length + 18, NULL, 10);
    free(head);
    if (!chunked) {
        if ((size_t)(end - head_end) < len)
            return 0;
        if (body != NULL)
            bytes_put(body, head_end, len);
        return (size_t)(head_end - start) + len;
    }
    for (const char *at = head_end;;) {
        const char *line_end = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (line_end == NULL)
            return 0;
        len = strtoul(at, NULL, 16);
        at = line_end + 2;
        if ((size_t)(end - at) < len + 2)
            return 0;
        if (body != NULL)
            bytes_put(body, at, len);
        at += len + 2;
        if (len == 0)
            return (size_t)(at - start);
    }
}

static bool is_answered(void *ctx)
{
    const struct client *client = ctx;
    return client->closed || answer_len(client, NULL) > 0;
}

void client_answer(struct client *client, struct reply *ret_reply)
{
    struct bytes body = { 0 };

    *ret_reply = (struct reply){ .status = 0 };
    bench_run(client->bench, is_answered, client);
    size_t len = answer_len(client, &body);
    if (len == 0) { /* closed: status 0 says so */
        bytes_put_text(&ret_reply->bytes, "-");
        ret_reply->head = ret_reply->body = (struct view){ ret_reply->bytes.data, 0 };
        return;
    }
    size_t head_len = (size_t)((const char *)memmem(client->in.data, len, "\r\n\r\n", 4) + 4 - client->in.data);
    bytes_put(&ret_reply->bytes, client->in.data, head_len);
    bytes_put_view(&ret_reply->bytes, bytes_view(&body));
    bytes_put_char(&ret_reply->bytes, '\0');
    ret_reply->head = (struct view){ ret_reply->bytes.data, head_len };
    ret_reply->body = (struct view){ ret_reply->bytes.data + head_len, body.len };
    ret_reply->status = (unsigned)strtoul(ret_reply->bytes.data + 9, NULL, 10);
    memmove(client->in.data, client->in.data + len, client->in.len - len);
    client->in.len -= len;
    bytes_done(&body);
}

void reply_done(struct reply *reply)
{
    bytes_done(&reply->bytes);
}

const char *reply_header(const struct reply *reply, const char *name)
{
    static char value[16384];
    char *head = strndup(reply->head.data, reply->head.len);
    char wanted[80];

    (void)snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    const char *found = strcasestr(head, wanted);
    value[0] = '\0';
    if (found != NULL) {
        found += strlen(wanted);
        (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(found, "\r"), found);
    }
    free(head);
    return value;
}

void ask(struct bench *bench, const char *line, const char *headers, struct view body, struct reply *ret_reply)
{
    struct client client;

    client_open(&client, bench);
    client_ask(&client, line, headers, body);
    client_answer(&client, ret_reply);
    client_close(&client);
}

void ask_three_times(struct bench *bench, const char *line, const char *headers, struct view body, struct reply *ret_reply, struct reply *ret_again)
{
    struct client first, second;
    struct reply other;
    char id[40];

    client_open(&first, bench);
    client_open(&second, bench);
    client_ask(&first, line, headers, body);
    bench_wait_publishes(bench, 1);
    client_close(&first); /* its events are on their way all the same */
    client_ask(&second, line, headers, body);
    client_open(&first, bench);
    client_ask(&first, "GET /healthz", "", VIEW_LITERAL("")); /* behind it on the loop */
    client_answer(&first, &other);
    reply_done(&other);
    bench_committed(bench);
    client_answer(&second, ret_reply);
    client_ask(&second, line, headers, body);
    client_answer(&second, ret_again);
    (void)snprintf(id, sizeof id, "%s", reply_header(ret_reply, "x-amzn-requestid"));
    EXPECT_TEXT(id, reply_header(ret_again, "x-amzn-requestid"));
    EXPECT_EQ(1, bench->publishes.count);
    client_close(&first);
    client_close(&second);
}
