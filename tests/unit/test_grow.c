/* SPDX-License-Identifier: MIT
 * Pools that grow while they are used: what is open finds the new slots, and nothing that was there moves. */
#include "world_help.h"

#include <pthread.h>
#include <sys/resource.h>
#include <stdio.h>
#include <time.h>

static void close_magazine(struct numapool_magazine *magazine)
{
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}

/* On the node where make_pool has put it: with several nodes, any would be the one with fewest slots. */
static void grow(struct numapool_pool *pool, uint64_t slots)
{
    ck_assert_msg(numapool_grow(pool, 0, slots) == 0, "%s", numapool_errormsg());
}

static unsigned get_all(struct numapool_magazine *magazine, void **slots, unsigned room)
{
    unsigned got = 0;
    void *slot;
    while (got < room && (slot = numapool_get(magazine)) != NULL)
        slots[got++] = slot;
    return got;
}

static void put_all(struct numapool_magazine *magazine, void *const *slots, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (numapool_put(magazine, slots[i]) != 0)
            ck_abort_msg("%s", numapool_errormsg());
}

static bool lies_in(const struct numapool_pool *pool, unsigned arena, const void *slot)
{
    return np_arena_index_of(&pool->arenas[arena].arena, slot) >= 0;
}

static uint64_t counted(const np_shm64 *counter)
{
    return np_load64(counter, memory_order_relaxed);
}

/* ---------------------------------------------------------------- finding what is new */

START_TEST(all_slots_old_and_new_can_be_had_each_once)
{
    static const struct { unsigned before, more, capacity; } sizes[] = { { 1, 1, 0 }, { 20, 100, 0 }, { 32, 5000, 8 }, { 2000, 20, 64 },
                                                                         { 2000, 3000, 64 } };
    const unsigned before = sizes[_i].before, all = before + sizes[_i].more;
    struct numapool_pool *pool = make_pool(before, 0);
    struct numapool_magazine *magazine = open_magazine(pool, sizes[_i].capacity);
    void **slots = calloc(all + 1, sizeof *slots);
    ck_assert_uint_eq(get_all(magazine, slots, all), before);
    for (unsigned i = 0; i < before; i++)
        memset(slots[i], (int)(i & 0xff), SLOT_BYTES);
    grow(pool, sizes[_i].more);
    ck_assert_uint_eq(get_all(magazine, slots + before, all - before + 1), all - before);
    for (unsigned i = before; i < all; i++)
        memset(slots[i], 0xee, SLOT_BYTES);
    for (unsigned i = 0; i < before; i++)
        if (((unsigned char *)slots[i])[SLOT_BYTES - 1] != (i & 0xff))
            ck_abort_msg("slot %u was given twice", i);
    for (unsigned round = 0; round < 3; round++) {
        put_all(magazine, slots, all);
        ck_assert_uint_eq(get_all(magazine, slots, all + 1), all);
    }
    put_all(magazine, slots, all);
    close_magazine(magazine);
    free(slots);
    close_pool(pool);
}
END_TEST

START_TEST(a_magazine_moves_to_the_new_arena_and_takes_many_at_a_time_there)
{
    struct numapool_pool *pool = make_pool(4096, _i ? NUMAPOOL_EXACT_COUNTS : 0);
    struct numapool_magazine *magazine = open_magazine(pool, 64);
    void **slots = calloc(4096 + 1000, sizeof *slots);
    ck_assert_uint_eq(get_all(magazine, slots, 4096), 4096);
    ck_assert_ptr_null(numapool_get(magazine));
    grow(pool, 65536);
    ck_assert_uint_eq(get_all(magazine, slots + 4096, 1000), 1000);
    ck_assert_uint_eq(counted(&pool->arenas[1].account->spilled), 0);
    ck_assert_uint_le(counted(&pool->arenas[1].account->refills), 1000 / 32 + 1);
    ck_assert_uint_eq(magazine->base, (uintptr_t)pool->arenas[1].arena.data);
    if (_i == 0) {
        void **top = magazine->top;
        ck_assert_int_eq(numapool_put(magazine, slots[4096]), 0);
        ck_assert_ptr_eq(magazine->top, top + 1); /* a put of the new arena is a push */
        ck_assert_ptr_eq(numapool_get(magazine), slots[4096]);
    }
    put_all(magazine, slots, 4096 + 1000);
    close_magazine(magazine);
    uint64_t gets = 0, puts = 0;
    for (unsigned i = 0; i < 2; i++) {
        gets += counted(&pool->arenas[i].account->gets);
        puts += counted(&pool->arenas[i].account->puts);
    }
    ck_assert_uint_eq(gets, _i ? 4096 + 1000 : 0);
    ck_assert_uint_eq(puts, gets);
    free(slots);
    close_pool(pool);
}
END_TEST

