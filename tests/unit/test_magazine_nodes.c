/* SPDX-License-Identifier: MIT
 * Whose node's slots a magazine takes: it follows its thread, goes to near nodes first, stays on its node in a STRICT pool; and
 * what is counted of that. */
#include "nodes_help.h"

enum { EACH = 512 };

/* ---------------------------------------------------------------- following */

START_TEST(a_magazine_follows_its_thread_at_the_next_refill)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), EACH, _i ? NUMAPOOL_EXACT_COUNTS : 0);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 16);
    void *slots[2 * EACH];
    unsigned n = get_until(magazine, slots, 3);
    nodes_here = 1;
    while (arena_of(magazine) == 0 && n < EACH)
        ck_assert_ptr_nonnull(slots[n++] = numapool_get(magazine));
    ck_assert_uint_le(n, 3 + 16);
    ck_assert_int_eq(node_of(pool, slots[n - 1]), 1);
    ck_assert_uint_eq(magazine->base, (uintptr_t)pool->arenas[1].arena.data);
    ck_assert_uint_eq(COUNT(pool, 1, followed), 1);
    ck_assert_uint_eq(COUNT(pool, 0, followed), 0);
    for (unsigned i = 0; i < 40; i++)
        ck_assert_int_eq(node_of(pool, slots[n++] = numapool_get(magazine)), 1);
    ck_assert_uint_eq(COUNT(pool, 0, remote) + COUNT(pool, 1, remote), 0); /* it never took where it was not */
    all_back(pool, magazine, slots, n);
}
END_TEST

START_TEST(a_magazine_follows_its_thread_at_the_next_overflow_of_a_put)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), EACH, 0);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 16);
    void *slots[64];
    ck_assert_uint_eq(get_until(magazine, slots, 64), 64);
    nodes_here = 1;
    unsigned put = 0;
    if (_i == 0) {
        while (arena_of(magazine) == 0 && put < 64)
            ck_assert_int_eq(numapool_put(magazine, slots[put++]), 0);
    } else {
        while (arena_of(magazine) == 0 && put < 64) {
            ck_assert_int_eq(numapool_put_bulk(magazine, slots + put, 4), 0);
            put += 4;
        }
    }
    ck_assert_uint_le(put, 17 + 4);
    ck_assert_uint_eq(arena_of(magazine), 1);
    assert_all_at_home(pool);
    put_all(magazine, slots + put, 64 - put); /* of the node that was left: these go home */
    assert_all_at_home(pool);
    ck_assert_ptr_nonnull(slots[0] = numapool_get(magazine));
    ck_assert_int_eq(node_of(pool, slots[0]), 1);
    all_back(pool, magazine, slots, 1);
}
END_TEST

START_TEST(a_thread_that_puts_many_of_its_new_node_has_its_magazine_there)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), EACH, 0);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 16), *other = open_on(pool, 1, 0);
    void *slots[80];
    unsigned put = 0;
    ck_assert_uint_eq(get_until(other, slots, 80), 80);
    nodes_here = 1;
    while (arena_of(magazine) == 0 && put < 80)
        ck_assert_int_eq(numapool_put(magazine, slots[put++]), 0);
    ck_assert_uint_le(put, NP_OUTBOUND_SLOTS);
    ck_assert_int_eq(numapool_put(magazine, slots[put]), 0);
    ck_assert_ptr_eq(magazine->top, magazine->bottom + 1); /* a push */
    put++;
    close_on(other);
    all_back(pool, magazine, slots + put, 80 - put);
}
END_TEST

START_TEST(a_magazine_for_a_node_by_number_stays)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), EACH, 0);
    struct numapool_magazine *magazine = open_on(pool, _i ? NUMAPOOL_ANY_NODE : 0, 16);
    void *slots[100];
    nodes_here = 1;
    for (unsigned i = 0; i < 100; i++)
        ck_assert_int_eq(node_of(pool, slots[i] = numapool_get(magazine)), 0);
    ck_assert_uint_eq(SUM(pool, followed), 0);
    ck_assert_uint_eq(COUNT(pool, 0, local), 0);
    ck_assert_uint_ge(COUNT(pool, 0, remote), 100);
    ck_assert_uint_eq(COUNT(pool, 0, homeless), 0);
    all_back(pool, magazine, slots, 100);
}
END_TEST

