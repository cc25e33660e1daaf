/* SPDX-License-Identifier: MIT
 *
 * The kill storm: eight clients of all kinds at work on one pool, one after the other killed, another started in its place.
 * It goes in acts. Each act has its cast, and ends with a checkpoint: all are dead, one who comes last takes what they left,
 * and then everything that was sent has arrived, in order, twice only where marked, forwarded once; every slot is free;
 * nothing is left on the board.
 *
 *   storm.c         the program: options, acts one after the other, what is expected at the end
 *   storm_act.c     one act: who lives where, who is killed, stopped and continued, how soon what they had comes back
 *   storm_check.c   the checkpoint, and what the daemon needs of memory and descriptors
 *   roles.c crew_*  what the clients do;  doom.c  how they die in a call;  ledger.c tally.c  what they tell
 *
 * What --seed repeats: for each life (the n-th at its place of an act) role, ways, sizes of batches, waits, and in which of
 * its calls and after how many instructions of it it dies; what the test itself does to whom, in order. What it cannot
 * repeat: how the kernel lets them take turns, and so what a call of one finds of the others; when the test's own kills and
 * stops fall.
 */
#ifndef NUMAPOOL_TESTS_CRASH_STORM_H
#define NUMAPOOL_TESTS_CRASH_STORM_H

#include "crew.h"
#include "histogram.h"

enum {
    STORM_CASTS = 5,
    STORM_PENDING_MAX = 256,
    STORM_OWN_KILLS = 4 /* ways in which somebody is killed: doom_way, where NEVER stands for the test's kill */
};

struct storm_place {
    pid_t pid;
    enum role role;
    uint32_t lives;
    bool is_stopped, stays_stopped;
    int64_t continue_at_ns;
    int64_t killed_ns; /* by the test */
};

/* Who is dead and may still be on the board. */
struct storm_pending {
    uint32_t client;
    uint64_t cookie;
    int64_t killed_ns;
};

struct storm_memory {
    uint64_t anonymous_kib, descriptors;
};

struct storm {
    struct harness_daemon daemon;
    struct harness_look look;
    struct ledger *ledger;
    struct crew_record *record;
    uint64_t random; /* of the act */
    uint64_t act_seed;
    unsigned act;
    bool is_calm;            /* nobody is killed, and who starts is not doomed */
    struct storm_place places[CREW_PLACES];
    uint32_t incarnation;
    struct storm_pending pending[STORM_PENDING_MAX];
    unsigned pending_count;
    uint64_t act_kills;

    uint64_t kills, kills_of[ROLE_COUNT], kills_by[STORM_OWN_KILLS], in_call, joining, stopped, long_stops;
    uint64_t sent, again, received;
    struct histogram recovery;
    unsigned never_recovered, acts_failed;
    int64_t act_ns, check_ns;
};

/* Whether the casts of these parts of the program have something to do in an act. */
bool storm_cast_has(unsigned act, enum role role);

/* Plays act number `act` until `kills` have died in it, and kills the others. False: what they had does not come back, or
 * too much was broken to go on. */
bool storm_play(struct storm *storm, uint64_t kills);
/* Nothing of an act's clients is left, but readers of broadcasts that live on. */
bool storm_wait_scavenged(struct storm *storm, unsigned living);
/* Entered as a kill; the place is vacant. */
void storm_bury(struct storm *storm, unsigned place);

/* After an act: drains, judges. False: something was broken, and is told. */
bool storm_checkpoint(struct storm *storm);
bool storm_memory_of(pid_t pid, struct storm_memory *memory);

#endif
