/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numa/pages.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "numa/shield.h"

/* Names that kernel headers before 5.14 and 6.1 lack. A kernel that does not know them answers EINVAL. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* PAGEMAP_SCAN of Linux 6.7: which pages of a range are of some kind. */
struct pagemap_region {
    uint64_t start, end, categories;
};
struct pagemap_scan {
    uint64_t size, flags, start, end, walk_end, regions, regions_max, pages_max;
    uint64_t category_inverted, category_mask, category_any, category_return;
};
_Static_assert(sizeof(struct pagemap_scan) == 96, "the kernel's struct pm_scan_arg");
#define PAGEMAP_SCAN_CALL _IOWR('f', 16, struct pagemap_scan)
#define PAGEMAP_IS_HUGE   (UINT64_C(1) << 6)

enum { TRIES_MAX = 100 /* of a call that was only interrupted or told to come back */ };

static const size_t guard_bytes = NP_SMALL_PAGE_BYTES;

static size_t whole_small_pages(size_t bytes)
{
    return (bytes + NP_SMALL_PAGE_BYTES - 1) & ~(NP_SMALL_PAGE_BYTES - 1);
}

size_t np_file_page_bytes(int fd)
{
    struct statfs status;
    if (fstatfs(fd, &status) == 0 && status.f_type == HUGETLBFS_MAGIC && status.f_bsize > 0)
        return (size_t)status.f_bsize;
    return NP_SMALL_PAGE_BYTES; /* the block size of other memory files is no page's */
}

static size_t alignment_of(int fd, size_t bytes)
{
    if (bytes < NP_HUGE_PAGE_BYTES)
        return NP_SMALL_PAGE_BYTES;
    /* Where no page of 1 GiB can be meant nobody is asked. */
    return bytes >= NP_GIANT_PAGE_BYTES && fd >= 0 && np_file_page_bytes(fd) == NP_GIANT_PAGE_BYTES ? NP_GIANT_PAGE_BYTES
                                                                                                    : NP_HUGE_PAGE_BYTES;
}

int np_mapping_make(void **address, int fd, size_t bytes, bool writable)
{
    return np_mapping_make_at(address, fd, 0, bytes, writable);
}

int np_mapping_make_at(void **address, int fd, uint64_t offset, size_t bytes, bool writable)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX - 2 * NP_GIANT_PAGE_BYTES)
        return -ENOMEM;
    bytes = whole_small_pages(bytes);
    size_t alignment = alignment_of(fd, bytes);
    size_t reserved_bytes = bytes + alignment - NP_SMALL_PAGE_BYTES + 2 * guard_bytes;
    char *reserved = mmap(NULL, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return -errno;

    uintptr_t lowest = (uintptr_t)reserved + guard_bytes;
    char *start = reserved + ((lowest + alignment - 1) / alignment * alignment - (uintptr_t)reserved);
    int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    int flags = MAP_FIXED | (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);
    if (mmap(start, bytes, protection, flags, fd, (off_t)offset) == MAP_FAILED || madvise(start, bytes, MADV_DONTFORK) != 0) {
        int code = -errno;
        munmap(reserved, reserved_bytes);
        return code;
    }

    char *first = start - guard_bytes, *last = start + bytes + guard_bytes;
    if (first > reserved)
        munmap(reserved, (size_t)(first - reserved));
    if (last < reserved + reserved_bytes)
        munmap(last, (size_t)(reserved + reserved_bytes - last));
    *address = start;
    return 0;
}

void np_mapping_remove(void *address, size_t bytes)
{
    if (address == NULL)
        return;
    bytes = whole_small_pages(bytes);
    char *start = address;
    np_shield_drop(start); /* before somebody else's may lie there */
    if (bytes < NP_HUGE_PAGE_BYTES) {
        munmap(start - guard_bytes, bytes + 2 * guard_bytes);
        return;
    }
    /* In steps: a huge page is between them, whose size the whole length is no multiple of. */
    munmap(start, bytes);
    munmap(start - guard_bytes, guard_bytes);
    munmap(start + bytes, guard_bytes);
}

/* madvise until it says something final. */
static int advise(void *address, size_t bytes, int advice)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        if (madvise(address, bytes, advice) == 0)
            return 0;
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
    }
    return -errno;
}

