/* SPDX-License-Identifier: MIT */
#include "populate.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../bench.h"

/* Of Linux 5.14 and 6.1. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

#define HUGE_BYTES ((size_t)2 << 20)
#define SMALL_BYTES ((size_t)4096)

void bench_memory_reserve(struct bench_memory *memory, size_t bytes)
{
    memory->bytes = (bytes + SMALL_BYTES - 1) / SMALL_BYTES * SMALL_BYTES;
    memory->reserved = mmap(NULL, memory->bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory->reserved == MAP_FAILED)
        bench_fail("no room for %zu bytes: %s", bytes, strerror(errno));
    memory->address = (char *)(((uintptr_t)memory->reserved + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
    memory->fd = -1;
}

void bench_memory_populate(char *address, size_t bytes)
{
    if (madvise(address, bytes, MADV_POPULATE_WRITE) != 0)
        bench_fail("%zu bytes cannot be populated: %s", bytes, strerror(errno));
}

/* Whatever the settings for shared memory at large: one small page of each huge one first, from which it is collapsed. */
static void populate_file(const struct bench_memory *memory)
{
    size_t whole = memory->bytes / HUGE_BYTES * HUGE_BYTES;
    for (size_t i = 0; i < whole; i += HUGE_BYTES)
        bench_memory_populate(memory->address + i, SMALL_BYTES);
    if (whole > 0)
        (void)madvise(memory->address, whole, MADV_COLLAPSE); /* refused: the rest comes as small pages */
    bench_memory_populate(memory->address, memory->bytes);
}

/* False: so many huge pages are not free any more; nothing is left of the try. */
static bool make_huge(struct bench_memory *memory, size_t bytes)
{
    bench_memory_reserve(memory, (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
    memory->fd = memfd_create("bench", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    if (memory->fd >= 0 && ftruncate(memory->fd, (off_t)memory->bytes) == 0 &&
        mmap(memory->address, memory->bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED, memory->fd, 0) != MAP_FAILED &&
        madvise(memory->address, memory->bytes, MADV_POPULATE_WRITE) == 0)
        return true;
    bench_memory_unmake(memory);
    return false;
}

void bench_memory_make(struct bench_memory *memory, size_t bytes, enum bench_pages pages)
{
    static bool said;
    if (pages == BENCH_PAGES_HUGETLB && make_huge(memory, bytes))
        return;
    if (pages == BENCH_PAGES_HUGETLB && !said) { /* as the pool does, which then has others too */
        fprintf(stderr, "bench: huge pages that were free were taken by somebody else meanwhile: floors are on other pages\n");
        said = true;
    }
    pages = pages == BENCH_PAGES_HUGETLB ? BENCH_PAGES_SHARED : pages;
    bench_memory_reserve(memory, bytes);
    if (pages != BENCH_PAGES_PRIVATE) {
        memory->fd = memfd_create("bench", MFD_CLOEXEC);
        if (memory->fd < 0 || ftruncate(memory->fd, (off_t)memory->bytes) != 0)
            bench_fail("no memory file: %s", strerror(errno));
    }
    int flags = MAP_FIXED | (pages == BENCH_PAGES_PRIVATE ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    if (mmap(memory->address, memory->bytes, PROT_READ | PROT_WRITE, flags, memory->fd, 0) == MAP_FAILED)
        bench_fail("%zu bytes cannot be mapped: %s", memory->bytes, strerror(errno));
    if (pages == BENCH_PAGES_PRIVATE)
        (void)madvise(memory->address, memory->bytes, MADV_HUGEPAGE); /* refused where there are none */
    if (pages == BENCH_PAGES_SHARED)
        populate_file(memory);
    else
        bench_memory_populate(memory->address, memory->bytes);
}

void bench_memory_unmake(struct bench_memory *memory)
{
    munmap(memory->reserved, memory->bytes + HUGE_BYTES);
    if (memory->fd >= 0)
        close(memory->fd);
    *memory = (struct bench_memory){ .fd = -1 };
}
