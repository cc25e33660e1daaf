/* SPDX-License-Identifier: MIT
 *
 * The keeper, killed at its own system calls: at every stop before and after one while a client attaches, sends and leaves, and at
 * a sample of those between its start and its being ready. Nothing of it but system calls can be seen from outside.
 */
#include "fdstore.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

#define WORKER_GOES_ON_NS 2000000

enum { SERVING_MAX = 400, STARTS = 70, REST_EVERY = 10 };

enum outcome { KILLED, DONE, FAILED };

static bool stop_tracee(pid_t pid)
{
    int status;
    if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0)
        return false;
    return waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
}

static void let_go(pid_t pid)
{
    if (stop_tracee(pid))
        ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

static void kill_tracee(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, __WALL) == pid && !WIFEXITED(status) && !WIFSIGNALED(status))
        continue;
}

/* Lets it run on to its next stop, if it is stopped. 1: at a system call, 0: not yet or elsewhere, -1: it has ended. */
static int next_stop(pid_t pid, bool *executed)
{
    int status;
    pid_t who = waitpid(pid, &status, __WALL | WNOHANG);
    if (who == 0) {
        harness_sleep_ns(20000);
        return 0;
    }
    if (who < 0 || !WIFSTOPPED(status))
        return -1;
    if (WSTOPSIG(status) == (SIGTRAP | 0x80))
        return 1;
    if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8))
        *executed = true;
    ptrace(PTRACE_SYSCALL, pid, NULL, (status >> 16) != 0 || WSTOPSIG(status) == SIGTRAP ? 0 : (long)WSTOPSIG(status));
    return 0;
}

/* ---------------------------------------------------------------- while it serves */

static enum outcome kill_while_serving(struct fdstore_trial *trial, unsigned at)
{
    pid_t keeper = GET(trial->manager.told->keeper);
    uint32_t before = GET(trial->manager.told->starts);
    unsigned stops = 0;
    int visit_status = -1;
    bool visited = false, killed = false, executed = false;
    if (ptrace(PTRACE_SEIZE, keeper, NULL, PTRACE_O_TRACESYSGOOD) != 0 || !stop_tracee(keeper) || ptrace(PTRACE_SYSCALL, keeper, NULL, NULL) != 0)
        return FAILED;
    pid_t visit = harness_fork(fdstore_visit_once, trial);
    while (!killed && !visited) {
        int stop = next_stop(keeper, &executed);
        if (stop > 0 && ++stops == at) {
            pid_t worker = harness_daemon_worker(&trial->daemon);
            harness_sleep_ns(WORKER_GOES_ON_NS); /* as far as it gets on what it has been told: it has its client told */
            if (at % 3 == 0 && worker > 0)
                kill(worker, SIGKILL); /* both at once; else the worker goes on until it has heard of it */
            kill_tracee(keeper);
            killed = true;
        } else if (stop > 0) {
            ptrace(PTRACE_SYSCALL, keeper, NULL, NULL);
        } else if (stop < 0) {
            return FAILED;
        }
        visited = waitpid(visit, &visit_status, WNOHANG) == visit;
    }
    if (!killed)
        let_go(keeper);
    bool ready = !killed || manager_wait(&trial->manager, before, FDSTORE_LONG_NS);
    if (!visited)
        visit_status = harness_join(visit, 2 * FDSTORE_LONG_NS);
    if (!ready || visit_status != 0)
        return FAILED;
    return killed ? KILLED : DONE;
}

/* ---------------------------------------------------------------- while it starts */

/* Until the manager has started another, which it holds. */
static void wait_for_start(struct fdstore_trial *trial, uint32_t before)
{
    while (GET(trial->manager.told->starts) == before || GET(trial->manager.told->keeper) == 0)
        harness_sleep_ns(100000);
}

