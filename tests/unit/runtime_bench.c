#include "tests/unit/runtime_bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "tests/test.h"

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- the owner ---- */

static void on_wants(void *ctx, uint64_t instance)
{
    EXPECT_EQ(BENCH_INSTANCE, instance);
    bytes_put_text(&((struct bench *)ctx)->heard, "wants ");
}

static void on_wants_cancel(void *ctx, uint64_t instance)
{
    EXPECT_EQ(BENCH_INSTANCE, instance);
    bytes_put_text(&((struct bench *)ctx)->heard, "cancel ");
}

static void note_result(struct bench *bench, struct view result)
{
    if (result.len > 400)
        bytes_put_format(&bench->heard, "(%zu bytes)", result.len);
    else
        bytes_put_view(&bench->heard, result);
    bytes_put_char(&bench->heard, ' ');
}

static void on_result(void *ctx, uint64_t instance, uint64_t lease, const struct failure *failure, struct view result, struct view content_type)
{
    struct bench *bench = ctx;

    EXPECT_EQ(BENCH_INSTANCE, instance);
    if (failure == NULL)
        bytes_put_format(&bench->heard, "ok%d:", (int)lease);
    else
        bytes_put_format(&bench->heard, "fail%d:%.*s:", (int)lease, VIEW_ARGS(failure->type));
    if (failure == NULL && content_type.data != NULL && !view_is(content_type, "application/json"))
        bytes_put_format(&bench->heard, "[%.*s]", VIEW_ARGS(content_type));
    note_result(bench, result);
    if (bench->close_in_result)
        runtime_close(bench->api, BENCH_INSTANCE);
}

static bool on_stream_begin(void *ctx, uint64_t instance, uint64_t lease, struct view content_type)
{
    struct bench *bench = ctx;

    EXPECT_EQ(BENCH_INSTANCE, instance);
    bytes_put_format(&bench->heard, "begin%d:%.*s ", (int)lease, VIEW_ARGS(content_type));
    return !bench->begin_refused;
}

static bool on_stream_piece(void *ctx, uint64_t instance, uint64_t lease, struct view piece)
{
    struct bench *bench = ctx;

    EXPECT_EQ(BENCH_INSTANCE, instance);
    bench->pieces_bytes += piece.len;
    if (bench->heard.len < 4096) {
        bytes_put_format(&bench->heard, "piece%d:", (int)lease);
        note_result(bench, piece);
    }
    return !bench->piece_refused;
}

static void on_init_error(void *ctx, uint64_t instance, const struct failure *failure, struct view body)
{
    struct bench *bench = ctx;

    EXPECT_EQ(BENCH_INSTANCE, instance);
    bytes_put_format(&bench->heard, "init:%.*s:", VIEW_ARGS(failure->type));
    note_result(bench, body);
}

static void on_extension(void *ctx, uint64_t instance)
{
    (void)ctx;
    EXPECT_EQ(BENCH_INSTANCE, instance);
}

static void on_extensions_done(void *ctx, uint64_t instance)
{
    struct bench *bench = ctx;

    EXPECT_EQ(BENCH_INSTANCE, instance);
    bytes_put_text(&bench->heard, "done ");
}

struct bench *bench_open(struct bench_options options)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct runtime_events events = {
        .ctx = bench, .on_wants = on_wants, .on_wants_cancel = on_wants_cancel, .on_result = on_result,
        .on_stream_begin = on_stream_begin, .on_stream_piece = on_stream_piece, .on_init_error = on_init_error,
        .on_extension = on_extension, .on_extensions_done = on_extensions_done,
    };
    struct sluice_error error;

    ASSERT(bench != NULL);
    bench->loop = ev_loop_new(0);
    bench->function = (struct config_function){
        .name = "thumbnail", .handler = "index.handler", .path = "/usr/bin:/bin", .directory = options.directory != NULL ? options.directory : "/tmp",
        .concurrency = options.concurrency == 0 ? 1 : options.concurrency,
    };
    ASSERT(runtime_api_new(bench->loop, &events, &bench->api, &error) == SLUICE_OK);
    ASSERT(runtime_open(bench->api, BENCH_INSTANCE, &bench->function, options.provisioned, &bench->port, &error) == SLUICE_OK);
    if (!options.not_started)
        runtime_started(bench->api, BENCH_INSTANCE, options.pid != 0 ? options.pid : getpid());
    return bench;
}

