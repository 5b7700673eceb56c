/* control_bodies.h - the two small JSON bodies that extensions send, as data: to register, and to subscribe to telemetry. */
#ifndef SLUICE_API_RUNTIME_CONTROL_BODIES_H
#define SLUICE_API_RUNTIME_CONTROL_BODIES_H

#include "broker/api/runtime/post.h"
#include "sluice/error.h"

enum extension_event { HEARS_INVOKE = 1, HEARS_SHUTDOWN = 2 };
/* *ret_hears: or-ed. `"events": null` asks for none. SLUICE_EPROTO: the body is of another form; SLUICE_EINVAL: an event that there is not. */
enum sluice_err registration_parse(struct view body, unsigned *ret_hears, struct sluice_error *reterr);

enum telemetry_type { TELEMETRY_PLATFORM = 1, TELEMETRY_FUNCTION = 2, TELEMETRY_EXTENSION = 4 };

struct subscription {
    unsigned types;                          /* enum telemetry_type, or-ed */
    bool logs;                               /* by the Logs API, which came before */
    bool runtime_done;                       /* of it, from schemaVersion 2021-03-18 on */
    bool tcp;                                /* lines of JSON; else JSON arrays, POSTed */
    uint16_t port;
    char path[POST_PATH_BYTES_MAX + 1];      /* of HTTP */
    unsigned items_max, bytes_max, timeout_ms;
};

/* SLUICE_EINVAL: the body is no subscription, or asks for another host than this one: the reason. */
enum sluice_err subscription_parse(struct view body, bool logs, struct subscription *ret_subscription, struct sluice_error *reterr);

#endif
