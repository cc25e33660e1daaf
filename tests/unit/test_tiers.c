/* SPDX-License-Identifier: MIT
 * Memory-only nodes: spilled to while the near node runs low, and else only where they are asked for by number. */
#include "nodes_help.h"

/* Node 0 with CPUs, node 1 another such, node 2 memory alone and farther than node 1. */
static struct numapool_pool *make_tiers(void)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1, 2), 64, 0);
    nodes_set_distance(0, 2, 40);
    make_far(pool, 2);
    return pool;
}

START_TEST(while_a_node_runs_low_slots_are_of_the_memory_only_node_and_never_in_the_magazine)
{
    struct numapool_pool *pool = make_tiers();
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 0);
    void *slots[256];
    unsigned n = 0, near = 0;
    while (!np_pool_is_low(&pool->arenas[0]) || magazine->top != magazine->bottom) {
        ck_assert_int_eq(node_of(pool, slots[n] = numapool_get(magazine)), 0);
        n++;
    }
    near = n;
    ck_assert_uint_lt(near, 64);
    for (unsigned i = 0; i < 64; i++) {
        ck_assert_int_eq(node_of(pool, slots[n] = numapool_get(magazine)), 2);
        n++;
        assert_all_at_home(pool);
    }
    ck_assert_uint_eq(COUNT(pool, 2, spilled), 64);
    ck_assert_uint_eq(COUNT(pool, 2, tiered), 64);
    ck_assert_uint_eq(COUNT(pool, 0, foreign), 64);
    while (n < 128) { /* it is empty too: what is left of the near node */
        ck_assert_int_eq(node_of(pool, slots[n] = numapool_get(magazine)), 0);
        n++;
    }
    while (n < 192) { /* and then its neighbour's: nothing fails while there is a slot */
        ck_assert_int_eq(node_of(pool, slots[n] = numapool_get(magazine)), 1);
        n++;
    }
    ck_assert_ptr_null(numapool_get(magazine));
    ck_assert_uint_eq(COUNT(pool, 2, tiered), 64);
    all_back(pool, magazine, slots, n);
}
END_TEST

START_TEST(a_node_that_has_recovered_is_taken_from_again)
{
    struct numapool_pool *pool = make_tiers();
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 0);
    void *slots[256];
    unsigned n = get_until(magazine, slots, 90);
    ck_assert_int_eq(node_of(pool, slots[n - 1]), 2);
    unsigned far = 0, kept = 0;
    for (unsigned i = 0; i < n; i++)
        if (node_of(pool, slots[i]) == 2) {
            slots[kept++] = slots[i];
            far++;
        } else {
            ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
        }
    ck_assert_uint_gt(far, 0);
    ck_assert(!np_pool_is_low(&pool->arenas[0]));
    uint64_t tiered = COUNT(pool, 2, tiered);
    for (unsigned i = 0; i < 30; i++)
        ck_assert_int_eq(node_of(pool, slots[kept++] = numapool_get(magazine)), 0);
    ck_assert_uint_eq(COUNT(pool, 2, tiered), tiered);
    put_all(magazine, slots, kept);
    ck_assert_int_eq(numapool_flush(magazine), 0);
    ck_assert_uint_eq(COUNT(pool, 2, home_returns), far); /* far slots have gone home */
    all_back(pool, magazine, NULL, 0);
}
END_TEST

START_TEST(a_bulk_spills_too)
{
    struct numapool_pool *pool = make_tiers();
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 0);
    void *slots[256];
    unsigned n = 62;
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, n), 0);
    ck_assert(np_pool_is_low(&pool->arenas[0]));
    ck_assert_int_eq(numapool_get_bulk(magazine, slots + n, 20), 0);
    unsigned far = 0;
    for (unsigned i = 0; i < 20; i++)
        far += node_of(pool, slots[n + i]) == 2;
    ck_assert_uint_ge(far, 18); /* but for what its stack had */
    ck_assert_uint_eq(COUNT(pool, 2, tiered), far);
    ck_assert_int_eq(numapool_get_bulk(magazine, slots + n + 20, 192 - n - 20), 0); /* and all there are */
    all_back(pool, magazine, slots, 192);
}
END_TEST

START_TEST(a_memory_only_node_is_chosen_by_its_number_alone)
{
    struct numapool_pool *pool = make_nodes(NODES(2, 0, 1), 64, 0);
    make_far(pool, 0);
    nodes_here = 0;
    struct numapool_magazine *any = open_on(pool, NUMAPOOL_ANY_NODE, 0), *far = open_on(pool, 2, 0), *own;
    ck_assert_uint_eq(arena_of(any), 1);
    ck_assert_uint_eq(arena_of(far), 0);
    nodes_set_distance(5, 2, 11);
    nodes_here = 5;
    own = open_on(pool, NUMAPOOL_OWN_NODE, 0);
    ck_assert_uint_eq(arena_of(own), 1); /* though the far one is nearer */
    nodes_here = 2;
    void *slot = numapool_get(own);
    ck_assert_int_ne(node_of(pool, slot), 2);
    ck_assert_int_eq(numapool_put(own, slot), 0);
    slot = numapool_get(far);
    ck_assert_int_eq(node_of(pool, slot), 2);
    close_on(any);
    close_on(own);
    all_back(pool, far, &slot, 1);
}
END_TEST

START_TEST(a_pool_on_memory_only_nodes_alone_is_as_any_other)
{
    struct numapool_pool *pool = make_nodes(NODES(2, 3), 64, 0);
    pool->arenas[0].tier = pool->arenas[1].tier = 1;
    nodes_here = 0;
    nodes_set_distance(0, 3, 15);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 0);
    void *slots[129];
    ck_assert_uint_eq(arena_of(magazine), 1);
    ck_assert_uint_eq(get_until(magazine, slots, 129), 128);
    ck_assert_uint_eq(SUM(pool, tiered), 0);
    all_back(pool, magazine, slots, 128);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tiers");
    TCase *tiers = tcase_create("tiers");
    tcase_add_test(tiers, while_a_node_runs_low_slots_are_of_the_memory_only_node_and_never_in_the_magazine);
    tcase_add_test(tiers, a_node_that_has_recovered_is_taken_from_again);
    tcase_add_test(tiers, a_bulk_spills_too);
    tcase_add_test(tiers, a_memory_only_node_is_chosen_by_its_number_alone);
    tcase_add_test(tiers, a_pool_on_memory_only_nodes_alone_is_as_any_other);
    suite_add_tcase(suite, tiers);
    return run_suite(suite);
}
