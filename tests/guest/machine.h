/* SPDX-License-Identifier: MIT
 *
 * The machine as tests see it: by /sys and move_pages(2), and by nothing of numapool's, which is what is judged.
 */
#ifndef NUMAPOOL_TESTS_GUEST_MACHINE_H
#define NUMAPOOL_TESTS_GUEST_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MACHINE_NODES_MAX = 16, MACHINE_CPUS_MAX = 64 };

struct machine_node {
    int number;
    uint64_t memory_bytes, free_bytes; /* when it was read */
    unsigned cpu_count;                /* 0: memory-only */
    int cpus[MACHINE_CPUS_MAX];
    unsigned distance[MACHINE_NODES_MAX]; /* by place */
};

struct machine {
    unsigned node_count; /* ascending by number */
    struct machine_node nodes[MACHINE_NODES_MAX];
    unsigned cpu_count;
    int cpus[MACHINE_CPUS_MAX]; /* of all nodes, in their order */
};

/* Ends the program where /sys cannot be read. */
void machine_read(struct machine *machine);
/* One line of what there is. */
void machine_tell(const struct machine *machine);
const struct machine_node *machine_node(const struct machine *machine, int number);
/* Nodes with CPUs. */
unsigned machine_nodes_with_cpus(const struct machine *machine);
/* -1: there is no such CPU. */
int machine_node_of_cpu(const struct machine *machine, int cpu);
/* The calling thread runs there from now on, and does already. Ends the program where it is refused. */
void machine_run_on_cpu(int cpu);
/* On the node's first CPU. */
void machine_run_on_node(const struct machine *machine, int number);
unsigned machine_distance(const struct machine *machine, int from, int to);

/* Pages, of 4 KiB each whatever they are part of. */
struct machine_pages {
    uint64_t looked_at, elsewhere, not_there;
    uint64_t on[MACHINE_NODES_MAX]; /* by number of the node */
};
/* Asks the kernel where they are, each of them, and adds it; the memory is read before, so that this process maps it.
 * -errno. */
int machine_pages_look(const void *address, size_t bytes, int node, struct machine_pages *pages);
/* Moves the page at that address, whoever maps it. 0; -errno: why not. */
int machine_page_move(void *address, int node);

/* One value of a file as meminfo has them, in bytes ("MemFree"). 0: it has none. */
uint64_t machine_node_bytes(int number, const char *what);

#endif
