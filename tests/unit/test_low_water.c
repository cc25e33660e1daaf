/* SPDX-License-Identifier: MIT
 * Nodes that run low: who is told, when, and what caches give back meanwhile. */
#include "world_help.h"

#include <pthread.h>
#include <time.h>

enum { SLOTS = 4096 };

static struct numapool_pool *make_with(uint64_t slots, uint64_t low_watermark, uint64_t flags)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool = NULL;
    int node = 0;
    options.name = "pay";
    options.slot_bytes = SLOT_BYTES;
    options.slots = slots;
    options.low_watermark = low_watermark;
    options.flags = flags;
    ck_assert_int_eq(np_embedded_create(&pool, &options, &slots, &node, 1), 0);
    return pool;
}

static struct numapool_stats stats_of(struct numapool_pool *pool)
{
    struct numapool_stats stats = { .size = sizeof stats };
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats), 0);
    return stats;
}

static void get(struct numapool_magazine *magazine, void **slots, unsigned n)
{
    ck_assert_msg(numapool_get_bulk(magazine, slots, n) == 0, "%s", numapool_errormsg());
}

static void put(struct numapool_magazine *magazine, void *const *slots, unsigned n)
{
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, n), 0);
    ck_assert_int_eq(numapool_flush(magazine), 0);
}

static struct numapool_event told(struct numapool_pool *pool, int64_t timeout_ns)
{
    struct numapool_event event = { .size = sizeof event };
    ck_assert_msg(numapool_next_event(pool, &event, timeout_ns) == 0, "%s", numapool_errormsg());
    return event;
}

static void told_nothing(struct numapool_pool *pool)
{
    struct numapool_event event = { .size = sizeof event };
    ck_assert(!np_pool_has_events(pool));
    ASSERT_REFUSED(numapool_next_event(pool, &event, 0), -EAGAIN, "nothing");
}

static bool is_low(const struct numapool_pool *pool)
{
    return np_pool_is_low(&pool->arenas[0]);
}

static unsigned room_of(const struct numapool_magazine *magazine)
{
    return (unsigned)(magazine->limit - magazine->bottom);
}

/* ---------------------------------------------------------------- the watermark */

START_TEST(the_watermark_is_a_sixteenth_and_at_least_one_and_at_most_all)
{
    static const struct { uint64_t slots, wanted, is; } cases[] = {
        { 1, 0, 1 }, { 15, 0, 1 }, { 32, 0, 2 }, { SLOTS, 0, SLOTS / 16 }, { SLOTS, 1, 1 }, { SLOTS, 500, 500 }, { 10, 500, 10 },
    };
    struct numapool_pool *pool = make_with(cases[_i].slots, cases[_i].wanted, 0);
    ck_assert_uint_eq(stats_of(pool).low_watermark, cases[_i].is);
    ck_assert_uint_eq(stats_of(pool).lows, 0);
    close_pool(pool);
}
END_TEST

START_TEST(arenas_of_a_node_have_one_watermark_together)
{
    struct numapool_pool *by_default = make_with(160, 0, 0), *by_wish = make_with(160, 40, 0);
    ck_assert_int_eq(numapool_grow(by_default, 0, 320), 0);
    ck_assert_int_eq(numapool_grow(by_wish, 0, 320), 0);
    ck_assert_uint_eq(stats_of(by_default).low_watermark, 30);
    ck_assert_uint_eq(stats_of(by_wish).low_watermark, 40);
    close_pool(by_default);
    close_pool(by_wish);
}
END_TEST

/* ---------------------------------------------------------------- crossing it */

