/* SPDX-License-Identifier: MIT
 *
 * The one door to memory that processes share and change. Slot words, bitmaps, lanes, bells and what of the board changes
 * while others look (np_shm32, np_shm64) are read and written through these calls alone, each with its memory order named; plain
 * members are written before a `state`, a magic or a descriptor publishes them. In production each is the plain atomic instruction.
 * With NUMAPOOL_HOOKS (test builds) every access first calls np_shm_hook, where tests schedule, kill and record. A death "before
 * the next access" is a death after this one, so one hook in front of each access reaches every instant at which
 * shared memory differs.
 */
#ifndef NP_CORE_SHM_H
#define NP_CORE_SHM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint64_t np_shm64;
typedef _Atomic uint32_t np_shm32;

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "shared words need lock-free atomics");
_Static_assert(sizeof(np_shm64) == 8 && sizeof(np_shm32) == 4, "shared words have the size of their integers");

enum np_shm_kind { NP_SHM_LOAD, NP_SHM_STORE, NP_SHM_CAS, NP_SHM_AND, NP_SHM_OR, NP_SHM_ADD, NP_SHM_FENCE };

#ifdef NUMAPOOL_HOOKS
/* Called before each access. `value` is what will be stored (for a CAS: the wanted value). May not return. */
extern void (*np_shm_hook)(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value);
#define NP_SHM_HOOK(kind, address, bytes, value)                        \
    do {                                                                \
        if (np_shm_hook)                                                \
            np_shm_hook((kind), (address), (bytes), (uint64_t)(value)); \
    } while (0)
/* A mutant takes one answer of the design away, so that a test can show that it sees the hole. Never set outside tests. */
enum np_mutant {
    NP_MUTANT_NONE,
    NP_MUTANT_SUMMARY_NO_RELOAD,      /* who clears a summary bit does not look again */
    NP_MUTANT_GIVE_NO_WAKE,           /* bits go back without a look for waiters */
    NP_MUTANT_EMPTY_NO_SCAN,          /* "empty" is said from the bitmap alone */
    NP_MUTANT_TAKE_EXCHANGES,         /* a refill takes a whole group's bits and puts the surplus back silently */
    NP_MUTANT_GET_WAIT_POOL_ONLY,     /* a blocked getter does not raise its flag in its own lanes */
    NP_MUTANT_SWEEP_NO_WAKE,          /* the scavenger wakes nobody */
    NP_MUTANT_ANNOUNCEMENTS_STAY,     /* announced cells whose words do not say SENT are left so at a sender's death */
    NP_MUTANT_NO_ROLL_FORWARD,        /* a dead sender's unannounced words are not announced */
    NP_MUTANT_NO_SKIP,                /* a lane is handed over without marking what has moved on */
    NP_MUTANT_NO_ORPHAN_DUTY,         /* released slots of an orphan lane are not freed */
    NP_MUTANT_NO_LANE_RING,           /* the lanes of the dead are not rung */
    NP_MUTANT_RECEIVERS_FIRST,        /* a dead forwarder's received lanes are handed over before its sent ones are rolled */
    NP_MUTANT_ROOM_BY_RELEASED,       /* a cell is written again before the word of its message was re-marked */
    NP_MUTANT_ROOM_UNTIL_RELEASED,    /* the same, for what is sent without another look at the room */
    NP_MUTANT_CLOSED_WITH_WORDS,      /* a sender that closes re-marks what was released to it after the broker has its lanes */
    NP_MUTANT_LEFT_WITH_WORDS,        /* the same of a lane that it leaves */
    NP_MUTANT_GETTER_LEAVES_WORDS,    /* a getter does not take what its senders know to be released and have not re-marked */
    NP_MUTANT_SLEEP_NO_SECOND_LOOK,         /* a sleeper does not recheck after raising its flag */
    NP_MUTANT_SETTLED_SLEEPS_UNBOUNDED, /* a sleep before which there was no heavy barrier may last for ever */
    NP_MUTANT_RELEASE_BEFORE_KEEP,    /* released moves past a message before its word says kept or forwarded */
    NP_MUTANT_WORD_BEFORE_CELL,       /* the word is stored before the cell is complete */
    NP_MUTANT_ID_REUSED_EARLY,        /* a client's number is given out again while words or lanes name it */
    NP_MUTANT_FREE_KEEPS_GENERATION,  /* freeing does not bump the generation */
    NP_MUTANT_KEYS_LEAVE_THEIR_LANE,  /* a key with unreleased messages goes to the next lane in turn */
    NP_MUTANT_KEYS_LEAVE_LANES_TO_DRAIN, /* the same, when its lane is to be drained */
    NP_MUTANT_SMALL_ROOM_IGNORED,     /* a small message's cell is written again before it was released */
    NP_MUTANT_SMALL_NO_REDELIVERED,   /* a lane of small messages is handed over without a mark of what may have been seen */
    NP_MUTANT_BROADCAST_WORD_LAST,    /* a broadcast is announced before its word says so */
    NP_MUTANT_BROADCAST_NO_ROLL_FORWARD, /* what a dead sender had broadcast is not announced on the lanes that lack it */
    NP_MUTANT_BROADCAST_TAKES_EARLY,  /* a sender takes back what one receiver has released, whatever the others have */
    NP_MUTANT_BROADCAST_FREES_EARLY,  /* the broker frees what one receiver has released of a dead sender's */
    NP_MUTANT_CLOSED_KEEPS,           /* a receiver that is gone still counts */
    NP_MUTANT_SHARED_SWEPT_EARLY,     /* a home ends with its sender, though lanes of it are left */
    NP_MUTANT_FOREIGN_RINGS_BELL,     /* who sleeps on a lane is rung by the table of bells, which he has not */
    NP_MUTANT_GETTERS_NOT_RUNG,       /* a getter is not told that a lane of its sender has a receiver without bells now */
    NP_MUTANT_NO_HOME_RETURN,         /* a put of another node's slot goes into the local magazine */
    NP_MUTANT_MAGAZINE_STAYS,         /* a magazine does not follow its thread to another node */
    NP_MUTANT_SPILL_INTO_STACK,       /* slots that are spilled to go into the magazine of the node that runs low */
    NP_MUTANT_STRICT_SLEEPS_WHERE_IT_WAS, /* who follows its thread between raising its flag and sleeping sleeps for the node that it left */
    NP_MUTANT_COUNT
};
extern enum np_mutant np_mutant_now;
#define NP_MUTANT(name) (np_mutant_now == NP_MUTANT_##name)
#else
#define NP_SHM_HOOK(kind, address, bytes, value) ((void)0)
#define NP_MUTANT(name) 0
#endif

