/* SPDX-License-Identifier: MIT
 *
 * Refill and flush alone: from and to the arena, where each slot costs a CAS or a store, and from and to the process depot, where
 * they are copied under a mutex. Everything else happens outside the time.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "groups.h"
#include "local.h"
#include "numapool.h"

#define POOL_SLOTS (1u << 20)
#define MOVED 128u                    /* slots, by one refill or flush */
#define MAGAZINE_SLOTS (2 * MOVED)    /* of which half is moved at once */
#define MAGAZINES 16u                 /* moved to or from in one sample, which would be too short to time otherwise */

/* ---------------------------------------------------------------- the arena */

struct arena {
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    void *held[MOVED];
    bool holds;
};

static void make_pool(struct numapool_pool **pool)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "bench";
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = POOL_SLOTS;
    if (numapool_create(pool, &options) < 0)
        bench_fail("%s", numapool_errormsg());
}

static void *arena_open(void)
{
    struct arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        bench_fail("no memory");
    make_pool(&arena->pool);
    if (numapool_magazine_open(arena->pool, NUMAPOOL_OWN_NODE, MAGAZINE_SLOTS, &arena->magazine) < 0)
        bench_fail("%s", numapool_errormsg());
    return arena;
}

static void take(void *state)
{
    struct arena *arena = state;
    if (numapool_get_bulk(arena->magazine, arena->held, MOVED) < 0)
        bench_fail("%s", numapool_errormsg());
}

static void flush(void *state)
{
    numapool_flush(((struct arena *)state)->magazine);
}

static void give_back(void *state)
{
    struct arena *arena = state;
    numapool_put_bulk(arena->magazine, arena->held, MOVED);
}

static void take_and_cache(void *state)
{
    take(state);
    give_back(state);
}

static void give_back_and_flush(void *state)
{
    give_back(state);
    flush(state);
}

static void arena_close(void *state)
{
    struct arena *arena = state;
    if (numapool_magazine_close(arena->magazine) < 0 || numapool_close(arena->pool) < 0)
        bench_fail("%s", numapool_errormsg());
    free(arena);
}

/* A word a slot, and nothing that says which are free: they are taken in turn, round an array as large as the pool's. */
struct words {
    _Atomic uint64_t *words;
    char *slots;
    uint64_t next;
    void *held[MOVED];
};

static void *words_open(void)
{
    struct words *words = calloc(1, sizeof *words);
    if (!words || (words->words = aligned_alloc(4096, POOL_SLOTS * sizeof *words->words)) == NULL)
        bench_fail("no memory for words");
    memset((void *)words->words, 0, POOL_SLOTS * sizeof *words->words);
    words->slots = (char *)words->words; /* any addresses: nothing looks at what they point to */
    return words;
}

static void words_close(void *state)
{
    struct words *words = state;
    free((void *)words->words);
    free(words);
}

static void words_take(void *state)
{
    struct words *words = bench_opaque(state);
    for (unsigned i = 0; i < MOVED; i++) {
        uint64_t index = (words->next + i) % POOL_SLOTS, expected = 0;
        if (!atomic_compare_exchange_strong_explicit(&words->words[index], &expected, 1, memory_order_acquire, memory_order_relaxed))
            bench_fail("a word that should be free is not");
        words->held[i] = words->slots + index * sizeof *words->words;
    }
    bench_opaque(words);
}

static void words_give(void *state)
{
    struct words *words = bench_opaque(state);
    for (unsigned i = 0; i < MOVED; i++)
        atomic_store_explicit((_Atomic uint64_t *)words->held[i], 0, memory_order_release);
    words->next = (words->next + MOVED / 2) % POOL_SLOTS; /* as far as a search goes that begins where the last one ended */
    bench_opaque(words);
}

/* ---------------------------------------------------------------- the depot */

