/* matchers.h - the rules of rules.h as the engine has them and as the oracle has them, for targets that compare the two. */
#ifndef SLUICE_TESTS_FUZZ_MATCHERS_H
#define SLUICE_TESTS_FUZZ_MATCHERS_H

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rules.h"
#include "tests/oracle/oracle.h"

static struct match_set *set;
static struct match_scratch *scratch;
static struct oracle_set *oracle;
static struct oracle_scratch *oracle_scratch;

/* At the first input; they live as long as the process. */
static inline void matchers_make_once(void)
{
    struct match_rule rules[FUZZ_RULES];

    if (set != NULL)
        return;
    fuzz_rules(rules);
    scratch = match_scratch_new();
    oracle_scratch = oracle_scratch_new();
    MUST(match_set_new(rules, FUZZ_RULES, &set, NULL, NULL) == SLUICE_OK);
    MUST(oracle_set_new(rules, FUZZ_RULES, &oracle, NULL, NULL) == SLUICE_OK);
}

#endif
