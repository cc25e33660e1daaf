/* SPDX-License-Identifier: MIT
 * Where pages are is what the kernel says of each of them, whatever kind they are of; and what is to be moved is a part of a
 * memory file and nothing else. That pages really move is tested where there are several nodes (tests/guest). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/where.h"
#include "numapool.h"
#include "placement_help.h"

/* What the kernel is made to say, of one address. */
static uintptr_t lie_at, deny_at;
static size_t lie_every; /* of pages that are asked about one after the other; 0: none */
static bool all_denied, refused;

/* Instead of libnuma's. */
long move_pages(int pid, unsigned long count, void **pages, const int *nodes, int *status, int flags)
{
    long result = syscall(SYS_move_pages, pid, count, pages, nodes, status, flags);
    refused |= result < 0 && (errno == EPERM || errno == ENOSYS);
    for (unsigned long i = 0; result >= 0 && i < count && !nodes; i++) {
        if (all_denied || (uintptr_t)pages[i] == deny_at)
            status[i] = -ENOENT;
        else if ((uintptr_t)pages[i] == lie_at ||
                 (lie_every > 0 && (uintptr_t)pages[i] / NP_SMALL_PAGE_BYTES % lie_every == 0))
            status[i]++;
    }
    return result;
}

static void believe(void)
{
    lie_at = deny_at = 0;
    lie_every = 0;
    all_denied = false;
}

static int node;

static void make(struct np_memory *memory, size_t bytes, uint64_t flags)
{
    believe();
    ck_assert_int_eq(np_nodes_with_memory(&node, 1) >= 1, 1);
    ck_assert_msg(np_memory_create(memory, "payload", bytes, node, flags, NP_SHARED) == 0, "%s", np_error_sentence());
}

static bool can_ask(const char *test)
{
    if (refused)
        not_run(test, "move_pages is refused here");
    return !refused;
}

START_TEST(every_page_is_counted_where_it_is)
{
    struct np_memory memory;
    struct np_where where = { 0 };
    make(&memory, 64 * KIB, 0);
    lie_at = (uintptr_t)memory.address + 3 * 4096;
    ck_assert_int_eq(np_memory_where(memory.address, memory.bytes, 4096, false, node, &where), 0);
    if (can_ask("every_page_is_counted_where_it_is")) {
        ck_assert_uint_eq(where.pages, 16);
        ck_assert_uint_eq(where.elsewhere, 1);
        ck_assert_uint_eq(where.split, 0);
        ck_assert_uint_eq(where.count, 2);
        ck_assert_int_eq(where.on[0].node, node);
        ck_assert_uint_eq(where.on[0].pages, 15);
        ck_assert_int_eq(where.on[1].node, node + 1);
        ck_assert_uint_eq(where.on[1].pages, 1);
    }
    np_memory_destroy(&memory);
}
END_TEST

START_TEST(counts_of_slices_add_up)
{
    struct np_memory memory;
    struct np_where whole = { 0 }, slices = { 0 };
    make(&memory, 64 * KIB, 0);
    ck_assert_int_eq(np_file_where(memory.fd, 0, memory.bytes, 4096, false, node, &whole), 0);
    for (size_t i = 0; i < memory.bytes; i += 16 * KIB)
        ck_assert_int_eq(np_file_where(memory.fd, i, 16 * KIB, 4096, false, node, &slices), 0);
    ck_assert_uint_eq(whole.pages, 16);
    ck_assert_uint_eq(slices.pages, 16);
    ck_assert_uint_eq(slices.count, whole.count);
    ck_assert_uint_eq(slices.elsewhere, whole.elsewhere);
    np_memory_destroy(&memory);
}
END_TEST

START_TEST(more_nodes_than_are_told_apart_are_the_last)
{
    struct np_where where = { 0 };
    struct np_memory memory;
    make(&memory, 64 * KIB, 0);
    for (int i = 0; i < NP_WHERE_NODES + 3; i++) {
        where.count = i < NP_WHERE_NODES ? (unsigned)i : NP_WHERE_NODES;
        for (unsigned at = 0; at < where.count; at++) /* none of them is the memory's */
            where.on[at].node = 1000 + (int)at;
        ck_assert_int_eq(np_memory_where(memory.address, 4096, 4096, false, node, &where), 0);
        ck_assert_uint_le(where.count, NP_WHERE_NODES);
    }
    ck_assert_uint_eq(where.pages, NP_WHERE_NODES + 3);
    np_memory_destroy(&memory);
}
END_TEST

