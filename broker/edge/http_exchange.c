#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/edge/http_guard.h"
#include "broker/edge/http_internal.h"
#include "broker/edge/log.h"

/* ---- sections: a head's or trailers' text, and where its fields are in it ---- */

static char *section_text(struct http_section *section)
{
    return (char *)&section->fields[section->count];
}

static struct http_span span_of(struct view view, struct view text)
{
    ASSERT(view.data >= text.data && view.data + view.len <= text.data + text.len);
    return (struct http_span){ .at = (uint32_t)(view.data - text.data), .len = (uint32_t)view.len };
}

static struct view span_view(const struct http_section *section, struct http_span span)
{
    return (struct view){ .data = section_text((struct http_section *)(uintptr_t)section) + span.at, .len = span.len };
}

static size_t section_bytes(const struct http_head *head)
{
    return sizeof(struct http_section) + head->count * sizeof(((struct http_section *)NULL)->fields[0]) + head->text.len;
}

/* Of section_bytes(). */
static void section_fill(struct http_section *section, const struct http_head *head)
{
    section->count = head->count;
    for (unsigned i = 0; i < head->count; i++) {
        section->fields[i].name = span_of(head->fields[i].name, head->text);
        section->fields[i].value = span_of(head->fields[i].value, head->text);
    }
    memcpy(section_text(section), head->text.data, head->text.len);
}

static struct http_section *head_of(const struct http_exchange *exchange)
{
    return (struct http_section *)(uintptr_t)(exchange + 1);
}

static struct view section_find(const struct http_section *section, const char *name)
{
    for (unsigned i = 0; section != NULL && i < section->count; i++)
        if (http_name_is(span_view(section, section->fields[i].name), name))
            return span_view(section, section->fields[i].value);
    return (struct view){ .data = NULL };
}

/* ---- life ---- */

struct http_exchange *http_exchange_new(struct http_connection *connection, const struct http_head *head)
{
    struct http_listener *listener = connection->listener;
    size_t head_bytes = section_bytes(head);

    if (listener->bodies_bytes + head_bytes > listener->bodies_bytes_max)
        return NULL;
    struct http_exchange *exchange = malloc(sizeof *exchange + head_bytes);
    if (exchange == NULL)
        return NULL;
    listener->bodies_bytes += head_bytes;
    *exchange = (struct http_exchange){
        .connection = connection,
        .method = span_of(head->method, head->text),
        .path = span_of(head->path, head->text),
        .has_query = head->query.data != NULL,
        .old = head->old,
        .head_only = view_is(head->method, "HEAD"),
        .head_bytes = (uint32_t)head_bytes,
        .chunked_body = head->chunked,
        .expects_continue = head->expects_continue && (head->chunked || head->length > 0),
        .length = head->length,
        .body_bytes_max = http_server_of(connection)->limits.body_bytes_max,
    };
    if (exchange->has_query)
        exchange->query = span_of(head->query, head->text);
    section_fill(head_of(exchange), head);
    return exchange;
}

bool http_exchange_trailers(struct http_exchange *exchange, const struct http_head *trailers)
{
    if (trailers->count == 0)
        return true;
    exchange->trailers = malloc(section_bytes(trailers));
    if (exchange->trailers != NULL)
        section_fill(exchange->trailers, trailers);
    return exchange->trailers != NULL;
}

void http_exchange_forget_body(struct http_exchange *exchange)
{
    exchange->connection->listener->bodies_bytes -= exchange->body.capacity;
    bytes_done(&exchange->body);
}

void http_exchange_free(struct http_exchange *exchange)
{
    http_exchange_forget_body(exchange);
    exchange->connection->listener->bodies_bytes -= exchange->head_bytes;
    free(exchange->trailers);
    free(exchange);
}

bool http_exchange_collect(struct http_exchange *exchange, struct view piece)
{
    struct http_listener *listener = exchange->connection->listener;
    struct bytes *body = &exchange->body;
    size_t before = body->capacity;

    /* A declared length saves the doublings, once enough of it has come to be believed. */
    if (body->len + piece.len <= exchange->length && (body->len >= HTTP_BODY_PROVEN_BYTES || exchange->length <= HTTP_BODY_PROVEN_BYTES))
        (void)bytes_reserve(body, exchange->length - body->len);
    bytes_put_view(body, piece);
    listener->bodies_bytes += body->capacity - before;
    return !body->failed;
}

/* ---- the request ---- */

struct view http_method(const struct http_exchange *exchange)
{
    return span_view(head_of(exchange), exchange->method);
}

struct view http_path(const struct http_exchange *exchange)
{
    return span_view(head_of(exchange), exchange->path);
}

struct view http_query(const struct http_exchange *exchange)
{
    return exchange->has_query ? span_view(head_of(exchange), exchange->query) : (struct view){ .data = NULL };
}

struct view http_header(const struct http_exchange *exchange, const char *name)
{
    return section_find(head_of(exchange), name);
}

unsigned http_headers_count(const struct http_exchange *exchange)
{
    return head_of(exchange)->count;
}

