/* generator.h - random patterns and events that meet often: few names, few values. The same seed gives the same text. */
#ifndef SLUICE_TESTS_GENERATOR_H
#define SLUICE_TESTS_GENERATOR_H

#include "schemas/codec/bytes.h"

struct generator {
    uint64_t state;
};

uint64_t generator_next(struct generator *generator, uint64_t below);

/* Appends one of each. The whole language; events with names given twice and written with dots. */
void generate_pattern(struct generator *generator, struct bytes *out);
void generate_event(struct generator *generator, struct bytes *out);
/* Only what a plain model of array consistency understands: whole numbers and exists; no name twice, no dots. */
void generate_consistency_pattern(struct generator *generator, struct bytes *out);
void generate_consistency_event(struct generator *generator, struct bytes *out);

#endif