/* As the kernel does of pages of devices (DAX). */
START_TEST(pages_that_move_pages_does_not_know_are_asked_about_otherwise)
{
    struct np_memory memory;
    struct np_where where = { 0 };
    make(&memory, 64 * KIB, 0);
    all_denied = true;
    ck_assert_int_eq(np_memory_where(memory.address, memory.bytes, 4096, false, node, &where), 0);
    if (can_ask("pages_that_move_pages_does_not_know_are_asked_about_otherwise")) {
        ck_assert_uint_eq(where.elsewhere, 0);
        ck_assert_uint_eq(where.count, 1);
        ck_assert_int_eq(where.on[0].node, node);
    }
    np_memory_destroy(&memory);
}
END_TEST

START_TEST(a_page_that_is_not_there_is_nowhere_and_is_not_made)
{
    struct np_memory memory;
    struct np_where where = { 0 };
    make(&memory, 64 * KIB, 0);
    ck_assert_int_eq(fallocate(memory.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096), 0);
    for (int i = 0; i < 2; i++) { /* looking changes nothing */
        where = (struct np_where){ 0 };
        ck_assert_int_eq(np_memory_where(memory.address, memory.bytes, 4096, false, -1, &where), 0);
        if (can_ask("a_page_that_is_not_there_is_nowhere_and_is_not_made"))
            ck_assert_uint_eq(where.elsewhere, 1);
    }
    if (!refused)
        ck_assert_int_eq(where.on[1].node, NP_WHERE_NOWHERE);
    np_memory_destroy(&memory);
}
END_TEST

START_TEST(a_transparent_page_that_was_split_is_told_and_each_part_looked_at)
{
    struct np_memory memory;
    struct np_where where = { 0 };
    make(&memory, 8 * MIB, NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK);
    if (memory.page_bytes != NP_HUGE_PAGE_BYTES) {
        not_run("a_transparent_page_that_was_split_is_told", "no transparent huge pages are to be had here");
        np_memory_destroy(&memory);
        return;
    }
    ck_assert_int_eq(np_file_where(memory.fd, 0, memory.bytes, memory.page_bytes, true, node, &where), 0);
    if (!can_ask("a_transparent_page_that_was_split_is_told")) {
        np_memory_destroy(&memory);
        return;
    }
    ck_assert_uint_eq(where.pages, 4);
    ck_assert_uint_eq(where.split, 0);
    ck_assert_uint_eq(where.elsewhere, 0);

    /* A hole splits it; what fills the hole is a small page. */
    ck_assert_int_eq(fallocate(memory.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(2 * MIB + 5 * 4096), 4096), 0);
    where = (struct np_where){ 0 };
    ck_assert_int_eq(np_file_where(memory.fd, 0, memory.bytes, memory.page_bytes, true, node, &where), 0);
    ck_assert_uint_eq(where.pages, 4);
    ck_assert_uint_eq(where.split, 1);
    ck_assert_uint_eq(where.elsewhere, 0);

    /* One part in 511 elsewhere: none of the others says so. */
    ck_assert_int_eq(np_pages_prefault(memory.address, memory.bytes, 4096, true), 0);
    lie_at = (uintptr_t)memory.address + 2 * MIB + 77 * 4096;
    where = (struct np_where){ 0 };
    ck_assert_int_eq(np_memory_where(memory.address, memory.bytes, memory.page_bytes, true, node, &where), 0);
    ck_assert_uint_eq(where.split, 1);
    ck_assert_uint_eq(where.elsewhere, 1);
    ck_assert_int_eq(where.on[1].node, node + 1);
    uint64_t misplaced = 0;
    ck_assert_int_eq(np_memory_verify(memory.address, memory.bytes, memory.page_bytes, node, &misplaced), 0);
    ck_assert_uint_eq(misplaced, 1);
    np_memory_destroy(&memory);
}
END_TEST

/* ---------------------------------------------------------------- moving */

