/* SPDX-License-Identifier: MIT
 * Bulks, inline and as functions of the library, and how much is taken at once. Slots are counted after each. */
#include "pool_help.h"

#include "core/copy.h"

enum { SLOTS = 65536, ODD_SLOTS = 40000 /* no power of two */, MOST = 300 };

/* In the library's code, as who cannot inline calls them. */
static int (*volatile get_bulk_call)(struct numapool_magazine *magazine, void **slots, unsigned n) = numapool_get_bulk;
static int (*volatile put_bulk_call)(struct numapool_magazine *magazine, void *const *slots, unsigned n) = numapool_put_bulk;

static int get_bulk(int called, struct numapool_magazine *magazine, void **slots, unsigned n)
{
    return called ? get_bulk_call(magazine, slots, n) : numapool_get_bulk(magazine, slots, n);
}

static int put_bulk(int called, struct numapool_magazine *magazine, void *const *slots, unsigned n)
{
    return called ? put_bulk_call(magazine, slots, n) : numapool_put_bulk(magazine, slots, n);
}

static size_t count_of(const struct numapool_magazine *magazine)
{
    return (size_t)(magazine->top - magazine->bottom);
}

static void close_magazine(struct numapool_magazine *magazine)
{
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
}

static int by_address(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t) * (void *const *)left, b = (uintptr_t) * (void *const *)right;
    return (a > b) - (a < b);
}

static void assert_all_different(void *const *slots, unsigned n)
{
    void *sorted[2 * MOST];
    memcpy(sorted, slots, n * sizeof *slots);
    qsort(sorted, n, sizeof *sorted, by_address);
    for (unsigned i = 1; i < n; i++)
        ck_assert_ptr_ne(sorted[i - 1], sorted[i]);
}

