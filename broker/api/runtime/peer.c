/* peer.c - from a connection to the process at its other end, and from there to the instance it belongs to.
 *
 * The kernel does not say whose a TCP socket is. It names it by inode; which process holds that inode only /proc/PID/fd tells. So those
 * are asked that are allowed: the leader of the group (nearly always it), its descendants, and last all of its group, which takes a
 * look at every process of the machine. Anybody may connect, and is to cost us little: a socket of another user is refused by the kernel's
 * word alone, and looks at all processes are few a second.
 *
 * A process with a thousand connections has a thousand descriptors, and the kernel gives each new one the lowest that is free: so a look starts a
 * little before the place where the last was found in that process, and takes few names at a time, since each costs the kernel more than us. */
#include "broker/api/runtime/peer.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PLACES = 256,                        /* of processes; two that share one only cost each other looks */
    PLACE_MARGIN = 8,                    /* threads that connect at once are not in the order of their descriptors */
};

/* Where the socket was that was found last in a process. */
struct place {
    pid_t process;
    int descriptor;
};

struct peer_finder {
    int netlink;                         /* -1: the kernel has no sock_diag; /proc/net/tcp is read instead */
    time_t second;                       /* in which `scans` looks at all processes were taken */
    unsigned scans;
    unsigned looks;                      /* of the last check */
    pid_t process;                       /* that it has found */
    struct place places[PLACES];         /* by process */
};

enum { LOOKS_OF_A_SOCKET = 20 };         /* what finding the socket costs beside, in descriptors */

unsigned peer_looks(const struct peer_finder *finder)
{
    return finder->looks;
}

pid_t peer_process(const struct peer_finder *finder)
{
    return finder->process;
}

struct peer_finder *peer_finder_new(void)
{
    struct peer_finder *finder = calloc(1, sizeof *finder);

    if (finder != NULL)
        finder->netlink = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
    return finder;
}

struct peer_finder *peer_finder_free(struct peer_finder *finder)
{
    if (finder != NULL && finder->netlink >= 0)
        (void)close(finder->netlink); /* only read from */
    free(finder);
    return NULL;
}

/* ---- the socket's inode ---- */

/* A connection seen from its client. */
struct ends {
    struct sockaddr_in client, server;
};

static bool ends_of(int fd, struct ends *ret_ends)
{
    socklen_t client_len = sizeof ret_ends->client, server_len = sizeof ret_ends->server;

    return getpeername(fd, (struct sockaddr *)&ret_ends->client, &client_len) == 0 &&
           getsockname(fd, (struct sockaddr *)&ret_ends->server, &server_len) == 0 && ret_ends->client.sin_family == AF_INET;
}

struct peer_socket {
    uint32_t inode;                      /* 0: there is none */
    uid_t user;
};

/* One socket by its four numbers, answered by the kernel within the send. Finds IPv6 sockets that speak IPv4, too. */
static struct peer_socket socket_by_netlink(struct peer_finder *finder, const struct ends *ends)
{
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 body;
    } request = {
        .header = { .nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
        .body = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = UINT32_MAX,
                  .id = { .idiag_sport = ends->client.sin_port, .idiag_dport = ends->server.sin_port,
                          .idiag_src = { ends->client.sin_addr.s_addr }, .idiag_dst = { ends->server.sin_addr.s_addr },
                          .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } } },
    };
    union {
        struct nlmsghdr header;
        char bytes[4096];
    } answer;
    const struct peer_socket none = { 0 };
    struct inet_diag_msg found;

    if (send(finder->netlink, &request, sizeof request, 0) != sizeof request)
        return none;
    ssize_t len = recv(finder->netlink, &answer, sizeof answer, 0);
    if (len < (ssize_t)(NLMSG_HDRLEN + sizeof found) || answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY)
        return none;
    memcpy(&found, NLMSG_DATA(&answer.header), sizeof found);
    return (struct peer_socket){ found.idiag_inode, found.idiag_uid };
}

/* "  sl  local_address rem_address st ... uid timeout inode": addresses as hex of the number in memory, ports as hex. */
static struct peer_socket socket_in_table(const char *path, const char *prefix, const struct ends *ends)
{
    char line[512], wanted[128];
    struct peer_socket found = { 0 };
    FILE *table = fopen(path, "re");

