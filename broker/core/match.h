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

    /* Array consistency on hostile events: one path that leads to several arrays (names given twice or written with dots)
     * can make their items multiply. An ordinary event of 1 MiB stays below a quarter of the steps. */
    MATCH_STEPS_MAX = 1 << 22,      /* values looked at for one rule */
    MATCH_STATE_ITEMS_MAX = 6,      /* independent arrays behind one path, in one match */

    MATCH_RULES_MAX = 1000000,
    MATCH_CONJUNCTIONS_MAX = 4000000, /* $or combinations of all rules together */
    MATCH_PRICE_MAX = 4000000,      /* rules that one event with one value per path may make the engine look at: some 20 ms */
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

/* Owned by the caller; patterns are copied as needed. SLUICE_EINVAL: a pattern is wrong (ret_rule: its index; may be NULL);
 * SLUICE_ELIMIT: the set costs more than the engine promises to serve; SLUICE_ENOMEM. */
enum sluice_err match_set_new(const struct match_rule *rules, size_t rules_count, struct match_set **ret_set,
                              size_t *ret_rule, struct sluice_error *reterr);
struct match_set *match_set_free(struct match_set *set); /* NULL is fine; returns NULL */
size_t match_set_bytes(const struct match_set *set);     /* held from the system */

struct match_scratch *match_scratch_new(void); /* owned; grows as sets and events need; NULL: out of memory */
struct match_scratch *match_scratch_free(struct match_scratch *scratch);

/* The ids of all rules that `event` satisfies, each once, ascending, in scratch until the next call. `event` has passed the door:
 * its detail was checked. The fields absent from it count as EventBridge fills them in (version "0", default account and region,
 * time as RFC 3339 with whole seconds, resources [], id as text). SLUICE_ELIMIT: over MATCH_STEPS_MAX or
 * MATCH_STATE_ITEMS_MAX, no answer; such an event can never be matched and is to be refused. */
enum sluice_err match_event(const struct match_set *set, struct match_scratch *scratch, const struct event *event,
                            const uint32_t **ret_ids, size_t *ret_count);
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
