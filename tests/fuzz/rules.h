/* rules.h - rules of every operator over a few names, for targets that need a rule set rather than a pattern. */
#ifndef SLUICE_TESTS_FUZZ_RULES_H
#define SLUICE_TESTS_FUZZ_RULES_H

#include "broker/core/match.h"

static const char *const fuzz_patterns[] = {
    "{\"a\":[\"x\"]}", "{\"a\":[1,2.50,-3e7]}", "{\"a\":[true,null]}", "{\"a\":[{\"prefix\":\"ab\"}]}", "{\"a\":[{\"suffix\":\"yz\"}]}",
    "{\"a\":[{\"equals-ignore-case\":\"\\u00c9t\"}]}", "{\"a\":[{\"prefix\":{\"equals-ignore-case\":\"aB\"}}]}",
    "{\"a\":[{\"suffix\":{\"equals-ignore-case\":\"yZ\"}}]}", "{\"a\":[{\"wildcard\":\"a*z\"},{\"wildcard\":\"*bc*d*\"},{\"wildcard\":\"*q*r*\"}]}",
    "{\"a\":[{\"numeric\":[\">\",0,\"<=\",2.5]}]}", "{\"a\":[{\"numeric\":[\"<\",-122.41600944012424]}]}", "{\"a\":[9007199254740993]}",
    "{\"a\":[{\"cidr\":\"10.0.0.0/8\"},{\"cidr\":\"2001:db8::/32\"}]}", "{\"a\":[\"10.1.2.3\",\"::1\"]}", "{\"a\":[{\"exists\":true}]}",
    "{\"a\":[{\"exists\":false}]}", "{\"a\":[{\"anything-but\":[\"x\",\"y\"]}]}", "{\"a\":[{\"anything-but\":[1,2]}]}",
    "{\"a\":[{\"anything-but\":{\"prefix\":\"a\"}}]}", "{\"a\":[{\"anything-but\":{\"wildcard\":\"*b*\"}}]}", "{\"a\":[{\"wildcard\":\"*\"}]}",
    "{\"a\":[\"x\"],\"b\":[\"y\"]}", "{\"l\":{\"a\":[1],\"b\":[2]}}", "{\"l\":{\"a\":[1],\"b\":[{\"exists\":false}]}}",
    "{\"l\":{\"m\":{\"a\":[1],\"b\":[2]},\"z\":[3]}}", "{\"l.a\":[1],\"l\":[7]}", "{\"$or\":[{\"a\":[\"x\"]},{\"l\":{\"b\":[2],\"c\":[{\"anything-but\":[4]}]}}]}",
    "{\"a.b.c\":[\"deep\"]}", "{\"abcdefghijklmnopqrstuvwxyz\":[\"long name\"]}", "{\"a\":[\"abcdefghijklmnopqrstuvwxyz\"]}",
    "{\"detail\":{\"a\":[\"x\"],\"l\":{\"a\":[1],\"b\":[2]}}}", "{\"source\":[\"s\"],\"detail\":{\"a\":[{\"exists\":true}]}}",
};
enum { FUZZ_RULES = sizeof fuzz_patterns / sizeof fuzz_patterns[0] };

static inline void fuzz_rules(struct match_rule rules[FUZZ_RULES])
{
    for (uint32_t i = 0; i < FUZZ_RULES; i++)
        rules[i] = (struct match_rule){ .pattern = view_of(fuzz_patterns[i]), .id = i };
}

#endif
