/* SPDX-License-Identifier: MIT
 * Read from /proc and /sys and not through get_mempolicy(2), which the seccomp profiles of common containers refuse. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numa/topology.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "core/error.h"
#include "numa/placement.h"
#include "numa/system_files.h"

/* The nodes that the kernel lists in has_memory, else node 0: a kernel without NUMA has neither file nor other nodes. */
static int machine_nodes(const char *root, int *nodes, int capacity)
{
    char text[NP_SYSTEM_TEXT_BYTES];
    int count = 0;
    if (np_system_file_read(root, "/sys/devices/system/node/has_memory", text, sizeof text) > 0)
        count = np_system_list_parse(text, nodes, capacity);
    if (count > 0)
        return count < capacity ? count : capacity;
    nodes[0] = 0;
    return 1;
}

int np_topology_machine_nodes(const char *root)
{
    int nodes[NP_NODES_MAX];
    return machine_nodes(root, nodes, NP_NODES_MAX);
}

static bool contains(const int *nodes, int count, int node)
{
    for (int i = 0; i < count; i++)
        if (nodes[i] == node)
            return true;
    return false;
}

int np_topology_nodes(const char *root, int *nodes, int capacity)
{
    if (capacity < 1)
        return np_error(-EINVAL, "the list of memory nodes needs room for at least one node");
    int present[NP_NODES_MAX], allowed[NP_NODES_MAX];
    int present_count = machine_nodes(root, present, NP_NODES_MAX);
    int allowed_count = 0;

    static const char label[] = "Mems_allowed_list:";
    char text[NP_SYSTEM_TEXT_BYTES];
    const char *line = NULL;
    if (np_system_file_read(root, "/proc/self/status", text, sizeof text) > 0)
        line = strstr(text, label);
    if (line != NULL) {
        line += sizeof label - 1;
        line += strspn(line, " \t");
        allowed_count = np_system_list_parse(line, allowed, NP_NODES_MAX);
        if (allowed_count > NP_NODES_MAX)
            allowed_count = NP_NODES_MAX;
    }

    int count = 0;
    for (int i = 0; i < present_count && count < capacity; i++)
        if (allowed_count <= 0 || contains(allowed, allowed_count, present[i]))
            nodes[count++] = present[i];
    if (count == 0)
        return np_error(-ENODEV, "none of the nodes that this process may use has memory: widen its cpuset.mems");
    return count;
}

bool np_topology_is_only_node(const char *root, int node)
{
    int nodes[2];
    return np_topology_nodes(root, nodes, 2) == 1 && nodes[0] == node;
}

int np_nodes_with_memory(int *nodes, int capacity)
{
    return np_topology_nodes(NP_SYSTEM_ROOT, nodes, capacity);
}

int np_node_of_this_thread(void)
{
    unsigned cpu, node;
    return getcpu(&cpu, &node) == 0 && node < NP_NODES_MAX ? (int)node : 0;
}
