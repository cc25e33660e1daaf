/* SPDX-License-Identifier: MIT
 * Nodes, CPUs, distances and what is allowed as we read them, judged by libnuma, which reads them its own way. It needs no arguments, and
 * says most where it runs in a guest with several nodes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <numa.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/error.h"
#include "numa/placement.h"
#include "numa/system_files.h"
#include "numa/topology.h"

static struct np_topology topology;

static void read_machine(void)
{
    ck_assert_msg(np_topology_read(&topology, NP_SYSTEM_ROOT) == 0, "%s", np_error_sentence());
}

static void drop_machine(void)
{
    np_topology_free(&topology);
}

START_TEST(the_same_nodes)
{
    unsigned count = 0;
    for (int node = 0; node <= numa_max_node(); node++) {
        bool is_there = numa_bitmask_isbitset(numa_nodes_ptr, (unsigned)node) != 0;
        count += is_there;
        ck_assert_msg((np_topology_find(&topology, node) != NULL) == is_there, "node %d is %s for libnuma", node,
                      is_there ? "there" : "not there");
    }
    ck_assert_uint_eq(topology.count, count);
    ck_assert_int_eq(topology.nodes[topology.count - 1].number, numa_max_node());
}
END_TEST

START_TEST(the_same_memory)
{
    struct bitmask *allowed = numa_get_mems_allowed();
    unsigned with_memory = 0;
    for (unsigned i = 0; i < topology.count; i++)
        with_memory += topology.nodes[i].memory_bytes > 0;
    for (unsigned i = 0; i < topology.count; i++) {
        const struct np_topology_node *node = &topology.nodes[i];
        long long bytes = numa_node_size64(node->number, NULL);
        ck_assert_msg((bytes > 0) == (node->memory_bytes > 0), "node %d has %lld bytes for libnuma, %llu here", node->number, bytes,
                      (unsigned long long)node->memory_bytes);
        /* The figure of a single node lags behind, and of several one may be growing while we look. */
        if (with_memory > 1 && bytes > 0)
            ck_assert_msg(llabs(bytes - (long long)node->memory_bytes) <= bytes / 8, "node %d has %lld bytes for libnuma, %llu here",
                          node->number, bytes, (unsigned long long)node->memory_bytes);
        ck_assert_msg((numa_bitmask_isbitset(allowed, (unsigned)node->number) != 0) == np_topology_has_room(node),
                      "libnuma finds otherwise whether memory of node %d is allowed", node->number);
    }
    numa_bitmask_free(allowed);
}
END_TEST

START_TEST(the_same_distances)
{
    for (unsigned i = 0; i < topology.count; i++)
        for (unsigned k = 0; k < topology.count; k++) {
            int from = topology.nodes[i].number, to = topology.nodes[k].number, distance = numa_distance(from, to);
            /* 0: the machine has no table of them */
            ck_assert_msg(distance == 0 || (int)np_topology_distance(&topology, from, to) == distance,
                          "from node %d to %d it is %d for libnuma, %u here", from, to, distance, np_topology_distance(&topology, from, to));
        }
}
END_TEST

START_TEST(the_same_cpus)
{
    struct bitmask *cpus = numa_allocate_cpumask();
    for (unsigned i = 0; i < topology.count; i++) {
        int node = topology.nodes[i].number;
        ck_assert_int_eq(numa_node_to_cpus(node, cpus), 0);
        unsigned count = 0;
        for (unsigned cpu = 0; cpu < cpus->size; cpu++) {
            bool is_its = numa_bitmask_isbitset(cpus, cpu) != 0;
            count += is_its;
            ck_assert_msg((cpu < topology.cpu_limit && topology.cpu_nodes[cpu] == node) == is_its, "CPU %u is %s node %d for libnuma", cpu,
                          is_its ? "of" : "not of", node);
        }
        ck_assert_uint_eq(topology.nodes[i].cpus, count);
    }
    numa_bitmask_free(cpus);
}
END_TEST

/* Pinned to each CPU that is allowed: the kernel, libnuma and we say the same node. */
START_TEST(the_same_node_for_a_thread)
{
    cpu_set_t before, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &before))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
        ck_assert_int_eq(np_node_of_this_thread(), numa_node_of_cpu(cpu));
        ck_assert_int_eq(topology.cpu_nodes[cpu], numa_node_of_cpu(cpu));
        ck_assert(np_topology_find(&topology, topology.cpu_nodes[cpu])->cpus_allowed);
    }
    sched_setaffinity(0, sizeof before, &before);
}
END_TEST

int main(void)
{
    unsetenv("NUMAPOOL_TOPOLOGY");
    if (numa_available() < 0) {
        fprintf(stderr, "\n*** NOT RUN: test_topology_libnuma: libnuma finds no NUMA in this kernel, or get_mempolicy(2) is refused ***\n\n");
        return 77;
    }
    Suite *suite = suite_create("topology_libnuma");
    TCase *judged = tcase_create("judged");
    tcase_add_checked_fixture(judged, read_machine, drop_machine);
    tcase_set_timeout(judged, 60);
    suite_add_tcase(suite, judged);
    tcase_add_test(judged, the_same_nodes);
    tcase_add_test(judged, the_same_memory);
    tcase_add_test(judged, the_same_distances);
    tcase_add_test(judged, the_same_cpus);
    tcase_add_test(judged, the_same_node_for_a_thread);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
