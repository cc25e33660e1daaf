/* SPDX-License-Identifier: MIT
 * Memory is where it was asked for, on the pages that it says, and what cannot be had is said before anything is taken.
 * What this machine cannot show (huge pages that an ordinary user may not reserve, ...) is printed as NOT RUN. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "huge_help.h"
#include "numa/budget.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/system_files.h"
#include "numa/topology.h"
#include "numapool.h"
#include "placement_help.h"

static int first_node(void)
{
    int node;
    ck_assert_int_ge(np_nodes_with_memory(&node, 1), 1);
    return node;
}

static uint64_t misplaced(const struct np_memory *memory, int node)
{
    uint64_t count;
    ck_assert_int_eq(np_memory_verify(memory->address, memory->bytes, memory->page_bytes, node, &count), 0);
    return count;
}

START_TEST(small_memory_is_there_and_on_its_node)
{
    for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
        struct np_memory memory;
        int node = first_node();
        ck_assert_msg(np_memory_create(&memory, "words", 5000, node, 0, sharing) == 0, "%s", np_error_sentence());
        ck_assert_uint_eq(memory.bytes, 8192);
        ck_assert_uint_eq(memory.page_bytes, 4096);
        ck_assert(!memory.transparent);
        ck_assert_int_eq(memory.node, node);
        ck_assert_int_eq(memory.fd >= 0, sharing == NP_SHARED);
        ck_assert_uint_eq(misplaced(&memory, node), 0);
        ck_assert_uint_eq(misplaced(&memory, node + 1), 2);
        memset(memory.address, 1, memory.bytes);
        np_memory_destroy(&memory);
        ck_assert_ptr_null(memory.address);
        np_memory_destroy(&memory);
    }
    struct np_memory zeroed = {0};
    np_memory_destroy(&zeroed);
    ck_assert_int_ge(fcntl(0, F_GETFD), -1);
}
END_TEST

START_TEST(large_memory_is_there_in_every_slice)
{
    struct np_memory memory;
    ck_assert_int_eq(np_memory_create(&memory, "payload", 65 * MIB + 3 * KIB, -1, NUMAPOOL_PAGES_FALLBACK, NP_SHARED), 0);
    ck_assert_uint_ge(memory.bytes, 65 * MIB + 3 * KIB);
    ck_assert_uint_eq(memory.bytes % memory.page_bytes, 0);
    ck_assert_uint_eq(misplaced(&memory, -1), 0);
    np_memory_destroy(&memory);
}
END_TEST

START_TEST(sealed_memory_keeps_its_size_and_is_nobody_elses)
{
    struct np_memory memory;
    ck_assert_int_eq(np_memory_create(&memory, "words", 64 * KIB, first_node(), 0, NP_SHARED), 0);
    struct stat status;
    ck_assert_int_eq(fstat(memory.fd, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    ck_assert_int_eq(status.st_size, 64 * (int)KIB);
    ck_assert_int_eq(fcntl(memory.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(ftruncate(memory.fd, 4096), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(ftruncate(memory.fd, (off_t)MIB), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(fcntl(memory.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    np_memory_destroy(&memory);
}
END_TEST

static void set_byte(void *argument)
{
    *(volatile char *)argument = 1;
}

/* Whether a mapping that nobody may touch ends (or begins) at the address. Asked of the kernel instead of tried, which
 * memory checkers would take for a fault of the test. */
static bool is_guarded(const void *address, bool ends_there)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    ck_assert_ptr_nonnull(maps);
    char line[1024];
    bool guarded = false;
    while (!guarded && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to;
        char access_rights[8];
        guarded = sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &to, access_rights) == 3 &&
                  strncmp(access_rights, "---", 3) == 0 && (ends_there ? to : from) == (uintptr_t)address;
    }
    fclose(maps);
    return guarded;
}

START_TEST(what_runs_over_an_end_faults)
{
    for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
        struct np_memory memory;
        ck_assert_int_eq(np_memory_create(&memory, "words", 8192, -1, 0, sharing), 0);
        char *start = memory.address, *end = start + memory.bytes;
        ck_assert(is_guarded(start, true));
        ck_assert(is_guarded(end, false));
        np_memory_destroy(&memory);
        ck_assert(!is_guarded(end, false));
    }
}
END_TEST

