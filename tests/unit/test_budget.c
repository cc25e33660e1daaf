/* SPDX-License-Identifier: MIT
 * What may be taken, read from /proc and /sys of machines that are not at hand: several nodes, cgroups, huge pages. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_root.h"
#include "numa/budget.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/system_files.h"
#include "numa/topology.h"
#include "placement_help.h"

static void put_two_nodes(void)
{
    put("/sys/devices/system/node/has_memory", "0-1\n");
    put("/proc/meminfo", "MemTotal: 67108864 kB\nMemFree: 20971520 kB\nMemAvailable: 33554432 kB\n");
    put("/proc/sys/vm/min_free_kbytes", "65536\n");
    put("/sys/devices/system/node/node0/meminfo",
        "Node 0 MemTotal: 33554432 kB\nNode 0 MemFree: 1048576 kB\nNode 0 Active(file): 999999 kB\n"
        "Node 0 Inactive(file): 524288 kB\nNode 0 SReclaimable: 102400 kB\n");
    put("/sys/devices/system/node/node1/meminfo",
        "Node 1 MemTotal: 33554432 kB\nNode 1 MemFree: 16777216 kB\nNode 1 Inactive(file): 0 kB\n"
        "Node 1 SReclaimable: 0 kB\n");
}

START_TEST(node_lists_are_read_whole)
{
    int numbers[4];
    ck_assert_int_eq(np_system_list_parse("0\n", numbers, 4), 1);
    ck_assert_int_eq(np_system_list_parse("1-2,5,8-9\n", numbers, 4), 5);
    ck_assert_int_eq(numbers[0], 1);
    ck_assert_int_eq(numbers[2], 5);
    ck_assert_int_eq(numbers[3], 8);
    ck_assert_int_eq(np_system_list_parse("\n", numbers, 4), 0);
    ck_assert_int_eq(np_system_list_parse("3-1", numbers, 4), -EINVAL);
    ck_assert_int_eq(np_system_list_parse("0-99999999999999999999", numbers, 4), -EINVAL);
    ck_assert_int_eq(np_system_list_parse("zero", numbers, 4), -EINVAL);
}
END_TEST

START_TEST(a_value_is_found_by_its_whole_word)
{
    uint64_t value;
    const char *text = "Node 0 Inactive(file):  12 kB\ntotal_inactive_file 7\ninactive_file 5\n";
    ck_assert(np_system_text_value(text, "inactive_file", &value));
    ck_assert_uint_eq(value, 5);
    ck_assert(np_system_text_value(text, "Inactive(file)", &value));
    ck_assert_uint_eq(value, 12 * 1024);
    ck_assert(!np_system_text_value(text, "active_file", &value));
    ck_assert(!np_system_text_value("key: max\n", "key", &value));
}
END_TEST

START_TEST(only_allowed_nodes_with_memory_are_named)
{
    int nodes[8];
    put("/sys/devices/system/node/has_memory", "0-1,3\n");
    put("/proc/self/status", "Name:\tx\nMems_allowed:\t0000000e\nMems_allowed_list:\t1-3\n");
    ck_assert_int_eq(np_topology_nodes(root, nodes, 8), 2);
    ck_assert_int_eq(nodes[0], 1);
    ck_assert_int_eq(nodes[1], 3);
    ck_assert_int_eq(np_topology_nodes(root, nodes, 1), 1);
    ck_assert(!np_topology_is_only_node(root, 1));
    put("/proc/self/status", "Mems_allowed_list:\t3\n");
    ck_assert(np_topology_is_only_node(root, 3));
    put("/proc/self/status", "Mems_allowed_list:\t2\n");
    ck_assert_int_eq(np_topology_nodes(root, nodes, 8), -ENODEV);
    assert_sentence_has("cpuset.mems");
}
END_TEST

START_TEST(a_kernel_that_says_nothing_has_node_0)
{
    int node = -1;
    ck_assert_int_eq(np_topology_nodes(root, &node, 1), 1);
    ck_assert_int_eq(node, 0);
    ck_assert_uint_eq(np_budget_node_bytes(root, 0), UINT64_MAX);
}
END_TEST

START_TEST(one_node_has_what_the_machine_has)
{
    put("/sys/devices/system/node/has_memory", "0\n");
    put("/proc/meminfo", "MemTotal: 6553600 kB\nMemAvailable: 2097152 kB\n");
    put("/sys/devices/system/node/node0/meminfo", "Node 0 MemTotal: 1000 kB\nNode 0 MemFree: 10 kB\n");
    uint64_t left = np_budget_node_bytes(root, 0);
    ck_assert_uint_lt(left, 2048 * MIB);
    ck_assert_uint_gt(left, 1792 * MIB);
    ck_assert_int_eq(np_budget_check(root, "payload", 1700 * MIB, 0), 0);
    ck_assert_int_eq(np_budget_check(root, "payload of pool 'pay'", 2048 * MIB, 0), -ENOMEM);
    assert_sentence_has("payload of pool 'pay' needs 2064 MiB on node 0");
}
END_TEST

START_TEST(a_node_has_what_it_has_and_not_what_the_machine_has)
{
    put_two_nodes();
    uint64_t left = np_budget_node_bytes(root, 0);
    ck_assert_uint_lt(left, (1024 + 512 + 100) * MIB);
    ck_assert_uint_gt(left, 1280 * MIB);
    ck_assert_int_eq(np_budget_check(root, "payload", 2048 * MIB, 0), -ENOMEM);
    assert_sentence_has("node 0");
    ck_assert_int_eq(np_budget_check(root, "payload", 2048 * MIB, 1), 0);
    ck_assert_int_eq(np_budget_check(root, "payload", 2048 * MIB, -1), 0);
    ck_assert_int_eq(np_budget_check(root, "payload", 40960 * MIB, -1), -ENOMEM);
    assert_sentence_has("the machine");
}
END_TEST

START_TEST(the_tightest_cgroup_above_counts)
{
    char file[PATH_MAX];
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/proc/self/mountinfo", "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.current", "1048576\n");
    ck_assert_uint_eq(np_budget_cgroup_bytes(root, file, sizeof file), UINT64_MAX);
    ck_assert_str_eq(file, "");

    put("/sys/fs/cgroup/a/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/a/memory.current", "943718400\n");
    uint64_t left = np_budget_cgroup_bytes(root, file, sizeof file);
    ck_assert_str_eq(file, "/sys/fs/cgroup/a/memory.max");
    ck_assert_uint_le(left, 124 * MIB);
    ck_assert_uint_gt(left, 100 * MIB);

    put("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 838860800\nslab 3\n");
    ck_assert_uint_gt(np_budget_cgroup_bytes(root, file, sizeof file), 900 * MIB);

    put("/sys/fs/cgroup/a/b/memory.high", "67108864\n");
    ck_assert_uint_lt(np_budget_cgroup_bytes(root, file, sizeof file), 64 * MIB);
    ck_assert_int_eq(np_budget_check(root, "payload", 64 * MIB, -1), -ENOMEM);
    assert_sentence_has("/sys/fs/cgroup/a/b/memory.high");
    ck_assert_int_eq(np_budget_check(root, "payload", 32 * MIB, -1), 0);
}
END_TEST

START_TEST(cgroups_of_version_1_count_in_containers_too)
{
    char file[PATH_MAX];
    put("/proc/self/cgroup", "5:cpu,cpuacct:/docker/f00\n4:memory:/docker/f00\n0::/\n");
    put("/proc/self/mountinfo",
        "30 29 0:27 /docker/f00 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 /docker/f00 /sys/fs/cgroup/mem\\040ory ro,nosuid master:14 - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/mem ory/memory.limit_in_bytes", "268435456\n");
    put("/sys/fs/cgroup/mem ory/memory.usage_in_bytes", "67108864\n");
    put("/sys/fs/cgroup/mem ory/memory.stat", "inactive_file 0\ntotal_inactive_file 33554432\n");
    uint64_t left = np_budget_cgroup_bytes(root, file, sizeof file);
    ck_assert_str_eq(file, "/sys/fs/cgroup/mem ory/memory.limit_in_bytes");
    ck_assert_uint_le(left, (256 - 64 + 32) * MIB);
    ck_assert_uint_gt(left, (256 - 64) * MIB);
    put("/sys/fs/cgroup/mem ory/memory.limit_in_bytes", "9223372036854771712\n");
    ck_assert_uint_eq(np_budget_cgroup_bytes(root, file, sizeof file), UINT64_MAX);
}
END_TEST

START_TEST(promised_huge_pages_are_not_free)
{
    put("/sys/devices/system/node/has_memory", "0-1\n");
    ck_assert_uint_eq(np_budget_huge_pages(root, 0, 2 * MIB), 0);
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "10\n");
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "3\n");
    put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "2\n");
    put("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "8\n");
    ck_assert_uint_eq(np_budget_huge_pages(root, -1, 2 * MIB), 7);
    ck_assert_uint_eq(np_budget_huge_pages(root, 0, 2 * MIB), 2);
    ck_assert_uint_eq(np_budget_huge_pages(root, 1, 2 * MIB), 7);
    ck_assert_uint_eq(np_budget_huge_pages(root, 1, 1024 * MIB), 0);
}
END_TEST

START_TEST(huge_pages_of_neighbours_are_not_ours)
{
    static char text[] = "200000-400000 rw-p 00000000 00:00 0\nSize: 2048 kB\nAnonHugePages: 2048 kB\n"
                         "400000-600000 rw-s 00000000 00:01 5 /memfd:x (deleted)\nShmemPmdMapped: 2048 kB\n"
                         "600000-a00000 rw-p 00000000 00:00 0\nAnonHugePages: 2048 kB\n";
    static const struct {
        uintptr_t from;
        size_t bytes, huge;
    } cases[] = {{0x200000, 0x200000, 0x200000}, {0x400000, 0x200000, 0x200000}, {0x200000, 0x400000, 0x400000},
                 {0x600000, 0x200000, 0},        {0x800000, 0x200000, 0},        {0x600000, 0x400000, 0x200000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        FILE *smaps = fmemopen(text, sizeof text - 1, "r");
        ck_assert_ptr_nonnull(smaps);
        ck_assert_uint_eq(np_pages_transparent_bytes_in(smaps, (void *)cases[i].from, cases[i].bytes), cases[i].huge);
        fclose(smaps);
    }
}
END_TEST

START_TEST(small_memory_is_weighed_anew_when_its_credit_is_used_up_or_old)
{
    static const char poor[] = "MemTotal: 6553600 kB\nMemAvailable: 120000 kB\n";
    static const char rich[] = "MemTotal: 6553600 kB\nMemAvailable: 2097152 kB\n";
    struct np_budget_credit credit = { 0, 0 };
    put("/proc/meminfo", poor);
    uint64_t spare = np_budget_node_bytes(root, -1);
    ck_assert_int_eq(np_budget_check_small(&credit, root, "lane 1", 4096, 1000), 0);
    ck_assert_uint_gt(credit.bytes, 0);
    ck_assert_uint_le(credit.bytes, spare / 16); /* others would have to take nearly all before it did harm */
    put("/proc/meminfo", rich);
    credit.until_ns = 0;
    ck_assert_int_eq(np_budget_check_small(&credit, root, "lane 2", 4096, 1000), 0);
    ck_assert_uint_eq(credit.bytes, 16 * MIB);
    put("/proc/meminfo", "MemTotal: 6553600 kB\nMemAvailable: 0 kB\n");
    int64_t last_ns = credit.until_ns - 1;
    for (unsigned i = 0; i < 15; i++)
        ck_assert_int_eq(np_budget_check_small(&credit, root, "lane 3", MIB, last_ns), 0);
    /* 15 with their page tables left too little for one more */
    ck_assert_int_eq(np_budget_check_small(&credit, root, "lane 4", MIB, last_ns), -ENOMEM);
    assert_sentence_has("lane 4 needs 1032 KiB");
    put("/proc/meminfo", rich);
    ck_assert_int_eq(np_budget_check_small(&credit, root, "lane 5", 4096, last_ns), 0);
    put("/proc/meminfo", "MemTotal: 6553600 kB\nMemAvailable: 0 kB\n");
    ck_assert_int_eq(np_budget_check_small(&credit, root, "lane 6", 4096, credit.until_ns), -ENOMEM);
}
END_TEST

