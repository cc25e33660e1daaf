/* SPDX-License-Identifier: MIT */
#include "core/wipe.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"

static size_t whole_pages(size_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

void *np_wipe_alloc(size_t bytes)
{
    if (sysconf(_SC_PAGESIZE) != 4096) {
        np_error(-ENOSYS, "this kernel's pages have %ld bytes; numapool needs one whose pages have 4096", sysconf(_SC_PAGESIZE));
        return NULL;
    }
    size_t length = whole_pages(bytes);
    void *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) {
        np_error(-ENOMEM, "cannot map %zu bytes of private memory (%s): free memory, or raise LimitAS= or vm.max_map_count", length,
                 strerror(errno));
        return NULL;
    }
    if (madvise(address, length, MADV_WIPEONFORK) != 0) {
        np_error(-ENOSYS, "the kernel has no MADV_WIPEONFORK (Linux 4.14), without which a forked child could use its parent's slots");
        munmap(address, length);
        return NULL;
    }
    return address;
}

void np_wipe_free(void *address, size_t bytes)
{
    if (address)
        munmap(address, whole_pages(bytes));
}
