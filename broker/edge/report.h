/* report.h - what the daemon writes into a function's log around its inits and invocations, as Lambda does.
 *
 *   INIT_START Runtime Version: nodejs:sluice.v1.2.3\tRuntime Version ARN: arn:aws:lambda:...
 *   START RequestId: ID Version: $LATEST
 *   ... what the function prints ...
 *   END RequestId: ID
 *   REPORT RequestId: ID\tDuration: 2.90 ms\tBilled Duration: 3 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tInit Duration: 120.11 ms\t
 *
 * Behind them, after a failure, `Status: error\tError Type: T\t` or `Status: timeout\t`; before the END of one that took too long stands
 *   2026-11-22T11:34:00.000Z ID Task timed out after 3.00 seconds
 * MB are 2^20 bytes, as Lambda's.
 * Billed is the duration, but for what others beside it are billed for, and the init of a cold start, rounded up to a millisecond. A function without a limit has as its memory size
 * what it used (a Lambda function 128 MB, which is what it is told that it has). For every protocol alike; which of them says it by default is the configuration's (`log.report`).
 *
 * INIT_START and what an init that failed or took too long is told by are protocol lambda's:
 *   INIT_REPORT Init Duration: 9999.81 ms\tPhase: init\tStatus: timeout
 *   INIT_REPORT Init Duration: 81.04 ms\tPhase: invoke\tStatus: error\tError Type: Runtime.ExitError      (repeated for an invocation: without another INIT_START)
 *
 * With `log.format: json` each is a line {"time":...,"type":"platform.initStart | start | report | initReport","record":{...}} (platform_record.h); END
 * and what timed out have none. */
#ifndef SLUICE_EDGE_REPORT_H
#define SLUICE_EDGE_REPORT_H

#include "broker/core/config.h"
#include "broker/edge/capture.h"
#include "schemas/codec/ids.h"

enum { ERROR_TYPE_BYTES_MAX = 128 };

enum report_status { REPORT_SUCCESS, REPORT_ERROR, REPORT_TIMEOUT };

struct report {
    const char *request_id;          /* UUID text */
    int64_t duration_us;
    int64_t billed_us;               /* without the init; less than the duration where others ran beside it in its process */
    int64_t init_us;                 /* of the cold start that came before it; -1: it was warm */
    int64_t memory_limit_bytes;      /* 0: none */
    int64_t memory_used_bytes;       /* 0: not known */
    enum report_status status;
    struct view error_type;          /* with REPORT_ERROR */
    int64_t timeout_ms;              /* with REPORT_TIMEOUT: what it had */
};

int64_t report_billed_ms(const struct report *report);
int64_t report_memory_size_mib(const struct report *report); /* at least 1 */
int64_t report_memory_used_mib(const struct report *report); /* rounded up */
/* (Runtime|Function)\.[A-Z][a-zA-Z]+, of at most ERROR_TYPE_BYTES_MAX bytes. */
bool report_error_is_known(struct view type);
/* The type of an error as Lambda's logs show it: Runtime.Name and Function.Name as they are, others as *.Unknown. */
struct view report_error_type(struct view type);
/* The REPORT line, without a line break. */
void report_put(const struct report *report, struct bytes *out);

/* An init of protocol lambda. */
struct report_init {
    const char *function;
    enum function_runtime runtime;
    bool provisioned;                /* to keep scale.min */
    bool again;                      /* one has failed: it is repeated for the invocation that waits */
};
struct report_init_end {             /* of one that failed, or took too long */
    enum report_status status;       /* ERROR or TIMEOUT */
    struct view error_type;          /* with ERROR */
    int64_t duration_us;
};
const char *report_phase(const struct report_init *init); /* "init"; "invoke": again */

/* Where the lines go. `text`: what was written last, until the next is; the caller's, so that the many need no memory of their own. */
struct report_log {
    struct capture *capture;
    uint64_t instance;
    enum log_format format;
    struct bytes *text;
};
void report_init_start(const struct report_log *log, const struct report_init *init);
void report_init_failed(const struct report_log *log, const struct report_init *init, const struct report_init_end *end);
void report_begin(const struct report_log *log, const char *request_id);
void report_end(const struct report_log *log, const struct report *report);

/* The lines of INIT_REPORT; START; END and REPORT, and that it timed out (report NULL: END alone); each with its line break, appended. */
void report_put_init_failed(struct bytes *out, enum log_format format, const struct report_init *init, const struct report_init_end *end);
void report_put_begin(struct bytes *out, enum log_format format, const char *request_id, int64_t wall_ms);
void report_put_end(struct bytes *out, enum log_format format, const char *request_id, const struct report *report);

#endif
