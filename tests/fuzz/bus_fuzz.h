/* bus_fuzz.h - libFuzzer's entry point, for those who call it themselves. */
#ifndef SLUICE_TESTS_BUS_FUZZ_H
#define SLUICE_TESTS_BUS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
