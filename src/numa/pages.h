/* SPDX-License-Identifier: MIT
 * Mappings and the pages under them: what placement is put together from. */
#ifndef NP_NUMA_PAGES_H
#define NP_NUMA_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NP_SMALL_PAGE_BYTES ((size_t)4096)
#define NP_HUGE_PAGE_BYTES  ((size_t)2 << 20)
#define NP_GIANT_PAGE_BYTES ((size_t)1 << 30)

/* Maps `bytes` of fd (-1: private anonymous memory), aligned so that a huge page can be under it, between two pages that
 * nobody may touch: what runs over an end faults, and the kernel cannot join the mapping with its neighbour, which would
 * blur the count of its huge pages. Not inherited by children. 0 or -errno, without a sentence. */
int np_mapping_make(void **address, int fd, size_t bytes, bool writable);

/* The same of part of a file: offset is one of a page of it. */
int np_mapping_make_at(void **address, int fd, uint64_t offset, size_t bytes, bool writable);

/* Page size of a memory file. Of transparent huge pages it says nothing. */
size_t np_file_page_bytes(int fd);

/* Takes away what either made. */
void np_mapping_remove(void *address, size_t bytes);

/* Commits the pages of [offset, offset + bytes) of the mapping at `base`, which nobody uses yet. fd as in np_mapping_make.
 * 0 or -errno: -ENOMEM and -EFAULT mean that there are no more such pages. */
int np_pages_populate(void *base, int fd, size_t offset, size_t bytes, size_t page_bytes);

/* Builds the page tables over memory that others may already use: never changes what is in it. 0 or -errno. */
int np_pages_prefault(void *address, size_t bytes, size_t page_bytes, bool writable);

/* Asks for transparent huge pages under [offset, offset + bytes), whole ones, of memory that nobody uses yet, whatever the
 * kernel's sysfs settings are for memory at large. Commits at least one small page of each. 0: all of it is on them;
 * -errno: not, or the kernel does not say. */
int np_pages_collapse(void *base, int fd, size_t offset, size_t bytes);

/* How much of the memory, all of a mapping and not hugetlb, lies on transparent huge pages. 0 where the kernel does not say. */
uint64_t np_pages_transparent_bytes(const void *address, size_t bytes);
/* The same by a text such as /proc/self/smaps. */
uint64_t np_pages_transparent_bytes_in(FILE *smaps, const void *address, size_t bytes);

#endif
