/* control_call COMMAND [ARGUMENTS] - one control call as it stands, for tests of what the tool would not send.
 * Prints the result; or exits 1 and prints {"code": "SLUICE_E...", "text": "..."}. The daemon is $SLUICE_URL. */
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>
#include <sluice/producer.h>

enum { TIMEOUT_MS = 60000 };

int main(int argc, char **argv)
{
    struct sluice_error error;
    char *result = NULL;

    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: control_call COMMAND [ARGUMENTS]\n");
        return 2;
    }
    if (sluice_control(NULL, argv[1], argc == 3 ? argv[2] : "", TIMEOUT_MS, &result, &error) != SLUICE_OK) {
        json_t *object = json_pack("{s:s,s:s}", "code", sluice_err_name(error.code), "text", error.text);
        (void)json_dumpf(object, stdout, JSON_COMPACT);
        json_decref(object);
        return 1;
    }
    (void)puts(result);
    free(result);
    return 0;
}
