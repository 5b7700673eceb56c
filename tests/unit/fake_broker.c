#include "tests/unit/fake_broker.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "schemas/codec/frame.h"

enum { READ_BYTES = 1 << 16 };

static void give_up(const char *what)
{
    perror(what);
    abort();
}

static void put_head(struct bytes *out, uint32_t items, enum sluice_err code, const char *text)
{
    mpack_put_array(out, items);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, code);
    if (text == NULL)
        mpack_put_nil(out);
    else
        mpack_put_str(out, view_of(text));
}

static void copy_text(char buffer[128], struct view text)
{
    (void)snprintf(buffer, 128, "%.*s", (int)text.len, text.data);
}

static void handle_hello(struct fake_broker *broker, struct fake_connection *connection, struct mpack_reader *arguments,
                         struct bytes *out)
{
    struct view client = { 0 }, token = { 0 };

    broker->hellos++;
    if (!mpack_read_str(arguments, &client) || !(mpack_read_nil(arguments) || mpack_read_str(arguments, &token)))
        broker->malformed++;
    copy_text(broker->client, client);
    copy_text(broker->token, token);
    if (broker->hello_code != SLUICE_OK) {
        put_head(out, 3, broker->hello_code, "hello refused by the test");
        return;
    }
    connection->greeted = true;
    mpack_put_array(out, 8);
    mpack_put_uint(out, broker->hello_version);
    mpack_put_uint(out, SLUICE_OK);
    mpack_put_nil(out);
    mpack_put_uint(out, broker->credit);
    mpack_put_uint(out, PUBLISH_BATCH_BYTES_MAX);
    mpack_put_uint(out, PUBLISH_BATCH_EVENTS_MAX);
    mpack_put_uint(out, EVENT_BYTES_MAX);
    mpack_put_str(out, VIEW_LITERAL("fake"));
}

/* Counts the events, and lists those that are refused: type "refuse". */
static void apply(struct fake_broker *broker, struct mpack_reader events, uint32_t count, bool store, struct bytes *out)
{
    struct bytes refused = { 0 };
    uint32_t refused_count = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct event event;
        struct sluice_error error;
        if (envelope_decode(&events, &event, &error) != SLUICE_OK) {
            broker->malformed++;
            break;
        }
        if (view_is(event.detail_type, "refuse")) {
            refused_count++;
            mpack_put_array(&refused, 3);
            mpack_put_uint(&refused, i);
            mpack_put_uint(&refused, SLUICE_ENOTFOUND);
            mpack_put_str(&refused, VIEW_LITERAL("no such bus"));
            continue;
        }
        if (!store)
            continue;
        unsigned n;
        char head[32]; /* a view is not a string: sscanf() would read on behind it */
        broker->events_applied++;
        (void)snprintf(head, sizeof head, "%.*s", (int)(event.detail.len < sizeof head ? event.detail.len : sizeof head - 1),
                       event.detail.data);
        if (event.detail_format == DETAIL_JSON && sscanf(head, "{\"n\":%u", &n) == 1 && n < FAKE_EVENTS_MAX)
            broker->event_count[n]++;
        bytes_clear(&broker->last_bytes);
        bytes_put_view(&broker->last_bytes, event.encoded);
        struct mpack_reader again = mpack_reader_of(bytes_view(&broker->last_bytes));
        (void)envelope_decode(&again, &broker->last_event, NULL); /* it was read above */
    }
    mpack_put_uint(out, count - refused_count);
    mpack_put_bool(out, !store);
    mpack_put_uint(out, broker->credit);
    mpack_put_array(out, refused_count);
    bytes_put_view(out, bytes_view(&refused));
    bytes_done(&refused);
}

static bool read_publish(struct mpack_reader *reader, struct fake_publish *publish)
{
    struct view producer;

    return mpack_read_bin(reader, &producer) && producer.len == 16 && mpack_read_uint(reader, UINT64_MAX, &publish->epoch) &&
           mpack_read_uint(reader, UINT64_MAX, &publish->sequence) && mpack_read_uint(reader, UINT64_MAX, &publish->lowest) &&
           mpack_read_array(reader, &publish->events) && publish->sequence < FAKE_BATCHES_MAX;
}

enum outcome { REPLY, HOLD, PARK, HANG_UP };