START_TEST(what_a_magazine_leaves_behind_can_be_had_by_others)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), 64, 0);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 0), *other;
    void *slots[128], *far;
    ck_assert_ptr_nonnull(slots[0] = numapool_get(magazine));
    unsigned n = 1;
    nodes_here = 1;
    far = get_after_refill(magazine, slots, &n);
    ck_assert_int_eq(node_of(pool, far), 1);
    other = open_on(pool, 0, 0);
    unsigned got = get_until(other, slots + n, 64 - (n - 1));
    ck_assert_uint_eq(got, 64 - (n - 1)); /* all of node 0 that were not got */
    for (unsigned i = 0; i < got; i++)
        ck_assert_int_eq(node_of(pool, slots[n + i]), 0);
    close_on(other);
    all_back(pool, magazine, slots, n + got);
}
END_TEST

START_TEST(slots_on_their_way_to_the_new_home_are_at_home_there)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), EACH, 0);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 16), *other = open_on(pool, 1, 0);
    void *slots[64];
    unsigned n = 0;
    slots[n++] = numapool_get(magazine);
    void *away = numapool_get(other);
    ck_assert_int_eq(numapool_put(magazine, away), 0); /* outbound to node 1 */
    nodes_here = 1;
    get_after_refill(magazine, slots, &n);
    ck_assert_uint_eq(((struct np_magazine *)magazine)->outbound_count[1], 0);
    ck_assert_uint_eq(COUNT(pool, 1, home_returns), 1);
    close_on(other);
    all_back(pool, magazine, slots, n);
}
END_TEST

START_TEST(a_thread_on_a_node_without_slots_has_the_nearest)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1, 2), EACH, 0);
    void *slots[200];
    unsigned n = 0;
    nodes_set_distance(5, 0, 32);
    nodes_set_distance(5, 1, 21);
    nodes_set_distance(5, 2, 17);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 16);
    slots[n++] = numapool_get(magazine);
    nodes_here = 5;
    ck_assert_int_eq(node_of(pool, get_after_refill(magazine, slots, &n)), 2);
    ck_assert_uint_eq(COUNT(pool, 2, followed), 1);
    ck_assert_uint_eq(COUNT(pool, 2, local), 0);
    ck_assert_uint_gt(COUNT(pool, 2, homeless), 0);
    ck_assert_uint_eq(COUNT(pool, 2, homeless), COUNT(pool, 2, remote));
    ck_assert_uint_eq(SUM(pool, foreign), 0); /* homeless, not foreign */
    nodes_here = 4; /* from where all are equally far: it stays where it is no better elsewhere, or goes to the first */
    get_after_refill(magazine, slots, &n);
    nodes_here = 1;
    ck_assert_int_eq(node_of(pool, get_after_refill(magazine, slots, &n)), 1);
    all_back(pool, magazine, slots, n);
    pool = make_nodes(NODES(0, 1, 2), EACH, 0);
    nodes_set_distance(5, 2, 11);
    nodes_here = 5;
    magazine = open_on(pool, NUMAPOOL_OWN_NODE, 0); /* the same of one that is opened there */
    slots[0] = numapool_get(magazine);
    ck_assert_int_eq(node_of(pool, slots[0]), 2);
    all_back(pool, magazine, slots, 1);
}
END_TEST

