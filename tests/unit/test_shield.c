/* SPDX-License-Identifier: MIT
 * Memory that is taken away: a process with a shield goes on, and dies of every other SIGBUS as ever. Each test is a
 * process of its own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "huge_help.h"
#include "core/error.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/shield.h"
#include "numapool.h"
#include "placement_help.h"

#define PAGE NP_SMALL_PAGE_BYTES

/* A memory file that can be made shorter than its mapping: touching what is beyond its end is a SIGBUS, without using
 * memory up. */
static char *mapped_file(size_t bytes, int *fd)
{
    *fd = memfd_create("test", MFD_CLOEXEC);
    ck_assert_int_ge(*fd, 0);
    ck_assert_int_eq(ftruncate(*fd, (off_t)bytes), 0);
    char *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    ck_assert_ptr_ne(address, MAP_FAILED);
    memset(address, 'x', bytes);
    return address;
}

START_TEST(what_is_gone_reads_as_zeros_and_the_rest_as_it_was)
{
    int fd;
    char *memory = mapped_file(4 * PAGE, &fd);
    ck_assert_int_eq(np_shield_start(), 0);
    np_shield_put(memory, 4 * PAGE, PAGE, "four pages");
    ck_assert_int_eq(ftruncate(fd, 2 * PAGE), 0);
    volatile char *bytes = memory;
    ck_assert_int_eq(bytes[3 * PAGE + 17], 0);
    ck_assert_int_eq(bytes[2 * PAGE - 1], 'x');
    bytes[3 * PAGE] = 'y'; /* private from now on */
    bytes[2 * PAGE + 5] = 'z'; /* a write finds it gone too */
    ck_assert_int_eq(bytes[2 * PAGE + 6], 0);
    ck_assert_int_eq(ftruncate(fd, 4 * PAGE), 0);
    ck_assert_int_eq(bytes[3 * PAGE], 'y');
    bytes[0] = 'w'; /* and what was not gone is shared as before */
    char byte;
    ck_assert_int_eq((int)pread(fd, &byte, 1, 0), 1);
    ck_assert_int_eq(byte, 'w');
}
END_TEST

START_TEST(losses_are_told_once_and_by_name)
{
    int fd, other;
    char *memory = mapped_file(4 * PAGE, &fd), *whole = mapped_file(PAGE, &other);
    struct np_shield_loss loss;
    ck_assert_int_eq(np_shield_start(), 0);
    np_shield_put(whole, PAGE, PAGE, "one page");
    np_shield_put(memory, 4 * PAGE, PAGE, "four pages");
    ck_assert(!np_shield_next_loss(&loss));
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    volatile char *bytes = memory;
    ck_assert_int_eq(bytes[0] + bytes[PAGE], 0);
    ck_assert(np_shield_next_loss(&loss));
    ck_assert_str_eq(loss.what, "four pages");
    ck_assert_ptr_eq(loss.address, memory);
    ck_assert_uint_eq(loss.pages, 2);
    ck_assert(loss.first);
    ck_assert(!np_shield_next_loss(&loss));
    ck_assert_int_eq(bytes[2 * PAGE], 0);
    ck_assert(np_shield_next_loss(&loss));
    ck_assert_uint_eq(loss.pages, 1);
    ck_assert(!loss.first);
}
END_TEST

START_TEST(after_many_pages_all_of_it_is_replaced)
{
    enum { PAGES = 4 * NP_SHIELD_PAGES_MAX };
    int fd;
    char *memory = mapped_file(PAGES * PAGE, &fd);
    struct np_shield_loss loss;
    ck_assert_int_eq(np_shield_start(), 0);
    np_shield_put(memory, PAGES * PAGE, PAGE, "many pages");
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    volatile char *bytes = memory;
    for (size_t i = 0; i < PAGES; i += 2) /* every other one: each would be a mapping of its own */
        ck_assert_int_eq(bytes[i * PAGE], 0);
    ck_assert(np_shield_next_loss(&loss));
    ck_assert_uint_eq(loss.pages, NP_SHIELD_PAGES_MAX);
}
END_TEST

