/* SPDX-License-Identifier: MIT
 * What the parts of the test of the service manager's store share. */
#ifndef NUMAPOOL_TESTS_CRASH_FDSTORE_H
#define NUMAPOOL_TESTS_CRASH_FDSTORE_H

#include <stdatomic.h>

#include "harness.h"
#include "ledger.h"
#include "manager.h"
#include "roles.h"

#define FDSTORE_LONG_NS INT64_C(10000000000)

enum { FDSTORE_ROLES = 6 };

struct fdstore_told {
    _Atomic uint64_t visits;
    _Atomic uint64_t slowest_ns;
    _Atomic uint32_t stop;
};

struct fdstore_trial {
    struct harness_daemon daemon;
    struct manager manager;
    struct harness_look look;
    struct ledger *ledger;
    struct fdstore_told *told;
    uint64_t random;
    uint32_t incarnation;
    pid_t pids[FDSTORE_ROLES];
    pid_t visitor;
    uint32_t dead[FDSTORE_ROLES];
    uint64_t dead_cookies[FDSTORE_ROLES];
    unsigned dead_count;
};

/* One client's life: attach, open, join a channel of its own, send, receive, leave. NULL, or the call that failed. Channel
 * names are of one process: its messages are nobody else's. */
const char *fdstore_visit(const char *socket);
/* The same as a process: 0, or 1 with the sentence in the ledger. */
int fdstore_visit_once(void *trial);

/* fdstore_calls.c: the keeper killed at each of its own system calls. Returns how many kills. */
unsigned fdstore_kill_at_calls(struct fdstore_trial *trial);

/* fdstore_refusals.c: no room, another version, a stop, another worker that does not end. Each with a manager of its own. */
void fdstore_without_room(bool says_most);
void fdstore_other_version(void);
void fdstore_stopped(void);
void fdstore_locked_board(void);
void fdstore_activated(void);
void fdstore_deaf_manager(void);
void fdstore_slow_manager(void);
void fdstore_token(void);
void fdstore_cost(void);

#endif
