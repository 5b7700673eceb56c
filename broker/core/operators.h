/* operators.h - one value of an event against one alternative of a pattern. */
#ifndef SLUICE_CORE_OPERATORS_H
#define SLUICE_CORE_OPERATORS_H

#include "broker/core/ip.h"
#include "broker/core/number.h"

enum value_type { VALUE_STRING, VALUE_NUMBER, VALUE_TRUE, VALUE_FALSE, VALUE_NULL };

/* A leaf of an event. */
struct value {
    enum value_type type;
    bool number_known;     /* number was worked out: only when an operator first asks */
    struct view text;      /* STRING: decoded; NUMBER: as written */
    struct number number;
};

enum term_operator {
    TERM_STRING,           /* equal to text */
    TERM_IP,               /* equal to text, or the same address in other words */
    TERM_NUMBER,           /* equal to number */
    TERM_TRUE,
    TERM_FALSE,
    TERM_NULL,
    TERM_PREFIX,
    TERM_SUFFIX,
    TERM_IGNORE_CASE,
    TERM_PREFIX_IGNORE_CASE,
    TERM_SUFFIX_IGNORE_CASE,
    TERM_WILDCARD,
    TERM_RANGE,
    TERM_CIDR,
    TERM_ANYTHING_BUT,
    TERM_EXISTS,
    TERM_ABSENT,           /* true of no value: matching asks for it where a field has none */
};

/* Bounds that are not there are infinite and excluded. */
struct term_range {
    double low, high;
    bool low_included, high_included;
};

struct term {
    enum term_operator op;
    union {
        struct view text;              /* the string operators */
        struct {
            struct view address_text;
            struct ip address;
        };
        struct number number;
        struct term_range range;
        struct ip_block block;
        struct {                       /* WILDCARD: what stands between the stars, first and last possibly empty */
            const struct view *segments;
            unsigned segments_count;
        };
        struct {                       /* ANYTHING_BUT: true of a value that is none of these */
            const struct term *others;
            unsigned others_count;
        };
    };
};

bool term_matches(const struct term *term, struct value *value);

#endif
