/* SPDX-License-Identifier: MIT
 * Arenas: each slot is given once, whatever the hints say; what is scribbled is harmless. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/arena.h"
#include "core/bell.h"
#include "core/error.h"

enum { ME = 3, OTHER = 9, SLOT_BYTES = 64, BELLS = 200 };

static const uint64_t sizes[] = { 1, 63, 64, 65, 4095, 4096, 4097, 262145 };
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static struct np_arena arena;
static void *meta;
static size_t meta_bytes;
static char *data;
static size_t data_bytes;
static struct np_bell bells[BELLS];

/* ck_assert tells its parent where it is by a system call, which is too dear for each of a million slots. */
static void surely(bool condition, const char *what, uint64_t which)
{
    if (!condition)
        ck_abort_msg("number %llu %s", (unsigned long long)which, what);
}

static void *pages(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

static void make_arena(uint64_t slots, uint64_t slot_bytes)
{
    meta_bytes = np_arena_meta_bytes(slots, BELLS, 0);
    meta = pages(meta_bytes);
    data_bytes = slots * np_arena_stride(slot_bytes);
    data = pages(data_bytes);
    np_arena_format(meta, slots, slot_bytes, 0, 2, 1, BELLS, 0);
    ck_assert_int_eq(np_arena_attach(&arena, meta, meta_bytes, data, slots, slot_bytes, 2, 1, ME, bells, BELLS, 0), 0);
}

static void unmake_arena(void)
{
    munmap(meta, meta_bytes);
    munmap(data, data_bytes);
}

/* Takes until nothing is left; no slot twice. How many. */
static uint64_t take_all(void **slots, unsigned at_once)
{
    uint64_t got = 0;
    unsigned char *seen = calloc(arena.slots, 1);
    for (unsigned came; got < arena.slots + 1 && (came = np_arena_take(&arena, slots + got, at_once)) > 0; got += came)
        for (unsigned i = 0; i < came; i++) {
            int64_t index = np_arena_index_of(&arena, slots[got + i]);
            surely(index >= 0, "is not of this arena", (uint64_t)index);
            surely(!seen[index], "was given twice", (uint64_t)index);
            surely(np_word_is_held_by(np_load64(&arena.words[index], memory_order_relaxed), ME), "is not held", (uint64_t)index);
            seen[index] = 1;
        }
    free(seen);
    return got;
}

static void give_all(void **slots, uint64_t n)
{
    ck_assert_uint_eq(np_arena_give(&arena, slots, (unsigned)n), n);
    struct np_arena_census census;
    np_arena_census(&arena, &census);
    ck_assert_uint_eq(census.free_slots, n);
    ck_assert_uint_eq(np_arena_free_hint(&arena), n);
}

static void **room(void)
{
    void **slots = calloc(arena.slots + 8192, sizeof *slots);
    ck_assert_ptr_nonnull(slots);
    return slots;
}

static unsigned hints_set(uint64_t index)
{
    unsigned set = 0;
    for (unsigned level = 0; level < arena.levels; level++) {
        set += (unsigned)(np_load64(&arena.level[level][index / 64], memory_order_relaxed) >> index % 64 & 1);
        index /= 64;
    }
    return set;
}

START_TEST(every_slot_is_given_once_and_comes_back)
{
    make_arena(sizes[_i], SLOT_BYTES);
    void **slots = room();
    static const unsigned at_once[] = { 4096, 7, 64 };
    for (unsigned round = 0; round < 3; round++) {
        ck_assert_uint_eq(take_all(slots, at_once[round]), arena.slots);
        ck_assert_uint_eq(np_arena_free_hint(&arena), 0);
        struct np_arena_census census;
        np_arena_census(&arena, &census);
        ck_assert_uint_eq(census.free_slots, 0);
        give_all(slots, arena.slots);
        for (uint64_t i = 0; i < arena.slots; i++)
            surely(hints_set(i) == arena.levels, "is free and not shown", i);
    }
    ck_assert_uint_eq(np_load64(&arena.header->low_water, memory_order_relaxed), 0);
    free(slots);
    unmake_arena();
}
END_TEST

START_TEST(clear_hints_hide_no_free_slot)
{
    make_arena(sizes[_i], SLOT_BYTES);
    void **slots = room();
    for (unsigned from_level = 0; from_level < arena.levels; from_level++) {
        for (unsigned level = from_level; level < arena.levels; level++)
            for (uint64_t i = 0; i < arena.level_words[level]; i++)
                np_store64(&arena.level[level][i], 0, memory_order_relaxed);
        ck_assert_uint_eq(take_all(slots, 4096), arena.slots);
        give_all(slots, arena.slots);
    }
    free(slots);
    unmake_arena();
}
END_TEST

START_TEST(set_hints_give_nobody_a_held_slot)
{
    make_arena(sizes[_i], SLOT_BYTES);
    void **slots = room();
    for (uint64_t i = 0; i < arena.slots; i += 2)
        np_store64(&arena.words[i], np_word_held(OTHER, 5), memory_order_relaxed);
    for (unsigned level = 0; level < arena.levels; level++)
        for (uint64_t i = 0; i < arena.level_words[level]; i++)
            np_store64(&arena.level[level][i], UINT64_MAX, memory_order_relaxed);
    ck_assert_uint_eq(take_all(slots, 4096), arena.slots / 2);
    for (uint64_t i = 0; i < arena.slots; i += 2)
        surely(np_load64(&arena.words[i], memory_order_relaxed) == np_word_held(OTHER, 5), "was another's", i);
    ck_assert_uint_eq(np_arena_give(&arena, slots, (unsigned)(arena.slots / 2)), arena.slots / 2);
    free(slots);
    unmake_arena();
}
END_TEST

START_TEST(summaries_follow_their_groups)
{
    make_arena(262145, SLOT_BYTES);
    void **slots = room();
    ck_assert_uint_gt(arena.levels, 2);
    ck_assert_uint_eq(take_all(slots, 4096), arena.slots);
    ck_assert_uint_eq(np_arena_take(&arena, slots, 1), 0);
    for (unsigned level = 0; level < arena.levels; level++)
        for (uint64_t i = 0; i < arena.level_words[level]; i++)
            ck_assert_uint_eq(np_load64(&arena.level[level][i], memory_order_relaxed), 0);
    static const uint64_t lone[] = { 0, 63, 64, 4096, 131071, 262143, 262144 };
    for (unsigned i = 0; i < sizeof lone / sizeof lone[0]; i++) {
        void *slot = np_arena_slot(&arena, lone[i]), *found;
        ck_assert_uint_eq(np_arena_give(&arena, &slot, 1), 1);
        ck_assert_uint_eq(hints_set(lone[i]), arena.levels);
        ck_assert_uint_eq(np_arena_take(&arena, &found, 1), 1);
        ck_assert_ptr_eq(found, slot);
        ck_assert_uint_eq(hints_set(lone[i]), 0);
    }
    free(slots);
    unmake_arena();
}
END_TEST

START_TEST(only_first_bytes_of_slots_are_slots)
{
    static const uint64_t strides[] = { 64, 128, 192, 320, 448, 4096, 6400, 1 << 20 };
    const uint64_t stride = strides[_i];
    make_arena(1000, stride);
    for (uint64_t index = 0; index < 1000; index++) {
        char *slot = np_arena_slot(&arena, index);
        ck_assert_ptr_eq(slot, data + index * stride);
        ck_assert_int_eq(np_arena_index_of(&arena, slot), (int64_t)index);
        ck_assert_int_eq(np_arena_index_of(&arena, slot + 1), -1);
        ck_assert_int_eq(np_arena_index_of(&arena, slot + 63), -1);
        if (stride > 64) {
            ck_assert_int_eq(np_arena_index_of(&arena, slot + 64), -1);
            ck_assert_int_eq(np_arena_index_of(&arena, slot + stride - 64), -1);
        }
    }
    ck_assert_int_eq(np_arena_index_of(&arena, data - 64), -1);
    ck_assert_int_eq(np_arena_index_of(&arena, data - stride), -1);
    ck_assert_int_eq(np_arena_index_of(&arena, data + 1000 * stride), -1);
    ck_assert_int_eq(np_arena_index_of(&arena, NULL), -1);
    ck_assert_int_eq(np_arena_index_of(&arena, (void *)(UINTPTR_MAX - 63)), -1);
    unmake_arena();
}
END_TEST

START_TEST(usable_bytes_are_whole_lines)
{
    ck_assert_uint_eq(np_arena_stride(1), 64);
    ck_assert_uint_eq(np_arena_stride(64), 64);
    ck_assert_uint_eq(np_arena_stride(65), 128);
    ck_assert_uint_eq(np_arena_stride(NP_STRIDE_MAX), NP_STRIDE_MAX);
    make_arena(4, 65);
    ck_assert_uint_eq(arena.slot_bytes, 128);
    unmake_arena();
}
END_TEST

START_TEST(giving_what_is_not_ours_changes_nothing)
{
    make_arena(100, 128);
    void *mine;
    ck_assert_uint_eq(np_arena_take(&arena, &mine, 1), 1);
    uint64_t at = (uint64_t)np_arena_index_of(&arena, mine), next = (at + 1) % 100, after = (at + 2) % 100;
    np_store64(&arena.words[next], np_word_held(OTHER, 8), memory_order_relaxed);
    np_store64(&arena.words[after], np_word_sent(ME, 4, 8), memory_order_relaxed);
    uint64_t before[100];
    for (unsigned i = 0; i < 100; i++)
        before[i] = np_load64(&arena.words[i], memory_order_relaxed);
    void *not_ours[] = { np_arena_slot(&arena, next),  np_arena_slot(&arena, after), np_arena_slot(&arena, (at + 3) % 100),
                         (char *)mine + 64,            (char *)mine + 1,             NULL,
                         data + data_bytes,            data - 128 };
    ck_assert_uint_eq(np_arena_give(&arena, not_ours, sizeof not_ours / sizeof not_ours[0]), 0);
    for (unsigned i = 0; i < 100; i++)
        ck_assert_uint_eq(np_load64(&arena.words[i], memory_order_relaxed), before[i]);
    ck_assert_uint_eq(np_arena_free_hint(&arena), 99);
    void *mixed[] = { not_ours[0], mine, mine, not_ours[3] };
    ck_assert_uint_eq(np_arena_give(&arena, mixed, 4), 1);
    unmake_arena();
}
END_TEST

START_TEST(freeing_makes_old_names_stale)
{
    make_arena(1, SLOT_BYTES);
    void *slot;
    for (unsigned round = 0; round < 70000; round++) {
        surely(np_word_gen(np_load64(&arena.words[0], memory_order_relaxed)) == round % 65536, "has another generation", 0);
        surely(np_arena_take(&arena, &slot, 1) == 1 && np_arena_give(&arena, &slot, 1) == 1, "does not come and go", 0);
    }
    unmake_arena();
}
END_TEST

START_TEST(low_water_is_the_fewest_free_there_were)
{
    make_arena(1000, SLOT_BYTES);
    void **slots = room();
    ck_assert_uint_eq(np_load64(&arena.header->low_water, memory_order_relaxed), 1000);
    ck_assert_uint_eq(np_arena_take(&arena, slots, 600), 600);
    ck_assert_uint_eq(np_arena_free_hint(&arena), 400);
    ck_assert_uint_eq(np_arena_give(&arena, slots, 600), 600);
    ck_assert_uint_eq(np_arena_take(&arena, slots, 10), 10);
    ck_assert_uint_eq(np_load64(&arena.header->low_water, memory_order_relaxed), 400);
    ck_assert_uint_eq(np_arena_give(&arena, slots, 10), 10);
    free(slots);
    unmake_arena();
}
END_TEST

START_TEST(another_arena_is_refused_by_name)
{
    struct np_arena other;
    make_arena(1000, 128);
    struct np_arena_header *header = meta;
#define ATTACH(bytes, slots, slot_bytes, index, bell_count) \
    np_arena_attach(&other, meta, bytes, data, slots, slot_bytes, index, 1, ME, bells, bell_count, 0)
    ck_assert_int_eq(ATTACH(meta_bytes, 1000, 128, 2, BELLS), 0);
    ck_assert_int_eq(ATTACH(meta_bytes, 1001, 128, 2, BELLS), -EBADMSG);
    ck_assert_int_eq(ATTACH(meta_bytes, 1000, 64, 2, BELLS), -EBADMSG);
    ck_assert_int_eq(ATTACH(meta_bytes, 1000, 128, 3, BELLS), -EBADMSG);
    ck_assert_int_eq(ATTACH(meta_bytes - 4096, 1000, 128, 2, BELLS), -EBADMSG);
    ck_assert_int_eq(ATTACH(meta_bytes, 1000, 128, 2, BELLS - 1), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "arena 2"));
    header->layout++;
    ck_assert_int_eq(ATTACH(meta_bytes, 1000, 128, 2, BELLS), -EPROTO);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "arena 2"));
    header->layout--;
    header->magic++;
    ck_assert_int_eq(ATTACH(meta_bytes, 1000, 128, 2, BELLS), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "arena 2"));
    header->magic--;
    ck_assert_int_eq(ATTACH(meta_bytes, 1000, 128, 2, BELLS), 0);
