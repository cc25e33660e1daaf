/* SPDX-License-Identifier: MIT
 *
 * Get and put in one process: pairs inline and by call, bulks, and a thousand out before the first goes back.
 */
#include "local.h"

#include <stdlib.h>

#include "groups.h"
#include "floor/called.h"
#include "floor/copy.h"
#include "floor/heap.h"
#include "floor/pop_push.h"
#include "numapool.h"

#define POOL_SLOTS (1u << 20)
#define ODD_POOL_SLOTS 1000000u /* in bytes no power of two either */
#define SCATTERED_SLOTS 900001u
#define SCATTERED_STEP 500009u /* nothing divides both: going round by it visits all of them */

struct local {
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
};

static void *open_with(unsigned slots, unsigned magazine_slots)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct local *local = calloc(1, sizeof *local);
    if (!local)
        bench_fail("no memory for a pool");
    options.name = "bench";
    options.slot_bytes = BENCH_PAYLOAD_BYTES;
    options.slots = slots;
    if (numapool_create(&local->pool, &options) < 0 ||
        numapool_magazine_open(local->pool, NUMAPOOL_OWN_NODE, magazine_slots, &local->magazine) < 0)
        bench_fail("%s", numapool_errormsg());
    return local;
}

static void *open_default(void)
{
    return open_with(POOL_SLOTS, 0);
}

static void *open_1024(void)
{
    return open_with(POOL_SLOTS, 1024);
}

/* Slots from all over a pool that has been used for a while. */
static void *open_scattered(void)
{
    struct local *local = open_with(ODD_POOL_SLOTS, 1024);
    void **slots = malloc(SCATTERED_SLOTS * sizeof *slots);
    if (!slots)
        bench_fail("no memory for %u pointers", SCATTERED_SLOTS);
    for (unsigned i = 0; i < SCATTERED_SLOTS; i++)
        if ((slots[i] = numapool_get(local->magazine)) == NULL)
            bench_fail("%s", numapool_errormsg());
    for (uint64_t i = 0; i < SCATTERED_SLOTS; i++)
        numapool_put(local->magazine, slots[i * SCATTERED_STEP % SCATTERED_SLOTS]);
    free(slots);
    return local;
}

static void close_local(void *state)
{
    struct local *local = state;
    if (numapool_magazine_close(local->magazine) < 0 || numapool_close(local->pool) < 0)
        bench_fail("%s", numapool_errormsg());
    free(local);
}

static void pairs_inline(void *state)
{
    struct numapool_magazine *magazine = bench_opaque(((struct local *)state)->magazine);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_PAIRS; i++) {
        void *slot = bench_opaque(numapool_get(magazine));
        numapool_put(magazine, slot);
        bench_opaque(slot);
    }
}

static void pairs_call(void *state)
{
    struct numapool_magazine *magazine = bench_opaque(((struct local *)state)->magazine);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_PAIRS; i++) {
        void *slot = bench_opaque(numapool_get_call(magazine));
        numapool_put_call(magazine, slot);
        bench_opaque(slot);
    }
}

static void bulks(void *state)
{
    struct numapool_magazine *magazine = bench_opaque(((struct local *)state)->magazine);
    void *slots[BENCH_BULK];
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_BULKS; i++) {
        if (numapool_get_bulk(magazine, slots, BENCH_BULK) < 0)
            bench_fail("%s", numapool_errormsg());
        bench_opaque(slots);
        numapool_put_bulk(magazine, slots, BENCH_BULK);
        bench_opaque(slots);
    }
}

static void thousand_inline(void *state)
{
    struct numapool_magazine *magazine = bench_opaque(((struct local *)state)->magazine);
    void *slots[BENCH_THOUSAND];
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        slots[i] = numapool_get(magazine);
    bench_opaque(slots);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        numapool_put(magazine, slots[i]);
}

static void thousand_call(void *state)
{
    struct numapool_magazine *magazine = bench_opaque(((struct local *)state)->magazine);
    void *slots[BENCH_THOUSAND];
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        slots[i] = numapool_get_call(magazine);
    bench_opaque(slots);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        numapool_put_call(magazine, slots[i]);
}

/* ---------------------------------------------------------------- groups */