START_TEST(a_magazine_that_could_cache_nothing_can_after_it_moved)
{
    struct numapool_pool *pool = make_pool(16, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[17];
    ck_assert_ptr_eq(magazine->bottom, magazine->limit);
    ck_assert_uint_eq(get_all(magazine, slots, 16), 16);
    grow(pool, 65536);
    ck_assert_ptr_nonnull(slots[16] = numapool_get(magazine));
    ck_assert_int_ge(magazine->limit - magazine->bottom, 64);
    put_all(magazine, slots, 17);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(slots_of_every_arena_go_home_whatever_was_there_when_the_magazine_was_opened)
{
    struct numapool_pool *pool = make_pool(1000, 0);
    struct numapool_magazine *early = open_magazine(pool, 16), *late;
    void *slots[3000];
    ck_assert_uint_eq(get_all(early, slots, 1000), 1000);
    grow(pool, 1000);
    ck_assert_uint_eq(get_all(early, slots + 1000, 1000), 1000);
    grow(pool, 1000);
    late = open_magazine(pool, 16);
    ck_assert_uint_eq(get_all(late, slots + 2000, 1000), 1000);
    put_all(early, slots, 3000);
    for (void **slot = early->bottom; slot < early->top; slot++)
        ck_assert(lies_in(pool, 1, *slot)); /* it caches slots of its own arena alone */
    ck_assert_int_eq(numapool_flush(early), 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(np_arena_free_hint(&pool->arenas[i].arena), 1000);
    close_magazine(early);
    close_magazine(late);
    close_pool(pool);
}
END_TEST

START_TEST(a_new_magazine_takes_from_the_arena_with_most_free_slots)
{
    struct numapool_pool *pool = make_pool(1000, 0);
    struct numapool_magazine *first = open_magazine(pool, 0), *second;
    void *slots[900], *slot;
    ck_assert_int_eq(numapool_get_bulk(first, slots, 900), 0);
    grow(pool, 500);
    second = open_magazine(pool, 0);
    ck_assert_ptr_nonnull(slot = numapool_get(second));
    ck_assert(lies_in(pool, 1, slot));
    ck_assert_int_eq(numapool_put(second, slot), 0);
    put_all(first, slots, 900);
    close_magazine(first);
    close_magazine(second);
    close_pool(pool);
}
END_TEST

START_TEST(what_idle_magazines_cache_stays_bounded_by_the_larger_pool)
{
    struct numapool_pool *pool = make_pool(256, 0);
    struct numapool_magazine *magazines[40], *late;
    void **slots = calloc(8192, sizeof *slots);
    for (unsigned i = 0; i < 20; i++)
        magazines[i] = open_magazine(pool, 0);
    grow(pool, 4096);
    for (unsigned i = 20; i < 40; i++)
        magazines[i] = open_magazine(pool, 0);
    const unsigned all = 256 + 4096;
    for (unsigned i = 0; i < 40; i++) {
        unsigned n = get_all(magazines[i], slots, all);
        put_all(magazines[i], slots, n);
    }
    late = open_magazine(pool, 0);
    unsigned got = get_all(late, slots, all);
    ck_assert_uint_ge(got, all - all / 2);
    put_all(late, slots, got);
    for (unsigned i = 0; i < 40; i++)
        close_magazine(magazines[i]);
    close_magazine(late);
    free(slots);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- who waits */

static void *grow_later(void *argument)
{
    struct timespec pause = { 0, 20000000 };
    nanosleep(&pause, NULL);
    grow(argument, 128);
    return NULL;
}

START_TEST(a_getter_that_waits_is_woken_by_growth)
{
    struct numapool_pool *pool = make_pool(_i ? 1000 : 20, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[1000], *slot = NULL;
    unsigned n = get_all(magazine, slots, 1000);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, grow_later, pool), 0);
    ck_assert_int_eq(numapool_get_wait(magazine, &slot, NUMAPOOL_FOREVER), 0);
    ck_assert(lies_in(pool, 1, slot));
    pthread_join(thread, NULL);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    put_all(magazine, slots, n);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

static struct numapool_event next_event(struct numapool_pool *pool, int64_t timeout_ns)
{
    struct numapool_event event = { .size = sizeof event };
    ck_assert_msg(numapool_next_event(pool, &event, timeout_ns) == 0, "%s", numapool_errormsg());
    return event;
}

START_TEST(growth_is_told_once_and_wakes_who_waits_for_it)
{
    struct numapool_pool *pool = make_pool(1000, 0);
    struct numapool_event event = { .size = sizeof event };
    ASSERT_REFUSED(numapool_next_event(pool, &event, 0), -EAGAIN, "nothing");
    ASSERT_REFUSED(numapool_next_event(pool, &event, 1000), -ETIMEDOUT, "in time");
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, grow_later, pool), 0);
    event = next_event(pool, NUMAPOOL_FOREVER);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(event.kind, NUMAPOOL_EVENT_GROWN);
    ck_assert_int_eq(event.node, NUMAPOOL_ANY_NODE);
    ck_assert_uint_eq(event.value, pool_slots(pool));
    ASSERT_REFUSED(numapool_next_event(pool, &event, 0), -EAGAIN, "nothing");
    grow(pool, 10);
    grow(pool, 10);
    ck_assert(np_pool_has_events(pool));
    ck_assert_uint_eq(next_event(pool, 0).value, pool_slots(pool)); /* both at once */
    ck_assert(!np_pool_has_events(pool));
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- messages */

START_TEST(messages_in_new_slots_reach_who_was_there_before)
{
    struct numapool_pool *pool = make_pool(64, 0);
    struct numapool_sender *sender, *onward;
    struct numapool_receiver *receiver, *last;
    ck_assert_int_eq(numapool_receiver_open(pool, "a", NULL, &receiver), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "b", NULL, &last), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "a", NULL, &sender), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "b", NULL, &onward), 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[64], *kept = NULL;
    ck_assert_uint_eq(get_all(magazine, slots, 64), 64);
    grow(pool, 64);
    for (unsigned i = 0; i < 200; i++) {
        struct numapool_msg message = NUMAPOOL_MSG_INIT, got;
        ck_assert_ptr_nonnull(message.data = numapool_loan(sender));
        ck_assert(lies_in(pool, 1, message.data));
        memset(message.data, (int)i, SLOT_BYTES);
        message.length = SLOT_BYTES;
        message.id = i;
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        ck_assert_int_eq(numapool_receive(receiver, &got, 1, 0), 1);
        ck_assert_ptr_eq(got.data, message.data);
        ck_assert_uint_eq(got.id, i);
        if (i == 100) {
            ck_assert_int_eq(numapool_keep(receiver, &got), 0);
            kept = got.data;
        } else if (i % 2) {
            ck_assert_int_eq(numapool_forward(receiver, &got, onward, 0), 0);
            ck_assert_int_eq(numapool_receive(last, &got, 1, 0), 1);
            ck_assert_ptr_eq(got.data, message.data);
            ck_assert_int_eq(numapool_release(last, &got, 1), 0);
        } else {
            ck_assert_int_eq(numapool_release(receiver, &got, 1), 0);
        }
    }
    ck_assert_int_eq(numapool_put(magazine, kept), 0);
    put_all(magazine, slots, 64);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_sender_close(onward, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_receiver_close(last), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(an_orphan_lane_gives_back_slots_of_new_arenas)
{
    struct numapool_pool *pool = make_pool(64, 0);
    struct numapool_receiver *receiver;
    struct numapool_sender *sender;
    ck_assert_int_eq(numapool_receiver_open(pool, "a", NULL, &receiver), 0);
    grow(pool, 1024);
    ck_assert_int_eq(numapool_sender_open(pool, "a", NULL, &sender), 0);
    struct numapool_msg message = NUMAPOOL_MSG_INIT, got[4];
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_ptr_nonnull(message.data = numapool_loan(sender));
        ck_assert(lies_in(pool, 1, message.data));
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    }
    ck_assert_int_eq(numapool_sender_close(sender, 0), 4);
    ck_assert_int_eq(numapool_receive(receiver, got, 4, 0), 4);
    ck_assert_int_eq(numapool_release(receiver, got, 4), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    close_pool(pool);
}
END_TEST

static bool can_learn;

/* Of the world's second arena. */
static int learn_second(struct numapool_pool *pool)
{
    if (!can_learn)
        return -ENOTCONN;
    return np_pool_arena_count(pool) < WORLD_ARENAS && np_pool_add_arena(pool) == 0;
}

static struct numapool_sender *send_one(struct member *member, uint64_t id, unsigned arena)
{
    struct numapool_sender *sender;
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    ck_assert_int_eq(numapool_sender_open(member->pool, "a", NULL, &sender), 0);
    ck_assert_int_eq((int)np_arena_take(&member->pool->arenas[arena].arena, &message.data, 1), 1);
    message.id = id;
    ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    return sender;
}

START_TEST(what_a_dead_sender_sent_in_new_slots_is_not_overtaken_by_its_successors)
{
    make_world();
    struct member *first = join_world(), *second = join_world(), *reader = join_world();
    struct numapool_receiver *receiver;
    struct numapool_msg got[2];
    atomic_store_explicit(&reader->pool->arena_count, 1, memory_order_relaxed);
    free(reader->pool->arenas[1].depot.slots); /* it begins anew when it is learned of */
    reader->pool->learn = learn_second;
    can_learn = false;
    ck_assert_int_eq(numapool_receiver_open(reader->pool, "a", NULL, &receiver), 0);
    struct numapool_sender *dead = send_one(first, 1, 1);
    bury(first);
    struct numapool_sender *successor = send_one(second, 2, 0);
    for (unsigned i = 0; i < 3; i++)
        ASSERT_REFUSED(numapool_receive(receiver, got, 2, 0), -EAGAIN, "no message");
    can_learn = true;
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(numapool_receive(receiver, got, 1, NUMAPOOL_FOREVER), 1);
        ck_assert_uint_eq(got[0].id, i + 1);
        ck_assert_int_eq(numapool_release(receiver, got, 1), 0);
    }
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(successor, 0), 0);
    forget_sender(dead);
    bury(reader);
    bury(second);
    unmake_world();
}
END_TEST

START_TEST(handles_statistics_and_verification_know_new_slots)
{
    struct numapool_pool *pool = make_pool(64, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    struct numapool_stats stats = { .size = sizeof stats };
    void *slots[65], *same;
    numapool_handle handle;
    uint64_t misplaced;
    ck_assert_uint_eq(get_all(magazine, slots, 64), 64);
    grow(pool, 36);
    ck_assert_ptr_nonnull(slots[64] = numapool_get(magazine));
    ck_assert_int_eq(numapool_slot_node(pool, slots[64]), 0);
    ck_assert_int_eq(numapool_handle_of(pool, slots[64], &handle), 0);
    ck_assert_int_eq(numapool_resolve(pool, handle, &same), 0);
    ck_assert_ptr_eq(same, slots[64]);
    ck_assert_int_eq(numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats), 0);
    ck_assert_uint_eq(stats.slots, 100);
    ck_assert_int_eq(numapool_verify(pool, &misplaced), 0);
    ck_assert_uint_eq(misplaced, 0);
    put_all(magazine, slots, 65);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- refusals */

START_TEST(what_cannot_be_is_refused_and_changes_nothing)
{
    struct numapool_pool *pool = make_pool(64, 0);
    ASSERT_REFUSED(numapool_grow(NULL, 0, 1), -EINVAL, "NULL");
    ASSERT_REFUSED(numapool_grow(pool, 0, 0), -EINVAL, "0 slots");
    ASSERT_REFUSED(numapool_grow(pool, -3, 1), -EINVAL, "node -3");
    ASSERT_REFUSED(numapool_grow(pool, 0, UINT64_MAX), -EINVAL, "too many");
    ck_assert_int_lt(numapool_grow(pool, 1000, 1), 0); /* no such node here */
    ck_assert_str_ne(numapool_errormsg(), "");
    struct rlimit limit, none = { 1, 1 };
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
    none.rlim_max = limit.rlim_max;
    if (getenv("NUMAPOOL_UNDER_VALGRIND")) {
        puts("NOT RUN: a process without address space to spare: memcheck needs some itself");
    } else {
        ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
        int without_memory = numapool_grow(pool, 0, 65536);
        ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
        ck_assert_int_eq(without_memory, -ENOMEM);
    }
    ck_assert_uint_eq(np_pool_arena_count(pool), 1);
    grow(pool, 64);
    ck_assert_uint_eq(pool_slots(pool), 128);
    close_pool(pool);
}
END_TEST

START_TEST(a_pool_is_made_of_64_pieces_at_most)
{
    struct numapool_pool *pool = make_pool(10, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[64 * 10];
    for (unsigned i = 1; i < NP_ARENAS_MAX; i++)
        grow(pool, 10);
    ASSERT_REFUSED(numapool_grow(pool, 0, 10), -ENOSPC, "64 pieces");
    ck_assert_uint_eq(get_all(magazine, slots, 64 * 10), 64 * 10);
    ck_assert_ptr_null(numapool_get(magazine));
    put_all(magazine, slots, 64 * 10);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("growth");
    TCase *finding = tcase_create("finding");
    tcase_add_loop_test(finding, all_slots_old_and_new_can_be_had_each_once, 0, 5);
    tcase_add_loop_test(finding, a_magazine_moves_to_the_new_arena_and_takes_many_at_a_time_there, 0, 2);
    tcase_add_test(finding, a_magazine_that_could_cache_nothing_can_after_it_moved);
    tcase_add_test(finding, slots_of_every_arena_go_home_whatever_was_there_when_the_magazine_was_opened);
    tcase_add_test(finding, a_new_magazine_takes_from_the_arena_with_most_free_slots);
    tcase_add_test(finding, what_idle_magazines_cache_stays_bounded_by_the_larger_pool);
    suite_add_tcase(suite, finding);
    TCase *waiting = tcase_create("waiting");
    tcase_add_loop_test(waiting, a_getter_that_waits_is_woken_by_growth, 0, 2);
    tcase_add_test(waiting, growth_is_told_once_and_wakes_who_waits_for_it);
    suite_add_tcase(suite, waiting);
    TCase *messages = tcase_create("messages");
    tcase_add_test(messages, messages_in_new_slots_reach_who_was_there_before);
    tcase_add_test(messages, an_orphan_lane_gives_back_slots_of_new_arenas);
    tcase_add_test(messages, what_a_dead_sender_sent_in_new_slots_is_not_overtaken_by_its_successors);
    tcase_add_test(messages, handles_statistics_and_verification_know_new_slots);
    suite_add_tcase(suite, messages);
    TCase *refusals = tcase_create("refusals");
    tcase_add_test(refusals, what_cannot_be_is_refused_and_changes_nothing);
    tcase_add_test(refusals, a_pool_is_made_of_64_pieces_at_most);
    suite_add_tcase(suite, refusals);
    return suite;
}

int main(void)
{
    return run_suite(suite());
}
