/* SPDX-License-Identifier: MIT
 * What every role has in its process: who it is, its connection, and how it tells that a call failed. */
#ifndef NUMAPOOL_TESTS_CRASH_LIFE_H
#define NUMAPOOL_TESTS_CRASH_LIFE_H

#include "doom.h"
#include "roles.h"

/* relaxed: what is told lies a system call, a message or the end of a process before what looks at it */
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

struct life {
    const struct role_start *start;
    struct ledger *ledger;
    struct crew_record *record; /* NULL where there are none but the roles of the relay */
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_channel_options options;
    uint64_t random;
    const char *name;
    struct ledger_reader reader;
};

/* A call failed in a way that no death excuses. 1 */
int life_failed(const struct life *life, const char *call, int result);
/* -EAGAIN or -ETIMEDOUT. */
bool life_is_late(int result);
void life_tell_phase(const struct life *life, uint32_t phase);
/* A waiting time as callers give them: none, or up to 100 us. */
int64_t life_patience(struct life *life);
/* Senders send no more, and those who live end. */
bool life_is_over(const struct life *life);

#endif
