/* protocol.h - the bus protocol's numbers and limits. The messages are drawn in schemas/protocol.md.
 * nng REQ/REP (frame.h); each message one MessagePack array.
 *   request  [version, call, ...]           reply  [version, code, text|nil, ...]
 *   hello    [1, 1, client str, token str|nil]
 *              -> [1, code, text, credit, batch_bytes_max, batch_events_max, event_bytes_max, server str]
 *   publish  [1, 2, producer bin16, epoch uint, seq uint, lowest uint, [envelope map, ...]]
 *              -> [1, code, text, accepted uint, duplicate bool, credit, [[index, code, text], ...]]
 *              code is of the batch: SLUICE_OK even when single events were refused (they are in the list);
 *              SLUICE_ELIMIT: nothing was taken, send the same seq again after a pause.
 *              The list is in ascending order of index. In a duplicate it tells again what was refused the first time.
 *              Calls before hello on the same connection: SLUICE_EPROTO; hello may be said again at any time.
 *   next     [1, 3, instance str, events_max uint, [[lease uint, failures, output bin|nil], ...]]
 *              failures: nil = all succeeded; else [[index uint, type str, message str], ...]
 *              -> parked until there is work: [1, code, text, lease uint, deadline_ms int, [[attempt, shape, body], ...]]
 *              shape 0: body is the envelope map; 1: body is bin, the JSON input of the rule's target.
 *              lease 0 with an empty list and SLUICE_EUNAVAILABLE: the instance is to end (drain).
 *              events_max 0: results only, not parked, answered at once with lease 0: the instance is leaving. Its other
 *              parked requests are answered with lease 0 as well, and it gets no more work.
 *              Results of leases the daemon does not know (any more) are ignored: after a lost connection the instance
 *              hands in again what had no answer.
 *   attach   [1, 4, function str, consumer str, concurrency uint]        concurrency 0: what the function says
 *              -> [1, code, text, instance str, concurrency uint, events_max uint, timeout_ms uint]
 *              This connection is an instance of the function from here on, until detach, an answer to next that says the instance
 *              is to end, or its own end. One attachment a connection: SLUICE_EEXISTS. `next` may have `concurrency` requests and
 *              leases at once: SLUICE_ELIMIT.
 *   detach   [1, 5, instance str]
 *              -> answered when all that the instance held is settled: [1, code, text]. Parked `next` are answered at once.
 *   control  [1, 16, command str, arguments bin (JSON)] -> [1, code, text, result bin (JSON)]        ipc only
 */
#ifndef SLUICE_CODEC_PROTOCOL_H
#define SLUICE_CODEC_PROTOCOL_H

enum { PROTOCOL_VERSION = 1 };
enum protocol_call { CALL_HELLO = 1, CALL_PUBLISH = 2, CALL_NEXT = 3, CALL_ATTACH = 4, CALL_DETACH = 5, CALL_CONTROL = 16 };
enum next_shape { NEXT_ENVELOPE = 0, NEXT_JSON = 1 };
enum {
    PROTOCOL_MESSAGE_BYTES_MAX = (4 << 20) + 4096, /* one publish batch and its head; without the ids */
    /* A control call, and its answer: ipc only. A payload of an invocation, 6 MiB, is a string in its JSON, where each byte may be two. */
    PROTOCOL_CONTROL_BYTES_MAX = 2 * (6 << 20) + (64 << 10),
    PROTOCOL_DEPTH_MAX = 8,           /* of the frame itself; details have EVENT_DEPTH_MAX */
    PUBLISH_WINDOW_BATCHES_MAX = 16,  /* credit: batches a producer may have unanswered */
    NEXT_EVENTS_MAX = 10000,
    NEXT_OUTPUT_BYTES_MAX = 64 << 10,
    ATTACH_CONSUMER_BYTES_MAX = 128,  /* letters, digits and any of . _ - @ : / + */
    ATTACH_CONCURRENCY_MAX = 10000,
};
/* Environment of a native instance that the daemon started: where to dial, and who it is. Of one that attaches: URL, TOKEN_FILE and FUNCTION,
 * and if wanted CONSUMER and CONCURRENCY. */
#define SLUICE_ENV_BUS "SLUICE_BUS"
#define SLUICE_ENV_INSTANCE "SLUICE_INSTANCE"
#define SLUICE_ENV_URL "SLUICE_URL"
#define SLUICE_ENV_FUNCTION "SLUICE_FUNCTION"
#define SLUICE_ENV_TOKEN_FILE "SLUICE_TOKEN_FILE"
#define SLUICE_ENV_CONSUMER "SLUICE_CONSUMER"
#define SLUICE_ENV_CONCURRENCY "SLUICE_CONCURRENCY"
#define SLUICE_ENV_BATCH_SIZE "SLUICE_BATCH_SIZE"

#endif
