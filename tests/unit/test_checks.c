/* SPDX-License-Identifier: MIT
 * Pools with checks: each kind of misuse is found, told with slot, node, call and site, and leaves the pool as it was; and what is no misuse
 * is never told. */
#include "check_help.h"

#include <pthread.h>
#include <unistd.h>

/* ---------------------------------------------------------------- put and get */

START_TEST(a_second_put_is_told_with_the_first)
{
    listen();
    struct numapool_pool *pool = make_pool(64, SITES);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slot = numapool_get(magazine);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ASSERT_REFUSED(numapool_put(magazine, slot), -EINVAL, "was put already by numapool_put at test_checks(+0x");
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, slot, "numapool_put");
    assert_sentence("slot 0 of node 0 of pool 'pay'");
    ck_assert_uint_eq(faults_of(pool), 1);
    /* of another's slot by then: still told, and it stays his */
    void *again = NULL;
    while (again != slot)
        again = numapool_get(magazine);
    ck_assert_int_eq(numapool_put(magazine, again), 0);
    ck_assert_int_eq(numapool_put(magazine, again), -EINVAL);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    ck_assert_int_eq(numapool_close(pool), 0);
}
END_TEST

START_TEST(put_bulk_and_put_call_are_named_and_put_the_others)
{
    listen();
    struct numapool_pool *pool = make_pool(64, SITES);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[3];
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 3), 0);
    ck_assert_int_eq(numapool_put_call(magazine, slots[1]), 0);
    ck_assert_int_eq(numapool_put_call(magazine, slots[1]), -EINVAL);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, slots[1], "numapool_put_call");
    ASSERT_REFUSED(numapool_put_bulk(magazine, slots, 3), -EINVAL, "put already by numapool_put_call");
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, slots[1], "numapool_put_bulk");
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(pointers_that_are_no_slots_are_told)
{
    listen();
    struct numapool_pool *pool = make_pool(64, NUMAPOOL_CHECKS);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    struct numapool_sender *sender;
    ck_assert_int_eq(numapool_sender_open(pool, "c", NULL, &sender), 0);
    char *slot = numapool_get(magazine), mine[8];
    numapool_handle handle;
    ck_assert_int_eq(numapool_put(magazine, slot + 8), -EINVAL);
    assert_told(NUMAPOOL_FAULT_MISALIGNED, 0, slot + 8, "numapool_put");
    assert_sentence("8 bytes inside slot 0 of node 0");
    ck_assert_int_eq(numapool_put(magazine, mine), -EINVAL);
    assert_told(NUMAPOOL_FAULT_FOREIGN_POINTER, -1, mine, "numapool_put");
    ck_assert_int_eq(numapool_put(magazine, NULL), -EINVAL);
    assert_told(NUMAPOOL_FAULT_FOREIGN_POINTER, -1, NULL, "numapool_put");
    ck_assert_int_eq(numapool_unloan(sender, slot + 64), -EINVAL);
    assert_told(NUMAPOOL_FAULT_MISALIGNED, 0, slot + 64, "numapool_unloan");
    ck_assert_int_eq(numapool_handle_of(pool, mine, &handle), -EINVAL);
    assert_told(NUMAPOOL_FAULT_FOREIGN_POINTER, -1, mine, "numapool_handle_of");
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    message.data = mine;
    ck_assert_int_eq(numapool_send(sender, &message, 0), -EINVAL);
    assert_told(NUMAPOOL_FAULT_FOREIGN_POINTER, -1, mine, "numapool_send");
    ck_assert_int_eq(numapool_slot_node(pool, mine), -EINVAL); /* a question, no fault */
    assert_quiet();
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(a_write_after_put_is_told_by_the_next_get_which_goes_on)
{
    listen();
    struct numapool_pool *pool = make_pool(1, SITES);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    static const unsigned at[] = { 0, 1, 77, SLOT_BYTES - 1 };
    char *slot = numapool_get(magazine);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    for (unsigned i = 0; i < 4; i++) {
        scribble(slot + at[i], 1, 1);
        ck_assert_ptr_eq(numapool_get(magazine), slot);
        char byte[32];
        snprintf(byte, sizeof byte, "byte %u has changed", at[i]);
        assert_sentence(byte);
        assert_sentence("put by numapool_put at test_checks(+0x");
        assert_sentence("taken by numapool_get at test_checks(+0x");
        assert_told(NUMAPOOL_FAULT_WRITE_AFTER_PUT, 0, slot, "numapool_get");
        ck_assert_int_eq(numapool_put(magazine, slot), 0);
    }
    ck_assert_ptr_eq(numapool_get(magazine), slot);
    assert_quiet();
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_uint_eq(faults_of(pool), 4);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(a_write_beyond_the_end_is_told_and_mended)
{
    listen();
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    options.name = "pay", options.slot_bytes = 100, options.slots = 4, options.flags = SITES;
    ck_assert_int_eq(numapool_create(&pool, &options), 0);
    ck_assert_uint_eq(numapool_slot_bytes(pool), 100);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    struct numapool_sender *sender;
    ck_assert_int_eq(numapool_sender_open(pool, "c", NULL, &sender), 0);
    char *slot = numapool_get(magazine);
    memset(slot, 1, 100);
    scribble(slot + 100, 1, 1);
    ck_assert_int_eq(numapool_put(magazine, slot), -EINVAL);
    assert_sentence("it has 100 bytes, and byte 100 has changed; it was taken by numapool_get at test_checks(+0x");
    assert_told(NUMAPOOL_FAULT_OVERRUN, 0, slot, "numapool_put");
    scribble(slot + 163, 1, 1);
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    message.data = slot;
    ck_assert_int_eq(numapool_send(sender, &message, 0), -EINVAL);
    assert_sentence("byte 163 has changed");
    assert_told(NUMAPOOL_FAULT_OVERRUN, 0, slot, "numapool_send");
    memset(slot, 2, 100);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    assert_quiet();
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(a_handle_is_stale_at_once)
{
    listen();
    struct numapool_pool *pool = make_pool(64, SITES);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slot = numapool_get(magazine), *found;
    numapool_handle handle;
    ck_assert_int_eq(numapool_handle_of(pool, slot, &handle), 0);
    ck_assert_int_eq(numapool_resolve(pool, handle, &found), 0);
    ck_assert_ptr_eq(found, slot);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_int_eq(numapool_resolve(pool, handle, &found), -ESTALE);
    assert_sentence("has been put since, by numapool_put at test_checks(+0x");
    assert_told(NUMAPOOL_FAULT_STALE_HANDLE, 0, slot, "numapool_resolve");
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

static void *putting_thread(void *arg)
{
    void **what = arg;
    return (void *)(intptr_t)numapool_put_call(what[0], what[1]);
}

START_TEST(of_two_threads_that_put_the_same_slot_one_is_told)
{
    listen();
    struct numapool_pool *pool = make_pool(64, NUMAPOOL_CHECKS);
    struct numapool_magazine *magazines[2] = { open_magazine(pool, 0), open_magazine(pool, 0) };
    for (unsigned round = 0; round < 200; round++) {
        void *slot = numapool_get(magazines[0]);
        void *what[2][2] = { { magazines[0], slot }, { magazines[1], slot } };
        pthread_t thread;
        void *other;
        ck_assert_int_eq(pthread_create(&thread, NULL, putting_thread, what[1]), 0);
        int mine = (int)(intptr_t)putting_thread(what[0]);
        pthread_join(thread, &other);
        ck_assert_int_eq(mine + (int)(intptr_t)other, -EINVAL);
        assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, slot, "numapool_put_call");
    }
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_magazine_close(magazines[i]), 0);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- the pool */

static void collect(void *arg, int level, const char *line)
{
    if (level == NUMAPOOL_LOG_WARN)
        snprintf(arg, 600, "%s", line);
}

START_TEST(closing_tells_what_is_still_in_use)
{
    static char line[600];
    struct numapool_pool *pool = make_pool(64, SITES);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_WARN, collect, line), 0);
    ck_assert_ptr_nonnull(numapool_get(magazine));
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    ck_assert_int_eq(numapool_close(pool), 0);
    ck_assert_msg(strstr(line, "slot 0 of node 0 is still in use; it was taken by numapool_get at test_checks(+0x") != NULL, "%s", line);
    ck_assert_int_eq(numapool_log_set(NUMAPOOL_LOG_WARN, NULL, NULL), 0);
}
END_TEST

START_TEST(nothing_is_cached_so_that_the_word_always_says_whose_it_is)
{
    struct numapool_pool *pool = make_pool(1000, NUMAPOOL_CHECKS);
    struct numapool_magazine *magazine = open_magazine(pool, 256);
    void *slot = numapool_get(magazine);
    ck_assert_uint_eq(pool_census(pool).held, 1);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_uint_eq(pool_census(pool).held, 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(a_pool_without_checks_has_neither_guard_nor_records)
{
    struct numapool_pool *pool = make_pool(1000, 0);
    const struct np_arena *arena = &pool->arenas[0].arena;
    ck_assert_ptr_null(arena->hooks);
    ck_assert_ptr_null(arena->guard);
    ck_assert_ptr_null(arena->records);
    ck_assert_ptr_null(arena->blocks);
    ck_assert_uint_eq(arena->stride, SLOT_BYTES);
    ck_assert_uint_eq(arena->slot_bytes, SLOT_BYTES);
    ck_assert_uint_eq(arena->cell_slots, arena->slots);
    ck_assert_uint_eq(arena->header->shadow_offset, 0);
    close_pool(pool);
}
END_TEST

static int create(uint64_t flags, uint64_t slot_bytes)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    options.name = "pay", options.slots = 1, options.slot_bytes = slot_bytes, options.flags = flags;
    return numapool_create(&pool, &options);
}

START_TEST(flags_that_exclude_each_other_are_refused)
{
    ASSERT_REFUSED(create(NUMAPOOL_CHECKS | NUMAPOOL_MALLOC, 64), -EINVAL, "exclude each other");
    ASSERT_REFUSED(create(NUMAPOOL_CHECK_SITES, 64), -EINVAL, "give both");
    ASSERT_REFUSED(create(NUMAPOOL_MALLOC | NUMAPOOL_HUGE_2M, 64), -EINVAL, "excludes huge ones");
    ASSERT_REFUSED(create(NUMAPOOL_CHECKS, UINT64_C(1) << 30), -EINVAL, "no room for a guard");
}
END_TEST

START_TEST(slots_that_came_by_growth_are_checked_too)
{
    listen();
    struct numapool_pool *pool = make_pool(1, SITES);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[3];
    ck_assert_int_eq(numapool_grow(pool, 0, 2), 0);
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 3), 0);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 3), 0);
    assert_quiet();
    ck_assert_int_eq(numapool_put(magazine, slots[2]), -EINVAL);
    assert_sentence("put already by numapool_put_bulk at test_checks(+0x");
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, slots[2], "numapool_put");
    scribble(slots[2], 1, 1);
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 3), 0);
    assert_told(NUMAPOOL_FAULT_WRITE_AFTER_PUT, 0, faults.last.address, "numapool_get_bulk");
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 3), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- deaths, written by hand */

