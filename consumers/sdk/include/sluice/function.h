/* sluice/function.h - write a function in C (`protocol: native`): events come in batches, results go back with the next request.
 *
 *     static enum sluice_err handle(void *user, struct sluice_delivery *delivery)
 *     {
 *         printf("%.*s\n", (int)delivery->detail_len, delivery->detail);
 *         return SLUICE_OK;
 *     }
 *     int main(void) { return sluice_function_run(&(struct sluice_function){ .handle = handle }); }
 *
 * The daemon starts the program and says by its environment where to connect. Link with pkg-config `sluice`. */
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
    int64_t deadline_ms;         /* wall clock; past it the daemon stops this process */
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
 * `concurrency` of the configuration is the number of threads that call the handler. */
int sluice_function_run(const struct sluice_function *function);

#ifdef __cplusplus
}
#endif
#endif
