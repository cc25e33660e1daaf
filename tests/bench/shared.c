/* SPDX-License-Identifier: MIT
 *
 * One pool, one to four threads, a magazine each; their floor a private stack each. Beyond two they take turns on the two CPUs, and
 * an operation's time is that of all of them together.
 */
#include <stdlib.h>

#include "chunked.h"
#include "groups.h"
#include "local.h"
#include "numapool.h"

#define THREADS_MAX 4u
#define POOL_SLOTS (1u << 20)
#define STACK_SLOTS 2048u

struct shared {
    struct numapool_pool *pool;
    struct numapool_magazine *magazines[THREADS_MAX];
};

struct stack {
    _Alignas(128) void **top;
    void *slots[STACK_SLOTS];
};

static void *pool_open(void)
{
    struct shared *shared = calloc(1, sizeof *shared);
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "bench";
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = POOL_SLOTS;
    if (!shared || numapool_create(&shared->pool, &options) < 0)
        bench_fail("a pool to share: %s", numapool_errormsg());
    for (unsigned i = 0; i < THREADS_MAX; i++)
        if (numapool_magazine_open(shared->pool, NUMAPOOL_OWN_NODE, 0, &shared->magazines[i]) < 0)
            bench_fail("%s", numapool_errormsg());
    return shared;
}

static void pool_close(void *state)
{
    struct shared *shared = state;
    for (unsigned i = 0; i < THREADS_MAX; i++)
        if (numapool_magazine_close(shared->magazines[i]) < 0)
            bench_fail("%s", numapool_errormsg());
    if (numapool_close(shared->pool) < 0)
        bench_fail("%s", numapool_errormsg());
    free(shared);
}

static void *stacks_open(void)
{
    struct stack *stacks = aligned_alloc(128, THREADS_MAX * sizeof *stacks);
    if (!stacks)
        bench_fail("no memory for stacks");
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        for (unsigned j = 0; j < STACK_SLOTS; j++)
            stacks[i].slots[j] = &stacks[i].slots[j]; /* any addresses: nothing looks at what they point to */
        stacks[i].top = stacks[i].slots + STACK_SLOTS / 2;
    }
    return stacks;
}

/* `batch` out, then back, until it is `operations`. */
static inline __attribute__((always_inline)) void rounds(struct numapool_magazine *magazine, struct stack *stack, uint64_t operations,
                                                         unsigned batch)
{
    void *slots[BENCH_THOUSAND];
    while (operations > 0) {
        const unsigned n = operations < batch ? (unsigned)operations : batch;
        bench_align_loop();
        for (unsigned i = 0; i < n; i++)
            slots[i] = magazine ? numapool_get(magazine) : *--stack->top;
        bench_opaque(slots);
        bench_align_loop();
        for (unsigned i = 0; i < n; i++) {
            if (magazine)
                numapool_put(magazine, slots[i]);
            else
                *stack->top++ = slots[i];
        }
        bench_opaque(slots);
        operations -= n;
    }
}

static inline __attribute__((always_inline)) void pairs(struct numapool_magazine *magazine, struct stack *stack, uint64_t operations)
{
    bench_align_loop();
    for (uint64_t i = 0; i < operations; i++) {
        void *slot = bench_opaque(magazine ? numapool_get(magazine) : *--stack->top);
        if (magazine)
            numapool_put(magazine, slot);
        else
            *stack->top++ = slot;
        bench_opaque(slot);
    }
}

static void pool_pairs(void *state, unsigned end, uint64_t operations)
{
    pairs(bench_opaque(((struct shared *)state)->magazines[end]), NULL, operations);
}

static void stack_pairs(void *state, unsigned end, uint64_t operations)
{
    pairs(NULL, bench_opaque((struct stack *)state + end), operations);
}

static void pool_rounds(void *state, unsigned end, uint64_t operations)
{
    rounds(bench_opaque(((struct shared *)state)->magazines[end]), NULL, operations, BENCH_THOUSAND);
}

static void stack_rounds(void *state, unsigned end, uint64_t operations)
{
    rounds(NULL, bench_opaque((struct stack *)state + end), operations, BENCH_THOUSAND);
}

BENCH_CHUNKED(pool_pairs, BENCH_PAIRS, "get and put", pool_open, pool_close);
BENCH_CHUNKED(stack_pairs, BENCH_PAIRS, "bare pop and push, a stack each", stacks_open, free);
BENCH_CHUNKED(pool_rounds, BENCH_PAIRS, "1,000 gets and puts", pool_open, pool_close);
BENCH_CHUNKED(stack_rounds, BENCH_PAIRS, "1,000 bare pops and pushes, a stack each", stacks_open, free);

#define VARIANTS { &variant_pool_pairs, &variant_stack_pairs, &variant_pool_rounds, &variant_stack_rounds }
#define MEAN "mean of 4,096 pairs of the first thread"
#define ROWS(n)                                                                                       \
    static const struct bench_row rows_##n[] = {                                                      \
        { "shared_" #n, 0, 1, MEAN, "\"threads\": " #n ", \"batch\": 1", 0, 0, 0 },                   \
        { "shared_" #n "_thousand", 2, 3, MEAN, "\"threads\": " #n ", \"batch\": 1000", 0, 0, 0 },    \
    }
ROWS(1);
ROWS(2);
ROWS(3);
ROWS(4);

const struct bench_group bench_shared_1 = {
    .about = "One thread with its own magazine of a pool.", .variants = VARIANTS, .variant_count = 4, .rows = rows_1, .row_count = 2,
};
const struct bench_group bench_shared_2 = {
    .about = "Two threads share a pool, a magazine each.", .variants = VARIANTS, .variant_count = 4, .rows = rows_2, .row_count = 2,
    .ends = 2, .threads = true,
};
/* They take turns: that one of them was off its CPU says nothing. */
const struct bench_group bench_shared_3 = {
    .about = "Three threads on two CPUs share a pool, a magazine each.", .variants = VARIANTS, .variant_count = 4, .rows = rows_3,
    .row_count = 2, .ends = 3, .threads = true, .sleeps = true,
};
const struct bench_group bench_shared_4 = {
    .about = "Four threads on two CPUs share a pool, a magazine each.", .variants = VARIANTS, .variant_count = 4, .rows = rows_4,
    .row_count = 2, .ends = 4, .threads = true, .sleeps = true,
};
