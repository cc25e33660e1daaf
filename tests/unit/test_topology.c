/* SPDX-License-Identifier: MIT
 * Machines read from /proc and /sys that are not at hand: several nodes, sparse numbers, memory-only ones, CPUs offline, cpusets, no NUMA
 * at all, and files that make no sense. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>

#include "fake_root.h"
#include "numa/topology.h"
#include "placement_help.h"

#define NODES "/sys/devices/system/node"
#define CPUS  "/sys/devices/system/cpu"
#define GIB   (UINT64_C(1) << 30)

static struct np_topology topology;

static void read_machine(void)
{
    np_topology_free(&topology);
    ck_assert_int_eq(np_topology_read(&topology, root), 0);
    ck_assert(!topology.emulated);
    ck_assert_str_eq(topology.name, "");
    ck_assert_uint_eq(topology.fingerprint, 0);
}

static void put_node(int node, const char *cpulist, uint64_t memory_kib, const char *distance)
{
    char text[128];
    put_of(NODES "/node%d/cpulist", node, cpulist);
    snprintf(text, sizeof text, "Node %d MemTotal:       %" PRIu64 " kB\nNode %d MemFree:        1024 kB\n", node, memory_kib, node);
    put_of(NODES "/node%d/meminfo", node, text);
    put_of(NODES "/node%d/distance", node, distance);
}

/* Two sockets of two CPUs, and a memory-only node behind the second. */
static void put_three_nodes(void)
{
    put(NODES "/online", "0-2\n");
    put(NODES "/has_memory", "0-2\n");
    put(CPUS "/online", "0-3\n");
    put(CPUS "/present", "0-3\n");
    put(CPUS "/offline", "\n");
    put_node(0, "0-1\n", 16 << 20, "10 21 40\n");
    put_node(1, "2-3\n", 8 << 20, "21 10 24\n");
    put_node(2, "\n", 32 << 20, "40 24 10\n");
    put("/proc/meminfo", "MemTotal:       58720256 kB\n");
    put("/proc/self/status", "Name:\tx\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\nMems_allowed:\t7\nMems_allowed_list:\t0-2\n");
}

static const struct np_topology_node *node_of(int node)
{
    const struct np_topology_node *found = np_topology_find(&topology, node);
    ck_assert_msg(found != NULL, "node %d is not there", node);
    return found;
}

static void describe(char *text, size_t bytes)
{
    ck_assert_int_eq(np_topology_describe(&topology, text, bytes), (int)strlen(text));
}

/* ---------------------------------------------------------------- kinds of machines */

START_TEST(two_equal_nodes)
{
    put(NODES "/online", "0-1\n");
    put(NODES "/has_memory", "0-1\n");
    put(CPUS "/online", "0-3\n");
    put_node(0, "0,2\n", 4 << 20, "10 20\n");
    put_node(1, "1,3\n", 4 << 20, "20 10\n");
    read_machine();
    ck_assert_uint_eq(topology.count, 2);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(topology.nodes[i].number, i);
        ck_assert_uint_eq(topology.nodes[i].cpus, 2);
        ck_assert_uint_eq(topology.nodes[i].memory_bytes, 4 * GIB);
        ck_assert(np_topology_has_room(&topology.nodes[i]));
        ck_assert(!np_topology_is_memory_only(&topology.nodes[i]));
        ck_assert(topology.nodes[i].cpus_allowed);
        ck_assert_int_eq(np_topology_physical(&topology, i), i);
    }
    ck_assert_uint_eq(topology.cpu_limit, 4);
    for (unsigned cpu = 0; cpu < 4; cpu++)
        ck_assert_int_eq(topology.cpu_nodes[cpu], (int)cpu % 2);
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 1), 20);
    ck_assert_uint_eq(np_topology_distance(&topology, 1, 1), 10);
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 2), NP_DISTANCE_FAR);
    ck_assert_ptr_null(np_topology_find(&topology, 2));
    ck_assert_ptr_null(np_topology_find(&topology, -1));
}
END_TEST