#undef ATTACH
    unmake_arena();
}
END_TEST

static unsigned rings(uint32_t bell)
{
    return np_load32(&bells[bell].ring, memory_order_relaxed);
}

START_TEST(who_sleeps_is_rung_and_nobody_else)
{
    static const uint32_t sleepers[] = { 0, 1, 63, 64, 127, 128, BELLS - 1 };
    enum { SLEEPERS = sizeof sleepers / sizeof sleepers[0] };
    make_arena(100, SLOT_BYTES);
    void *slot;
    for (unsigned i = 0; i < SLEEPERS; i++)
        np_arena_sleep_begin(&arena, sleepers[i]);
    np_arena_sleep_begin(&arena, BELLS + 4096); /* beyond the map: nothing happens */
    np_arena_sleep_end(&arena, BELLS + 4096);
    for (unsigned awake = 0; awake <= SLEEPERS; awake++) {
        unsigned before[BELLS];
        for (uint32_t bell = 0; bell < BELLS; bell++)
            before[bell] = rings(bell);
        ck_assert_uint_eq(np_arena_take(&arena, &slot, 1), 1);
        ck_assert_uint_eq(np_arena_give(&arena, &slot, 1), 1);
        for (uint32_t bell = 0; bell < BELLS; bell++) {
            bool sleeps = false;
            for (unsigned i = awake; i < SLEEPERS; i++)
                sleeps |= sleepers[i] == bell;
            surely(rings(bell) - before[bell] == sleeps, "was not rung as it should", bell);
        }
        if (awake < SLEEPERS)
            np_arena_sleep_end(&arena, sleepers[awake]);
    }
    ck_assert_uint_eq(np_load64(&arena.header->sleepers_summary, memory_order_relaxed), 0);
    unmake_arena();
}
END_TEST

