/* image.h - a compiled rule set as one piece of memory without pointers: it can be written to a file, mapped anywhere and used
 * at once. All numbers in it are indexes into its sections; compile.c makes it, match.c and what it calls read it.
 *
 *     event text --nodes, children--> paths --operators, slots--> predicates --access--> conjunctions --> rules
 *
 * A *predicate* is one alternative of a pattern at one path, kept once however many rules share it. A *field* is a list of
 * predicates of which one must be true. A *conjunction* is what must hold together: a rule has one, or one per branch of its
 * $or. One field of each conjunction, the rarest, is its *access*: only when a predicate of that is true is the conjunction
 * looked at. Its other fields are its *remainder*, which many conjunctions share and which is then judged once per event.
 *
 * image_bind() believes nothing: every index is checked before the first event, so a damaged or hostile image is refused. */
#ifndef SLUICE_CORE_IMAGE_H
#define SLUICE_CORE_IMAGE_H

#include "broker/core/structure.h"
#include "sluice/error.h"

enum { IMAGE_NONE = UINT32_MAX, IMAGE_VERSION = 4 };

/* A name on the way to a path. Node 0 is the root. */
struct image_node {
    uint32_t name;            /* in texts */
    uint32_t parent;          /* IMAGE_NONE: the root */
    uint32_t path;            /* that ends here, or IMAGE_NONE */
    uint32_t children;        /* the first of its slots in children */
    uint32_t children_count;  /* a power of two, or 0 */
    uint32_t joined;          /* an array here, or one above, may be shared by fields of some conjunction */
    uint64_t children_lengths; /* bit min(len, 63) for each name length among the children */
};

/* Open addressing; the key is the whole name up to 16 bytes. */
struct image_child {
    uint64_t head, tail;
    uint32_t len;
    uint32_t node;            /* IMAGE_NONE: a free slot */
};

enum { IMAGE_LITERALS = 3 };  /* true, false, null */

struct image_path {
    uint64_t shapes;               /* bit image_shape_of() of each operand of strings; all, where these are many or that does not tell; none, where
                                    * there are none */
    uint32_t node;
    uint32_t exact;                /* the operator, where the only one for strings is EXACT; or IMAGE_NONE */
    uint32_t string_operators, number_operators, operators_end; /* [string, number) for strings, [number, end) for numbers */
    uint32_t literals[IMAGE_LITERALS];                          /* predicates, or IMAGE_NONE */
    uint32_t weak, weak_count;     /* in words, pairs (conjunction, predicate): whose access is exists or anything-but here */
    uint32_t bulk, bulk_count;     /* the same where that is all a rule asks: in words, triples (place, low, high): the 64 rules from
                                    * 64 * place on, as bits */
    uint32_t absent, absent_count; /* the same for exists: false */
    uint32_t joined;               /* enum path_joined */
    uint32_t asks;                 /* enum path_asks */
};

/* What a value of a path may lead to, beside the truth of a predicate. */
enum path_asks {
    PATH_TRIGGERS = 1,             /* a conjunction is looked at when some predicate is true */
    PATH_COUNTS = 2,               /* how many values there are matters, to exists or anything-but */
};

/* Whether some conjunction shares arrays between a path and another, and then which of its values matter to that. */
enum path_joined { PATH_ALONE, PATH_JOINED, PATH_JOINED_IF_TRUE };

enum image_operator_kind {
    OPERATOR_EXACT, OPERATOR_FOLD_EXACT,   /* slots by text */
    OPERATOR_PREFIX, OPERATOR_FOLD_PREFIX, /* slots by beginning; list: the lengths there are, ascending */
    OPERATOR_SUFFIX, OPERATOR_FOLD_SUFFIX,
    OPERATOR_ADDRESS,                      /* slots by IP address */
    OPERATOR_BLOCKS4, OPERATOR_BLOCKS6,    /* slots by network; list: the mask lengths there are */
    OPERATOR_SHAPES,                       /* wildcards by their two ends: slots lead to lists; list: the pairs of end lengths */
    OPERATOR_GRAMS,                        /* wildcards by two bytes they hold (wildcard.h); list: buckets */
    OPERATOR_ANY_STRING,                   /* extra: the predicate */
    OPERATOR_DECIMAL, OPERATOR_DOUBLE, OPERATOR_NUMBER_TEXT, /* slots by number: from text, from a double, not comparable */
    OPERATOR_RANGES,                       /* slots, slots_count: bounds in numbers; list: a segment tree of extra leaves */
    OPERATOR_KINDS
};

struct image_operator {
    uint32_t kind;
    uint32_t slots, slots_count;
    uint32_t filter, filter_count; /* in words, of an operator with a table: see image_may_hold() */
    uint32_t list, list_count; /* in words */
    uint32_t extra;
};

struct image_slot {
    uint32_t tag;             /* the upper half of the hash */
    uint32_t value;           /* a predicate, for SHAPES a list in words; IMAGE_NONE: free */
};

enum image_predicate_kind { PREDICATE_PLAIN, PREDICATE_EXISTS, PREDICATE_ABSENT, PREDICATE_BUT };
enum {
    PREDICATE_KIND_MASK = 3,
    PREDICATE_MARKED = 4,     /* its truth is noted, for a remainder or so that its list is gone through once */
    PREDICATE_PATH_SHIFT = 3,
};

struct image_predicate {
    uint32_t text;            /* its operand in texts; BUT: its number among buts */
    uint32_t access;          /* a conjunction; IMAGE_LIST | a list in words; IMAGE_RULE | a rule, when nothing else has to hold;
                               * or IMAGE_NONE */
    uint32_t fails;           /* a list in words: the buts that this being true makes fail; or IMAGE_NONE */
    uint32_t meta;            /* kind, PREDICATE_MARKED, path */
};
#define IMAGE_LIST 0x80000000u
#define IMAGE_RULE 0x40000000u