START_TEST(bulks_of_any_size_are_whole_and_nobody_elses)
{
    static const uint64_t flags[] = { 0, 0, NUMAPOOL_EXACT_COUNTS, NUMAPOOL_CHECKS, NUMAPOOL_MALLOC };
    struct numapool_pool *pool = make_pool(SLOTS, flags[_i]);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[2 * MOST];
    for (unsigned n = 1; n <= MOST; n += n < 70 ? 1 : 23) {
        ck_assert_int_eq(get_bulk(_i == 1, magazine, slots, n), 0);
        ck_assert_int_eq(get_bulk(_i == 1, magazine, slots + n, n), 0);
        assert_all_different(slots, 2 * n);
        ck_assert_uint_ge(pool_census(pool).held, 2 * n);
        ck_assert_int_eq(put_bulk(_i == 1, magazine, slots, n), 0);
        ck_assert_int_eq(put_bulk(_i == 1, magazine, slots + n, n), 0);
    }
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

/* So that the next bulks are of slots from all over the pool. */
static void scatter(struct numapool_magazine *magazine)
{
    enum { TAKEN = 32000, STEP = 7919 };
    void **taken = malloc(TAKEN * sizeof *taken);
    ck_assert_ptr_nonnull(taken);
    for (unsigned i = 0; i < TAKEN; i++)
        ck_assert_ptr_nonnull(taken[i] = numapool_get(magazine));
    for (unsigned i = 0; i < TAKEN; i++)
        ck_assert_int_eq(numapool_put(magazine, taken[(uint64_t)i * STEP % TAKEN]), 0);
    free(taken);
}

START_TEST(a_foreign_pointer_anywhere_in_a_bulk_is_the_only_one_that_is_not_put)
{
    struct numapool_pool *pool = make_pool(_i < 2 ? SLOTS : ODD_SLOTS, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    const uintptr_t base = magazine->base;
    scatter(magazine);
    void *slots[33], *kept, *again[33];
    void *const foreign[] = { NULL, &kept, (void *)(base - 1), (void *)(base + magazine->span), (void *)UINTPTR_MAX };
    for (unsigned n = 1; n <= 33; n++)
        for (unsigned place = 0; place < n; place++) {
            ck_assert_int_eq(numapool_get_bulk(magazine, slots, n), 0);
            const size_t count = count_of(magazine);
            kept = slots[place];
            slots[place] = foreign[(n + place) % 5];
            ASSERT_REFUSED(put_bulk(_i % 2, magazine, slots, n), -EINVAL, "pay");
            ck_assert_uint_eq(count_of(magazine), count + n - 1);
            ck_assert_int_eq(numapool_put(magazine, kept), 0);
            ck_assert_int_eq(numapool_get_bulk(magazine, again, n), 0);
            assert_all_different(again, n);
            for (unsigned i = 0; i < n; i++)
                ck_assert((uintptr_t)again[i] - base < magazine->span);
            ck_assert_int_eq(numapool_put_bulk(magazine, again, n), 0);
        }
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(none_is_no_bulk_and_no_magazine_has_none)
{
    struct numapool_pool *pool = make_pool(SLOTS, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slot;
    ck_assert_ptr_nonnull(slot = numapool_get(magazine));
    const size_t count = count_of(magazine);
    ASSERT_REFUSED(get_bulk(_i, magazine, &slot, 0), -EINVAL, "0 slots");
    ck_assert_int_eq(put_bulk(_i, magazine, &slot, 0), 0);
    ck_assert_uint_eq(count_of(magazine), count);
    ASSERT_REFUSED(get_bulk(_i, NULL, &slot, 1), -EINVAL, "closed");
    ASSERT_REFUSED(put_bulk(_i, NULL, &slot, 1), -EINVAL, "closed");
    ck_assert_int_eq(numapool_put(magazine, slot), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(a_bulk_for_which_there_is_no_room_goes_where_there_is)
{
    struct numapool_pool *pool = make_pool(SLOTS, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 64);
    void *slots[1024];
    ck_assert_int_eq(numapool_get_bulk(magazine, slots, 1024), 0);
    for (unsigned put = 0; put < 1024; put += 16) {
        ck_assert_int_eq(put_bulk(_i, magazine, slots + put, 16), 0);
        ck_assert_uint_le(count_of(magazine), 64);
        ck_assert_uint_ge(count_of(magazine), 16);
    }
    ck_assert_uint_eq(pool->arenas[0].depot.count + count_of(magazine), 1024);
    /* and a bulk out of an empty magazine comes from there, with more for the next ones */
    const unsigned drained = (unsigned)count_of(magazine);
    for (unsigned i = 0; i < drained; i++)
        slots[i] = numapool_get(magazine);
    const uint32_t in_depot = pool->arenas[0].depot.count;
    ck_assert_int_eq(get_bulk(_i, magazine, slots + drained, 16), 0);
    ck_assert_uint_eq(pool->arenas[0].depot.count, in_depot - 32);
    ck_assert_uint_eq(count_of(magazine), 16);
    assert_all_different(slots, drained + 16);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, drained + 16), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(one_get_takes_no_more_than_a_group_out_of_the_arena)
{
    struct numapool_pool *pool = make_pool(SLOTS, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 2048);
    void *slots[1000];
    for (unsigned i = 0; i < 1000; i++) {
        const uint64_t held = pool_census(pool).held;
        ck_assert_ptr_nonnull(slots[i] = numapool_get(magazine));
        ck_assert_uint_le(pool_census(pool).held, held + NP_ARENA_REFILL_SLOTS);
    }
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 1000), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(a_bulk_takes_no_more_than_asked_for_out_of_the_arena)
{
    struct numapool_pool *pool = make_pool(SLOTS, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    void *slots[8];
    ck_assert_int_eq(get_bulk(_i, magazine, slots, 1), 0);
    ck_assert_uint_eq(pool_census(pool).held, 1);
    ck_assert_int_eq(get_bulk(_i, magazine, slots + 1, 7), 0);
    ck_assert_uint_eq(pool_census(pool).held, 8);
    ck_assert_int_eq(numapool_put_bulk(magazine, slots, 8), 0);
    close_magazine(magazine);
    close_pool(pool);
}
END_TEST

START_TEST(a_default_magazine_leaves_much_to_others)
{
    struct numapool_pool *pool = make_pool(SLOTS, 0); /* 16,384 for all magazines of this process */
    struct numapool_magazine *magazines[40];
    for (unsigned i = 0; i < 40; i++) {
        const uint64_t left = pool->cache_slots_max / 2 - pool->magazine_slots_used;
        magazines[i] = open_magazine(pool, 0);
        const uint64_t capacity = (uint64_t)(magazines[i]->limit - magazines[i]->bottom);
        ck_assert_uint_ge(capacity, NP_MAGAZINE_SLOTS_LEAST);
        ck_assert_uint_le(capacity, NP_MAGAZINE_SLOTS_DEFAULT);
        if (capacity > NP_MAGAZINE_SLOTS_LEAST)
            ck_assert_uint_le(capacity, left / NP_MAGAZINE_DEFAULT_SHARE);
    }
    for (unsigned i = 0; i < 40; i++)
        close_magazine(magazines[i]);
    struct numapool_magazine *wanted = open_magazine(pool, 1024); /* what somebody asks for he gets */
    ck_assert_int_eq(wanted->limit - wanted->bottom, 1024);
    close_magazine(wanted);
    close_pool(pool);
}
END_TEST

START_TEST(what_a_pool_is_told_of_magazines_is_granted_whatever_the_default_is)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    struct numapool_magazine *magazines[8];
    options.name = "pay", options.slot_bytes = SLOT_BYTES, options.slots = SLOTS;
    options.magazine_slots = NP_MAGAZINE_SLOTS_DEFAULT;
    ck_assert_int_eq(numapool_create(&pool, &options), 0);
    for (unsigned i = 0; i < 8; i++) {
        magazines[i] = open_magazine(pool, 0);
        ck_assert_int_eq(magazines[i]->limit - magazines[i]->bottom, NP_MAGAZINE_SLOTS_DEFAULT);
    }
    for (unsigned i = 0; i < 8; i++)
        close_magazine(magazines[i]);
    close_pool(pool);
}
END_TEST

START_TEST(a_copy_of_a_span_says_exactly_who_is_outside)
{
    static const uintptr_t bases[] = { 0x7f0000000000, 0, 0x1000 }, spans[] = { 0x5000, 0x4000, 0x1 };
    for (unsigned place = 0; place < 10; place++)
        for (unsigned i = 0; i < 9; i++) {
            const uintptr_t base = bases[i % 3], span = spans[i / 3];
            const struct {
                uintptr_t address;
                bool inside;
            } cases[] = { { base, true },           { base + span - 1, true },      { base + span, false },
                          { base - 1, false },      { base + ((uintptr_t)1 << 63), false }, { base + ((uintptr_t)1 << 63) + span, false } };
            for (unsigned n = place + 1; n <= 10; n++)
                for (unsigned c = 0; c < sizeof cases / sizeof cases[0]; c++) {
                    void *from[10], *to[10] = { NULL };
                    for (unsigned j = 0; j < n; j++)
                        from[j] = (void *)(j == place ? cases[c].address : base + j % 2 * (span - 1));
                    ck_assert_int_eq(np_copy_of_span(to, from, n, base, span), cases[c].inside);
                    ck_assert_mem_eq(to, from, n * sizeof *to);
                    ck_assert(!np_copy_of_span(to, from, n, base, 0));
                }
        }
    void *none[1];
    ck_assert(np_copy_of_span(none, none, 0, bases[0], 1));
    ck_assert(!np_copy_of_span(none, none, 0, 0, 0));
}
END_TEST

START_TEST(copies_are_exact_for_any_number_and_any_place)
{
    void *from[80], *to[80];
    for (unsigned n = 0; n <= 66; n++)
        for (unsigned offset = 0; offset < 5; offset++) {
            uintptr_t distances = 0;
            for (unsigned i = 0; i < 80; i++) {
                from[i] = (void *)(uintptr_t)(0x1000 + i * 0x40);
                to[i] = NULL;
            }
            for (unsigned i = 0; i < n; i++)
                distances |= (uintptr_t)from[offset + i] - 0x1000;
            ck_assert_uint_eq(np_copy_distances(to + 5 - offset, from + offset, n, 0x1000), distances);
            for (unsigned i = 0; i < 80; i++)
                ck_assert_ptr_eq(to[i], i >= 5 - offset && i < 5 - offset + n ? from[i + 2 * offset - 5] : NULL);
            memset(to, 0, sizeof to);
            np_copy_pointers(to + 5 - offset, from + offset, n);
            for (unsigned i = 0; i < 80; i++)
                ck_assert_ptr_eq(to[i], i >= 5 - offset && i < 5 - offset + n ? from[i + 2 * offset - 5] : NULL);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bulk");
    TCase *bulk = tcase_create("bulk");
    tcase_add_loop_test(bulk, bulks_of_any_size_are_whole_and_nobody_elses, 0, 5);
    tcase_add_loop_test(bulk, a_foreign_pointer_anywhere_in_a_bulk_is_the_only_one_that_is_not_put, 0, 4);
    tcase_add_loop_test(bulk, none_is_no_bulk_and_no_magazine_has_none, 0, 2);
    tcase_add_loop_test(bulk, a_bulk_for_which_there_is_no_room_goes_where_there_is, 0, 2);
    tcase_add_test(bulk, one_get_takes_no_more_than_a_group_out_of_the_arena);
    tcase_add_loop_test(bulk, a_bulk_takes_no_more_than_asked_for_out_of_the_arena, 0, 2);
    tcase_add_test(bulk, a_default_magazine_leaves_much_to_others);
    tcase_add_test(bulk, what_a_pool_is_told_of_magazines_is_granted_whatever_the_default_is);
    tcase_add_test(bulk, a_copy_of_a_span_says_exactly_who_is_outside);
    tcase_add_test(bulk, copies_are_exact_for_any_number_and_any_place);
    suite_add_tcase(suite, bulk);
    return run_suite(suite);
}
