/* usage.h - what functions cost: sums for each function and day (UTC).
 *
 *   DATA/usage/2026-11-22.tsv       one line a function that ran on that day:
 *   NAME TAB invocations TAB failures TAB duration_us TAB billed_us TAB memory_mib_us TAB memory_peak_bytes TAB cold_starts TAB init_us
 *
 * The present day is in memory, other days in their files only. A file is written whole, beside the old one, synced, and put in its
 * place, so that it is always of one moment. That happens at most every USAGE_SAVE_MS: this is accounting, not a promise, and a crash
 * loses the last seconds of it. USAGE_DAYS_KEPT days are kept.
 * An invocation is booked on the day on which it ended. A clock that goes back books on the day of that clock again, but not before
 * what is being saved is saved.
 * The loop thread owns all but what a save needs while it runs: usage_save_work() may be on another. */
#ifndef SLUICE_EDGE_USAGE_H
#define SLUICE_EDGE_USAGE_H

#include "schemas/codec/view.h"
#include "sluice/error.h"

enum { USAGE_SAVE_MS = 5000, USAGE_DAYS_KEPT = 400, USAGE_DAY_TEXT = 11 };

struct usage_sums {
    uint64_t invocations, failures;
    uint64_t duration_us, billed_us;
    uint64_t memory_mib_us;          /* billed time times memory size: GB-seconds = this / 1024 / 1,000,000 */
    uint64_t memory_peak_bytes;      /* the most of one invocation */
    uint64_t cold_starts, init_us;
};
void usage_sum(struct usage_sums *sums, const struct usage_sums *more);

struct usage;
/* Makes DATA/usage, reads the day of `wall_ms`, removes what is too old. */
enum sluice_err usage_open(const char *data, int64_t wall_ms, struct usage **ret_usage, struct sluice_error *reterr);
void usage_free(struct usage *usage);                        /* NULL is fine; saves nothing */

/* The number of a function from here on. */
uint32_t usage_function(struct usage *usage, const char *name);
const char *usage_function_name(const struct usage *usage, uint32_t function);
void usage_add(struct usage *usage, uint32_t function, int64_t wall_ms, const struct usage_sums *sums);

/* Whether there is something that the disk does not have. */
bool usage_unsaved(const struct usage *usage);
/* Takes what is to be saved: then usage_save_work() writes it, touching nothing else, and usage_save_done() ends it. Until then
 * no other may begin. False: nothing to save. */
bool usage_save_begin(struct usage *usage);
void usage_save_work(struct usage *usage);
enum sluice_err usage_save_done(struct usage *usage, struct sluice_error *reterr); /* on an error it stays unsaved */

/* Days since 1970. */
int32_t usage_day(int64_t wall_ms);
void usage_day_text(int32_t day, char ret_text[USAGE_DAY_TEXT]); /* "2026-11-22" */
/* What a function did on a day; false: nothing. Other days than the present are read from their files. */
bool usage_of(const struct usage *usage, const char *name, int32_t day, struct usage_sums *ret_sums);

#endif
