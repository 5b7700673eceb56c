#include "broker/edge/yaml_values.h"

#include <stdio.h>

#include "broker/base/assert.h"

enum { NEAREST_BYTES_MAX = 64 }; /* longer words get no hint */

/* ---- the nearest known word ---- */

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Letters to add, drop, replace or swap with their neighbour to make `a` into `b`: three rows of the usual table. */
static unsigned edit_distance(struct view a, struct view b)
{
    unsigned rows[3][NEAREST_BYTES_MAX + 1];

    ASSERT(a.len <= NEAREST_BYTES_MAX);
    ASSERT(b.len <= NEAREST_BYTES_MAX);
    for (unsigned j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        const unsigned *above = rows[(i - 1) % 3], *above2 = rows[(i + 1) % 3];
        unsigned *row = rows[i % 3];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned replace = above[j - 1] + (a.data[i - 1] != b.data[j - 1]);
            row[j] = least(above[j] + 1, row[j - 1] + 1, replace);
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1] && above2[j - 2] + 1 < row[j])
                row[j] = above2[j - 2] + 1;
        }
    }
    return rows[a.len % 3][b.len];
}

const char *hint_nearest(struct view word, const char *const *known, size_t known_count, char buffer[HINT_BYTES_MAX])
{
    unsigned best_distance = word.len < 3 ? 1 : 2 + (unsigned)(word.len > 8); /* further away it is another word */
    const char *best = NULL;

    buffer[0] = '\0';
    if (word.len > NEAREST_BYTES_MAX)
        return buffer;
    for (size_t i = 0; i < known_count; i++) {
        struct view candidate = view_of(known[i]);
        if (candidate.len > NEAREST_BYTES_MAX || candidate.len > word.len + 3 || word.len > candidate.len + 3)
            continue;
        unsigned distance = edit_distance(word, candidate);
        if (distance < best_distance || (distance == best_distance && best == NULL)) {
            best = known[i];
            best_distance = distance;
        }
    }
    if (best != NULL)
        (void)snprintf(buffer, HINT_BYTES_MAX, " (did you mean '%s'?)", best);
    return buffer;
}

/* ---- structure ---- */

static const char *kind_name(const struct yaml_node *node)
{
    switch ((enum yaml_kind)node->kind) {
    case YAML_LIST: return "a list";
    case YAML_MAP: return "a map";
    case YAML_SCALAR: break;
    }
    return yaml_is_empty(node) ? "empty" : "a single value";
}

bool yaml_expect(const struct yaml_file *file, const struct yaml_node *node, const char *what, enum yaml_kind kind)
{
    static const char *const names[] = { [YAML_SCALAR] = "a single value", [YAML_LIST] = "a list", [YAML_MAP] = "a map" };

    if (node->kind == kind && !(kind == YAML_SCALAR && yaml_is_empty(node)))
        return true;
    yaml_mistake(file, node, "'%s' must be %s, not %s", what, names[kind], kind_name(node));
    return false;
}

bool yaml_map_spread(const struct yaml_file *file, const struct yaml_node *map, const char *what, const char *const *keys,
                     unsigned keys_count, const struct yaml_node **ret_values)
{
    char hint[HINT_BYTES_MAX];
    bool good = true;

    for (unsigned i = 0; i < keys_count; i++)
        ret_values[i] = NULL;
    if (map->kind != YAML_MAP) {
        yaml_mistake(file, map, "%s must be a map, not %s", what, kind_name(map));
        return false;
    }
    const struct yaml_node *key = yaml_first(map);
    for (uint32_t pair = 0; pair < map->count; pair++, key = yaml_next(yaml_next(key))) {
        unsigned i = 0;
        while (i < keys_count && !view_is(yaml_text(key), keys[i]))
            i++;
        if (i < keys_count) {
            ret_values[i] = yaml_next(key);
        } else {
            yaml_mistake(file, key, "unknown key '" YAML_SHOWN "' in %s%s", YAML_SHOW(key), what,
                         hint_nearest(yaml_text(key), keys, keys_count, hint));
            good = false;
        }
    }
    return good;
}

/* ---- scalars ---- */

static bool scalar_bad(const struct yaml_file *file, const struct yaml_node *node, const char *what, const char *wanted)
{
    if (node->kind != YAML_SCALAR || yaml_is_empty(node))
        yaml_mistake(file, node, "'%s' must be %s, not %s", what, wanted, kind_name(node));
    else
        yaml_mistake(file, node, "'%s' must be %s, not %s'" YAML_SHOWN "'", what, wanted,
                     node->style == YAML_PLAIN ? "" : "the quoted ",
                     YAML_SHOW(node));
    return false;
}