START_TEST(a_magazine_comes_home_when_the_pool_grows_there)
{
    struct numapool_pool *pool = make_nodes(NODES(0), EACH, 0);
    void *slots[200];
    unsigned n = 0;
    nodes_here = 3;
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 16);
    slots[n++] = numapool_get(magazine);
    ck_assert_int_eq(numapool_grow(pool, 0, EACH), 0); /* this machine has node 0 alone */
    pool->arenas[1].arena.node = 3;
    pool->arenas[1].home = &pool->arenas[1];
    void *slot = get_after_refill(magazine, slots, &n);
    ck_assert_int_eq(node_of(pool, slot), 3);
    ck_assert_uint_eq(SUM(pool, followed), 0); /* its thread has been there all the time */
    ck_assert_uint_gt(COUNT(pool, 1, local), 0);
    all_back(pool, magazine, slots, n);
}
END_TEST

START_TEST(a_sender_goes_on_while_its_magazine_follows)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), EACH, 0);
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 16);
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    options.magazine = magazine;
    ck_assert_int_eq(numapool_receiver_open(pool, "c", NULL, &receiver), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    for (unsigned round = 0; round < 2000; round++) {
        nodes_here = round / 7 % 2;
        void *slots[24];
        unsigned n = 0;
        struct numapool_msg message = { .length = 16 }, received;
        while (n < 1 + round % 24)
            ck_assert_ptr_nonnull(slots[n++] = numapool_get(magazine));
        message.data = slots[--n];
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        ck_assert_int_eq(numapool_receive(receiver, &received, 1, 0), 1);
        ck_assert_int_eq(numapool_release(receiver, &received, 1), 0);
        put_all(magazine, slots, n);
    }
    ck_assert_uint_gt(SUM(pool, followed), 20);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    all_back(pool, magazine, NULL, 0);
}
END_TEST

/* ---------------------------------------------------------------- the order */

START_TEST(empty_nodes_are_passed_by_from_near_to_far)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1, 2, 3), 64, 0);
    void *slots[4 * 64 + 1];
    nodes_set_distance(1, 0, 31);
    nodes_set_distance(1, 2, 40);
    nodes_set_distance(1, 3, 12);
    if (_i == 1)
        make_far(pool, 3); /* near, and memory-only: after those with CPUs */
    struct numapool_magazine *magazine = open_on(pool, 1, 0);
    nodes_here = 1;
    int seen[4], last = -1;
    unsigned changes = 0;
    /* while it runs low it spills, which is another test's matter */
    for (unsigned i = 0; _i == 1 && i < 4; i++)
        atomic_store_explicit(&pool->has_tiers, false, memory_order_relaxed);
    ck_assert_uint_eq(get_until(magazine, slots, 4 * 64 + 1), 4 * 64);
    for (unsigned i = 0; i < 4 * 64; i++)
        if (node_of(pool, slots[i]) != last) {
            ck_assert_uint_lt(changes, 4);
            seen[changes++] = last = node_of(pool, slots[i]);
        }
    static const int expected[2][4] = { { 1, 3, 0, 2 }, { 1, 0, 2, 3 } };
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(seen[i], expected[_i][i]);
    ck_assert_uint_eq(COUNT(pool, 1, foreign), 3 * 64);
    ck_assert_uint_eq(COUNT(pool, 0, spilled), 64);
    ck_assert_uint_eq(COUNT(pool, 1, local), 64);
    ck_assert_uint_eq(SUM(pool, remote), 3 * 64);
    ck_assert_uint_eq(SUM(pool, tiered), 0);
    all_back(pool, magazine, slots, 4 * 64);
}
END_TEST

START_TEST(other_arenas_of_the_own_node_are_no_spill)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1, 0), 64, 0);
    void *slots[200];
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 1);
    ck_assert_uint_eq(get_until(magazine, slots, 128), 128);
    for (unsigned i = 0; i < 128; i++)
        ck_assert_int_eq(node_of(pool, slots[i]), 0);
    ck_assert_uint_eq(SUM(pool, spilled), 0);
    ck_assert_uint_eq(SUM(pool, local), 128);
    all_back(pool, magazine, slots, 128);
}
END_TEST