START_TEST(the_map_of_sleepers_reaches_the_last_client)
{
    enum { MANY = 65535 };
    struct np_bell *many = calloc(MANY, sizeof *many);
    size_t bytes = np_arena_meta_bytes(64, MANY, 0);
    void *memory = pages(bytes), *payload = pages(64 * SLOT_BYTES), *slot;
    np_arena_format(memory, 64, SLOT_BYTES, 0, 0, 0, MANY, 0);
    ck_assert_int_eq(np_arena_attach(&arena, memory, bytes, payload, 64, SLOT_BYTES, 0, 0, ME, many, MANY, 0), 0);
    static const uint32_t sleepers[] = { 4095, 4096, 8192, MANY - 1 };
    for (unsigned i = 0; i < 4; i++)
        np_arena_sleep_begin(&arena, sleepers[i]);
    ck_assert_uint_eq(np_arena_take(&arena, &slot, 1), 1);
    ck_assert_uint_eq(np_arena_give(&arena, &slot, 1), 1);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(np_load32(&many[sleepers[i]].ring, memory_order_relaxed), 1);
        np_arena_sleep_end(&arena, sleepers[i]);
    }
    ck_assert_uint_eq(np_load64(&arena.header->sleepers_summary, memory_order_relaxed), 0);
    munmap(memory, bytes);
    munmap(payload, 64 * SLOT_BYTES);
    free(many);
}
END_TEST