START_TEST(only_a_part_of_a_memory_file_is_moved)
{
    struct np_memory memory;
    struct np_moved moved;
    make(&memory, 64 * KIB, 0);
    const struct {
        uint64_t offset;
        size_t bytes;
        int node;
    } wrong[] = { { 0, 0, 0 },
                  { 1, 4096, 0 },
                  { 0, 4095, 0 },
                  { 0, 68 * KIB, 0 },
                  { 64 * KIB, 4096, 0 },
                  { UINT64_MAX - 4095, 4096, 0 },
                  { 0, 4096, -1 },
                  { 0, 4096, 1024 },
                  { 0, SIZE_MAX - 4095, 0 },
                  { 0, NP_WHERE_SLICE_BYTES + 4096, 0 },
                  { 4096, 64 * KIB, 0 } };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_msg(np_file_move(memory.fd, wrong[i].offset, wrong[i].bytes, wrong[i].node, &moved) == -EINVAL, "case %zu",
                      i);
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    ck_assert_int_eq(np_file_move(ends[0], 0, 4096, 0, &moved), -EINVAL);
    ck_assert_int_eq(np_file_move(-1, 0, 4096, 0, &moved), -EINVAL);
    close(ends[0]);
    close(ends[1]);
    np_memory_destroy(&memory);
}
END_TEST

/* The keeper may move what others have mapped, and a worker that is taken over could hand it any file that it can read. */
START_TEST(only_files_that_are_sealed_as_ours_are_moved)
{
    struct np_moved moved;
    char path[] = "/dev/shm/numapool-where-XXXXXX";
    int fds[] = { memfd_create("not sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING), mkstemp(path) };
    if (fds[1] >= 0)
        unlink(path);
    else
        not_run("only_files_that_are_sealed: of others", "/dev/shm cannot be written to");
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (i > 0 && fds[i] < 0)
            continue;
        ck_assert_int_eq(ftruncate(fds[i], 4096), 0);
        ck_assert_msg(np_file_move(fds[i], 0, 4096, node, &moved) == -EINVAL, "file %zu", i);
        struct stat status;
        ck_assert_int_eq(fstat(fds[i], &status), 0);
        ck_assert_int_eq(status.st_blocks, 0); /* nothing was made in it, either */
        close(fds[i]);
    }
}
END_TEST

START_TEST(what_is_at_home_stays_and_a_node_that_is_not_there_is_named)
{
    struct np_memory memory;
    struct np_moved moved;
    make(&memory, 3 * MIB, NP_PAGES_MIXED);
    for (size_t i = 0; i < memory.bytes; i += 509)
        ((volatile unsigned char *)memory.address)[i] = (unsigned char)(i * 7 >> 3);
    int result = np_file_move(memory.fd, 0, memory.bytes, node, &moved);
    if (result == -EPERM || result == -ENOSYS) {
        not_run("what_is_at_home_stays", "move_pages is refused here");
        np_memory_destroy(&memory);
        return;
    }
    ck_assert_msg(result == 0, "%s", np_error_sentence());
    ck_assert_uint_eq(moved.home, 0);
    ck_assert_uint_eq(moved.elsewhere, 0);
    ck_assert_int_eq(moved.code, 0);

    ck_assert_int_eq(np_file_move(memory.fd, 0, memory.bytes, NP_WHERE_NODES * 30, &moved), 0); /* no machine has it */
    ck_assert_uint_eq(moved.home, 0);
    ck_assert_uint_eq(moved.elsewhere, memory.bytes / 4096);
    ck_assert_msg(moved.code == -ENODEV || moved.code == -EPERM, "%d", moved.code);
    for (size_t i = 0; i < memory.bytes; i += 509)
        ck_assert_uint_eq(((volatile unsigned char *)memory.address)[i], (unsigned char)(i * 7 >> 3));
    np_memory_destroy(&memory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("where");
    TCase *pages = tcase_create("pages");
    tcase_set_timeout(pages, 60);
    tcase_add_checked_fixture(pages, believe, NULL);
    tcase_add_test(pages, every_page_is_counted_where_it_is);
    tcase_add_test(pages, counts_of_slices_add_up);
    tcase_add_test(pages, more_nodes_than_are_told_apart_are_the_last);
    tcase_add_test(pages, pages_that_move_pages_does_not_know_are_asked_about_otherwise);
    tcase_add_test(pages, a_page_that_is_not_there_is_nowhere_and_is_not_made);
    tcase_add_test(pages, a_transparent_page_that_was_split_is_told_and_each_part_looked_at);
    tcase_add_test(pages, only_a_part_of_a_memory_file_is_moved);
    tcase_add_test(pages, only_files_that_are_sealed_as_ours_are_moved);
    tcase_add_test(pages, what_is_at_home_stays_and_a_node_that_is_not_there_is_named);
    suite_add_tcase(suite, pages);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
