/* SPDX-License-Identifier: MIT
 * Magazines: get and put, what may be cached, the way home, waiting. Slots are counted after each. */
#include "pool_help.h"

#include <pthread.h>
#include <time.h>

static uint64_t account_of(const struct numapool_pool *pool, unsigned arena, const np_shm64 *counter_of_first)
{
    const char *first = (const char *)pool->arenas[0].account;
    size_t offset = (size_t)((const char *)counter_of_first - first);
    return np_load64((const np_shm64 *)((const char *)pool->arenas[arena].account + offset), memory_order_relaxed);
}
#define ACCOUNT(pool, arena, name) account_of((pool), (arena), &(pool)->arenas[0].account->name)

static void close_magazine(struct numapool_magazine *magazine)
{
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}

/* Takes one by one until the pool is empty. */
static unsigned get_all(struct numapool_magazine *magazine, void **slots, unsigned room)
{
    unsigned got = 0;
    void *slot;
    while (got < room && (slot = numapool_get(magazine)) != NULL)
        slots[got++] = slot;
    return got;
}

START_TEST(every_slot_can_be_had_whatever_is_cached)
{
    static const unsigned sizes[] = { 1, 2, 31, 32, 33, 64, 100, 1000, 8192 };
    static const unsigned capacities[] = { 0, 1, 2, 7, 64, 100000 };
    void **slots = calloc(8193, sizeof *slots);
    for (unsigned c = 0; c < 6; c++) {
        struct numapool_pool *pool = make_pool(sizes[_i], 0);
        struct numapool_magazine *magazine = open_magazine(pool, capacities[c]);
        for (unsigned round = 0; round < 3; round++) {
            ck_assert_uint_eq(get_all(magazine, slots, 8193), sizes[_i]);
            ck_assert_ptr_null(numapool_get(magazine));
            assert_sentence_has("empty");
            for (unsigned i = 0; i < sizes[_i]; i++)
                if (numapool_put(magazine, slots[i]) != 0)
                    ck_abort_msg("slot %u was not taken back: %s", i, numapool_errormsg());
        }
        assert_account(pool, (uint64_t)(magazine->top - magazine->bottom), 0);
        close_magazine(magazine);
        close_pool(pool);
    }
    free(slots);
}
END_TEST

START_TEST(calls_do_what_inlines_do)
{
    struct numapool_pool *pool = make_pool(1000, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 16);
    void *slot = numapool_get_call(magazine);
    ck_assert_ptr_nonnull(slot);
    ck_assert_int_eq(numapool_put_call(magazine, slot), 0);
    ck_assert_ptr_eq(numapool_get(magazine), slot); /* the warmest comes first */
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(eight_magazines_of_a_small_pool_leave_a_second_slot_for_each)
{
    struct numapool_pool *pool = make_pool(32, 0);
    struct numapool_magazine *magazines[8];
    void *slots[8][4];
    for (unsigned i = 0; i < 8; i++)
        magazines[i] = open_magazine(pool, 0);
    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < 8; i++)
            ck_assert_ptr_nonnull(slots[i][round] = numapool_get(magazines[i]));
    ck_assert_ptr_null(numapool_get(magazines[0]));
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 8; i++)
            ck_assert_int_eq(numapool_put(magazines[i], slots[i][round]), 0);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_ptr_nonnull(slots[i][0] = numapool_get(magazines[i])); /* what the others cache is bounded */
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_int_eq(numapool_put(magazines[i], slots[i][0]), 0);
        ck_assert_int_eq(numapool_put(magazines[i], slots[i][2]), 0);
        ck_assert_int_eq(numapool_put(magazines[i], slots[i][3]), 0);
        close_magazine(magazines[i]);
    }
    close_pool(pool);
}
END_TEST