START_TEST(a_forked_child_has_no_part_in_it)
{
    for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
        struct np_memory memory;
        ck_assert_int_eq(np_memory_create(&memory, "words", 8192, -1, 0, sharing), 0);
        int status = status_of_child(set_byte, memory.address);
        /* A sanitizer turns the signal into an exit of its own. */
        ck_assert_msg(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : WEXITSTATUS(status) != 0, "%d", status);
        ck_assert_int_eq(*(char *)memory.address, 0);
        np_memory_destroy(&memory);
    }
    struct np_memory memory;
    void *again;
    ck_assert_int_eq(np_memory_create(&memory, "words", 8192, -1, 0, NP_SHARED), 0);
    ck_assert_int_eq(np_memory_map(&again, memory.fd, 8192, true, true, "words"), 0);
    ck_assert_int_ne(status_of_child(set_byte, again), 0);
    np_memory_unmap(again, 8192);
    np_memory_destroy(&memory);
}
END_TEST

START_TEST(others_map_it_and_see_the_same)
{
    struct np_memory memory;
    void *again, *reading;
    ck_assert_int_eq(np_memory_create(&memory, "words", 4 * MIB, first_node(), 0, NP_SHARED), 0);
    strcpy(memory.address, "payment");
    ck_assert_int_eq(np_memory_map(&again, memory.fd, memory.bytes, true, true, "words"), 0);
    ck_assert_ptr_ne(again, memory.address);
    ck_assert_str_eq(again, "payment");
    uint64_t count;
    ck_assert_int_eq(np_memory_verify(again, memory.bytes, 4096, memory.node, &count), 0);
    ck_assert_uint_eq(count, 0);

    int readonly = np_memory_reopen_readonly(memory.fd);
    ck_assert_msg(readonly >= 0, "%s", np_error_sentence());
    ck_assert_int_eq(fcntl(readonly, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(np_memory_map(&reading, readonly, memory.bytes, true, false, "words"), -EACCES);
    ck_assert_ptr_null(reading);
    ck_assert_int_eq(np_memory_map(&reading, readonly, memory.bytes, false, true, "words"), 0);
    ck_assert_int_eq(mprotect(reading, memory.bytes, PROT_READ | PROT_WRITE), -1);
    strcpy(again, "posted");
    ck_assert_str_eq(reading, "posted");
    np_memory_unmap(reading, memory.bytes);
    np_memory_unmap(again, memory.bytes);
    close(readonly);
    np_memory_destroy(&memory);
    ck_assert_int_eq(np_memory_reopen_readonly(-1), -ENOENT);
}
END_TEST

START_TEST(pages_without_a_table_entry_are_counted)
{
    struct np_memory memory;
    void *again;
    uint64_t count;
    ck_assert_int_eq(np_memory_create(&memory, "words", 64 * KIB, first_node(), 0, NP_SHARED), 0);
    ck_assert_int_eq(np_memory_map(&again, memory.fd, memory.bytes, true, false, "words"), 0);
    ck_assert_int_eq(np_memory_verify(again, memory.bytes, 4096, memory.node, &count), 0);
    ck_assert_uint_eq(count, 16);
    memset(again, 1, 4 * 4096);
    ck_assert_int_eq(np_memory_verify(again, 4 * 4096, 4096, memory.node, &count), 0);
    ck_assert_uint_eq(count, 0);
    np_memory_unmap(again, memory.bytes);
    np_memory_destroy(&memory);
}
END_TEST

START_TEST(what_could_fault_is_not_mapped)
{
    void *address;
    int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ck_assert_int_ge(unsealed, 0);
    ck_assert_int_eq(ftruncate(unsealed, 8192), 0);
    ck_assert_int_eq(np_memory_map(&address, unsealed, 8192, true, false, "words"), -EINVAL);
    assert_sentence_has("sealed");
    ck_assert_int_eq(fcntl(unsealed, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    ck_assert_int_eq(np_memory_map(&address, unsealed, 12288, true, false, "words"), -EINVAL);
    assert_sentence_has("12288");
    ck_assert_int_eq(np_memory_map(&address, unsealed, 100, true, false, "words"), -EINVAL);
    ck_assert_int_eq(np_memory_map(&address, unsealed, 0, true, false, "words"), -EINVAL);
    ck_assert_int_eq(np_memory_map(&address, unsealed, 8192, true, false, "words"), 0);
    np_memory_unmap(address, 8192);
    close(unsealed);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(np_memory_map(&address, null, 4096, true, false, "words"), -EINVAL);
    close(null);
    ck_assert_int_eq(np_memory_map(&address, -1, 4096, true, false, "words"), -EINVAL);
    ck_assert_ptr_null(address);
}
END_TEST

START_TEST(absurd_wishes_take_nothing)
{
    static const size_t sizes[] = {(size_t)1 << 60, SIZE_MAX, SIZE_MAX - 4096, PTRDIFF_MAX, (size_t)1 << 47};
    static const uint64_t flags[] = {0, NUMAPOOL_HUGE_2M, NUMAPOOL_HUGE_THP, NUMAPOOL_HUGE_2M | NUMAPOOL_PAGES_FALLBACK};
    struct np_memory memory;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t j = 0; j < sizeof flags / sizeof flags[0]; j++)
            for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
                int code = np_memory_create(&memory, "payload of pool 'pay'", sizes[i], first_node(), flags[j], sharing);
                ck_assert(code == -ENOMEM || code == -ENOSPC);
                ck_assert_ptr_null(memory.address);
                ck_assert_int_eq(memory.fd, -1);
                assert_sentence_has("payload of pool 'pay'");
            }
    ck_assert_int_eq(np_memory_create(&memory, "words", 0, -1, 0, NP_SHARED), -EINVAL);
    ck_assert_int_eq(np_memory_create(&memory, "words", 4096, -1, NUMAPOOL_HUGE_2M | NUMAPOOL_HUGE_THP, NP_SHARED), -EINVAL);
}
END_TEST

START_TEST(a_node_that_is_not_there_is_named)
{
    struct np_memory memory;
    static const int nodes[] = {77, 1023, 1024, INT_MAX, -2, INT_MIN};
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        ck_assert_int_eq(np_memory_create(&memory, "words", 4096, nodes[i], 0, NP_SHARED), -EINVAL);
        char number[16];
        snprintf(number, sizeof number, "node %d", nodes[i]);
        assert_sentence_has(number);
        ck_assert_ptr_null(memory.address);
    }
    int list[NP_NODES_MAX];
    int count = np_nodes_with_memory(list, NP_NODES_MAX);
    ck_assert_int_ge(count, 1);
    for (int i = 1; i < count; i++)
        ck_assert_int_gt(list[i], list[i - 1]);
    ck_assert_int_eq(np_nodes_with_memory(list, 0), -EINVAL);
    ck_assert_int_ge(np_node_of_this_thread(), 0);
}
END_TEST

/* ---------------------------------------------------------------- huge pages */

static const char reserved_path[] = "/proc/sys/vm/nr_hugepages";

static long reserved_pages(void)
{
    uint64_t pages;
    return np_system_file_number(NP_SYSTEM_ROOT, reserved_path, &pages) ? (long)pages : -1;
}

static void reserve_pages(long pages)
{
    FILE *file = fopen(reserved_path, "w");
    if (file == NULL)
        return;
    fprintf(file, "%ld\n", pages);
    fclose(file);
}

static long pages_before = -1;

/* Eight free huge pages of 2 MiB, or pages_before -1. */
static void reserve_eight(void)
{
    struct stat status;
    pages_before = -1;
    if (access(reserved_path, W_OK) != 0 || stat("/sys/kernel/mm/hugepages/hugepages-2048kB", &status) != 0)
        return;
    pages_before = reserved_pages();
    reserve_pages(pages_before + 8);
}

static void restore_pages(void)
{
    if (pages_before >= 0)
        reserve_pages(pages_before);
}

static bool has_eight(const char *test)
{
    if (pages_before >= 0 && np_budget_huge_pages(NP_SYSTEM_ROOT, first_node(), 2 * MIB) >= 8)
        return true;
    not_run(test, "8 huge pages of 2 MiB could not be reserved (root, vm.nr_hugepages)");
    return false;
}

START_TEST(hugetlb_memory_is_on_huge_pages)
{
    if (!has_eight("hugetlb_memory_is_on_huge_pages"))
        return;
    int node = first_node();
    static const uint64_t flags[] = {NUMAPOOL_HUGE_2M, 0, NUMAPOOL_HUGE_2M | NUMAPOOL_PAGES_FALLBACK};
    for (int i = 0; i < 3; i++)
        for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
            struct np_memory memory;
            uint64_t before = np_budget_huge_pages(NP_SYSTEM_ROOT, node, 2 * MIB);
            size_t bytes = 4 * MIB - 100;
            ck_assert_msg(np_memory_create(&memory, "payload", bytes, node, flags[i], sharing) == 0, "%s",
                          np_error_sentence());
            ck_assert_uint_eq(memory.bytes, 4 * MIB);
            ck_assert_uint_eq(memory.page_bytes, 2 * MIB);
            ck_assert(!memory.transparent);
            ck_assert_int_eq(memory.fd >= 0, sharing == NP_SHARED);
            ck_assert_uint_eq(np_budget_huge_pages(NP_SYSTEM_ROOT, node, 2 * MIB), before - 2);
            ck_assert_uint_eq(misplaced(&memory, node), 0);
            ck_assert_uint_eq(misplaced(&memory, node + 1), 2);
            ck_assert_int_ne(status_of_child(set_byte, memory.address), 0);
            if (sharing == NP_SHARED) {
                void *again;
                ck_assert_int_eq(np_memory_map(&again, memory.fd, 4096, true, true, "payload"), -EINVAL);
                ck_assert_int_eq(np_memory_map(&again, memory.fd, memory.bytes, true, true, "payload"), 0);
                strcpy(again, "payment");
                ck_assert_str_eq(memory.address, "payment");
                np_memory_unmap(again, memory.bytes);
                ck_assert_int_eq(ftruncate(memory.fd, 2 * MIB), -1);
            }
            np_memory_destroy(&memory);
            ck_assert_uint_eq(np_budget_huge_pages(NP_SYSTEM_ROOT, node, 2 * MIB), before);
        }
}
END_TEST

