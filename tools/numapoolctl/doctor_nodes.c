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

/* ---------------------------------------------------------------- what there is */

static void tell_kinds(const struct np_topology *topology, struct np_doctor_finding *finding)
{
    unsigned memory_only = 0, without_memory = 0, without_running = 0;
    for (unsigned i = 0; i < topology->count; i++) {
        const struct np_topology_node *node = &topology->nodes[i];
        without_running += node->cpus == 0 && node->offline_cpus > 0;
        memory_only += np_topology_is_memory_only(node) && node->offline_cpus == 0;
        without_memory += node->memory_bytes == 0;
    }
    if (memory_only > 0)
        np_means(finding, NP_DOCTOR_NOTE,
                 "%u of memory alone (CXL, persistent memory): no thread is near it, and slots go there when a pool says so",
                 memory_only);
    if (without_running > 0)
        np_means(finding, NP_DOCTOR_NOTE, "%u whose CPUs are all offline: it counts as memory alone", without_running);
    if (without_memory > 0)
        np_means(finding, NP_DOCTOR_NOTE, "%u without memory: threads there take slots of the nearest node that has some",
                 without_memory);
    if (topology->nodes[topology->count - 1].number != (int)topology->count - 1)
        np_means(finding, NP_DOCTOR_NOTE, "their numbers have gaps");
}

void np_doctor_nodes(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static int numbers[NP_NODES_MAX];
    const struct np_topology *topology = &doctor->topology;
    char text[NP_DOCTOR_TEXT_BYTES], list[256];
    np_topology_describe(topology, text, sizeof text);
    np_found(finding, "%s", text);
    int count = 0;
    for (unsigned i = 0; i < topology->count; i++)
        if (np_topology_has_room(&topology->nodes[i]))
            numbers[count++] = topology->nodes[i].number;
    if (topology->count == 1)
        np_means(finding, NP_DOCTOR_OK, "all memory is on node %d: placement has nothing to choose",
                 topology->nodes[0].number);
    else if (count > 0)
        np_means(finding, NP_DOCTOR_OK, "pools can have arenas on node%s %s", count == 1 ? "" : "s",
                 np_doctor_list_text(list, sizeof list, numbers, count));
    else
        np_means(finding, NP_DOCTOR_ERROR, "pools can have arenas nowhere; see cpuset");
    tell_kinds(topology, finding);
}

void np_doctor_emulated(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    const char *given = getenv("NUMAPOOL_TOPOLOGY");
    struct np_topology imagined;
    char text[NP_DOCTOR_TEXT_BYTES / 2];
    (void)doctor;
    if (!given || !given[0]) {
        np_found(finding, "NUMAPOOL_TOPOLOGY is not set");
        np_means(finding, NP_DOCTOR_OK, "nodes are those of the machine");
        return;
    }
    np_found(finding, "NUMAPOOL_TOPOLOGY=%.200s: ", given);
    np_mend(finding, "unset NUMAPOOL_TOPOLOGY");
    if (np_topology_imagine(&imagined, given) < 0) {
        np_found(finding, "no nodes can be made of it");
        np_means(finding, NP_DOCTOR_ERROR, "%.500s", np_error_sentence());
        return;
    }
    np_topology_describe(&imagined, text, sizeof text);
    np_topology_free(&imagined);
    np_found(finding, "%s", text);
    np_means(finding, NP_DOCTOR_WARNING,
             "the nodes of a daemon or program started from here are made up, and their memory is taken from the machine's "
             "own: this proves nothing about where memory is");
}

/* ---------------------------------------------------------------- distances */

/* Whether the kernel says as many distances as there are nodes; what it leaves out is made up for when the topology is read.
 */
static bool are_said(const struct np_doctor *doctor, int node)
{
    char path[PATH_MAX], line[NP_SYSTEM_TEXT_BYTES];
    unsigned words = 0;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/distance", node);
    if (!np_doctor_line(doctor, path, line, sizeof line))
        return false;
    for (const char *at = line; *at; at += strspn(at, " ")) {
        at += strcspn(at, " ");
        words++;
    }
    return words == doctor->topology.count;
}

