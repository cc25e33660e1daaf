/* SPDX-License-Identifier: MIT
 * numapool_stats_read and numapool_verify of a pool inside this process. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/embedded.h"
#include "core/pool.h"
#include "numapool.h"

enum { SLOTS = 4096, SLOT_BYTES = 128, TAKEN = 700, SENT = 20, RELEASED = 5 };

static struct numapool_pool *pool;
static struct numapool_magazine *magazine;
static void *slots[TAKEN];

static struct numapool_stats read_node(int node)
{
    struct numapool_stats stats;
    memset(&stats, 0xff, sizeof stats);
    stats.size = sizeof stats;
    ck_assert_msg(numapool_stats_read(pool, node, &stats) == 0, "%s", numapool_errormsg());
    ck_assert_uint_eq(stats.slots, stats.free_slots + stats.held + stats.in_flight);
    ck_assert_uint_eq(stats.slots, stats.low_water + stats.high_water);
    return stats;
}

static void make_pool(uint64_t flags)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "figures";
    options.slot_bytes = SLOT_BYTES;
    options.slots = SLOTS;
    options.flags = flags;
    ck_assert_msg(numapool_create(&pool, &options) == 0, "%s", numapool_errormsg());
    ck_assert_int_eq(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine), 0);
}

static void end_pool(void)
{
    ck_assert_msg(numapool_magazine_close(magazine) == 0, "%s", numapool_errormsg());
    ck_assert_msg(numapool_close(pool) == 0, "%s", numapool_errormsg());
}

START_TEST(new_pool_is_all_free_and_all_in_its_place)
{
    make_pool(0);
    struct numapool_stats stats = read_node(NUMAPOOL_ANY_NODE);
    ck_assert_uint_eq(stats.slots, SLOTS);
    ck_assert_uint_eq(stats.free_slots, SLOTS);
    ck_assert_uint_eq(stats.low_water, SLOTS);
    ck_assert_uint_eq(stats.taken + stats.given + stats.gets + stats.puts + stats.refills + stats.failures, 0);
    ck_assert_uint_ge(stats.page_bytes, 4096);
    ck_assert_uint_ge(stats.bytes_on_node, (uint64_t)SLOTS * SLOT_BYTES);
    ck_assert_uint_eq(stats.bytes_elsewhere, 0);
    end_pool();
}
END_TEST

START_TEST(what_is_taken_is_held_until_it_is_back)
{
    make_pool(0);
    for (unsigned i = 0; i < TAKEN; i++)
        ck_assert_ptr_nonnull(slots[i] = numapool_get(magazine));
    struct numapool_stats most = read_node(NUMAPOOL_ANY_NODE);
    ck_assert_uint_ge(most.held, TAKEN);
    ck_assert_uint_eq(most.taken, most.held);
    ck_assert_uint_ge(most.refills, 1);
    ck_assert_uint_eq(most.low_water, most.free_slots);
    for (unsigned i = 0; i < TAKEN; i++)
        ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
    ck_assert_int_eq(numapool_flush(magazine), 0);
    struct numapool_stats back = read_node(NUMAPOOL_ANY_NODE);
    ck_assert_uint_eq(back.free_slots, SLOTS);
    ck_assert_uint_eq(back.given, back.taken);
    ck_assert_uint_ge(back.flushes, 1);
    ck_assert_uint_eq(back.low_water, most.low_water);
    end_pool();
}
END_TEST

START_TEST(sent_messages_are_in_flight_until_they_are_taken_back)
{
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[SENT];
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    make_pool(0);
    options.magazine = magazine;
    ck_assert_msg(numapool_sender_open(pool, "c", &options, &sender) == 0, "%s", numapool_errormsg());
    ck_assert_msg(numapool_receiver_open(pool, "c", NULL, &receiver) == 0, "%s", numapool_errormsg());
    for (unsigned i = 0; i < SENT; i++) {
        struct numapool_msg message = { .data = numapool_loan(sender), .length = 8 };
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    }
    ck_assert_uint_eq(read_node(NUMAPOOL_ANY_NODE).in_flight, SENT);
    unsigned got = 0;
    while (got < SENT) {
        int some = numapool_receive(receiver, messages + got, SENT - got, 0);
        ck_assert_int_gt(some, 0);
        got += (unsigned)some;
    }
    ck_assert_uint_eq(read_node(NUMAPOOL_ANY_NODE).in_flight, SENT);
    for (unsigned i = 0; i < RELEASED; i++)
        ck_assert_int_eq(numapool_keep(receiver, &messages[i]), 0);
    struct numapool_stats kept = read_node(NUMAPOOL_ANY_NODE);
    ck_assert_uint_eq(kept.in_flight, SENT - RELEASED);
    for (unsigned i = 0; i < RELEASED; i++)
        ck_assert_int_eq(numapool_put(magazine, messages[i].data), 0);
    ck_assert_int_eq(numapool_release(receiver, messages + RELEASED, SENT - RELEASED), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_uint_eq(read_node(NUMAPOOL_ANY_NODE).in_flight, 0);
    end_pool();
}
END_TEST

START_TEST(exact_counts_count_each_get_and_put_at_once)
{
    make_pool(NUMAPOOL_EXACT_COUNTS);
    for (unsigned i = 0; i < TAKEN; i++)
        ck_assert_ptr_nonnull(slots[i] = numapool_get(magazine));
    ck_assert_uint_eq(read_node(NUMAPOOL_ANY_NODE).gets, TAKEN);
    for (unsigned i = 0; i + 1 < TAKEN; i++)
        ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
    struct numapool_stats stats = read_node(NUMAPOOL_ANY_NODE);
    ck_assert_uint_eq(stats.gets, TAKEN);
    ck_assert_uint_eq(stats.puts, TAKEN - 1);
    ck_assert_int_eq(numapool_put(magazine, slots[TAKEN - 1]), 0);
    end_pool();
}
END_TEST

START_TEST(get_that_finds_nothing_is_a_failure)
{
    static void *all[SLOTS];
    unsigned got = 0;
    make_pool(0);
    while (got < SLOTS && (all[got] = numapool_get(magazine)) != NULL)
        got++;
    ck_assert_uint_eq(got, SLOTS);
    ck_assert_uint_eq(read_node(NUMAPOOL_ANY_NODE).failures, 0);
    ck_assert_ptr_null(numapool_get(magazine));
    struct numapool_stats stats = read_node(NUMAPOOL_ANY_NODE);
    ck_assert_uint_eq(stats.failures, 1);
    ck_assert_uint_eq(stats.low_water, 0);
    ck_assert_uint_eq(stats.high_water, SLOTS);
    while (got > 0)
        ck_assert_int_eq(numapool_put(magazine, all[--got]), 0);
    end_pool();
}
END_TEST

START_TEST(whole_pool_is_the_sum_of_its_arenas)
{
    struct numapool_options given = NUMAPOOL_OPTIONS_INIT, options;
    const uint64_t counts[2] = { 1000, 500 };
    int nodes[2];
    given.name = "two";
    given.slot_bytes = SLOT_BYTES;
    given.slots = 1500;
    ck_assert_int_eq(np_pool_options(&options, &given), 0);
    nodes[0] = nodes[1] = 0;
    ck_assert_msg(np_embedded_create(&pool, &options, counts, nodes, 2) == 0, "%s", numapool_errormsg());
    ck_assert_uint_eq(read_node(NUMAPOOL_ANY_NODE).slots, 1500);
    ck_assert_uint_eq(read_node(0).slots, 1500);
    struct numapool_stats stats = { .size = sizeof stats };
    ck_assert_int_eq(numapool_stats_read(pool, 1, &stats), -EINVAL);
    ck_assert_ptr_nonnull(strstr(numapool_errormsg(), "no slots on node 1"));
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_OWN_NODE, &stats), -EINVAL);
    ck_assert_int_eq(numapool_close(pool), 0);
}
END_TEST

START_TEST(size_says_which_struct_the_caller_has)
{
    struct { struct numapool_stats known; uint64_t later[2]; } longer;
    make_pool(0);
    struct numapool_stats stats = { .size = 0 };
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats), -EINVAL);
    stats.size = sizeof stats - 8;
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats), -EINVAL);
    stats.size = SIZE_MAX;
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats), -EINVAL);
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, NULL), -EINVAL);
    ck_assert_int_eq(numapool_stats_read(NULL, NUMAPOOL_ANY_NODE, &stats), -EINVAL);
    memset(&longer, 0xff, sizeof longer);
    longer.known.size = sizeof longer;
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &longer.known), 0);
    ck_assert_uint_eq(longer.known.size, sizeof longer);
    ck_assert_uint_eq(longer.known.slots, SLOTS);
    ck_assert_uint_eq(longer.later[0] | longer.later[1], 0);
    end_pool();
}
END_TEST

START_TEST(pages_that_are_not_in_their_place_are_counted)
{
    uint64_t misplaced = 99;
    make_pool(0);
    struct np_pool_arena *arena = &pool->arenas[0];
    int result = numapool_verify(pool, &misplaced);
    if (result == -EPERM || result == -ENOSYS) {
        fprintf(stderr, "\n*** NOT RUN: where pages are: %s ***\n\n", numapool_errormsg());
        end_pool();
        return;
    }
    ck_assert_msg(result == 0, "%s", numapool_errormsg());
    ck_assert_uint_eq(misplaced, 0);
    /* Given back to the kernel: what is read there from then on is the page of zeros, which belongs to no pool. */
    ck_assert_uint_eq(arena->page_bytes, 4096);
    ck_assert_int_eq(madvise(arena->arena.data + 2 * 4096, 3 * 4096, MADV_DONTNEED), 0);
    ck_assert_msg(numapool_verify(pool, &misplaced) == 0, "%s", numapool_errormsg());
    ck_assert_uint_eq(misplaced, 3);
    ck_assert_uint_eq(read_node(NUMAPOOL_ANY_NODE).bytes_elsewhere, 3 * 4096);
    struct numapool_stats stats = read_node(arena->arena.node);
    ck_assert_uint_eq(stats.bytes_elsewhere, 3 * 4096);
    ck_assert_uint_eq(stats.bytes_on_node, arena->data_map_bytes - 3 * 4096);
    ck_assert_int_eq(numapool_verify(pool, NULL), -EINVAL);
    end_pool();
}
END_TEST

