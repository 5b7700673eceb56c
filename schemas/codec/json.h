/* json.h - JSON text as it passes through: checked once at the door, kept byte for byte, never re-serialised.
 * RFC 8259, strict: UTF-8, no control characters in strings. Escapes of lone surrogates ("\ud800") are accepted,
 * as AWS and RFC 8259 do.
 * Iterative, no allocation. */
#ifndef SLUICE_CODEC_JSON_H
#define SLUICE_CODEC_JSON_H

#include "schemas/codec/bytes.h"
#include "sluice/error.h"

enum json_kind { JSON_ANY, JSON_OBJECT };

/* SLUICE_OK: `text` is one JSON value (of kind JSON_OBJECT if asked), nothing but white space around it, nested at most
 * `depth_max` (at most JSON_DEPTH_MAX) deep. SLUICE_EINVAL: the reason with its line and column. */
enum { JSON_DEPTH_MAX = 1000 };
enum sluice_err json_check(struct view text, enum json_kind kind, unsigned depth_max, struct sluice_error *reterr);
/* The same without the quick way that vectors give (json_blocks.h), for tests to hold the two against each other. */
enum sluice_err json_check_tokens(struct view text, enum json_kind kind, unsigned depth_max, struct sluice_error *reterr);

/* Appends checked JSON with every line break between tokens as a space, so that it is one line. */
void json_put_line(struct bytes *out, struct view checked);
/* Appends `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void json_put_string(struct bytes *out, struct view text);

/* A cursor over checked JSON, for finding one member without a tree. */
/* The value at member `name` of the object `object` (first byte '{' after white space): its bytes, quotes included.
 * Escapes in keys are decoded. false: absent. Where a key is there twice, the last wins. */
bool json_member(struct view object, struct view name, struct view *ret_value);
/* The i-th item of the array. */
bool json_item(struct view array, size_t index, struct view *ret_value);
/* Members or items one after the other: struct json_walk walk = json_walk_of(value); while (json_walk_next(&walk, &key, &value)) ...
 * `key` with its quotes; data NULL for an array's items. A value that is neither object nor array has none. */
struct json_walk {
    const char *at, *end;
    bool object;
};
struct json_walk json_walk_of(struct view checked);
bool json_walk_next(struct json_walk *walk, struct view *ret_key, struct view *ret_value);
/* Whether the key (with its quotes) reads `name` once decoded. */
bool json_key_is(struct view key, struct view name);
/* Decodes a JSON string value (with its quotes) to UTF-8, appended. false: not a string or a lone surrogate. */
bool json_string_decode(struct view value, struct bytes *out);

#endif