START_TEST(small_memory_wastes_no_huge_page)
{
    struct np_memory memory;
    if (!has_eight("small_memory_wastes_no_huge_page"))
        return;
    ck_assert_int_eq(np_memory_create(&memory, "words", 4096, -1, 0, NP_SHARED), 0);
    ck_assert_uint_eq(memory.bytes, 4096);
    np_memory_destroy(&memory);
    ck_assert_int_eq(np_memory_create(&memory, "words", 2 * MIB + 4096, -1, 0, NP_SHARED), 0);
    ck_assert_uint_eq(memory.bytes, 2 * MIB + 4096);
    np_memory_destroy(&memory);
    ck_assert_int_eq(np_memory_create(&memory, "words", 4096, -1, NUMAPOOL_HUGE_2M, NP_SHARED), 0);
    ck_assert_uint_eq(memory.bytes, 2 * MIB);
    ck_assert_uint_eq(memory.page_bytes, 2 * MIB);
    np_memory_destroy(&memory);
}
END_TEST

START_TEST(too_few_huge_pages_are_counted_before_any_is_taken)
{
    struct np_memory memory;
    int node = first_node();
    uint64_t unused = np_budget_huge_pages(NP_SYSTEM_ROOT, node, 2 * MIB);
    size_t bytes = (unused + 1) * 2 * MIB;
    ck_assert_int_eq(np_memory_create(&memory, "payload", bytes, node, NUMAPOOL_HUGE_2M, NP_SHARED), -ENOSPC);
    assert_sentence_has("nr_hugepages");
    ck_assert_uint_eq(np_budget_huge_pages(NP_SYSTEM_ROOT, node, 2 * MIB), unused);
    uint64_t flags = NUMAPOOL_HUGE_2M | NUMAPOOL_PAGES_FALLBACK;
    ck_assert_msg(np_memory_create(&memory, "payload", bytes, node, flags, NP_SHARED) == 0, "%s", np_error_sentence());
    ck_assert(memory.transparent || memory.page_bytes == 4096);
    ck_assert_uint_eq(np_budget_huge_pages(NP_SYSTEM_ROOT, node, 2 * MIB), unused);
    np_memory_destroy(&memory);
}
END_TEST