START_TEST(a_bulk_is_counted_by_slots)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), EACH, 0);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 1);
    void *slots[2 * EACH];
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, EACH), 0);
    ck_assert_uint_eq(COUNT(pool, 0, local), EACH);
    ck_assert_int_eq(numapool_get_bulk(magazine, slots + EACH, 100), 0);
    ck_assert_uint_eq(COUNT(pool, 1, spilled), 100);
    ck_assert_uint_eq(COUNT(pool, 1, remote), 100);
    ck_assert_uint_eq(COUNT(pool, 0, foreign), 100);
    struct numapool_stats stats = { .size = sizeof stats };
    ck_assert_int_eq(numapool_stats_read(pool, 1, &stats), 0);
    ck_assert_uint_eq(stats.remote, 100);
    ck_assert_uint_eq(stats.spilled, 100);
    ck_assert_uint_eq(stats.local + stats.foreign + stats.homeless + stats.followed, 0);
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats), 0);
    ck_assert_uint_eq(stats.local, EACH);
    ck_assert_uint_eq(stats.foreign, 100);
    all_back(pool, magazine, slots, EACH + 100);
}
END_TEST

START_TEST(who_runs_where_is_asked_once_a_refill_and_never_on_the_warm_path)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), 65536, 0);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 256);
    static void *slots[20000];
    uint64_t refills = COUNT(pool, 0, refills);
    unsigned asked = atomic_load_explicit(&nodes_asked, memory_order_relaxed);
    ck_assert_uint_eq(get_until(magazine, slots, 20000), 20000);
    refills = COUNT(pool, 0, refills) - refills;
    asked = atomic_load_explicit(&nodes_asked, memory_order_relaxed) - asked;
    ck_assert_uint_eq(asked, refills); /* the depot was empty */
    ck_assert_uint_eq(COUNT(pool, 0, local), 20000 + (unsigned)(magazine->top - magazine->bottom));
    all_back(pool, magazine, slots, 20000);
}
END_TEST

/* ---------------------------------------------------------------- strict */

START_TEST(a_strict_pool_gives_nothing_of_another_node)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), 64, NUMAPOOL_STRICT);
    void *slots[200];
    struct numapool_magazine *magazine = open_on(pool, _i == 0 ? NUMAPOOL_OWN_NODE : _i == 1 ? 0 : NUMAPOOL_ANY_NODE, 0);
    ck_assert_uint_eq(get_until(magazine, slots, 200), 64);
    assert_sentence_has("strict");
    ASSERT_REFUSED(numapool_get_bulk(magazine, slots + 64, 1), -EAGAIN, "strict");
    ASSERT_REFUSED(numapool_get_wait(magazine, slots + 64, 0), -EAGAIN, "strict");
    ASSERT_REFUSED(numapool_get_wait(magazine, slots + 64, 1000000), -ETIMEDOUT, "no slot");
    ck_assert_uint_eq(COUNT(pool, 1, local) + COUNT(pool, 1, remote), 0);
    all_back(pool, magazine, slots, 64);
}
END_TEST

START_TEST(a_strict_pool_has_no_magazine_for_a_thread_on_a_node_without_slots)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), 64, NUMAPOOL_STRICT);
    struct numapool_magazine *magazine = NULL;
    nodes_here = 2;
    ASSERT_REFUSED(numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 0, &magazine), -EINVAL, "node 2");
    magazine = open_on(pool, 1, 0);
    void *slot = numapool_get(magazine);
    ck_assert_ptr_nonnull(slot);
    all_back(pool, magazine, &slot, 1);
}
END_TEST

