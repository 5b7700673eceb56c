#include "tests/unit/fake_broker.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Shuttles bytes between the library's connections and nng's listener, so that a test can cut them off. nng_pipe_close() in
 * nng 1.5 may hang for good when data is arriving. */
enum { PROXY_PAIRS_MAX = 8 };
struct fake_proxy {
    pthread_t thread;
    int listener, wake[2];
    char real_path[108], path[100];
    struct { int front, back; } pairs[PROXY_PAIRS_MAX];
    unsigned pairs_count;
};

static void proxy_drop(struct fake_proxy *proxy)
{
    if (write(proxy->wake[1], "d", 1) != 1)
        abort();
}

static void pair_close(struct fake_proxy *proxy, unsigned i)
{
    (void)close(proxy->pairs[i].front);
    (void)close(proxy->pairs[i].back);
    proxy->pairs[i] = proxy->pairs[--proxy->pairs_count];
}

static bool copy_some(int from, int to)
{
    static _Thread_local char buffer[1 << 16];
    ssize_t len = read(from, buffer, sizeof buffer);

    for (ssize_t done = 0; done < len;) {
        ssize_t written = send(to, buffer + done, (size_t)(len - done), MSG_NOSIGNAL);
        if (written <= 0)
            return false;
        done += written;
    }
    return len > 0;
}

static void pair_add(struct fake_proxy *proxy)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int front = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC), back = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, proxy->real_path, strlen(proxy->real_path));
    if (front < 0 || proxy->pairs_count == PROXY_PAIRS_MAX || connect(back, (struct sockaddr *)&address, sizeof address) != 0) {
        (void)close(front);
        (void)close(back);
        return;
    }
    proxy->pairs[proxy->pairs_count].front = front;
    proxy->pairs[proxy->pairs_count++].back = back;
}

static void *proxy_run(void *user)
{
    struct fake_proxy *proxy = user;
    struct pollfd fds[2 + 2 * PROXY_PAIRS_MAX];

    for (;;) {
        unsigned count = proxy->pairs_count;
        fds[0] = (struct pollfd){ .fd = proxy->listener, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = proxy->wake[0], .events = POLLIN };
        for (unsigned i = 0; i < count; i++) {
            fds[2 + 2 * i] = (struct pollfd){ .fd = proxy->pairs[i].front, .events = POLLIN };
            fds[3 + 2 * i] = (struct pollfd){ .fd = proxy->pairs[i].back, .events = POLLIN };
        }
        if (poll(fds, 2 + 2 * count, -1) < 0)
            continue;
        char order = 0;
        if (fds[1].revents != 0 && read(proxy->wake[0], &order, 1) == 1) {
            while (proxy->pairs_count > 0)
                pair_close(proxy, 0);
            if (order == 'q')
                return NULL;
            continue;
        }
        for (unsigned i = count; i-- > 0;) /* from the end: closing moves the last one here */
            if ((fds[2 + 2 * i].revents != 0 && !copy_some(proxy->pairs[i].front, proxy->pairs[i].back)) ||
                (fds[3 + 2 * i].revents != 0 && !copy_some(proxy->pairs[i].back, proxy->pairs[i].front)))
                pair_close(proxy, i);
        if (fds[0].revents != 0)
            pair_add(proxy);
    }
}

static struct fake_proxy *proxy_start(const char *url)
{
    struct fake_proxy *proxy = calloc(1, sizeof *proxy);
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (proxy == NULL)
        abort();
    (void)snprintf(proxy->path, sizeof proxy->path, "%s", url + strlen("ipc://"));
    (void)snprintf(proxy->real_path, sizeof proxy->real_path, "%s.real", proxy->path);
    memcpy(address.sun_path, proxy->path, strlen(proxy->path));
    proxy->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)unlink(proxy->path);
    if (pipe(proxy->wake) != 0 || bind(proxy->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(proxy->listener, 16) != 0 || pthread_create(&proxy->thread, NULL, proxy_run, proxy) != 0) {
        perror(proxy->path);
        abort();
    }
    return proxy;
}

static void proxy_stop(struct fake_proxy *proxy)
{
    (void)unlink(proxy->path);
    if (write(proxy->wake[1], "q", 1) != 1)
        abort();
    (void)pthread_join(proxy->thread, NULL);
    (void)close(proxy->listener);
    (void)close(proxy->wake[0]);
    (void)close(proxy->wake[1]);
    free(proxy);
}

enum fake_slot_state { FAKE_RECEIVING, FAKE_SENDING, FAKE_HELD, FAKE_PARKED };