START_TEST(running_low_is_told_and_recovering_by_an_eighth)
{
    const unsigned watermark = _i ? 64 : SLOTS / 16;
    struct numapool_pool *pool = make_with(SLOTS, _i ? watermark : 0, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 1);
    void *slots[SLOTS];
    get(magazine, slots, SLOTS - watermark);
    ck_assert_int_eq(numapool_flush(magazine), 0);
    told_nothing(pool); /* as many as the watermark are enough */
    get(magazine, slots + (SLOTS - watermark), 1);
    struct numapool_event event = told(pool, 0);
    ck_assert_uint_eq(event.kind, NUMAPOOL_EVENT_LOW);
    ck_assert_int_eq(event.node, 0);
    ck_assert_uint_lt(event.value, watermark);
    told_nothing(pool);
    ck_assert_uint_eq(stats_of(pool).lows, 1);
    put(magazine, slots + (SLOTS - watermark), 1);
    put(magazine, slots, watermark / 8 - 1);
    told_nothing(pool);
    put(magazine, slots + watermark / 8 - 1, 1);
    event = told(pool, 0);
    ck_assert_uint_eq(event.kind, NUMAPOOL_EVENT_RECOVERED);
    ck_assert_int_eq(event.node, 0);
    ck_assert_uint_eq(event.value, watermark + watermark / 8);
    told_nothing(pool);
    put(magazine, slots + watermark / 8, SLOTS - watermark - watermark / 8);
    ck_assert_uint_eq(stats_of(pool).lows, 1);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(the_smallest_pools_run_low_and_recover)
{
    const unsigned all = (unsigned)_i;
    struct numapool_pool *pool = make_with(all, 0, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[32];
    for (unsigned round = 0; round < 3; round++) {
        get(magazine, slots, all);
        ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_LOW);
        put(magazine, slots, all);
        ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    }
    ck_assert_uint_eq(stats_of(pool).lows, 3);
    told_nothing(pool);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(crossings_that_nobody_looked_at_are_told_as_how_they_ended)
{
    struct numapool_pool *pool = make_with(SLOTS, 0, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[SLOTS];
    for (unsigned i = 0; i < 3; i++) {
        get(magazine, slots, SLOTS);
        put(magazine, slots, SLOTS);
    }
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    told_nothing(pool);
    get(magazine, slots, SLOTS);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_LOW);
    put(magazine, slots, SLOTS);
    get(magazine, slots, SLOTS);
    told_nothing(pool); /* low it was told, and low it is */
    put(magazine, slots, SLOTS);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(a_node_is_not_low_while_another_of_its_arenas_has_slots)
{
    struct numapool_pool *pool = make_pool_on_one_node(3, 1024);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[3 * 1024];
    get(magazine, slots, 2 * 1024 + 500);
    told_nothing(pool);
    get(magazine, slots + 2 * 1024 + 500, 524);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_LOW);
    put(magazine, slots, 500);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    ck_assert_int_eq(numapool_grow(pool, 0, 1024), 0);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_GROWN);
    put(magazine, slots + 500, 3 * 1024 - 500);
    told_nothing(pool);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(growth_lets_a_node_recover)
{
    struct numapool_pool *pool = make_with(SLOTS, 0, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[SLOTS + 1];
    get(magazine, slots, SLOTS);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_LOW);
    ck_assert_int_eq(numapool_grow(pool, 0, SLOTS), 0);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_GROWN);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    get(magazine, slots + SLOTS, 1);
    put(magazine, slots, SLOTS + 1);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

static void *run_low_later(void *argument)
{
    struct numapool_magazine *magazine = argument;
    const struct timespec pause = { 0, 20000000 };
    void *slots[SLOTS];
    nanosleep(&pause, NULL);
    get(magazine, slots, SLOTS);
    put(magazine, slots, SLOTS);
    return NULL;
}

START_TEST(who_waits_is_woken)
{
    struct numapool_pool *pool = make_with(SLOTS, 0, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_low_later, magazine), 0);
    uint32_t kind = told(pool, NUMAPOOL_FOREVER).kind; /* by then it may have recovered */
    if (kind == NUMAPOOL_EVENT_LOW)
        kind = told(pool, NUMAPOOL_FOREVER).kind;
    ck_assert_uint_eq(kind, NUMAPOOL_EVENT_RECOVERED);
    pthread_join(thread, NULL);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(what_the_broker_frees_of_one_who_left_lets_a_node_recover)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_pool *pool = make_with(64, 60, 0);
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[8];
    options.flags = _i ? NUMAPOOL_BROADCAST : 0;
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "c", &options, &receiver), 0);
    for (unsigned i = 0; i < 8; i++) {
        struct numapool_msg message = { .data = numapool_loan(sender), .length = 1 };
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    }
    ck_assert_int_eq(numapool_sender_close(sender, 0), 8);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_LOW);
    ck_assert_int_eq(numapool_receive(receiver, messages, 8, 0), 8);
    if (_i < 2) {
        ck_assert_int_eq(numapool_release(receiver, messages, 8), 0);
        ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    }
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    if (_i == 2) /* with the lane of its last reader */
        ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    close_pool(pool);
}
END_TEST

static const np_shm32 *low_flag;
static struct numapool_magazine *other_magazine;
static void *other_slots[48];