struct http_field http_header_at(const struct http_exchange *exchange, unsigned index)
{
    ASSERT(index < head_of(exchange)->count);
    return (struct http_field){ .name = span_view(head_of(exchange), head_of(exchange)->fields[index].name),
                                .value = span_view(head_of(exchange), head_of(exchange)->fields[index].value) };
}

struct view http_trailer(const struct http_exchange *exchange, const char *name)
{
    return section_find(exchange->trailers, name);
}

struct view http_body(const struct http_exchange *exchange)
{
    return (struct view){ .data = exchange->body.data != NULL ? exchange->body.data : "", .len = exchange->body.len };
}

bool http_peer_address(const struct http_exchange *exchange, char *buffer, size_t size)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    const void *ip;
    int family = AF_INET;

    if (getpeername(exchange->connection->fd, (struct sockaddr *)&address, &len) != 0)
        return false;
    if (address.ss_family == AF_INET) {
        ip = &((struct sockaddr_in *)&address)->sin_addr;
    } else {
        const struct in6_addr *long_ip = &((struct sockaddr_in6 *)&address)->sin6_addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(long_ip);
        ip = mapped ? (const void *)&long_ip->s6_addr[12] : long_ip;
        family = mapped ? AF_INET : AF_INET6;
    }
    return inet_ntop(family, ip, buffer, (socklen_t)size) != NULL;
}

int http_socket(const struct http_exchange *exchange)
{
    return exchange->connection->fd;
}

void http_set_user(struct http_exchange *exchange, void *user)
{
    exchange->user = user;
}

void *http_user(const struct http_exchange *exchange)
{
    return exchange->user;
}

struct http_listener *http_listener_of(const struct http_exchange *exchange)
{
    return exchange->connection->listener;
}

/* ---- while the body comes ---- */

void http_limit_body(struct http_exchange *exchange, size_t bytes_max)
{
    exchange->body_bytes_max = bytes_max;
}

void http_stream_body(struct http_exchange *exchange)
{
    ASSERT(exchange->body.len == 0);
    exchange->streamed = true;
}

void http_pause_body(struct http_exchange *exchange, bool paused)
{
    ASSERT(exchange->streamed);
    if (exchange->paused == paused || exchange->answer == ANSWER_FINISHED || exchange->answer == ANSWER_ABORTED)
        return;
    exchange->paused = paused;
    exchange->connection->read_by_ms = 0; /* set anew for the other case */
    http_connection_dirty(exchange->connection);
}

/* ---- the answer ---- */