static const struct bench_variant get_put_inline = {
    .name = "get and put inline", .open = open_default, .close = close_local, .chunk = pairs_inline, .operations = BENCH_PAIRS,
};
static const struct bench_variant get_put_call = {
    .name = "get and put by call", .open = open_default, .close = close_local, .chunk = pairs_call, .operations = BENCH_PAIRS,
};
static const struct bench_variant get_put_bulk = {
    .name = "get_bulk and put_bulk", .open = open_default, .close = close_local, .chunk = bulks,
    .operations = BENCH_BULKS * BENCH_BULK,
};
static const struct bench_variant get_put_bulk_scattered = {
    .name = "get_bulk and put_bulk of 1,000,000 slots, scattered", .open = open_scattered, .close = close_local, .chunk = bulks,
    .operations = BENCH_BULKS * BENCH_BULK,
};
static const struct bench_variant get_put_thousand = {
    .name = "1,000 gets and puts", .open = open_default, .close = close_local, .chunk = thousand_inline,
    .operations = BENCH_THOUSAND,
};
static const struct bench_variant get_put_thousand_call = {
    .name = "1,000 gets and puts by call", .open = open_default, .close = close_local, .chunk = thousand_call,
    .operations = BENCH_THOUSAND,
};
static const struct bench_variant get_put_thousand_1024 = {
    .name = "1,000 gets and puts", .open = open_1024, .close = close_local, .chunk = thousand_inline, .operations = BENCH_THOUSAND,
};

#define SAMPLE_PAIRS "mean of 4,096 pairs"
#define SAMPLE_THOUSAND "mean of 1,000 pairs"

static const struct bench_row get_put_rows[] = {
    { "get_put_inline", 0, 1, SAMPLE_PAIRS, "\"by\": \"inline\"", 1.25, 0, 0 },
    { "get_put_call", 2, 0, SAMPLE_PAIRS, "\"by\": \"function call\"", 2.5, 0, 0 },
    /* The call itself is what costs: a pair that does nothing but be called is as far from inline. */
    { "get_put_call_bare", 2, 3, SAMPLE_PAIRS, "\"by\": \"function call\"", 0, 0, 0 },
    { "get_put_call_nothing", 2, 4, SAMPLE_PAIRS, "\"by\": \"function call\"", 0, 0, 0 },
    { "get_put_call_linked", 2, 5, SAMPLE_PAIRS, "\"by\": \"function call\"", 0, 0, 0 },
};
const struct bench_group bench_get_put = {
    .about = "A slot taken and given back at once, out of a warm magazine.",
    .variants = { &get_put_inline, &floor_pop_push, &get_put_call, &floor_called_pop_push, &floor_called_nothing,
                  &floor_pop_push_call },
    .variant_count = 6, .rows = get_put_rows, .row_count = 5,
};

static const struct bench_row bulk_rows[] = {
    { "bulk_32", 0, 1, "mean of 128 bulk gets and puts, a slot", "\"bulk\": 32", 1.3, 0, 0 },
    { "bulk_32_scattered", 2, 1, "mean of 128 bulk gets and puts, a slot", "\"bulk\": 32, \"slots\": 1000000", 1.3, 0, 0 },
};
const struct bench_group bench_bulk = {
    .about = "32 slots taken and given back at once, by one call each, out of a warm magazine.",
    .variants = { &get_put_bulk, &floor_copy, &get_put_bulk_scattered }, .variant_count = 3, .rows = bulk_rows, .row_count = 2,
};

static const struct bench_row thousand_rows[] = {
    { "thousand", 0, 3, SAMPLE_THOUSAND, "\"magazine\": \"default\", \"by\": \"inline\"", 1.78, 0, 0 },
    { "thousand_call", 1, 5, SAMPLE_THOUSAND, "\"magazine\": \"default\", \"by\": \"function call\"", 0, 0, 0 },
    { "thousand_malloc", 0, 4, SAMPLE_THOUSAND, "\"magazine\": \"default\", \"by\": \"inline\"", 0, 0, 0 },
    { "thousand_magazine_1024", 2, 6, SAMPLE_THOUSAND, "\"magazine\": 1024, \"by\": \"inline\"", 1.3, 0, 0 },
};
const struct bench_group bench_thousand = {
    .about = "1,000 slots taken, then all given back.",
    .variants = { &get_put_thousand, &get_put_thousand_call, &get_put_thousand_1024, &floor_pop_push_thousand,
                  &floor_heap_thousand, &floor_called_thousand, &floor_pop_push_thousand_inline },
    .variant_count = 7, .rows = thousand_rows, .row_count = 4,
};