/* Between counting and what follows from it another thread moves slots: it finds `low` as it was, and has nothing to
 * tell. */
static void move_slots_before_it_is_told(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)bytes;
    if (kind != NP_SHM_CAS || address != low_flag)
        return;
    np_shm_hook = NULL;
    if (value == 1)
        put(other_magazine, other_slots, 32);
    else
        get(other_magazine, other_slots + 32, 16);
}

START_TEST(a_crossing_that_is_undone_before_it_is_told_does_not_stand)
{
    struct numapool_pool *pool = make_with(64, 16, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[17];
    other_magazine = open_magazine(pool, 0);
    low_flag = &pool->arenas[0].arena.header->low;
    get(other_magazine, other_slots, 32);
    get(magazine, slots, 16);
    np_shm_hook = move_slots_before_it_is_told;
    get(magazine, slots + 16, 1); /* 15 are free, and before that is told 47 */
    ck_assert(np_shm_hook == NULL);
    ck_assert(!is_low(pool));
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    get(other_magazine, other_slots, 32);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_LOW);
    np_shm_hook = move_slots_before_it_is_told;
    put(magazine, slots + 14, 3); /* 18 are free, and before that is told 2 */
    ck_assert(np_shm_hook == NULL);
    ck_assert(is_low(pool));
    told_nothing(pool);
    put(other_magazine, other_slots, 48);
    put(magazine, slots, 14);
    ck_assert_uint_eq(told(pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    ck_assert_int_eq(numapool_magazine_close(other_magazine), 0);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- caches */

START_TEST(magazines_hold_less_while_it_is_low_and_as_much_again_later)
{
    struct numapool_pool *pool = make_with(SLOTS, 0, _i ? NUMAPOOL_EXACT_COUNTS : 0);
    struct numapool_magazine *greedy = open_magazine(pool, 1), *magazine = open_magazine(pool, 64);
    struct np_magazine *inside = (struct np_magazine *)magazine;
    void *slots[SLOTS], *few[64];
    get(magazine, few, 64);
    ck_assert_int_eq(numapool_put_bulk(magazine, few, 64), 0);
    ck_assert_uint_eq(inside->capacity, 64);
    unsigned n = 0;
    for (void *slot; !is_low(pool) && (slot = numapool_get(greedy)) != NULL;)
        slots[n++] = slot;
    ck_assert(is_low(pool));
    void *extra = slots[--n];
    ck_assert_int_eq(numapool_put(magazine, extra), 0); /* full: its slow call sees that the node is low */
    ck_assert_uint_eq(inside->capacity, 64 / NP_LOW_SHARE);
    ck_assert_uint_eq(room_of(magazine), _i ? 0 : 64 / NP_LOW_SHARE);
    ck_assert_uint_eq(pool->arenas[0].depot.count, 0); /* nothing stays in the process */
    put(greedy, slots, n);
    ck_assert(!is_low(pool));
    get(magazine, slots, 200);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 200), 0);
    ck_assert_uint_eq(inside->capacity, 64);
    ck_assert_uint_eq(room_of(magazine), _i ? 0 : 64);
    ck_assert_int_eq(numapool_magazine_close(greedy), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(the_depot_is_emptied_while_it_is_low)
{
    struct numapool_pool *pool = make_with(SLOTS, 0, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 64);
    void *slots[65], *cached[600];
    get(magazine, cached, 600);
    ck_assert_int_eq(numapool_put_bulk(magazine, cached, 600), 0);
    ck_assert_uint_gt(pool->arenas[0].depot.count, 400);
    np_store32(&pool->arenas[0].arena.header->low, 1, memory_order_relaxed); /* by another process, which has what this one lacks */
    get(magazine, slots, 65);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 65), 0);
    ck_assert_uint_eq(pool->arenas[0].depot.count, 0);
    ck_assert(!is_low(pool)); /* it was not so */
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- other processes */

START_TEST(each_process_is_told_and_the_sweep_of_the_dead_lets_a_node_recover)
{
    make_world();
    struct member *watcher = join_world(), *greedy = join_world();
    void *slots[WORLD_ARENAS * WORLD_SLOTS];
    get(greedy->magazine, slots, WORLD_ARENAS * WORLD_SLOTS);
    ck_assert_uint_eq(told(watcher->pool, 0).kind, NUMAPOOL_EVENT_LOW);
    ck_assert_uint_eq(told(greedy->pool, 0).kind, NUMAPOOL_EVENT_LOW);
    bury(greedy);
    ck_assert_uint_eq(told(watcher->pool, 0).kind, NUMAPOOL_EVENT_RECOVERED);
    told_nothing(watcher->pool);
    bury(watcher);
    unmake_world();
}
END_TEST

static void *wait_for_event(void *argument)
{
    struct member *member = argument;
    ck_assert_uint_eq(told(member->pool, NUMAPOOL_FOREVER).kind, NUMAPOOL_EVENT_LOW);
    return NULL;
}

START_TEST(what_the_dead_changed_and_did_not_tell_is_told_by_the_sweep)
{
    make_world();
    struct member *watcher = join_world(), *greedy = join_world(), *killed = join_world();
    void *slots[WORLD_ARENAS * WORLD_SLOTS];
    struct np_arena_header *header = watcher->pool->arenas[0].arena.header;
    get(greedy->magazine, slots, WORLD_ARENAS * WORLD_SLOTS);
    told(watcher->pool, 0);
    watcher->pool->arenas[0].told_low = false; /* as if it had not been told */
    np_store32(&header->low, 0, memory_order_relaxed);
    watcher->pool->arenas[0].told_lows = np_load64(&header->lows, memory_order_relaxed);
    told_nothing(watcher->pool);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_event, watcher), 0);
    const struct timespec pause = { 0, 20000000 };
    nanosleep(&pause, NULL); /* asleep by now, most likely */
    np_store32(&header->low, 1, memory_order_relaxed); /* killed after this store */
    bury(killed);
    pthread_join(thread, NULL);
    bury(greedy);
    bury(watcher);
    unmake_world();
}
END_TEST

