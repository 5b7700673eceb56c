/* fuzz.h - what the fuzz targets share. A target is more than "does not crash": what a parser accepted must have the properties
 * that the code behind it relies on, and MUST() stops at the first input for which it has not. */
#ifndef SLUICE_TESTS_FUZZ_H
#define SLUICE_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "schemas/codec/bytes.h"

#define MUST(condition)                                                                                                        \
    do {                                                                                                                       \
        if (!(condition)) {                                                                                                    \
            (void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                               \
            abort();                                                                                                           \
        }                                                                                                                      \
    } while (0)

/* A copy of exactly this size on the heap, where the sanitizer sees the first byte read beyond it. */
static inline char *fuzz_copy(const uint8_t *data, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);

    MUST(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

#endif
