/* SPDX-License-Identifier: MIT
 *
 * Every instruction: a real process of a real daemon is single-stepped (ptrace) through one operation. After each instruction that has
 * changed shared memory, all of it is copied and the copy is repaired as after the death of the stepped process at that instruction,
 * with the broker's own code, and judged. Besides, fresh processes are really killed after k steps, and the daemon and the memory
 * they leave are judged in the same way.
 *
 *   stepped.c      the program; stepped_mutants.c: whether it would see a hole; step_program.c: which operations, by whom
 *   step_trial.c   an operation is stepped; step_kill.c: fresh processes are killed in it
 *   step_hand.c    the daemon, and a trial from its beginning to when nothing is left of it
 *   step_trace.c   ptrace: begin, step, go to a step, kill
 *   step_image.c   shared memory: found, compared, kept; step_words.c: how words may change
 *   step_judge.c   a copy of it: repaired, judged; step_hints.c: what a repair must have done besides
 *   step_heir.c    who takes what is left, in the copy and in the living daemon
 *   step_helper.c  the processes that live on: the peer, and the heir
 *   step_pool.c    operations that get slots; step_put.c: that put them, ends of threads; step_nodes.c: of threads that go from node to
 *                  node, and of nodes that run low; step_attach.c: on pools and sessions
 *   step_lanes.c   what operations on messages have in common; step_send.c, step_wait.c, step_receive.c, step_forward.c, step_small.c,
 *                  step_broadcast.c, step_service.c, step_ends.c, step_meet.c have them
 *
 * The stepped process tells in a ledger what it has begun and what has returned (ledger.h); the judge knows from it which messages
 * must still arrive, and which may not come again.
 */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_H
#define NUMAPOOL_TESTS_CRASH_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/broker.h"
#include "harness.h"
#include "ledger.h"
#include "numapool.h"

#define STEP_POOL "stepped"

enum {
    STEP_SLOTS_MAX = 256,
    STEP_MESSAGES_MAX = 64,
    STEP_SENDERS_MAX = 2,
    STEP_RECEIVERS_MAX = 3
};

enum step_flags {
    STEP_TALKS = 1,  /* the operation asks the daemon: its worker runs while the stepped process is in a system call, and else is stopped */
    STEP_SLEEPS = 2, /* the operation waits in the kernel; `meanwhile` of the peer ends the wait */
    STEP_LONG = 4,   /* more than 1,000 instructions: really killed at a seeded sample of steps only */
    STEP_THREAD = 8, /* prepare and run are done by a second thread of the process, whose end is stepped too */
    STEP_FORKED = 16, /* run is done by a child that the stepped process forks after prepare; it alone is stepped */
    STEP_EXITS = 32,  /* run does not return: the process ends in it */
    STEP_NOTHING = 64, /* run changes no shared memory */
    STEP_FRESH_PEER = 128 /* the peer is a new process at each trial, and is killed at the end of it */
};

/* Channels are known by their first letter: "a" to a..., which the ledger calls LEDGER_A, and "b" to b..., LEDGER_B. Once the stepped
 * process and its peer are gone (in the copy: are declared gone) a fresh receiver of each such channel's kind takes all that is left, but
 * of those that broadcast and those with a '/' in their name, whose messages are for who was there. What it gets must be what the ledger
 * says of each number:
 *
 *   sent                                     comes once, in its order
 *   about to be sent, not sent               comes once or not at all
 *   about to be finished, not finished       comes once or not at all; with `forwards` once, on a or on b
 *   finished                                 does not come again; with `forwards` it comes once, on b
 *   received unmarked                        comes as REDELIVERED if at all
 */

/* A process of the trial: the stepped one, or its peer, which lives on and holds the other ends of its channels. */
struct step_actor {
    struct ledger *ledger;
    const char *socket;
    uint32_t incarnation; /* for the ledger */
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *senders[STEP_SENDERS_MAX];
    struct numapool_receiver *receivers[STEP_RECEIVERS_MAX];
    struct numapool_requester *requester;
    struct numapool_responder *responder;
    struct numapool_waitset *waitset;
    struct ledger_reader readers[STEP_RECEIVERS_MAX]; /* of what its receivers get */
    struct numapool_msg messages[STEP_MESSAGES_MAX];
    unsigned message_count;
    void *slots[STEP_SLOTS_MAX];
    unsigned slot_count;
};

/* Each returns 0, or -1 after a word on standard error: the trial is void and the test has failed. */
struct step_operation {
    const char *name;         /* "send, the first of a lane" */
    const char *pool_options; /* after name: "size=128,count=256"; each other text wants another daemon */
    unsigned flags;
    /* Before `prepare`, in the peer; may be NULL, and there is no peer then. The peer keeps client and pool from one trial to the next
     * (step_connect); what else it has in its struct step_actor is closed at the end of the trial. */
    int (*peer)(struct step_actor *peer);
    int (*prepare)(struct step_actor *stepped);     /* connects, opens, fills: all that is not stepped */
    int (*peer_again)(struct step_actor *peer);     /* after `prepare`: sends what is to be received, for instance; may be NULL */
    int (*run)(struct step_actor *stepped);         /* every instruction of it is stepped */
    int (*meanwhile)(struct step_actor *peer);      /* with STEP_SLEEPS: when `run` sleeps */
    /* In the peer, when the stepped process has come to a certain instruction of `run`, where it else would be killed: the two meet. It
     * then goes on to its end, or is killed some instructions later. What it sleeps for must have come by this, if it had not before. */
    int (*between)(struct step_actor *peer);
    bool forwards;                                  /* what is finished on a was forwarded to b */
    bool only_judge;                                /* who gets what how often is judge's and survive's to say */
    /* Of a repaired copy in which the peer lives, before anything is received from it; NULL: there is nothing more to be said of it. */
    int (*judge)(struct np_broker *broker, struct ledger *ledger);
    /* In the peer, once the stepped process was really killed and its number is free again: what has to reach the peer. NULL: nothing. */
    int (*survive)(struct step_actor *peer);
};

/* Connects and opens STEP_POOL, where that has not been done. 0 or -1, after a word on standard error. */
int step_connect(struct step_actor *actor);
/* A call that should have returned 0 or more: -1 after a word on standard error where it has not. */
int step_ok(const char *call, int result);

/* The operations of a file, in the order in which the program goes through the files. */
struct step_group {
    const char *name; /* "send": what its figures are called */
    const struct step_operation *operations;
    unsigned count;
};
extern const struct step_group step_pool_group, step_put_group, step_nodes_group, step_attach_group;
extern const struct step_group step_send_group, step_wait_group, step_receive_group, step_forward_group, step_small_group,
    step_broadcast_group, step_service_group, step_ends_group, step_meet_group; /* operations on messages */

#endif