START_TEST(three_nodes_one_of_memory_alone)
{
    char text[200];
    put_three_nodes();
    read_machine();
    ck_assert(np_topology_is_memory_only(node_of(2)));
    ck_assert(!node_of(2)->cpus_allowed);
    ck_assert_uint_eq(node_of(2)->memory_bytes, 32 * GIB);
    int nodes[4];
    ck_assert_int_eq(np_topology_by_distance(&topology, 0, nodes, 4), 3);
    ck_assert(nodes[0] == 0 && nodes[1] == 1 && nodes[2] == 2);
    ck_assert_int_eq(np_topology_by_distance(&topology, 2, nodes, 4), 3);
    ck_assert(nodes[0] == 2 && nodes[1] == 1 && nodes[2] == 0);
    describe(text, sizeof text);
    ck_assert_str_eq(text, "3 of 3 nodes: 0 (16 GiB, CPUs 0-1), 1 (8 GiB, CPUs 2-3), 2 (32 GiB, no CPUs)");
}
END_TEST

START_TEST(sparse_numbers_keep_their_distances)
{
    put(NODES "/online", "0,2,5\n");
    put(NODES "/has_memory", "0,2,5\n");
    put(CPUS "/online", "0-2\n");
    put_node(0, "0\n", 1 << 20, "10 12 34\n");
    put_node(2, "1\n", 1 << 20, "12 10 56\n");
    put_node(5, "2\n", 1 << 20, "34 56 10\n");
    read_machine();
    ck_assert_uint_eq(topology.count, 3);
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 2), 12);
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 5), 34);
    ck_assert_uint_eq(np_topology_distance(&topology, 5, 2), 56);
    ck_assert_ptr_null(np_topology_find(&topology, 1));
    ck_assert_int_eq(topology.cpu_nodes[2], 5);
    int nodes[3];
    ck_assert_int_eq(np_topology_nodes(root, nodes, 3), 3);
    ck_assert(nodes[0] == 0 && nodes[1] == 2 && nodes[2] == 5);
}
END_TEST

START_TEST(a_node_without_memory_is_there_and_not_used)
{
    char text[200];
    put_three_nodes();
    put(NODES "/has_memory", "0,2\n");
    put_node(1, "2-3\n", 0, "21 10 24\n");
    read_machine();
    ck_assert_uint_eq(node_of(1)->memory_bytes, 0);
    ck_assert_uint_eq(node_of(1)->cpus, 2);
    ck_assert(!np_topology_has_room(node_of(1)));
    ck_assert(!np_topology_is_memory_only(node_of(1)));
    int nodes[3];
    ck_assert_int_eq(np_topology_by_distance(&topology, 1, nodes, 3), 2);
    ck_assert_msg(nodes[0] == 0 && nodes[1] == 2, "nearest to the node without memory: %d, %d", nodes[0], nodes[1]);
    describe(text, sizeof text);
    ck_assert_str_eq(text, "2 of 3 nodes: 0 (16 GiB, CPUs 0-1), 2 (32 GiB, no CPUs); not used: node 1 (no memory)");
}
END_TEST

START_TEST(cpus_that_are_offline_are_counted_and_not_used)
{
    char text[200];
    put_three_nodes();
    put(CPUS "/online", "0,2\n");
    put(CPUS "/offline", "1,3-7\n"); /* of which 4-7 could be plugged in, and are not */
    put(CPUS "/present", "0-3\n");
    put_node(0, "0\n", 16 << 20, "10 21 40\n");
    put_node(1, "2\n", 8 << 20, "21 10 24\n");
    put(NODES "/node0/cpu1", "");
    put(NODES "/node1/cpu3", "");
    put(NODES "/node1/cpu4", "");
    read_machine();
    ck_assert_uint_eq(node_of(0)->cpus, 1);
    ck_assert_uint_eq(node_of(0)->offline_cpus, 1);
    ck_assert_uint_eq(node_of(1)->offline_cpus, 1);
    ck_assert_uint_eq(topology.cpu_limit, 3);
    ck_assert_int_eq(topology.cpu_nodes[1], -1);

    put(CPUS "/online", "0\n");
    put(CPUS "/offline", "1-3\n");
    put_node(1, "\n", 8 << 20, "21 10 24\n");
    put(NODES "/node1/cpu2", "");
    read_machine();
    ck_assert_uint_eq(node_of(1)->offline_cpus, 2);
    ck_assert_msg(np_topology_is_memory_only(node_of(1)), "none of its CPUs is online");
    describe(text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "1 (8 GiB, its CPUs are offline)"));
    ck_assert_ptr_nonnull(strstr(text, "0 (16 GiB, CPU 0, 1 offline)"));
}
END_TEST

