/* SPDX-License-Identifier: MIT
 * What the tests of pools, magazines and channels share: embedded pools, and the account that each test ends with. */
#ifndef NP_TEST_POOL_HELP_H
#define NP_TEST_POOL_HELP_H

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/embedded.h"
#include "core/error.h"
#include "core/notice.h"
#include "core/pool.h"
#include "numapool.h"

enum { SLOT_BYTES = 128 };

static inline void assert_sentence_has(const char *part)
{
    ck_assert_msg(strstr(numapool_errormsg(), part) != NULL, "\"%s\" lacks \"%s\"", numapool_errormsg(), part);
}

/* The call failed as it should and said why, naming `part`. */
#define ASSERT_REFUSED(call, code, part)        \
    do {                                        \
        np_error_static(0, "");                 \
        ck_assert_int_eq((call), (code));       \
        ck_assert_str_ne(numapool_errormsg(), ""); \
        assert_sentence_has(part);              \
    } while (0)

static inline struct numapool_pool *make_pool(uint64_t slots, uint64_t flags)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool = NULL;
    options.name = "pay";
    options.slot_bytes = SLOT_BYTES;
    options.slots = slots;
    options.flags = flags;
    uint64_t all[1] = { slots };
    int node = 0;
    ck_assert_int_eq(np_embedded_create(&pool, &options, all, &node, 1), 0);
    return pool;
}

/* Several arenas, all of them on node 0. */
static inline struct numapool_pool *make_pool_on_one_node(unsigned arenas, uint64_t slots_each)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool = NULL;
    uint64_t slots[NP_ARENAS_MAX] = { 0 };
    int nodes[NP_ARENAS_MAX] = { 0 };
    options.name = "pay";
    options.slot_bytes = SLOT_BYTES;
    for (unsigned i = 0; i < arenas; i++) {
        slots[i] = slots_each;
        options.slots += slots_each;
    }
    ck_assert_int_eq(np_embedded_create(&pool, &options, slots, nodes, arenas), 0);
    return pool;
}

/* Several arenas, each on a node of its own as far as the pool knows; its memory is on node 0. */
static inline struct numapool_pool *make_pool_of_arenas(unsigned arenas, uint64_t slots_each)
{
    struct numapool_pool *pool = make_pool_on_one_node(arenas, slots_each);
    for (unsigned i = 0; i < arenas; i++) {
        struct np_pool_arena *pa = &pool->arenas[i];
        pa->arena.node = (int)i;
        pa->home = pa;
        atomic_store_explicit(&pa->enough_slots, np_notice_recovered(pa->arena.low_watermark, pa->arena.slots), memory_order_relaxed);
    }
    return pool;
}

static inline struct numapool_magazine *open_magazine(struct numapool_pool *pool, unsigned capacity)
{
    struct numapool_magazine *magazine = NULL;
    ck_assert_int_eq(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, capacity, &magazine), 0);
    return magazine;
}

static inline struct np_arena_census pool_census(const struct numapool_pool *pool)
{
    struct np_arena_census sum = { 0 };
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        struct np_arena_census one;
        np_arena_census(&pool->arenas[i].arena, &one);
        sum.free_slots += one.free_slots;
        sum.held += one.held;
        sum.sent += one.sent;
        sum.kept += one.kept;
        sum.odd += one.odd;
    }
    return sum;
}

static inline uint64_t pool_slots(const struct numapool_pool *pool)
{
    uint64_t slots = 0;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        slots += pool->arenas[i].arena.slots;
    return slots;
}

/* Gives back what the process caches. */
static inline void flush_pool(struct numapool_pool *pool)
{
    struct numapool_magazine *magazine = open_magazine(pool, 1);
    ck_assert_int_eq(numapool_flush(magazine), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}

/* free + held + in flight is everything, of which `held` and `in_flight` are as many as expected; the counters agree. */
static inline void assert_account(struct numapool_pool *pool, uint64_t held, uint64_t in_flight)
{
    flush_pool(pool);
    struct np_arena_census now = pool_census(pool);
    ck_assert_uint_eq(now.free_slots + now.held + now.sent, pool_slots(pool));
    ck_assert_uint_eq(now.held, held);
    ck_assert_uint_eq(now.sent, in_flight);
    uint64_t hint = 0;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        hint += np_arena_free_hint(&pool->arenas[i].arena);
    ck_assert_uint_eq(hint, now.free_slots);
}

/* Every slot is free, and the pool lets itself be closed. */
static inline void close_pool(struct numapool_pool *pool)
{
    assert_account(pool, 0, 0);
    ck_assert_int_eq(numapool_close(pool), 0);
}

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
