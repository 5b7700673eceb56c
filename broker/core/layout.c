/* What was gathered becomes an image: names and paths, who looks at which predicate (layout_access.c), the tables of each path
 * (layout_tables.c), and all of it as the records of an image. */
#include "broker/core/layout.h"

#include "broker/base/assert.h"
#include "broker/core/text_hash.h"

/* ---- names ---- */

static void put_paths(struct layout *layout)
{
    const struct compile *compile = layout->compile;

    for (size_t p = 0; p < compile->leaf_nodes.count; p++)
        VEC_PUSH(&layout->paths, (struct image_path){ .node = compile->leaf_nodes.items[p], .literals = { IMAGE_NONE, IMAGE_NONE, IMAGE_NONE },
                                                      .joined = compile->joined.items[p] != 0 ? PATH_JOINED_IF_TRUE : PATH_ALONE });
    for (size_t p = 0; p < compile->predicates.count; p++) { /* these are true of values that no table finds */
        const struct predicate *predicate = &compile->predicates.items[p];
        ASSERT(predicate->path < layout->paths.count && layout->paths.items != NULL);
        struct image_path *path = &layout->paths.items[predicate->path];
        if (path->joined != PATH_ALONE && predicate->kind >= KIND_EXISTS)
            path->joined = PATH_JOINED;
    }
}

/* The accesses are known. */
static void put_asks(struct layout *layout)
{
    for (uint32_t p = 0; p < layout->compile->predicates.count; p++) {
        const struct predicate *predicate = layout_predicate(layout, p);
        struct image_path *path = &layout->paths.items[predicate->path];
        path->asks |= predicate->access != IMAGE_NONE ? PATH_TRIGGERS : 0;
        path->asks |= predicate->kind >= KIND_EXISTS ? PATH_COUNTS : 0;
    }
}

static void name_begins(struct layout *layout, unsigned char byte)
{
    if (byte < 0x80)
        layout->names.low[byte & 15] |= (uint8_t)(1 << (byte >> 4));
}

static void put_nodes(struct layout *layout)
{
    struct compile *compile = layout->compile;
    const struct path_node *nodes = compile->paths.nodes.items;
    size_t count = compile->paths.nodes.count;

    for (size_t n = 0; n < count; n++) {
        uint32_t len = (uint32_t)nodes[n].name.len;
        VEC_PUSH(&layout->nodes, (struct image_node){ .name = (uint32_t)compile->texts.len, .parent = n == 0 ? IMAGE_NONE : nodes[n].parent,
                                                      .path = nodes[n].leaf == PATHS_NONE ? IMAGE_NONE : nodes[n].leaf });
        bytes_put(&compile->texts, &len, sizeof len);
        bytes_put_view(&compile->texts, nodes[n].name);
        if (n == 0)
            continue;
        name_begins(layout, len == 0 ? '"' : (unsigned char)nodes[n].name.data[0]);
        if (len == 0)
            name_begins(layout, '.'); /* {".b": ..} is below the empty name */
        layout->nodes.items[nodes[n].parent].children_count++;
        layout->nodes.items[nodes[n].parent].children_lengths |= UINT64_C(1) << (len < 63 ? len : 63);
    }
    name_begins(layout, '\\');
    for (size_t c = 0; c < compile->conjunctions.count; c++) {
        const uint32_t *join = compile->conjunctions.items[c].join == IMAGE_NONE ? NULL : compile->words.items + compile->conjunctions.items[c].join;
        ASSERT(join == NULL || (nodes != NULL && layout->nodes.items != NULL));
        for (uint32_t i = 0; join != NULL && i < join[0]; i++)
            for (uint32_t node = join[2 + (size_t)i * 2]; node != 0 && layout->nodes.items[node].joined == 0; node = nodes[node].parent)
                layout->nodes.items[node].joined = 1;
    }
    for (size_t n = 0; n < count; n++) {
        struct image_node *node = &layout->nodes.items[n];
        uint32_t room = 1, wanted = node->children_count * 2;
        while (room < wanted)
            room *= 2;
        node->children = (uint32_t)layout->children.count;
        node->children_count = node->children_count == 0 ? 0 : room;
        for (uint32_t i = 0; i < node->children_count; i++)
            VEC_PUSH(&layout->children, (struct image_child){ .node = IMAGE_NONE });
    }
    for (uint32_t n = 1; n < count; n++) {
        const struct image_node *parent = &layout->nodes.items[nodes[n].parent];
        struct view name = nodes[n].name;
        uint64_t head = text_head(name.data, name.len), tail = text_tail(name.data, name.len);
        struct image_child *slots = layout->children.items + parent->children;
        uint32_t mask = parent->children_count - 1, at = image_child_of(head, tail, name.len, parent->children_count);
        for (uint32_t probes = 0; slots[at].node != IMAGE_NONE && !layout->crowded; at = (at + 1) & mask)
            layout->crowded = ++probes == CHILD_PROBES_MAX;
        slots[at] = (struct image_child){ .head = head, .tail = tail, .len = (uint32_t)name.len, .node = n };
    }
}

/* ---- all together ---- */

