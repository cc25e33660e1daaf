/* SPDX-License-Identifier: MIT
 *
 * Checks chosen when a pool is made (NUMAPOOL_CHECKS). Such a pool caches nothing: every get is a CAS out of the arena and every put goes
 * back to it, so the word says whose a slot is at every moment, and a handle is stale as soon as the slot is put. To that come
 *
 *   a record a slot    in the arena's meta: who took it, who gave it away, and whether it is poisoned
 *   poison             between put and the next get the payload is a pattern, which the getter looks for
 *   a guard            at least 64 bytes behind the usable ones hold another pattern, which put, send and release look for
 *   memory checkers    are told what this process may touch (checker.h)
 *
 * G1  A record speaks of the generation that stands in it. Of another generation nothing is known, and nothing is said: so a record
 *     that a death left half made, or that a scavenger's freeing passed by, raises no false alarm.
 * G2  Poison is complete before the record says GIVEN(gen + 1), and that before the word says FREE(gen + 1).
 * G3  Nobody writes to the payload of a FREE slot. Who finds poison of this generation damaged has found a write after put.
 * G4  Who puts or sends first marks the word by a CAS (HELD, seq 1): of two threads that put the same slot one is told so.
 */
#ifndef NP_CORE_GUARD_H
#define NP_CORE_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/checker.h"
#include "core/shm.h"

#define NP_GUARD_BYTES_MIN 64u

enum np_guard_kind { NP_GUARD_UNKNOWN = 0, NP_GUARD_TAKEN, NP_GUARD_GIVEN, NP_GUARD_SENT, NP_GUARD_RELEASED };

/* Shared, one a slot. Written by who has the slot. Believed for nothing but what is said in a report, and whether to look
 * for poison. */
struct np_guard_record {
    np_shm64 state; /* generation, kind << 16 */
    np_shm64 taken_by, taken_at;
    np_shm64 given_by, given_at; /* put, sent or released */
};
_Static_assert(sizeof(struct np_guard_record) == 40, "check record's layout");

struct numapool_pool;
struct np_pool_arena;
struct np_arena;
struct numapool_msg;

/* One process's, of one arena. */
struct np_guard {
    struct numapool_pool *pool;
    struct np_pool_arena *pa;
    struct np_checker checker;
};

/* Of a pool with checks, once the arena is attached: before the first get, and before the arena is unmapped. begin: 0,
 * -ENOMEM. */
int np_guard_begin(struct numapool_pool *pool, struct np_pool_arena *pa);
void np_guard_end(struct np_pool_arena *pa);

/* Before a public call does it: 0, or -EINVAL with the fault told. What it finds wrong is left as it was. */
int np_guard_put(struct numapool_pool *pool, void *slot);
/* `claim`: what the word must say besides its generation, HELD by this client or a message that was received. */
int np_guard_send(struct numapool_pool *pool, struct np_pool_arena *pa, uint64_t index, uint64_t claim);
/* Of a received message that is SENT(lane, position); no longer the caller's from here on. */
int np_guard_release(struct numapool_pool *pool, void *slot, uint32_t lane, uint64_t position);
/* Says what is wrong with a message that is not received and unreleased here, or whose slot it is not. -EINVAL. */
int np_guard_bad_message(struct numapool_pool *pool, const struct numapool_msg *message, uint32_t lane);
/* No slot begins there. -EINVAL. */
int np_guard_bad_pointer(struct numapool_pool *pool, const void *slot);

/* After it: this process has a message's slot to look at; has kept it. */
void np_guard_received(struct numapool_pool *pool, void *slot);
void np_guard_kept(struct numapool_pool *pool, void *slot);

/* A handle's slot was freed since. */
void np_guard_stale(struct numapool_pool *pool, const struct np_pool_arena *pa, uint64_t index, unsigned gen);
/* Somebody looks at a slot by its handle. */
void np_guard_looked_at(struct np_pool_arena *pa, uint64_t index);

/* What of this pool the process still has in its hands, into the log. At close. */
void np_guard_tell_left(struct numapool_pool *pool);

#endif
