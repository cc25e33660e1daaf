/* SPDX-License-Identifier: MIT
 * Questions to a topology. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numa/topology.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "numa/placement.h"
#include "numa/system_files.h"

/* Where it stands in the table, by halving: numbers ascend. -1: nowhere. */
static int place_of(const struct np_topology *topology, int node)
{
    unsigned low = 0, high = topology->count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (topology->nodes[middle].number < node)
            low = middle + 1;
        else
            high = middle;
    }
    return low < topology->count && topology->nodes[low].number == node ? (int)low : -1;
}

const struct np_topology_node *np_topology_find(const struct np_topology *topology, int node)
{
    int place = place_of(topology, node);
    return place < 0 ? NULL : &topology->nodes[place];
}

unsigned np_topology_distance(const struct np_topology *topology, int from, int to)
{
    int row = place_of(topology, from), column = place_of(topology, to);
    if (row < 0 || column < 0)
        return NP_DISTANCE_FAR;
    return topology->distances[(size_t)row * topology->count + (size_t)column];
}

bool np_topology_has_room(const struct np_topology_node *node)
{
    return node->memory_bytes > 0 && node->memory_allowed;
}

bool np_topology_is_memory_only(const struct np_topology_node *node)
{
    return node->memory_bytes > 0 && node->cpus == 0;
}

int np_topology_by_distance(const struct np_topology *topology, int from, int *nodes, int capacity)
{
    int count = 0, stored = 0;
    for (unsigned i = 0; i < topology->count; i++) {
        if (!np_topology_has_room(&topology->nodes[i]))
            continue;
        int node = topology->nodes[i].number;
        count++;
        /* Inserted behind what is as near: by number among equals. The node itself is nearest whatever the machine's tables say. */
        unsigned distance = node == from ? 0 : np_topology_distance(topology, from, node);
        int at = stored;
        while (at > 0 && nodes[at - 1] != from && np_topology_distance(topology, from, nodes[at - 1]) > distance)
            at--;
        if (at >= capacity)
            continue;
        int moved = stored < capacity ? stored - at : capacity - 1 - at;
        memmove(&nodes[at + 1], &nodes[at], (size_t)moved * sizeof nodes[0]);
        nodes[at] = node;
        if (stored < capacity)
            stored++;
    }
    return count;
}

int np_topology_physical(const struct np_topology *topology, int node)
{
    const struct np_topology_node *found = np_topology_find(topology, node);
    if (found != NULL)
        return found->physical;
    return topology->emulated ? -1 : node;
}

int np_node_physical(int node)
{
    const struct np_topology *topology = node < 0 ? NULL : np_topology();
    return topology == NULL ? node : np_topology_physical(topology, node);
}

void np_topology_free(struct np_topology *topology)
{
    free(topology->nodes);
    free(topology->distances);
    free(topology->cpu_nodes);
    *topology = (struct np_topology){0};
}

/* ---------------------------------------------------------------- lists of nodes */

static int nodes_with_room(const struct np_topology *topology, int *nodes, int capacity)
{
    if (capacity < 1)
        return np_error(-EINVAL, "the list of memory nodes needs room for at least one node");
    int count = 0;
    for (unsigned i = 0; i < topology->count && count < capacity; i++)
        if (np_topology_has_room(&topology->nodes[i]))
            nodes[count++] = topology->nodes[i].number;
    if (count == 0)
        return np_error(-ENODEV, "none of the nodes that this process may use has memory: widen its cpuset.mems");
    return count;
}

int np_topology_nodes(const char *root, int *nodes, int capacity)
{
    struct np_topology topology;
    int result = np_topology_read(&topology, root);
    if (result < 0)
        return result;
    result = nodes_with_room(&topology, nodes, capacity);
    np_topology_free(&topology);
    return result;
}

int np_topology_machine_nodes(const char *root)
{
    char text[NP_SYSTEM_TEXT_BYTES];
    int count = 0;
    if (np_system_file_read(root, "/sys/devices/system/node/has_memory", text, sizeof text) > 0)
        count = np_system_list_parse(text, NULL, 0);
    return count <= 0 ? 1 : count < NP_NODES_MAX ? count : NP_NODES_MAX;
}

bool np_topology_is_only_node(const char *root, int node)
{
    int nodes[2];
    return np_topology_nodes(root, nodes, 2) == 1 && nodes[0] == node;
}

int np_nodes_with_memory(int *nodes, int capacity)
{
    const struct np_topology *topology = np_topology();
    return topology == NULL ? -ENODEV : nodes_with_room(topology, nodes, capacity);
}