START_TEST(a_strict_magazine_whose_thread_has_no_slots_where_it_is_gives_none_and_caches_none)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), EACH, NUMAPOOL_STRICT);
    struct numapool_magazine *magazine = open_on(pool, NUMAPOOL_OWN_NODE, 16);
    void *slots[100], *slot;
    unsigned n = 0;
    slots[n++] = numapool_get(magazine);
    nodes_here = 2;
    ck_assert_ptr_null(get_after_refill(magazine, slots, &n));
    n--;
    assert_sentence_has("runs now");
    ASSERT_REFUSED(numapool_get_wait(magazine, &slot, NUMAPOOL_FOREVER), -EINVAL, "runs now");
    ASSERT_REFUSED(numapool_get_wait(magazine, &slot, 0), -EINVAL, "runs now");
    ASSERT_REFUSED(numapool_get_bulk(magazine, slots + n, 5), -EINVAL, "runs now");
    ck_assert_int_eq(numapool_put(magazine, slots[--n]), 0);
    ck_assert_ptr_null(numapool_get(magazine)); /* not the one that was just put, which is of another node */
    nodes_here = 0;
    ck_assert_ptr_nonnull(slots[n++] = numapool_get(magazine));
    ck_assert_ptr_ne(magazine->bottom, magazine->limit); /* and caches again */
    nodes_here = 1;
    ck_assert_int_eq(node_of(pool, get_after_refill(magazine, slots, &n)), 1);
    all_back(pool, magazine, slots, n);
}
END_TEST

START_TEST(a_strict_senders_loans_are_of_its_node_and_for_a_receiver_of_the_receivers)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), 64, NUMAPOOL_STRICT);
    struct numapool_magazine *other = open_on(pool, 1, 0);
    struct numapool_receiver *receiver;
    struct numapool_sender *sender;
    struct numapool_msg message = { .length = 16 }, received;
    void *slots[65];
    ck_assert_int_eq(numapool_receiver_open(pool, "c", NULL, &receiver), 0); /* of a thread on node 0 */
    ck_assert_int_eq(numapool_sender_open(pool, "c", NULL, &sender), 0);
    for (unsigned i = 0; i < 8; i++) { /* slots of node 1 go out, and come back to this sender */
        message.data = numapool_get(other);
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        ck_assert_int_eq(numapool_receive(receiver, &received, 1, 0), 1);
        ck_assert_int_eq(numapool_release(receiver, &received, 1), 0);
    }
    unsigned n = 0;
    while (n < 64 && (slots[n] = numapool_loan(sender)) != NULL)
        ck_assert_int_eq(node_of(pool, slots[n++]), 0);
    ck_assert_uint_eq(n, 64);
    ck_assert_ptr_null(numapool_loan(sender));
    ck_assert_ptr_null(numapool_loan_for(sender, &message));
    while (n > 0)
        ck_assert_int_eq(numapool_unloan(sender, slots[--n]), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    nodes_here = 1;
    ck_assert_int_eq(numapool_receiver_open(pool, "c", NULL, &receiver), 0);
    nodes_here = 0;
    ck_assert_uint_eq(get_until(other, slots, 65), 64);
    ck_assert_ptr_null(numapool_loan_for(sender, &message)); /* node 0 has some, but the receiver is on node 1 */
    ck_assert_int_eq(numapool_put(other, slots[63]), 0);
    ck_assert_int_eq(numapool_flush(other), 0);
    void *slot = numapool_loan_for(sender, &message);
    ck_assert_ptr_nonnull(slot);
    ck_assert_int_eq(node_of(pool, slot), 1);
    ck_assert_int_eq(numapool_unloan(sender, slot), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    all_back(pool, other, slots, 63);
}
END_TEST

static uint64_t sleepers_of(const struct numapool_pool *pool, unsigned arena)
{
    return np_load64(&pool->arenas[arena].arena.header->sleepers_summary, memory_order_relaxed);
}

START_TEST(a_strict_sleeper_raises_its_bit_on_its_node_alone_whoever_else_sleeps)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1, 0), 64, _i ? NUMAPOOL_STRICT : 0);
    uint64_t of_zero = np_pool_sleep_begin(pool, _i ? 0 : NUMAPOOL_ANY_NODE);
    ck_assert_uint_eq(of_zero, _i ? 5 : 7);
    ck_assert(sleepers_of(pool, 0) != 0 && sleepers_of(pool, 2) != 0);
    ck_assert_int_eq(sleepers_of(pool, 1) != 0, !_i);
    uint64_t of_one = np_pool_sleep_begin(pool, 1);
    ck_assert_uint_eq(of_one, 2);
    np_pool_sleep_end(pool, of_zero);
    ck_assert(sleepers_of(pool, 0) == 0 && sleepers_of(pool, 1) != 0 && sleepers_of(pool, 2) == 0);
    np_pool_sleep_end(pool, of_one);
    ck_assert(sleepers_of(pool, 1) == 0);
    ck_assert_int_eq(numapool_close(pool), 0);
}
END_TEST

