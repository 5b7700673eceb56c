/* store_hand DATA TABLE list | DATA TABLE KEY (add OFFSET DIFFERENCE | put VALUE | delete)
 * A hand inside the store of a daemon that does not run, for end-to-end tests; keys and values in hex. `list` prints the keys. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/store_raw.h"

enum { BYTES_MAX = 512 };

static struct view hex_bytes(const char *text, char bytes[BYTES_MAX])
{
    size_t len = strlen(text) / 2;

    for (size_t i = 0; i < len; i++) {
        unsigned byte;
        if (len > BYTES_MAX || sscanf(text + 2 * i, "%2x", &byte) != 1) {
            (void)fprintf(stderr, "store_hand: '%s' is not hex of at most %d bytes\n", text, BYTES_MAX);
            exit(2);
        }
        bytes[i] = (char)byte;
    }
    return (struct view){ bytes, len };
}

static void print_key(void *ctx, struct view key)
{
    (void)ctx;
    for (size_t i = 0; i < key.len; i++)
        (void)printf("%02x", (unsigned char)key.data[i]);
    (void)printf("\n");
}

int main(int argc, char **argv)
{
    static const char *const integer_keys[] = { "log", "queues", "functions", "targets" };
    char key_bytes[BYTES_MAX], value_bytes[BYTES_MAX];
    unsigned flags = 0;

    for (size_t i = 0; argc > 2 && i < sizeof integer_keys / sizeof *integer_keys; i++)
        flags |= strcmp(argv[2], integer_keys[i]) == 0 ? MDB_INTEGERKEY : 0;
    if (argc == 4 && strcmp(argv[3], "list") == 0) {
        raw_keys(argv[1], argv[2], flags, print_key, NULL);
        return 0;
    }
    const char *verb = argc > 4 ? argv[4] : "";
    struct view key = argc > 3 ? hex_bytes(argv[3], key_bytes) : (struct view){ 0 };
    if (argc == 7 && strcmp(verb, "add") == 0) {
        raw_add(argv[1], argv[2], flags, key, strtoul(argv[5], NULL, 10), strtoll(argv[6], NULL, 10));
    } else if (argc == 6 && strcmp(verb, "put") == 0) {
        raw_put(argv[1], argv[2], flags, key, hex_bytes(argv[5], value_bytes));
    } else if (argc == 5 && strcmp(verb, "delete") == 0) {
        raw_delete(argv[1], argv[2], flags, key);
    } else {
        (void)fprintf(stderr, "usage: store_hand DATA TABLE list | DATA TABLE KEY (add OFFSET DIFFERENCE | put VALUE | delete)\n");
        return 2;
    }
    return 0;
}
