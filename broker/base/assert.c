#include "broker/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line)
{
    (void)fprintf(stderr, "level=fatal msg=\"broken invariant\" expression=\"%s\" at=%s:%d\n", expression, file, line);
    abort();
}