struct depot {
    struct numapool_pool *pool;
    struct numapool_magazine *store; /* by which the depot gets slots, and gives them */
    struct numapool_magazine *magazines[MAGAZINES];
    void *one[MAGAZINES]; /* what the refilling get returned, or the spilling put gives */
};

static size_t held(const struct numapool_magazine *magazine)
{
    return (size_t)(magazine->top - magazine->bottom);
}

static void *depot_open(void)
{
    struct depot *depot = calloc(1, sizeof *depot);
    static void *slots[2 * MAGAZINES * MAGAZINE_SLOTS];
    const unsigned n = sizeof slots / sizeof *slots;
    if (!depot)
        bench_fail("no memory");
    make_pool(&depot->pool);
    int result = numapool_magazine_open(depot->pool, NUMAPOOL_OWN_NODE, MAGAZINE_SLOTS, &depot->store);
    for (unsigned i = 0; i < MAGAZINES && result == 0; i++)
        result = numapool_magazine_open(depot->pool, NUMAPOOL_OWN_NODE, MAGAZINE_SLOTS, &depot->magazines[i]);
    if (result < 0 || numapool_get_bulk(depot->store, slots, n) < 0 || numapool_put_bulk(depot->store, slots, n) < 0)
        bench_fail("%s", numapool_errormsg());
    return depot;
}

static void depot_close(void *state)
{
    struct depot *depot = state;
    for (unsigned i = 0; i < MAGAZINES; i++) {
        if (depot->one[i])
            numapool_put(depot->store, depot->one[i]);
        if (numapool_magazine_close(depot->magazines[i]) < 0)
            bench_fail("%s", numapool_errormsg());
    }
    if (numapool_magazine_close(depot->store) < 0 || numapool_close(depot->pool) < 0)
        bench_fail("%s", numapool_errormsg());
    free(depot);
}

static void empty_all(void *state)
{
    struct depot *depot = state;
    for (unsigned i = 0; i < MAGAZINES; i++) {
        if (depot->one[i])
            numapool_put(depot->store, depot->one[i]);
        depot->one[i] = NULL;
        while (held(depot->magazines[i]) > 0)
            numapool_put(depot->store, numapool_get(depot->magazines[i]));
    }
}

static void refill_all(void *state)
{
    struct depot *depot = bench_opaque(state);
    for (unsigned i = 0; i < MAGAZINES; i++)
        depot->one[i] = numapool_get(depot->magazines[i]);
    bench_opaque(depot);
}

static void fill_all(void *state)
{
    struct depot *depot = state;
    for (unsigned i = 0; i < MAGAZINES; i++) {
        while (held(depot->magazines[i]) < MAGAZINE_SLOTS)
            numapool_put(depot->magazines[i], numapool_get(depot->store));
        depot->one[i] = numapool_get(depot->store);
    }
}

static void spill_all(void *state)
{
    struct depot *depot = bench_opaque(state);
    for (unsigned i = 0; i < MAGAZINES; i++) {
        numapool_put(depot->magazines[i], depot->one[i]);
        depot->one[i] = NULL;
    }
    bench_opaque(depot);
}

/* A stack in common under a mutex, and private arrays. */
struct bare {
    pthread_mutex_t lock;
    unsigned count;
    unsigned held[MAGAZINES];
    void *one[MAGAZINES];
    void *common[2 * MAGAZINES * MAGAZINE_SLOTS];
    void *private[MAGAZINES][MAGAZINE_SLOTS];
};

static void *bare_open(void)
{
    struct bare *bare = aligned_alloc(64, (sizeof *bare + 63) / 64 * 64);
    if (!bare)
        bench_fail("no memory");
    memset(bare, 0, sizeof *bare);
    pthread_mutex_init(&bare->lock, NULL);
    return bare;
}