bool yaml_get_bool(const struct yaml_file *file, const struct yaml_node *node, const char *what, bool *ret_value)
{
    if (node == NULL)
        return true;
    bool yes = node->kind == YAML_SCALAR && node->style == YAML_PLAIN && view_is(yaml_text(node), "true");
    bool no = node->kind == YAML_SCALAR && node->style == YAML_PLAIN && view_is(yaml_text(node), "false");
    if (!yes && !no)
        return scalar_bad(file, node, what, "true or false");
    *ret_value = yes;
    return true;
}

/* Decimal digits from *at on; false: none, or beyond int64_t. Leading zeros are refused: they mean octal elsewhere. */
static bool digits_read(struct view text, size_t *at, int64_t *ret_number)
{
    int64_t number = 0;
    size_t start = *at;

    for (; *at < text.len && text.data[*at] >= '0' && text.data[*at] <= '9'; ++*at) {
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, text.data[*at] - '0', &number))
            return false;
    }
    if (*at == start || (text.data[start] == '0' && *at - start > 1))
        return false;
    *ret_number = number;
    return true;
}

bool yaml_get_unsigned(const struct yaml_file *file, const struct yaml_node *node, const char *what, unsigned min, unsigned max,
                       unsigned *ret_value)
{
    char wanted[64];
    int64_t number = 0;
    size_t at = 0;

    if (node == NULL)
        return true;
    (void)snprintf(wanted, sizeof wanted, "a whole number from %u to %u", min, max);
    if (node->kind != YAML_SCALAR || node->style != YAML_PLAIN)
        return scalar_bad(file, node, what, wanted);
    if (!digits_read(yaml_text(node), &at, &number) || at != node->len || number < min || number > max)
        return scalar_bad(file, node, what, wanted);
    *ret_value = (unsigned)number;
    return true;
}

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit duration_units[] = {
    { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { NULL, 0 },
};

static const struct unit size_units[] = {
    { "", 1 }, { "B", 1 }, { "kB", 1000 }, { "KB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 },
    { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 }, { NULL, 0 },
};

static bool quantity_read(struct view text, const struct unit *units, int64_t *ret_value)
{
    int64_t number = 0;
    size_t at = 0;

    if (!digits_read(text, &at, &number))
        return false;
    struct view name = { .data = text.data + at, .len = text.len - at };
    for (; units->name != NULL; units++) {
        if (view_is(name, units->name))
            return !__builtin_mul_overflow(number, units->factor, ret_value);
    }
    return false;
}

/* 60000 as "1m": in the largest unit that divides it. */
static const char *duration_text(int64_t ms, char *buffer, size_t buffer_bytes)
{
    unsigned unit = 0;

    for (unsigned i = 1; ms != 0 && duration_units[i].name != NULL; i++) {
        if (ms % duration_units[i].factor == 0)
            unit = i;
    }
    (void)snprintf(buffer, buffer_bytes, "%lld%s", (long long)(ms / duration_units[unit].factor), duration_units[unit].name);
    return buffer;
}

static bool out_of_range(const struct yaml_file *file, const struct yaml_node *node, const char *what, int64_t min_ms,
                         int64_t max_ms)
{
    char from[32], to[32];

    yaml_mistake(file, node, "'%s' must be from %s to %s, not '" YAML_SHOWN "'", what, duration_text(min_ms, from, sizeof from),
                 duration_text(max_ms, to, sizeof to), YAML_SHOW(node));
    return false;
}

bool yaml_get_duration(const struct yaml_file *file, const struct yaml_node *node, const char *what, int64_t min_ms,
                       int64_t max_ms,
                       int64_t *ret_ms)
{
    int64_t ms = 0;

    if (node == NULL)
        return true;
    if (node->kind != YAML_SCALAR || !quantity_read(yaml_text(node), duration_units, &ms))
        return scalar_bad(file, node, what, "a duration like 250ms, 30s, 5m, 6h or 1d");
    if (ms < min_ms || ms > max_ms)
        return out_of_range(file, node, what, min_ms, max_ms);
    *ret_ms = ms;
    return true;
}

bool yaml_get_duration_range(const struct yaml_file *file, const struct yaml_node *node, const char *what, int64_t min_ms,
                             int64_t max_ms, int64_t *ret_from_ms, int64_t *ret_to_ms)
{
    int64_t from_ms = 0, to_ms = 0;

    if (node == NULL)
        return true;
    struct view text = node->kind == YAML_SCALAR ? yaml_text(node) : VIEW_LITERAL("");
    const char *dots = text.len > 2 ? memmem(text.data, text.len, "..", 2) : NULL;
    struct view from = text, to = text;
    if (dots != NULL) {
        from.len = (size_t)(dots - text.data);
        to = (struct view){ .data = dots + 2, .len = text.len - from.len - 2 };
    }
    if (!quantity_read(from, duration_units, &from_ms) || !quantity_read(to, duration_units, &to_ms))
        return scalar_bad(file, node, what, "a duration or a range of durations like 1s..60s");
    if (from_ms < min_ms || from_ms > max_ms || to_ms < min_ms || to_ms > max_ms)
        return out_of_range(file, node, what, min_ms, max_ms);
    if (from_ms > to_ms) {
        yaml_mistake(file, node, "'%s' must go from the shorter to the longer, not '" YAML_SHOWN "'", what, YAML_SHOW(node));
        return false;
    }
    *ret_from_ms = from_ms;
    *ret_to_ms = to_ms;
    return true;
}

bool yaml_get_size(const struct yaml_file *file, const struct yaml_node *node, const char *what, int64_t min, int64_t max,
                   int64_t *ret_bytes)
{
    int64_t bytes = 0;

    if (node == NULL)
        return true;
    if (node->kind != YAML_SCALAR || !quantity_read(yaml_text(node), size_units, &bytes))
        return scalar_bad(file, node, what, "a size like 64MiB, 128MB, 1GiB or a number of bytes");
    if (bytes < min || bytes > max) {
        yaml_mistake(file, node, "'%s' must be from %lld to %lld bytes, not '" YAML_SHOWN "'", what, (long long)min,
                     (long long)max,
                     YAML_SHOW(node));
        return false;
    }
    *ret_bytes = bytes;
    return true;
}

static bool text_take(const struct yaml_file *file, const struct yaml_node *node, const char *what, size_t bytes_max,
                      struct arena *arena, const char **ret_text)
{
    if (node->len > bytes_max) {
        yaml_mistake(file, node, "'%s' is %u bytes long; at most %zu are taken", what, node->len, bytes_max);
        return false;
    }
    if (memchr(node->text, '\0', node->len) != NULL) {
        yaml_mistake(file, node, "'%s' must not contain a NUL character", what);
        return false;
    }
    *ret_text = arena_text(arena, yaml_text(node));
    return true;
}

bool yaml_get_text(const struct yaml_file *file, const struct yaml_node *node, const char *what, size_t bytes_max,
                   struct arena *arena, const char **ret_text)
{
    if (node == NULL)
        return true;
    if (node->kind != YAML_SCALAR || node->len == 0 || yaml_is_empty(node))
        return scalar_bad(file, node, what, "text");
    if (yaml_is_json_literal(node)) {
        yaml_mistake(file, node, "'%s' must be text; quote it: \"" YAML_SHOWN "\"", what, YAML_SHOW(node));
        return false;
    }
    return text_take(file, node, what, bytes_max, arena, ret_text);
}

bool yaml_get_words(const struct yaml_file *file, const struct yaml_node *node, const char *what, size_t bytes_max,
                    struct arena *arena, const char **ret_text)
{
    if (node == NULL)
        return true;
    if (node->kind != YAML_SCALAR || yaml_is_empty(node))
        return scalar_bad(file, node, what, "text");
    return text_take(file, node, what, bytes_max, arena, ret_text);
}

bool yaml_get_choice(const struct yaml_file *file, const struct yaml_node *node, const char *what, const char *const *words,
                     unsigned words_count, unsigned *ret_index)
{
    char wanted[128] = "", hint[HINT_BYTES_MAX];
    size_t len = 0;

    if (node == NULL)
        return true;
    for (unsigned i = 0; i < words_count; i++) {
        if (node->kind == YAML_SCALAR && view_is(yaml_text(node), words[i])) {
            *ret_index = i;
            return true;
        }
        const char *between = i == 0 ? "" : i + 1 == words_count ? " or " : ", ";
        len += (size_t)snprintf(wanted + len, sizeof wanted - len, "%s%s", between, words[i]);
        ASSERT(len < sizeof wanted);
    }
    if (node->kind != YAML_SCALAR || yaml_is_empty(node))
        return scalar_bad(file, node, what, wanted);
    yaml_mistake(file, node, "'%s' must be %s, not '" YAML_SHOWN "'%s", what, wanted, YAML_SHOW(node),
                 hint_nearest(yaml_text(node), words, words_count, hint));
    return false;
}
