/* SPDX-License-Identifier: MIT
 *
 * What the crash tests have in common: a real daemon in a directory of its own, processes that can be killed, a read-only look at the
 * daemon's board, and a count of promises kept and broken.
 *
 * Environment: NUMAPOOL_BUILD         where numapoold and numapoolctl are (otherwise two directories above the test)
 *              NUMAPOOL_TEST_LOOP     io_uring or epoll: what the daemon runs on (otherwise auto)
 *              NUMAPOOL_TEST_PERCENT  1..100: how much of the work is done
 * Options:     --seed N               0 or none: another at each run; it is printed
 */
#ifndef NUMAPOOL_TESTS_CRASH_HARNESS_H
#define NUMAPOOL_TESTS_CRASH_HARNESS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/board.h"
#include "broker/broker.h"
#include "numapool.h"

void harness_begin(const char *name, int argc, char **argv);
/* Prints the closing line; the exit status. */
int harness_end(void);
/* Promises broken so far. */
unsigned harness_failed(void);

/* Counts a promise and prints it with the verdict. Returns `kept`. Only in the test's own process. */
__attribute__((format(printf, 2, 3))) bool harness_expect(bool kept, const char *promise, ...);
__attribute__((format(printf, 1, 2))) void harness_note(const char *format, ...);
/* One line "FIGURE key: ..." for docs/reliability.md, which names it by this key: lower case, the program's name first, as in
 * "storm.kills". */
__attribute__((format(printf, 2, 3))) void harness_figure(const char *key, const char *format, ...);

uint64_t harness_seed(void);
/* `full` at 100 percent, never less than `least`. */
unsigned harness_scaled(unsigned full, unsigned least);

/* A small generator (xorshift64*, Vigna 2014); *state is never 0. */
uint64_t harness_random(uint64_t *state);
unsigned harness_below(uint64_t *state, unsigned n);

int64_t harness_now_ns(void);
void harness_sleep_ns(int64_t duration_ns);

/* Sleeps until condition(context) holds, at most timeout_ns. Whether it came to hold. */
bool harness_wait_until(bool (*condition)(void *context), void *context, int64_t timeout_ns);

/* ---- processes */

/* Called first of all in each process that harness_fork and harness_daemon_start make: for what takes rights away from
 * them. NULL: nothing. */
extern void (*harness_confine)(void);

/* A forked process that ends with its parent and runs body(context); its exit status is what body returns. */
pid_t harness_fork(int (*body)(void *context), void *context);
/* Kills it and waits for it. */
void harness_kill(pid_t pid);
/* Waits at most timeout_ns for its end, then kills it. Its wait status, or -1: it had to be killed. */
int harness_join(pid_t pid, int64_t timeout_ns);
bool harness_is_alive(pid_t pid);
/* State letter of /proc/PID/stat: 'T' stopped, 'Z' ended and not waited for; 0: no such process. */
char harness_process_state(pid_t pid);

/* ---- the daemon */

/* Where a program of this build is. */
void harness_program_path(char *path, size_t bytes, const char *program);

struct harness_daemon {
    pid_t keeper;
    char directory[64];
    char socket[96];
    char lock[108];
    char log[96];
};

/* A private directory for a daemon that is not started yet. */
void harness_daemon_prepare(struct harness_daemon *daemon);
/* Starts numapoold and waits until it says ready. False, with its log printed: it did not. */
bool harness_daemon_start(struct harness_daemon *daemon, const char *pool_spec);
/* The same with more of the command line's options, ended by NULL; at most 16. */
bool harness_daemon_start_with(struct harness_daemon *daemon, const char *pool_spec, const char *const *more);
/* The same in two: the daemon is started, and *ready is what it will say ready by; the caller may kill it before, and closes *ready. */
void harness_daemon_launch(struct harness_daemon *daemon, const char *pool_spec, const char *const *more, int *ready);
bool harness_daemon_await(struct harness_daemon *daemon, int ready);
/* The worker: the keeper's child. 0: there is none. */
pid_t harness_daemon_worker(const struct harness_daemon *daemon);
/* Another worker than `old`, waited for. */
pid_t harness_daemon_next_worker(const struct harness_daemon *daemon, pid_t old);
/* SIGTERM; its wait status, or -1 when it did not end within 10 s. */
int harness_daemon_stop(struct harness_daemon *daemon);
/* SIGKILL to both, worker first or keeper first. Returns when both are gone. */
void harness_daemon_kill(struct harness_daemon *daemon, bool keeper_first);
/* Removes the directory; prints the end of the log when something failed. */
void harness_daemon_remove(struct harness_daemon *daemon);
/* Whether the log has a line with `text`. */
bool harness_daemon_said(const struct harness_daemon *daemon, const char *text);
/* Runs numapoolctl with these arguments (ended by NULL) on the daemon's socket. Its exit status. */
int harness_tool(const struct harness_daemon *daemon, const char *const *arguments);

/* ---- looking at the board */

struct harness_look {
    int socket;
    void *memory;
    size_t bytes;
    struct np_board board;
};

bool harness_look_open(struct harness_look *look, const char *socket_path);
void harness_look_close(struct harness_look *look);
/* Sweeps the words of pool 0 and its lanes. False: could not be looked at. Findings are printed. */
bool harness_look_check(struct harness_look *look, struct np_check *check);
/* Entries that are not NONE. */
struct harness_left {
    unsigned clients, endpoints, channels, lanes;
};
struct harness_left harness_look_left(const struct harness_look *look);

/* Whether the daemon has forgotten client `number` that had this cookie, after it gave back the last that the client
 * held. */
bool harness_look_is_gone(const struct harness_look *look, uint32_t number, uint64_t cookie);
/* Waits for that at most timeout_ns: nanoseconds, or -1. */
int64_t harness_look_wait_gone(const struct harness_look *look, uint32_t number, uint64_t cookie, int64_t timeout_ns);
/* The cookie of a client that is connected. */
uint64_t harness_look_cookie(const struct harness_look *look, uint32_t number);

/* Waits until all slots of pool 0 are free, at most timeout_ns. The last count of free ones; *took_ns how long it was. */
uint64_t harness_wait_all_free(struct harness_look *look, int64_t timeout_ns, int64_t *took_ns);
/* Expects that nothing is left: slots, clients, endpoints, lanes, channels; that the words are right; that numapoolctl
 * finds so too. */
void harness_expect_nothing_left(const struct harness_daemon *daemon);

#endif
