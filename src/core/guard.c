/* SPDX-License-Identifier: MIT */
#include "core/guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/fault.h"
#include "core/pool.h"
#include "core/tell.h"

enum { POISON = 0xdb, FENCE = 0xc6, LEFT_TOLD = 8 };

/* ---------------------------------------------------------------- records */

static struct np_guard_record *record_of(const struct np_pool_arena *pa, uint64_t index)
{
    return &pa->arena.records[index];
}

/* What is known of this generation of the slot (G1). */
static unsigned kind_of(const struct np_guard_record *record, unsigned gen)
{
    uint64_t state = np_load64(&record->state, memory_order_acquire); /* pairs with set_state */
    return (state & NP_WORD_GEN_MASK) == gen ? (unsigned)(state >> 16 & 0xff) : NP_GUARD_UNKNOWN;
}

static void set_state(struct np_guard_record *record, enum np_guard_kind kind, unsigned gen)
{
    /* release: poison and who did it come before; pairs with kind_of */
    np_store64(&record->state, (uint64_t)kind << 16 | (gen & NP_WORD_GEN_MASK), memory_order_release);
}

static void note_taken(const struct numapool_pool *pool, struct np_guard_record *record, unsigned gen)
{
    np_store64(&record->taken_by, np_call_who(pool), memory_order_relaxed); /* relaxed, all: before the state, by its release */
    np_store64(&record->taken_at, np_call_site(pool), memory_order_relaxed);
    np_store64(&record->given_by, 0, memory_order_relaxed);
    set_state(record, NP_GUARD_TAKEN, gen);
}

static void note_given(const struct numapool_pool *pool, struct np_guard_record *record, enum np_guard_kind kind, unsigned gen)
{
    np_store64(&record->given_by, np_call_who(pool), memory_order_relaxed); /* relaxed, all: before the state, by its release */
    np_store64(&record->given_at, np_call_site(pool), memory_order_relaxed);
    set_state(record, kind, gen);
}

/* "; it was taken by ..." as far as it is known. */
static const char *taken_text(char text[NP_DEED_BYTES + 24], const struct numapool_pool *pool, const struct np_guard_record *record)
{
    char deed[NP_DEED_BYTES];
    uint64_t who = np_load64(&record->taken_by, memory_order_relaxed); /* relaxed: only told */
    text[0] = 0;
    if (who != 0)
        snprintf(text, NP_DEED_BYTES + 24, "; it was taken %s",
                 np_deed_text(deed, pool, who, np_load64(&record->taken_at, memory_order_relaxed)));
    return text;
}

static const char *given_text(char text[NP_DEED_BYTES], const struct numapool_pool *pool, const struct np_guard_record *record)
{
    uint64_t who = np_load64(&record->given_by, memory_order_relaxed); /* relaxed: only told */
    snprintf(text, NP_DEED_BYTES, "by an unknown call");
    return who == 0 ? text : np_deed_text(text, pool, who, np_load64(&record->given_at, memory_order_relaxed));
}

/* ---------------------------------------------------------------- patterns */

/* Offset of the first byte that is not `byte`, or `bytes`. */
static size_t first_other(const char *at, size_t bytes, int byte)
{
    if (bytes == 0 || (at[0] == (char)byte && memcmp(at, at + 1, bytes - 1) == 0))
        return bytes;
    size_t i = 0;
    while (i < bytes && at[i] == (char)byte)
        i++;
    return i;
}

/* The guard of a slot that this process has: 0, or -EINVAL with the fault told, and the guard is whole again. */
static int check_fence(struct numapool_pool *pool, struct np_pool_arena *pa, uint64_t index, unsigned gen)
{
    const struct np_arena *arena = &pa->arena;
    struct np_guard_record *record = record_of(pa, index);
    char *slot = np_arena_slot(arena, index), *fence = slot + arena->slot_bytes;
    size_t bytes = arena->stride - arena->slot_bytes;
    char taken[NP_DEED_BYTES + 24];
    if (kind_of(record, gen) == NP_GUARD_UNKNOWN)
        return 0;
    np_checker_touch(&arena->guard->checker, index);
    size_t at = first_other(fence, bytes, FENCE);
    if (at < bytes)
        memset(fence, FENCE, bytes);
    np_checker_open(&arena->guard->checker, index, true);
    if (at == bytes)
        return 0;
    return np_fault(pool, pa, index, slot, NUMAPOOL_FAULT_OVERRUN,
                    "slot %" PRIu64 " of node %d of pool '%s' (%p) was written to beyond its end: it has %" PRIu64
                    " bytes, and byte %" PRIu64 " has changed%s",
                    index, arena->node, pool->name, (void *)slot, arena->slot_bytes, arena->slot_bytes + at,
                    taken_text(taken, pool, record));
}