void bench_close(struct bench *bench)
{
    runtime_api_free(bench->api);
    ev_loop_destroy(bench->loop);
    bytes_done(&bench->heard);
    free(bench);
}

static void deliver(struct bench *bench, uint64_t lease, const char *payload, bool streams)
{
    char id[32];

    (void)snprintf(id, sizeof id, "id-%d", (int)lease);
    runtime_deliver(bench->api, BENCH_INSTANCE, &(struct runtime_invocation){
        .lease = lease, .request_id = id, .arn = "arn:aws:lambda:us-east-1:000000000000:function:thumbnail:live",
        .trace_id = "Root=1-00000001-000000000000000000000001;Parent=0000000000000001;Sampled=0",
        .deadline_ms = 1767225603000, .payload = view_of(payload), .streams = streams,
    });
}

void bench_deliver(struct bench *bench, uint64_t lease, const char *payload) { deliver(bench, lease, payload, false); }
void bench_deliver_streamed(struct bench *bench, uint64_t lease, const char *payload) { deliver(bench, lease, payload, true); }

const char *bench_heard(struct bench *bench)
{
    static char text[16384];
    size_t len = bench->heard.len < sizeof text - 1 ? bench->heard.len : sizeof text - 1;

    if (len > 0)
        memcpy(text, bench->heard.data, len);
    text[len > 0 ? len - 1 : 0] = '\0';  /* without the last space */
    bytes_clear(&bench->heard);
    return text;
}

/* ---- the loop ---- */

static void on_wake(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)timer, (void)events;
    ev_break(loop, EVBREAK_ONE);
}

bool bench_until(struct bench *bench, bool (*done)(void *ctx), void *ctx)
{
    int64_t until = now_ms() + BENCH_WAIT_MS_MAX;
    ev_timer wake; /* so that a client's socket, which the loop does not watch, is looked at as well */

    ev_timer_init(&wake, on_wake, 0.001, 0.001);
    ev_timer_start(bench->loop, &wake);
    while (!done(ctx) && now_ms() < until)
        ev_run(bench->loop, EVRUN_ONCE);
    ev_timer_stop(bench->loop, &wake);
    return done(ctx);
}

void bench_pass(struct bench *bench)
{
    for (unsigned i = 0; i < 20; i++)
        ev_run(bench->loop, EVRUN_NOWAIT);
}

struct heard_wanted {
    struct bench *bench;
    const char *text;
};

static bool is_heard(void *ctx)
{
    struct heard_wanted *wanted = ctx;

    return wanted->bench->heard.len > 0 && memmem(wanted->bench->heard.data, wanted->bench->heard.len, wanted->text, strlen(wanted->text)) != NULL;
}

bool bench_until_heard(struct bench *bench, const char *text)
{
    return bench_until(bench, is_heard, &(struct heard_wanted){ bench, text });
}

/* ---- clients ---- */

void client_open_port(struct client *client, struct bench *bench, uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    *client = (struct client){ .bench = bench };
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(client->fd >= 0);
    ASSERT(connect(client->fd, (struct sockaddr *)&address, sizeof address) == 0);
    (void)fcntl(client->fd, F_SETFL, O_NONBLOCK);
}

void client_open(struct client *client, struct bench *bench)
{
    client_open_port(client, bench, bench->port);
}

void client_close(struct client *client)
{
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
    bytes_done(&client->in);
}

struct sending {
    struct client *client;
    struct view left;
};