struct fake_slot {
    struct fake_broker *broker;
    nng_ctx ctx;
    nng_aio *aio;
    enum fake_slot_state state;
    nng_msg *request;
};

static void give_up(const char *what, int rv)
{
    fprintf(stderr, "fake broker: %s: %s\n", what, nng_strerror(rv));
    abort();
}

static void slot_receive(struct fake_slot *slot)
{
    if (slot->request != NULL)
        nng_msg_free(slot->request);
    slot->request = NULL;
    slot->state = FAKE_RECEIVING;
    nng_ctx_recv(slot->ctx, slot->aio);
}

static void slot_send(struct fake_slot *slot, const struct bytes *reply)
{
    nng_msg *msg;
    int rv = nng_msg_alloc(&msg, 0);

    if (rv != 0 || (rv = nng_msg_append(msg, reply->data, reply->len)) != 0)
        give_up("reply", rv);
    slot->state = FAKE_SENDING;
    nng_aio_set_msg(slot->aio, msg);
    nng_ctx_send(slot->ctx, slot->aio);
}

static uint32_t pipe_of(const struct fake_slot *slot)
{
    return (uint32_t)nng_pipe_id(nng_msg_get_pipe(slot->request));
}

static bool was_greeted(const struct fake_broker *broker, uint32_t pipe)
{
    for (unsigned i = 0; i < broker->greeted_count; i++)
        if (broker->greeted[i] == pipe)
            return true;
    return false;
}

static bool is_dead(const struct fake_broker *broker, uint32_t pipe)
{
    for (unsigned i = 0; i < broker->dead_count; i++)
        if (broker->dead[i] == pipe)
            return true;
    return false;
}

