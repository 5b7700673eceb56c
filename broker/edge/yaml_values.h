/* yaml_values.h - what a node means: typed getters, and maps with a known set of keys.
 * A getter given NULL (the key is absent) writes nothing and returns true: the default stays. On a mistake it tells it, writes
 * nothing and returns false. `what` is how the message calls the value: its key, 'retry.backoff'. */
#ifndef SLUICE_EDGE_YAML_VALUES_H
#define SLUICE_EDGE_YAML_VALUES_H

#include "broker/edge/yaml.h"

/* Spreads a map over its known keys: ret_values[i] is the value of keys[i], NULL when absent. An unknown key is a mistake that
 * names the nearest known one. `what` stands in messages as it is: "'scale'", "function 'x'". All `keys_count` values are
 * written in any case. False: not a map, or an unknown key was there. */
bool yaml_map_spread(const struct yaml_file *file, const struct yaml_node *map, const char *what, const char *const *keys,
                     unsigned keys_count, const struct yaml_node **ret_values);

/* " (did you mean 'timeout'?)" into buffer, or "" when nothing is near. Returns buffer. */
enum { HINT_BYTES_MAX = 160 };
const char *hint_nearest(struct view word, const char *const *known, size_t known_count, char buffer[HINT_BYTES_MAX]);

bool yaml_get_bool(const struct yaml_file *file, const struct yaml_node *node, const char *what, bool *ret_value);
bool yaml_get_unsigned(const struct yaml_file *file, const struct yaml_node *node, const char *what, unsigned min, unsigned max,
                       unsigned *ret_value);
/* 250ms, 30s, 5m, 6h, 1d: an integer and its unit. */
bool yaml_get_duration(const struct yaml_file *file, const struct yaml_node *node, const char *what, int64_t min_ms, int64_t max_ms,
                       int64_t *ret_ms);
/* 1s..60s, or one duration for both. */
bool yaml_get_duration_range(const struct yaml_file *file, const struct yaml_node *node, const char *what, int64_t min_ms,
                             int64_t max_ms, int64_t *ret_from_ms, int64_t *ret_to_ms);
/* 64MiB, 128MB, 1GiB, 4096: binary and decimal units apart. */
bool yaml_get_size(const struct yaml_file *file, const struct yaml_node *node, const char *what, int64_t min, int64_t max,
                   int64_t *ret_bytes);
/* Text of 1..bytes_max bytes without a NUL, copied into `arena`. A plain number, true, false or null is a mistake: quoted, it
 * would have been text, and which was meant cannot be told. */
bool yaml_get_text(const struct yaml_file *file, const struct yaml_node *node, const char *what, size_t bytes_max,
                   struct arena *arena, const char **ret_text);
/* The same, but numbers, true and false are taken as they are written, and the text may be empty: arguments and environments. */
bool yaml_get_words(const struct yaml_file *file, const struct yaml_node *node, const char *what, size_t bytes_max,
                    struct arena *arena, const char **ret_text);
/* One of `words`; the index of the one. */
bool yaml_get_choice(const struct yaml_file *file, const struct yaml_node *node, const char *what, const char *const *words,
                     unsigned words_count, unsigned *ret_index);

bool yaml_expect(const struct yaml_file *file, const struct yaml_node *node, const char *what, enum yaml_kind kind);

#endif
