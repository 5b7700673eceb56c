#include "broker/edge/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

static const char hybrid_mounts[] =
    "30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n"
    "31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate\n"
    "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 30 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:12 master:3 - cgroup cgroup rw,memory\n";
static const char hybrid_cgroups[] = "5:memory:/user.slice\n3:cpu,cpuacct:/elsewhere\n1:name=systemd:/init.scope\n0::/system.slice/a b\n";

static const struct {
    const char *label;
    enum memory_limiter version;
    const char *cgroups, *mounts, *folder; /* NULL: not found */
} found[] = {
    { "v2 of a service", MEMORY_BY_CGROUP2, "0::/system.slice/sluiced.service\n",
      "25 22 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/system.slice/sluiced.service" },
    { "v2 at the top", MEMORY_BY_CGROUP2, "0::/\n", "25 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup" },
    { "v2 beside v1", MEMORY_BY_CGROUP2, hybrid_cgroups, hybrid_mounts, "/sys/fs/cgroup/unified/system.slice/a b" },
    { "v1 of the memory controller", MEMORY_BY_CGROUP1, hybrid_cgroups, hybrid_mounts, "/sys/fs/cgroup/memory/user.slice" },
    { "v1 with another controller", MEMORY_BY_CGROUP1, "7:hugetlb,memory:/x\n", "1 1 0:1 / /c rw - cgroup cgroup rw,hugetlb,memory\n",
      "/c/x" },
    { "a controller that only begins like it", MEMORY_BY_CGROUP1, "7:memory2:/x\n", "1 1 0:1 / /c rw - cgroup cgroup rw,memory\n", NULL },
    { "a container that sees its own part", MEMORY_BY_CGROUP1, "4:memory:/docker/77\n",
      "9 8 0:3 /docker/77 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "/sys/fs/cgroup/memory" },
    { "a mount that shows a part above us", MEMORY_BY_CGROUP1, "4:memory:/docker/77/x\n",
      "9 8 0:3 /docker /c ro - cgroup cgroup rw,memory\n", "/c/77/x" },
    { "a mount that shows another part", MEMORY_BY_CGROUP1, "4:memory:/docker/77\n", "9 8 0:3 /docker/7 /c ro - cgroup cgroup rw,memory\n",
      NULL },
    { "outside of our namespace", MEMORY_BY_CGROUP2, "0::/../other\n", "9 8 0:3 / /c rw - cgroup2 cgroup2 rw\n", NULL },
    { "a mount point with a space", MEMORY_BY_CGROUP2, "0::/x\n", "9 8 0:3 / /my\\040groups rw - cgroup2 none rw\n", "/my groups/x" },
    { "not mounted", MEMORY_BY_CGROUP2, "0::/x\n", "9 8 0:3 / /proc rw - proc proc rw\n", NULL },
    { "no such line", MEMORY_BY_CGROUP2, "4:memory:/x\n", "9 8 0:3 / /c rw - cgroup2 cgroup2 rw\n", NULL },
    { "lines that end early", MEMORY_BY_CGROUP2, "0::/x", "9 8\n\n9 8 0:3 / /c rw", NULL },
    { "empty files", MEMORY_BY_CGROUP1, "", "", NULL },
};

TEST(our_cgroup_is_found_where_it_is_mounted)
{
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        char folder[CGROUP_PATH_MAX] = "";
        test_label(found[i].label);
        EXPECT_EQ(found[i].folder != NULL, cgroup_find(found[i].version, found[i].cgroups, found[i].mounts, folder));
        if (found[i].folder != NULL)
            EXPECT_TEXT(found[i].folder, folder);
    }
    test_label(NULL);
}

static int given_lock_named(const char *name)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/%s", test_directory(), name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT(fd >= 0);
    return fd;
}

static int given_lock(void)
{
    return given_lock_named("lock");
}

static void note(int lock, const char *folder)
{
    EXPECT_EQ(0, ftruncate(lock, 0));
    EXPECT_EQ((ssize_t)strlen(folder), pwrite(lock, folder, strlen(folder), 0));
}

TEST(what_was_asked_for_is_used_and_said)
{
    struct cgroup cgroup;
    int lock = given_lock();

    cgroup_open(&cgroup, lock, getpid(), "rlimit");
    EXPECT_EQ(MEMORY_BY_RLIMIT, cgroup.limiter);
    EXPECT_TEXT("asked for", cgroup.reason);
    EXPECT_TEXT("", cgroup.folder);
    (void)close(lock);
}

/* Does this machine give us one? */
static bool given(const struct cgroup *cgroup)
{
    if (cgroup->limiter == MEMORY_BY_RLIMIT)
        test_skip("no cgroup is given to us here: %s", cgroup->reason);
    return cgroup->limiter != MEMORY_BY_RLIMIT;
}

