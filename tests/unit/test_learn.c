/* SPDX-License-Identifier: MIT
 * Clients of a daemon whose pool grows: they learn of new slots when they need them, from the daemon and from nobody else. */
#include <check.h>
#include <errno.h>
#include <time.h>

#include "core/notice.h"
#include "fake_daemon.h"
#include "numapool.h"

static struct numapool_client *client;
static struct numapool_pool *pool;

static void begin(void)
{
    start();
    ck_assert_msg(numapool_connect(&client, fake.path) == 0, "%s", numapool_errormsg());
    ck_assert_msg(numapool_open(client, "pay", 0, &pool) == 0, "%s", numapool_errormsg());
}

static void finish(void)
{
    ck_assert_msg(numapool_close(pool) == 0, "%s", numapool_errormsg());
    ck_assert_int_eq(numapool_disconnect(client), 0);
    end();
}

static struct np_arena_header *header_of_first(void)
{
    return fake.meta.address;
}

/* As the daemon does: its word first, then the hint, then whoever sleeps. */
static void enlarge_and_tell(void)
{
    struct np_arena first;
    enlarge();
    ck_assert_int_eq(np_arena_attach(&first, fake.meta.address, fake.meta.bytes, NULL, SLOTS, SLOT_BYTES, 0, 0, 0, fake.bells.address,
                                     np_board_bells(&limits), 0), 0);
    np_notice_growth(&first, atomic_load_explicit(&fake.arenas, memory_order_relaxed));
    np_arena_wake_all(&first);
}

static void refuse_memory(unsigned times)
{
    atomic_store_explicit(&fake.hang_ups[NP_WIRE_POOL_MEMORY], times, memory_order_release);
}

static struct numapool_magazine *empty_pool(void **slots)
{
    struct numapool_magazine *magazine;
    ck_assert_int_eq(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine), 0);
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, SLOTS), 0);
    return magazine;
}

static void put_all(struct numapool_magazine *magazine, void *const *slots, unsigned n)
{
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, n), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}

static bool lies_in(unsigned arena, const void *slot)
{
    return arena < np_pool_arena_count(pool) && np_arena_index_of(&pool->arenas[arena].arena, slot) >= 0;
}

/* ---------------------------------------------------------------- getting */

START_TEST(an_empty_pool_is_looked_at_again_where_it_says_that_it_has_grown)
{
    void *slots[3 * SLOTS];
    struct numapool_magazine *magazine = empty_pool(slots);
    ck_assert_ptr_null(numapool_get(magazine));
    unsigned before = asked(NP_WIRE_POOL_MEMORY);
    ck_assert_uint_eq(before, 1);
    enlarge_and_tell();
    enlarge_and_tell();
    for (unsigned i = SLOTS; i < 3 * SLOTS; i++)
        if ((slots[i] = numapool_get(magazine)) == NULL)
            ck_abort_msg("slot %u: %s", i, numapool_errormsg());
    ck_assert(lies_in(1, slots[SLOTS]) || lies_in(2, slots[SLOTS]));
    ck_assert_ptr_null(numapool_get(magazine));
    ck_assert_uint_eq(asked(NP_WIRE_POOL_MEMORY), before + 3); /* two that came, and that there are no more */
    ck_assert_uint_gt(np_load64(&((struct np_account_row *)fake.account.address)[2].refills, memory_order_relaxed), 0);
    put_all(magazine, slots, 3 * SLOTS);
}
END_TEST

START_TEST(a_hint_that_lies_costs_a_question_now_and_then)
{
    void *slots[SLOTS];
    struct numapool_magazine *magazine = empty_pool(slots);
    unsigned before = asked(NP_WIRE_POOL_MEMORY);
    np_store32(&header_of_first()->arenas, UINT32_MAX, memory_order_relaxed);
    for (unsigned i = 0; i < 20000; i++)
        ck_assert_ptr_null(numapool_get(magazine));
    ck_assert_uint_eq(asked(NP_WIRE_POOL_MEMORY), before + 1);
    for (unsigned i = 0; i < 20000; i++) {
        np_store32(&header_of_first()->arenas, 100 + i, memory_order_relaxed); /* another lie each time */
        ck_assert_ptr_null(numapool_get(magazine));
    }
    ck_assert_uint_le(asked(NP_WIRE_POOL_MEMORY), before + 20); /* a pause, and twice as long each time */
    ck_assert_uint_eq(np_pool_arena_count(pool), 1);
    put_all(magazine, slots, SLOTS);
}
END_TEST

START_TEST(a_lie_that_comes_true_is_believed_then)
{
    void *slots[SLOTS], *slot;
    struct numapool_magazine *magazine = empty_pool(slots);
    np_store32(&header_of_first()->arenas, 2, memory_order_relaxed);
    ck_assert_ptr_null(numapool_get(magazine));
    ck_assert_ptr_null(numapool_get(magazine));
    enlarge_and_tell();
    const struct timespec pause = { 0, 2 * NP_LEARN_PAUSE_NS };
    nanosleep(&pause, NULL);
    ck_assert_ptr_nonnull(slot = numapool_get(magazine));
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    put_all(magazine, slots, SLOTS);
}
END_TEST

