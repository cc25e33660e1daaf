/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "numa/pages.h"
#include "numa/topology.h"
#include "numa/where.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum {
    PAGES_MAX = NP_WHERE_SLICE_BYTES / (int)NP_SMALL_PAGE_BYTES,
    TRIES_MAX = 100,
    PASSES_MAX = 4 /* a page that somebody is just using is not moved, and mostly is the next time */
};

/* One slice; the keeper is one thread, and a test is too. */
struct slice {
    char *start;
    size_t bytes, page_bytes;
    unsigned long pages;
    int node;
    int status[PAGES_MAX];
    void *asked[PAGES_MAX];
    int nodes[PAGES_MAX];
};

static int look(struct slice *slice)
{
    for (unsigned long i = 0; i < slice->pages; i++)
        slice->asked[i] = slice->start + i * slice->page_bytes;
    return move_pages(0, slice->pages, slice->asked, NULL, slice->status, 0) < 0 ? -errno : 0;
}

static uint64_t count_elsewhere(const struct slice *slice)
{
    uint64_t count = 0;
    for (unsigned long i = 0; i < slice->pages; i++)
        count += slice->status[i] != slice->node;
    return count;
}

/* Chooses what to move. A huge page goes as a whole when its first part is named, and the others would be refused since it
 * is already on its way: so at first only the first part that is elsewhere is named of each place for a huge page. */
static unsigned long choose(struct slice *slice, bool each_part)
{
    const unsigned long parts = slice->page_bytes < NP_HUGE_PAGE_BYTES ? NP_HUGE_PAGE_BYTES / slice->page_bytes : 1;
    unsigned long count = 0, named_in = PAGES_MAX;
    for (unsigned long i = 0; i < slice->pages; i++) {
        if (slice->status[i] == slice->node || slice->status[i] < 0 || (!each_part && named_in == i / parts))
            continue;
        named_in = i / parts;
        slice->asked[count] = slice->start + i * slice->page_bytes;
        slice->nodes[count++] = slice->node;
    }
    return count;
}

/* 0, or why some could not be moved. */
static int move_chosen(struct slice *slice, unsigned long count, int flags)
{
    long left = move_pages(0, count, slice->asked, slice->nodes, slice->status, flags);
    if (left < 0)
        return -errno;
    for (unsigned long i = 0; i < count; i++)
        if (slice->status[i] < 0)
            return slice->status[i];
    return left > 0 ? -EBUSY : 0;
}

static int move_all(struct slice *slice)
{
    int flags = MPOL_MF_MOVE_ALL, code = 0;
    uint64_t left = count_elsewhere(slice);
    for (unsigned pass = 0; pass < PASSES_MAX && left > 0; pass++) {
        /* first the huge ones as a whole, then what turned out to be small pages */
        unsigned long count = choose(slice, pass > 0);
        if (count == 0) /* what is left is not there at all */
            return -ENOENT;
        int moved = move_chosen(slice, count, flags);
        if (moved == -EPERM && flags == MPOL_MF_MOVE_ALL) {
            flags = MPOL_MF_MOVE; /* pages that nobody else has mapped */
            code = moved;
            moved = move_chosen(slice, count, flags);
        }
        if (code != -EPERM)
            code = moved;
        if (look(slice) < 0)
            return -errno;
        uint64_t now = count_elsewhere(slice);
        if (moved == -ENODEV || moved == -EACCES || (now == left && pass > 0))
            break;
        left = now;
    }
    return code;
}

static int populate(const struct slice *slice)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        if (madvise(slice->start, slice->bytes, MADV_POPULATE_READ) == 0)
            return 0;
        if (errno != EINTR && errno != EAGAIN)
            break;
    }
    return -errno;
}

int np_file_move(int fd, uint64_t offset, size_t bytes, int node, struct np_moved *moved)
{
    static struct slice slice;
    struct stat status;
    void *address;
    *moved = (struct np_moved){ 0 };
    size_t page_bytes = np_file_page_bytes(fd), most = page_bytes > NP_WHERE_SLICE_BYTES ? page_bytes : NP_WHERE_SLICE_BYTES;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || fstat(fd, &status) != 0 || status.st_size <= 0)
        return np_error(-EINVAL, "what is to be moved is no memory file");
    /* As all memory of pools is. A file of somebody else that the worker can read, and one that could shrink meanwhile, are not. */
    if ((seals & F_SEAL_SHRINK) == 0)
        return np_error(-EINVAL, "what is to be moved is no memory of a pool: it is not sealed against shrinking");
    if (bytes == 0 || bytes > most || bytes % page_bytes != 0 || offset % page_bytes != 0 ||
        offset > (uint64_t)status.st_size || bytes > (uint64_t)status.st_size - offset)
        return np_error(-EINVAL, "%zu bytes at %llu of a memory file of %lld bytes are not to be moved at once", bytes,
                        (unsigned long long)offset, (long long)status.st_size);
    if (node < 0 || node >= NP_NODES_MAX)
        return np_error(-EINVAL, "pages are to be moved to node %d, and a node is 0 to %d", node, NP_NODES_MAX - 1);
    int code = np_mapping_make_at(&address, fd, offset, bytes, false);
    if (code < 0)
        return np_error(code, "cannot map %zu bytes to move their pages: %s", bytes, strerror(-code));
    slice.start = address;
    slice.bytes = bytes;
    slice.page_bytes = page_bytes;
    slice.pages = bytes / page_bytes;
    slice.node = node;
    code = populate(&slice);
    if (code == 0)
        code = look(&slice);
    if (code == 0) {
        uint64_t before = count_elsewhere(&slice);
        moved->code = before > 0 ? move_all(&slice) : 0;
        moved->elsewhere = count_elsewhere(&slice);
        moved->home = before > moved->elsewhere ? before - moved->elsewhere : 0;
        if (moved->elsewhere == 0)
            moved->code = 0;
        else if (moved->code == 0)
            moved->code = -EBUSY;
    } else {
        np_error(code, "cannot look where the pages are that are to be moved: %s", strerror(-code));
    }
    np_mapping_remove(address, bytes);
    return code;
}