/* ---------------------------------------------------------------- refusals */

START_TEST(questions_without_sense_are_refused)
{
    struct numapool_pool *pool = make_with(SLOTS, 0, 0);
    struct numapool_event event = { .size = sizeof event };
    ASSERT_REFUSED(numapool_next_event(NULL, &event, 0), -EINVAL, "NULL");
    ASSERT_REFUSED(numapool_next_event(pool, NULL, 0), -EINVAL, "size");
    ASSERT_REFUSED(numapool_next_event(pool, &event, -1), -EINVAL, "negative");
    event.size = 4;
    ASSERT_REFUSED(numapool_next_event(pool, &event, 0), -EINVAL, "size is 4");
    close_pool(pool);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("low water");
    TCase *watermark = tcase_create("watermark");
    tcase_add_loop_test(watermark, the_watermark_is_a_sixteenth_and_at_least_one_and_at_most_all, 0, 7);
    tcase_add_test(watermark, arenas_of_a_node_have_one_watermark_together);
    suite_add_tcase(suite, watermark);
    TCase *crossing = tcase_create("crossing");
    tcase_add_loop_test(crossing, running_low_is_told_and_recovering_by_an_eighth, 0, 2);
    tcase_add_loop_test(crossing, the_smallest_pools_run_low_and_recover, 1, 33);
    tcase_add_test(crossing, crossings_that_nobody_looked_at_are_told_as_how_they_ended);
    tcase_add_test(crossing, a_node_is_not_low_while_another_of_its_arenas_has_slots);
    tcase_add_test(crossing, growth_lets_a_node_recover);
    tcase_add_test(crossing, who_waits_is_woken);
    tcase_add_loop_test(crossing, what_the_broker_frees_of_one_who_left_lets_a_node_recover, 0, 3);
    tcase_add_test(crossing, a_crossing_that_is_undone_before_it_is_told_does_not_stand);
    suite_add_tcase(suite, crossing);
    TCase *caches = tcase_create("caches");
    tcase_add_loop_test(caches, magazines_hold_less_while_it_is_low_and_as_much_again_later, 0, 2);
    tcase_add_test(caches, the_depot_is_emptied_while_it_is_low);
    suite_add_tcase(suite, caches);
    TCase *others = tcase_create("other processes");
    tcase_add_test(others, each_process_is_told_and_the_sweep_of_the_dead_lets_a_node_recover);
    tcase_add_test(others, what_the_dead_changed_and_did_not_tell_is_told_by_the_sweep);
    tcase_add_test(others, questions_without_sense_are_refused);
    suite_add_tcase(suite, others);
    return suite;
}

int main(void)
{
    return run_suite(suite());
}