START_TEST(a_lie_does_not_keep_it_secret_that_a_node_runs_low)
{
    void *slots[SLOTS];
    struct numapool_event event = { .size = sizeof event };
    np_store32(&header_of_first()->arenas, 2, memory_order_relaxed);
    struct numapool_magazine *magazine = empty_pool(slots);
    ck_assert_int_eq(numapool_next_event(pool, &event, 0), 0);
    ck_assert_uint_eq(event.kind, NUMAPOOL_EVENT_LOW);
    put_all(magazine, slots, SLOTS);
}
END_TEST

static void *enlarge_later(void *argument)
{
    const struct timespec pause = { 0, 20000000 }, longer_than_patience = { 0, 300000000 };
    nanosleep(&pause, NULL);
    refuse_memory(argument ? UINT32_MAX : 0);
    enlarge_and_tell();
    if (argument)
        nanosleep(&longer_than_patience, NULL);
    refuse_memory(0);
    return NULL;
}

/* Also when the daemon cannot be asked at first: then nobody rings once it can. */
START_TEST(a_getter_that_waits_gets_a_new_slot)
{
    void *slots[SLOTS], *slot = NULL;
    struct numapool_magazine *magazine = empty_pool(slots);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, enlarge_later, _i ? &slot : NULL), 0);
    ck_assert_int_eq(numapool_get_wait(magazine, &slot, NUMAPOOL_FOREVER), 0);
    ck_assert(lies_in(1, slot));
    pthread_join(thread, NULL);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    put_all(magazine, slots, SLOTS);
}
END_TEST

static void *get_one(void *argument)
{
    struct numapool_magazine *magazine;
    void *slot;
    if (numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0)
        return NULL;
    slot = numapool_get(magazine);
    if (!slot || !lies_in(1, slot) || numapool_put(magazine, slot) < 0 || numapool_magazine_close(magazine) < 0)
        return NULL;
    return argument;
}

START_TEST(threads_that_learn_at_once_map_it_once)
{
    void *slots[SLOTS];
    struct numapool_magazine *magazine = empty_pool(slots);
    pthread_t threads[4];
    ck_assert_int_eq(numapool_flush(magazine), 0);
    enlarge_and_tell();
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, get_one, pool), 0);
    for (unsigned i = 0; i < 4; i++) {
        void *result;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_eq(result, pool);
    }
    ck_assert_uint_eq(np_pool_arena_count(pool), 2);
    put_all(magazine, slots, SLOTS);
}
END_TEST

START_TEST(a_handle_of_a_slot_that_is_not_known_here_is_learned_of)
{
    void *slot = NULL;
    numapool_handle of_second = { (uint64_t)2 << 56 | 7 << 24 }, of_third = { (uint64_t)3 << 56 };
    enlarge();
    np_shm64 *words = (np_shm64 *)((char *)fake.more_meta[1].address + NP_ARENA_HEADER_BYTES);
    np_store64(&words[7], np_word_held(CLIENT + 1, 0), memory_order_relaxed);
    ck_assert_int_eq(numapool_resolve(pool, of_second, &slot), 0);
    ck_assert_ptr_eq(slot, np_arena_slot(&pool->arenas[1].arena, 7));
    ck_assert_int_eq(numapool_resolve(pool, of_third, &slot), -EINVAL);
    np_store64(&words[7], np_word_free(1), memory_order_relaxed);
}
END_TEST

/* ---------------------------------------------------------------- events */

static struct numapool_event told(int64_t timeout_ns)
{
    struct numapool_event event = { .size = sizeof event };
    ck_assert_msg(numapool_next_event(pool, &event, timeout_ns) == 0, "%s", numapool_errormsg());
    return event;
}

START_TEST(growth_and_end_are_told_to_who_waits)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, enlarge_later, _i ? pool : NULL), 0);
    struct numapool_event event = told(NUMAPOOL_FOREVER);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(event.kind, NUMAPOOL_EVENT_GROWN);
    ck_assert_uint_eq(event.value, 2 * SLOTS);
    np_store32(&header_of_first()->ending, 1, memory_order_release);
    ck_assert_uint_eq(told(0).kind, NUMAPOOL_EVENT_ENDING);
    struct numapool_event none = { .size = sizeof none };
    ck_assert_int_eq(numapool_next_event(pool, &none, 0), -EAGAIN);
}
END_TEST

