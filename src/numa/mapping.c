/* SPDX-License-Identifier: MIT
 * Memory that is there already: mapping it, showing it to others, asking where it is. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "core/error.h"
#include "numa/imagined.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/shield.h"
#include "numa/topology.h"

enum { VERIFY_PAGES = 1024 /* asked for in one call: 12 KiB of stack */ };

/* Page size of a memory file: its block size says it for hugetlb files only. */
static size_t file_page_bytes(int fd)
{
    struct statfs status;
    if (fstatfs(fd, &status) == 0 && status.f_type == HUGETLBFS_MAGIC && status.f_bsize > 0)
        return (size_t)status.f_bsize;
    return NP_SMALL_PAGE_BYTES;
}

int np_memory_map(void **address, int fd, size_t bytes, bool writable, bool prefault, const char *what)
{
    *address = NULL;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return np_error(-EINVAL, "the descriptor for %s is not a memory file that can be sealed (%s)", what, strerror(errno));
    if ((seals & F_SEAL_SHRINK) == 0)
        return np_error(-EINVAL,
                        "the memory file for %s is not sealed against shrinking: whoever made it could make this process "
                        "fault; use a daemon of this version",
                        what);
    struct stat status;
    if (fstat(fd, &status) != 0)
        return np_error(-errno, "cannot see the size of the memory file for %s (fstat: %s)", what, strerror(errno));
    if (bytes == 0 || status.st_size < 0 || bytes > (uint64_t)status.st_size)
        return np_error(-EINVAL, "%s is said to have %zu bytes, and its memory file has %lld", what, bytes,
                        (long long)status.st_size);
    size_t page_bytes = file_page_bytes(fd);
    if (bytes % page_bytes != 0)
        return np_error(-EINVAL, "%s is said to have %zu bytes, no whole number of its pages of %zu", what, bytes, page_bytes);

    int code = np_mapping_make(address, fd, bytes, writable);
    if (code < 0)
        return np_error(code, "cannot map the %zu bytes of %s for %s (%s)%s", bytes, what, writable ? "writing" : "reading",
                        strerror(-code), code == -ENOMEM ? ": raise LimitAS= or vm.max_map_count" : "");
    np_shield_put(*address, bytes, page_bytes, what);
    if (!prefault)
        return 0;
    code = np_pages_prefault(*address, bytes, page_bytes, writable);
    if (code == 0)
        return 0;
    np_mapping_remove(*address, bytes);
    *address = NULL;
    return np_error(code == -EFAULT ? -ENOMEM : code,
                    "cannot build the page tables for %s (%s): free memory or raise the memory limit of this process's cgroup",
                    what, strerror(-code));
}

void np_memory_unmap(void *address, size_t bytes)
{
    np_imagined_unmapped(address);
    np_mapping_remove(address, bytes);
}

int np_memory_reopen_readonly(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int readonly = open(path, O_RDONLY | O_CLOEXEC);
    if (readonly >= 0)
        return readonly;
    int code = errno;
    return np_error(-code, "cannot open the memory file of descriptor %d for reading only (%s: %s): /proc must be mounted", fd,
                    path, strerror(code));
}

/* Page by page, where move_pages(2) is refused: containers that may bind memory (CAP_SYS_NICE) may ask so. A page that is
 * not there is made; those that are asked about were. */
static int ask_one_by_one(unsigned long count, void *const *pages, int *status)
{
    for (unsigned long i = 0; i < count; i++)
        if (get_mempolicy(&status[i], NULL, 0, pages[i], MPOL_F_NODE | MPOL_F_ADDR) != 0) {
            if (errno == EPERM || errno == ENOSYS)
                return -errno;
            status[i] = -errno;
        }
    return 0;
}

/* Without target nodes move_pages(2) moves nothing and only reports. */
static int ask_nodes(unsigned long count, void **pages, int *status)
{
    if (move_pages(0, count, pages, NULL, status, 0) >= 0)
        return 0;
    int code = errno, result = code == EPERM || code == ENOSYS ? ask_one_by_one(count, pages, status) : -code;
    if (result < 0)
        return np_error(-code,
                        "cannot ask on which node pages are (move_pages: %s): allow move_pages(2) or get_mempolicy(2), in a container by "
                        "--cap-add SYS_NICE, which gives the latter, or by a seccomp profile of its own",
                        strerror(code));
    return 0;
}

int np_memory_verify(const void *address, size_t bytes, size_t page_bytes, int node, uint64_t *misplaced_pages)
{
    assert(page_bytes > 0);
    const char *start = address;
    const int physical = np_node_physical(node);
    void *pages[VERIFY_PAGES];
    int status[VERIFY_PAGES];
    uint64_t misplaced = 0;
    *misplaced_pages = 0;
    for (size_t done = 0; done < bytes;) {
        unsigned long count = 0;
        for (; count < VERIFY_PAGES && done < bytes; count++, done += page_bytes)
            pages[count] = (void *)(start + done);
        int result = ask_nodes(count, pages, status);
        if (result < 0)
            return result;
        for (unsigned long i = 0; i < count; i++)
            if (status[i] < 0 || (physical >= 0 && status[i] != physical))
                misplaced++;
    }
    *misplaced_pages = misplaced;
    return 0;
}
