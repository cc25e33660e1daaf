/* SPDX-License-Identifier: MIT
 *
 * A gets, B puts: one thread takes objects and hands them to another over a bare ring, which gives them back. Touched: the first word is
 * written there and read here, as whoever hands over something does. The floor hands over objects that go round in an array, and
 * neither takes nor gives back anything.
 */
#include <stdlib.h>

#include "floor/pointer_ring.h"
#include "groups.h"
#include "local.h"
#include "numapool.h"

#define POOL_SLOTS (1u << 20)
#define RECYCLED (2 * BENCH_RING_SLOTS)
#define SAMPLE 1024u /* objects whose mean is one sample */

enum origin { POOL, RECYCLE, HEAP };

struct hand_over {
    struct bench_ring ring;
    _Alignas(128) struct numapool_pool *pool;
    struct numapool_magazine *magazines[2];
    char *recycled;
    _Alignas(128) uint64_t sum;
};

static void *open_any(bool pool)
{
    struct hand_over *it = aligned_alloc(128, sizeof *it);
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    if (!it || (memset(it, 0, sizeof *it), it->recycled = aligned_alloc(128, (size_t)RECYCLED * BENCH_PAYLOAD_BYTES)) == NULL)
        bench_fail("no memory for a ring");
    memset(it->recycled, 0, (size_t)RECYCLED * BENCH_PAYLOAD_BYTES);
    options.name = "bench";
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = POOL_SLOTS;
    if (pool && (numapool_create(&it->pool, &options) < 0 ||
                 numapool_magazine_open(it->pool, NUMAPOOL_OWN_NODE, 0, &it->magazines[0]) < 0 ||
                 numapool_magazine_open(it->pool, NUMAPOOL_OWN_NODE, 0, &it->magazines[1]) < 0))
        bench_fail("%s", numapool_errormsg());
    return it;
}

static void *open_pool(void)
{
    return open_any(true);
}

static void *open_bare(void)
{
    return open_any(false);
}

static void close_any(void *state)
{
    struct hand_over *it = state;
    if (it->pool && (numapool_magazine_close(it->magazines[0]) < 0 || numapool_magazine_close(it->magazines[1]) < 0 ||
                     numapool_close(it->pool) < 0))
        bench_fail("%s", numapool_errormsg());
    free(it->recycled);
    free(it);
}

static inline __attribute__((always_inline)) void give_n(struct hand_over *it, uint64_t number, enum origin origin, unsigned n, bool touched)
{
    void *objects[BENCH_BULK];
    for (unsigned i = 0; i < n && origin != POOL; i++)
        objects[i] = origin == HEAP ? malloc(BENCH_PAYLOAD_BYTES) :
                                      it->recycled + (number + i) % RECYCLED * BENCH_PAYLOAD_BYTES;
    if (origin == POOL && n == 1)
        objects[0] = numapool_get(it->magazines[0]);
    else if (origin == POOL && numapool_get_bulk(it->magazines[0], objects, n) < 0)
        bench_fail("%s", numapool_errormsg());
    for (unsigned i = 0; i < n && touched; i++)
        *(uint64_t *)objects[i] = number + i;
    bench_ring_push(&it->ring, objects, n);
}

static inline __attribute__((always_inline)) uint64_t take_n(struct hand_over *it, enum origin origin, unsigned n, bool touched)
{
    void *objects[BENCH_BULK];
    uint64_t sum = 0;
    bench_ring_pop(&it->ring, objects, n);
    for (unsigned i = 0; i < n && touched; i++)
        sum += *(uint64_t *)objects[i];
    for (unsigned i = 0; i < n && origin == HEAP; i++)
        free(objects[i]);
    if (origin == POOL && n == 1)
        numapool_put(it->magazines[1], objects[0]);
    else if (origin == POOL)
        numapool_put_bulk(it->magazines[1], objects, n);
    return sum;
}

static inline __attribute__((always_inline)) void lead_any(void *state, uint64_t operations, struct bench_histogram *samples,
                                                           enum origin origin, unsigned n, bool touched)
{
    const int64_t clock_cost_ns = bench_clock_cost_ns();
    for (uint64_t number = 0; number < operations;) {
        const uint64_t stop = operations - number > SAMPLE ? number + SAMPLE : operations, begin = number;
        const int64_t start_ns = bench_now_ns();
        for (; number < stop; number += n)
            give_n(state, number, origin, n, touched);
        bench_histogram_add(samples, (double)(bench_now_ns() - start_ns - clock_cost_ns) / (double)(stop - begin));
    }
}