/* Kills the one that is held at its stop number `at`, or counts the stops until it is ready: at 0. */
static enum outcome kill_while_starting(struct fdstore_trial *trial, unsigned at, unsigned *stops)
{
    struct manager_told *told = trial->manager.told;
    int64_t until_ns = harness_now_ns() + FDSTORE_LONG_NS;
    pid_t keeper = GET(told->keeper);
    bool executed = false;
    *stops = 0;
    if (ptrace(PTRACE_SEIZE, keeper, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC) != 0 || !stop_tracee(keeper))
        return FAILED;
    uint32_t start = GET(told->starts);
    ptrace(PTRACE_SYSCALL, keeper, NULL, NULL);
    SET(told->holds, 0);
    while (harness_now_ns() < until_ns) {
        int stop = next_stop(keeper, &executed);
        if (executed && at > 0)
            SET(told->holds, 1); /* the one after it */
        if (stop < 0)
            return FAILED;
        if (stop > 0 && executed && ++*stops == at) {
            kill_tracee(keeper);
            wait_for_start(trial, start);
            return KILLED;
        }
        if (GET(told->ready) == start) {
            if (stop > 0)
                ptrace(PTRACE_DETACH, keeper, NULL, NULL);
            else
                let_go(keeper);
            return DONE;
        }
        if (stop > 0)
            ptrace(PTRACE_SYSCALL, keeper, NULL, NULL);
    }
    return FAILED;
}

/* What is running ends, and the next is held before it is executed. */
static void begin_holding(struct fdstore_trial *trial)
{
    uint32_t before = GET(trial->manager.told->starts);
    SET(trial->manager.told->holds, 1);
    kill(GET(trial->manager.told->keeper), SIGKILL);
    wait_for_start(trial, before);
}

/* What is held goes on, and serves. */
static bool rest(struct fdstore_trial *trial)
{
    uint32_t before = GET(trial->manager.told->starts) - 1;
    SET(trial->manager.told->holds, 0);
    return manager_wait(&trial->manager, before, FDSTORE_LONG_NS) && fdstore_visit_once(trial) == 0;
}

static unsigned starting(struct fdstore_trial *trial, unsigned kills)
{
    unsigned all = 0, stops, done = 0;
    begin_holding(trial);
    if (kill_while_starting(trial, 0, &all) != DONE || all == 0) {
        harness_expect(false, "the keeper's start can be followed");
        return 0;
    }
    manager_wait(&trial->manager, GET(trial->manager.told->starts) - 1, FDSTORE_LONG_NS);
    unsigned stride = all / kills + 1, first = 1 + harness_below(&trial->random, stride);
    bool good = true;
    begin_holding(trial);
    for (unsigned at = first; good && at <= all; at += stride) {
        enum outcome outcome = kill_while_starting(trial, at, &stops);
        if (outcome == FAILED)
            good = false;
        done += outcome == KILLED;
        if (good && (outcome == DONE || done % REST_EVERY == 0)) {
            good = rest(trial);
            begin_holding(trial);
        }
    }
    good = rest(trial) && good;
    harness_expect(good, "killed %u times between its first system call and its being ready (%u stops in all), it takes over the next time", done,
                   all);
    return done;
}

unsigned fdstore_kill_at_calls(struct fdstore_trial *trial)
{
    unsigned done = 0, step = 100 / harness_scaled(100, 10);
    enum outcome outcome = KILLED;
    if (ptrace(PTRACE_SEIZE, GET(trial->manager.told->keeper), NULL, NULL) != 0) {
        harness_note("NOT RUN: the keeper killed at its system calls: ptrace is refused (%s)", strerror(errno));
        return 0;
    }
    let_go(GET(trial->manager.told->keeper));
    atomic_store_explicit(&trial->ledger->stay, 1, memory_order_release); /* opening waits 2 s for a daemon, which is not there for longer now and then */
    for (unsigned at = 1 + harness_below(&trial->random, step); outcome == KILLED && at <= SERVING_MAX; at += step) {
        outcome = kill_while_serving(trial, at);
        done += outcome == KILLED;
    }
    harness_expect(outcome == DONE && done > 3, "killed at each stop (%u) before and after its system calls while a client attaches, sends and leaves, "
                   "the keeper loses nothing, and the client is through", done);
    if (outcome != FAILED)
        done += starting(trial, harness_scaled(STARTS, 5));
    atomic_store_explicit(&trial->ledger->stay, 0, memory_order_release);
    return done;
}