/* What each step of a put or get leaves when its process dies right after it, and the scavenger has freed the slot: the
 * next getter says nothing of it, whatever the payload holds. */
START_TEST(no_death_makes_a_false_alarm)
{
    listen();
    struct numapool_pool *pool = make_pool(1, SITES);
    struct np_arena *arena = &pool->arenas[0].arena;
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    for (unsigned step = 0; step < 5; step++) {
        char *slot = numapool_get(magazine);
        ck_assert_int_eq(numapool_put(magazine, slot), 0);
        slot = numapool_get(magazine); /* the record speaks of this generation, and of a put before it */
        memset(slot, 9, SLOT_BYTES);
        uint64_t word = np_load64(&arena->words[0], memory_order_relaxed);
        struct np_guard_record *record = &arena->records[0];
        switch (step) {
        case 0: /* the getter, after its CAS: the record still speaks of the put before, whose generation this is */
            np_store64(&record->state, (uint64_t)NP_GUARD_GIVEN << 16 | np_word_gen(word), memory_order_relaxed);
            break;
        case 1: /* while it uses the slot: nothing is written */
            break;
        case 2: /* the putter, after its mark */
            np_store64(&arena->words[0], word | NP_WORD_PUTTING, memory_order_relaxed);
            break;
        case 3: /* in the middle of poisoning */
            np_store64(&arena->words[0], word | NP_WORD_PUTTING, memory_order_relaxed);
            memset(slot, 0xdb, SLOT_BYTES / 2);
            break;
        default: /* after the record, before the word: the poison is whole */
            np_store64(&arena->words[0], word | NP_WORD_PUTTING, memory_order_relaxed);
            scribble(slot, 0xdb, arena->stride);
            np_store64(&record->state, (uint64_t)NP_GUARD_GIVEN << 16 | ((np_word_gen(word) + 1) & NP_WORD_GEN_MASK), memory_order_relaxed);
        }
        ck_assert(np_arena_reclaim(arena, 0, np_load64(&arena->words[0], memory_order_relaxed)));
        np_arena_note_reclaimed(arena, 1);
        np_arena_show_free(arena, 0, 1);
        ck_assert_ptr_eq(numapool_get(magazine), slot);
        assert_quiet();
        ck_assert_int_eq(numapool_put(magazine, slot), 0);
        assert_quiet();
    }
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

START_TEST(records_that_others_scribbled_over_do_no_harm)
{
    listen();
    struct numapool_pool *pool = make_pool(1, SITES);
    struct np_guard_record *record = &pool->arenas[0].arena.records[0];
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slot = numapool_get(magazine);
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    np_store64(&record->given_by, (uint64_t)getpid() << 32 | 1 << 16 | 0xffff, memory_order_relaxed);
    np_store64(&record->given_at, UINT64_MAX, memory_order_relaxed);
    np_store64(&record->taken_by, UINT64_MAX, memory_order_relaxed);
    np_store64(&record->taken_at, 1, memory_order_relaxed);
    ck_assert_int_eq(numapool_put(magazine, slot), -EINVAL);
    assert_sentence("by an unknown call");
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, slot, "numapool_put");
    np_store64(&record->state, UINT64_MAX, memory_order_relaxed);
    ck_assert_ptr_eq(numapool_get(magazine), slot);
    assert_quiet();
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checks");
    TCase *tcase = tcase_create("checks");
    tcase_add_test(tcase, a_second_put_is_told_with_the_first);
    tcase_add_test(tcase, put_bulk_and_put_call_are_named_and_put_the_others);
    tcase_add_test(tcase, pointers_that_are_no_slots_are_told);
    tcase_add_test(tcase, a_write_after_put_is_told_by_the_next_get_which_goes_on);
    tcase_add_test(tcase, a_write_beyond_the_end_is_told_and_mended);
    tcase_add_test(tcase, a_handle_is_stale_at_once);
    tcase_add_test(tcase, of_two_threads_that_put_the_same_slot_one_is_told);
    tcase_add_test(tcase, closing_tells_what_is_still_in_use);
    tcase_add_test(tcase, nothing_is_cached_so_that_the_word_always_says_whose_it_is);
    tcase_add_test(tcase, a_pool_without_checks_has_neither_guard_nor_records);
    tcase_add_test(tcase, flags_that_exclude_each_other_are_refused);
    tcase_add_test(tcase, slots_that_came_by_growth_are_checked_too);
    tcase_add_test(tcase, no_death_makes_a_false_alarm);
    tcase_add_test(tcase, records_that_others_scribbled_over_do_no_harm);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
