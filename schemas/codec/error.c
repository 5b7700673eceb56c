#include "sluice/error.h"

#include <stdarg.h>
#include <stdio.h>

enum sluice_err sluice_fail(struct sluice_error *reterr, enum sluice_err code, const char *format, ...)
{
    if (reterr == NULL)
        return code;
    va_list args;
    va_start(args, format);
    reterr->code = code;
    (void)vsnprintf(reterr->text, sizeof reterr->text, format, args); /* cut at the end is fine: it is for people */
    va_end(args);
    return code;
}

const char *sluice_err_name(enum sluice_err code)
{
    switch (code) {
    case SLUICE_OK: return "SLUICE_OK";
    case SLUICE_ENOMEM: return "SLUICE_ENOMEM";
    case SLUICE_EIO: return "SLUICE_EIO";
    case SLUICE_EPROTO: return "SLUICE_EPROTO";
    case SLUICE_ENOTFOUND: return "SLUICE_ENOTFOUND";
    case SLUICE_EEXISTS: return "SLUICE_EEXISTS";
    case SLUICE_ETIMEDOUT: return "SLUICE_ETIMEDOUT";
    case SLUICE_EUNAVAILABLE: return "SLUICE_EUNAVAILABLE";
    case SLUICE_EINVAL: return "SLUICE_EINVAL";
    case SLUICE_ESTALE: return "SLUICE_ESTALE";
    case SLUICE_ELIMIT: return "SLUICE_ELIMIT";
    case SLUICE_ECORRUPT: return "SLUICE_ECORRUPT";
    case SLUICE_EACCESS: return "SLUICE_EACCESS";
    }
    return "SLUICE_E?";
}
