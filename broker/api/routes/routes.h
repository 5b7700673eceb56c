/* routes.h - function URLs and the routes of the configuration. For api.c alone. */
#ifndef SLUICE_API_ROUTES_ROUTES_H
#define SLUICE_API_ROUTES_ROUTES_H

#include "broker/api/api_internal.h"

/* Host NAME.lambda-url.*: the function's own. false: another Host. */
bool routes_host_head(struct call *call);
/* /url/NAME/..., or a route. false: there is none. */
bool routes_path_head(struct call *call);
struct stream;
void stream_free(struct stream *stream);     /* NULL is fine */

#endif
