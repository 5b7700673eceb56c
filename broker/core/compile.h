/* compile.h - rules to an image. Rules are added one by one; then the whole is laid out. Between the two nothing points into the
 * patterns, so their memory is the caller's again after each compile_add(). */
#ifndef SLUICE_CORE_COMPILE_H
#define SLUICE_CORE_COMPILE_H

#include "broker/core/match.h"

struct compile;

struct compile *compile_new(size_t rules_count);            /* a guess that saves growing; owned */
struct compile *compile_free(struct compile *compile);      /* NULL is fine; returns NULL */
/* SLUICE_EINVAL: the pattern is wrong. SLUICE_ELIMIT: over MATCH_CONJUNCTIONS_MAX. Ids come ascending. */
enum sluice_err compile_add(struct compile *compile, const struct match_rule *rule, struct sluice_error *reterr);
/* The fingerprint of rules before `rule` goes on to that with it; it begins as 0. */
uint64_t compile_fingerprint(uint64_t before, const struct match_rule *rule);
/* The image as one block for free(). SLUICE_ELIMIT: over MATCH_PRICE_MAX or 4 GiB; SLUICE_ENOMEM. */
enum sluice_err compile_finish(struct compile *compile, void **ret_base, size_t *ret_bytes, struct sluice_error *reterr);

#endif
