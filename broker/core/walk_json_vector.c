/* The same walk for processors that count and find bits in one instruction: all that have AVX2. */
#if defined(__x86_64__)
#pragma GCC target("popcnt,bmi,bmi2,lzcnt")
#define WALK_JSON walk_json_vector
#include "broker/core/walk_json.c"
#else
typedef int walk_json_vector_is_for_x86; /* a file must declare something */
#endif
