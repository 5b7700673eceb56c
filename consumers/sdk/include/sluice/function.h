/* sluice/function.h - write a function in C (`protocol: native`): events come in batches, results go back with the next request.
 *
 *     static enum sluice_err handle(void *user, struct sluice_delivery *delivery)
 *     {
 *         printf("%.*s\n", (int)delivery->detail_len, delivery->detail);
 *         return SLUICE_OK;
 *     }
 *     int main(void) { return sluice_function_run(&(struct sluice_function){ .handle = handle }); }
 *
 * The daemon starts the program and says by its environment where to connect. Or the program runs on its own, a consumer daemon, here
 * or on another host, and attaches: with SLUICE_FUNCTION in its environment, or by sluice_function_attach(). The same program does both.
 * Link with pkg-config `sluice`. */
#ifndef SLUICE_FUNCTION_H
#define SLUICE_FUNCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One event, as views that live until the handler returns; texts are NUL-terminated. */
struct sluice_delivery {
    const char *id, *source, *type, *bus;
    int64_t time_ms;
    const char *detail;          /* JSON text as it was published, or the rule target's input; not NUL-terminated */
    size_t detail_len;
    bool detail_is_mpack;        /* MessagePack bytes instead */
    bool detail_is_input;        /* made by the rule's target; id, source, type, bus are "" */
    unsigned attempt;            /* 1 for the first */
    int64_t deadline_ms;         /* wall clock; past it the daemon stops this process, or cuts off a consumer's connection */
    /* The whole event in the shape that stdio functions see, on one line; made on the first call, NUL-terminated. */
    const char *(*envelope_json)(struct sluice_delivery *delivery);
    void *internal;
};

struct sluice_function {
    /* Anything but SLUICE_OK fails this delivery alone (batch partial-failures) or its whole batch. */
    enum sluice_err (*handle)(void *user, struct sluice_delivery *delivery);
    /* Instead of `handle`: the whole batch at once; set codes[i] (all SLUICE_OK at entry). */
    void (*handle_batch)(void *user, struct sluice_delivery *const *deliveries, size_t count, enum sluice_err *codes);
    void *user;
};

/* Says why the current delivery failed, for its retry record and dead letter; callable from `handle`. */
void sluice_function_fail(struct sluice_delivery *delivery, const char *type, const char *message);

/* Serves until the daemon says drain, the connection is lost for good, or SIGTERM; returns the exit status for main. Blocks.
 * `concurrency` of the configuration is the number of threads that call the handler.
 * Not started by the daemon, but with SLUICE_FUNCTION in the environment: sluice_function_attach(function, NULL). */
int sluice_function_run(const struct sluice_function *function);

/* Zero means the default. Strings must stay until the call returns. */
struct sluice_attach {
    const char *function;        /* its name in the daemon's configuration, of protocol native; default $SLUICE_FUNCTION */
    const char *url;             /* ipc:///path or tcp://host:port; default $SLUICE_URL, else the daemon's default socket */
    const char *token_file;      /* for tcp: holds the token; default $SLUICE_TOKEN_FILE. Read once */
    const char *consumer;        /* who we are in the daemon's listings; default $SLUICE_CONSUMER, else PROGRAM@HOST:PID */
    unsigned concurrency;        /* threads that call the handler, 1..1024; default $SLUICE_CONCURRENCY, else what the function says */
};

/* Attaches to a function as a consumer daemon, and serves until SIGTERM or SIGINT: finishes what it holds, detaches and returns 0.
 * A daemon that is not there, goes away or refuses is asked again, with pauses, for ever; why is on stderr. What was held when the
 * connection was lost goes to others: its results are void. Returns 1 when an option is wrong. Blocks. */
int sluice_function_attach(const struct sluice_function *function, const struct sluice_attach *attach);

#ifdef __cplusplus
}
#endif
#endif
