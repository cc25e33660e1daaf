/* SPDX-License-Identifier: MIT
 *
 * Which nodes there are: the machine's, as /proc and /sys below a root directory say, or imagined ones (NUMAPOOL_TOPOLOGY), on which
 * everything but the memory is real.
 *
 * Read from files and not through libnuma, which learns all of it once, when it is loaded, and cannot see nodes come and go; and which
 * asks get_mempolicy(2), that the seccomp profiles of common containers refuse. Tests compare both.
 */
#ifndef NP_NUMA_TOPOLOGY_H
#define NP_NUMA_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than any Linux kernel is built for (CONFIG_NODES_SHIFT is at most 10). */
enum { NP_NODES_MAX = 1024 };

/* Of the kernel: to itself, and what it takes for an unreachable node. */
enum { NP_DISTANCE_SELF = 10, NP_DISTANCE_FAR = 255 };

struct np_topology_node {
    int number;
    unsigned cpus;         /* of it that are online; 0: memory-only, or none of it is online */
    unsigned offline_cpus;
    uint64_t memory_bytes; /* 0: a node without memory */
    bool memory_allowed;   /* to this process (cpuset.mems) */
    bool cpus_allowed;     /* one of its CPUs is allowed to this process when it was read (sched affinity, cpusets) */
    int physical;          /* whose memory is really taken: see np_topology_physical */
};

struct np_topology {
    unsigned count;                 /* ascending by number; numbers may be sparse */
    struct np_topology_node *nodes;
    uint8_t *distances;             /* [count * count], by place */
    int16_t *cpu_nodes;             /* [cpu_limit]: number of the node that the CPU is of, online ones only; -1: nobody's */
    unsigned cpu_limit;
    bool emulated;
    char name[64];                  /* of an emulated one: as it was given */
    uint64_t fingerprint;           /* of an emulated one, of all that it says; 0: the machine's */
};

/* Reads the machine below root. Where the kernel has no NUMA: node 0 with all CPUs and all memory. A file that is not there or
 * makes no sense is made up for: distance 20, allowed, a share of the machine's memory. 0 or -ENOMEM. */
int np_topology_read(struct np_topology *topology, const char *root);
/* An imagined one: "4x1G" (nodes of so much memory each, this machine's CPUs dealt out to them, distance 20), or else the path of a
 * file. -EINVAL with file and line, -ENOENT... */
int np_topology_imagine(struct np_topology *topology, const char *text);
/* The same of the text of a file; `path` names it in errors. NULL: the text is as in "4x1G". `machine`: over which it is laid. */
int np_topology_imagine_text(struct np_topology *topology, const char *text, const char *path, const struct np_topology *machine);
void np_topology_free(struct np_topology *topology);

/* This process's: read at the first call; $NUMAPOOL_TOPOLOGY, else the machine. Never freed: a pointer stays good when another
 * one takes its place. NULL: it cannot be had, with the sentence; nothing works then. Any thread. */
const struct np_topology *np_topology(void);
/* Reads it anew. 1: something has changed, 0, or -errno: it stays as it was. Any thread. */
int np_topology_reload(void);
/* Whether two of them say the same. A machine's memory may have grown or shrunk by less than an eighth: it does while its pages
 * are set up or ballooned away, and nothing would be decided otherwise. */
bool np_topology_same(const struct np_topology *one, const struct np_topology *other);
/* What has changed from one to the next, in one sentence for people ("node 2 is gone; node 3 has come"); its length. */
int np_topology_difference(const struct np_topology *before, const struct np_topology *after, char *text, size_t bytes);

/* What is used and what is not, and why, in one line for people: "2 of 4 nodes: 0 (7.4 GiB, CPUs 0-1), 1 (...); not used: node 2
 * (not allowed: cpuset.mems), node 3 (no memory)". Its length; what does not fit is left out behind "...". */
int np_topology_describe(const struct np_topology *topology, char *text, size_t bytes);

/* NULL: there is no such node. */
const struct np_topology_node *np_topology_find(const struct np_topology *topology, int node);
/* NP_DISTANCE_FAR: one of them is not there. */
unsigned np_topology_distance(const struct np_topology *topology, int from, int to);
/* Whether slots can be there: it has memory, which this process may use. */
bool np_topology_has_room(const struct np_topology_node *node);
/* Whether it is of the slower tier: it has memory and no CPU. */
bool np_topology_is_memory_only(const struct np_topology_node *node);
/* All nodes that can have slots, the nearest to `from` first (itself, then by distance, then by number); `from` need not be one of
 * them, or be there at all. How many there are, of which at most `capacity` are stored. */
int np_topology_by_distance(const struct np_topology *topology, int from, int *nodes, int capacity);

/* The node whose memory is really taken for it: itself, but for imagined nodes, which are dealt out to the machine's. -1: anywhere. */
int np_topology_physical(const struct np_topology *topology, int node);
/* The same by np_topology(). Whoever compares a node with what move_pages(2) says wants this of it. */
int np_node_physical(int node);

/* Node of a device: a network interface, an nvme or other block device, or a PCI address. -ENODEV: no such device; -ENXIO: the machine
 * does not say on which node it is, and there are several. */
int np_topology_device_node(const char *root, const char *device);

/* Nodes with memory that is allowed to this process, ascending, on the machine whose /proc and /sys are below root: memory-only ones
 * too. How many (at most `capacity`), or -errno. np_nodes_with_memory (placement.h) is the same of np_topology(). */
int np_topology_nodes(const char *root, int *nodes, int capacity);

/* How many nodes of the machine have memory, allowed to this process or not; 1 where the kernel does not say. */
int np_topology_machine_nodes(const char *root);

/* Memory of this process cannot come from anywhere but this node, whether the kernel lets us bind it or not. */
bool np_topology_is_only_node(const char *root, int node);

#endif
