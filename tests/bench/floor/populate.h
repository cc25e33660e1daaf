/* SPDX-License-Identifier: MIT
 *
 * Memory made ready as fast as is known: mapped, and every page there and zero, which the kernel does as it gives them. Nothing
 * is asked first, bound to a node, looked at afterwards or sealed.
 */
#ifndef NP_BENCH_FLOOR_POPULATE_H
#define NP_BENCH_FLOOR_POPULATE_H

#include <stddef.h>

enum bench_pages {
    BENCH_PAGES_PRIVATE, /* anonymous, transparent huge pages where there are some */
    BENCH_PAGES_SHARED,  /* a memfd, the same */
    BENCH_PAGES_HUGETLB, /* a memfd of hugetlb pages of 2 MiB */
};

struct bench_memory {
    char *reserved, *address;
    size_t bytes;
    int fd; /* -1: none */
};

void bench_memory_make(struct bench_memory *memory, size_t bytes, enum bench_pages pages);
void bench_memory_unmake(struct bench_memory *memory);

/* An aligned place for a mapping of so many bytes, at which nothing can be touched; unmapped by bench_memory_unmake. */
void bench_memory_reserve(struct bench_memory *memory, size_t bytes);

/* Private mappings, and a mapping of a file that exists, page tables and all. */
void bench_memory_populate(char *address, size_t bytes);

#endif
