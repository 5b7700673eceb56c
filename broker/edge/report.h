/* report.h - START, END and REPORT: what stands in a function's log around an invocation, as in Lambda's.
 *
 *   START RequestId: ID Version: $LATEST
 *   ... what the function prints ...
 *   END RequestId: ID
 *   REPORT RequestId: ID\tDuration: 2.90 ms\tBilled Duration: 3 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\tInit Duration: 120.11 ms\t
 *
 * Behind them, after a failure, `Status: error\tError Type: T\t` or `Status: timeout\t`. MB are 2^20 bytes, as Lambda's.
 * Billed is the duration, with the init of a cold start, rounded up to a millisecond. A function without a limit has as its memory size
 * what it used (a Lambda function 128 MB, which is what it is told that it has). For every protocol alike; which of them says it by default is the configuration's (`log.report`). */
#ifndef SLUICE_EDGE_REPORT_H
#define SLUICE_EDGE_REPORT_H

#include "broker/edge/capture.h"
#include "schemas/codec/ids.h"

enum { ERROR_TYPE_BYTES_MAX = 128 };

enum report_status { REPORT_SUCCESS, REPORT_ERROR, REPORT_TIMEOUT };

struct report {
    const char *request_id;          /* UUID text */
    int64_t duration_us;
    int64_t init_us;                 /* of the cold start that came before it; -1: it was warm */
    int64_t memory_limit_bytes;      /* 0: none */
    int64_t memory_used_bytes;       /* 0: not known */
    enum report_status status;
    struct view error_type;          /* with REPORT_ERROR */
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

void report_begin(struct capture *capture, uint64_t instance, const char *request_id);
/* Both lines; *ret_lines (what it held goes) has them, too, each with its line break. */
void report_end(struct capture *capture, uint64_t instance, const struct report *report, struct bytes *ret_lines);

#endif
