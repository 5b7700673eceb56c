/* load.h - clients that invoke in a closed loop: each sends one request, waits for its answer, and sends the next. */
#ifndef SLUICE_BENCH_LOAD_H
#define SLUICE_BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>

struct load_result {
    double per_s, p50_us, p99_us;
    double cpu_us;                   /* of this process, per invoke */
    uint64_t invokes;
};
/* `clients` connections to 127.0.0.1:port on one thread, for `seconds`; exits with a message on any answer that is not 200. */
struct load_result load_run(uint16_t port, const char *path, unsigned clients, double seconds);

/* One invoke on a connection of its own: sent by load_send(), its answer awaited by load_wait(). Returns a descriptor. */
int load_send(uint16_t port, const char *path);
void load_wait(int fd);

#endif