/* ---------------------------------------------------------------- the arena's hooks */

static void check_poison(struct numapool_pool *pool, struct np_pool_arena *pa, uint64_t index, unsigned gen)
{
    struct np_guard_record *record = record_of(pa, index);
    char *slot = np_arena_slot(&pa->arena, index), given[NP_DEED_BYTES], taken[NP_DEED_BYTES + 24];
    size_t bytes = pa->arena.stride;
    if (kind_of(record, gen) != NP_GUARD_GIVEN)
        return;
    size_t at = first_other(slot, bytes, POISON);
    if (at < bytes)
        np_fault(pool, pa, index, slot, NUMAPOOL_FAULT_WRITE_AFTER_PUT,
                 "slot %" PRIu64 " of node %d of pool '%s' (%p) was written to after it was put %s: byte %zu has changed%s", index,
                 pa->arena.node, pool->name, (void *)slot, given_text(given, pool, record), at, taken_text(taken, pool, record));
}

static unsigned taken(struct np_arena *arena, void **slots, unsigned n)
{
    struct np_guard *guard = arena->guard;
    for (unsigned i = 0; i < n; i++) {
        uint64_t index = ((uintptr_t)slots[i] - (uintptr_t)arena->data) / arena->stride;
        unsigned gen = np_word_gen(np_load64(&arena->words[index], memory_order_relaxed)); /* relaxed: ours since the CAS */
        np_checker_touch(&guard->checker, index);
        check_poison(guard->pool, guard->pa, index, gen);
        memset((char *)slots[i] + arena->slot_bytes, FENCE, arena->stride - arena->slot_bytes);
        np_checker_open(&guard->checker, index, false);
        note_taken(guard->pool, &arena->records[index], gen);
    }
    return n;
}

/* HELD by the client, or marked by its put (G4). */
static bool giving(struct np_arena *arena, uint64_t index, uint64_t word)
{
    struct np_guard *guard = arena->guard;
    struct np_guard_record *record = &arena->records[index];
    uint64_t claim = np_word_claim(word), held = np_word_held(arena->client, 0);
    if (claim != held && claim != (held | NP_WORD_PUTTING))
        return false;
    np_checker_touch(&guard->checker, index);
    memset(np_arena_slot(arena, index), POISON, arena->stride);
    np_checker_shut(&guard->checker, index);
    unsigned kind = kind_of(record, np_word_gen(word));
    if (kind == NP_GUARD_SENT || kind == NP_GUARD_RELEASED)
        set_state(record, NP_GUARD_GIVEN, np_word_gen(word) + 1); /* its sender takes it back: who released or sent it gave it away */
    else
        note_given(guard->pool, record, NP_GUARD_GIVEN, np_word_gen(word) + 1);
    return true;
}

static const struct np_arena_hooks hooks = { taken, giving };

int np_guard_begin(struct numapool_pool *pool, struct np_pool_arena *pa)
{
    struct np_guard *guard = calloc(1, sizeof *guard);
    if (!guard)
        return np_error(-ENOMEM, "no memory for the checks of pool '%s'", pool->name);
    int result = np_checker_begin(&guard->checker, pa->arena.data, pa->arena.slots, pa->arena.stride, pa->arena.slot_bytes);
    if (result < 0) {
        free(guard);
        return result;
    }
    guard->pool = pool;
    guard->pa = pa;
    pa->arena.guard = guard;
    pa->arena.hooks = &hooks;
    return 0;
}

void np_guard_end(struct np_pool_arena *pa)
{
    if (!pa->arena.guard)
        return;
    np_checker_end(&pa->arena.guard->checker);
    free(pa->arena.guard);
    pa->arena.guard = NULL;
    pa->arena.hooks = NULL;
}

/* ---------------------------------------------------------------- what may be put, sent, released */

