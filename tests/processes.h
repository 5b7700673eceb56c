/* processes.h - for tests that start processes: waiting for a condition on a loop, and seeing that nothing stays behind. */
#ifndef SLUICE_TEST_PROCESSES_H
#define SLUICE_TEST_PROCESSES_H

#include <ev.h>
#include <stdbool.h>
#include <sys/types.h>

/* Runs the loop until `condition` holds; a failure after 30 s. Looks again after every turn and every few milliseconds. */
#define WAIT_FOR(loop, condition)                                                            \
    do {                                                                                     \
        struct deadline deadline_;                                                           \
        deadline_start((loop), &deadline_);                                                  \
        while (!(condition) && deadline_turn(&deadline_))                                    \
            continue;                                                                        \
        deadline_stop(&deadline_);                                                           \
        EXPECT(condition);                                                                   \
    } while (0)

struct deadline {
    struct ev_loop *loop;
    struct ev_timer tick;
    ev_tstamp over_at;
};
void deadline_start(struct ev_loop *loop, struct deadline *deadline);
bool deadline_turn(struct deadline *deadline);       /* false: it is over */
void deadline_stop(struct deadline *deadline);

unsigned fds_open(void);
bool process_gone(pid_t pid);                        /* a zombie is gone: it runs no more */
bool parent_of_process(pid_t pid, pid_t *ret_parent); /* false: there is no such process */
/* The number in a file that a process writes; 0 as long as it is not there. */
int number_in(const char *path);
/* The spawner under this process: its only child that calls itself so; 0: none. */
pid_t spawner_pid(void);

#endif
