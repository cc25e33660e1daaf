/* SPDX-License-Identifier: MIT
 * The processes of tests/crash/inflight: a client that dies with I/O in flight, and a taker of what it leaves. */
#ifndef NUMAPOOL_TESTS_CRASH_INFLIGHT_ROLES_H
#define NUMAPOOL_TESTS_CRASH_INFLIGHT_ROLES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "harness.h"
#include "slow_file.h"

#define POOL_SPEC "io,size=4096,count=256"

enum {
    SLOTS = 256, SLOT_BYTES = 4096, READS = 32, SENDS = 64, MESSAGES = 4, ROUNDS = 12,
    PATTERN = 0x55, SENT_BYTE = 0xa7, GROUP = 1, BUFFERS = 64
};
#define SOON_NS  INT64_C(5000000000)
#define WATCH_NS INT64_C(150000000)

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

enum deed { READS_SLOWLY, SENDS_TO_THE_DEAF, RECEIVES, SHARES_ITS_RING, FORKS, FORKS_CLEANLY, LEAVES, BECOMES_ANOTHER };

/* What the processes of a trial tell each other. `foreign` counts words of eight bytes. */
struct told {
    _Atomic int step;      /* of the client: 1: its I/O is in flight */
    _Atomic int go_on;
    _Atomic int client;
    _Atomic int child;     /* the client's child, or the number of its ring */
    _Atomic int taken;     /* by the taker, so far */
    _Atomic int received;  /* by the taker: messages that the client had received and not released */
    _Atomic int foreign;   /* in the taker's slots, not written by it */
    _Atomic int quarantined; /* as the statistics say */
    _Atomic int take;      /* 1: take and watch; 2: give back */
    _Atomic int wrong;
    char sentence[240];
};

struct trial {
    struct harness_daemon daemon;
    struct harness_look look;
    struct slow_file slow;
    struct told *told;
    enum deed deed;
    bool guarded;
    int socket;    /* of the client: TCP to the deaf peer, or what it receives from */
    pid_t pid;
    uint32_t client;
    uint64_t cookie;
    uint64_t random;
};

/* Bodies of processes; the context is the struct trial. */
int inflight_client(void *context);
int inflight_taker(void *context);
/* Whether a client's token is what it should be. */
int inflight_token(void *context);

#endif
