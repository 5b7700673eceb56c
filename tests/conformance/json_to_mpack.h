/* json_to_mpack.h - checked JSON as MessagePack, names given twice and all, for tests that ask both ways. */
#ifndef SLUICE_TESTS_JSON_TO_MPACK_H
#define SLUICE_TESTS_JSON_TO_MPACK_H

#include "schemas/codec/bytes.h"

/* Overwrites `out`. false: it has no such form (a number beyond doubles and 64 bits, a lone surrogate). */
bool json_to_mpack(struct view json, struct bytes *out);

#endif