START_TEST(transparent_memory_is_on_huge_pages_or_refused)
{
    for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
        struct np_memory memory;
        int node = first_node();
        int code = np_memory_create(&memory, "payload", 7 * MIB, node, NUMAPOOL_HUGE_THP, sharing);
        if (code < 0) {
            ck_assert_int_eq(code, -ENOSPC);
            assert_sentence_has("transparent_hugepage");
            not_run(sharing == NP_SHARED ? "transparent huge pages, shared" : "transparent huge pages, private",
                    np_error_sentence());
            continue;
        }
        ck_assert_uint_eq(memory.bytes, 8 * MIB);
        ck_assert_uint_eq(memory.page_bytes, 2 * MIB);
        ck_assert(memory.transparent);
        ck_assert_uint_eq((uintptr_t)memory.address % (2 * MIB), 0);
        ck_assert_uint_eq(np_pages_transparent_bytes(memory.address, memory.bytes), 8 * MIB);
        ck_assert_uint_eq(misplaced(&memory, node), 0);
        if (sharing == NP_SHARED) {
            void *again;
            ck_assert_int_eq(np_memory_map(&again, memory.fd, memory.bytes, true, true, "payload"), 0);
            ck_assert_uint_eq(np_pages_transparent_bytes(again, memory.bytes), 8 * MIB);
            np_memory_unmap(again, memory.bytes);
        }
        np_memory_destroy(&memory);
    }
}
END_TEST