static void put_records(struct layout *layout)
{
    const struct compile *compile = layout->compile;

    for (size_t p = 0; p < compile->predicates.count; p++) {
        const struct predicate *from = &compile->predicates.items[p];
        uint32_t kind = from->kind == KIND_EXISTS ? PREDICATE_EXISTS : from->kind == KIND_ABSENT ? PREDICATE_ABSENT
                        : from->kind == KIND_BUT  ? PREDICATE_BUT : PREDICATE_PLAIN;
        VEC_PUSH(&layout->predicates,
                 (struct image_predicate){ .text = from->kind == KIND_BUT ? from->but : from->text, .access = from->access,
                                           .fails = from->fails,
                                           .meta = kind | (from->marked ? PREDICATE_MARKED : 0) | from->path << PREDICATE_PATH_SHIFT });
    }
    for (size_t f = 0; f < compile->fields.count; f++) {
        const struct field *from = &compile->fields.items[f];
        VEC_PUSH(&layout->fields, (struct image_field){ .predicates = from->predicates, .predicates_count = from->predicates_count,
                                                        .path = from->path, .may_be_absent = from->may_be_absent });
    }
    for (size_t r = 0; r < compile->remainders.count; r++)
        VEC_PUSH(&layout->remainders, (struct image_remainder){ .fields = compile->remainders.items[r].fields,
                                                                .fields_count = compile->remainders.items[r].fields_count });
    for (size_t c = 0; c < compile->conjunctions.count; c++) {
        const struct conjunction *from = &compile->conjunctions.items[c];
        VEC_PUSH(&layout->conjunctions, (struct image_conjunction){ .rule = from->rule, .remainder = from->remainder, .join = from->join });
    }
}

/* Of exact operators only one predicate is true of a value: the one with the longest list counts. */
static void price_exact(struct layout *layout)
{
    uint64_t most = 0, most_steps = 0;

    for (uint32_t p = 0; p < layout->compile->predicates.count; p++) {
        enum predicate_kind kind = layout_predicate(layout, p)->kind;
        bool exact = kind == KIND_TEXT || kind == KIND_FOLD || kind == KIND_ADDRESS || kind == KIND_NUMBER || kind == KIND_NUMBER_TEXT ||
                     kind == KIND_ANY_STRING || (kind >= KIND_TRUE && kind <= KIND_NULL);
        if (exact && layout_price(layout, p) > most)
            most = layout_price(layout, p);
        if (exact && layout_predicate(layout, p)->join_steps > most_steps)
            most_steps = layout_predicate(layout, p)->join_steps;
    }
    layout->price += most;
    layout->join_steps += most_steps;
}

static void *layout_write(const struct layout *layout, size_t *ret_bytes)
{
    const struct compile *compile = layout->compile;
#define OWN(name) .name = layout->name.items, .name##_count = layout->name.count
#define GATHERED(name) .name = compile->name.items, .name##_count = compile->name.count
    struct image_parts parts = {
        OWN(nodes), OWN(children), OWN(paths), OWN(operators), OWN(slots), OWN(predicates), GATHERED(buts), OWN(fields),
        OWN(remainders), OWN(conjunctions), GATHERED(rules), GATHERED(words), OWN(numbers),
        .texts = compile->texts.data, .texts_count = compile->texts.len,
        .absent_paths = layout->absent_paths, .absent_paths_count = layout->absent_paths_count,
        .always = layout->always, .always_count = layout->always_count, .price = layout->price, .join_steps = layout->join_steps,
        .fingerprint = compile->fingerprint, .names = layout->names,
    };
#undef OWN
#undef GATHERED
    return image_write(&parts, ret_bytes);
}

static void layout_done(struct layout *layout)
{
    VEC_DONE(&layout->nodes);
    VEC_DONE(&layout->children);
    VEC_DONE(&layout->paths);
    VEC_DONE(&layout->operators);
    VEC_DONE(&layout->slots);
    VEC_DONE(&layout->predicates);
    VEC_DONE(&layout->fields);
    VEC_DONE(&layout->remainders);
    VEC_DONE(&layout->conjunctions);
    VEC_DONE(&layout->numbers);
}

enum sluice_err compile_finish(struct compile *compile, void **ret_base, size_t *ret_bytes, struct sluice_error *reterr)
{
    struct layout layout = { .compile = compile };
    enum sluice_err err = SLUICE_OK;

    put_paths(&layout);
    layout_accesses(&layout);
    put_asks(&layout);
    layout_operators(&layout);
    put_nodes(&layout);
    price_exact(&layout);
    put_records(&layout);
    if (layout.crowded)
        err = compile_crowded(reterr);
    else if (layout.price > MATCH_PRICE_MAX)
        err = sluice_fail(reterr, SLUICE_ELIMIT,
                          "one event could make %llu rules be looked at, over the limit of %d: fewer rules of only exists, anything-but, "
                          "numeric, prefix, suffix or wildcard; add a field with exact values to them",
                          (unsigned long long)layout.price, MATCH_PRICE_MAX);
    else if (layout.join_steps > MATCH_STEPS_MAX)
        err = sluice_fail(reterr, SLUICE_ELIMIT,
                          "an event with arrays of %d items could take %llu steps to join them, over the limit of %d: fewer rules of several "
                          "fields below one array, or add a field with exact values to them",
                          MATCH_ITEMS_USUAL, (unsigned long long)layout.join_steps, MATCH_STEPS_MAX);
    else if (compile->words.count >= IMAGE_LIST || compile->texts.failed)
        err = sluice_fail(reterr, SLUICE_ELIMIT, "the rules are too large together: their index would pass 8 GiB");
    if (err == SLUICE_OK) {
        *ret_base = layout_write(&layout, ret_bytes);
        if (*ret_base == NULL)
            err = sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for the index of %zu rules", compile->rules.count);
    }
    layout_done(&layout);
    return err;
}
