/* platform_record.h - what AWS tells of an instance's life, as JSON: the `record` of each type `platform.*`. The Telemetry API sends them to whoever
 * subscribed (api/runtime); with `log.format: json` they stand in the function's log (report.h). Each call appends one object. */
#ifndef SLUICE_EDGE_PLATFORM_RECORD_H
#define SLUICE_EDGE_PLATFORM_RECORD_H

#include "broker/core/config.h"
#include "broker/edge/report.h"
#include "schemas/codec/bytes.h"

enum { RUNTIME_VERSION_BYTES_MAX = 64, RUNTIME_ARN_BYTES_MAX = 128 };

/* "nodejs:sluice.v1.2.3", for AWS's "nodejs:20.v15": which of our bootstraps runs it. */
struct runtime_version { char text[RUNTIME_VERSION_BYTES_MAX], arn[RUNTIME_ARN_BYTES_MAX]; };
struct runtime_version runtime_version(enum function_runtime runtime);

void platform_record_init_start(struct bytes *out, const struct report_init *init);
/* status "success", "error" or "timeout"; error_type may be empty. */
void platform_record_init_report(struct bytes *out, const struct report_init *init, const char *status, struct view error_type, int64_t duration_us);
void platform_record_start(struct bytes *out, struct view request_id, struct view trace_id); /* trace_id may be empty */
void platform_record_report(struct bytes *out, const struct report *report);

/* The parts that other records have, too. */
const char *platform_initialization_type(bool provisioned);
void platform_put_tracing(struct bytes *out, struct view trace_id);     /* with a comma before it */
void platform_put_ms(struct bytes *out, const char *name, int64_t us);  /* "name":2.345 */

#endif
