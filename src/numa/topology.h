/* SPDX-License-Identifier: MIT
 * Which nodes there are. The public part of it is in numa/placement.h. */
#ifndef NP_NUMA_TOPOLOGY_H
#define NP_NUMA_TOPOLOGY_H

#include <stdbool.h>

/* More than any Linux kernel is built for (CONFIG_NODES_SHIFT is at most 10). */
enum { NP_NODES_MAX = 1024 };

/* np_nodes_with_memory, on the machine whose /proc and /sys are below root. */
int np_topology_nodes(const char *root, int *nodes, int capacity);

/* How many nodes of the machine have memory, allowed to this process or not; 1 where the kernel does not say. */
int np_topology_machine_nodes(const char *root);

/* Memory of this process cannot come from anywhere but this node, whether the kernel lets us bind it or not. */
bool np_topology_is_only_node(const char *root, int node);

#endif