static enum outcome handle_publish(struct fake_broker *broker, const struct fake_connection *connection,
                                   struct mpack_reader *arguments, struct bytes *out, bool released)
{
    struct fake_publish publish = { 0 };

    if (!read_publish(arguments, &publish) || publish.events == 0 || publish.events > PUBLISH_BATCH_EVENTS_MAX) {
        broker->malformed++;
        put_head(out, 3, SLUICE_EPROTO, "malformed publish");
        return REPLY;
    }
    if (!connection->greeted) {
        broker->without_hello++;
        put_head(out, 3, SLUICE_EPROTO, "no hello on this connection");
        return REPLY;
    }
    if (!released) {
        broker->publishes++;
        if (publish.sequence < broker->sequence_last)
            broker->out_of_order++;
        broker->sequence_last = publish.sequence;
        broker->epoch_last = publish.epoch;
        publish.attempt = ++broker->batch_attempts[publish.sequence];
    }
    broker->lowest_wrong += publish.lowest > publish.sequence;
    for (uint64_t i = publish.lowest > 64 ? publish.lowest - 64 : 0; i < publish.lowest && i < FAKE_BATCHES_MAX; i++)
        broker->lowest_wrong += broker->batch_attempts[i] > 0 && !broker->batch_resolved[i];
    publish.nth = broker->publishes;
    enum fake_action action = broker->decide == NULL || released ? FAKE_OK : broker->decide(broker, &publish);
    bool fresh = !broker->batch_applied[publish.sequence];
    switch (action) {
    case FAKE_LATER: put_head(out, 3, SLUICE_ELIMIT, "the log is full; later"); return REPLY;
    case FAKE_MALFORMED: put_head(out, 3, SLUICE_EPROTO, "I do not like it"); return REPLY;
    case FAKE_STALE:
        broker->batch_resolved[publish.sequence] = true;
        put_head(out, 3, SLUICE_ESTALE, "a newer epoch is known");
        return REPLY;
    case FAKE_DROP_BEFORE: return HANG_UP;
    case FAKE_HOLD:
        broker->held_now++;
        if (broker->held_now > broker->outstanding_max)
            broker->outstanding_max = broker->held_now;
        return HOLD;
    case FAKE_OK:
    case FAKE_DROP_AFTER:
    case FAKE_GARBAGE:
    case FAKE_OTHER_VERSION:
    case FAKE_LYING: break;
    }
    put_head(out, 7, SLUICE_OK, NULL);
    apply(broker, *arguments, publish.events, fresh, out);
    broker->batch_applied[publish.sequence] = broker->batch_resolved[publish.sequence] = true;
    broker->applied_batches += fresh;
    broker->duplicates += !fresh;
    if (action == FAKE_DROP_AFTER)
        return HANG_UP;
    if (action == FAKE_GARBAGE) {
        bytes_clear(out);
        bytes_put_text(out, "HTTP/1.1 400 Bad Request");
    } else if (action == FAKE_OTHER_VERSION) {
        out->data[1] = 2;
    } else if (action == FAKE_LYING) {
        bytes_clear(out);
        put_head(out, 7, SLUICE_OK, NULL);
        mpack_put_uint(out, 0);
        mpack_put_bool(out, true);
        mpack_put_uint(out, 8);
        mpack_put_array(out, 1);
        mpack_put_array(out, 3);
        mpack_put_uint(out, publish.events);
        mpack_put_uint(out, SLUICE_EINVAL);
        mpack_put_nil(out);
    }
    return REPLY;
}

static enum outcome handle(struct fake_broker *broker, struct fake_connection *connection, struct view body, bool released,
                           struct bytes *out)
{
    struct mpack_reader reader = mpack_reader_of(body);
    uint32_t items;
    uint64_t version, call;

    if (!mpack_read_array(&reader, &items) || !mpack_read_uint(&reader, 100, &version) || !mpack_read_uint(&reader, 100, &call)) {
        broker->malformed++;
        put_head(out, 3, SLUICE_EPROTO, "malformed");
        return REPLY;
    }
    if (call == CALL_HELLO) {
        handle_hello(broker, connection, &reader, out);
        return REPLY;
    }
    if (call == CALL_PUBLISH)
        return handle_publish(broker, connection, &reader, out, released);
    if (!connection->greeted) {
        broker->without_hello++;
        put_head(out, 3, SLUICE_EPROTO, "no hello on this connection");
        return REPLY;
    }
    return broker->answer(broker, call, &reader, out) ? REPLY : PARK;
}

