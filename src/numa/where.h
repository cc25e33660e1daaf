/* SPDX-License-Identifier: MIT
 * On which nodes pages really are, and how they get back to where they should be. Nodes here are the machine's, never
 * imagined ones (np_topology_physical). */
#ifndef NP_NUMA_WHERE_H
#define NP_NUMA_WHERE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NP_WHERE_NODES = 32,  /* told apart; what more there are counts as on the last of them */
    NP_WHERE_NOWHERE = -1 /* a page that is not there at all */
};

/* Counts of pages, all of one size. */
struct np_where {
    uint64_t pages;     /* that were looked at */
    uint64_t elsewhere; /* of them not on the node that they should be on */
    uint64_t split;     /* of huge ones: of which the parts are small pages now */
    unsigned count;
    struct {
        uint64_t pages;
        int node;
    } on[NP_WHERE_NODES]; /* a split page is where it should be only if each of its parts is, else where the first other part
                             is */
};

/* Adds the pages of [address, address + bytes), whole ones, all of which this process has page table entries for: one
 * without counts as nowhere. node: where they should be, or -1: anywhere. may_split: huge pages are transparent ones; small
 * ones may be there in their place, and each is asked about. By move_pages(2), or get_mempolicy(2) page by page where that
 * is refused or has no answer (DAX). 0 or -errno (-EPERM, -ENOSYS: both are refused). Never changes what is in the pages. */
int np_memory_where(const void *address, size_t bytes, size_t page_bytes, bool may_split, int node, struct np_where *where);

/* The same of a part of a memory file that this process need not have mapped: it is mapped for reading, its page tables are
 * built, and it is unmapped again. Not a byte of it is read. */
int np_file_where(int fd, uint64_t offset, size_t bytes, size_t page_bytes, bool may_split, int node,
                  struct np_where *where);

/* As many bytes as are looked at or moved in one go; pages larger than that one at a time. */
enum { NP_WHERE_SLICE_BYTES = 16 << 20 };

struct np_moved {
    uint64_t home;      /* pages (of the file: 4 KiB or hugetlb) that are on the node now and were not before */
    uint64_t elsewhere; /* that are not, still */
    /* 0, or -errno: why. -EPERM: CAP_SYS_NICE is wanted; -ENOMEM: no room there; -ENODEV: no such node now; -EBUSY */
    int code;
};

/* Brings the pages of [offset, offset + bytes) of a memory file, NP_WHERE_SLICE_BYTES or one page at most, onto `node`,
 * whoever has them mapped: that takes CAP_SYS_NICE. Not a byte of it is read or written. 0; -EINVAL: no such part, or of no
 * memory file; -errno: it cannot be mapped. */
int np_file_move(int fd, uint64_t offset, size_t bytes, int node, struct np_moved *moved);

#endif