static void bare_refill(void *state)
{
    struct bare *bare = bench_opaque(state);
    for (unsigned i = 0; i < MAGAZINES; i++) {
        pthread_mutex_lock(&bare->lock);
        bare->count -= MOVED;
        memcpy(bare->private[i], bare->common + bare->count, MOVED * sizeof(void *));
        pthread_mutex_unlock(&bare->lock);
        bare->held[i] = MOVED - 1;
        bare->one[i] = bare->private[i][MOVED - 1];
    }
    bench_opaque(bare);
}

static void bare_spill(void *state)
{
    struct bare *bare = bench_opaque(state);
    for (unsigned i = 0; i < MAGAZINES; i++) {
        pthread_mutex_lock(&bare->lock);
        memcpy(bare->common + bare->count, bare->private[i], MOVED * sizeof(void *));
        bare->count += MOVED;
        pthread_mutex_unlock(&bare->lock);
        memmove(bare->private[i], bare->private[i] + MOVED, MOVED * sizeof(void *));
        bare->private[i][MOVED] = bare->one[i];
        bare->held[i] = MOVED + 1;
    }
    bench_opaque(bare);
}

static void bare_provide(void *state)
{
    ((struct bare *)state)->count = MAGAZINES * MOVED;
}

static void bare_clear(void *state)
{
    ((struct bare *)state)->count = 0;
}

/* ---------------------------------------------------------------- group */

static const struct bench_variant refill_arena = {
    .name = "get_bulk of 128 out of the arena", .open = arena_open, .close = arena_close, .chunk = take, .after = give_back_and_flush,
    .operations = MOVED,
};
static const struct bench_variant words_cas = {
    .name = "bare CAS of 128 words", .open = words_open, .close = words_close, .chunk = words_take, .after = words_give,
    .operations = MOVED,
};
static const struct bench_variant flush_arena = {
    .name = "flush of 128 to the arena", .open = arena_open, .close = arena_close, .before = take_and_cache, .chunk = flush,
    .operations = MOVED,
};
static const struct bench_variant words_store = {
    .name = "bare store of 128 words", .open = words_open, .close = words_close, .before = words_take, .chunk = words_give,
    .operations = MOVED,
};
static const struct bench_variant refill_depot = {
    .name = "gets that refill by 128 from the depot", .open = depot_open, .close = depot_close, .before = empty_all, .chunk = refill_all,
    .operations = MAGAZINES * MOVED,
};
static const struct bench_variant copy_out = {
    .name = "bare copies of 128 pointers under a mutex", .open = bare_open, .close = free, .before = bare_provide,
    .chunk = bare_refill, .operations = MAGAZINES * MOVED,
};
static const struct bench_variant flush_depot = {
    .name = "puts that spill 128 to the depot", .open = depot_open, .close = depot_close, .before = fill_all, .chunk = spill_all,
    .operations = MAGAZINES * MOVED,
};
static const struct bench_variant copy_in = {
    .name = "bare copies of 128 pointers under a mutex, the rest moved up", .open = bare_open, .close = free, .before = bare_clear,
    .chunk = bare_spill, .operations = MAGAZINES * MOVED,
};

static const struct bench_row rows[] = {
    { "refill_arena", 0, 1, "mean of 128 slots", "\"slots\": 128", 0, 0, 0 },
    { "flush_arena", 2, 3, "mean of 128 slots", "\"slots\": 128", 0, 0, 0 },
    { "refill_depot", 4, 5, "mean of 16 times 128 slots", "\"slots\": 128", 0, 0, 0 },
    { "flush_depot", 6, 7, "mean of 16 times 128 slots", "\"slots\": 128", 0, 0, 0 },
};
const struct bench_group bench_refill = {
    .about = "What a magazine that runs empty or full costs a slot: out of the arena and back, out of the process depot and back.",
    .variants = { &refill_arena, &words_cas, &flush_arena, &words_store, &refill_depot, &copy_out, &flush_depot, &copy_in },
    .variant_count = 8, .rows = rows, .row_count = 4,
};