START_TEST(forked_child_is_refused)
{
    make_pool(0);
    fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct numapool_stats stats = { .size = sizeof stats };
        uint64_t misplaced;
        bool refused = numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats) == -EINVAL &&
                       numapool_verify(pool, &misplaced) == -EINVAL;
        _exit(refused ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    end_pool();
}
END_TEST

static _Atomic bool stop;

static void *get_and_put(void *argument)
{
    struct numapool_magazine *own;
    void *some[32];
    (void)argument;
    if (numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &own) != 0)
        return NULL;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        unsigned got = 0;
        while (got < 32 && (some[got] = numapool_get(own)) != NULL)
            got++;
        while (got > 0)
            numapool_put(own, some[--got]);
        numapool_flush(own);
    }
    numapool_magazine_close(own);
    return NULL;
}

START_TEST(reading_disturbs_nobody_at_work)
{
    pthread_t threads[2];
    make_pool(NUMAPOOL_EXACT_COUNTS);
    atomic_store_explicit(&stop, false, memory_order_relaxed);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, get_and_put, NULL), 0);
    for (unsigned round = 0; round < 200; round++)
        ck_assert_uint_eq(read_node(NUMAPOOL_ANY_NODE).slots, SLOTS);
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    struct numapool_stats stats = read_node(NUMAPOOL_ANY_NODE);
    ck_assert_uint_eq(stats.gets, stats.puts);
    ck_assert_uint_eq(stats.free_slots, SLOTS);
    end_pool();
}
END_TEST