static bool huge_pages_come_unasked(void)
{
    char text[64];
    return np_system_file_read(NP_SYSTEM_ROOT, "/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text) > 0 &&
           strstr(text, "[always]") != NULL;
}

START_TEST(words_are_on_huge_pages_as_far_as_these_reach_and_take_no_page_more)
{
    for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
        struct np_memory memory;
        int node = first_node();
        size_t bytes = 5 * MIB + 5000;
        ck_assert_msg(np_memory_create(&memory, "words", bytes, node, NP_PAGES_MIXED, sharing) == 0, "%s", np_error_sentence());
        ck_assert_uint_eq(memory.bytes, 5 * MIB + 8 * KIB);
        ck_assert_uint_eq(memory.page_bytes, 4 * KIB); /* not all of it is on greater ones */
        ck_assert(!memory.transparent);
        ck_assert_uint_eq(misplaced(&memory, node), 0);
        ck_assert_uint_eq(misplaced(&memory, node + 1), memory.bytes / (4 * KIB));
        ck_assert_uint_eq(np_pages_transparent_bytes(memory.address, memory.bytes), memory.huge_bytes);
        if (memory.huge_bytes == 0)
            not_run("words_are_on_huge_pages_as_far_as_these_reach_and_take_no_page_more", "no transparent huge pages here");
        else
            ck_assert_uint_eq(memory.huge_bytes, 4 * MIB);
        memset(memory.address, 1, memory.bytes);
        np_memory_destroy(&memory);

        ck_assert_int_eq(np_memory_create(&memory, "words", 2 * MIB - 1, node, NP_PAGES_MIXED, sharing), 0);
        ck_assert_uint_eq(memory.bytes, 2 * MIB);
        if (!huge_pages_come_unasked())
            ck_assert_uint_eq(memory.huge_bytes, 0); /* less than one was asked for */
        ck_assert_uint_eq(misplaced(&memory, node), 0);
        np_memory_destroy(&memory);
    }
}
END_TEST

START_TEST(both_ways_to_ask_for_transparent_pages_agree)
{
    struct np_memory memory;
    for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
        ck_assert_int_eq(np_memory_create(&memory, "words", 7 * MIB, first_node(), NP_PAGES_MIXED, sharing), 0);
        FILE *smaps = fopen("/proc/self/smaps", "re");
        ck_assert_ptr_nonnull(smaps);
        ck_assert_uint_eq(np_pages_transparent_bytes_in(smaps, memory.address, memory.bytes),
                          np_pages_transparent_bytes(memory.address, memory.bytes));
        fclose(smaps);
        np_memory_destroy(&memory);
    }
}
END_TEST

int main(void)
{
    have_huge_pages_alone();
    Suite *suite = suite_create("placement");
    TCase *plain = tcase_create("this machine"), *huge = tcase_create("huge pages");
    tcase_set_timeout(plain, 120);
    tcase_set_timeout(huge, 120);
    tcase_add_unchecked_fixture(huge, reserve_eight, restore_pages);
    tcase_add_test(plain, small_memory_is_there_and_on_its_node);
    tcase_add_test(plain, large_memory_is_there_in_every_slice);
    tcase_add_test(plain, sealed_memory_keeps_its_size_and_is_nobody_elses);
    tcase_add_test(plain, what_runs_over_an_end_faults);
    tcase_add_test(plain, a_forked_child_has_no_part_in_it);
    tcase_add_test(plain, others_map_it_and_see_the_same);
    tcase_add_test(plain, pages_without_a_table_entry_are_counted);
    tcase_add_test(plain, what_could_fault_is_not_mapped);
    tcase_add_test(plain, absurd_wishes_take_nothing);
    tcase_add_test(plain, a_node_that_is_not_there_is_named);
    tcase_add_test(huge, hugetlb_memory_is_on_huge_pages);
    tcase_add_test(huge, small_memory_wastes_no_huge_page);
    tcase_add_test(huge, too_few_huge_pages_are_counted_before_any_is_taken);
    tcase_add_test(huge, transparent_memory_is_on_huge_pages_or_refused);
    tcase_add_test(huge, words_are_on_huge_pages_as_far_as_these_reach_and_take_no_page_more);
    tcase_add_test(huge, both_ways_to_ask_for_transparent_pages_agree);
    suite_add_tcase(suite, plain);
    suite_add_tcase(suite, huge);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