START_TEST(no_numa_at_all_is_node_0_with_all_there_is)
{
    put("/proc/meminfo", "MemTotal:        2097152 kB\nMemFree: 1 kB\n");
    put(CPUS "/online", "0-2\n");
    put("/proc/self/status", "Cpus_allowed_list:\t1\n");
    read_machine();
    ck_assert_uint_eq(topology.count, 1);
    ck_assert_int_eq(topology.nodes[0].number, 0);
    ck_assert_uint_eq(topology.nodes[0].memory_bytes, 2 * GIB);
    ck_assert_uint_eq(topology.nodes[0].cpus, 3);
    ck_assert(np_topology_has_room(&topology.nodes[0]));
    ck_assert(topology.nodes[0].cpus_allowed);
    ck_assert_uint_eq(np_topology_distance(&topology, 0, 0), 10);
    ck_assert(np_topology_is_only_node(root, 0));
}
END_TEST

START_TEST(nothing_at_all_can_be_read)
{
    char text[100];
    read_machine();
    ck_assert_uint_eq(topology.count, 1);
    ck_assert_uint_eq(topology.nodes[0].cpus, 1);
    ck_assert(np_topology_has_room(&topology.nodes[0]));
    describe(text, sizeof text);
    ck_assert_msg(strncmp(text, "1 of 1 node: 0 (", 16) == 0, "%s", text);
}
END_TEST

START_TEST(a_single_nodes_own_figure_lags_behind)
{
    put(NODES "/online", "0\n");
    put(NODES "/has_memory", "0\n");
    put(CPUS "/online", "0-1\n");
    put_node(0, "0-1\n", 7 << 20, "10\n");
    put("/proc/meminfo", "MemTotal: 25165824 kB\n");
    read_machine();
    ck_assert_uint_eq(topology.nodes[0].memory_bytes, 24 * GIB);
}
END_TEST

START_TEST(what_a_cpuset_forbids_is_not_used_and_said)
{
    char text[300];
    put_three_nodes();
    put("/proc/self/status", "Cpus_allowed_list:\t0-1\nMems_allowed_list:\t0,2\nvoluntary_ctxt_switches:\t1\n");
    read_machine();
    ck_assert(!node_of(1)->memory_allowed);
    ck_assert(!node_of(1)->cpus_allowed);
    ck_assert(node_of(0)->cpus_allowed);
    int nodes[3];
    ck_assert_int_eq(np_topology_nodes(root, nodes, 3), 2);
    ck_assert(nodes[0] == 0 && nodes[1] == 2);
    ck_assert_int_eq(np_topology_by_distance(&topology, 1, nodes, 3), 2);
    ck_assert(nodes[0] == 0 && nodes[1] == 2);
    describe(text, sizeof text);
    ck_assert_str_eq(text, "2 of 3 nodes: 0 (16 GiB, CPUs 0-1), 2 (32 GiB, no CPUs); not used: node 1 (not allowed: cpuset.mems)");
    put("/proc/self/status", "Mems_allowed_list:\t1\n");
    ck_assert(np_topology_is_only_node(root, 1));
    put(NODES "/has_memory", "0,2\n");
    ck_assert_int_eq(np_topology_nodes(root, nodes, 3), -ENODEV);
    assert_sentence_has("cpuset.mems");
}
END_TEST

