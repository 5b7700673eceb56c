#include "broker/edge/bus_message.h"

#include "schemas/codec/mpack.h"

enum { FAILURES_KEPT = 4096 };  /* more room than this is given back after its message */

static enum sluice_err read_hello(struct bus_message *message, struct mpack_reader *reader, struct sluice_error *reterr)
{
    struct view client, token = { 0 };

    if (!mpack_read_str(reader, &client) || (!mpack_read_nil(reader) && !mpack_read_str(reader, &token)) || !mpack_at_end(reader))
        return sluice_fail(reterr, SLUICE_EPROTO, "hello: expected [1, 1, client name, token or nil]");
    message->hello.client = client;
    message->hello.token = token;
    return SLUICE_OK;
}

static enum sluice_err read_publish(struct bus_message *message, struct mpack_reader *reader, struct sluice_error *reterr)
{
    struct publish publish = { 0 };
    struct view producer;
    uint32_t count;

    publish.has_producer = !mpack_read_nil(reader);
    if ((publish.has_producer && (!mpack_read_bin(reader, &producer) || producer.len != sizeof publish.producer)) ||
        !mpack_read_uint(reader, UINT64_MAX, &publish.epoch) || !mpack_read_uint(reader, UINT64_MAX >> 1, &publish.sequence) ||
        !mpack_read_uint(reader, UINT64_MAX >> 1, &publish.lowest) || !mpack_read_array(reader, &count))
        return sluice_fail(reterr, SLUICE_EPROTO,
                           "publish: expected [1, 2, producer of 16 bytes or nil, epoch, sequence, lowest, [events]]");
    publish.events = (struct view){ (const char *)reader->at, (size_t)(reader->end - reader->at) };
    if (count > PUBLISH_BATCH_EVENTS_MAX || publish.events.len > PUBLISH_BATCH_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "publish: more than 10,000 events or 4 MiB in one batch; send smaller batches");
    if (publish.has_producer)
        memcpy(publish.producer, producer.data, sizeof publish.producer);
    publish.count = count;
    message->publish = publish;
    return SLUICE_OK;
}

/* [[index, type, message] ...] */
static bool read_failures(struct bus_message *message, struct mpack_reader *reader, unsigned *ret_count)
{
    uint32_t count, items;
    uint64_t index;

    if (!mpack_read_array(reader, &count) || count > NEXT_EVENTS_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct item_failure failure = { 0 };
        if (!mpack_read_array(reader, &items) || items != 3 || !mpack_read_uint(reader, NEXT_EVENTS_MAX, &index) ||
            !mpack_read_str(reader, &failure.failure.type) || !mpack_read_str(reader, &failure.failure.message))
            return false;
        failure.index = (unsigned)index;
        VEC_PUSH(&message->failures, failure);
    }
    *ret_count = count;
    return true;
}

/* [lease, nil | failures, output | nil] */
static bool read_result(struct bus_message *message, struct mpack_reader *reader)
{
    struct bus_result result = { 0 };
    struct view output = { 0 };
    uint32_t items;
    size_t first = message->failures.count;

    if (!mpack_read_array(reader, &items) || items != 3 || !mpack_read_uint(reader, UINT64_MAX, &result.lease))
        return false;
    if (!mpack_read_nil(reader) && !read_failures(message, reader, &result.failures_count))
        return false;
    if (!mpack_read_nil(reader) && (!mpack_read_bin(reader, &output) || output.len > NEXT_OUTPUT_BYTES_MAX))
        return false;
    for (size_t i = first; i < message->failures.count; i++)
        message->failures.items[i].failure.output = output;
    VEC_PUSH(&message->results, result);
    return true;
}

static bool read_number(struct view digits, uint64_t *ret_number)
{
    uint64_t number = 0;

    if (digits.len == 0 || digits.len > 19) /* what 64 bits hold for sure */
        return false;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(digits.data[i] - '0');
    }
    *ret_number = number;
    return true;
}

static enum sluice_err read_next(struct bus_message *message, struct mpack_reader *reader, struct sluice_error *reterr)
{
    struct view instance;
    uint64_t id, events_max;
    uint32_t count;
    size_t first = 0;

    if (!mpack_read_str(reader, &instance) || !mpack_read_uint(reader, NEXT_EVENTS_MAX, &events_max) ||
        !mpack_read_array(reader, &count) || count > NEXT_RESULTS_MAX)
        return sluice_fail(reterr, SLUICE_EPROTO, "next: expected [1, 3, instance, events_max, [[lease, failures, output] ...]]");
    if (!read_number(instance, &id))
        return sluice_fail(reterr, SLUICE_EPROTO, "next: the instance is the number in $SLUICE_INSTANCE, or what attach answered");
    for (uint32_t i = 0; i < count; i++)
        if (!read_result(message, reader))
            return sluice_fail(reterr, SLUICE_EPROTO,
                               "next: a result is not [lease, nil or [[index, type, message] ...], output or nil]");
    /* The array may have moved while it grew: point into it now. */
    for (size_t i = 0; i < message->results.count; i++) {
        message->results.items[i].failures = message->failures.items + first;
        first += message->results.items[i].failures_count;
    }
    message->next.instance = id;
    message->next.events_max = (unsigned)events_max;
    return SLUICE_OK;
}