START_TEST(what_was_unmapped_is_shielded_no_more)
{
    struct np_memory made;
    int fd = memfd_create("another's", MFD_CLOEXEC);
    np_shield_start();
    if (np_memory_create(&made, "a test", PAGE, -1, 0, NP_SHARED) != 0)
        return;
    char *address = made.address;
    np_memory_destroy(&made);
    /* where it was lies something else now */
    volatile char *bytes = mmap(address, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    (void)bytes[0];
}
END_TEST

static int unshielded_fault(void)
{
    int fd;
    volatile char *bytes = mapped_file(PAGE, &fd), *other;
    int other_fd;
    other = mapped_file(PAGE, &other_fd);
    np_shield_start();
    np_shield_put((void *)(uintptr_t)other, PAGE, PAGE, "another");
    ftruncate(fd, 0);
    return bytes[0];
}

START_TEST(a_fault_elsewhere_ends_the_process)
{
    unshielded_fault();
}
END_TEST

START_TEST(a_dropped_mapping_faults_as_ever)
{
    int fd;
    volatile char *bytes = mapped_file(PAGE, &fd);
    np_shield_start();
    np_shield_put((void *)(uintptr_t)bytes, PAGE, PAGE, "a page");
    np_shield_drop((const void *)(uintptr_t)bytes);
    ftruncate(fd, 0);
    (void)bytes[0];
}
END_TEST

START_TEST(a_signal_that_was_sent_ends_the_process)
{
    np_shield_start();
    raise(SIGBUS);
}
END_TEST

/* ---------------------------------------------------------------- huge pages */

static long huge_pages(const char *which)
{
    char path[128], text[32] = "";
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", which);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    long number = fd >= 0 && read(fd, text, sizeof text - 1) > 0 ? atol(text) : -1;
    if (fd >= 0)
        close(fd);
    return number;
}

static void set_huge_pages(long number)
{
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "we");
    if (!file)
        return;
    fprintf(file, "%ld\n", number);
    fclose(file);
}

static long huge_pages_before = -1;

static void reserve_two(void)
{
    huge_pages_before = huge_pages("nr_hugepages");
    if (huge_pages_before >= 0 && geteuid() == 0)
        set_huge_pages(huge_pages_before + 2);
}

static void give_back(void)
{
    if (huge_pages_before >= 0 && geteuid() == 0)
        set_huge_pages(huge_pages_before);
}

START_TEST(a_hole_in_huge_pages_that_nobody_can_fill_is_survived)
{
    if (geteuid() != 0 || huge_pages("free_hugepages") < 2) {
        not_run("a_hole_in_huge_pages_that_nobody_can_fill_is_survived",
                "2 huge pages of 2 MiB could not be reserved (root, vm.nr_hugepages)");
        return;
    }
    struct np_memory memory;
    struct np_shield_loss loss;
    ck_assert_int_eq(np_shield_start(), 0);
    ck_assert_msg(np_memory_create(&memory, "huge pages", 2 * NP_HUGE_PAGE_BYTES, -1, NUMAPOOL_HUGE_2M, NP_SHARED) == 0,
                  "%s",
                  np_error_sentence());
    volatile char *bytes = memory.address;
    bytes[5] = 'x';
    bytes[NP_HUGE_PAGE_BYTES + 5] = 'y';
    /* sealed against shrinking, and a hole can be made all the same; then the page goes away for good */
    ck_assert_int_eq(fallocate(memory.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)NP_HUGE_PAGE_BYTES,
                               (off_t)NP_HUGE_PAGE_BYTES), 0);
    int other = memfd_create("user of the rest", MFD_HUGETLB | MFD_CLOEXEC);
    while (huge_pages("free_hugepages") > 0) {
        static off_t used;
        if (fallocate(other, 0, used, (off_t)NP_HUGE_PAGE_BYTES) != 0)
            break;
        used += (off_t)NP_HUGE_PAGE_BYTES;
    }
    ck_assert_int_eq(bytes[NP_HUGE_PAGE_BYTES + 5], 0); /* a SIGBUS here */
    bytes[2 * NP_HUGE_PAGE_BYTES - 1] = 'z';
    ck_assert_int_eq(bytes[5], 'x');
    ck_assert(np_shield_next_loss(&loss));
    ck_assert_uint_eq(loss.pages, 1);
    ck_assert_str_eq(loss.what, "huge pages");
    close(other);
    np_memory_destroy(&memory);
}
END_TEST

int main(void)
{
    have_huge_pages_alone();
    Suite *suite = suite_create("shield");
    TCase *losses = tcase_create("losses"), *huge = tcase_create("huge pages");
    tcase_add_test(losses, what_is_gone_reads_as_zeros_and_the_rest_as_it_was);
    tcase_add_test(losses, losses_are_told_once_and_by_name);
    tcase_add_test(losses, after_many_pages_all_of_it_is_replaced);
    tcase_add_test_raise_signal(losses, what_was_unmapped_is_shielded_no_more, SIGBUS);
    tcase_add_test_raise_signal(losses, a_fault_elsewhere_ends_the_process, SIGBUS);
    tcase_add_test_raise_signal(losses, a_dropped_mapping_faults_as_ever, SIGBUS);
    tcase_add_test_raise_signal(losses, a_signal_that_was_sent_ends_the_process, SIGBUS);
    tcase_add_unchecked_fixture(huge, reserve_two, give_back);
    tcase_add_test(huge, a_hole_in_huge_pages_that_nobody_can_fill_is_survived);
    suite_add_tcase(suite, losses);
    suite_add_tcase(suite, huge);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
