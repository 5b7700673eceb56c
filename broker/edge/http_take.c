#include "broker/edge/http_internal.h"

static void take_head(struct http_connection *connection, const struct http_head *head)
{
    const struct http_handler *handler = &http_server_of(connection)->handler;

    http_connection_busy(connection);
    connection->state = CONNECTION_BODY;
    connection->read_by_ms = 0;
    connection->body_from_ms = http_now_ms();
    connection->closing = connection->closing || !head->keep_alive;
    struct http_exchange *exchange = connection->exchange = http_exchange_new(connection, head);
    if (exchange == NULL) {
        http_connection_refuse(connection, 503, "no memory is left for requests here; try again later", HTTP_REFUSED);
        return;
    }
    if (handler->on_head != NULL)
        handler->on_head(connection->listener->ctx, exchange);
    if (connection->state == CONNECTION_GONE || connection->aborted || exchange->answer == ANSWER_FINISHED)
        return;
    if (!exchange->streamed && exchange->length > exchange->body_bytes_max) {
        http_connection_refuse(connection, 413, "the body is larger than it may be here", HTTP_REFUSED);
    } else if (exchange->expects_continue && exchange->answer == ANSWER_NONE) {
        exchange->expects_continue = false;
        bytes_put_text(&connection->out, "HTTP/1.1 100 Continue\r\n\r\n");
        http_connection_dirty(connection);
    }
}

static void take_body(struct http_connection *connection, struct view piece)
{
    const struct http_handler *handler = &http_server_of(connection)->handler;
    struct http_exchange *exchange = connection->exchange;

    if (http_answer_is_whole(connection)) {
        if (piece.len > connection->drop_left)
            http_stop_taking(connection);
        else
            connection->drop_left -= piece.len;
    } else if (exchange->streamed) {
        if (handler->on_body != NULL)
            handler->on_body(connection->listener->ctx, exchange, piece);
    } else if (exchange->body.len + piece.len > exchange->body_bytes_max) {
        http_connection_refuse(connection, 413, "the body is larger than it may be here", HTTP_REFUSED);
    } else if (connection->listener->bodies_bytes + piece.len > connection->listener->bodies_bytes_max || !http_exchange_collect(exchange, piece)) {
        http_connection_refuse(connection, 503, "too many bytes of requests are held here; try again later", HTTP_REFUSED);
    }
}

static void take_end(struct http_connection *connection, const struct http_head *trailers)
{
    const struct http_handler *handler = &http_server_of(connection)->handler;

    connection->state = CONNECTION_WHOLE;
    if (http_answer_is_whole(connection))
        return;
    if (!http_exchange_trailers(connection->exchange, trailers)) {
        http_connection_refuse(connection, 503, "out of memory; try again later", HTTP_REFUSED);
        return;
    }
    handler->on_request(connection->listener->ctx, connection->exchange);
}

bool http_may_take(const struct http_connection *connection)
{
    switch (connection->state) {
    case CONNECTION_IDLE:
    case CONNECTION_HEAD:
        return true;
    case CONNECTION_BODY:
        return !connection->aborted && (connection->exchange == NULL || !connection->exchange->paused);
    case CONNECTION_WHOLE:
    case CONNECTION_LINGER:
    case CONNECTION_GONE:
        break;
    }
    return false;
}

size_t http_take(struct http_connection *connection, struct view input)
{
    const struct http_limits *limits = &http_server_of(connection)->limits;
    const struct http_parse_limits parse_limits = { .line_bytes_max = limits->line_bytes_max, .section_bytes_max = limits->head_bytes_max };
    struct http_parsed parsed;
    size_t taken = 0;

    while (http_may_take(connection)) {
        struct view rest = { .data = input.data + taken, .len = input.len - taken };
        enum http_piece piece = http_parse_take(&connection->parse, rest, &parse_limits, &parsed);
        taken += parsed.consumed;
        if (parsed.consumed > 0 && connection->state == CONNECTION_BODY)
            connection->read_by_ms = 0; /* set anew by http_connection_advance() */
        switch (piece) {
        case HTTP_PIECE_SHORT:
            return taken;
        case HTTP_PIECE_HEAD:
            take_head(connection, &parsed.head);
            break;
        case HTTP_PIECE_BODY:
            take_body(connection, parsed.body);
            break;
        case HTTP_PIECE_END:
            take_end(connection, &parsed.head);
            break;
        case HTTP_PIECE_BROKEN:
            http_connection_refuse(connection, parsed.status, parsed.reason, HTTP_TRUNCATED);
            break;
        }
    }
    return taken;
}