START_TEST(as_many_nodes_as_there_can_be)
{
    static char distance[4 * NP_NODES_MAX + 2];
    static int nodes[NP_NODES_MAX];
    put(NODES "/online", "0-1023\n");
    put(NODES "/has_memory", "0-1023\n");
    put(CPUS "/online", "0-1023\n");
    for (int i = 0; i < NP_NODES_MAX; i++) {
        char cpu[16];
        char *at = distance;
        for (int k = 0; k < NP_NODES_MAX; k++)
            at += sprintf(at, "%d ", i == k ? 10 : 11 + (i + k) % 200);
        strcpy(at, "\n");
        snprintf(cpu, sizeof cpu, "%d\n", NP_NODES_MAX - 1 - i);
        put_node(i, cpu, 1024, distance);
    }
    read_machine();
    ck_assert_uint_eq(topology.count, NP_NODES_MAX);
    ck_assert_uint_eq(np_topology_distance(&topology, 1023, 1000), 11 + 2023 % 200);
    ck_assert_int_eq(topology.cpu_nodes[3], 1020);
    ck_assert_int_eq(np_topology_by_distance(&topology, 7, nodes, NP_NODES_MAX), NP_NODES_MAX);
    ck_assert_int_eq(nodes[0], 7);
    for (int i = 2; i < NP_NODES_MAX; i++) {
        unsigned before = np_topology_distance(&topology, 7, nodes[i - 1]), after = np_topology_distance(&topology, 7, nodes[i]);
        ck_assert(before < after || (before == after && nodes[i - 1] < nodes[i]));
    }
    char text[100];
    describe(text, sizeof text);
    ck_assert_str_eq(text + strlen(text) - 3, "...");
}
END_TEST

START_TEST(the_nearest_of_more_than_there_is_room_for)
{
    put_three_nodes();
    read_machine();
    int nodes[2] = { -1, -1 };
    ck_assert_int_eq(np_topology_by_distance(&topology, 2, nodes, 1), 3);
    ck_assert_int_eq(nodes[0], 2);
    ck_assert_int_eq(nodes[1], -1);
    ck_assert_int_eq(np_topology_by_distance(&topology, 2, nodes, 2), 3);
    ck_assert(nodes[0] == 2 && nodes[1] == 1);
    ck_assert_int_eq(np_topology_by_distance(&topology, 2, NULL, 0), 3);
    ck_assert_msg(np_topology_by_distance(&topology, 99, nodes, 2) == 3 && nodes[0] == 0 && nodes[1] == 1, "from nowhere: by number");
}
END_TEST

/* ---------------------------------------------------------------- files that make no sense */

START_TEST(distances_of_another_moment_are_made_up)
{
    put_three_nodes();
    put(NODES "/node0/distance", "10 21\n");       /* read when there were two */
    put(NODES "/node1/distance", "21 10 24 30\n"); /* when there were four */
    put(NODES "/node2/distance", "40 0 10\n");
    read_machine();
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            ck_assert_uint_eq(np_topology_distance(&topology, i, k), i == k ? 10 : 20);
    put(NODES "/node2/distance", "40 999999999999 10\n");
    put(NODES "/node1/distance", "20 30 10\n"); /* which is what some firmware says */
    read_machine();
    int nodes[3];
    ck_assert_int_eq(np_topology_by_distance(&topology, 1, nodes, 3), 3);
    ck_assert_msg(nodes[0] == 1 && nodes[1] == 2 && nodes[2] == 0, "nothing is nearer than the node itself: %d, %d, %d", nodes[0], nodes[1],
                  nodes[2]);
    ck_assert_uint_eq(np_topology_distance(&topology, 2, 1), NP_DISTANCE_FAR);
}
END_TEST