START_TEST(this_machine_has_a_little_but_not_everything)
{
    ck_assert_int_eq(np_memory_budget("words", 4096, -1), 0);
    ck_assert_int_eq(np_memory_budget("words", (size_t)1 << 60, -1), -ENOMEM);
    assert_sentence_has("1032 PiB");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("budget");
    TCase *machines = tcase_create("false machines");
    tcase_add_checked_fixture(machines, make_root, remove_root);
    tcase_add_test(machines, node_lists_are_read_whole);
    tcase_add_test(machines, a_value_is_found_by_its_whole_word);
    tcase_add_test(machines, only_allowed_nodes_with_memory_are_named);
    tcase_add_test(machines, a_kernel_that_says_nothing_has_node_0);
    tcase_add_test(machines, one_node_has_what_the_machine_has);
    tcase_add_test(machines, a_node_has_what_it_has_and_not_what_the_machine_has);
    tcase_add_test(machines, the_tightest_cgroup_above_counts);
    tcase_add_test(machines, cgroups_of_version_1_count_in_containers_too);
    tcase_add_test(machines, promised_huge_pages_are_not_free);
    tcase_add_test(machines, huge_pages_of_neighbours_are_not_ours);
    tcase_add_test(machines, small_memory_is_weighed_anew_when_its_credit_is_used_up_or_old);
    tcase_add_test(machines, this_machine_has_a_little_but_not_everything);
    suite_add_tcase(suite, machines);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
