/* SPDX-License-Identifier: MIT
 *
 * Every limit that can be run into, reached by real processes: each gives one sentence that says what, where and the
 * remedy, and no
 * damage. Bystanders, two clients that exchange messages, go on meanwhile; afterwards nothing is left, and when the limit
 * is lifted the
 * same call works.
 *
 *   limits.c           the program: scenes in their order
 *   limits_tables.c    the daemon's tables, and those of a process
 *   limits_files.c     open files, of the daemon, of a client, of the system
 *   limits_places.c    where the socket, the log and /proc are, or are not
 *   limits_memory.c    locked memory, huge pages, a node's memory
 *   limits_groups.c    control groups: memory and tasks
 *   limits_pids.c      process numbers that are used again
 *   limits_time.c      clocks that jump, processes that are stopped
 *   limits_session.c   what a client does, one call a step
 *   limits_help.c      daemons in poor circumstances, askers, bystanders
 *   limits_restore.c   what is changed on the machine, and changed back whatever becomes of the test
 */
#ifndef NUMAPOOL_TESTS_CRASH_LIMITS_H
#define NUMAPOOL_TESTS_CRASH_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness.h"
#include "numapool.h"

#define LIMITS_POOL "l"
#define LIMITS_POOL_SPEC LIMITS_POOL ",size=128,count=4096"

#define LIMITS_SECOND_NS INT64_C(1000000000)
#define LIMITS_LONG_NS INT64_C(20000000000)

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_release)
#define ADD(field) atomic_fetch_add_explicit(&(field), 1, memory_order_acq_rel)

/* ---- scenes */

void limits_tables(void);
void limits_files(void);
void limits_places(void);
void limits_memory(void);
void limits_groups(void);
void limits_pids(void);
void limits_time(void);
/* A receiver that is stopped for so long, with all that goes on beside it. */
void limits_stopped_for(unsigned seconds);

/* A limit that was really reached: counted for the figure. */
void limits_reached(const char *limit);
/* One that this machine does not let be reached. */
void limits_not_run(const char *limit, const char *why);

/* ---- daemons (limits_help.c) */

struct limits_start {
    const char *const *options;      /* after --socket, --ready-fd and --log; ended by NULL; NULL: one pool,
        LIMITS_POOL_SPEC */
    void (*before)(void *context);   /* in the daemon's process, before it is executed; _exit(100) when it cannot */
    void *context;
    int log_fd;                      /* instead of the file; 0: the file */
    const char *socket;              /* NULL: harness_daemon_prepare's */
};

/* Removes the log of an earlier one. 0: it is ready; else the wait status with which it ended; -1: neither within 20 s, and
 * it
 * was killed. */
int limits_daemon_start(struct harness_daemon *daemon, const struct limits_start *start);
/* With the usual options, ready; prints the verdict. */
bool limits_daemon_usual(struct harness_daemon *daemon);
/* Ended, and the directory removed; prints the verdict. */
void limits_daemon_end(struct harness_daemon *daemon);
/* It did not start, ended with this status, and the log has this sentence (all parts, in one line). */
void limits_expect_refused(const struct harness_daemon *daemon, int status, int exit_status, const char *what,
                           const char *const *parts);
/* Whether one line of the log has all parts (ended by NULL). */
bool limits_log_has(const struct harness_daemon *daemon, const char *const *parts);
unsigned limits_log_lines(const struct harness_daemon *daemon);
/* How often the process gave up its processor by itself: what a loop that is busy does not stop doing. */
uint64_t limits_switches(pid_t pid);
/* Open descriptors of a process; 0: cannot be seen. */
unsigned limits_descriptors(pid_t pid);
/* From here on the process is of this user and group, without any privilege. */
enum { LIMITS_NOBODY = 65534, LIMITS_SOMEBODY = 65533 };
void limits_become(unsigned user);

/* ---- askers: processes that are refused something */

struct limits_answer {
    _Atomic int32_t result;
    _Atomic uint32_t step, go_on;
    _Atomic uint64_t number;
    char sentence[512];
};

/* Memory, zeroed, that forked processes share with the test. Never fails. */
void *limits_shared(size_t bytes);
struct limits_answer *limits_answer_new(void);
/* In the asker: keeps what a call returned, and its sentence. */
int limits_keep(struct limits_answer *answer, int result);
/* In the asker: says that it has come so far, and waits until the test says it may go on. */
void limits_wait_go_on(struct limits_answer *answer, uint32_t step);
/* In the test: whether the asker comes so far within 20 s. */
bool limits_comes_to(struct limits_answer *answer, uint32_t step);

/* What the asker was told: the code, and all parts in its sentence. Prints the sentence. */
bool limits_expect_sentence(const struct limits_answer *answer, int code, const char *what, const char *const *parts);

/* A client's whole session, one call a step (limits_session.c). */
enum { LIMITS_SESSION_STEPS = 7 };
extern const char *const limits_step_names[LIMITS_SESSION_STEPS];

struct limits_session {
    const struct harness_daemon *daemon;
    struct limits_answer *answer; /* `number`: the step that failed, from 1; 0: none has */
    uint64_t spare;               /* of what is short: for the test's use */
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
};

/* In the asker. What fails is done again after make_room, or when the test says that it may go on (1), and then must work.
 * Who has connected at the second try waits for 2. The exit status for the process. */
int limits_session_run(struct limits_session *session, void (*make_room)(void));

/* Runs body in a process of its own to its end: its exit status, or -1. */
int limits_run(int (*body)(void *context), void *context);

/* ---- bystanders */

struct limits_bystanders {
    struct bystander_count *count;
    pid_t sender, receiver;
};

/* Two clients of the usual pool exchange numbered messages until they are ended, and take and put slots. */
bool limits_bystanders_start(struct limits_bystanders *bystanders, const struct harness_daemon *daemon);
/* Whether the daemon comes to have so many clients, two of them being bystanders. */
bool limits_come_to_be(const struct harness_daemon *daemon, unsigned clients);
/* They go on, in order: prints the verdict. */
void limits_bystanders_expect(struct limits_bystanders *bystanders, const char *when);
/* What all of them have exchanged, those that have ended. */
uint64_t limits_bystanders_total(void);
/* They are ended, and nothing is left with the daemon. */
void limits_bystanders_end(struct limits_bystanders *bystanders, const struct harness_daemon *daemon);

/* ---- changes of the machine (limits_restore.c) */

/* Forks the guardian, which undoes what is registered as soon as nobody of the test lives. */
void limits_guard(void);
/* Writes the text into a file of /proc/sys or /sys/fs/cgroup; what was in it comes back. False: it may not be changed, and
 * nothing is. */
bool limits_change(const char *path, const char *text);
/* All that was changed since is undone, last first. */
void limits_restore_all(void);
/* A control group of its own below that of this process: whoever is in it at the end is killed, and it is removed.
 * `controller`: "memory"
 * or "pids". False: there is no hierarchy where this process may make one. */
struct limits_group {
    char path[PATH_MAX];
    bool version_2;
};
bool limits_group_make(struct limits_group *group, const char *controller);
bool limits_group_enter(const struct limits_group *group, pid_t pid);
/* Names as of version 1; those of version 2 are found. */
bool limits_group_set(const struct limits_group *group, const char *name, const char *text);
uint64_t limits_group_get(const struct limits_group *group, const char *name);
/* Moves CLOCK_REALTIME, and back: by the monotonic clock, so that it is right again. */
bool limits_clock_move(int64_t by_seconds);
/* That all this comes back when the test is killed: tried out on a file and a control group. */
void limits_guardian_works(void);

#endif
