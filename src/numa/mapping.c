/* SPDX-License-Identifier: MIT
 * Memory that is there already: mapping it, showing it to others. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/error.h"
#include "numa/imagined.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/shield.h"
#include "numa/topology.h"

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
    size_t page_bytes = np_file_page_bytes(fd);
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