START_TEST(idle_magazines_cache_at_most_half_of_the_pool)
{
    static const unsigned sizes[] = { 8, 32, 33, 100, 1000, 4096 };
    const unsigned size = sizes[_i];
    struct numapool_pool *pool = make_pool(size, 0);
    struct numapool_magazine *magazines[40], *late;
    void **slots = calloc(size, sizeof *slots);
    for (unsigned i = 0; i < 40; i++) {
        magazines[i] = open_magazine(pool, 0);
        unsigned n = get_all(magazines[i], slots, size); /* as full as it can be made, then idle */
        for (unsigned s = 0; s < n; s++)
            ck_assert_int_eq(numapool_put(magazines[i], slots[s]), 0);
    }
    late = open_magazine(pool, 0);
    unsigned got = get_all(late, slots, size);
    ck_assert_uint_ge(got, size - size / 2);
    for (unsigned i = 0; i < got; i++)
        ck_assert_int_eq(numapool_put(late, slots[i]), 0);
    for (unsigned i = 0; i < 40; i++)
        close_magazine(magazines[i]);
    close_magazine(late);
    free(slots);
    close_pool(pool);
}
END_TEST

START_TEST(a_greedy_magazine_leaves_room_for_others)
{
    struct numapool_pool *pool = make_pool(4096, 0);
    struct numapool_magazine *magazines[8];
    for (unsigned i = 0; i < 8; i++) {
        magazines[i] = open_magazine(pool, UINT32_MAX);
        ck_assert_uint_ge((uint64_t)(magazines[i]->limit - magazines[i]->bottom), 4096 / 2 / 8 / 4);
    }
    for (unsigned i = 0; i < 8; i++)
        close_magazine(magazines[i]);
    close_pool(pool);
}
END_TEST

START_TEST(a_closed_magazine_gives_its_allowance_back)
{
    struct numapool_pool *pool = make_pool(4096, 0);
    uint32_t first = 0;
    for (unsigned i = 0; i < 100; i++) {
        struct numapool_magazine *magazine = open_magazine(pool, 0);
        first = i == 0 ? (uint64_t)(magazine->limit - magazine->bottom) : first;
        ck_assert_uint_gt((uint64_t)(magazine->limit - magazine->bottom), 0);
        ck_assert_uint_eq((uint64_t)(magazine->limit - magazine->bottom), first);
        close_magazine(magazine);
    }
    close_pool(pool);
}
END_TEST

START_TEST(an_overflowing_magazine_moves_many_at_a_time)
{
    struct numapool_pool *pool = make_pool(10000, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 64);
    void *slots[1000];
    ck_assert_uint_eq((uint64_t)(magazine->limit - magazine->bottom), 64);
    ck_assert_uint_eq(get_all(magazine, slots, 1000), 1000);
    ck_assert_uint_le(ACCOUNT(pool, 0, refills), 1000 / 32 + 1);
    for (unsigned i = 0; i < 1000; i++)
        ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
    ck_assert_uint_le((uint64_t)(magazine->top - magazine->bottom), 64);
    ck_assert_uint_le(ACCOUNT(pool, 0, flushes), 1000 / 32 + 1);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(bulk_is_all_or_nothing)
{
    struct numapool_pool *pool = make_pool(300, _i ? NUMAPOOL_EXACT_COUNTS : 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[300], *vain[301], *one;
    ASSERT_REFUSED(numapool_get_bulk(magazine, vain, 301), -EAGAIN, "301");
    ASSERT_REFUSED(numapool_get_bulk(magazine, vain, 0), -EINVAL, "0 slots");
    ASSERT_REFUSED(numapool_get_bulk(magazine, vain, (1u << 20) + 1), -EINVAL, "1048577");
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 300), 0);
    for (unsigned i = 0; i < 300; i++)
        for (unsigned j = 0; j < i; j++)
            if (slots[i] == slots[j])
                ck_abort_msg("slots %u and %u are one", i, j);
    ASSERT_REFUSED(numapool_get_bulk(magazine, &one, 1), -EAGAIN, "pay");
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 150), 0);
    ASSERT_REFUSED(numapool_get_bulk(magazine, vain, 151), -EAGAIN, "151");
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 150), 0);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 300), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(a_foreign_pointer_in_a_bulk_is_refused_and_the_others_are_put)
{
    struct numapool_pool *pool = make_pool(300, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[5];
    int foreign;
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 4), 0);
    slots[4] = slots[2];
    slots[2] = &foreign;
    ASSERT_REFUSED(numapool_put_bulk(magazine, slots, 5), -EINVAL, "pay");
    ASSERT_REFUSED(numapool_put(magazine, &foreign), -EINVAL, "pay");
    ASSERT_REFUSED(numapool_put(magazine, NULL), -EINVAL, "pay");
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(counts_are_exact_where_asked_for)
{
    struct numapool_pool *pool = make_pool(1000, NUMAPOOL_EXACT_COUNTS);
    struct numapool_magazine *magazine = open_magazine(pool, 16);
    void *slots[200], *vain[1001], *waited;
    int foreign;
    ck_assert_uint_eq(get_all(magazine, slots, 100), 100);
    ck_assert_int_eq(numapool_get_bulk(magazine, slots + 100, 100), 0);
    ck_assert_int_eq(numapool_get_bulk(magazine, vain, 1001), -EAGAIN);
    ck_assert_int_eq(numapool_get_wait(magazine, &waited, 0), 0);
    ck_assert_int_eq(numapool_put(magazine, waited), 0);
    for (unsigned i = 0; i < 70; i++)
        ck_assert_int_eq(numapool_put(magazine, slots[i]), 0);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots + 70, 130), 0);
    ck_assert_int_eq(numapool_put(magazine, &foreign), -EINVAL);
    ck_assert_int_eq(numapool_put_bulk(magazine, (void *[]){ &foreign }, 1), -EINVAL);
    close_magazine(magazine);
    ck_assert_uint_eq(ACCOUNT(pool, 0, gets), 201);
    ck_assert_uint_eq(ACCOUNT(pool, 0, puts), 201);
    close_pool(pool);
}
END_TEST

