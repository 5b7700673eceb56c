/* routes.h - function URLs and the routes of the configuration. The first part is for api.c, the second for the files of routes/.
 *
 *   request ──target_find──> which function ──http_event_put──> payload 2.0 ──invocation──> result ──http_result_read──> response
 *
 * The payload is made here, the body inside it is the request's. A response is checked before a byte of it is sent: what would break HTTP
 * (a status that is none, a header with a line break) is the function's mistake, and 502. */
#ifndef SLUICE_API_ROUTES_ROUTES_H
#define SLUICE_API_ROUTES_ROUTES_H

#include "broker/api/api_internal.h"
#include "broker/core/route_path.h"

/* Host NAME.lambda-url.*: the function's own. false: another Host. */
bool routes_host_head(struct call *call);
/* /url/NAME/..., or a route. false: there is none. */
bool routes_path_head(struct call *call);
void web_free(struct web *web);              /* NULL is fine */

/* ---- for routes/ ---- */

enum {
    QUERY_PARAMETERS_MAX = 1000,             /* of one request; 400 */
    PRELUDE_BYTES_MAX = 16 << 10,            /* of a streamed response, as on AWS */
    PRELUDE_END_BYTES = 8,                   /* NULs */
};

/* Whom a request is for. Views into the request and the configuration: for the moment only. */
struct web_target {
    const struct config_route *route;        /* NULL: a function's URL */
    const char *function;
    const struct config_web *web;            /* the route's, or that of the function's URL */
    struct view raw_path;                    /* as the function sees it */
    struct route_parameter parameters[ROUTE_PARAMETERS_MAX];
    unsigned parameters_count;
};

/* What the answer needs of the request and its route or URL: the configuration itself may be gone by then. */
struct web {
    uint32_t function;                       /* that is asked */
    bool cors;                               /* the configuration's, not the function's, headers for browsers */
    bool streaming, begun;                   /* a streamed response: comes; its head was sent */
    char trace_id[TRACE_ID_LEN + 1];         /* where it is made when the request has none */
    struct bytes fields;                     /* name NUL value LF, of `cors` */
    struct bytes prelude;                    /* of a streamed response, until it is whole */
};

/* http_event.c */
/* The payload, format 2.0, appended. false: refused, answered. */
bool http_event_put(struct call *call, const struct web_target *target, struct bytes *out);

/* http_result.c: a function's result as a response. Views into result and `texts`. */
struct http_result {
    unsigned status;
    struct answer answer;                    /* with content-type; without those of `cors` */
    struct view body;
    struct bytes texts;
};
/* The whole result: format 2.0, an inferred response, or a prelude with its body. false: it is none; *reterr says why. */
bool http_result_read(struct http_result *ret_result, struct view result, const struct web *web, struct sluice_error *reterr);
/* Only {"statusCode", "headers", "cookies"}. */
bool http_result_read_prelude(struct http_result *ret_result, struct view prelude, const struct web *web, struct sluice_error *reterr);
void http_result_done(struct http_result *result);

/* cors.c */
/* Notes in web->fields what the answer to this request is to say. */
void cors_note(struct call *call, const struct config_cors *cors, struct web *web);
void cors_put(const struct web *web, struct answer *answer);
bool cors_is_preflight(const struct call *call);
void cors_preflight(struct call *call, const struct config_cors *cors);

#endif
