/* control_usage.c - what a function cost, day by day. */
#include "broker/daemon/control_internal.h"

static json_t *usage_row(int32_t day, const struct usage_sums *sums)
{
    char text[USAGE_DAY_TEXT];

    usage_day_text(day, text);
    json_t *row = json_pack("{s:s,s:I,s:I,s:f,s:I,s:f,s:I,s:I,s:f}", "day", text, "invocations", (json_int_t)sums->invocations, "failures",
                            (json_int_t)sums->failures, "duration_ms", (double)sums->duration_us / 1000, "billed_ms",
                            (json_int_t)((sums->billed_us + 999) / 1000), "gb_seconds", (double)sums->memory_mib_us / (1024. * 1000000),
                            "memory_peak_bytes", (json_int_t)sums->memory_peak_bytes, "cold_starts", (json_int_t)sums->cold_starts,
                            "init_ms", (double)sums->init_us / 1000);
    ASSERT(row != NULL);
    return row;
}

json_t *control_usage(const struct call *call, const char *function)
{
    const struct usage *usage = invocations_usage(call->control->broker->invocations);
    int32_t today = usage_day(call->now.wall_ms);
    json_int_t days = call_number(call, "days");
    json_t *rows = json_array();

    for (int32_t day = today; day > today - days; day--) {
        struct usage_sums sums;
        if (usage_of(usage, function, day, &sums))
            (void)json_array_append_new(rows, usage_row(day, &sums));
    }
    return rows;
}
