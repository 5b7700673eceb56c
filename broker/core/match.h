/* match.h - which rules an event satisfies. The semantics are EventBridge's (broker/core/README.md lists every case
 * in which we differ from the reference engine, and why).
 *
 * A rule set is compiled once and never changes; compile a new one and swap the pointer. Matching is a pure function of
 * (rule set, event) with the caller's scratch as its only memory, so any thread may do it with a scratch of its own. */
#ifndef SLUICE_CORE_MATCH_H
#define SLUICE_CORE_MATCH_H

#include "schemas/codec/envelope.h"

enum {
    PATTERN_DEPTH_MAX = 128,
    PATTERN_BYTES_MAX = 1 << 20,
    PATTERN_FIELDS_MAX = 256,       /* distinct paths in one pattern */
    PATTERN_BRANCHES_MAX = 1000,    /* $or combinations of one pattern */

    /* What one event may cost, however hostile, over the pass over its bytes: *steps*, each a few nanoseconds: a rule, predicate or array item
     * looked at is one, a value three, a lookup of it four, four bytes compared with a wildcard one (evaluate.c has them all); some 100 ms of them. They are few where values are few; what makes them many is
     * large arrays on many rules that share them, long texts on many wildcards, and names given twice, by which the items of arrays
     * multiply. An ordinary event of 1 MiB takes less than an eighth of them for each rule that has to join its items. */
    MATCH_STEPS_MAX = 1 << 24,
    MATCH_ITEMS_USUAL = 100,        /* a set in which an event with arrays of so many items could pass MATCH_STEPS_MAX is refused when it is put */
    MATCH_STATE_ITEMS_MAX = 6,      /* independent arrays behind one path, in one match */

    MATCH_BATCH_MAX = 16,           /* events in one call */
    MATCH_RULES_MAX = 1000000,
    MATCH_DELTA_MAX = 512,          /* rules put by match_set_update() since the set was made whole */
    MATCH_CONJUNCTIONS_MAX = 4000000, /* $or combinations of all rules together */
    MATCH_PRICE_MAX = 2000000,      /* rules that one event with one value per path may make the engine look at: some 10 ms */
};

/* Compiles `pattern` alone, for the check at `config check` and `rule test`. SLUICE_EINVAL: the reason, the place as a path
 * ("at detail.size[1]") and as line:column of the pattern text. ret_offset (may be NULL): byte offset of the mistake. */
enum sluice_err pattern_check(struct view pattern, size_t *ret_offset, struct sluice_error *reterr);

struct match_rule {
    struct view pattern; /* JSON text */
    uint32_t id;         /* what match_event() answers with; unique in the set */
};

struct match_set;
struct match_scratch;

/* Owned by the caller; nothing of the patterns is kept. Pure, so that it may run on any thread. SLUICE_EINVAL: a pattern is wrong
 * (ret_rule: its index; may be NULL); SLUICE_ELIMIT: over MATCH_RULES_MAX, MATCH_CONJUNCTIONS_MAX, MATCH_PRICE_MAX
 * or, at MATCH_ITEMS_USUAL, MATCH_STEPS_MAX, and the text says by what price; SLUICE_ENOMEM. */
enum sluice_err match_set_new(const struct match_rule *rules, size_t rules_count, struct match_set **ret_set,
                              size_t *ret_rule, struct sluice_error *reterr);
struct match_set *match_set_free(struct match_set *set); /* NULL is fine; returns NULL */
/* One more owner of the set, on any thread: it goes with the last match_set_free(). Returns `set`. */
struct match_set *match_set_share(struct match_set *set);

/* A set that differs from `set` by a few rules, in less than a millisecond however many rules there are: `put` are added or take the
 * place of those with the same ids, `removed` go. Both sets share what did not change, and either may be freed first; so publish the new
 * one by swapping a pointer and free the old one when no event is at it any more. Changes add up to MATCH_DELTA_MAX rules put since
 * match_set_new(), and every event pays for a second, small set while there are any: past a part of the limit, have a thread make the
 * whole anew with match_set_new(), then update that with what changed in the meantime, and swap.
 * SLUICE_ELIMIT: over MATCH_DELTA_MAX, or both parts together over MATCH_PRICE_MAX; SLUICE_ENOTFOUND: there is no such rule to remove; SLUICE_EINVAL as above. */
