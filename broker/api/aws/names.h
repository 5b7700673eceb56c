/* names.h - how functions and buses are named in requests: short names, with a qualifier, partial and full ARNs. Pure. */
#ifndef SLUICE_API_AWS_NAMES_H
#define SLUICE_API_AWS_NAMES_H

#include "schemas/codec/bytes.h"

enum { AWS_NAME_BYTES_MAX = 64, AWS_QUALIFIER_BYTES_MAX = 128, AWS_ARN_BYTES_MAX = 320 };

/* Views into the text. Absent: data NULL. */
struct function_name {
    struct view region, account, name, qualifier;
};
/* NAME, NAME:QUALIFIER, ACCOUNT:function:NAME[:QUALIFIER], REGION:ACCOUNT:function:NAME[:QUALIFIER],
 * arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]; decoded text. false: none of these. */
bool function_name_parse(struct view text, struct function_name *ret_name);
/* $LATEST, a version, an alias. */
bool qualifier_is_valid(struct view qualifier);
/* The full ARN, our region and account where the name has none; the qualifier if it has one. Appended. */
void function_arn_put(struct bytes *out, const struct function_name *name);
/* The name of a bus given as such or as arn:aws:events:REGION:ACCOUNT:event-bus/NAME. */
struct view bus_name_of(struct view text);

#endif