START_TEST(an_end_of_a_sweep_wakes_whom_no_summary_shows)
{
    make_arena(100, SLOT_BYTES);
    np_arena_sleep_begin(&arena, 70);
    np_store64(&arena.header->sleepers_summary, 0, memory_order_relaxed);
    unsigned before = rings(70);
    np_arena_wake_all(&arena);
    ck_assert_uint_eq(rings(70) - before, 1);
    unmake_arena();
}
END_TEST

START_TEST(scribbled_memory_neither_crashes_nor_gives_a_slot_twice)
{
    static const uint64_t patterns[] = { UINT64_MAX, UINT64_C(0x8000000000000000), UINT64_C(0x5555555555555555), 0,
                                         UINT64_C(0xf0f0f0f0f0f0f0f0) };
    srand(1);
    for (unsigned round = 0; round < 60; round++) {
        make_arena(sizes[round % (SIZES - 1)], SLOT_BYTES);
        void **slots = room();
        size_t words = meta_bytes / 8;
        np_shm64 *raw = meta;
        for (unsigned i = 0; i < 200; i++) /* anything but the geometry, which is compared when it is attached */
            np_store64(&raw[16 + (size_t)rand() % (words - 16)], patterns[(size_t)rand() % 5], memory_order_relaxed);
        np_store64(&arena.header->sleepers_summary, UINT64_MAX, memory_order_relaxed);
        uint64_t got = take_all(slots, 64);
        ck_assert_uint_le(got, arena.slots);
        ck_assert_uint_le(np_arena_free_hint(&arena), arena.slots);
        ck_assert_uint_eq(np_arena_give(&arena, slots, (unsigned)got), got);
        np_arena_wake_all(&arena);
        free(slots);
        unmake_arena();
    }
}
END_TEST