static bool is_sent(void *ctx)
{
    struct sending *sending = ctx;

    while (sending->left.len > 0) {
        ssize_t sent = send(sending->client->fd, sending->left.data, sending->left.len, MSG_NOSIGNAL);
        if (sent < 0)
            return errno != EAGAIN; /* the server closed it: nothing more to send */
        sending->left.data += sent;
        sending->left.len -= (size_t)sent;
    }
    return true;
}

void client_send(struct client *client, struct view bytes)
{
    EXPECT(bench_until(client->bench, is_sent, &(struct sending){ client, bytes }));
}

void client_send_text(struct client *client, const char *text)
{
    client_send(client, view_of(text));
}

void client_request(struct client *client, const char *method, const char *path, const char *headers, struct view body)
{
    struct bytes request = { 0 };

    bytes_put_format(&request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s", method, path, client->bench->port, headers != NULL ? headers : "");
    if (strcmp(method, "GET") != 0)
        bytes_put_format(&request, "Content-Length: %zu\r\n", body.len);
    bytes_put_text(&request, "\r\n");
    bytes_put_view(&request, body);
    ASSERT(!request.failed);
    client_send(client, bytes_view(&request));
    bytes_done(&request);
}

/* false: it is closed, or something went wrong. */
static bool client_read(struct client *client)
{
    for (;;) {
        char buffer[65536];
        ssize_t got = recv(client->fd, buffer, sizeof buffer, 0);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        if (got == 0)
            return false;
        bytes_put(&client->in, buffer, (size_t)got);
    }
}

/* The end of the answer that begins at `taken`: its head and Content-Length bytes; 0: not whole. Interim answers are left out. */
static size_t answer_end(const struct client *client, size_t *ret_body)
{
    const char *start = client->in.data + client->taken;
    size_t len = client->in.len - client->taken;
    const char *end = len > 0 ? memmem(start, len, "\r\n\r\n", 4) : NULL;

    if (end == NULL)
        return 0;
    *ret_body = (size_t)(end - client->in.data) + 4;
    const char *length = memmem(start, (size_t)(end - start), "Content-Length: ", 16);
    size_t body = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
    return *ret_body + body <= client->in.len ? *ret_body + body : 0;
}

struct answering {
    struct client *client;
    bool closed;
};

static bool is_answered(void *ctx)
{
    struct answering *answering = ctx;
    size_t body;

    answering->closed |= !client_read(answering->client);
    return answering->closed || answer_end(answering->client, &body) > 0;
}

struct answer client_answer(struct client *client)
{
    struct answering answering = { client, false };
    struct answer answer = { 0 };
    size_t body;

    EXPECT(bench_until(client->bench, is_answered, &answering));
    size_t end = answer_end(client, &body);
    if (end == 0)
        return answer;
    size_t head_len = body - client->taken;
    memcpy(answer.head, client->in.data + client->taken, head_len < sizeof answer.head ? head_len : sizeof answer.head - 1);
    answer.status = atoi(answer.head + 9);
    answer.body = (struct view){ client->in.data + body, end - body };
    client->taken = end;
    return answer;
}

static bool is_closed(void *ctx)
{
    return !client_read(ctx);
}

bool client_waits(struct client *client)
{
    bench_pass(client->bench);
    return client_read(client) && client->in.len == client->taken;
}

bool client_closed(struct client *client)
{
    return bench_until(client->bench, is_closed, client);
}

const char *answer_header(const struct answer *answer, const char *name)
{
    static char value[1024];
    size_t name_len = strlen(name);

    for (const char *line = strstr(answer->head, "\r\n"); line != NULL && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, name_len) != 0 || line[2 + name_len] != ':')
            continue;
        const char *start = line + 2 + name_len + 1, *end = strstr(start, "\r\n");
        while (*start == ' ')
            start++;
        (void)snprintf(value, sizeof value, "%.*s", (int)(end - start), start);
        return value;
    }
    return NULL;
}

struct answer ask(struct client *client, struct bench *bench, const char *method, const char *path, const char *headers, const char *body)
{
    client_open(client, bench);
    client_request(client, method, path, headers, view_of(body));
    return client_answer(client);
}