static bool consumer_is_name(struct view consumer)
{
    if (consumer.len == 0 || consumer.len > ATTACH_CONSUMER_BYTES_MAX)
        return false;
    for (size_t i = 0; i < consumer.len; i++) {
        char c = consumer.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || strchr("._-@:/+", c) == NULL))
            return false;
    }
    return true;
}

static enum sluice_err read_attach(struct bus_message *message, struct mpack_reader *reader, struct sluice_error *reterr)
{
    struct view function, consumer;
    uint64_t concurrency;

    if (!mpack_read_str(reader, &function) || !mpack_read_str(reader, &consumer) || !mpack_read_uint(reader, UINT64_MAX, &concurrency) ||
        !mpack_at_end(reader))
        return sluice_fail(reterr, SLUICE_EPROTO, "attach: expected [1, 4, function, consumer, concurrency]");
    if (!consumer_is_name(consumer))
        return sluice_fail(reterr, SLUICE_EINVAL, "attach: the consumer's name must have 1 to %d letters, digits and any of . _ - @ : / +",
                           ATTACH_CONSUMER_BYTES_MAX);
    if (concurrency > ATTACH_CONCURRENCY_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "attach: concurrency must be from 1 to %d, or 0 for what the function says",
                           ATTACH_CONCURRENCY_MAX);
    message->attach.function = function;
    message->attach.consumer = consumer;
    message->attach.concurrency = (unsigned)concurrency;
    return SLUICE_OK;
}

static enum sluice_err read_detach(struct bus_message *message, struct mpack_reader *reader, struct sluice_error *reterr)
{
    struct view instance;

    if (!mpack_read_str(reader, &instance) || !read_number(instance, &message->detach.instance) || !mpack_at_end(reader))
        return sluice_fail(reterr, SLUICE_EPROTO, "detach: expected [1, 5, instance as attach answered it]");
    return SLUICE_OK;
}

static enum sluice_err read_control(struct bus_message *message, struct mpack_reader *reader, struct sluice_error *reterr)
{
    struct view command, arguments;

    if (!mpack_read_str(reader, &command) || !mpack_read_bin(reader, &arguments))
        return sluice_fail(reterr, SLUICE_EPROTO, "control: expected [1, 16, command, arguments as JSON bytes]");
    message->control.command = command;
    message->control.arguments = arguments;
    return SLUICE_OK;
}

enum sluice_err bus_message_read(struct bus_message *message, struct view body, struct sluice_error *reterr)
{
    static const struct {
        enum protocol_call call;
        uint32_t items;
        enum sluice_err (*read)(struct bus_message *message, struct mpack_reader *reader, struct sluice_error *reterr);
    } calls[] = {
        { CALL_HELLO, 4, read_hello },
        { CALL_PUBLISH, 7, read_publish },
        { CALL_NEXT, 5, read_next },
        { CALL_ATTACH, 5, read_attach },
        { CALL_DETACH, 3, read_detach },
        { CALL_CONTROL, 4, read_control },
    };
    struct mpack_reader reader = mpack_reader_of(body);
    uint32_t items;
    uint64_t version, call;

    if (message->failures.capacity > FAILURES_KEPT)
        VEC_DONE(&message->failures);
    message->results.count = message->failures.count = 0;
    if (!mpack_read_array(&reader, &items) || !mpack_read_uint(&reader, 255, &version))
        return sluice_fail(reterr, SLUICE_EPROTO, "not a bus message: expected a MessagePack array [version, call, ...]");
    if (version != PROTOCOL_VERSION)
        return sluice_fail(reterr, SLUICE_EPROTO, "bus protocol version %u is not spoken here; this daemon speaks version %d",
                           (unsigned)version, PROTOCOL_VERSION);
    if (!mpack_read_uint(&reader, UINT32_MAX, &call))
        return sluice_fail(reterr, SLUICE_EPROTO, "the call is not a number");
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (calls[i].call != call || calls[i].items != items)
            continue;
        message->call = calls[i].call;
        return calls[i].read(message, &reader, reterr);
    }
    return sluice_fail(reterr, SLUICE_EPROTO, "unknown call, or a wrong number of fields for it");
}

void bus_message_done(struct bus_message *message)
{
    VEC_DONE(&message->results);
    VEC_DONE(&message->failures);
}