/* anything-but: true of a value if none of the others is. */
struct image_but {
    uint32_t others, others_count; /* in words: predicates of the same path */
    uint32_t path;
    uint32_t bulk, bulk_count;     /* in words: the bits that it stands for in its path's bulk, by triple * 64 + bit */
};

struct image_field {
    uint32_t predicates, predicates_count; /* in words */
    uint32_t path;
    uint32_t may_be_absent;
};

struct image_remainder {
    uint32_t fields, fields_count; /* in words */
};

struct image_conjunction {
    uint32_t rule;
    uint32_t remainder;       /* or IMAGE_NONE */
    uint32_t join;            /* in words, or IMAGE_NONE: [count, pairs (field, node)...], the fields in the order of their paths.
                               * The node is the innermost one at or above which an array would be shared with another of the
                               * fields; 0: with none. */
};

#define IMAGE_SECTIONS(X)                           \
    X(nodes, struct image_node)                     \
    X(children, struct image_child)                 \
    X(paths, struct image_path)                     \
    X(operators, struct image_operator)             \
    X(slots, struct image_slot)                     \
    X(predicates, struct image_predicate)           \
    X(buts, struct image_but)                       \
    X(fields, struct image_field)                   \
    X(remainders, struct image_remainder)           \
    X(conjunctions, struct image_conjunction)       \
    X(rules, uint32_t)                              \
    X(words, uint32_t)                              \
    X(numbers, double)                              \
    X(texts, char)

/* The sections in place. texts holds 32-bit lengths, each followed by its bytes. */
struct image {
    uint64_t number;                           /* of each that is bound in this process, from 1: addresses come again */
    void *base;
    size_t bytes;
#define X(name, type) const type *name; uint32_t name##_count;
    IMAGE_SECTIONS(X)
#undef X
    uint32_t absent_paths, absent_paths_count; /* in words: paths with an absent list */
    uint32_t always, always_count;             /* in words: conjunctions looked at for every event */
    uint64_t price, join_steps;                /* match.h: MATCH_PRICE_MAX, MATCH_STEPS_MAX */
    uint64_t fingerprint;                      /* of the rules it was made from */
    struct structure_names names;              /* what names in use begin with; a backslash, as escapes do; a quote for the empty one */
};

/* What compile.c hands over; in the order of the sections. Returns one block for free(), NULL when out of memory;
 * SLUICE_ELIMIT is the caller's to check: sections of 32-bit counts. */
struct image_parts {
#define X(name, type) const type *name; size_t name##_count;
    IMAGE_SECTIONS(X)
#undef X
    uint32_t absent_paths, absent_paths_count;
    uint32_t always, always_count;
    uint64_t price, join_steps, fingerprint;
    struct structure_names names;
};
void *image_write(const struct image_parts *parts, size_t *ret_bytes);

/* Of memory just written. */
void image_bind_own(void *base, size_t bytes, struct image *ret_image);
/* Of memory from anywhere, 16-byte aligned, which must stay as it is. SLUICE_ECORRUPT: what is wrong with it. */
enum sluice_err image_bind(struct view bytes, struct image *ret_image, struct sluice_error *reterr);
/* Fills in the checksum of an image in memory of our own, before it is saved. */
void image_seal(struct image *image);
/* For tests: makes the checksum right again after damage. */
void image_reseal(void *base, size_t bytes);

static inline struct view image_text(const struct image *image, uint32_t text)
{
    uint32_t len;
    memcpy(&len, image->texts + text, sizeof len);
    return (struct view){ .data = image->texts + text + sizeof len, .len = len };
}

/* What a string looks like from afar: most that equal none of a few operands differ from them in this, and are not looked up. */
static inline unsigned image_shape_of(struct view text)
{
    unsigned len = (unsigned)text.len;

    return len == 0 ? 0 : ((unsigned char)text.data[text.len - 1] * 7u + (unsigned char)text.data[text.len / 2] + len * 13) % 64;
}

/* Where a name is looked for first among its parent's `children_count`: a power of two. By the upper bits, in which all of the name has a
 * part; the others miss its last bytes, and names that are counted differ in nothing else. */
static inline uint32_t image_child_of(uint64_t head, uint64_t tail, size_t len, uint32_t children_count)
{
    uint64_t mixed = (head + len + tail * UINT64_C(0x8bb84b93962eacc9)) * UINT64_C(0x2d358dccaa6c78a5);
    return (uint32_t)((mixed >> 32) * children_count >> 32);
}

/* A table's filter: two bits of one word for each hash that the table holds. Mostly a value is in none, and so small a thing tells it: the processor
 * goes on without waiting for the table. */
static inline uint32_t image_filter_word_of(uint64_t hash, uint32_t filter_count)
{
    return (uint32_t)((hash >> 32) * filter_count >> 32);
}
static inline uint32_t image_filter_bits_of(uint64_t hash)
{
    return 1u << (hash & 31) | 1u << (hash >> 5 & 31);
}
static inline bool image_may_hold(const struct image *image, const struct image_operator *operator, uint64_t hash)
{
    uint32_t bits = image_filter_bits_of(hash);
    return (image->words[operator->filter + image_filter_word_of(hash, operator->filter_count)] & bits) == bits;
}

static inline uint32_t image_slot_of(uint64_t hash, uint32_t slots_count)
{
    return (uint32_t)((hash & 0xFFFFFFFFu) * slots_count >> 32);
}

#endif