    if (table == NULL)
        return found;
    (void)snprintf(wanted, sizeof wanted, " %s%08" PRIX32 ":%04X %s%08" PRIX32 ":%04X ", prefix, ends->client.sin_addr.s_addr,
                   ntohs(ends->client.sin_port), prefix, ends->server.sin_addr.s_addr, ntohs(ends->server.sin_port));
    while (found.inode == 0 && fgets(line, sizeof line, table) != NULL) {
        const char *at = strstr(line, wanted);
        if (at != NULL && sscanf(at + strlen(wanted), "%*s %*s %*s %*s %" SCNu32 " %*s %" SCNu32, &found.user, &found.inode) != 2)
            found.inode = 0;
    }
    (void)fclose(table); /* only read from */
    return found;
}

static struct peer_socket socket_of(struct peer_finder *finder, const struct ends *ends)
{
    struct peer_socket found = { 0 };

    if (finder->netlink >= 0)
        found = socket_by_netlink(finder, ends);
    if (found.inode == 0)
        found = socket_in_table("/proc/net/tcp", "", ends);
    if (found.inode == 0)
        found = socket_in_table("/proc/net/tcp6", "0000000000000000FFFF0000", ends);
    return found;
}

/* ---- who holds it? ---- */

enum found { FOUND_NOT, FOUND, FOUND_TOO_MANY };
struct search {
    struct place *places;                /* the finder's */
    char link[64];                       /* "socket:[INODE]" */
    unsigned descriptors_left;
    bool denied;                         /* a process of the instance would not be looked into */
    bool blind;                          /* nor could it be: we have no descriptor, or no memory, for that */
    pid_t process;                       /* that holds it */
};

/* Those of an open /proc/PID/fd from `descriptor` on. */
static enum found search_folder(struct search *search, int folder, int descriptor, int *ret_descriptor)
{
    enum { DOTS = 2 };                   /* positions before the first descriptor: "." and ".." */
    _Alignas(struct dirent64) char names[1024];
    char link[64];
    ssize_t len;

    if (lseek(folder, descriptor == 0 ? 0 : descriptor + DOTS, SEEK_SET) < 0)
        return FOUND_NOT;
    while ((len = getdents64(folder, names, sizeof names)) > 0) {
        const struct dirent64 *entry;
        for (ssize_t at = 0; at < len; at += entry->d_reclen) {
            entry = (const struct dirent64 *)(const void *)(names + at);
            if (search->descriptors_left == 0)
                return FOUND_TOO_MANY;
            search->descriptors_left--;
            ssize_t link_len = readlinkat(folder, entry->d_name, link, sizeof link - 1);
            if (link_len <= 0)
                continue; /* "." and "..", or closed meanwhile */
            link[link_len] = '\0';
            if (strcmp(link, search->link) == 0) {
                *ret_descriptor = (int)strtol(entry->d_name, NULL, 10);
                return FOUND;
            }
        }
    }
    return FOUND_NOT;
}

static enum found search_process(struct search *search, pid_t pid)
{
    struct place *place = &search->places[(unsigned)pid % PLACES];
    int from = place->process == pid && place->descriptor > PLACE_MARGIN ? place->descriptor - PLACE_MARGIN : 0, descriptor = 0;
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        search->denied |= errno == EACCES || errno == EPERM;
        search->blind |= errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        return FOUND_NOT;
    }
    enum found found = search_folder(search, folder, from, &descriptor);
    if (found == FOUND_NOT && from > 0) /* all of them: what is before may have been closed and opened, and a position may mean something else */
        found = search_folder(search, folder, 0, &descriptor);
    (void)close(folder); /* only read from */
    if (found == FOUND) {
        search->process = pid;
        *place = (struct place){ pid, descriptor };
    }
    return found;
}

/* Appends the children that `pid`'s threads have started; returns the new count. */
static unsigned children_of(pid_t pid, pid_t *pids, unsigned count)
{
    char path[96];
    int child;

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return count;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", (int)pid, entry->d_name);
        FILE *children = fopen(path, "re");
        while (children != NULL && count < PEER_PROCESSES_MAX && fscanf(children, "%d", &child) == 1)
            pids[count++] = child;
        if (children != NULL)
            (void)fclose(children); /* only read from */
    }
    (void)closedir(folder);
    return count;
}

static enum found search_descendants(struct search *search, pid_t leader)
{
    pid_t pids[PEER_PROCESSES_MAX] = { leader };
    unsigned count = 1;
    enum found found = FOUND_NOT;