enum sluice_err match_set_update(const struct match_set *set, const struct match_rule *put, size_t put_count, const uint32_t *removed,
                                 size_t removed_count, struct match_set **ret_set, struct sluice_error *reterr);

/* The set as bytes for a file, valid as long as the set. A set that was updated has none: SLUICE_EINVAL. */
enum sluice_err match_set_image(struct match_set *set, struct view *ret_image, struct sluice_error *reterr);
/* A set from such bytes, 16-byte aligned, in place: they may be mapped from a file, and must stay as they are until release(ctx) is
 * called. SLUICE_ECORRUPT: damaged, from elsewhere or made to harm; the bytes remain the caller's. */
enum sluice_err match_set_open(struct view image, void (*release)(void *ctx), void *ctx, struct match_set **ret_set,
                               struct sluice_error *reterr);
/* Of which rules a saved set was made: equal for the same ids with the same pattern texts, in ascending order of ids. */
uint64_t match_set_fingerprint(const struct match_set *set);
uint64_t match_rules_fingerprint(const struct match_rule *rules, size_t rules_count);

struct match_cost {
    size_t rules, conjunctions;     /* $or multiplied out */
    size_t predicates, paths;       /* distinct */
    size_t bytes, text_bytes;       /* of memory; and of it, for operands and names */
    uint64_t price;                 /* rules that one event may make the engine look at; MATCH_PRICE_MAX is the limit */
    uint64_t join_steps;            /* what one with arrays of MATCH_ITEMS_USUAL items may cost besides; MATCH_STEPS_MAX is the limit */
    size_t changes;                 /* put or removed since the set was made whole */
};
struct match_cost match_set_cost(const struct match_set *set);

struct match_scratch *match_scratch_new(void); /* owned; grows as sets and events need; NULL: out of memory */
struct match_scratch *match_scratch_free(struct match_scratch *scratch);

/* The ids of all rules that `event` satisfies, each once, ascending, in scratch until the next call. `event` has passed the door:
 * its detail was checked. The fields absent from it count as EventBridge fills them in (version "0", default account and region,
 * time as RFC 3339 with whole seconds, resources [], id as text). SLUICE_ELIMIT: over MATCH_STEPS_MAX or
 * MATCH_STATE_ITEMS_MAX, no answer; such an event can never be matched and is to be refused. */
enum sluice_err match_event(const struct match_set *set, struct match_scratch *scratch, const struct event *event,
                            const uint32_t **ret_ids, size_t *ret_count);
/* match_event() for `count` events, up to MATCH_BATCH_MAX, which on a large set takes half the time: memory is waited for once for all. The
 * ids of events[i] are ret_ids[ret_answers[i].first ...], in scratch until the next call. */
struct match_answer {
    enum sluice_err err;         /* SLUICE_OK, or SLUICE_ELIMIT as above */
    size_t first, count;
};
void match_events(const struct match_set *set, struct match_scratch *scratch, const struct event *const *events, size_t count,
                  struct match_answer *ret_answers, const uint32_t **ret_ids);
/* The same for the texts of JSON objects that have passed json_check(). */
void match_json_batch(const struct match_set *set, struct match_scratch *scratch, const struct view *objects, size_t count,
                      struct match_answer *ret_answers, const uint32_t **ret_ids);
/* The same for any JSON object, strictly checked: no field is required. SLUICE_EINVAL: not a JSON object; the reason.
 * SLUICE_ELIMIT as above. */
enum sluice_err match_json(const struct match_set *set, struct match_scratch *scratch, struct view object,
                           const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr);
/* The same for text that has passed json_check(). */
enum sluice_err match_json_checked(const struct match_set *set, struct match_scratch *scratch, struct view object,
                                   const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr);
/* The same for a MessagePack map (mpack_check_detail's rules); for tests: JSON and MessagePack must agree. */
enum sluice_err match_mpack(const struct match_set *set, struct match_scratch *scratch, struct view map,
                            const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr);

#endif
