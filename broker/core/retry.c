#include "broker/core/retry.h"

#include "broker/base/assert.h"

uint64_t chance_next(struct chance *chance)
{
    uint64_t x = chance->state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

int64_t retry_delay_ms(unsigned failed, int64_t min_ms, int64_t max_ms, struct chance *chance)
{
    ASSERT(failed >= 1);
    int64_t delay = min_ms;
    for (unsigned i = 1; i < failed && delay < max_ms; i++)
        delay *= 2;
    if (delay > max_ms)
        delay = max_ms;
    if (delay <= 1)
        return delay;
    return delay / 2 + (int64_t)(chance_next(chance) % (uint64_t)(delay - delay / 2 + 1));
}