int np_guard_bad_pointer(struct numapool_pool *pool, const void *slot)
{
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        struct np_pool_arena *pa = &pool->arenas[i];
        uint64_t offset = (uintptr_t)slot - (uintptr_t)pa->arena.data;
        if (offset < pa->arena.data_bytes)
            return np_fault(pool, pa, offset / pa->arena.stride, slot, NUMAPOOL_FAULT_MISALIGNED,
                            "%p lies %" PRIu64 " bytes inside slot %" PRIu64 " of node %d of pool '%s': give the address that the slot begins at",
                            slot, offset % pa->arena.stride, offset / pa->arena.stride, pa->arena.node, pool->name);
    }
    return np_fault(pool, NULL, 0, slot, NUMAPOOL_FAULT_FOREIGN_POINTER, "%p is no address of pool '%s'", slot, pool->name);
}

/* The word of a slot says something else than it should. */
static int bad_word(struct numapool_pool *pool, struct np_pool_arena *pa, uint64_t index, uint64_t word)
{
    struct np_guard_record *record = record_of(pa, index);
    void *slot = np_arena_slot(&pa->arena, index);
    char given[NP_DEED_BYTES], taken[NP_DEED_BYTES + 24] = "";
    unsigned kind = kind_of(record, np_word_gen(word)), state = np_word_state(word);
    int fault = NUMAPOOL_FAULT_NOT_HELD;
    const char *what = "is not in use by this process";
    given[0] = 0;
    if (state == NP_WORD_FREE) {
        fault = NUMAPOOL_FAULT_DOUBLE_PUT;
        what = kind == NP_GUARD_GIVEN ? "was put already " : "is free: it was put already, or its holder died";
        if (kind == NP_GUARD_GIVEN)
            given_text(given, pool, record);
    } else if (state == NP_WORD_HELD && np_word_owner(word) == pool->client) {
        fault = NUMAPOOL_FAULT_DOUBLE_PUT;
        what = np_word_seq(word) ? "is being put or sent by another thread" : "is no message any more: it was kept, or put and taken again";
        taken_text(taken, pool, record);
    } else if (state == NP_WORD_HELD) {
        what = "is another process's";
        taken_text(taken, pool, record);
    } else if (kind == NP_GUARD_SENT || kind == NP_GUARD_RELEASED) {
        /* who sent it may think that it is still his, and who released it too; another has received it */
        bool own = np_load64(&record->given_by, memory_order_relaxed) >> 16 == np_call_who(pool) >> 16; /* relaxed: only told */
        fault = own ? NUMAPOOL_FAULT_DOUBLE_PUT : NUMAPOOL_FAULT_NOT_HELD;
        what = kind == NP_GUARD_SENT ? "is a message, sent " : "is a message, released ";
        given_text(given, pool, record);
    } else {
        what = "is a message: whoever receives it releases, keeps or forwards it";
    }
    return np_fault(pool, pa, index, slot, fault, "slot %" PRIu64 " of node %d of pool '%s' (%p) %s%s%s", index, pa->arena.node,
                    pool->name, slot, what, given, taken);
}

/* Marks a slot that is HELD by this client as on its way out (G4), its guard being whole. */
static int claim_held(struct numapool_pool *pool, struct np_pool_arena *pa, uint64_t index)
{
    np_shm64 *address = &pa->arena.words[index];
    uint64_t word = np_load64(address, memory_order_relaxed); /* relaxed: the CAS decides */
    /* acquire: what another thread of this process did with the slot before it gave up putting it */
    if (!np_word_is_held_by(word, pool->client) || !np_cas64(address, &word, word | NP_WORD_PUTTING, memory_order_acquire))
        return bad_word(pool, pa, index, word);
    int result = check_fence(pool, pa, index, np_word_gen(word));
    if (result < 0)
        np_store64(address, word, memory_order_release); /* still the caller's; pairs with the CAS */
    return result;
}

int np_guard_put(struct numapool_pool *pool, void *slot)
{
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(pool, slot, &index);
    return pa ? claim_held(pool, pa, index) : np_guard_bad_pointer(pool, slot);
}

int np_guard_send(struct numapool_pool *pool, struct np_pool_arena *pa, uint64_t index, uint64_t claim)
{
    uint64_t word = np_load64(&pa->arena.words[index], memory_order_relaxed); /* relaxed: ours or refused */
    int result;
    if (np_word_state(claim) == NP_WORD_HELD)
        result = claim_held(pool, pa, index);
    else
        result = np_word_claim(word) == claim ? check_fence(pool, pa, index, np_word_gen(word)) : bad_word(pool, pa, index, word);
    if (result < 0)
        return result;
    note_given(pool, record_of(pa, index), NP_GUARD_SENT, np_word_gen(word));
    np_checker_shut(&pa->arena.guard->checker, index); /* now, for a receiver in this process may open it before we come back */
    return 0;
}