START_TEST(memory_that_is_not_said_is_a_share_of_the_machines)
{
    put_three_nodes();
    put("/proc/meminfo", "MemTotal: 6291456 kB\n");
    drop(NODES "/node1/meminfo");
    put(NODES "/node2/meminfo", "Node 2 MemTotal: much kB\n");
    read_machine();
    ck_assert_uint_eq(node_of(0)->memory_bytes, 16 * GIB);
    ck_assert_uint_eq(node_of(1)->memory_bytes, 2 * GIB);
    ck_assert_uint_eq(node_of(2)->memory_bytes, 2 * GIB);
    /* and without has_memory it is those whose meminfo says some */
    put(NODES "/has_memory", "0-\n");
    read_machine();
    ck_assert_uint_eq(node_of(0)->memory_bytes, 6 * GIB); /* the only one: as much as the machine has */
    ck_assert_uint_eq(node_of(1)->memory_bytes, 0);
}
END_TEST

/* Whatever is in the files, what comes out can be asked. */
static void must_be_whole(void)
{
    static int nodes[NP_NODES_MAX];
    char text[300];
    ck_assert_uint_ge(topology.count, 1);
    ck_assert_uint_le(topology.count, NP_NODES_MAX);
    unsigned cpus = 0;
    for (unsigned i = 0; i < topology.count; i++) {
        ck_assert(i == 0 || topology.nodes[i].number > topology.nodes[i - 1].number);
        ck_assert_ptr_eq(np_topology_find(&topology, topology.nodes[i].number), &topology.nodes[i]);
        ck_assert_uint_ge(topology.distances[(size_t)i * topology.count + i], NP_DISTANCE_SELF);
        cpus += topology.nodes[i].cpus;
    }
    unsigned mapped = 0;
    for (unsigned cpu = 0; cpu < topology.cpu_limit; cpu++) {
        mapped += topology.cpu_nodes[cpu] >= 0;
        ck_assert(topology.cpu_nodes[cpu] < 0 || np_topology_find(&topology, topology.cpu_nodes[cpu]) != NULL);
    }
    ck_assert_uint_eq(mapped, cpus);
    ck_assert_int_le(np_topology_by_distance(&topology, topology.nodes[0].number, nodes, NP_NODES_MAX), (int)topology.count);
    describe(text, sizeof text);
}

START_TEST(garbage_is_no_reason_to_fail)
{
    static const char *const files[] = { NODES "/online",        NODES "/has_memory",    NODES "/node0/cpulist", NODES "/node1/cpulist",
                                         NODES "/node1/meminfo", NODES "/node2/meminfo", NODES "/node0/distance", CPUS "/online",
                                         CPUS "/offline",        CPUS "/present",        "/proc/meminfo",         "/proc/self/status" };
    static const char letters[] = "0123456789--,,\n \tabMemTotal: kB";
    const char *seed_text = getenv("NUMAPOOL_TEST_SEED");
    unsigned seed = seed_text ? (unsigned)strtoul(seed_text, NULL, 0) : 7;
    fprintf(stderr, "garbage_is_no_reason_to_fail: NUMAPOOL_TEST_SEED=%u\n", seed);
    put_three_nodes();
    for (int round = 0; round < 400; round++) {
        char bytes[200];
        size_t count = (size_t)rand_r(&seed) % sizeof bytes;
        bool is_text = rand_r(&seed) % 4 > 0;
        for (size_t i = 0; i < count; i++)
            bytes[i] = is_text ? letters[(unsigned)rand_r(&seed) % (sizeof letters - 1)] : (char)rand_r(&seed);
        const char *file = files[(unsigned)rand_r(&seed) % (sizeof files / sizeof files[0])];
        put_bytes(file, bytes, count);
        if (round % 20 == 0)
            put_three_nodes();
        read_machine();
        must_be_whole();
    }
}
END_TEST