void np_doctor_distances(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    const struct np_topology *topology = &doctor->topology;
    unsigned least = UINT_MAX, most = 0;
    bool asymmetric = false, others_as_near = false;
    if (topology->count == 1) {
        np_found(finding, "1 node");
        np_means(finding, NP_DOCTOR_OK, "all memory is equally near");
        return;
    }
    for (unsigned i = 0; i < topology->count; i++) {
        int from = topology->nodes[i].number;
        if (!are_said(doctor, from)) {
            finding->found[0] = '\0';
            np_found(finding, "cannot be told: node%d/distance does not have %u numbers", from, topology->count);
            np_means(finding, NP_DOCTOR_NOTE,
                     "the nearest node is found by distances: without them all others count as equally far");
            return;
        }
        if (i < SHOWN_MAX)
            np_found(finding, "%sfrom node %d:", i ? "; " : "", from);
        for (unsigned j = 0; j < topology->count; j++) {
            int to = topology->nodes[j].number;
            unsigned distance = np_topology_distance(topology, from, to);
            if (i < SHOWN_MAX && j < SHOWN_MAX)
                np_found(finding, " %u", distance);
            if (j == i)
                continue;
            least = distance < least ? distance : least;
            most = distance > most ? distance : most;
            others_as_near |= distance <= np_topology_distance(topology, from, from);
            asymmetric |= distance != np_topology_distance(topology, to, from);
        }
    }
    if (topology->count > SHOWN_MAX)
        np_found(finding, "; and so on");
    np_means(finding, NP_DOCTOR_OK,
             least == most ? "every other node is equally far: a thread whose node is empty takes the lowest of them"
                           : "a thread whose node is empty takes the nearest other one by these, where its pool allows "
                             "that");
    if (asymmetric)
        np_means(finding, NP_DOCTOR_NOTE, "there and back differ: from each node its own row counts");
    if (others_as_near)
        np_means(finding, NP_DOCTOR_NOTE,
                 "another node counts as near as a node's own, which is the firmware's mistake (SLIT): a node's own memory "
                 "is "
                 "taken first all the same");
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

/* Of the process's own group; "": it is in none. */
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

/* Nodes with memory that this process may not use. */
static void tell_memory(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static int nodes[NP_NODES_MAX], forbidden[NP_NODES_MAX];
    char said[8], text[256], all[256], directory[PATH_MAX] = "", quoted[PATH_MAX + 64];
    int count = np_doctor_memory_nodes(doctor, nodes), forbidden_count = 0;
    for (int i = 0; i < count; i++)
        if (!np_topology_find(&doctor->topology, nodes[i])->memory_allowed)
            forbidden[forbidden_count++] = nodes[i];
    if (!np_doctor_status(doctor, "Mems_allowed_list", said, sizeof said)) {
        np_found(finding, "cannot be told: /proc/self/status does not say which nodes are allowed");
        np_means(finding, NP_DOCTOR_NOTE, "every node with memory is taken for allowed");
        return;
    }
    if (forbidden_count == 0) {
        np_found(finding, "memory of every node");
        np_means(finding, NP_DOCTOR_OK, "pools may have arenas on all of them");
        return;
    }
    np_found(finding, "no memory of node%s %s for this process", forbidden_count > 1 ? "s" : "",
             np_doctor_list_text(text, sizeof text, forbidden, forbidden_count));
    if (forbidden_count == count)
        np_means(finding, NP_DOCTOR_ERROR, "no pool can be made from here");
    else
        np_means(finding, NP_DOCTOR_NOTE,
                 "a daemon started from here makes no arena there, and says so where one is asked for by number");
    np_doctor_list_text(all, sizeof all, nodes, count);
    np_cgroup_each_level(doctor->root, "cpuset", take_first, directory);
    if (directory[0])
        np_mend(finding, "echo %s > %s/cpuset.mems", all, np_doctor_quote(quoted, sizeof quoted, directory));
}

/* The group forbids them, or somebody has set this process's affinity. */
static void mend_cpus(const struct np_doctor *doctor, struct np_doctor_finding *finding, const int *cpus, int count)
{
    static int of_group[NUMBERS_MAX];
    char all[256], directory[PATH_MAX] = "", path[PATH_MAX + 32], quoted[PATH_MAX + 64];
    bool forbidden = false;
    np_doctor_list_text(all, sizeof all, cpus, count);
    np_cgroup_each_level(doctor->root, "cpuset", take_first, directory);
    snprintf(path, sizeof path, "%s/cpuset.cpus.effective", directory); /* of version 2 */
    int allowed = read_numbers(doctor, path, of_group, NUMBERS_MAX);
    if (allowed < 0) {
        snprintf(path, sizeof path, "%s/cpuset.cpus", directory);
        allowed = read_numbers(doctor, path, of_group, NUMBERS_MAX);
    }
    for (int i = 0; i < count && allowed >= 0; i++)
        forbidden |= !has(of_group, allowed, cpus[i]);
    if (directory[0] && forbidden)
        np_mend(finding, "echo %s > %s/cpuset.cpus", all, np_doctor_quote(quoted, sizeof quoted, directory));
    else
        np_mend(finding, "taskset -pc %s $$", all);
}

void np_doctor_cpuset(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static int cpus[NUMBERS_MAX], missing[NUMBERS_MAX];
    char text[256];
    tell_memory(doctor, finding);
    int cpu_count = read_numbers(doctor, "/sys/devices/system/cpu/online", cpus, NUMBERS_MAX);
    int count = cpu_count > 0 ? missing_of(doctor, "Cpus_allowed_list", cpus, cpu_count, missing) : -1;
    if (count < 0) {
        np_found(finding, ", which CPUs are allowed cannot be told");
    } else if (count > 0) {
        np_found(finding, ", not CPUs %s", np_doctor_list_text(text, sizeof text, missing, count));
        np_means(finding, NP_DOCTOR_NOTE,
                 "programs started from here do not run there, and take slots of the nodes of the other CPUs");
        mend_cpus(doctor, finding, cpus, cpu_count);
    } else {
        np_found(finding, ", every CPU");
    }
}

/* ---------------------------------------------------------------- memory */

void np_doctor_node_memory(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static int nodes[NP_NODES_MAX];
    char text[NP_SIZE_TEXT_BYTES];
    uint64_t least = UINT64_MAX;
    int poorest = 0, count = np_doctor_memory_nodes(doctor, nodes);
    for (int i = 0; i < count; i++) {
        uint64_t bytes = np_budget_node_bytes(doctor->root, nodes[i]);
        if (bytes < least) {
            least = bytes;
            poorest = nodes[i];
        }
        if (i < SHOWN_MAX)
            np_found(finding, "%snode %d: %s", i ? ", " : "", nodes[i],
                     bytes == UINT64_MAX ? "cannot be told" : np_size_text_down(text, bytes));
    }
    if (count > SHOWN_MAX)
        np_found(finding, ", and so on");
    np_found(finding, " to spare");
    if (least == UINT64_MAX)
        np_means(finding, NP_DOCTOR_NOTE, "pools are made without a look at what is left");
    else if (least >= 256 * MIB)
        np_means(finding, NP_DOCTOR_OK, "a pool takes no more of a node than that, so that the rest of the machine lives");
    else {
        np_means(finding, NP_DOCTOR_WARNING, "node %d has little left: a pool that wants more there is refused", poorest);
    }
}