START_TEST(a_node_is_not_called_low_for_what_is_not_known_here)
{
    void *slots[SLOTS];
    struct numapool_magazine *magazine;
    struct numapool_event event = { .size = sizeof event };
    ck_assert_int_eq(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine), 0);
    enlarge_and_tell();
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, SLOTS), 0);
    ck_assert_uint_eq(np_load32(&header_of_first()->low, memory_order_relaxed), 0);
    ck_assert_uint_eq(told(0).kind, NUMAPOOL_EVENT_GROWN);
    ck_assert_int_eq(numapool_next_event(pool, &event, 0), -EAGAIN);
    put_all(magazine, slots, SLOTS);
}
END_TEST

/* ---------------------------------------------------------------- receiving */

/* As a sender that has learned of it. */
static void send_from(unsigned arena, uint64_t position, uint32_t slot)
{
    struct np_cell *cell = &np_lane_cells(fake.lane.address)[position % LANE_SLOTS];
    np_store64(&cell->what, np_cell_what(5, arena, NP_CELL_LABELLED, 0), memory_order_relaxed);
    np_store64(&np_lane_labels(fake.lane.address, LANE_SLOTS)[position % LANE_SLOTS].id, position, memory_order_relaxed);
    np_store64(&cell->where, np_cell_where(position, slot), memory_order_release);
}

static struct numapool_receiver *open_receiver(void)
{
    struct numapool_receiver *receiver;
    ck_assert_msg(numapool_receiver_open(pool, "a", NULL, &receiver) == 0, "%s", numapool_errormsg());
    return receiver;
}

static void receives(struct numapool_receiver *receiver, uint64_t id, unsigned arena, uint32_t slot, int64_t timeout_ns)
{
    struct numapool_msg message;
    ck_assert_msg(numapool_receive(receiver, &message, 1, timeout_ns) == 1, "%s", numapool_errormsg());
    ck_assert_uint_eq(message.id, id);
    ck_assert_ptr_eq(message.data, np_arena_slot(&pool->arenas[arena].arena, slot));
    ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
}

START_TEST(a_message_in_an_arena_not_known_here_is_received)
{
    struct numapool_receiver *receiver = open_receiver();
    enlarge();
    enlarge();
    send_from(0, 0, 1);
    send_from(2, 1, 9);
    send_from(1, 2, 3);
    receives(receiver, 0, 0, 1, 0);
    ck_assert_uint_eq(np_pool_arena_count(pool), 1);
    receives(receiver, 1, 2, 9, 0);
    receives(receiver, 2, 1, 3, 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

START_TEST(a_message_that_cannot_be_understood_now_stays_and_is_received_later)
{
    struct numapool_receiver *receiver = open_receiver();
    struct numapool_msg message;
    enlarge();
    send_from(0, 0, 1);
    send_from(1, 1, 9);
    send_from(0, 2, 2);
    refuse_memory(UINT32_MAX);
    receives(receiver, 0, 0, 1, 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EAGAIN); /* not passed over, nor is what follows it */
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 5000000), -ETIMEDOUT);
    refuse_memory(0);
    receives(receiver, 1, 1, 9, NUMAPOOL_FOREVER); /* nobody rings */
    receives(receiver, 2, 0, 2, 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

START_TEST(only_an_arena_that_the_daemon_has_not_is_scribbling)
{
    struct numapool_receiver *receiver = open_receiver();
    struct numapool_msg message;
    enlarge();
    send_from(0, 0, 1);
    send_from(2, 1, 0);
    send_from(200, 2, 0);
    send_from(1, 3, SLOTS);
    send_from(1, 4, 4);
    receives(receiver, 0, 0, 1, 0);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EBADMSG);
        ck_assert_ptr_nonnull(strstr(numapool_errormsg(), "scribbled"));
    }
    receives(receiver, 4, 1, 4, 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("learning of growth");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, begin, finish);
    tcase_add_test(all, an_empty_pool_is_looked_at_again_where_it_says_that_it_has_grown);
    tcase_add_test(all, a_hint_that_lies_costs_a_question_now_and_then);
    tcase_add_test(all, a_lie_that_comes_true_is_believed_then);
    tcase_add_test(all, a_lie_does_not_keep_it_secret_that_a_node_runs_low);
    tcase_add_loop_test(all, a_getter_that_waits_gets_a_new_slot, 0, 2);
    tcase_add_test(all, threads_that_learn_at_once_map_it_once);
    tcase_add_test(all, a_handle_of_a_slot_that_is_not_known_here_is_learned_of);
    tcase_add_loop_test(all, growth_and_end_are_told_to_who_waits, 0, 2);
    tcase_add_test(all, a_node_is_not_called_low_for_what_is_not_known_here);
    tcase_add_test(all, a_message_in_an_arena_not_known_here_is_received);
    tcase_add_test(all, a_message_that_cannot_be_understood_now_stays_and_is_received_later);
    tcase_add_test(all, only_an_arena_that_the_daemon_has_not_is_scribbling);
    suite_add_tcase(suite, all);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
