#include "broker/edge/spawner_wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "broker/base/assert.h"

static const char *const step_names[STEP_COUNT] = {
    [STEP_FORK] = "vfork",   [STEP_GROUP] = "setpgid",      [STEP_DESCRIPTORS] = "dup2", [STEP_DIRECTORY] = "chdir",
    [STEP_MEMORY] = "setrlimit", [STEP_CGROUP] = "cgroup", [STEP_EXEC] = "exec", [STEP_PIDFD] = "pidfd_open",
};

const char *spawn_step_name(uint32_t step)
{
    ASSERT(step < STEP_COUNT);
    return step_names[step];
}

bool packet_fits(const struct packet *packet, size_t bytes, unsigned fds)
{
    return bytes + 7 <= PACKET_BYTES_MAX - packet->len && fds <= PACKET_FDS_MAX - packet->fds_count;
}

void *packet_add(struct packet *packet, enum wire_kind kind, uint64_t instance, size_t bytes)
{
    size_t rounded = (bytes + 7) & ~(size_t)7;
    struct wire_head *head = (struct wire_head *)(void *)(packet->data + packet->len);

    ASSERT(bytes >= sizeof *head);
    ASSERT(rounded <= PACKET_BYTES_MAX - packet->len);
    *head = (struct wire_head){ .kind = kind, .bytes = (uint32_t)rounded, .instance = instance };
    packet->len += rounded;
    return head;
}

void packet_add_fd(struct packet *packet, int fd)
{
    ASSERT(packet->fds_count < PACKET_FDS_MAX);
    packet->fds[packet->fds_count++] = fd;
}

const struct wire_head *packet_next(const struct packet *packet, size_t *offset)
{
    if (*offset == packet->len)
        return NULL;
    ASSERT(packet->len - *offset >= sizeof(struct wire_head));
    const struct wire_head *head = (const struct wire_head *)(const void *)(packet->data + *offset);
    ASSERT(head->bytes >= sizeof *head && head->bytes % 8 == 0);
    ASSERT(head->bytes <= packet->len - *offset);
    *offset += head->bytes;
    return head;
}

union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)];
};

enum packet_io packet_send(int socket_fd, const struct packet *packet)
{
    union control control;
    struct iovec bytes = { .iov_base = (void *)(uintptr_t)packet->data, .iov_len = packet->len };
    struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };

    if (packet->fds_count > 0) {
        size_t fds_bytes = sizeof(int) * packet->fds_count;
        message.msg_control = control.room;
        message.msg_controllen = CMSG_SPACE(fds_bytes);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        *rights = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(fds_bytes) };
        memcpy(CMSG_DATA(rights), packet->fds, fds_bytes);
    }
    if (sendmsg(socket_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return PACKET_DONE;
    /* ETOOMANYREFS: too many descriptors of this user are on their way; they arrive, and then there is room. */
    if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS)
        return PACKET_LATER;
    return PACKET_CLOSED;
}

enum packet_io packet_receive(int socket_fd, struct packet *packet)
{
    union control control;
    struct iovec bytes = { .iov_base = packet->data, .iov_len = sizeof packet->data };
    struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room };

    packet->len = 0;
    packet->fds_count = 0;
    ssize_t len = recvmsg(socket_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM))
        return PACKET_LATER;
    if (len <= 0)
        return PACKET_CLOSED;
    for (struct cmsghdr *rights = CMSG_FIRSTHDR(&message); rights != NULL; rights = CMSG_NXTHDR(&message, rights)) {
        size_t fds_bytes = rights->cmsg_len - CMSG_LEN(0);
        if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS)
            continue;
        ASSERT(fds_bytes <= sizeof packet->fds);
        memcpy(packet->fds, CMSG_DATA(rights), fds_bytes);
        packet->fds_count = (unsigned)(fds_bytes / sizeof(int));
    }
    packet->len = (size_t)len;
    ASSERT(!(message.msg_flags & MSG_TRUNC));
    return PACKET_DONE;
}
