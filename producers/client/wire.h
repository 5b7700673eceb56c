/* wire.h - the client's side of the bus protocol: requests as bytes, replies as checked views (schemas/codec/protocol.h).
 * Pure: no socket, no clock. Replies are foreign bytes: every reader here checks what it reads; views point into the reply. */
#ifndef SLUICE_CLIENT_WIRE_H
#define SLUICE_CLIENT_WIRE_H

#include "schemas/codec/bytes.h"
#include "schemas/codec/mpack.h"
#include "schemas/codec/protocol.h"
#include "sluice/error.h"

enum { PRODUCER_ID_BYTES = 16 };

/* [version, code, text, ...]: what every reply begins with; `rest` stands behind the text. */
struct wire_head {
    enum sluice_err code;
    struct view text;           /* data NULL when nil */
    uint32_t items;             /* of the whole array */
    struct mpack_reader rest;
};
/* SLUICE_EPROTO: not a reply of this protocol or of another version; the text says which. The code inside is not judged. */
enum sluice_err wire_read_head(struct view message, struct wire_head *ret_head, struct sluice_error *reterr);
/* The reply's own code and text as an error; `what` was asked. */
enum sluice_err wire_refusal(const struct wire_head *head, const char *what, struct sluice_error *reterr);

struct wire_limits {
    unsigned credit;            /* batches unanswered at once; at least 1 */
    size_t batch_bytes_max;
    unsigned batch_events_max;
    size_t event_bytes_max;
};
void wire_put_hello(struct bytes *out, const char *client, const char *token);
/* SLUICE_EPROTO: no hello reply; any other code: the daemon's refusal. */
enum sluice_err wire_read_hello(struct view message, struct wire_limits *ret_limits, struct sluice_error *reterr);

struct wire_publish {
    const uint8_t *producer_id; /* PRODUCER_ID_BYTES */
    uint64_t epoch, sequence, lowest;
    uint32_t events_count;
};
/* All of a publish request but the envelopes, which follow back to back. */
void wire_put_publish_head(struct bytes *out, const struct wire_publish *publish);

struct wire_published {
    enum sluice_err code;       /* of the batch */
    struct view text;
    bool duplicate;
    unsigned credit;            /* at least 1; 0: not told */
    struct mpack_reader refused;/* wire_next_refused() */
    uint32_t refused_count;     /* checked: each index is below events_count and above the one before */
};
struct wire_refused {
    uint32_t index;
    enum sluice_err code;
    struct view text;
};
enum sluice_err wire_read_published(struct view message, uint32_t events_count, struct wire_published *ret_published,
                                    struct sluice_error *reterr);
/* false: there is no further one. */
bool wire_next_refused(struct wire_published *published, struct wire_refused *ret_refused);

void wire_put_control(struct bytes *out, const char *command, struct view arguments);
enum sluice_err wire_read_control(struct view message, struct view *ret_result, struct sluice_error *reterr);

#endif
