#include "schemas/codec/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

size_t address_default(char *buffer, size_t buffer_len)
{
    const char *url = getenv("SLUICE_URL"), *runtime = getenv("XDG_RUNTIME_DIR"), *temporary = getenv("TMPDIR");
    int len;

    if (url != NULL && url[0] != '\0')
        len = snprintf(buffer, buffer_len, "%s", url);
    else if (geteuid() == 0)
        len = snprintf(buffer, buffer_len, "ipc:///run/sluice/bus.sock");
    else if (runtime != NULL && runtime[0] == '/')
        len = snprintf(buffer, buffer_len, "ipc://%s/sluice/bus.sock", runtime);
    else
        len = snprintf(buffer, buffer_len, "ipc://%s/sluice-%u/bus.sock", temporary != NULL && temporary[0] == '/' ? temporary : "/tmp",
                       (unsigned)geteuid());
    return len < 0 ? 0 : (size_t)len;
}
