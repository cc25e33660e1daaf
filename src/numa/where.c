/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numa/where.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/topology.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define PAGEMAP_PRESENT (UINT64_C(1) << 63)

enum {
    ASKED_AT_ONCE = 1024, /* pages: 12 KiB of stack */
    PARTS = (int)(NP_HUGE_PAGE_BYTES / NP_SMALL_PAGE_BYTES),
    TRIES_MAX = 100
};

/* ---------------------------------------------------------------- asking the kernel */

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

/* Those that move_pages(2) says are not there, and the page tables say are: it does not know the pages of devices. What is
 * not in the page tables either is not asked about, for that would make it. */
static void ask_again(unsigned long count, void *const *pages, int *status)
{
    int fd = -1;
    for (unsigned long i = 0; i < count; i++) {
        uint64_t entry;
        if (status[i] != -ENOENT)
            continue;
        if (fd < 0 && (fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) < 0)
            return;
        off_t at = (off_t)((uintptr_t)pages[i] / NP_SMALL_PAGE_BYTES * sizeof entry);
        int node;
        if (pread(fd, &entry, sizeof entry, at) == (ssize_t)sizeof entry && (entry & PAGEMAP_PRESENT) != 0 &&
            get_mempolicy(&node, NULL, 0, pages[i], MPOL_F_NODE | MPOL_F_ADDR) == 0)
            status[i] = node;
    }
    if (fd >= 0)
        close(fd);
}

/* Without target nodes move_pages(2) moves nothing and only reports. */
static int ask_nodes(unsigned long count, void **pages, int *status)
{
    if (move_pages(0, count, pages, NULL, status, 0) >= 0) {
        ask_again(count, pages, status);
        return 0;
    }
    int code = errno, result = code == EPERM || code == ENOSYS ? ask_one_by_one(count, pages, status) : -code;
    if (result < 0)
        return np_error(-code,
                        "cannot ask on which node pages are (move_pages: %s): allow move_pages(2) or get_mempolicy(2), in a "
                        "container by "
                        "--cap-add SYS_NICE, which gives the latter, or by a seccomp profile of its own",
                        strerror(code));
    return 0;
}

/* ---------------------------------------------------------------- counting */

static void count_page(struct np_where *where, int status, int node)
{
    int found = status < 0 ? NP_WHERE_NOWHERE : status;
    unsigned at = 0;
    where->pages++;
    where->elsewhere += found < 0 || (node >= 0 && found != node);
    while (at < where->count && where->on[at].node != found)
        at++;
    if (at == NP_WHERE_NODES)
        at--;
    if (at == where->count) {
        where->on[at].node = found;
        where->on[at].pages = 0;
        where->count++;
    }
    where->on[at].pages++;
}

static int count_whole(const char *start, size_t bytes, size_t page_bytes, int node, struct np_where *where)
{
    void *pages[ASKED_AT_ONCE];
    int status[ASKED_AT_ONCE];
    for (size_t done = 0; done < bytes;) {
        unsigned long count = 0;
        for (; count < ASKED_AT_ONCE && done < bytes; count++, done += page_bytes)
            pages[count] = (void *)(uintptr_t)(start + done);
        int result = ask_nodes(count, pages, status);
        if (result < 0)
            return result;
        for (unsigned long i = 0; i < count; i++)
            count_page(where, status[i], node);
    }
    return 0;
}

/* A huge page's place whose parts are small pages. */
static int count_split(const char *start, int node, struct np_where *where)
{
    void *pages[PARTS];
    int status[PARTS];
    for (size_t i = 0; i < PARTS; i++)
        pages[i] = (void *)(uintptr_t)(start + i * NP_SMALL_PAGE_BYTES);
    int result = ask_nodes(PARTS, pages, status);
    if (result < 0)
        return result;
    const int home = node >= 0 ? node : status[0];
    int found = home;
    for (size_t i = 0; i < PARTS && found == home; i++)
        found = status[i] < 0 ? NP_WHERE_NOWHERE : status[i];
    count_page(where, found, node);
    where->split++;
    return 0;
}

int np_memory_where(const void *address, size_t bytes, size_t page_bytes, bool may_split, int node, struct np_where *where)
{
    assert(page_bytes > 0);
    const char *start = address;
    if (!may_split || page_bytes != NP_HUGE_PAGE_BYTES || np_pages_transparent_bytes(address, bytes) == bytes)
        return count_whole(start, bytes, page_bytes, node, where);
    for (size_t done = 0; done < bytes; done += page_bytes) {
        int result = np_pages_transparent_bytes(start + done, page_bytes) == page_bytes
                         ? count_whole(start + done, page_bytes, page_bytes, node, where)
                         : count_split(start + done, node, where);
        if (result < 0)
            return result;
    }
    return 0;
}

int np_memory_verify(const void *address, size_t bytes, size_t page_bytes, int node, uint64_t *misplaced_pages)
{
    struct np_where where = { 0 };
    *misplaced_pages = 0;
    /* Of hugetlb pages the question whether they are in parts costs a little time, and has an answer. */
    int result = np_memory_where(address, bytes, page_bytes, page_bytes == NP_HUGE_PAGE_BYTES, np_node_physical(node),
                                 &where);
    if (result == 0)
        *misplaced_pages = where.elsewhere;
    return result;
}

/* ---------------------------------------------------------------- of files */

/* Maps a slice for reading, with its page tables. Nothing touches it, so that what is not there faults nobody. */
static int map_slice(void **address, int fd, uint64_t offset, size_t bytes)
{
    int code = np_mapping_make_at(address, fd, offset, bytes, false);
    if (code < 0)
        return np_error(code, "cannot map %zu bytes of a pool to look at them: %s", bytes, strerror(-code));
    for (int i = 0; i < TRIES_MAX; i++) {
        if (madvise(*address, bytes, MADV_POPULATE_READ) == 0)
            return 0;
        if (errno != EINTR && errno != EAGAIN)
            break;
    }
    code = -errno;
    np_mapping_remove(*address, bytes);
    return np_error(code, "cannot build page tables to look at the pool (%s)", strerror(-code));
}

int np_file_where(int fd, uint64_t offset, size_t bytes, size_t page_bytes, bool may_split, int node, struct np_where *where)
{
    void *address;
    int result = map_slice(&address, fd, offset, bytes);
    if (result < 0)
        return result;
    result = np_memory_where(address, bytes, page_bytes, may_split, node, where);
    np_mapping_remove(address, bytes);
    return result;
}