static const char *date_text(struct http_server *server)
{
    time_t now = time(NULL);
    struct tm parts;

    if (now != server->date_s && gmtime_r(&now, &parts) != NULL) {
        server->date_s = now;
        (void)strftime(server->date, sizeof server->date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    }
    return server->date;
}

/* Given back by http_send.c. */
static void buffer_take(struct http_connection *connection)
{
    struct bytes *spare = &http_server_of(connection)->spare;

    if (connection->out.data != NULL)
        return;
    connection->out = *spare;
    *spare = (struct bytes){ 0 };
}

static void put_status(struct http_connection *connection, unsigned status)
{
    struct bytes *out = &connection->out;

    bytes_put_text(out, "HTTP/1.1 ");
    bytes_put_number(out, status, 10);
    bytes_put_char(out, ' ');
    bytes_put_text(out, http_status_text(status));
    bytes_put_text(out, "\r\nDate: ");
    bytes_put_text(out, date_text(http_server_of(connection)));
    bytes_put_text(out, "\r\n");
}

static void put_length(struct http_connection *connection, size_t length)
{
    bytes_put_text(&connection->out, "Content-Length: ");
    bytes_put_number(&connection->out, length, 10);
    bytes_put_text(&connection->out, "\r\n");
}

/* Those that say how long an answer is, and what becomes of the connection, are ours. */
static bool field_is_ours(struct view name)
{
    return http_name_is(name, "content-length") || http_name_is(name, "transfer-encoding") || http_name_is(name, "connection") ||
           http_name_is(name, "keep-alive") || http_name_is(name, "date") || http_name_is(name, "trailer") || http_name_is(name, "upgrade");
}

static bool status_has_no_body(unsigned status)
{
    return status == 204 || status == 304;
}

/* The body that still comes cannot be read to its end: the next request would not be found. */
static bool body_is_in_the_way(const struct http_exchange *exchange)
{
    const struct http_connection *connection = exchange->connection;

    return connection->state == CONNECTION_BODY &&
           (exchange->expects_continue || (!exchange->chunked_body && exchange->length > exchange->body_bytes_max));
}

static void put_head(struct http_exchange *exchange, unsigned status, const struct http_answer_field *fields, unsigned count)
{
    struct http_connection *connection = exchange->connection;
    struct bytes *out = &connection->out;

    ASSERT(status >= 200 && status <= 599);
    put_status(connection, status);
    for (unsigned i = 0; i < count; i++) {
        struct view name = view_of(fields[i].name);
        ASSERT(http_field_valid(name, fields[i].value));
        if (http_name_is(name, "connection") && http_name_is(fields[i].value, "close"))
            connection->closing = true;
        if (field_is_ours(name))
            continue;
        bytes_put_view(out, name);
        bytes_put(out, ": ", 2);
        bytes_put_view(out, fields[i].value);
        bytes_put(out, "\r\n", 2);
    }
    exchange->no_body = exchange->head_only || status_has_no_body(status);
}

static void put_connection(struct http_exchange *exchange)
{
    struct http_connection *connection = exchange->connection;

    if (connection->closing)
        bytes_put_text(&connection->out, "Connection: close\r\n");
    else if (exchange->old)
        bytes_put_text(&connection->out, "Connection: keep-alive\r\n");
    bytes_put(&connection->out, "\r\n", 2);
}

static void finished(struct http_exchange *exchange)
{
    struct http_connection *connection = exchange->connection;

    exchange->answer = ANSWER_FINISHED;
    if (exchange->paused)
        connection->read_by_ms = 0;
    exchange->paused = false;
    connection->drop_left = exchange->body_bytes_max;
    http_connection_dirty(connection);
}

void http_respond(struct http_exchange *exchange, unsigned status, const struct http_answer_field *fields, unsigned count, struct view body)
{
    struct http_connection *connection = exchange->connection;

    if (exchange->answer == ANSWER_ABORTED)
        return;
    ASSERT(exchange->answer == ANSWER_NONE);
    if (body_is_in_the_way(exchange))
        connection->closing = true;
    buffer_take(connection);
    (void)bytes_reserve(&connection->out, 512 + (exchange->head_only ? 0 : body.len));
    put_head(exchange, status, fields, count);
    if (!status_has_no_body(status))
        put_length(connection, body.len);
    put_connection(exchange);
    if (!exchange->no_body)
        bytes_put_view(&connection->out, body);
    finished(exchange);
}

void http_begin(struct http_exchange *exchange, unsigned status, const struct http_answer_field *fields, unsigned count)
{
    struct http_connection *connection = exchange->connection;

    if (exchange->answer == ANSWER_ABORTED)
        return;
    ASSERT(exchange->answer == ANSWER_NONE);
    exchange->answer = ANSWER_BEGUN;
    if (body_is_in_the_way(exchange))
        connection->closing = true;
    exchange->chunked_answer = !exchange->old && !status_has_no_body(status);
    put_head(exchange, status, fields, count);
    if (exchange->chunked_answer)
        bytes_put_text(&connection->out, "Transfer-Encoding: chunked\r\n");
    else if (!exchange->no_body)
        connection->closing = true; /* its end is the connection's */
    put_connection(exchange);
    http_connection_dirty(connection);
}

void http_write(struct http_exchange *exchange, struct view piece)
{
    struct http_connection *connection = exchange->connection;

    if (exchange->answer == ANSWER_ABORTED || piece.len == 0)
        return;
    ASSERT(exchange->answer == ANSWER_BEGUN);
    if (exchange->no_body)
        return;
    if (http_connection_unsent(connection) > HTTP_UNSENT_BYTES_MAX) {
        log_format(LOG_ERROR, "event=http-cut path=%.*s unsent=%zu reason=\"its writer does not wait for a slow reader\"",
                   VIEW_ARGS(http_path(exchange)), http_connection_unsent(connection));
        http_abort(exchange);
        return;
    }
    if (exchange->chunked_answer) {
        bytes_put_number(&connection->out, piece.len, 16);
        bytes_put(&connection->out, "\r\n", 2);
    }
    bytes_put_view(&connection->out, piece);
    if (exchange->chunked_answer)
        bytes_put(&connection->out, "\r\n", 2);
    exchange->drain_wanted = exchange->drain_wanted || http_connection_unsent(connection) > HTTP_UNSENT_HIGH_BYTES / 4;
    http_connection_dirty(connection);
}

size_t http_unsent(const struct http_exchange *exchange)
{
    return http_connection_unsent(exchange->connection);
}

void http_finish(struct http_exchange *exchange)
{
    if (exchange->answer == ANSWER_ABORTED)
        return;
    ASSERT(exchange->answer == ANSWER_BEGUN);
    if (exchange->chunked_answer && !exchange->no_body)
        bytes_put_text(&exchange->connection->out, "0\r\n\r\n");
    finished(exchange);
}

void http_abort(struct http_exchange *exchange)
{
    if (exchange->answer == ANSWER_ABORTED)
        return;
    exchange->answer = ANSWER_ABORTED;
    exchange->connection->aborted = true;
    http_connection_dirty(exchange->connection);
}

void http_put_own_answer(struct http_connection *connection, unsigned status, const char *reason)
{
    struct bytes *out = &connection->out;

    put_status(connection, status);
    if (status == 503)
        bytes_put_text(out, "Retry-After: 1\r\n");
    bytes_put_text(out, "Content-Type: text/plain\r\n");
    put_length(connection, strlen(reason) + 1);
    bytes_put_text(out, "Connection: close\r\n\r\n");
    bytes_put_text(out, reason);
    bytes_put_char(out, '\n');
}
