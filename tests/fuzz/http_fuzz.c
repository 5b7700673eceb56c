/* What a peer can send to the HTTP server. Twice: to the parser alone, whole and in pieces, which must read the same messages, each with the
 * properties that the doors behind rely on; and through a socket to a server whose owner answers early, late, never, streams, pauses and aborts by the
 * path it is asked for, where each exchange must end once and nothing may be left. First byte: the limits; second: how reads are cut. */
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/edge/http_internal.h"
#include "tests/fuzz/fuzz.h"

enum { FUZZ_MESSAGES_MAX = 64, FUZZ_STEPS_MAX = 400, FUZZ_PARKED_MAX = 8 };

/* ---- the parser alone ---- */

static bool lies_in(struct view part, struct view whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static void check_fields(const struct http_head *head)
{
    for (unsigned i = 0; i < head->count; i++) {
        struct view name = head->fields[i].name, value = head->fields[i].value;
        MUST(lies_in(name, head->text) && lies_in(value, head->text));
        MUST(http_field_valid(name, value));
        MUST(value.len == 0 || (value.data[0] != ' ' && value.data[0] != '\t' && value.data[value.len - 1] != ' ' && value.data[value.len - 1] != '\t'));
    }
}

/* Lines end with CRLF and with nothing else, and there are as many as fields say. */
static void check_lines(const struct http_head *head, unsigned beside_fields)
{
    unsigned lines = 0;

    for (size_t i = 0; i < head->text.len; i++) {
        unsigned char byte = (unsigned char)head->text.data[i];
        MUST(byte != '\n' || (i > 0 && head->text.data[i - 1] == '\r'));
        MUST(byte != '\r' || (i + 1 < head->text.len && head->text.data[i + 1] == '\n'));
        MUST((byte >= ' ' && byte != 0x7f) || byte == '\t' || byte == '\r' || byte == '\n');
        lines += byte == '\n';
    }
    MUST(lines == head->count + beside_fields);
}

static unsigned count_of(const struct http_head *head, const char *name, struct view *ret_value)
{
    unsigned count = 0;

    for (unsigned i = 0; i < head->count; i++)
        if (head->fields[i].name.len == strlen(name) && strncasecmp(head->fields[i].name.data, name, strlen(name)) == 0) {
            count++;
            *ret_value = head->fields[i].value;
        }
    return count;
}

static void check_head(const struct http_head *head)
{
    struct view value = { .data = NULL };

    check_fields(head);
    check_lines(head, 2);
    MUST(lies_in(head->method, head->text) && head->method.len > 0);
    MUST(lies_in(head->path, head->text) && head->path.len > 0 && head->path.data[0] == '/');
    MUST(memchr(head->path.data, '?', head->path.len) == NULL && memchr(head->path.data, '#', head->path.len) == NULL);
    MUST(head->query.data == NULL || lies_in(head->query, head->text));
    unsigned hosts = count_of(head, "host", &value);
    MUST(hosts == 1 || (hosts == 0 && head->old));
    unsigned codings = count_of(head, "transfer-encoding", &value);
    MUST((codings == 1) == head->chunked && codings <= 1);
    if (codings == 1)
        MUST(!head->old && value.len == 7 && strncasecmp(value.data, "chunked", 7) == 0);
    unsigned lengths = count_of(head, "content-length", &value);
    MUST(lengths + codings <= 1);
    MUST(lengths == 1 || head->length == 0);
    if (lengths == 1) {
        char digits[HTTP_LENGTH_DIGITS_MAX + 1] = "";
        MUST(value.len > 0 && value.len < sizeof digits);
        memcpy(digits, value.data, value.len);
        MUST(strspn(digits, "0123456789") == value.len && strtoull(digits, NULL, 10) == head->length);
    }
}

/* What was read, as one text: the same for the same bytes. */
struct transcript {
    struct bytes text;
    unsigned messages;
    bool broken;
    uint64_t body_bytes, body_expected;
    bool chunked;
};

static void note_fields(struct transcript *transcript, const struct http_head *head)
{
    for (unsigned i = 0; i < head->count; i++) {
        bytes_put_format(&transcript->text, "\n%zu,%zu ", head->fields[i].name.len, head->fields[i].value.len);
        bytes_put_view(&transcript->text, head->fields[i].name);
        bytes_put_view(&transcript->text, head->fields[i].value);
    }
}

static void note(struct transcript *transcript, enum http_piece piece, const struct http_parsed *parsed)
{
    const struct http_head *head = &parsed->head;

    switch (piece) {
    case HTTP_PIECE_SHORT:
        break;
    case HTTP_PIECE_HEAD:
        check_head(head);
        bytes_put_format(&transcript->text, "\nhead %zu %zu %zu %d%d%d%d", head->method.len, head->path.len, head->query.len, head->query.data != NULL,
                         head->keep_alive, head->old, head->expects_continue);
        note_fields(transcript, head);
        transcript->body_bytes = 0;
        transcript->body_expected = head->length;
        transcript->chunked = head->chunked;
        break;
    case HTTP_PIECE_BODY:
        MUST(parsed->body.len > 0);
        bytes_put_view(&transcript->text, parsed->body);
        transcript->body_bytes += parsed->body.len;
        MUST(transcript->chunked || transcript->body_bytes <= transcript->body_expected);
        break;
    case HTTP_PIECE_END:
        MUST(transcript->chunked || transcript->body_bytes == transcript->body_expected);
        if (transcript->chunked) {
            check_fields(head);
            check_lines(head, 1);
        }
        MUST(transcript->chunked || head->count == 0);
        bytes_put_text(&transcript->text, "\nend");
        note_fields(transcript, head);
        transcript->messages++;
        break;
    case HTTP_PIECE_BROKEN:
        MUST(parsed->status >= 400 && parsed->status <= 505 && parsed->reason != NULL);
        bytes_put_format(&transcript->text, "\nbroken %u", parsed->status);
        transcript->broken = true;
        break;
    }
}

/* How much of the input is done with. */
static size_t read_messages(struct http_parse *parse, struct view input, const struct http_parse_limits *limits, struct transcript *transcript)
{
    static struct http_parsed parsed;
    size_t taken = 0;

    while (!transcript->broken && transcript->messages < FUZZ_MESSAGES_MAX) {
        enum http_piece piece = http_parse_take(parse, (struct view){ .data = input.data + taken, .len = input.len - taken }, limits, &parsed);
        taken += parsed.consumed;
        MUST(taken <= input.len);
        note(transcript, piece, &parsed);
        if (piece == HTTP_PIECE_END)
            http_parse_init(parse);
        if (piece == HTTP_PIECE_SHORT)
            break;
    }
    return taken;
}

static size_t piece_len(unsigned cut, size_t fed, size_t left)
{
    size_t len = cut == 0 ? left : 1 + (fed * 31 + cut * 17) % (cut * 4);
    return len < left ? len : left;
}

static void fuzz_parser(struct view input, unsigned cut, const struct http_parse_limits *limits)
{
    struct transcript whole = { 0 }, pieces = { 0 };
    struct http_parse parse;
    struct bytes kept = { 0 };

    http_parse_init(&parse);
    (void)read_messages(&parse, input, limits, &whole);
    http_parse_init(&parse);
    for (size_t fed = 0; fed < input.len && !pieces.broken && pieces.messages < FUZZ_MESSAGES_MAX;) {
        size_t len = piece_len(cut, fed, input.len - fed);
        bytes_put(&kept, input.data + fed, len);
        fed += len;
        /* a copy of the exact size, anew each time: the sanitizer sees a view that outlives its piece */
        char *copy = fuzz_copy((const uint8_t *)kept.data, kept.len);
        size_t taken = read_messages(&parse, (struct view){ .data = copy, .len = kept.len }, limits, &pieces);
        free(copy);
        memmove(kept.data, kept.data + taken, kept.len - taken);
        kept.len -= taken;
        MUST(pieces.broken || pieces.messages == FUZZ_MESSAGES_MAX || kept.len <= limits->section_bytes_max + HTTP_CHUNK_LINE_BYTES_MAX);
    }
    MUST(whole.text.len == pieces.text.len);
    MUST(whole.text.len == 0 || memcmp(whole.text.data, pieces.text.data, whole.text.len) == 0);
    bytes_done(&whole.text);
    bytes_done(&pieces.text);
    bytes_done(&kept);
}

/* ---- the server ---- */

static struct server {
    struct ev_loop *loop;
    struct http_server *server;
    struct http_listener *listener;
    unsigned heads, ends;
    struct http_exchange *parked[FUZZ_PARKED_MAX];
} server;

static void park(struct http_exchange *exchange)
{
    for (unsigned i = 0; i < FUZZ_PARKED_MAX; i++)
        if (server.parked[i] == NULL) {
            server.parked[i] = exchange;
            return;
        }
    http_abort(exchange);
}

static char wish(const struct http_exchange *exchange)
{
    return http_path(exchange).len > 1 ? http_path(exchange).data[1] : 0;
}

static void on_head(void *ctx, struct http_exchange *exchange)
{
    (void)ctx;
    server.heads++;
    switch (wish(exchange)) {
    case 'h': http_respond(exchange, 200, NULL, 0, VIEW_LITERAL("early")); break;
    case 's':
    case 'b': http_stream_body(exchange); break;
    case 'd': http_stream_body(exchange); http_begin(exchange, 200, NULL, 0); break;
    case 'z': http_stream_body(exchange); http_pause_body(exchange, true); park(exchange); break;
    case 'a': http_abort(exchange); break;
    case 'l': http_limit_body(exchange, 4); break;
    default: break;
    }
}

static void on_body(void *ctx, struct http_exchange *exchange, struct view piece)
{
    (void)ctx;
    MUST(piece.len > 0);
    if (wish(exchange) == 'b')
        http_respond(exchange, 200, NULL, 0, VIEW_LITERAL("from the body"));
    else if (wish(exchange) == 'd')
        http_write(exchange, piece);
}

static void on_request(void *ctx, struct http_exchange *exchange)
{
    (void)ctx;
    MUST(wish(exchange) != 'h' && wish(exchange) != 'a');
    switch (wish(exchange)) {
    case 'p': park(exchange); break;
    case 'e': http_begin(exchange, 200, NULL, 0); park(exchange); break;
    case 'd': http_finish(exchange); break;
    case 'z': http_respond(exchange, 200, NULL, 0, VIEW_LITERAL("resumed")); break;
    case 'n': http_respond(exchange, 204, NULL, 0, (struct view){ .data = NULL }); break;
    default: http_respond(exchange, 200, NULL, 0, http_body(exchange)); break;
    }
}

static void on_end(void *ctx, struct http_exchange *exchange, enum http_end end)
{
    (void)ctx, (void)end;
    server.ends++;
    MUST(http_path(exchange).len > 0);
    for (unsigned i = 0; i < FUZZ_PARKED_MAX; i++)
        if (server.parked[i] == exchange)
            server.parked[i] = NULL;
}

/* Something happens to one that waits, by turns. */
static void move_parked(unsigned turn)
{
    struct http_exchange **slot = &server.parked[turn % FUZZ_PARKED_MAX], *exchange = *slot;

    if (exchange == NULL)
        return;
    *slot = NULL;
    switch (wish(exchange)) {
    case 'z': http_pause_body(exchange, false); break;
    case 'e': http_write(exchange, VIEW_LITERAL("more")); http_finish(exchange); break;
    default:
        if (turn % 3 == 0)
            http_abort(exchange);
        else
            http_respond(exchange, 200, NULL, 0, VIEW_LITERAL("at last"));
    }
}

static void server_open(void)
{
    static const struct http_handler handler = { .on_head = on_head, .on_body = on_body, .on_request = on_request, .on_end = on_end };
    static const struct http_limits limits = { .line_bytes_max = 2048, .head_bytes_max = 4096, .body_bytes_max = 4096 };

    if (server.listener != NULL)
        return;
    server.loop = ev_loop_new(EVFLAG_AUTO);
    MUST(server.loop != NULL);
    server.server = http_server_new(server.loop, &limits, &handler);
    MUST(server.server != NULL);
    MUST(http_listen(server.server, "127.0.0.1:0", NULL, &server.listener, NULL) == SLUICE_OK);
}

static void drain(int fd)
{
    char buffer[16 << 10];
    while (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0) {}
}

static void fuzz_server(struct view input, unsigned cut)
{
    int fds[2];
    unsigned turn = 0;

    server_open();
    server.heads = server.ends = 0;
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    MUST(http_connection_new(server.listener, fds[0]) != NULL);
    for (size_t fed = 0; fed < input.len && turn < FUZZ_STEPS_MAX; turn++) {
        size_t len = piece_len(cut, fed, input.len - fed);
        ssize_t count = send(fds[1], input.data + fed, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        fed += count > 0 ? (size_t)count : len; /* closed: nobody hears the rest */
        (void)ev_run(server.loop, EVRUN_NOWAIT);
        move_parked(turn);
        if (turn % 5 != 0)
            drain(fds[1]);
    }
    if (cut % 2 == 0) {
        (void)shutdown(fds[1], SHUT_WR);
        for (unsigned i = 0; i < 4; i++) {
            (void)ev_run(server.loop, EVRUN_NOWAIT);
            drain(fds[1]);
        }
    }
    (void)close(fds[1]);
    for (unsigned i = 0; i < 100 && http_listener_connections(server.listener) > 0; i++) {
        (void)ev_run(server.loop, EVRUN_NOWAIT);
        move_parked(++turn);
    }
    MUST(http_listener_connections(server.listener) == 0);
    MUST(server.heads == server.ends);
    MUST(server.listener->bodies_bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct http_parse_limits limits = { .line_bytes_max = data[0] & 1 ? 1 << 20 : 64, .section_bytes_max = data[0] & 2 ? 1 << 21 : 200 };
    const struct http_parse_limits clamped = { .line_bytes_max = limits.line_bytes_max < limits.section_bytes_max ? limits.line_bytes_max : limits.section_bytes_max,
                                               .section_bytes_max = limits.section_bytes_max };
    char *copy = fuzz_copy(data + 2, size - 2);
    struct view input = { .data = copy, .len = size - 2 };

    fuzz_parser(input, data[1], &clamped);
    fuzz_server(input, data[1]);
    free(copy);
    return 0;
}
