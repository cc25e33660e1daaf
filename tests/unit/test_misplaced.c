/* SPDX-License-Identifier: MIT
 * Memory of which any page is elsewhere is not given out. Where pages are is the kernel's to say: here it is made to say of one
 * page that it is on another node, which works on machines that have but one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <numaif.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "numa/placement.h"
#include "numapool.h"
#include "placement_help.h"

#define NOWHERE SIZE_MAX

static size_t lie_at = NOWHERE; /* of the memory, from its start */
static const char *start;       /* the first page that was asked about */
static unsigned lies;
static bool refused;

/* Instead of libnuma's. */
long move_pages(int pid, unsigned long count, void **pages, const int *nodes, int *status, int flags)
{
    long result = syscall(SYS_move_pages, pid, count, pages, nodes, status, flags);
    if (result != 0) {
        refused = true;
        return result;
    }
    if (!start)
        start = pages[0];
    for (unsigned long i = 0; i < count; i++)
        if (lie_at != NOWHERE && (const char *)pages[i] == start + lie_at) {
            status[i]++;
            lies++;
        }
    return 0;
}

static int create(size_t bytes, uint64_t page_flags, enum np_sharing sharing, size_t where)
{
    struct np_memory memory;
    int node;
    ck_assert_int_ge(np_nodes_with_memory(&node, 1), 1);
    lie_at = where;
    start = NULL;
    lies = 0;
    int code = np_memory_create(&memory, "words", bytes, node, page_flags, sharing);
    if (code == 0)
        np_memory_destroy(&memory);
    return code;
}

static void expect_each_page_counts(size_t bytes, uint64_t page_flags, const size_t *offsets, size_t count)
{
    for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
        int code = create(bytes, page_flags, sharing, NOWHERE);
        ck_assert_msg(code == 0, "%s", np_error_sentence());
        if (refused) {
            not_run("where pages are", "move_pages is refused here");
            return;
        }
        for (size_t i = 0; i < count; i++) {
            ck_assert_msg(create(bytes, page_flags, sharing, offsets[i]) == -ENOMEM, "a page at %zu was not looked at", offsets[i]);
            ck_assert_uint_gt(lies, 1); /* looked at again before it is given up */
            assert_sentence_has("are not on node");
        }
    }
}

START_TEST(no_page_of_small_ones_may_be_elsewhere)
{
    static const size_t offsets[] = { 0, 4096, 64 * KIB - 4096 };
    expect_each_page_counts(64 * KIB, 0, offsets, 3);
}
END_TEST

START_TEST(no_page_of_huge_ones_may_be_elsewhere)
{
    static const size_t offsets[] = { 0, 2 * MIB, 6 * MIB };
    expect_each_page_counts(8 * MIB, NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK, offsets, 3);
}
END_TEST

START_TEST(no_page_of_huge_and_small_ones_may_be_elsewhere)
{
    static const size_t offsets[] = { 0, 2 * MIB, 4 * MIB, 4 * MIB + 4096, 5 * MIB - 4096 };
    expect_each_page_counts(5 * MIB, NP_PAGES_MIXED, offsets, 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("misplaced");
    TCase *pages = tcase_create("pages");
    tcase_set_timeout(pages, 60);
    tcase_add_test(pages, no_page_of_small_ones_may_be_elsewhere);
    tcase_add_test(pages, no_page_of_huge_ones_may_be_elsewhere);
    tcase_add_test(pages, no_page_of_huge_and_small_ones_may_be_elsewhere);
    suite_add_tcase(suite, pages);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
