/* input.h - what a function gets for an event: the target's input (path, constant), else the function's `input` shape.
 * Templates, which can fail for an event, are in template.h. */
#ifndef SLUICE_CORE_INPUT_H
#define SLUICE_CORE_INPUT_H

#include "broker/core/config.h"

enum { INPUT_PATH_BYTES_MAX = 256 }; /* as EventBridge */

/* EventBridge's JSONPath subset: $, $.a.b, $.a[0], $['a b']; no filters or wildcards. SLUICE_EINVAL with the place. */
enum sluice_err input_path_check(struct view path, struct sluice_error *reterr);
/* The value at a checked `path` of checked `json`; absent: there is none. */
struct view input_find(struct view json, struct view path);
/* Appends one line of JSON without its line break. PATH: the value at the path of the EventBridge envelope; a path that finds
 * nothing gives null, as EventBridge hands on. Not for TEMPLATE: the engine makes that one, with the lease. SLUICE_ENOMEM. */
enum sluice_err input_make(enum target_input input, struct view text, enum event_shape shape, const struct event *event,
                           struct bytes *out);

#endif
