/* SPDX-License-Identifier: MIT
 * Placement where the system is poorer or stricter than here: calls refused by a container, old kernels, cgroup limits. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "numa/pages.h"
#include "numa/placement.h"
#include "numapool.h"
#include "placement_help.h"

/* In a child, where Check's assertions do not reach the runner in order. */
static void expect(bool held, const char *what)
{
    if (held)
        return;
    fprintf(stderr, "child: expected %s; last sentence: %s\n", what, np_error_sentence());
    _exit(1);
}

/* One system call that fails with `code` when (its argument & mask) == value. */
struct refusal {
    unsigned number, argument;
    uint32_t mask, value, code;
};

static bool refuse(const struct refusal *refusal)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->number, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, args) + 8 * refusal->argument),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, refusal->mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refusal->code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof program[0], program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static const struct refusal placement_calls[] = {
    {SYS_mbind, 0, 0, 0, EPERM}, {SYS_move_pages, 0, 0, 0, EPERM}, {SYS_get_mempolicy, 0, 0, 0, EPERM}};

static void work_without_placement_calls(void *argument)
{
    (void)argument;
    for (int i = 0; i < 3; i++)
        if (!refuse(&placement_calls[i]))
            _exit(77);
    struct np_memory memory;
    int nodes[2], count = np_nodes_with_memory(nodes, 2);
    int code = np_memory_create(&memory, "words", 64 * KIB, nodes[0], 0, NP_SHARED);
    if (count == 1) {
        expect(code == 0, "memory on the only node there is");
        uint64_t pages;
        expect(np_memory_verify(memory.address, memory.bytes, 4096, nodes[0], &pages) == -EPERM, "verify to say -EPERM");
        expect(strstr(np_error_sentence(), "move_pages") != NULL, "the refused call's name");
        np_memory_destroy(&memory);
    } else {
        expect(code == -EPERM, "-EPERM where there are several nodes");
        expect(strstr(np_error_sentence(), "mbind") != NULL, "the refused call's name");
    }
    expect(np_memory_create(&memory, "words", 64 * KIB, -1, 0, NP_PRIVATE) == 0, "memory on any node");
    np_memory_destroy(&memory);
}

