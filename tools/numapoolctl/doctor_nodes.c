/* SPDX-License-Identifier: MIT
 * Nodes, distances and CPUs: which there are, and which of them this process may use. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "doctor.h"
#include "numa/budget.h"
#include "numa/cgroup.h"
#include "numa/system_files.h"
#include "numa/topology.h"

#define MIB (UINT64_C(1) << 20)

enum {
    NUMBERS_MAX = 8192, /* CPUs of a list */
    SHOWN_MAX = 8       /* nodes that are told of one by one */
};

static bool has(const int *numbers, int count, int number)
{
    for (int i = 0; i < count; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

static int parse_list(const char *text, int *numbers, int capacity)
{
    int count = np_system_list_parse(text, numbers, capacity);
    return count < 0 ? -1 : count < capacity ? count : capacity;
}

/* -1: no such file, or no list. */
static int read_numbers(const struct np_doctor *doctor, const char *path, int *numbers, int capacity)
{
    char text[NP_SYSTEM_TEXT_BYTES];
    return np_system_file_read(doctor->root, path, text, sizeof text) < 0 ? -1 : parse_list(text, numbers, capacity);
}

static bool node_meminfo(const struct np_doctor *doctor, int node, const char *key, uint64_t *bytes)
{
    char path[PATH_MAX], text[NP_SYSTEM_TEXT_BYTES];
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
    return np_system_file_read(doctor->root, path, text, sizeof text) > 0 && np_system_text_value(text, key, bytes);
}

/* ---------------------------------------------------------------- what there is */

static void describe_node(const struct np_doctor *doctor, struct np_doctor_finding *finding,
                          const struct np_doctor_nodes *nodes, int node)
{
    static int cpus[NUMBERS_MAX];
    char path[PATH_MAX], list[64], text[NP_SIZE_TEXT_BYTES];
    uint64_t bytes = 0;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
    int count = read_numbers(doctor, path, cpus, NUMBERS_MAX);
    np_found(finding, "; node %d: ", node);
    if (count > 0)
        np_found(finding, "CPUs %s, ", np_doctor_list_text(list, sizeof list, cpus, count));
    else
        np_found(finding, count == 0 ? "no CPUs, " : "CPUs cannot be told, ");
    if (!has(nodes->memory, nodes->memory_count, node))
        np_found(finding, "no memory");
    else if (node_meminfo(doctor, node, "MemTotal", &bytes))
        np_found(finding, "%s", np_size_text_down(text, bytes));
    else
        np_found(finding, "memory");
}

static void count_kinds(const struct np_doctor *doctor, const struct np_doctor_nodes *nodes, int *memory_only,
                        int *without_memory)
{
    static int with_cpus[NP_NODES_MAX];
    int count = read_numbers(doctor, "/sys/devices/system/node/has_cpu", with_cpus, NP_NODES_MAX);
    *memory_only = *without_memory = 0;
    for (int i = 0; i < nodes->count; i++) {
        bool memory = has(nodes->memory, nodes->memory_count, nodes->nodes[i]);
        *memory_only += memory && count >= 0 && !has(with_cpus, count, nodes->nodes[i]);
        *without_memory += !memory;
    }
}

void np_doctor_nodes(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static struct np_doctor_nodes nodes;
    static int cpus[NUMBERS_MAX];
    char text[NP_SYSTEM_TEXT_BYTES], size[NP_SIZE_TEXT_BYTES], list[256];
    uint64_t total;
    int memory_only, without_memory;
    np_doctor_nodes_read(doctor, &nodes);
    int cpu_count = read_numbers(doctor, "/sys/devices/system/cpu/online", cpus, NUMBERS_MAX);
    np_found(finding, "%d node%s", nodes.count, nodes.count == 1 ? "" : "s");
    if (cpu_count > 0)
        np_found(finding, ", %d CPU%s", cpu_count, cpu_count == 1 ? "" : "s");
    if (np_system_file_read(doctor->root, "/proc/meminfo", text, sizeof text) > 0 &&
        np_system_text_value(text, "MemTotal", &total))
        np_found(finding, ", %s", np_size_text_down(size, total));
    if (nodes.count == 1) {
        np_means(finding, NP_DOCTOR_OK, "all memory is on node %d: placement has nothing to choose", nodes.memory[0]);
        return;
    }
    for (int i = 0; i < nodes.count && i < SHOWN_MAX; i++)
        describe_node(doctor, finding, &nodes, nodes.nodes[i]);
    if (nodes.count > SHOWN_MAX)
        np_found(finding, "; and so on");
    np_means(finding, NP_DOCTOR_OK, "pools have arenas on nodes %s",
             np_doctor_list_text(list, sizeof list, nodes.memory, nodes.memory_count));
    count_kinds(doctor, &nodes, &memory_only, &without_memory);
    if (memory_only > 0)
        np_means(finding, NP_DOCTOR_NOTE,
                 "%d of memory alone (CXL, persistent memory): no thread is near it, and slots go there when a pool says so",
                 memory_only);
    if (without_memory > 0)
        np_means(finding, NP_DOCTOR_NOTE, "%d without memory: threads there take slots of the nearest node that has some",
                 without_memory);
    if (nodes.nodes[nodes.count - 1] != nodes.count - 1)
        np_means(finding, NP_DOCTOR_NOTE, "their numbers have gaps");
}

void np_doctor_emulated(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    (void)doctor;
    const char *topology = getenv("NUMAPOOL_TOPOLOGY");
    if (!topology || !topology[0]) {
        np_found(finding, "NUMAPOOL_TOPOLOGY is not set");
        np_means(finding, NP_DOCTOR_OK, "nodes are those of the machine");
        return;
    }
    np_found(finding, "NUMAPOOL_TOPOLOGY=%.200s", topology);
    np_means(finding, NP_DOCTOR_WARNING,
             "nodes of a daemon or program started from here are made up, and nothing is bound to them: this proves nothing "
             "about where memory is");
    np_mend(finding, "unset NUMAPOOL_TOPOLOGY");
}

/* ---------------------------------------------------------------- distances */

/* The row of node `of`; how many. */
static int distances_of(const struct np_doctor *doctor, int of, int *distances, int capacity)
{
    char path[PATH_MAX], line[NP_SYSTEM_TEXT_BYTES];
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/distance", of);
    if (!np_doctor_line(doctor, path, line, sizeof line))
        return 0;
    int count = 0;
    char *rest = line, *word;
    while (count < capacity && (word = strsep(&rest, " ")) != NULL)
        if (word[0] >= '0' && word[0] <= '9')
            distances[count++] = (int)strtol(word, NULL, 10);
    return count;
}

void np_doctor_distances(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static struct np_doctor_nodes nodes;
    static int rows[SHOWN_MAX][NP_NODES_MAX];
    int least = INT_MAX, most = 0;
    bool asymmetric = false, own_is_further = false;
    np_doctor_nodes_read(doctor, &nodes);
    if (nodes.count == 1) {
        np_found(finding, "1 node");
        np_means(finding, NP_DOCTOR_OK, "all memory is equally near");
        return;
    }
    int shown = nodes.count < SHOWN_MAX ? nodes.count : SHOWN_MAX;
    for (int i = 0; i < shown; i++) {
        if (distances_of(doctor, nodes.nodes[i], rows[i], NP_NODES_MAX) != nodes.count) {
            finding->found[0] = '\0';
            np_found(finding, "cannot be told: node%d/distance does not have %d numbers", nodes.nodes[i], nodes.count);
            np_means(finding, NP_DOCTOR_NOTE,
                     "'preferred' and 'nearest' go by distances: without them all other nodes count as equally far");
            return;
        }
        np_found(finding, "%sfrom node %d:", i ? "; " : "", nodes.nodes[i]);
        for (int j = 0; j < shown; j++) {
            np_found(finding, " %d", rows[i][j]);
            if (j == i)
                continue;
            least = rows[i][j] < least ? rows[i][j] : least;
            most = rows[i][j] > most ? rows[i][j] : most;
            own_is_further |= rows[i][j] <= rows[i][i];
        }
    }
    for (int i = 0; i < shown; i++)
        for (int j = 0; j < i; j++)
            asymmetric |= rows[i][j] != rows[j][i];
    if (least == most)
        np_means(finding, NP_DOCTOR_OK,
                 "every other node is equally far: a thread whose node is empty takes the lowest of them");
    else
        np_means(finding, NP_DOCTOR_OK,
                 "a thread whose node is empty takes the nearest other one by these, where its pool allows that");
    if (asymmetric)
        np_means(finding, NP_DOCTOR_NOTE, "there and back differ: from each node its own row counts");
    if (own_is_further)
        np_means(finding, NP_DOCTOR_NOTE,
                 "another node counts as near as a node's own, which is the firmware's mistake (SLIT): a node's own memory "
                 "is taken first all the same");
}

/* ---------------------------------------------------------------- CPUs, cpusets */

void np_doctor_cpus(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static int online[NUMBERS_MAX], present[NUMBERS_MAX], offline[NUMBERS_MAX];
    char text[256];
    int online_count = read_numbers(doctor, "/sys/devices/system/cpu/online", online, NUMBERS_MAX), offline_count = 0;
    int present_count = read_numbers(doctor, "/sys/devices/system/cpu/present", present, NUMBERS_MAX);
    if (online_count <= 0) {
        np_found(finding, "cannot be told: no list in /sys/devices/system/cpu/online");
        np_means(finding, NP_DOCTOR_NOTE, "the node of a thread is asked of the kernel as it runs, and needs no list");
        return;
    }
    np_found(finding, "online %s", np_doctor_list_text(text, sizeof text, online, online_count));
    for (int i = 0; i < present_count; i++)
        if (!has(online, online_count, present[i]))
            offline[offline_count++] = present[i];
    if (offline_count == 0) {
        np_means(finding, NP_DOCTOR_OK, "all that are there");
        return;
    }
    np_doctor_list_text(text, sizeof text, offline, offline_count);
    np_found(finding, ", offline %s", text);
    np_means(finding, NP_DOCTOR_NOTE, "nothing runs on those; the memory of their nodes is used like any other");
    np_mend(finding, "chcpu -e %s", text);
}

static void take_first(void *argument, const char *directory, bool version_2)
{
    char *first = argument;
    (void)version_2;
    if (first[0] == '\0')
        snprintf(first, PATH_MAX, "%s", directory);
}

/* What of `wanted` is not in the list in /proc/self/status under key; -1: it is not said. */
static int missing_of(const struct np_doctor *doctor, const char *key, const int *wanted, int wanted_count, int *missing)
{
    static int allowed[NUMBERS_MAX];
    char text[1024];
    int allowed_count = np_doctor_status(doctor, key, text, sizeof text) ? parse_list(text, allowed, NUMBERS_MAX) : -1,
        count = 0;
    if (allowed_count <= 0)
        return -1;
    for (int i = 0; i < wanted_count; i++)
        if (!has(allowed, allowed_count, wanted[i]))
            missing[count++] = wanted[i];
    return count;
}

void np_doctor_cpuset(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static struct np_doctor_nodes nodes;
    static int cpus[NUMBERS_MAX], missing[NUMBERS_MAX];
    char text[256], all[256], directory[PATH_MAX] = "", quoted[PATH_MAX + 64];
    np_doctor_nodes_read(doctor, &nodes);
    np_cgroup_each_level(doctor->root, "cpuset", take_first, directory);
    int count = missing_of(doctor, "Mems_allowed_list", nodes.memory, nodes.memory_count, missing);
    if (count < 0) {
        np_found(finding, "cannot be told: /proc/self/status does not say which nodes are allowed");
        np_means(finding, NP_DOCTOR_NOTE, "every node with memory is taken for allowed");
    } else if (count > 0) {
        np_found(finding, "no memory of node%s %s for this process", count > 1 ? "s" : "",
                 np_doctor_list_text(text, sizeof text, missing, count));
        np_means(finding, count == nodes.memory_count ? NP_DOCTOR_ERROR : NP_DOCTOR_NOTE,
                 count == nodes.memory_count ? "no pool can be made from here"
                                             : "a daemon started from here makes no arena there, and says so where one is "
                                               "asked for by number");
        np_doctor_list_text(all, sizeof all, nodes.memory, nodes.memory_count);
        if (directory[0])
            np_mend(finding, "echo %s > %s/cpuset.mems", all, np_doctor_quote(quoted, sizeof quoted, directory));
    } else {
        np_found(finding, "memory of every node");
        np_means(finding, NP_DOCTOR_OK, "pools may have arenas on all of them");
    }
    int cpu_count = read_numbers(doctor, "/sys/devices/system/cpu/online", cpus, NUMBERS_MAX);
    count = cpu_count > 0 ? missing_of(doctor, "Cpus_allowed_list", cpus, cpu_count, missing) : -1;
    if (count < 0) {
        np_found(finding, ", which CPUs are allowed cannot be told");
    } else if (count > 0) {
        np_found(finding, ", not CPUs %s", np_doctor_list_text(text, sizeof text, missing, count));
        np_means(finding, NP_DOCTOR_NOTE,
                 "programs started from here do not run there, and take slots of the nodes of the other CPUs");
        np_mend(finding, "taskset -pc %s $$", np_doctor_list_text(all, sizeof all, cpus, cpu_count));
    } else {
        np_found(finding, ", every CPU");
    }
}

/* ---------------------------------------------------------------- memory */

void np_doctor_node_memory(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static struct np_doctor_nodes nodes;
    char text[NP_SIZE_TEXT_BYTES];
    uint64_t least = UINT64_MAX;
    int poorest = 0;
    np_doctor_nodes_read(doctor, &nodes);
    for (int i = 0; i < nodes.memory_count; i++) {
        uint64_t bytes = np_budget_node_bytes(doctor->root, nodes.memory[i]);
        if (bytes < least) {
            least = bytes;
            poorest = nodes.memory[i];
        }
        if (i < SHOWN_MAX)
            np_found(finding, "%snode %d: %s", i ? ", " : "", nodes.memory[i],
                     bytes == UINT64_MAX ? "cannot be told" : np_size_text_down(text, bytes));
    }
    if (nodes.memory_count > SHOWN_MAX)
        np_found(finding, ", and so on");
    np_found(finding, " to spare");
    if (least == UINT64_MAX)
        np_means(finding, NP_DOCTOR_NOTE, "pools are made without a look at what is left");
    else if (least >= 256 * MIB)
        np_means(finding, NP_DOCTOR_OK, "a pool takes no more of a node than that, so that the rest of the machine lives");
    else {
        np_means(finding, NP_DOCTOR_WARNING, "node %d has little left: a pool that wants more there is refused", poorest);
        np_mend(finding, "echo 1 > /proc/sys/vm/drop_caches");
    }
}
