/* The same walk for processors that count and find bits in one instruction, which all with AVX2 do: CMakeLists.txt has this file
 * compiled for them. */
#if defined(__x86_64__)
#define WALK_JSON walk_json_vector
#include "broker/core/walk_json.c" /* NOLINT(bugprone-suspicious-include): the same source, compiled for another processor */
#else
typedef int walk_json_vector_is_for_x86; /* a file must declare something */
#endif
