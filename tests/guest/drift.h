/* SPDX-License-Identifier: MIT
 *
 * Slots that wander: threads on every CPU of every node, and some that move between nodes, take slots and give them
 * back, hand them to threads of other nodes, and send them to other processes. At the end of each round all stand
 * still, and every slot is looked at.
 *
 *   drift.c         embedded and clients; what is expected of them
 *   drift_mutant.c  the control run, of a library that does not take slots home
 *   drift_plan.c    what the processes of a run share, its figures, its pool
 *   drift_crew.c    a process's threads: rounds, standing still, the end
 *   drift_thread.c  what a thread does in a round
 */
#ifndef NUMAPOOL_TESTS_GUEST_DRIFT_H
#define NUMAPOOL_TESTS_GUEST_DRIFT_H

#include <pthread.h>

#include "../crash/harness.h"
#include "look.h"

#define DRIFT_POOL "drift"

enum {
    DRIFT_SLOTS_A_NODE = 16384,
    DRIFT_SLOT_BYTES = 256,
    DRIFT_LIMIT_S = 100, /* for a process to end */
    DRIFT_THREADS_MAX = 12,
    DRIFT_PROCESSES_MAX = 3,
    DRIFT_ROUNDS_MAX = 64,
    DRIFT_HAND = 96,  /* slots that a thread has for itself at most */
    DRIFT_QUEUE = 64, /* that others have handed to it and it has not taken yet */
    DRIFT_HELD = 8    /* messages received and not released */
};

/* What was done, added up by all threads at the end of each round. */
struct drift_done {
    _Atomic uint64_t gets, puts, bulks, handed, sent, received, kept, hops, empty;
};

/* Shared by all processes of a run. */
struct drift_plan {
    unsigned processes, threads; /* of each process */
    unsigned rounds;
    unsigned steps; /* of a thread in a round */
    uint64_t seed;
    struct machine machine;
    pthread_barrier_t stopped;   /* all threads and all main threads */
    pthread_barrier_t inspected; /* main threads */
    pthread_barrier_t judged;    /* as stopped */
    _Atomic unsigned senders_open;
    struct drift_done done;
    /* found, round by round */
    _Atomic uint64_t looks, slots_looked_at, foreign, unknown;
    _Atomic uint64_t foreign_in_round[DRIFT_ROUNDS_MAX];
    uint64_t lost_in_round[DRIFT_ROUNDS_MAX];
    uint64_t words_looked_at, lost, twice; /* by the main thread of process 0 */
    _Atomic uint64_t errors;               /* calls that failed, slots that two had */
    char first_error[256];                 /* written by who raised errors from 0 */
    struct machine_pages pages;            /* as the last process to look found them */
    _Atomic uint64_t pages_looked_at, pages_elsewhere, verify_misplaced;
    struct look_claims *claims; /* at the same address in all */
};

struct drift_queue {
    pthread_mutex_t lock;
    unsigned count;
    void *slots[DRIFT_QUEUE];
};

struct drift_crew;

struct drift_thread {
    struct drift_crew *crew;
    unsigned number; /* in its process */
    uint64_t stamp;  /* in the first word of each slot that it has; of nobody else's */
    uint64_t random;
    bool hops;                             /* from node to node; others stay on one CPU */
    struct numapool_magazine *own, *fixed; /* of the thread, which follows it; of a node, which does not */
    struct numapool_sender *sender;        /* one of both or none */
    struct numapool_receiver *receiver;
    void *hand[DRIFT_HAND];
    unsigned in_hand;
    struct numapool_msg held[DRIFT_HELD];
    unsigned held_count;
    struct drift_queue queue;
    struct drift_done done;
};

struct drift_crew {
    struct drift_plan *plan;
    struct numapool_pool *pool;
    unsigned process;
    struct drift_thread threads[DRIFT_THREADS_MAX];
};

struct drift_plan *drift_plan_make(unsigned processes, unsigned steps);
/* Of an embedded pool with the same number of slots on every node, whatever it has of CPUs. Ends the program where
 * there is none. */
struct numapool_pool *drift_pool_create(const struct machine *machine, uint64_t slots, uint64_t slot_bytes,
                                        const char *name);
void drift_tell_run(const struct drift_plan *plan, const char *run);
/* A count, when all who add to it have ended. */
uint64_t drift_told(const _Atomic uint64_t *count);

/* What is wrong with a call or a slot; counted, and the first one is told. */
__attribute__((format(printf, 2, 3))) void drift_wrong(struct drift_plan *plan, const char *format, ...);

/* Runs this process's threads for all rounds, looking at everything at the end of each, and lets go of all slots. */
void drift_crew_run(struct drift_crew *crew);

/* drift_thread.c: opens what it works with; one round; gives back all that it has; closes. */
void drift_thread_open(struct drift_thread *thread);
void drift_thread_round(struct drift_thread *thread);
void drift_thread_end(struct drift_thread *thread);

#endif
