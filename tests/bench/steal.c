/* SPDX-License-Identifier: MIT
 *
 * A nearly empty pool, in which nothing can be cached, or what is cached is what others lack: each get and put goes to the words. One
 * thread alone, and two that meet there. The floor is a shared stack with as many slots.
 */
#include <stdlib.h>

#include "chunked.h"
#include "floor/shared_stack.h"
#include "groups.h"
#include "numapool.h"

#define SMALL_SLOTS 32u   /* of the pool in which no magazine holds anything */
#define LARGE_SLOTS 4096u /* of the one that is nearly empty */
#define LEFT_SLOTS 6u     /* in it */
#define WANTED_SLOTS 4u   /* by each thread at a time: more than half of what is left */
#define CHUNK 1024u

struct pool {
    struct numapool_pool *pool;
    struct numapool_magazine *magazines[2], *rest;
    void *in_use[LARGE_SLOTS];
    unsigned in_use_slots;
};

static void *open_pool(unsigned slots, unsigned sharers, unsigned in_use)
{
    struct pool *it = calloc(1, sizeof *it);
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "bench";
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = slots;
    options.sharers = sharers;
    if (!it || numapool_create(&it->pool, &options) < 0)
        bench_fail("a small pool: %s", numapool_errormsg());
    if (numapool_magazine_open(it->pool, NUMAPOOL_OWN_NODE, 1, &it->rest) < 0 ||
        (in_use > 0 && numapool_get_bulk(it->rest, it->in_use, in_use) < 0) || numapool_flush(it->rest) < 0)
        bench_fail("%s", numapool_errormsg());
    it->in_use_slots = in_use;
    for (unsigned i = 0; i < 2; i++)
        if (numapool_magazine_open(it->pool, NUMAPOOL_OWN_NODE, 0, &it->magazines[i]) < 0)
            bench_fail("%s", numapool_errormsg());
    return it;
}

static void *open_small(void)
{
    return open_pool(SMALL_SLOTS, SMALL_SLOTS, 0); /* for so many processes that none may cache anything */
}

static void *open_nearly_empty(void)
{
    return open_pool(LARGE_SLOTS, 1, LARGE_SLOTS - LEFT_SLOTS);
}

static void close_pool(void *state)
{
    struct pool *it = state;
    if (it->in_use_slots > 0)
        numapool_put_bulk(it->rest, it->in_use, it->in_use_slots);
    if (numapool_magazine_close(it->rest) < 0 || numapool_magazine_close(it->magazines[0]) < 0 ||
        numapool_magazine_close(it->magazines[1]) < 0 || numapool_close(it->pool) < 0)
        bench_fail("%s", numapool_errormsg());
    free(it);
}

static void *open_stack(unsigned slots)
{
    struct bench_shared_stack *stack = aligned_alloc(128, sizeof *stack);
    if (!stack)
        bench_fail("no memory for a stack");
    atomic_init(&stack->head, BENCH_SHARED_STACK_NONE);
    for (unsigned i = 0; i < slots; i++)
        bench_shared_stack_push(stack, i);
    return stack;
}

static void *open_small_stack(void)
{
    return open_stack(SMALL_SLOTS);
}

static void *open_nearly_empty_stack(void)
{
    return open_stack(LEFT_SLOTS);
}

static void pool_pairs(void *state, unsigned end, uint64_t operations)
{
    struct numapool_magazine *magazine = ((struct pool *)state)->magazines[end];
    for (uint64_t i = 0; i < operations; i++) {
        void *slot = bench_opaque(numapool_get(magazine));
        if (!slot)
            bench_fail("a pool of %u slots fails the second get of two threads", SMALL_SLOTS);
        numapool_put(magazine, slot);
    }
}

static void stack_pairs(void *state, unsigned end, uint64_t operations)
{
    (void)end;
    for (uint64_t i = 0; i < operations; i++)
        bench_shared_stack_push(state, bench_shared_stack_pop(state));
}

/* As many as can be had of those wanted, and all back. An operation is one that was wanted. */
static void pool_rounds(void *state, unsigned end, uint64_t operations)
{
    struct numapool_magazine *magazine = ((struct pool *)state)->magazines[end];
    void *slots[WANTED_SLOTS];
    for (uint64_t i = 0; i < operations; i += WANTED_SLOTS) {
        unsigned got = 0;
        for (unsigned j = 0; j < WANTED_SLOTS; j++)
            got += (slots[got] = bench_opaque(numapool_get(magazine))) != NULL;
        while (got > 0)
            numapool_put(magazine, slots[--got]);
    }
}

static void stack_rounds(void *state, unsigned end, uint64_t operations)
{
    uint32_t slots[WANTED_SLOTS];
    (void)end;
    for (uint64_t i = 0; i < operations; i += WANTED_SLOTS) {
        unsigned got = 0;
        for (unsigned j = 0; j < WANTED_SLOTS; j++)
            got += (slots[got] = bench_shared_stack_pop(state)) != BENCH_SHARED_STACK_NONE;
        while (got > 0)
            bench_shared_stack_push(state, slots[--got]);
    }
}

BENCH_CHUNKED(pool_pairs, CHUNK, "get and put, 32 slots", open_small, close_pool);
BENCH_CHUNKED(stack_pairs, CHUNK, "bare shared stack, 32 slots", open_small_stack, free);
BENCH_CHUNKED(pool_rounds, CHUNK, "4 gets and puts, 6 slots left of 4,096", open_nearly_empty, close_pool);
BENCH_CHUNKED(stack_rounds, CHUNK, "bare shared stack, 6 slots", open_nearly_empty_stack, free);

#define MEAN "mean of 1,024 pairs of the first thread"
static const struct bench_row rows_alone[] = {
    { "steal_32_alone", 0, 1, MEAN, "\"threads\": 1, \"slots\": 32", 0, 0, 0 },
    { "steal_few_alone", 2, 3, MEAN, "\"threads\": 1, \"slots\": 4096", 0, 0, 0 },
};
static const struct bench_row rows_two[] = {
    { "steal_32", 0, 1, MEAN, "\"threads\": 2, \"slots\": 32", 0, 0, 0 },
    { "steal_few", 2, 3, MEAN, "\"threads\": 2, \"slots\": 4096", 0, 0, 0 },
};
#define VARIANTS { &variant_pool_pairs, &variant_stack_pairs, &variant_pool_rounds, &variant_stack_rounds }

const struct bench_group bench_steal_alone = {
    .about = "A pool so small or so empty that nothing is cached, and one thread.", .variants = VARIANTS, .variant_count = 4,
    .rows = rows_alone, .row_count = 2,
};
const struct bench_group bench_steal = {
    .about = "The same, and two threads that meet there.", .variants = VARIANTS, .variant_count = 4, .rows = rows_two, .row_count = 2,
    .ends = 2, .threads = true,
};