START_TEST(numbers_beyond_all_bounds_are_left_out)
{
    put_three_nodes();
    put(NODES "/online", "0-2,1024,65535\n");
    put(NODES "/node0/cpulist", "0-1,8192,65535\n");
    drop(CPUS "/online");
    read_machine();
    ck_assert_uint_eq(topology.count, 3);
    ck_assert_uint_eq(node_of(0)->cpus, 2);
    put(NODES "/node1/cpulist", "1-3\n"); /* CPU 1 is node 0's already */
    read_machine();
    must_be_whole();
    ck_assert_uint_eq(node_of(1)->cpus, 2);
}
END_TEST

/* ---------------------------------------------------------------- changes */

static struct np_topology before;

static void difference(char *text, size_t bytes)
{
    ck_assert_int_eq(np_topology_difference(&before, &topology, text, bytes), (int)strlen(text));
}

START_TEST(what_has_changed_is_said)
{
    char text[300];
    put_three_nodes();
    ck_assert_int_eq(np_topology_read(&before, root), 0);
    read_machine();
    ck_assert(np_topology_same(&before, &topology));
    difference(text, sizeof text);
    ck_assert_str_eq(text, "");

    put(NODES "/online", "0-1,3\n");
    put(NODES "/has_memory", "0-1,3\n");
    put_node(0, "0-1\n", 16 << 20, "10 21 30\n");
    put_node(1, "2-3\n", 8 << 20, "21 10 30\n");
    put_node(3, "\n", 4 << 20, "30 30 10\n");
    put("/proc/self/status", "Mems_allowed_list:\t0-7\n");
    read_machine();
    ck_assert(!np_topology_same(&before, &topology));
    difference(text, sizeof text);
    ck_assert_str_eq(text, "node 2 is gone; node 3 has come (4 GiB)");

    put("/proc/self/status", "Mems_allowed_list:\t1,3\n");
    put(CPUS "/online", "0-2\n");
    put_node(0, "0-1\n", 24 << 20, "10 22 30\n");
    read_machine();
    difference(text, sizeof text);
    ck_assert_str_eq(text, "node 2 is gone; node 0 is no longer allowed (cpuset.mems); node 0 has 24 GiB instead of 16 GiB; "
                           "node 1 has 1 CPUs online instead of 2; node 3 has come (4 GiB); distances are others");
    difference(text, 40);
    ck_assert_str_eq(text, "node 2 is gone...");
    np_topology_free(&before);
}
END_TEST

START_TEST(memory_that_grows_little_is_no_change)
{
    put_three_nodes();
    ck_assert_int_eq(np_topology_read(&before, root), 0);
    put_node(0, "0-1\n", (16 << 20) + (1 << 20), "10 21 40\n");
    read_machine();
    ck_assert(np_topology_same(&before, &topology));
    put_node(0, "0-1\n", (16 << 20) + (3 << 20), "10 21 40\n");
    read_machine();
    ck_assert(!np_topology_same(&before, &topology));
    put_node(0, "0-1\n", 16 << 20, "10 21 40\n");
    put(NODES "/node0/cpulist", "0,2\n");
    put(NODES "/node1/cpulist", "1,3\n");
    read_machine();
    char text[100];
    difference(text, sizeof text);
    ck_assert_str_eq(text, "CPUs are of other nodes");
    np_topology_free(&before);
}
END_TEST

/* ---------------------------------------------------------------- devices */

