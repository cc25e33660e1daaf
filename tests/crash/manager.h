/* SPDX-License-Identifier: MIT
 *
 * A service manager of the test's own: a process that starts numapoold, hears what it notifies of, keeps descriptors by name and
 * passes them to the next one, as systemd does (its rules: who is heard, FDSTORE and FDSTOREREMOVE, which descriptors it has twice, order, what is refused
 * without a word when there are too many, BARRIER). Worse than systemd in one thing: it does not wait for the end of the worker
 * before it starts the next keeper.
 */
#ifndef NUMAPOOL_TESTS_CRASH_MANAGER_H
#define NUMAPOOL_TESTS_CRASH_MANAGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness.h"

enum manager_order { MANAGER_NOTHING, MANAGER_START, MANAGER_RESTART, MANAGER_STOP };

/* What the test and the manager tell each other. */
struct manager_told {
    /* the test */
    _Atomic uint32_t order;    /* taken back to MANAGER_NOTHING when it is carried out */
    _Atomic uint32_t most;     /* FileDescriptorStoreMax= */
    _Atomic uint32_t says_most; /* in FDSTORE, as systemd 254 and later; else as older ones, not */
    _Atomic int64_t pause_ns;  /* between a death and the next start */
    _Atomic uint32_t holds;    /* the next keeper waits before it is executed, until this is 0 */
    _Atomic uint32_t renames;  /* passes the board under the name of another layout */
    _Atomic uint32_t activates; /* passes a socket that listens at the daemon's path */
    _Atomic uint32_t deaf;     /* reads no notification */
    _Atomic int64_t slow_ns;   /* pauses so long after each that it has read */
    /* the manager */
    _Atomic int32_t keeper;    /* 0: none */
    _Atomic uint32_t starts;
    _Atomic uint32_t ready;    /* the number of the start that has said READY=1 last */
    _Atomic uint32_t passed;   /* descriptors, to the last keeper */
    _Atomic uint32_t kept;     /* now */
    _Atomic uint32_t kept_most, stored, removed, refused, strangers;
    _Atomic uint32_t failures; /* ends with another status than 0 */
    _Atomic int32_t last_status;
    char status[128];         /* STATUS= */
};

struct manager {
    pid_t pid;
    struct manager_told *told;
    struct harness_daemon *daemon; /* daemon->keeper is the present one after manager_wait */
    const char *pool_spec;
};

/* Starts the manager, which starts nothing yet. */
void manager_begin(struct manager *manager, struct harness_daemon *daemon, const char *pool_spec);
/* Gives an order and waits until it was carried out. */
void manager_do(struct manager *manager, enum manager_order order);
/* Waits until another keeper than those of the first `before` starts is ready, at most timeout_ns. */
bool manager_wait(struct manager *manager, uint32_t before, int64_t timeout_ns);
/* The daemon is ended with it. */
void manager_end(struct manager *manager);

#endif
