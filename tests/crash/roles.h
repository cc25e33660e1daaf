/* SPDX-License-Identifier: MIT
 *
 * The processes that are killed: each connects, works as its role says for as long as it is let, and writes into the ledger
 * what it does.
 *
 *   senders --a--> forwarders --b--> receivers and keepers;   getters take and put slots of the same pool
 */
#ifndef NUMAPOOL_TESTS_CRASH_ROLES_H
#define NUMAPOOL_TESTS_CRASH_ROLES_H

#include <sys/types.h>

#include "doom.h"
#include "harness.h"
#include "ledger.h"

#define ROLES_POOL "storm"
#define ROLES_POOL_SPEC ROLES_POOL ",size=128,count=4096"

enum role {
    ROLE_SENDER,
    ROLE_FORWARDER,
    ROLE_RECEIVER,
    ROLE_KEEPER,
    ROLE_GETTER,
    ROLE_MAILER, /* from here on those of crew.h, which need a crew_record */
    ROLE_MAILBOX,
    ROLE_LOOKER,
    ROLE_SMALL_SENDER,
    ROLE_SMALL_RECEIVER,
    ROLE_REQUESTER,
    ROLE_RESPONDER,
    ROLE_BROADCASTER,
    ROLE_READER,
    ROLE_ONLY_READER,
    ROLE_THREADS,
    ROLE_DRAINER,
    ROLE_COUNT
};

struct crew_record;
struct life;

struct role_start {
    struct ledger *ledger;
    const char *socket;
    enum role role;
    uint32_t incarnation;    /* 1 and up, another for each process */
    unsigned place;          /* in ledger->workers */
    uint64_t seed;
    int64_t idle_end_ns;     /* > 0: ends by itself after so long without a message (fresh ones that drain); 0: never */
    uint32_t lane_slots;
    struct crew_record *record; /* may be NULL */
    struct doom_plan doom;      /* zeroed: never */
};

extern const char *const role_names[ROLE_COUNT];

/* The work of senders, of all that receives on the relay, and of getters. */
int role_send(struct life *life);
int role_receive(struct life *life);
int role_get_and_put(struct life *life);

/* Forks one. */
pid_t role_spawn(const struct role_start *start);

/* Forwarders and receivers that nobody kills take what is left: returns when nothing has come for a while. */
void roles_drain(struct ledger *ledger, const char *socket, uint32_t first_incarnation, bool forwarded);

#endif