START_TEST(a_device_is_on_the_node_of_what_it_hangs_on)
{
    put_three_nodes();
    put("/sys/devices/pci0000:00/0000:3b:00.0/numa_node", "1\n");
    put("/sys/devices/pci0000:00/0000:3b:00.0/net/eth7/address", "x\n");
    put("/sys/devices/pci0000:00/0000:3b:00.0/nvme/nvme3/nvme3n1/nvme3n1p2/partition", "2\n");
    put("/sys/devices/pci0000:00/0000:5e:00.0/numa_node", "-1\n");
    put("/sys/devices/pci0000:00/0000:5e:00.0/net/eth8/address", "x\n");
    put("/sys/devices/virtual/net/lo/address", "x\n");
    put_link("/sys/class/net/eth7", "../../devices/pci0000:00/0000:3b:00.0/net/eth7");
    put_link("/sys/class/net/eth8", "../../devices/pci0000:00/0000:5e:00.0/net/eth8");
    put_link("/sys/class/net/lo", "../../devices/virtual/net/lo");
    put_link("/sys/class/nvme/nvme3", "../../devices/pci0000:00/0000:3b:00.0/nvme/nvme3");
    put_link("/sys/class/block/nvme3n1", "../../devices/pci0000:00/0000:3b:00.0/nvme/nvme3/nvme3n1");
    put_link("/sys/class/block/nvme3n1p2", "../../devices/pci0000:00/0000:3b:00.0/nvme/nvme3/nvme3n1/nvme3n1p2");
    put_link("/sys/bus/pci/devices/0000:3b:00.0", "../../../devices/pci0000:00/0000:3b:00.0");
    static const char *const known[] = { "eth7", "nvme3", "nvme3n1", "nvme3n1p2", "/dev/nvme3n1p2", "0000:3b:00.0", "3b:00.0" };
    for (unsigned i = 0; i < sizeof known / sizeof known[0]; i++)
        ck_assert_msg(np_topology_device_node(root, known[i]) == 1, "%s: %s", known[i], np_error_sentence());

    ck_assert_int_eq(np_topology_device_node(root, "eth8"), -ENXIO);
    assert_sentence_has("eth8");
    ck_assert_int_eq(np_topology_device_node(root, "lo"), -ENXIO);
    static const char *const unknown[] = { "eth9", "", ".", "..", "../../devices/virtual/net/lo", "/dev/", "net/eth7", "0000:ff:00.0" };
    for (unsigned i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        ck_assert_msg(np_topology_device_node(root, unknown[i]) == -ENODEV, "%s", unknown[i]);
    assert_sentence_has("there is no device");

    put(NODES "/online", "0\n"); /* a machine of one node need not say */
    put(NODES "/has_memory", "0\n");
    ck_assert_int_eq(np_topology_device_node(root, "eth8"), 0);
}
END_TEST

static void start_test(void)
{
    make_root();
}

static void end_test(void)
{
    np_topology_free(&topology);
    remove_root();
}

int main(void)
{
    Suite *suite = suite_create("topology");
    TCase *machines = tcase_create("machines"), *odd = tcase_create("odd files"), *changes = tcase_create("changes");
    TCase *all[] = { machines, odd, changes };
    for (unsigned i = 0; i < 3; i++) {
        tcase_add_checked_fixture(all[i], start_test, end_test);
        tcase_set_timeout(all[i], 60);
        suite_add_tcase(suite, all[i]);
    }
    tcase_add_test(machines, two_equal_nodes);
    tcase_add_test(machines, three_nodes_one_of_memory_alone);
    tcase_add_test(machines, sparse_numbers_keep_their_distances);
    tcase_add_test(machines, a_node_without_memory_is_there_and_not_used);
    tcase_add_test(machines, cpus_that_are_offline_are_counted_and_not_used);
    tcase_add_test(machines, no_numa_at_all_is_node_0_with_all_there_is);
    tcase_add_test(machines, nothing_at_all_can_be_read);
    tcase_add_test(machines, a_single_nodes_own_figure_lags_behind);
    tcase_add_test(machines, what_a_cpuset_forbids_is_not_used_and_said);
    tcase_add_test(machines, as_many_nodes_as_there_can_be);
    tcase_add_test(machines, the_nearest_of_more_than_there_is_room_for);
    tcase_add_test(odd, distances_of_another_moment_are_made_up);
    tcase_add_test(odd, memory_that_is_not_said_is_a_share_of_the_machines);
    tcase_add_test(odd, garbage_is_no_reason_to_fail);
    tcase_add_test(odd, numbers_beyond_all_bounds_are_left_out);
    tcase_add_test(changes, what_has_changed_is_said);
    tcase_add_test(changes, memory_that_grows_little_is_no_change);
    tcase_add_test(changes, a_device_is_on_the_node_of_what_it_hangs_on);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
