/* text.h - small text that several doors need. Pure. */
#ifndef SLUICE_API_TEXT_H
#define SLUICE_API_TEXT_H

#include "schemas/codec/base64.h"

bool view_is_any_case(struct view text, const char *word);
bool view_begins_any_case(struct view text, const char *prefix);

void put_member(struct bytes *out, const char *name, struct view text);   /* "name":"text", */
void put_member_number(struct bytes *out, const char *name, int64_t number);
void put_object_end(struct bytes *out);                                   /* } in place of the last comma */
void put_base64(struct bytes *out, struct view bytes);

#endif