    for (unsigned i = 0; i < count && found == FOUND_NOT; i++) {
        found = search_process(search, pids[i]);
        if (found == FOUND_NOT)
            count = children_of(pids[i], pids, count);
    }
    return found;
}

struct kin { int parent, group; };       /* 0: it is gone */

/* The fourth and the fifth field of /proc/PID/stat; the second, in parentheses, may be anything. */
static struct kin kin_of(pid_t pid)
{
    const struct kin none = { 0 };
    struct kin kin;
    char path[64], text[512];

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        (void)close(fd); /* only read from */
    if (len <= 0)
        return none;
    text[len] = '\0';
    const char *end = strrchr(text, ')');
    return end != NULL && sscanf(end + 1, " %*c %d %d", &kin.parent, &kin.group) == 2 ? kin : none;
}

pid_t peer_branch(pid_t pid, pid_t leader)
{
    for (unsigned steps = 0; steps < PEER_PROCESSES_MAX && pid != leader; steps++) {
        pid_t parent = kin_of(pid).parent;
        if (parent == leader || parent <= 1 || kin_of(parent).group != leader)
            return pid;
        pid = parent;
    }
    return pid == leader ? 0 : pid;
}

static enum found search_group(struct search *search, pid_t leader)
{
    enum found found = FOUND_NOT;
    DIR *folder = opendir("/proc");

    if (folder == NULL)
        return FOUND_NOT;
    for (struct dirent *entry = readdir(folder); entry != NULL && found == FOUND_NOT; entry = readdir(folder)) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? (pid_t)strtol(entry->d_name, NULL, 10) : 0;
        if (pid > 0 && pid != leader && kin_of(pid).group == leader)
            found = search_process(search, pid);
    }
    (void)closedir(folder); /* only read from */
    return found;
}

/* A look at all processes is for those whose parents are gone, and for strangers: the latter are not to have the loop's time. */
static bool scan_allowed(struct peer_finder *finder)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return false;
    if (now.tv_sec != finder->second)
        finder->scans = 0;
    finder->second = now.tv_sec;
    return finder->scans++ < PEER_SCANS_PER_S;
}

enum sluice_err peer_check(struct peer_finder *finder, int fd, pid_t leader, const pid_t *others, unsigned others_count, struct sluice_error *reterr)
{
    struct search search = { .places = finder->places, .descriptors_left = PEER_DESCRIPTORS_MAX };
    struct ends ends;

    finder->looks = LOOKS_OF_A_SOCKET;
    if (!ends_of(fd, &ends))
        return sluice_fail(reterr, SLUICE_ENOTFOUND, "the connection is gone already");
    struct peer_socket peer = socket_of(finder, &ends);
    if (peer.inode == 0)
        return sluice_fail(reterr, SLUICE_ENOTFOUND, "the process that connected has closed its socket already");
    if (geteuid() != 0 && peer.user != geteuid()) /* what we start runs as ourselves; root's may be anybody */
        return sluice_fail(reterr, SLUICE_EACCESS, "it comes from a process of another user (uid %u)", (unsigned)peer.user);
    (void)snprintf(search.link, sizeof search.link, "socket:[%" PRIu32 "]", peer.inode);
    enum found found = search_descendants(&search, leader);
    for (unsigned i = 0; i < others_count && found == FOUND_NOT; i++)
        found = search_descendants(&search, others[i]);
    if (found == FOUND_NOT && scan_allowed(finder))
        found = search_group(&search, leader);
    finder->looks = PEER_DESCRIPTORS_MAX - search.descriptors_left + LOOKS_OF_A_SOCKET;
    finder->process = search.process;
    if (found == FOUND)
        return SLUICE_OK;
    if (found == FOUND_TOO_MANY)
        return sluice_fail(reterr, SLUICE_EACCESS, "the instance has more than %d open descriptors to look at",
                           PEER_DESCRIPTORS_MAX);
    if (search.blind)
        return sluice_fail(reterr, SLUICE_ELIMIT, "whose it is cannot be looked up: the daemon has no descriptor left; raise its limit (LimitNOFILE=, "
                                                  "ulimit -n)");
    return sluice_fail(reterr, SLUICE_EACCESS, "it comes from none of the processes of the instance (group %d)%s", (int)leader,
                       search.denied ? "; some of them may not be looked into: do they run as another user?" : "");
}