static inline uint64_t np_load64(const np_shm64 *address, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_LOAD, address, 8, 0);
    return atomic_load_explicit((np_shm64 *)(uintptr_t)address, order);
}

static inline uint32_t np_load32(const np_shm32 *address, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_LOAD, address, 4, 0);
    return atomic_load_explicit((np_shm32 *)(uintptr_t)address, order);
}

static inline void np_store64(np_shm64 *address, uint64_t value, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_STORE, address, 8, value);
    atomic_store_explicit(address, value, order);
}

static inline void np_store32(np_shm32 *address, uint32_t value, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_STORE, address, 4, value);
    atomic_store_explicit(address, value, order);
}

/* Strong compare-and-swap. On failure *expected is what was there, loaded relaxed: to be tried again with, not to be
 * followed. */
static inline bool np_cas64(np_shm64 *address, uint64_t *expected, uint64_t wanted, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_CAS, address, 8, wanted);
    return atomic_compare_exchange_strong_explicit(address, expected, wanted, order, memory_order_relaxed);
}

static inline bool np_cas32(np_shm32 *address, uint32_t *expected, uint32_t wanted, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_CAS, address, 4, wanted);
    return atomic_compare_exchange_strong_explicit(address, expected, wanted, order, memory_order_relaxed);
}

static inline uint64_t np_and64(np_shm64 *address, uint64_t mask, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_AND, address, 8, mask);
    return atomic_fetch_and_explicit(address, mask, order);
}

static inline uint64_t np_or64(np_shm64 *address, uint64_t mask, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_OR, address, 8, mask);
    return atomic_fetch_or_explicit(address, mask, order);
}

static inline uint64_t np_add64(np_shm64 *address, uint64_t addend, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_ADD, address, 8, addend);
    return atomic_fetch_add_explicit(address, addend, order);
}

static inline uint32_t np_add32(np_shm32 *address, uint32_t addend, memory_order order)
{
    NP_SHM_HOOK(NP_SHM_ADD, address, 4, addend);
    return atomic_fetch_add_explicit(address, addend, order);
}

/* A hint to the processor in a loop that waits for another. */
static inline void np_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Begins to fetch the line for reading; a hint, whatever the address. */
static inline void np_prefetch(const void *address)
{
    __builtin_prefetch(address, 0, 3);
}

/* Begins to fetch a line that is going to be written, from whoever has it. */
static inline void np_prefetch_write(const volatile void *address)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const volatile char *)address)); /* __builtin_prefetch gives it with -mprfchw only */
#else
    __builtin_prefetch((const void *)(uintptr_t)address, 1);
#endif
}

/* Full fence between stores before and loads after it (the store-load order that a flag-and-check needs). */
static inline void np_fence(void)
{
    NP_SHM_HOOK(NP_SHM_FENCE, 0, 0, 0);
    atomic_thread_fence(memory_order_seq_cst);
}

#endif
