/* once.h - one request of an SDK, sent several times, is executed once.
 *
 * AWS SDKs put the same amz-sdk-invocation-id on every try of one request. They try again when a connection breaks, and when an answer
 * takes long: botocore gives up reading after 60 s and sends a synchronous Invoke again, up to five times. Here the later try gets the
 * answer of the first: the one it still waits for, or the one that was given within the last ONCE_KEPT_MS.
 *
 * An entry is found by that id, the door, the function and a hash of the payload: an id used again for something else is something else.
 * Only answers that speak of an execution are kept; refusals (429, 503) are not, for what was refused shall be tried. A streamed response is
 * kept as it comes, and a later try gets all of it from its beginning. Where a response became too long, or had to make room for others, it is known
 * that it was executed, and a later try is refused: better no answer than a second execution. PutEvents is kept with what it said of each entry,
 * in a table of its own with the same bounds. */
#ifndef SLUICE_API_ONCE_H
#define SLUICE_API_ONCE_H

#include "broker/api/api_internal.h"

enum {
    ONCE_ENTRIES_MAX = 4096,             /* the oldest ended goes first; if all still run, a further request is not held against them */
    ONCE_KEPT_MS = 60000,                /* after the answer */
    ONCE_BYTES_MAX = 32 << 20,           /* of answers kept; the oldest goes first */
    ONCE_STREAM_BYTES_MAX = 6 << 20,     /* of one streamed response: as much as one that comes whole may have */
    ONCE_ID_BYTES_MAX = 64,              /* SDKs send a UUID; anything longer is not an id */
};

struct once_key {
    char id[ONCE_ID_BYTES_MAX];
    uint64_t id_len, hash;
};
struct once_entry {
    struct list link, kept;              /* kept: it has ended, and its answer is there */
    struct once_key key;
    struct invocation *invocation;       /* runs */
    struct publishing *publishing;       /* on its way to the disk */
    int64_t ended_us;                    /* 0: not yet */
    char request_id[UUID_TEXT_LEN + 1];  /* of the first try: what the function saw */
    bool failed;
    struct bytes body, type, log_tail;
    bool streams;                        /* a streamed response has begun */
    bool lost;                           /* there is nothing to give to a later try; of a streamed response perhaps while it still comes */
    struct bytes stream, content_type;   /* what has come of it */
};

struct once *once_new(struct ev_loop *loop);
struct once *once_free(struct once *once);
/* false: the request has no id. `door` tells doors apart. */
bool once_key_of(const struct call *call, const char *door, uint32_t function, struct view payload, struct once_key *ret_key);
struct once_entry *once_find(struct once *once, const struct once_key *key);     /* NULL: not seen */
struct once_entry *once_put(struct once *once, const struct once_key *key);      /* NULL: no room */
void once_stream_begin(struct once *once, struct once_entry *entry, struct view content_type);
void once_stream_piece(struct once *once, struct once_entry *entry, struct view piece);
/* It ended with `result` (NULL: accepted, there is nothing to give). */
void once_ended(struct once *once, struct once_entry *entry, const struct invoke_result *result);
void once_forget(struct once *once, struct once_entry *entry);

#endif