static void write_all(int fd, const void *data, size_t len)
{
    /* A client that hung up is noticed where we read. */
    for (size_t done = 0; done < len;) {
        ssize_t written = send(fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
        if (written <= 0)
            return;
        done += (size_t)written;
    }
}

static void connection_close(struct fake_broker *broker, struct fake_connection *connection)
{
    unsigned kept = 0;

    (void)close(connection->fd);
    bytes_done(&connection->in);
    *connection = (struct fake_connection){ .fd = -1 };
    for (unsigned i = 0; i < broker->requests_count; i++)
        if (broker->requests[i].connection == connection)
            bytes_done(&broker->requests[i].body);
        else
            broker->requests[kept++] = broker->requests[i];
    broker->requests_count = kept;
}

/* false: the connection is gone. */
static bool request_handle(struct fake_broker *broker, struct fake_connection *connection, uint32_t id, struct view body,
                           bool released)
{
    struct bytes out = { 0 };
    uint8_t head[FRAME_HEAD_BYTES_MAX];

    enum outcome outcome = handle(broker, connection, body, released, &out);
    if (outcome == REPLY) {
        write_all(connection->fd, head, frame_put_head(FRAME_IPC, id, out.len, head));
        write_all(connection->fd, out.data, out.len);
    } else if (outcome == HANG_UP) {
        connection_close(broker, connection);
    } else if (broker->requests_count < FAKE_REQUESTS_MAX) {
        struct fake_request *request = &broker->requests[broker->requests_count++];
        *request = (struct fake_request){ .connection = connection, .id = id, .parked = outcome == PARK };
        bytes_put_view(&request->body, body);
    }
    bytes_done(&out);
    pthread_cond_broadcast(&broker->changed);
    return outcome != HANG_UP;
}

static void connection_read(struct fake_broker *broker, struct fake_connection *connection)
{
    struct frame_head head;

    if (!bytes_reserve(&connection->in, READ_BYTES))
        give_up("read");
    ssize_t len = read(connection->fd, connection->in.data + connection->in.len, READ_BYTES);
    if (len <= 0) {
        connection_close(broker, connection);
        return;
    }
    connection->in.len += (size_t)len;
    size_t at = 0;
    if (!connection->greeting_read) {
        if (connection->in.len < FRAME_GREETING_BYTES)
            return;
        broker->malformed += memcmp(connection->in.data, frame_greeting_req, FRAME_GREETING_BYTES) != 0;
        write_all(connection->fd, frame_greeting_rep, FRAME_GREETING_BYTES);
        connection->greeting_read = true;
        at = FRAME_GREETING_BYTES;
    }
    for (;;) {
        const char *data = connection->in.data + at;
        enum frame_result result =
            frame_read_head(FRAME_IPC, (const uint8_t *)data, connection->in.len - at, PROTOCOL_MESSAGE_BYTES_MAX, &head);
        if (result == FRAME_BROKEN)
            broker->malformed++;
        if (result != FRAME_WHOLE || connection->in.len - at - head.head_bytes < head.body_bytes)
            break;
        at += head.head_bytes + head.body_bytes;
        if (!request_handle(broker, connection, head.id, (struct view){ .data = data + head.head_bytes, .len = head.body_bytes },
                            false))
            return;
    }
    connection->in.len -= at;
    memmove(connection->in.data, connection->in.data + at, connection->in.len);
}

static void connection_add(struct fake_broker *broker)
{
    int fd = accept4(broker->listener, NULL, NULL, SOCK_CLOEXEC);

    for (unsigned i = 0; i < FAKE_CONNECTIONS_MAX && fd >= 0; i++)
        if (broker->connections[i].fd < 0) {
            broker->connections[i].fd = fd;
            return;
        }
    (void)close(fd);
}

static void *broker_run(void *user)
{
    struct fake_broker *broker = user;
    struct pollfd fds[2 + FAKE_CONNECTIONS_MAX];

    for (;;) {
        fds[0] = (struct pollfd){ .fd = broker->listener, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = broker->wake[0], .events = POLLIN };
        for (unsigned i = 0; i < FAKE_CONNECTIONS_MAX; i++)
            fds[2 + i] = (struct pollfd){ .fd = broker->connections[i].fd, .events = POLLIN }; /* -1 is skipped */
        if (poll(fds, sizeof fds / sizeof fds[0], -1) < 0)
            continue;
        if (fds[1].revents != 0)
            return NULL;
        pthread_mutex_lock(&broker->mutex);
        for (unsigned i = 0; i < FAKE_CONNECTIONS_MAX; i++)
            if (fds[2 + i].revents != 0 && broker->connections[i].fd == fds[2 + i].fd)
                connection_read(broker, &broker->connections[i]);
        if (fds[0].revents != 0)
            connection_add(broker);
        pthread_mutex_unlock(&broker->mutex);
    }
}

struct fake_broker *fake_new(const char *url)
{
    struct fake_broker *broker = calloc(1, sizeof *broker);

    if (broker == NULL)
        give_up("new");
    (void)snprintf(broker->url, sizeof broker->url, "%s", url);
    (void)pthread_mutex_init(&broker->mutex, NULL);
    (void)pthread_cond_init(&broker->changed, NULL);
    broker->credit = PUBLISH_WINDOW_BATCHES_MAX;
    broker->hello_version = PROTOCOL_VERSION;
    return broker;
}

void fake_start(struct fake_broker *broker)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%.100s", broker->url + strlen("ipc://"));
    for (unsigned i = 0; i < FAKE_CONNECTIONS_MAX; i++)
        broker->connections[i].fd = -1;
    broker->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(broker->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(broker->listener, 16) != 0 ||
        pipe(broker->wake) != 0 || pthread_create(&broker->thread, NULL, broker_run, broker) != 0)
        give_up(broker->url);
    broker->running = true;
}