static inline __attribute__((always_inline)) void peer_any(void *state, uint64_t operations, enum origin origin, unsigned n, bool touched)
{
    struct hand_over *it = state;
    uint64_t sum = 0;
    for (uint64_t number = 0; number < operations; number += n)
        sum += take_n(it, origin, n, touched);
    if (touched && sum != operations * (operations - 1) / 2)
        bench_fail("what was handed over adds up to %llu for %llu objects", (unsigned long long)sum, (unsigned long long)operations);
}

#define ENDS(name, origin, n, touched)                                                              \
    static void name##_lead(void *state, uint64_t operations, struct bench_histogram *samples)      \
    {                                                                                               \
        lead_any(state, operations, samples, origin, n, touched);                                   \
    }                                                                                               \
    static void name##_peer(void *state, uint64_t operations)                                       \
    {                                                                                               \
        peer_any(state, operations, origin, n, touched);                                            \
    }
ENDS(pool, POOL, 1, true)
ENDS(bare, RECYCLE, 1, true)
ENDS(heap, HEAP, 1, true)
ENDS(pool_bulk, POOL, BENCH_BULK, true)
ENDS(bare_bulk, RECYCLE, BENCH_BULK, true)
ENDS(pool_untouched, POOL, 1, false)
ENDS(bare_untouched, RECYCLE, 1, false)
ENDS(pool_bulk_untouched, POOL, BENCH_BULK, false)
ENDS(bare_bulk_untouched, RECYCLE, BENCH_BULK, false)

#define VARIANT(its_name, its_open, ends)                                                                              \
    static const struct bench_variant variant_##ends = {                                                               \
        .name = its_name, .open = its_open, .close = close_any, .lead = ends##_lead, .peer = ends##_peer,              \
    }
VARIANT("get, ring, put", open_pool, pool);
VARIANT("the ring alone, objects recycled", open_bare, bare);
VARIANT("malloc, ring, free", open_bare, heap);
VARIANT("get_bulk, ring, put_bulk", open_pool, pool_bulk);
VARIANT("the ring alone, 32 at once", open_bare, bare_bulk);
VARIANT("get, ring, put, untouched", open_pool, pool_untouched);
VARIANT("the ring alone, untouched", open_bare, bare_untouched);
VARIANT("get_bulk, ring, put_bulk, untouched", open_pool, pool_bulk_untouched);
VARIANT("the ring alone, 32 at once, untouched", open_bare, bare_bulk_untouched);

#define MEAN "mean of 1,024 objects"
static const struct bench_row rows[] = {
    { "hand_over", 0, 1, MEAN, "\"bulk\": 1, \"touched\": true", 0, 0, 0 },
    { "hand_over_bulk_32", 2, 3, MEAN, "\"bulk\": 32, \"touched\": true", 0, 0, 0 },
    { "hand_over_untouched", 4, 5, MEAN, "\"bulk\": 1, \"touched\": false", 0, 0, 0 },
    { "hand_over_bulk_32_untouched", 6, 7, MEAN, "\"bulk\": 32, \"touched\": false", 0, 0, 0 },
};
/* What the fastest peers were seen to take here: an allocator that is handed objects back by another thread, and a pool in bulk. */
static const double median_max[] = { 4.9, 2.2, 4.9, 2.2 };
const struct bench_group bench_hand_over = {
    .about = "One thread takes objects, another gives them back; a bare ring of 1,024 pointers between them.",
    .variants = { &variant_pool, &variant_bare, &variant_pool_bulk, &variant_bare_bulk, &variant_pool_untouched,
                  &variant_bare_untouched, &variant_pool_bulk_untouched, &variant_bare_bulk_untouched },
    .variant_count = 8, .rows = rows, .row_count = 4, .ends = 2, .threads = true, .median_max = median_max,
};

/* By themselves: threads that meet in the C library's heap sleep there, which would disturb the slices of the others. */
static const struct bench_row rows_malloc[] = {
    { "hand_over_malloc", 0, 1, MEAN, "\"bulk\": 1, \"touched\": true", 0, 0, 0 },
};
const struct bench_group bench_hand_over_malloc = {
    .about = "The same, and objects of the C library's heap.", .variants = { &variant_pool, &variant_heap }, .variant_count = 2,
    .rows = rows_malloc, .row_count = 1, .ends = 2, .threads = true, .sleeps = true,
};
