/* bare.h - the floor of an invoke: the same two HTTP exchanges (a client's POST; next and response of a function) passed through by a loop that
 * checks nothing, keeps nothing and knows one function. A process of its own, so that its time can be told from its clients'. */
#ifndef SLUICE_BENCH_BARE_H
#define SLUICE_BENCH_BARE_H

#include <stdint.h>
#include <sys/types.h>

struct bare {
    pid_t pid;
    uint16_t invoke_port, runtime_port;
};
/* Serves until bare_stop(). Call before any thread is started. */
struct bare bare_start(void);
void bare_stop(struct bare *bare);

#endif
