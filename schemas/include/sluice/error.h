/* sluice/error.h - the one small set of codes shared by broker, wire and client.
 * The code is for programs, the text for people. Codes are part of the bus protocol (schemas/protocol.md):
 * a number, once given, keeps its meaning. */
#ifndef SLUICE_ERROR_H
#define SLUICE_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

enum sluice_err {
    SLUICE_OK = 0,
    SLUICE_ENOMEM = 1,
    SLUICE_EIO = 2,
    SLUICE_EPROTO = 3,       /* the peer broke the protocol */
    SLUICE_ENOTFOUND = 4,
    SLUICE_EEXISTS = 5,
    SLUICE_ETIMEDOUT = 6,
    SLUICE_EUNAVAILABLE = 7, /* nobody there, or shutting down; try again later */
    SLUICE_EINVAL = 8,       /* the request can never succeed as it is */
    SLUICE_ESTALE = 9,       /* the lease expired or was settled; another may hold the delivery */
    SLUICE_ELIMIT = 10,      /* a named limit; retry after a pause: this is backpressure */
    SLUICE_ECORRUPT = 11,    /* stored bytes fail their check */
    SLUICE_EACCESS = 12,     /* not allowed: wrong user or token */
};

enum { SLUICE_ERROR_TEXT_MAX = 256 };

/* text: what, which one, why and what to do, in one line without a newline at its end. */
struct sluice_error {
    enum sluice_err code;
    char text[SLUICE_ERROR_TEXT_MAX];
};

/* Fills `reterr` (NULL is fine) with `code` and the formatted text, and returns `code`. Any thread. */
enum sluice_err sluice_fail(struct sluice_error *reterr, enum sluice_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "SLUICE_ELIMIT" and so on; "SLUICE_E?" for a number this version does not know. Static text. */
const char *sluice_err_name(enum sluice_err code);

#ifdef __cplusplus
}
#endif
#endif