START_TEST(a_container_that_refuses_placement_calls_is_told_or_served)
{
    int status = status_of_child(work_without_placement_calls, NULL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        not_run("a_container_that_refuses_placement_calls_is_told_or_served", "no seccomp filters here");
    else
        ck_assert_int_eq(status, 0);
}
END_TEST

/* As a container does that has CAP_SYS_NICE: it may bind, and not ask with move_pages(2). */
static void ask_without_move_pages(void *argument)
{
    (void)argument;
    if (!refuse(&placement_calls[1]))
        _exit(77);
    struct np_memory memory;
    int node;
    uint64_t pages;
    np_nodes_with_memory(&node, 1);
    expect(np_memory_create(&memory, "words", 6 * MIB, node, NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK, NP_SHARED) == 0, "bound memory");
    expect(np_memory_verify(memory.address, memory.bytes, 4096, node, &pages) == 0 && pages == 0, "every page there");
    expect(np_memory_verify(memory.address, memory.bytes, memory.page_bytes, node, &pages) == 0 && pages == 0, "every one of them");
    expect(np_memory_verify(memory.address, memory.bytes, 4096, node + 1, &pages) == 0 && pages == memory.bytes / 4096, "none elsewhere");
    np_memory_destroy(&memory);
}

START_TEST(where_move_pages_is_refused_pages_are_asked_one_by_one)
{
    int status = status_of_child(ask_without_move_pages, NULL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        not_run("where_move_pages_is_refused_pages_are_asked_one_by_one", "no seccomp filters here");
    else
        ck_assert_int_eq(status, 0);
}
END_TEST

/* MADV_POPULATE_READ is 22 and _WRITE 23; MADV_COLLAPSE is 25; MFD_NOEXEC_SEAL is 8. */
static const struct refusal old_kernel[] = {{SYS_madvise, 2, ~1u, 22, EINVAL},
                                            {SYS_madvise, 2, ~0u, 25, EINVAL},
                                            {SYS_memfd_create, 1, 8, 8, EINVAL}};

static void work_on_old_kernel(void *argument)
{
    (void)argument;
    for (int i = 0; i < 3; i++)
        if (!refuse(&old_kernel[i]))
            _exit(77);
    for (enum np_sharing sharing = NP_SHARED; sharing <= NP_PRIVATE; sharing++) {
        struct np_memory memory;
        int node;
        np_nodes_with_memory(&node, 1);
        uint64_t flags = NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK;
        expect(np_memory_create(&memory, "words", 6 * MIB, node, flags, sharing) == 0, "populated memory");
        bool huge = np_pages_transparent_bytes(memory.address, memory.bytes) == memory.bytes;
        expect(memory.transparent == huge, "the truth about transparent pages");
        expect(memory.page_bytes == (huge ? 2 * MIB : 4 * KIB), "the truth about page sizes");
        uint64_t pages;
        expect(np_memory_verify(memory.address, memory.bytes, 4096, node, &pages) == 0 && pages == 0, "every page there");
        if (sharing == NP_SHARED) {
            void *again;
            memset(memory.address, 7, memory.bytes);
            expect(np_memory_map(&again, memory.fd, memory.bytes, true, true, "words") == 0, "a second mapping");
            const char *bytes = again;
            for (size_t i = 0; i < memory.bytes; i++)
                expect(bytes[i] == 7, "prefault to leave the contents alone");
            expect(np_memory_verify(again, memory.bytes, 4096, node, &pages) == 0 && pages == 0, "every page mapped");
            np_memory_unmap(again, memory.bytes);
        }
        np_memory_destroy(&memory);
    }
}

START_TEST(kernels_without_populate_are_served)
{
    int status = status_of_child(work_on_old_kernel, NULL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        not_run("kernels_without_populate_are_served", "no seccomp filters here");
    else
        ck_assert_int_eq(status, 0);
}
END_TEST

/* ---------------------------------------------------------------- a cgroup with a limit */

static char cgroup[128];

static bool write_in_cgroup(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", cgroup, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return written;
}

static void overcommit_a_cgroup(void *argument)
{
    (void)argument;
    if (!write_in_cgroup("cgroup.procs", "0"))
        _exit(77);
    struct np_memory memory;
    int code = np_memory_create(&memory, "payload", 256 * MIB, -1, NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK, NP_SHARED);
    expect(code == -ENOMEM, "-ENOMEM above the limit");
    expect(strstr(np_error_sentence(), "numapool-test-") != NULL, "the limit's path in the sentence");
    code = np_memory_create(&memory, "payload", 24 * MIB, -1, NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK, NP_SHARED);
    expect(code == 0, "memory below the limit");
    struct np_memory second;
    code = np_memory_create(&second, "payload", 48 * MIB, -1, NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK, NP_PRIVATE);
    expect(code == -ENOMEM, "-ENOMEM for what no longer fits beside it");
    np_memory_destroy(&memory);
}

START_TEST(a_cgroup_limit_is_an_error_and_no_kill)
{
    static const char *const places[][2] = {{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
                                            {"/sys/fs/cgroup", "memory.max"}};
    for (int i = 0; i < 2; i++) {
        snprintf(cgroup, sizeof cgroup, "%s/numapool-test-%d", places[i][0], (int)getpid());
        if (access(places[i][0], W_OK) != 0 || mkdir(cgroup, 0700) != 0)
            continue;
        int status = 77 << 8;
        if (write_in_cgroup(places[i][1], "67108864"))
            status = status_of_child(overcommit_a_cgroup, NULL);
        rmdir(cgroup);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            continue;
        ck_assert_int_eq(status, 0);
        return;
    }
    not_run("a_cgroup_limit_is_an_error_and_no_kill", "no cgroup with a memory limit can be made here (root)");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("placement limits");
    TCase *poor = tcase_create("poorer systems");
    tcase_set_timeout(poor, 120);
    tcase_add_test(poor, a_container_that_refuses_placement_calls_is_told_or_served);
    tcase_add_test(poor, where_move_pages_is_refused_pages_are_asked_one_by_one);
    tcase_add_test(poor, kernels_without_populate_are_served);
    tcase_add_test(poor, a_cgroup_limit_is_an_error_and_no_kill);
    suite_add_tcase(suite, poor);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
