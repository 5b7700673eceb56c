/* spawner_wire.h - what daemon and spawner say to each other. Both ends are one binary, so these are plain structs in native layout.
 *
 *   packet = one SOCK_SEQPACKET datagram = many messages, one after another, and the descriptors they carry, in the same order
 *
 *   daemon -> spawner   SPAWN   directory, arguments, variables; descriptors stdin, stdout, stderr
 *                       SIGNAL  to the instance's process group; KILL ends a hold, too
 *                       HOLD    its leader's end is not the end of the others
 *   spawner -> daemon   READY   the lock is held; how memory is limited: folder, reason
 *                       STARTED descriptor: pidfd      (always before the EXITED of the same instance)
 *                       FAILED  it never ran
 *                       ENDED   the leader of one that is held, as EXITED, which follows
 *                       EXITED
 * One send per turn carries all that the turn said: a datagram costs a system call and a wake-up, a message in it nearly nothing. */
#ifndef SLUICE_EDGE_SPAWNER_WIRE_H
#define SLUICE_EDGE_SPAWNER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

enum {
    SPAWN_BYTES_MAX = 128 << 10,     /* directory, arguments and environment of one instance (the kernel's limit per string, too) */
    SPAWN_STRINGS_MAX = 4096,
    PACKET_BYTES_MAX = 136 << 10,    /* one largest SPAWN and more; under the default send buffer of 208 KiB */
    PACKET_FDS_MAX = 48,             /* 16 spawns: bounds how long the spawner is away from its other work */
    SPAWNER_SOCKET_FD = 3,
};

enum wire_kind { WIRE_SPAWN = 1, WIRE_SIGNAL, WIRE_HOLD, WIRE_READY, WIRE_STARTED, WIRE_FAILED, WIRE_ENDED, WIRE_EXITED };
/* What a child was doing when it failed; the names are in spawner_wire.c. */
enum spawn_step { STEP_FORK, STEP_GROUP, STEP_DESCRIPTORS, STEP_DIRECTORY, STEP_MEMORY, STEP_CGROUP, STEP_EXEC, STEP_PIDFD, STEP_COUNT };

struct wire_head {
    uint32_t kind;
    uint32_t bytes;                  /* with this head; a multiple of 8 */
    uint64_t instance;
};
struct wire_spawn {
    struct wire_head head;
    int64_t memory_bytes;
    uint32_t arguments, variables;   /* counts; the strings follow: directory, arguments, variables, each ended by NUL */
    char strings[];
};
struct wire_signal { struct wire_head head; int64_t signal; };
struct wire_ready {
    struct wire_head head;
    int64_t limiter;                 /* enum memory_limiter */
    char strings[];                  /* folder, reason, each ended by NUL */
};
struct wire_started { struct wire_head head; int64_t pid; };
struct wire_failed { struct wire_head head; int32_t error_number; uint32_t step; };
struct wire_hold { struct wire_head head; };
struct wire_exited {                 /* of ENDED, too */
    struct wire_head head;
    int64_t status, out_of_memory;
    int64_t cgroup_peak_bytes;       /* 0: not known */
    int64_t exec_us, exit_us;        /* on the monotonic clock */
    struct rusage usage;
};

struct packet {
    size_t len;
    unsigned fds_count;
    int fds[PACKET_FDS_MAX];
    _Alignas(8) char data[PACKET_BYTES_MAX];
};

const char *spawn_step_name(uint32_t step);
bool packet_fits(const struct packet *packet, size_t bytes, unsigned fds);
/* Room for a message of `bytes` (rounded up to 8) with its head filled in; packet_fits() must hold. Valid until the packet is sent. */
void *packet_add(struct packet *packet, enum wire_kind kind, uint64_t instance, size_t bytes);
void packet_add_fd(struct packet *packet, int fd);
/* The message at *offset, moving it on; NULL at the end. `packet` is of our own making: a malformed one is a broken invariant. */
const struct wire_head *packet_next(const struct packet *packet, size_t *offset);

enum packet_io { PACKET_DONE, PACKET_LATER, PACKET_CLOSED };
/* Neither blocks. Sending empties nothing and closes nothing; received descriptors are close-on-exec and the receiver's. Where it is at
 * its limit of open files the last of them are missing: fds_count says what is there. */
enum packet_io packet_send(int socket_fd, const struct packet *packet);
enum packet_io packet_receive(int socket_fd, struct packet *packet);

#endif