static void hang_up(struct fake_slot *slot)
{
    struct fake_broker *broker = slot->broker;

    if (broker->dead_count < FAKE_PIPES_MAX)
        broker->dead[broker->dead_count++] = pipe_of(slot);
    proxy_drop(broker->proxy);
    slot_receive(slot);
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

static void handle_hello(struct fake_slot *slot, struct mpack_reader *arguments, struct bytes *out)
{
    struct fake_broker *broker = slot->broker;
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
    if (broker->greeted_count < FAKE_PIPES_MAX)
        broker->greeted[broker->greeted_count++] = pipe_of(slot);
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
        broker->events_applied++;
        if (event.detail_format == DETAIL_JSON && sscanf(event.detail.data, "{\"n\":%u", &n) == 1 && n < FAKE_EVENTS_MAX)
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

/* false: the slot was dealt with. */
static bool handle_publish(struct fake_slot *slot, struct mpack_reader *arguments, struct bytes *out, bool released)
{
    struct fake_broker *broker = slot->broker;
    struct fake_publish publish = { 0 };

    if (!read_publish(arguments, &publish) || publish.events == 0 || publish.events > PUBLISH_BATCH_EVENTS_MAX) {
        broker->malformed++;
        put_head(out, 3, SLUICE_EPROTO, "malformed publish");
        return true;
    }
    if (!was_greeted(broker, pipe_of(slot))) {
        broker->without_hello++;
        put_head(out, 3, SLUICE_EPROTO, "no hello on this connection");
        return true;
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
    case FAKE_LATER: put_head(out, 3, SLUICE_ELIMIT, "the log is full; later"); return true;
    case FAKE_MALFORMED: put_head(out, 3, SLUICE_EPROTO, "I do not like it"); return true;
    case FAKE_STALE:
        broker->batch_resolved[publish.sequence] = true;
        put_head(out, 3, SLUICE_ESTALE, "a newer epoch is known");
        return true;
    case FAKE_DROP_BEFORE: hang_up(slot); return false;
    case FAKE_HOLD:
        slot->state = FAKE_HELD;
        broker->held_now++;
        if (broker->held_now > broker->outstanding_max)
            broker->outstanding_max = broker->held_now;
        return false;
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
    if (action == FAKE_DROP_AFTER) {
        hang_up(slot);
        return false;
    }
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
    return true;
}

static void slot_handle(struct fake_slot *slot, bool released)
{
    struct fake_broker *broker = slot->broker;
    struct mpack_reader reader = mpack_reader_of((struct view){ .data = nng_msg_body(slot->request), .len = nng_msg_len(slot->request) });
    struct bytes out = { 0 };
    uint32_t items;
    uint64_t version, call;
    bool reply = true;

    if (!mpack_read_array(&reader, &items) || !mpack_read_uint(&reader, 100, &version) || !mpack_read_uint(&reader, 100, &call)) {
        broker->malformed++;
        put_head(&out, 3, SLUICE_EPROTO, "malformed");
    } else if (call == CALL_HELLO) {
        handle_hello(slot, &reader, &out);
    } else if (call == CALL_PUBLISH) {
        reply = handle_publish(slot, &reader, &out, released);
    } else if (!was_greeted(broker, pipe_of(slot))) {
        broker->without_hello++;
        put_head(&out, 3, SLUICE_EPROTO, "no hello on this connection");
    } else if (!broker->answer(broker, call, &reader, &out)) {
        slot->state = FAKE_PARKED;
        reply = false;
    }
    if (reply)
        slot_send(slot, &out);
    bytes_done(&out);
    pthread_cond_broadcast(&broker->changed);
}

static void slot_progressed(void *user)
{
    struct fake_slot *slot = user;
    struct fake_broker *broker = slot->broker;

    pthread_mutex_lock(&broker->mutex);
    int rv = nng_aio_result(slot->aio);
    if (rv != 0 && slot->state == FAKE_SENDING)
        nng_msg_free(nng_aio_get_msg(slot->aio));
    if (!broker->running) {
        if (rv == 0 && slot->state == FAKE_RECEIVING)
            nng_msg_free(nng_aio_get_msg(slot->aio));
    } else if (slot->state == FAKE_SENDING) {
        slot_receive(slot);
    } else if (rv == 0) {
        slot->request = nng_aio_get_msg(slot->aio);
        if (is_dead(broker, pipe_of(slot)))
            slot_receive(slot);
        else
            slot_handle(slot, false);
    }
    pthread_mutex_unlock(&broker->mutex);
}

struct fake_broker *fake_new(const char *url)
{
    struct fake_broker *broker = calloc(1, sizeof *broker);

    if (broker == NULL)
        give_up("new", NNG_ENOMEM);
    (void)snprintf(broker->url, sizeof broker->url, "%s", url);
    (void)pthread_mutex_init(&broker->mutex, NULL);
    (void)pthread_cond_init(&broker->changed, NULL);
    broker->credit = PUBLISH_WINDOW_BATCHES_MAX;
    broker->hello_version = PROTOCOL_VERSION;
    return broker;
}

void fake_start(struct fake_broker *broker, unsigned contexts)
{
    nng_socket socket;
    int rv = nng_rep0_open(&socket);

    if (rv != 0)
        give_up("open", rv);
    broker->socket = nng_socket_id(socket);
    broker->running = true;
    broker->slots_count = contexts;
    broker->slots = calloc(contexts, sizeof *broker->slots);
    (void)nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, PROTOCOL_MESSAGE_BYTES_MAX);
    char real_url[160];
    (void)snprintf(real_url, sizeof real_url, "%s.real", broker->url);
    if ((rv = nng_listen(socket, real_url, NULL, 0)) != 0)
        give_up(real_url, rv);
    for (unsigned i = 0; i < contexts; i++) {
        struct fake_slot *slot = &broker->slots[i];
        slot->broker = broker;
        if ((rv = nng_ctx_open(&slot->ctx, socket)) != 0 || (rv = nng_aio_alloc(&slot->aio, slot_progressed, slot)) != 0)
            give_up("context", rv);
        slot_receive(slot);
    }
    broker->proxy = proxy_start(broker->url);
}

void fake_stop(struct fake_broker *broker)
{
    if (!broker->running)
        return;
    pthread_mutex_lock(&broker->mutex);
    broker->running = false;
    pthread_mutex_unlock(&broker->mutex);
    proxy_stop(broker->proxy);
    for (unsigned i = 0; i < broker->slots_count; i++)
        nng_aio_stop(broker->slots[i].aio);
    (void)nng_close((nng_socket){ .id = (uint32_t)broker->socket });
    for (unsigned i = 0; i < broker->slots_count; i++) {
        if (broker->slots[i].request != NULL)
            nng_msg_free(broker->slots[i].request);
        nng_aio_free(broker->slots[i].aio);
    }
    free(broker->slots);
    broker->slots = NULL;
    broker->slots_count = broker->held_now = 0;
}

static void handle_again(struct fake_broker *broker, enum fake_slot_state state)
{
    pthread_mutex_lock(&broker->mutex);
    for (unsigned i = 0; i < broker->slots_count; i++)
        if (broker->slots[i].state == state)
            slot_handle(&broker->slots[i], true);
    broker->held_now = 0;
    pthread_mutex_unlock(&broker->mutex);
}

void fake_release(struct fake_broker *broker)
{
    handle_again(broker, FAKE_HELD);
}

void fake_wake_parked(struct fake_broker *broker)
{
    handle_again(broker, FAKE_PARKED);
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
