/* ids.h - UUIDs and times as text. Pure: the time and the random bits are arguments. */
#ifndef SLUICE_CODEC_IDS_H
#define SLUICE_CODEC_IDS_H

#include "schemas/codec/view.h"

enum { UUID_BYTES = 16, UUID_TEXT_LEN = 36, TIME_TEXT_MAX = 32 };

/* RFC 9562 version 7: `unix_ms` in the first 48 bits, then `random` (its version and variant bits are overwritten). */
void uuid7_make(int64_t unix_ms, const uint8_t random[UUID_BYTES], uint8_t ret_uuid[UUID_BYTES]);
int64_t uuid7_time_ms(const uint8_t uuid[UUID_BYTES]);      /* meaningful for version 7 only */
bool uuid_is_v7(const uint8_t uuid[UUID_BYTES]);
void uuid_to_text(const uint8_t uuid[UUID_BYTES], char ret_text[UUID_TEXT_LEN + 1]); /* lower case */
bool uuid_from_text(struct view text, uint8_t ret_uuid[UUID_BYTES]); /* canonical lower-case 36 characters only */

/* Years 0001 to 9999: what four digits can say. Times outside are not events' times; time_to_text() stops at the bounds. */
#define TIME_MS_MIN INT64_C(-62135596800000)
#define TIME_MS_MAX INT64_C(253402300799999)
/* "2026-11-21T22:58:34Z", or with ".123" when `millis`. */
size_t time_to_text(int64_t unix_ms, bool millis, char ret_text[TIME_TEXT_MAX]);
/* RFC 3339, any offset, fraction cut to ms. false: not a time. */
bool time_from_text(struct view text, int64_t *ret_unix_ms);

#endif