START_TEST(a_reclaimed_slot_is_free_once_and_shown_by_a_sweep)
{
    make_arena(100, SLOT_BYTES);
    void **slots = room();
    void *slot = np_arena_slot(&arena, 77), *found;
    ck_assert_uint_eq(take_all(slots, 100), 100);
    uint64_t word = np_load64(&arena.words[77], memory_order_relaxed);
    ck_assert(!np_arena_reclaim(&arena, 77, word + 1));
    ck_assert(np_arena_reclaim(&arena, 77, word));
    ck_assert(!np_arena_reclaim(&arena, 77, word));
    np_arena_note_reclaimed(&arena, 1);
    np_arena_show_free(&arena, 1, UINT64_C(1) << 13);
    np_arena_show_free(&arena, 1, UINT64_C(1) << 13);
    ck_assert_uint_eq(np_arena_free_hint(&arena), 1);
    ck_assert_uint_eq(np_arena_take(&arena, &found, 1), 1);
    ck_assert_ptr_eq(found, slot);
    ck_assert(!np_arena_reclaim(&arena, 77, word)); /* of an older generation: the slot is somebody else's now */
    free(slots);
    unmake_arena();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena");
    TCase *giving = tcase_create("giving"), *harm = tcase_create("harm");
    tcase_add_loop_test(giving, every_slot_is_given_once_and_comes_back, 0, SIZES);
    tcase_add_test(giving, summaries_follow_their_groups);
    tcase_add_loop_test(giving, only_first_bytes_of_slots_are_slots, 0, 8);
    tcase_add_test(giving, usable_bytes_are_whole_lines);
    tcase_add_test(giving, freeing_makes_old_names_stale);
    tcase_add_test(giving, low_water_is_the_fewest_free_there_were);
    tcase_add_test(giving, who_sleeps_is_rung_and_nobody_else);
    tcase_add_test(giving, the_map_of_sleepers_reaches_the_last_client);
    tcase_add_test(giving, a_reclaimed_slot_is_free_once_and_shown_by_a_sweep);
    tcase_add_loop_test(harm, clear_hints_hide_no_free_slot, 0, SIZES);
    tcase_add_loop_test(harm, set_hints_give_nobody_a_held_slot, 0, SIZES);
    tcase_add_test(harm, giving_what_is_not_ours_changes_nothing);
    tcase_add_test(harm, another_arena_is_refused_by_name);
    tcase_add_test(harm, an_end_of_a_sweep_wakes_whom_no_summary_shows);
    tcase_add_test(harm, scribbled_memory_neither_crashes_nor_gives_a_slot_twice);
    suite_add_tcase(suite, giving);
    suite_add_tcase(suite, harm);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