START_TEST(a_failure_is_counted)
{
    struct numapool_pool *pool = make_pool(32, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[32];
    ck_assert_uint_eq(get_all(magazine, slots, 32), 32);
    ck_assert_uint_eq(ACCOUNT(pool, 0, failures), 0);
    ck_assert_ptr_null(numapool_get(magazine));
    ck_assert_uint_eq(ACCOUNT(pool, 0, failures), 1);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 32), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- arenas */

static bool lies_in(const struct numapool_pool *pool, unsigned arena, const void *slot)
{
    return np_arena_index_of(&pool->arenas[arena].arena, slot) >= 0;
}

START_TEST(slots_go_home_and_into_no_other_magazine)
{
    const unsigned arenas = (unsigned)_i;
    struct numapool_pool *pool = make_pool_of_arenas(arenas, 1024);
    struct numapool_magazine *magazine = open_magazine(pool, 64);
    void **slots = calloc(arenas * 1024u, sizeof *slots), *others[1024];
    ck_assert_uint_eq(get_all(magazine, slots, arenas * 1024u), arenas * 1024u);
    uint64_t spilled = 0, foreign = 0;
    for (unsigned a = 1; a < arenas; a++)
        spilled += ACCOUNT(pool, a, spilled);
    ck_assert_uint_eq(ACCOUNT(pool, 0, spilled), 0);
    ck_assert_uint_eq(spilled, (arenas - 1) * 1024u);
    for (unsigned i = 0; i < arenas * 1024u; i++) {
        foreign += !lies_in(pool, 0, slots[i]);
        if (numapool_put(magazine, slots[i]) != 0)
            ck_abort_msg("%s", numapool_errormsg());
        for (void **s = magazine->bottom; s < magazine->top; s++)
            if (!lies_in(pool, 0, *s))
                ck_abort_msg("a slot of another arena is cached here");
    }
    ck_assert_int_eq(numapool_flush(magazine), 0);
    ck_assert_uint_eq(ACCOUNT(pool, 0, home_returns), 0);
    uint64_t home_returns = 0;
    for (unsigned a = 1; a < arenas; a++) {
        home_returns += ACCOUNT(pool, a, home_returns);
        ck_assert_uint_eq(np_arena_free_hint(&pool->arenas[a].arena), 1024);
    }
    ck_assert_uint_eq(home_returns, foreign);
    /* with room in its own arena a magazine takes from there alone */
    ck_assert_int_eq(numapool_get_bulk(magazine, others, 1024), 0);
    for (unsigned i = 0; i < 1024; i++)
        if (!lies_in(pool, 0, others[i]))
            ck_abort_msg("a slot of another arena was given though there were own ones");
    ck_assert_int_eq(numapool_put_bulk(magazine, others, 1024), 0);
    close_magazine(magazine);
    free(slots);
    close_pool(pool);
}
END_TEST

START_TEST(slots_on_their_way_home_are_not_hoarded)
{
    struct numapool_pool *pool = make_pool_of_arenas(4, 30);
    struct numapool_magazine *idle = open_magazine(pool, 0), *busy = open_magazine(pool, 0);
    void *slots[120];
    ck_assert_uint_eq(get_all(idle, slots, 120), 120);
    for (unsigned i = 0; i < 120; i++)
        ck_assert_int_eq(numapool_put(idle, slots[i]), 0);
    unsigned got = get_all(busy, slots, 120);
    ck_assert_uint_ge(got, 60);
    ck_assert_int_eq(numapool_put_bulk(busy, slots, got), 0);
    close_magazine(idle);
    close_magazine(busy);
    close_pool(pool);
}
END_TEST

START_TEST(a_node_without_slots_is_refused_by_number)
{
    struct numapool_pool *pool = make_pool(64, 0);
    struct numapool_magazine *magazine;
    ASSERT_REFUSED(numapool_magazine_open(pool, 5, 0, &magazine), -EINVAL, "node 5");
    ASSERT_REFUSED(numapool_magazine_open(pool, -3, 0, &magazine), -EINVAL, "node -3");
    ck_assert_int_eq(numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 0, &magazine), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(a_program_of_another_layout_is_refused)
{
    struct numapool_pool *pool = make_pool(64, 0);
    struct numapool_magazine *magazine;
    ASSERT_REFUSED(numapool_magazine_open_abi(pool, 0, 0, &magazine, NUMAPOOL_ABI + 1), -EPROTO, "compile");
    close_pool(pool);
}
END_TEST

START_TEST(a_magazine_in_use_by_a_sender_stays_open)
{
    struct numapool_pool *pool = make_pool(64, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender;
    options.magazine = magazine;
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    ASSERT_REFUSED(numapool_magazine_close(magazine), -EBUSY, "sender");
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(no_magazine_is_refused)
{
    void *slot = NULL;
    ASSERT_REFUSED(numapool_magazine_close(NULL), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_flush(NULL), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_get_wait(NULL, &slot, 0), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_get_bulk(NULL, &slot, 1), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_put_bulk(NULL, &slot, 1), -EINVAL, "closed");
}
END_TEST

START_TEST(flushing_gives_all_that_is_cached)
{
    struct numapool_pool *pool = make_pool(4096, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 64), *other = open_magazine(pool, 64);
    void *slots[200];
    ck_assert_int_eq(numapool_get_bulk(other, slots, 200), 0);
    ck_assert_int_eq(numapool_put_bulk(other, slots, 200), 0);
    close_magazine(other); /* its slots stay in the process */
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 5), 0);
    ck_assert_int_eq(numapool_flush(magazine), 0);
    ck_assert_uint_eq(pool_census(pool).held, 5);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 5), 0);
    ck_assert_int_eq(numapool_flush(magazine), 0);
    ck_assert_uint_eq(pool_census(pool).held, 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- waiting */

struct giver {
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    void *slot;
};

static void sleep_a_little(void)
{
    struct timespec pause = { 0, 20000000 };
    nanosleep(&pause, NULL);
}

static void *put_later(void *argument)
{
    struct giver *giver = argument;
    sleep_a_little();
    numapool_put(giver->magazine, giver->slot);
    numapool_flush(giver->magazine);
    return NULL;
}

START_TEST(a_waiting_getter_is_woken_by_a_put)
{
    struct numapool_pool *pool = _i < 2 ? make_pool(_i ? 1000 : 20, 0) : make_pool_of_arenas(3, 1000);
    struct giver giver = { pool, open_magazine(pool, 0), NULL };
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[3000], *slot = NULL;
    unsigned n = get_all(magazine, slots, 3000);
    giver.slot = slots[n - 1];
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, put_later, &giver), 0);
    ck_assert_int_eq(numapool_get_wait(magazine, &slot, NUMAPOOL_FOREVER), 0);
    ck_assert_ptr_eq(slot, giver.slot);
    pthread_join(thread, NULL);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, n), 0);
    close_magazine(giver.magazine);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(a_wait_ends_in_time)
{
    struct numapool_pool *pool = make_pool(32, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[32], *slot;
    ck_assert_uint_eq(get_all(magazine, slots, 32), 32);
    ASSERT_REFUSED(numapool_get_wait(magazine, &slot, 0), -EAGAIN, "empty");
    ASSERT_REFUSED(numapool_get_wait(magazine, &slot, 1), -ETIMEDOUT, "in time");
    ASSERT_REFUSED(numapool_get_wait(magazine, &slot, 3000000), -ETIMEDOUT, "in time");
    ASSERT_REFUSED(numapool_get_wait(magazine, &slot, -1), -EINVAL, "negative");
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 32), 0);
    ck_assert_int_eq(numapool_get_wait(magazine, &slot, NUMAPOOL_FOREVER), 0);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(a_waiting_getter_takes_back_what_its_own_receiver_releases)
{
    struct numapool_pool *pool = make_pool(16, 0);
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    void *slots[16], *slot;
    options.magazine = magazine;
    ck_assert_int_eq(numapool_sender_open(pool, "c", &options, &sender), 0);
    ck_assert_int_eq(numapool_receiver_open(pool, "c", NULL, &receiver), 0);
    ck_assert_uint_eq(get_all(magazine, slots, 16), 16);
    struct numapool_msg message = { .data = slots[3], .length = 1 };
    ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
    ck_assert_ptr_null(numapool_get(magazine));
    ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    ck_assert_int_eq(numapool_get_wait(magazine, &slot, NUMAPOOL_FOREVER), 0);
    ck_assert_ptr_eq(slot, slots[3]);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 16), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("magazine");
    TCase *caching = tcase_create("caching"), *home = tcase_create("home"), *waiting = tcase_create("waiting");
    tcase_add_loop_test(caching, every_slot_can_be_had_whatever_is_cached, 0, 9);
    tcase_add_test(caching, calls_do_what_inlines_do);
    tcase_add_test(caching, eight_magazines_of_a_small_pool_leave_a_second_slot_for_each);
    tcase_add_loop_test(caching, idle_magazines_cache_at_most_half_of_the_pool, 0, 6);
    tcase_add_test(caching, a_greedy_magazine_leaves_room_for_others);
    tcase_add_test(caching, a_closed_magazine_gives_its_allowance_back);
    tcase_add_test(caching, an_overflowing_magazine_moves_many_at_a_time);
    tcase_add_loop_test(caching, bulk_is_all_or_nothing, 0, 2);
    tcase_add_test(caching, a_foreign_pointer_in_a_bulk_is_refused_and_the_others_are_put);
    tcase_add_test(caching, counts_are_exact_where_asked_for);
    tcase_add_test(caching, a_failure_is_counted);
    tcase_add_test(caching, a_program_of_another_layout_is_refused);
    tcase_add_test(caching, a_magazine_in_use_by_a_sender_stays_open);
    tcase_add_test(caching, no_magazine_is_refused);
    tcase_add_test(caching, flushing_gives_all_that_is_cached);
    tcase_add_loop_test(home, slots_go_home_and_into_no_other_magazine, 2, 5);
    tcase_add_test(home, slots_on_their_way_home_are_not_hoarded);
    tcase_add_test(home, a_node_without_slots_is_refused_by_number);
    tcase_add_loop_test(waiting, a_waiting_getter_is_woken_by_a_put, 0, 3);
    tcase_add_test(waiting, a_wait_ends_in_time);
    tcase_add_test(waiting, a_waiting_getter_takes_back_what_its_own_receiver_releases);
    suite_add_tcase(suite, caching);
    suite_add_tcase(suite, home);
    suite_add_tcase(suite, waiting);
    return run_suite(suite);
}