/* A process that sits in the instance's cgroup and waits. */
static pid_t given_process_in(const struct cgroup *cgroup, uint64_t instance)
{
    int enter_fd, told[2];

    EXPECT_EQ(0, cgroup_make(cgroup, instance, 64 << 20, &enter_fd));
    EXPECT_EQ(0, pipe(told));
    pid_t pid = fork();
    if (pid == 0) {
        (void)!write(enter_fd, "0", 1);
        (void)!write(told[1], "x", 1);
        for (;;)
            (void)pause();
    }
    char x;
    EXPECT_EQ(1, read(told[0], &x, 1));
    (void)close(enter_fd);
    (void)close(told[0]);
    (void)close(told[1]);
    return pid;
}

TEST(what_a_dead_daemon_left_is_killed_and_removed)
{
    struct cgroup cgroup, next;
    int lock = given_lock(), status = 0;

    cgroup_open(&cgroup, lock, getpid(), NULL);
    if (given(&cgroup)) {
        pid_t pid = given_process_in(&cgroup, 17);
        EXPECT(!cgroup_remove(&cgroup, 17)); /* somebody is in it */
        cgroup_open(&next, lock, getpid(), NULL);
        EXPECT_TEXT(cgroup.folder, next.folder); /* of one lock, one folder */
        EXPECT_EQ(pid, waitpid(pid, &status, 0));
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        EXPECT(cgroup_remove(&next, 17)); /* it is not there any more */
        cgroup_close(&next, lock);
        EXPECT(access(next.folder, F_OK) != 0);
    }
    (void)close(lock);
}

static void move_to(const char *folder, pid_t pid)
{
    char path[CGROUP_PATH_MAX + 64], number[24];

    (void)snprintf(path, sizeof path, "%s/cgroup.procs", folder);
    (void)snprintf(number, sizeof number, "%d", (int)pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    EXPECT_EQ((ssize_t)strlen(number), write(fd, number, strlen(number)));
    (void)close(fd);
}

/* An instance's groups go with it, whichever of them its processes have gone to: two levels with one in each, and one beside them that is empty. */
TEST(groups_that_an_instance_made_in_its_own_are_emptied_and_removed)
{
    static const char *const made[] = { "/a", "/a/b", "/a/b/c", "/d" };
    struct cgroup cgroup;
    char folder[CGROUP_PATH_MAX + 32];
    int lock = given_lock(), status = 0;

    cgroup_open(&cgroup, lock, getpid(), NULL);
    if (given(&cgroup)) {
        pid_t deep = given_process_in(&cgroup, 17), shallow = given_process_in(&cgroup, 18);
        for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
            (void)snprintf(folder, sizeof folder, "%s/17%s", cgroup.folder, made[i]);
            EXPECT_EQ(0, mkdir(folder, 0700));
            if (strcmp(made[i], "/a/b") == 0)
                move_to(folder, deep);
            if (strcmp(made[i], "/d") == 0)
                move_to(folder, shallow);
        }
        (void)cgroup_remove(&cgroup, 17); /* they have been killed; whether they are gone already is the kernel's to say */
        EXPECT_EQ(deep, waitpid(deep, &status, 0));
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        EXPECT_EQ(shallow, waitpid(shallow, &status, 0));
        EXPECT(cgroup_remove(&cgroup, 17));
        (void)snprintf(folder, sizeof folder, "%s/17", cgroup.folder);
        EXPECT(access(folder, F_OK) != 0);
        EXPECT(cgroup_remove(&cgroup, 18));
    }
    cgroup_close(&cgroup, lock);
    (void)close(lock);
}

/* The lock file says where the last one was; whatever else stands there is left alone. */
TEST(only_folders_of_ours_in_a_cgroup_file_system_are_removed)
{
    char folder[512];
    struct cgroup cgroup;
    struct stat info;
    int lock = given_lock();

    EXPECT_EQ(0, fstat(lock, &info));
    (void)snprintf(folder, sizeof folder, "%s/sluice-%llx-%llx", test_directory(), (unsigned long long)info.st_dev,
                   (unsigned long long)info.st_ino);
    EXPECT_EQ(0, mkdir(folder, 0700));
    note(lock, folder);
    cgroup_open(&cgroup, lock, getpid(), "rlimit");
    EXPECT_EQ(0, access(folder, F_OK));
    EXPECT_EQ(0, rmdir(folder));
    (void)close(lock);
}

TEST(a_copy_of_a_data_directory_does_not_harm_the_daemon_of_the_original)
{
    struct cgroup original, copy;
    int lock = given_lock(), copied = given_lock_named("copied");

    cgroup_open(&original, lock, getpid(), NULL);
    if (given(&original)) {
        note(copied, original.folder);
        cgroup_open(&copy, copied, getpid(), NULL);
        EXPECT_EQ(0, access(original.folder, F_OK));
        EXPECT(strcmp(original.folder, copy.folder) != 0);
        cgroup_close(&copy, copied);
    }
    cgroup_close(&original, lock);
    (void)close(lock);
    (void)close(copied);
}
