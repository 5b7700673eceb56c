/* config_fixture.h - configuration files in a directory of the test's own, loaded, and what was printed about them. */
#ifndef SLUICE_TESTS_CONFIG_FIXTURE_H
#define SLUICE_TESTS_CONFIG_FIXTURE_H

#include <sys/types.h>

#include "broker/core/config.h"
#include "broker/edge/config_file.h"
#include "tests/test.h"

enum { PRINTED_BYTES_MAX = 1 << 20 };

/* A function that may stand before whatever else a configuration says. */
#define FUNCTION_F "functions: {f: {command: [./run.sh], protocol: stdio}}\n"

/* By the last load, without the test directory's name. */
extern char printed[PRINTED_BYTES_MAX];

/* A path in the test's directory; one of the last eight. */
const char *in_directory(const char *name);
void write_file(const char *name, const char *text, size_t len, mode_t mode);
/* What every configuration here finds: programs, also as PATH, a code folder, runtimes, tokens. */
void given_programs(void);
struct config_file *load_path(const char *path, unsigned *count);
/* Of a file of that name, beside the programs. */
struct config_file *load_text(const char *name, const char *text, unsigned *count);
/* A path without the test directory's name. */
const char *below(const char *path);

#endif