void fake_stop(struct fake_broker *broker)
{
    if (!broker->running)
        return;
    broker->running = false;
    (void)unlink(broker->url + strlen("ipc://"));
    if (write(broker->wake[1], "q", 1) != 1)
        give_up("stop");
    (void)pthread_join(broker->thread, NULL);
    for (unsigned i = 0; i < FAKE_CONNECTIONS_MAX; i++)
        if (broker->connections[i].fd >= 0)
            connection_close(broker, &broker->connections[i]);
    (void)close(broker->listener);
    (void)close(broker->wake[0]);
    (void)close(broker->wake[1]);
    broker->held_now = 0;
}

static void handle_again(struct fake_broker *broker, bool parked)
{
    struct fake_request again[FAKE_REQUESTS_MAX];
    unsigned count = 0, kept = 0;

    pthread_mutex_lock(&broker->mutex);
    for (unsigned i = 0; i < broker->requests_count; i++)
        if (broker->requests[i].parked == parked)
            again[count++] = broker->requests[i];
        else
            broker->requests[kept++] = broker->requests[i];
    broker->requests_count = kept;
    broker->held_now = 0;
    for (unsigned i = 0; i < count; i++) {
        (void)request_handle(broker, again[i].connection, again[i].id, bytes_view(&again[i].body), true); /* does not hang up */
        bytes_done(&again[i].body);
    }
    pthread_mutex_unlock(&broker->mutex);
}

void fake_release(struct fake_broker *broker)
{
    handle_again(broker, false);
}

void fake_wake_parked(struct fake_broker *broker)
{
    handle_again(broker, true);
}

void fake_sync(struct fake_broker *broker)
{
    pthread_mutex_lock(&broker->mutex);
    pthread_mutex_unlock(&broker->mutex);
}

void fake_free(struct fake_broker *broker)
{
    fake_stop(broker);
    bytes_done(&broker->last_bytes);
    (void)pthread_cond_destroy(&broker->changed);
    (void)pthread_mutex_destroy(&broker->mutex);
    free(broker);
}

bool fake_wait(struct fake_broker *broker, const unsigned *counter, unsigned least)
{
    struct timespec deadline;
    int rv = 0;

    (void)clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 20;
    pthread_mutex_lock(&broker->mutex);
    while (*counter < least && rv == 0)
        rv = pthread_cond_timedwait(&broker->changed, &broker->mutex, &deadline);
    bool reached = *counter >= least;
    pthread_mutex_unlock(&broker->mutex);
    return reached;
}