/* Written here as clients and the daemon do: each is told as itself, and of its own node alone. */
START_TEST(where_slots_were_taken_is_told_as_it_was_counted)
{
    make_pool(0);
    const unsigned arenas = np_pool_arena_count(pool);
    for (unsigned i = 0; i < arenas; i++) {
        struct np_account_row *row = pool->arenas[i].account;
        np_count(&row->local, 1000 + i);
        np_count(&row->remote, 2000 + i);
        np_count(&row->foreign, 3000 + i);
        np_count(&row->spilled, 4000 + i);
        np_count(&row->homeless, 5000 + i);
        np_count(&row->followed, 6000 + i);
        np_count(&pool->arenas[i].arena.header->moved_back, 7000 + i);
    }
    struct numapool_stats all = read_node(NUMAPOOL_ANY_NODE), sum = { .size = sizeof sum };
    for (unsigned i = 0; i < arenas; i++) {
        struct numapool_stats stats = read_node(pool->arenas[i].arena.node);
        ck_assert_uint_eq(stats.local, 1000 + i);
        ck_assert_uint_eq(stats.remote, 2000 + i);
        ck_assert_uint_eq(stats.foreign, 3000 + i);
        ck_assert_uint_eq(stats.spilled, 4000 + i);
        ck_assert_uint_eq(stats.homeless, 5000 + i);
        ck_assert_uint_eq(stats.followed, 6000 + i);
        ck_assert_uint_eq(stats.pages_moved_back, 7000 + i);
        ck_assert_uint_eq(stats.emulated, 0);
        sum.local += stats.local;
        sum.pages_moved_back += stats.pages_moved_back;
    }
    ck_assert_uint_eq(all.local, sum.local);
    ck_assert_uint_eq(all.pages_moved_back, sum.pages_moved_back);
    end_pool();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stats");
    TCase *cases = tcase_create("stats");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, new_pool_is_all_free_and_all_in_its_place);
    tcase_add_test(cases, what_is_taken_is_held_until_it_is_back);
    tcase_add_test(cases, sent_messages_are_in_flight_until_they_are_taken_back);
    tcase_add_test(cases, exact_counts_count_each_get_and_put_at_once);
    tcase_add_test(cases, get_that_finds_nothing_is_a_failure);
    tcase_add_test(cases, whole_pool_is_the_sum_of_its_arenas);
    tcase_add_test(cases, where_slots_were_taken_is_told_as_it_was_counted);
    tcase_add_test(cases, size_says_which_struct_the_caller_has);
    tcase_add_test(cases, pages_that_are_not_in_their_place_are_counted);
    tcase_add_test(cases, forked_child_is_refused);
    tcase_add_test(cases, reading_disturbs_nobody_at_work);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