static void touch(char *address, size_t bytes, size_t page_bytes, bool write)
{
    for (size_t i = 0; i < bytes; i += page_bytes) {
        volatile char *byte = address + i;
        if (write)
            *byte = 0;
        else
            (void)*byte;
    }
}

int np_pages_populate(void *base, int fd, size_t offset, size_t bytes, size_t page_bytes)
{
    assert(page_bytes > 0 && offset % page_bytes == 0 && bytes % page_bytes == 0);
    char *address = (char *)base + offset;
    int code = advise(address, bytes, MADV_POPULATE_WRITE);
    if (code != -EINVAL && code != -ENOSYS)
        return code;
    /* A kernel before 5.14. Touching a page of a file that cannot be had is a SIGBUS; fallocate says it in a civil way. */
    for (int i = 0; fd >= 0 && fallocate(fd, 0, (off_t)offset, (off_t)bytes) != 0; i++)
        if (errno != EINTR || i == TRIES_MAX)
            return errno == ENOSPC ? -ENOMEM : -errno;
    touch(address, bytes, page_bytes, true);
    return 0;
}

int np_pages_prefault(void *address, size_t bytes, size_t page_bytes, bool writable)
{
    assert(page_bytes > 0);
    int code = advise(address, bytes, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    if (code != -EINVAL && code != -ENOSYS)
        return code;
    touch(address, bytes, page_bytes, false);
    return 0;
}

int np_pages_collapse(void *base, int fd, size_t offset, size_t bytes)
{
    assert(offset % NP_HUGE_PAGE_BYTES == 0 && bytes % NP_HUGE_PAGE_BYTES == 0);
    /* The first small page says which node the huge one comes from. The others need not be there, and need no copying. */
    for (size_t i = 0; i < bytes; i += NP_HUGE_PAGE_BYTES) {
        int code = np_pages_populate(base, fd, offset + i, NP_SMALL_PAGE_BYTES, NP_SMALL_PAGE_BYTES);
        if (code < 0)
            return code;
    }
    return advise((char *)base + offset, bytes, MADV_COLLAPSE);
}

uint64_t np_pages_transparent_bytes_in(FILE *smaps, const void *address, size_t bytes)
{
    uintptr_t wanted_from = (uintptr_t)address, wanted_to = wanted_from + bytes;
    uint64_t found = 0;
    bool inside = false;
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, smaps) > 0) {
        uintptr_t from, to;
        uint64_t kib;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            if (from >= wanted_to)
                break;
            /* A mapping that reaches beyond ours does not say where in it its huge pages are. */
            inside = from >= wanted_from && to <= wanted_to;
        } else if (inside && (sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1 ||
                              sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1)) {
            found += kib * 1024;
        }
    }
    free(line);
    return found;
}

/* False: the kernel has no such call, or refuses it. */
static bool scan_transparent(const void *address, size_t bytes, uint64_t *found)
{
    struct pagemap_region regions[16] = { { 0 } }; /* memcheck does not know the call, and that it fills them */
    struct pagemap_scan scan = {.size = sizeof scan,
                                .start = (uintptr_t)address,
                                .end = (uintptr_t)address + bytes,
                                .regions = (uintptr_t)regions,
                                .regions_max = sizeof regions / sizeof regions[0],
                                .category_mask = PAGEMAP_IS_HUGE,
                                .category_return = PAGEMAP_IS_HUGE};
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    int count = 0;
    *found = 0;
    while (scan.start < scan.end && (count = ioctl(fd, PAGEMAP_SCAN_CALL, &scan)) >= 0) {
        for (int i = 0; i < count; i++)
            *found += regions[i].end - regions[i].start;
        if (scan.walk_end <= scan.start)
            break;
        scan.start = scan.walk_end;
    }
    close(fd);
    return count >= 0;
}

uint64_t np_pages_transparent_bytes(const void *address, size_t bytes)
{
    uint64_t found = 0;
    /* smaps is a text about every page of this process, however much that has mapped besides */
    if (scan_transparent(address, bytes, &found))
        return found;
    FILE *smaps = fopen("/proc/self/smaps", "re");
    if (smaps == NULL)
        return 0;
    found = np_pages_transparent_bytes_in(smaps, address, bytes);
    fclose(smaps);
    return found;
}
