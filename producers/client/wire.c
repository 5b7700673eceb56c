#include "producers/client/wire.h"

#include <limits.h>

/* For text of the peer in messages of ours: bounded like our own. */
static int text_len(struct view text)
{
    return text.len < SLUICE_ERROR_TEXT_MAX ? (int)text.len : SLUICE_ERROR_TEXT_MAX;
}

static enum sluice_err garbled(struct sluice_error *reterr, const char *what)
{
    return sluice_fail(reterr, SLUICE_EPROTO, "the daemon's answer is not of the bus protocol: %s", what);
}

static bool read_text_or_nil(struct mpack_reader *reader, struct view *ret_text)
{
    if (mpack_read_nil(reader)) {
        *ret_text = (struct view){ 0 };
        return true;
    }
    return mpack_read_str(reader, ret_text);
}

enum sluice_err wire_read_head(struct view message, struct wire_head *ret_head, struct sluice_error *reterr)
{
    struct mpack_reader reader = mpack_reader_of(message);
    struct wire_head head = { 0 };
    uint64_t version, code;

    if (!mpack_read_array(&reader, &head.items) || !mpack_read_uint(&reader, UINT64_MAX, &version))
        return garbled(reterr, "no array with a version");
    if (version != PROTOCOL_VERSION)
        return sluice_fail(reterr, SLUICE_EPROTO,
                           "the daemon speaks bus protocol version %llu, this library version %d; use matching versions",
                           (unsigned long long)version, PROTOCOL_VERSION);
    if (head.items < 3 || !mpack_read_uint(&reader, INT_MAX, &code) || !read_text_or_nil(&reader, &head.text))
        return garbled(reterr, "no code and text");
    head.code = (enum sluice_err)code;
    head.rest = reader;
    *ret_head = head;
    return SLUICE_OK;
}

enum sluice_err wire_refusal(const struct wire_head *head, const char *what, struct sluice_error *reterr)
{
    if (head->text.len == 0)
        return sluice_fail(reterr, head->code, "the daemon refused %s: %s", what, sluice_err_name(head->code));
    return sluice_fail(reterr, head->code, "%.*s", text_len(head->text), head->text.data);
}

void wire_put_hello(struct bytes *out, const char *client, const char *token)
{
    mpack_put_array(out, 4);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_HELLO);
    mpack_put_str(out, view_of(client));
    if (token == NULL)
        mpack_put_nil(out);
    else
        mpack_put_str(out, view_of(token));
}

enum sluice_err wire_read_hello(struct view message, struct wire_limits *ret_limits, struct sluice_error *reterr)
{
    struct wire_head head;
    uint64_t credit, batch_bytes, batch_events, event_bytes;
    struct view server;

    enum sluice_err err = wire_read_head(message, &head, reterr);
    if (err != SLUICE_OK)
        return err;
    if (head.code != SLUICE_OK)
        return wire_refusal(&head, "the connection", reterr);
    if (head.items < 8 || !mpack_read_uint(&head.rest, UINT_MAX, &credit) ||
        !mpack_read_uint(&head.rest, SIZE_MAX, &batch_bytes) || !mpack_read_uint(&head.rest, UINT_MAX, &batch_events) ||
        !mpack_read_uint(&head.rest, SIZE_MAX, &event_bytes) || !mpack_read_str(&head.rest, &server))
        return garbled(reterr, "hello without its limits");
    if (credit == 0 || batch_bytes == 0 || batch_events == 0 || event_bytes == 0)
        return garbled(reterr, "hello with a limit of 0");
    *ret_limits = (struct wire_limits){ .credit = (unsigned)credit,
                                        .batch_bytes_max = batch_bytes,
                                        .batch_events_max = (unsigned)batch_events,
                                        .event_bytes_max = event_bytes };
    return SLUICE_OK;
}

void wire_put_publish_head(struct bytes *out, const struct wire_publish *publish)
{
    mpack_put_array(out, 7);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_PUBLISH);
    mpack_put_bin(out, (struct view){ .data = (const char *)publish->producer_id, .len = PRODUCER_ID_BYTES });
    mpack_put_uint(out, publish->epoch);
    mpack_put_uint(out, publish->sequence);
    mpack_put_uint(out, publish->lowest);
    mpack_put_array(out, publish->events_count);
}

static bool read_refused(struct mpack_reader *reader, struct wire_refused *ret_refused)
{
    uint32_t items;
    uint64_t index, code;

    if (!mpack_read_array(reader, &items) || items != 3 || !mpack_read_uint(reader, UINT32_MAX, &index) ||
        !mpack_read_uint(reader, INT_MAX, &code) || !read_text_or_nil(reader, &ret_refused->text))
        return false;
    ret_refused->index = (uint32_t)index;
    ret_refused->code = (enum sluice_err)code;
    return true;
}

enum sluice_err wire_read_published(struct view message, uint32_t events_count, struct wire_published *ret_published,
                                    struct sluice_error *reterr)
{
    struct wire_published published = { 0 };
    struct wire_head head;
    uint64_t accepted, credit;

    enum sluice_err err = wire_read_head(message, &head, reterr);
    if (err != SLUICE_OK)
        return err;
    published.code = head.code;
    published.text = head.text;
    if (head.code != SLUICE_OK) { /* such a reply may end after its text */
        *ret_published = published;
        return SLUICE_OK;
    }
    if (head.items < 7 || !mpack_read_uint(&head.rest, events_count, &accepted) ||
        !mpack_read_bool(&head.rest, &published.duplicate) || !mpack_read_uint(&head.rest, UINT_MAX, &credit) ||
        !mpack_read_array(&head.rest, &published.refused_count))
        return garbled(reterr, "a publish without its results");
    published.credit = (unsigned)credit;
    published.refused = head.rest;
    int64_t last = -1;
    for (uint32_t i = 0; i < published.refused_count; i++) {
        struct wire_refused refused;
        if (!read_refused(&head.rest, &refused) || refused.index >= events_count || refused.index <= last ||
            refused.code == SLUICE_OK)
            return garbled(reterr, "a publish with broken results");
        last = refused.index;
    }
    if (!published.duplicate && accepted + published.refused_count != events_count)
        return garbled(reterr, "a publish whose results do not add up");
    *ret_published = published;
    return SLUICE_OK;
}

bool wire_next_refused(struct wire_published *published, struct wire_refused *ret_refused)
{
    if (published->refused_count == 0)
        return false;
    published->refused_count--;
    return read_refused(&published->refused, ret_refused);
}

void wire_put_control(struct bytes *out, const char *command, struct view arguments)
{
    mpack_put_array(out, 4);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_CONTROL);
    mpack_put_str(out, view_of(command));
    mpack_put_bin(out, arguments);
}

enum sluice_err wire_read_control(struct view message, struct view *ret_result, struct sluice_error *reterr)
{
    struct wire_head head;

    enum sluice_err err = wire_read_head(message, &head, reterr);
    if (err != SLUICE_OK)
        return err;
    if (head.code != SLUICE_OK)
        return wire_refusal(&head, "the command", reterr);
    if (head.items < 4 || !mpack_read_bin(&head.rest, ret_result))
        return garbled(reterr, "a control call without its result");
    return SLUICE_OK;
}
