/* Stand-ins for the pattern compiler and the input path reader, until they are there. */
#include "broker/core/input.h"
#include "broker/core/match.h"
#include "schemas/codec/json.h"

enum sluice_err pattern_check(struct view pattern, size_t *ret_offset, struct sluice_error *reterr)
{
    enum sluice_err err = json_check(pattern, JSON_OBJECT, PATTERN_DEPTH_MAX, reterr);
    const char *bad = memmem(pattern.data, pattern.len, "\"BAD\"", 5);

    if (err != SLUICE_OK || bad == NULL)
        return err;
    *ret_offset = (size_t)(bad - pattern.data);
    return sluice_fail(reterr, SLUICE_EINVAL, "a bad word");
}

enum sluice_err input_path_check(struct view path, struct sluice_error *reterr)
{
    return path.data[0] == '$' ? SLUICE_OK : sluice_fail(reterr, SLUICE_EINVAL, "a path begins with $");
}
