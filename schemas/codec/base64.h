/* base64.h - bytes as text (RFC 4648, standard alphabet). */
#ifndef SLUICE_CODEC_BASE64_H
#define SLUICE_CODEC_BASE64_H

#include "schemas/codec/bytes.h"

/* Padded, as it is written here. */
static inline size_t base64_len(size_t bytes_len) { return (bytes_len + 2) / 3 * 4; }
/* Writes base64_len(bytes.len) characters and no NUL; returns the place behind them. */
char *base64_encode(struct view bytes, char *to);
/* Appended. Padding may be left out, but not be wrong. false: it is no base64, or memory is out; then nothing was appended. */
bool base64_decode(struct view text, struct bytes *out);

#endif
