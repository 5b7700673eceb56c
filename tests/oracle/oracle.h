/* oracle.h - the plain matcher: rules tried one by one, each alternative against each value. It is what the engine of
 * broker/core must agree with, event by event; the two share only the reading of patterns and of single values. The calls are
 * those of broker/core/match.h, which says what they mean. */
#ifndef SLUICE_ORACLE_H
#define SLUICE_ORACLE_H

#include "broker/core/match.h"

struct oracle_set;
struct oracle_scratch;

enum sluice_err oracle_set_new(const struct match_rule *rules, size_t rules_count, struct oracle_set **ret_set,
                               size_t *ret_rule, struct sluice_error *reterr);
struct oracle_set *oracle_set_free(struct oracle_set *set);
struct oracle_scratch *oracle_scratch_new(void);
struct oracle_scratch *oracle_scratch_free(struct oracle_scratch *scratch);

enum sluice_err oracle_event(const struct oracle_set *set, struct oracle_scratch *scratch, const struct event *event,
                             const uint32_t **ret_ids, size_t *ret_count);
enum sluice_err oracle_json(const struct oracle_set *set, struct oracle_scratch *scratch, struct view object,
                            const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr);
enum sluice_err oracle_mpack(const struct oracle_set *set, struct oracle_scratch *scratch, struct view map,
                             const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr);

#endif
