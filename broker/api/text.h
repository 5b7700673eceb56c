/* text.h - small text that several doors need. Pure. */
#ifndef SLUICE_API_TEXT_H
#define SLUICE_API_TEXT_H

#include "schemas/codec/bytes.h"

bool view_is_any_case(struct view text, const char *word);
bool view_begins(struct view text, const char *prefix);
bool view_begins_any_case(struct view text, const char *prefix);
int hex_digit_of(char c);                                                 /* -1: not one */

void put_member(struct bytes *out, const char *name, struct view text);   /* "name":"text", */
void put_member_number(struct bytes *out, const char *name, int64_t number);
void put_object_end(struct bytes *out);                                   /* } in place of the last comma */
void put_base64(struct bytes *out, struct view bytes);
bool base64_decode(struct view text, struct bytes *out);                  /* standard alphabet, padded; false: it is not that */

#endif