int np_guard_release(struct numapool_pool *pool, void *slot, uint32_t lane, uint64_t position)
{
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(pool, slot, &index);
    if (!pa)
        return np_guard_bad_pointer(pool, slot);
    uint64_t word = np_load64(&pa->arena.words[index], memory_order_relaxed); /* relaxed: stands until it is released */
    if (np_word_state(word) == NP_WORD_SHARED)
        return 0; /* others of this process may be reading it; its sender takes it back when the last is done */
    if (!np_word_is_sent_as(word, lane, position))
        return bad_word(pool, pa, index, word);
    int result = check_fence(pool, pa, index, np_word_gen(word));
    if (result < 0)
        return result;
    note_given(pool, record_of(pa, index), NP_GUARD_RELEASED, np_word_gen(word));
    np_checker_shut(&pa->arena.guard->checker, index);
    return 0;
}

int np_guard_bad_message(struct numapool_pool *pool, const struct numapool_msg *message, uint32_t lane)
{
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(pool, message->data, &index);
    if (!pa)
        return np_guard_bad_pointer(pool, message->data);
    uint64_t word = np_load64(&pa->arena.words[index], memory_order_relaxed); /* relaxed: only told */
    if (lane != 0 && np_word_is_sent_as(word, lane, message->lane_seq))
        return np_fault(pool, pa, index, message->data, NUMAPOOL_FAULT_DOUBLE_PUT,
                        "message %" PRIu64 " of lane %u, slot %" PRIu64 " of node %d of pool '%s' (%p), was released already",
                        message->lane_seq, lane, index, pa->arena.node, pool->name, message->data);
    return bad_word(pool, pa, index, word);
}

/* ---------------------------------------------------------------- receiving and looking */

void np_guard_received(struct numapool_pool *pool, void *slot)
{
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(pool, slot, &index);
    if (pa)
        np_checker_open(&pa->arena.guard->checker, index, true);
}

void np_guard_kept(struct numapool_pool *pool, void *slot)
{
    uint64_t index;
    struct np_pool_arena *pa = np_pool_locate(pool, slot, &index);
    if (pa)
        note_taken(pool, record_of(pa, index), np_word_gen(np_load64(&pa->arena.words[index], memory_order_relaxed))); /* relaxed: ours */
}

void np_guard_stale(struct numapool_pool *pool, const struct np_pool_arena *pa, uint64_t index, unsigned gen)
{
    uint64_t word = np_load64(&pa->arena.words[index], memory_order_relaxed); /* relaxed: only told */
    const struct np_guard_record *record = record_of(pa, index);
    char given[NP_DEED_BYTES], taken[NP_DEED_BYTES + 24] = "";
    bool put = kind_of(record, np_word_gen(word)) == NP_GUARD_GIVEN && np_word_gen(word) == ((gen + 1) & NP_WORD_GEN_MASK);
    if (put)
        given_text(given, pool, record);
    else
        taken_text(taken, pool, record);
    np_fault(pool, pa, index, np_arena_slot(&pa->arena, index), NUMAPOOL_FAULT_STALE_HANDLE,
             "a handle of pool '%s' is stale: its slot %" PRIu64 " of node %d has been put since%s%s%s", pool->name, index, pa->arena.node,
             put ? ", " : "", put ? given : "", taken);
}

void np_guard_looked_at(struct np_pool_arena *pa, uint64_t index)
{
    np_checker_look(&pa->arena.guard->checker, index);
}

void np_guard_tell_left(struct numapool_pool *pool)
{
    uint64_t left = 0;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        struct np_pool_arena *pa = &pool->arenas[i];
        for (uint64_t index = 0; index < pa->arena.slots; index++) {
            char taken[NP_DEED_BYTES + 24];
            if (!np_word_is_held_by(np_load64(&pa->arena.words[index], memory_order_relaxed), pool->client)) /* relaxed: only told */
                continue;
            if (left++ < LEFT_TOLD)
                np_tell(NUMAPOOL_LOG_WARN, "pool '%s' is closed and slot %" PRIu64 " of node %d is still in use%s", pool->name, index,
                        pa->arena.node, taken_text(taken, pool, record_of(pa, index)));
        }
    }
    if (left > LEFT_TOLD)
        np_tell(NUMAPOOL_LOG_WARN, "pool '%s' is closed and %" PRIu64 " slots are still in use", pool->name, left);
}