/* A batch that was small for the magazine before may be more than the one at a small arena is counted for. */
START_TEST(what_waits_for_its_way_home_stays_within_what_is_counted_for_it_when_a_magazine_follows)
{
    struct numapool_pool *pool = make_nodes(NODES(0, 1), 16384, 0);
    ck_assert_int_eq(numapool_grow(pool, 0, 64), 0);
    pool->arenas[2].arena.node = 2;
    pool->arenas[2].home = &pool->arenas[2];
    struct numapool_magazine *own = open_on(pool, NUMAPOOL_OWN_NODE, 0), *other = open_on(pool, 1, 0);
    struct np_magazine *magazine = (struct np_magazine *)own;
    void *slots[16];
    ck_assert_uint_eq(get_until(other, slots, 16), 16);
    put_all(own, slots, 16);
    ck_assert_uint_eq(magazine->outbound_count[1], 16);
    nodes_here = 2;
    ck_assert_int_eq(node_of(pool, slots[0] = numapool_get(own)), 2);
    ck_assert_uint_eq(arena_of(own), 2);
    ck_assert_uint_lt(magazine->outbound_count[1], magazine->outbound_max);
    ck_assert_uint_eq(COUNT(pool, 1, home_returns), 16);
    close_on(other);
    all_back(pool, own, slots, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("magazine_nodes");
    TCase *following = tcase_create("following"), *order = tcase_create("order"), *strict = tcase_create("strict");
    tcase_add_loop_test(following, a_magazine_follows_its_thread_at_the_next_refill, 0, 2);
    tcase_add_loop_test(following, a_magazine_follows_its_thread_at_the_next_overflow_of_a_put, 0, 2);
    tcase_add_test(following, a_thread_that_puts_many_of_its_new_node_has_its_magazine_there);
    tcase_add_test(following, what_waits_for_its_way_home_stays_within_what_is_counted_for_it_when_a_magazine_follows);
    tcase_add_loop_test(following, a_magazine_for_a_node_by_number_stays, 0, 2);
    tcase_add_test(following, what_a_magazine_leaves_behind_can_be_had_by_others);
    tcase_add_test(following, slots_on_their_way_to_the_new_home_are_at_home_there);
    tcase_add_test(following, a_thread_on_a_node_without_slots_has_the_nearest);
    tcase_add_test(following, a_magazine_comes_home_when_the_pool_grows_there);
    tcase_add_test(following, a_sender_goes_on_while_its_magazine_follows);
    suite_add_tcase(suite, following);
    tcase_add_loop_test(order, empty_nodes_are_passed_by_from_near_to_far, 0, 2);
    tcase_add_test(order, other_arenas_of_the_own_node_are_no_spill);
    tcase_add_test(order, a_bulk_is_counted_by_slots);
    tcase_add_test(order, who_runs_where_is_asked_once_a_refill_and_never_on_the_warm_path);
    suite_add_tcase(suite, order);
    tcase_add_loop_test(strict, a_strict_pool_gives_nothing_of_another_node, 0, 3);
    tcase_add_test(strict, a_strict_pool_has_no_magazine_for_a_thread_on_a_node_without_slots);
    tcase_add_test(strict, a_strict_magazine_whose_thread_has_no_slots_where_it_is_gives_none_and_caches_none);
    tcase_add_test(strict, a_strict_senders_loans_are_of_its_node_and_for_a_receiver_of_the_receivers);
    tcase_add_loop_test(strict, a_strict_sleeper_raises_its_bit_on_its_node_alone_whoever_else_sleeps, 0, 2);
    suite_add_tcase(suite, strict);
    return run_suite(suite);
}
