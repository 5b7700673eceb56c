/* route_path.h - paths of HTTP routes: "/orders/{id}/{rest+}". A {name} is one segment, a {name+} at the end one or more. Pure.
 *
 * Of several that match a path the most specific is meant: from the left, a literal segment goes before a {name}, which goes before a {name+}.
 * In a list sorted by route_path_compare() that is the first that matches. */
#ifndef SLUICE_CORE_ROUTE_PATH_H
#define SLUICE_CORE_ROUTE_PATH_H

#include "schemas/codec/view.h"
#include "sluice/error.h"

enum { ROUTE_PATH_BYTES_MAX = 1024, ROUTE_SEGMENTS_MAX = 32, ROUTE_PARAMETERS_MAX = 16 };

/* SLUICE_EINVAL: what is wrong with it. */
enum sluice_err route_path_check(const char *pattern, struct sluice_error *reterr);

struct route_parameter {
    struct view name, value;             /* value: as it stands in the path, percent-encoded */
};
/* `path` as it came, percent-encoded; `pattern` has passed the check. */
bool route_path_match(const char *pattern, struct view path, struct route_parameter ret_parameters[ROUTE_PARAMETERS_MAX], unsigned *ret_count);
/* < 0: `a` is to be tried first. 0: both match the same paths. */
int route_path_compare(const char *a, const char *b);

#endif
