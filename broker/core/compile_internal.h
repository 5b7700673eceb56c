/* compile_internal.h - what compile.c gathers from the rules and layout.c turns into an image. */
#ifndef SLUICE_CORE_COMPILE_INTERNAL_H
#define SLUICE_CORE_COMPILE_INTERNAL_H

#include "broker/base/arena.h"
#include "broker/base/vec.h"
#include "broker/core/compile.h"
#include "broker/core/decimal.h"
#include "broker/core/image.h"
#include "broker/core/paths.h"
#include "schemas/codec/bytes.h"

/* What a predicate asks of a value; the order is that of the operators of a path in an image. */
enum predicate_kind {
    KIND_TEXT, KIND_FOLD, KIND_PREFIX, KIND_FOLD_PREFIX, KIND_SUFFIX, KIND_FOLD_SUFFIX,
    KIND_ADDRESS, KIND_BLOCK, KIND_WILDCARD, KIND_ANY_STRING,
    KIND_NUMBER, KIND_NUMBER_TEXT, KIND_RANGE,
    KIND_TRUE, KIND_FALSE, KIND_NULL,
    KIND_EXISTS, KIND_ABSENT, KIND_BUT,
    KINDS
};

/* Operands as they stand in texts. */
struct number_operand {
    uint64_t digits;
    uint64_t power;           /* the exponent of ten in 32 bits, and above them the sign: hashed as it is written, in one word */
    double value;
};
static inline uint64_t number_power_of(const struct decimal *decimal)
{
    return (uint32_t)decimal->exponent | (uint64_t)decimal->negative << 32;
}
struct range_operand {
    double low, high;
    uint32_t low_included, high_included;
};

/* The hash comes first in everything that is kept once: index_find() relies on it. */
struct predicate {
    uint64_t hash;
    enum predicate_kind kind;
    uint32_t path, text;
    uint32_t field;           /* the field of this predicate alone, or IMAGE_NONE */
    uint32_t uses;            /* in fields of conjunctions */
    uint32_t but;             /* BUT: its number */
    uint32_t access, accesses_count;
    uint64_t join_steps;      /* of the conjunctions that have it as their access: what joining the items of usual arrays takes */
    uint32_t fails, fails_count;
    bool marked;
};

struct field {
    uint64_t hash;
    uint32_t predicates, predicates_count; /* in words */
    uint32_t path;
    uint32_t uses;
    uint64_t score;           /* about how often it is true: FIELD_CERTAIN is always */
    bool may_be_absent;
    bool judged;              /* in some remainder or join */
};

struct remainder {
    uint64_t hash;
    uint32_t fields, fields_count; /* in words */
};

struct conjunction {
    uint32_t rule;
    uint32_t fields, fields_count; /* in conjunction_fields */
    uint32_t join;            /* in words */
    uint32_t remainder;
    uint32_t access;          /* a field, or IMAGE_NONE: always looked at */
    bool bulk;                /* the rule is this, and this is one predicate that most events satisfy */
};

/* Texts that were chosen to fall into one place of a table would make each look go through them all. Rules with such are refused: in a table
 * three quarters full of a million ordinary texts the longest way is some 370 entries, in one of names, half full, some 70. */
enum { PROBES_MAX = 2048, CHILD_PROBES_MAX = 256 };
enum sluice_err compile_crowded(struct sluice_error *reterr);

struct index {
    uint32_t *slots;
    size_t capacity, count;   /* capacity: a power of two, at most half full */
    bool crowded;
};

struct compile {
    uint64_t fingerprint;     /* of the rules so far: match_rules_fingerprint() */
    struct arena *pattern;    /* the pattern at hand */
    struct arena *names;
    struct paths paths;
    struct bytes texts;
    struct bytes operand;     /* the one at hand */
    VEC(uint32_t) leaf_nodes; /* by path: the node where it ends */
    VEC(uint32_t) words;
    VEC(struct predicate) predicates;
    struct index predicate_index;
    VEC(struct image_but) buts;
    VEC(struct field) fields;
    struct index field_index;
    VEC(struct remainder) remainders;
    struct index remainder_index;
    VEC(struct conjunction) conjunctions;
    VEC(uint32_t) conjunction_fields;
    VEC(uint32_t) rules;
    VEC(uint8_t) joined;      /* by path */
    VEC(uint32_t) list;       /* for the moment */
    VEC(uint32_t) marks;      /* by node, for one conjunction */
};

/* Where the item with `hash` and equal to the caller's is, or the free slot for it. `items` begin with their hash. In a crowded index it is any
 * item's: nothing comes of it, the rules are refused. */
uint32_t *index_room(struct index *index, const void *items, size_t item_bytes);
#define INDEX_FIND(index, items_, hash_, same, ret_slot)                                        \
    do {                                                                                        \
        uint32_t *slots_ = index_room((index), (items_), sizeof *(items_));                     \
        size_t at_ = (size_t)(hash_) & ((index)->capacity - 1);                                 \
        size_t probes_ = 0;                                                                     \
        for (; slots_[at_] != IMAGE_NONE; at_ = (at_ + 1) & ((index)->capacity - 1)) {           \
            uint32_t found = slots_[at_];                                                       \
            if ((items_)[found].hash == (hash_) && (same))                                      \
                break;                                                                          \
            if (++probes_ == PROBES_MAX) {                                                      \
                (index)->crowded = true;                                                        \
                break;                                                                          \
            }                                                                                   \
        }                                                                                       \
        (ret_slot) = &slots_[at_];                                                              \
    } while (0)

uint32_t compile_remainder(struct compile *compile, const uint32_t *fields, uint32_t fields_count);
static inline struct view compile_text(const struct compile *compile, uint32_t text)
{
    uint32_t len;
    memcpy(&len, compile->texts.data + text, sizeof len);
    return (struct view){ .data = compile->texts.data + text + sizeof len, .len = len };
}

#endif
