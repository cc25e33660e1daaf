/* SPDX-License-Identifier: MIT
 * Memory where it was asked for: committed, bound to its node, of the right pages, and verified. */
#ifndef NP_NUMA_PLACEMENT_H
#define NP_NUMA_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum np_sharing {
    NP_SHARED, /* a sealed memfd, mode 0600, close-on-exec */
    NP_PRIVATE /* anonymous memory of this process alone (fd is -1) */
};

/* One of page_flags, instead of a pool's: transparent huge pages as far as whole ones fit, small ones for the rest. Not a
 * page more than is asked for, and never refused for want of huge pages. Never hugetlb, whose mappings must have lengths
 * that clients do not know of. */
#define NP_PAGES_MIXED (UINT64_C(1) << 63)

struct np_memory {
    int fd;            /* owned; -1 for private memory */
    void *address;     /* mapped read-write, MADV_DONTFORK */
    size_t bytes;      /* whole pages */
    size_t huge_bytes; /* from its start, that are on transparent huge pages */
    size_t page_bytes; /* of the pages it is really on: 4 KiB, 2 MiB (transparent ones: when all of it is) or 1 GiB */
    int node;          /* -1: not bound; of np_topology(): where it is imagined, the memory is on np_node_physical of it */
    bool transparent;  /* page_bytes are transparent huge pages */
};

/* Commits `bytes` (rounded up to whole pages) on `node` (-1: anywhere): compares with what the node and the cgroup have left,
 * maps, binds, populates, verifies and seals. `what` names it in errors ("payload of pool 'pay'").
 * `page_flags`, other bits of which are ignored:
 *   NUMAPOOL_HUGE_1G   hugetlb pages of 1 GiB; with NUMAPOOL_PAGES_FALLBACK else of 2 MiB, else as these
 *   NUMAPOOL_HUGE_2M   hugetlb pages; with NUMAPOOL_PAGES_FALLBACK else transparent ones, else small ones
 *   NUMAPOOL_HUGE_THP  transparent huge pages under all of it; with NUMAPOOL_PAGES_FALLBACK else small ones
 *   NP_PAGES_MIXED     both, see above
 *   0                  the best there is, in that order, where huge pages waste at most 12 %; else small ones. Never pages of 1 GiB
 * 0; -ENOMEM (node, cgroup, address space); -ENOSPC (pages of the kind asked for); -EINVAL (node, no bytes, several kinds at
 * once); -EPERM or -ENOSYS: the system refuses to bind or to verify, and there is more than one node that it could be on;
 * another -errno of memfd_create. Nothing is left on failure. Any thread. A process that dies in it leaves nothing. */
int np_memory_create(struct np_memory *memory, const char *what, size_t bytes, int node, uint64_t page_flags,
                     enum np_sharing sharing);

/* The same on `node` or, where it is none that can be used, on the nearest that can, or, where there is no room, anywhere: for small pieces
 * that are better off near somebody but must be had. memory->node: the node that it is on; -1: not all of it is on one that was chosen
 * (and it is bound to none in any case). Takes no longer than memory that may be anywhere, where the machine has one node. */
int np_memory_create_near(struct np_memory *memory, const char *what, size_t bytes, int node, uint64_t page_flags,
                          enum np_sharing sharing);

/* Unmaps and closes. Safe on a zeroed struct with fd -1 or address NULL. */
void np_memory_destroy(struct np_memory *memory);

/* Maps what another process made. Checks that the file is sealed against shrinking and at least `bytes` long (whole pages
 * of it), so that no access can fault. writable: PROT_WRITE too. prefault: page tables now; never changes the contents.
 * The mapping is MADV_DONTFORK, and the page before and the one after it fault. fd stays the caller's.
 * 0; -EINVAL: not such a file; -EACCES: a read-only descriptor and writable; -ENOMEM. */
int np_memory_map(void **address, int fd, size_t bytes, bool writable, bool prefault, const char *what);

/* Takes away what np_memory_map mapped, with the same `bytes`. NULL is nothing. */
void np_memory_unmap(void *address, size_t bytes);

/* A read-only descriptor of the same memfd, for those who may only look. A descriptor or -errno. */
int np_memory_reopen_readonly(int fd);

/* How many pages of it are not on `node` (of np_topology(): on the machine's node that stands for it; -1: not there at all), by move_pages(2) in slices, or by
 * get_mempolicy(2). A page that this process has no page table entry for counts too: map with prefault first. 0 or -errno (-EPERM,
 * -ENOSYS: both are refused). */
int np_memory_verify(const void *address, size_t bytes, size_t page_bytes, int node, uint64_t *misplaced_pages);

/* 0 when node (-1: the machine) and this process's cgroup can give `bytes` more, else -ENOMEM with the sentence. An imagined node must have
 * them left as well as the machine's node that stands for it. */
int np_memory_budget(const char *what, size_t bytes, int node);

/* Nodes that have memory and are allowed to this process, ascending; returns how many (at most `capacity`), or -errno. */
int np_nodes_with_memory(int *nodes, int capacity);

/* Node of the CPU that the calling thread runs on, or 0. A few loads. */
int np_node_of_this_thread(void);
/* From one node to another, of the topology that this process has. */
unsigned np_node_distance(int from, int to);

#endif
