/* sluice/producer.h - publish events to a Sluice daemon from a C program.
 *
 *     struct sluice_producer *producer;
 *     struct sluice_error error;
 *     if (sluice_producer_open(NULL, &producer, &error) != SLUICE_OK) ...
 *     struct sluice_event event = { .source = "shop", .type = "order.paid", .detail = "{\"order\":7}" };
 *     if (sluice_publish(producer, &event, &error) != SLUICE_OK) ...    // returns once the event is on disk
 *     sluice_producer_close(producer, 5000, NULL);
 *
 * An event that was acked is on disk. An event that was not acked may be on disk or not; the library resends it, and the
 * broker drops what it has already. All functions may be called from any thread unless they say otherwise.
 * Link with pkg-config `sluice`. */
#ifndef SLUICE_PRODUCER_H
#define SLUICE_PRODUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sluice_producer;

/* Zero means the default. */
struct sluice_producer_options {
    const char *url;             /* ipc:///path or tcp://host:port; default $SLUICE_URL, else the daemon's default socket */
    const char *token;           /* for tcp; default: the contents of $SLUICE_TOKEN_FILE */
    const char *name;            /* shown in the daemon's status; default: the program's name */
    unsigned window_batches;     /* batches unanswered at once, 1..16; default 8, and never above the broker's credit */
    size_t batch_bytes;          /* a batch is sent when it holds this much; default 64 KiB, at most 4 MiB */
    unsigned batch_events;       /* ... or this many events; default 1,000, at most 10,000 */
    unsigned linger_us;          /* ... or when the first event in it waited this long; default 1,000 us; see linger_none */
                                 /* while nothing else is on its way, events are sent at once all the same */
    bool linger_none;            /* send as soon as the window has room */
    size_t buffer_bytes;         /* events held in memory, sent or not; default 32 MiB; one event may exceed it */
    bool buffer_full_fails;      /* at buffer_bytes, publish calls return SLUICE_ELIMIT instead of waiting */
    unsigned ack_timeout_ms;     /* sluice_publish() gives up waiting after this; default 30,000 */
    /* A durable producer (a source that restarts) names itself: the broker then drops repeats across restarts too. `id` is kept
     * by the caller; `epoch` must grow with every start that does not continue the numbering; `sequence` is the next batch
     * number. */
    const uint8_t *id;           /* 16 bytes; default: random for this process */
    uint64_t epoch;
    uint64_t sequence;           /* default 1 */
};

/* All strings UTF-8, copied before the call returns. Required: source, type, and detail or detail_mpack. */
struct sluice_event {
    const char *source;
    const char *type;            /* detail-type */
    const char *detail;          /* JSON text of an object; detail_len 0: its strlen */
    size_t detail_len;
    const void *detail_mpack;    /* instead of `detail`: a MessagePack map of detail_len bytes */
    const char *bus;             /* NULL: "default" */
    const char *id;              /* NULL: a UUIDv7 is made */
    int64_t time_ms;             /* 0: now; milliseconds since 1970 UTC */
    const char *const *resources;/* NULL-terminated, or NULL */
    const char *account, *region, *key, *dedup_id, *traceparent;
    int64_t not_before_ms;       /* 0: at once */
};

/* One event's outcome. SLUICE_OK: on disk. SLUICE_EINVAL, SLUICE_ENOTFOUND (bus): refused for good, see error->text.
 * SLUICE_EUNAVAILABLE: the producer was closed before an answer came; the event may be on disk or not.
 * Runs on a thread of the library (or in sluice_producer_close()), one ack at a time; within a batch in the order of the
 * events. Must not block, and must not call this library. `error` lives for the call. */
typedef void sluice_ack(void *user, enum sluice_err code, const struct sluice_error *error);

/* Does not wait for the daemon: connects in the background, and again whenever the connection is lost.
 * SLUICE_EINVAL: an option is wrong. Free with sluice_producer_close(). */
enum sluice_err sluice_producer_open(const struct sluice_producer_options *options, struct sluice_producer **ret_producer,
                                     struct sluice_error *reterr);

/* Blocks until the event is on disk or refused. SLUICE_ETIMEDOUT after ack_timeout_ms: it may still get there. */
enum sluice_err sluice_publish(struct sluice_producer *producer, const struct sluice_event *event, struct sluice_error *reterr);

/* Queues the event; `ack` (may be NULL) is called exactly once if SLUICE_OK is returned, else never.
 * Blocks only while buffer_bytes are held (or returns SLUICE_ELIMIT, see buffer_full_fails). */
enum sluice_err sluice_publish_async(struct sluice_producer *producer, const struct sluice_event *event, sluice_ack *ack,
                                     void *user, struct sluice_error *reterr);

/* Sends what is queued and blocks until all of it is answered, at most timeout_ms (-1: no limit).
 * SLUICE_ETIMEDOUT: *ret_unconfirmed events (may be NULL) have no answer yet; they stay queued. */
enum sluice_err sluice_producer_flush(struct sluice_producer *producer, int timeout_ms, uint64_t *ret_unconfirmed);

/* Flush, then free. What had no answer by then gets SLUICE_EUNAVAILABLE in its ack and is counted in *ret_unconfirmed
 * (SLUICE_ETIMEDOUT). No call may begin after this one; calls that wait in other threads return SLUICE_EUNAVAILABLE. */
enum sluice_err sluice_producer_close(struct sluice_producer *producer, int timeout_ms, uint64_t *ret_unconfirmed);

struct sluice_producer_stats {
    uint64_t acked, refused, unconfirmed;   /* events */
    uint64_t batches, resends;   /* sent the first time; sent again */
    uint64_t reconnects, backpressure;      /* connections after the first; batches the daemon put off */
    uint64_t sequence_next;      /* the batch number after the last one sent: what a durable producer keeps */
    bool connected;
};
void sluice_producer_stats(struct sluice_producer *producer, struct sluice_producer_stats *ret_stats);

/* A control call, as the `sluice` tool makes them: `arguments` and the result are JSON text (schemas/control.md). Blocking, over
 * ipc only, same user or root. *ret_result is malloc'ed, NUL-terminated; free() it. url NULL: the default. */
enum sluice_err sluice_control(const char *url, const char *command, const char *arguments, int timeout_ms, char **ret_result,
                               struct sluice_error *reterr);

/* The default URL: $SLUICE_URL, else ipc:///run/sluice/bus.sock for root, else under $XDG_RUNTIME_DIR, else under a folder
 * of mode 0700 in the temporary directory. Returns the length it needs. */
size_t sluice_url_default(char *buffer, size_t buffer_len);

#ifdef __cplusplus
}
#endif
#endif
