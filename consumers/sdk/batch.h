/* batch.h - what one `next` brought, as deliveries, and what it becomes: the results for the following `next`.
 * Nothing is copied: a batch owns the reply, and its texts are ended by a NUL in place, on the byte of the next field's key,
 * which has been read by then. Pure apart from memory; one thread each. Messages in schemas/codec/protocol.h. */
#ifndef SLUICE_SDK_BATCH_H
#define SLUICE_SDK_BATCH_H

#include <nng/nng.h>

#include "schemas/codec/envelope.h"
#include "schemas/codec/ids.h"
#include "schemas/codec/protocol.h"
#include "sluice/function.h"

struct sdk_batch;

/* One delivery as the handler sees it, and what is behind it. */
struct sdk_delivery {
    struct sluice_delivery shown;
    struct sdk_batch *batch;
    struct event event;
    char id_text[UUID_TEXT_LEN + 1];
    struct bytes json;          /* made by envelope_json; kept for reuse */
    size_t type_at, type_len, message_at, message_len; /* of sluice_function_fail(), in batch->notes */
};

struct sdk_batch {
    nng_msg *reply;             /* owned */
    uint64_t lease;             /* 0: nothing was brought */
    uint32_t count, capacity;
    struct sdk_delivery *deliveries;
    struct sluice_delivery **shown; /* deliveries[i].shown, for handle_batch */
    enum sluice_err *codes;     /* by delivery; SLUICE_OK until the handler says otherwise */
    struct bytes notes;
};

enum { SDK_TYPE_BYTES_MAX = 256, SDK_MESSAGE_BYTES_MAX = 4096 }; /* of sluice_function_fail(); longer ones are cut */

/* Takes the reply over, also when it fails. SLUICE_EPROTO: not of the protocol. Another code: the daemon's, with its text;
 * the batch is empty then. SLUICE_OK with lease 0: nothing to do. */
enum sluice_err sdk_batch_open(struct sdk_batch *batch, nng_msg *reply, struct sluice_error *reterr);
/* Runs the handler over it. */
void sdk_batch_handle(struct sdk_batch *batch, const struct sluice_function *function);
/* Appends [lease, failures, output], the batch's item in a `next`. */
void sdk_batch_put_result(const struct sdk_batch *batch, struct bytes *out);
void sdk_batch_done(struct sdk_batch *batch);

/* A whole `next`; `result` is one sdk_batch_put_result() or empty. */
void sdk_put_next(struct bytes *out, const char *instance, unsigned events_max, struct view result);

#endif
