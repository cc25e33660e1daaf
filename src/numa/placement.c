/* SPDX-License-Identifier: MIT
 *
 * Invariants of memory that np_memory_create returns:
 *   - every page is there and on its node, so that nobody who maps it can fault or land on another node;
 *   - a shared file keeps its size for ever (sealed), so that no client can make another one fault by shrinking it;
 *   - what the node and the cgroups could give was asked before each slice was taken: overcommitting ends in an error here,
 *     and not in the kernel's killing somebody.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numa/placement.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "numa/budget.h"
#include "numa/imagined.h"
#include "numa/pages.h"
#include "numa/shield.h"
#include "numa/system_files.h"
#include "numa/topology.h"
#include "numapool.h"

/* Names that the headers of older systems lack. */
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif
#ifndef MFD_HUGE_1GB
#define MFD_HUGE_1GB (30u << 26)
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

enum page_kind { GIANT, HUGETLB, TRANSPARENT, SMALL, PAGE_KINDS }; /* the first two are hugetlb pages: reserved, never swapped */

enum {
    SLICE_BYTES = 128 << 20,  /* populated between two looks at the budget */
    VERIFY_TRIES_MAX = 4,     /* a page that is just being moved or swapped looks as if it were not there */
    WASTE_PERCENT_MAX = 12,   /* that rounding up to huge pages may cost without being asked for */
    NODE_MASK_WORDS = NP_NODES_MAX / (8 * (int)sizeof(unsigned long))
};

static size_t page_bytes_of(enum page_kind kind)
{
    return kind == GIANT ? NP_GIANT_PAGE_BYTES : kind == SMALL ? NP_SMALL_PAGE_BYTES : NP_HUGE_PAGE_BYTES;
}

static bool is_reserved(enum page_kind kind)
{
    return kind == GIANT || kind == HUGETLB;
}

static const char *name_of(enum page_kind kind)
{
    return kind == GIANT ? "1 GiB" : "2 MiB";
}

static size_t round_up(size_t bytes, size_t page_bytes)
{
    return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

static size_t whole_huge(size_t bytes)
{
    return bytes / NP_HUGE_PAGE_BYTES * NP_HUGE_PAGE_BYTES;
}

/* The kinds to try, best first, and how many. */
static int kinds_to_try(uint64_t page_flags, size_t bytes, enum page_kind *kinds)
{
    bool fallback = (page_flags & NUMAPOOL_PAGES_FALLBACK) != 0;
    bool giant = (page_flags & NUMAPOOL_HUGE_1G) != 0, hugetlb = (page_flags & NUMAPOOL_HUGE_2M) != 0;
    bool transparent = (page_flags & NUMAPOOL_HUGE_THP) != 0;
    if ((page_flags & NP_PAGES_MIXED) != 0) {
        kinds[0] = bytes >= NP_HUGE_PAGE_BYTES ? TRANSPARENT : SMALL;
        return 1;
    }
    if (!giant && !hugetlb && !transparent) {
        /* Pages of 1 GiB are reserved one by one, for somebody who asks for them by name. */
        size_t waste = round_up(bytes, NP_HUGE_PAGE_BYTES) - bytes;
        hugetlb = transparent = bytes >= NP_HUGE_PAGE_BYTES && waste <= bytes / 100 * WASTE_PERCENT_MAX;
        fallback = true;
    }
    int count = 0;
    if (giant)
        kinds[count++] = GIANT;
    if (hugetlb || (giant && fallback))
        kinds[count++] = HUGETLB;
    if (transparent || ((giant || hugetlb) && fallback))
        kinds[count++] = TRANSPARENT;
    if (fallback)
        kinds[count++] = SMALL;
    assert(count > 0);
    return count;
}

/* ---------------------------------------------------------------- steps of np_memory_create */

static int open_file(const char *what, size_t bytes, enum page_kind kind)
{
    char name[64];
    snprintf(name, sizeof name, "numapool: %s", what);
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    if (is_reserved(kind))
        flags |= MFD_HUGETLB | (kind == GIANT ? MFD_HUGE_1GB : MFD_HUGE_2MB);
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* a kernel before 6.3 */
        fd = memfd_create(name, flags);
    if (fd < 0) {
        int code = errno;
        if (is_reserved(kind) && (code == EINVAL || code == ENODEV || code == ENOSYS || code == ENOENT))
            return np_error(-ENOSPC, "%s cannot be on %s pages: this kernel or processor has no hugetlb pages of that size", what,
                            name_of(kind));
        return np_error(-code, "cannot make a memory file for %s (memfd_create: %s)%s", what, strerror(code),
                        code == EMFILE ? ": raise LimitNOFILE=" : code == ENFILE ? ": raise sysctl fs.file-max" : "");
    }
    if (fchmod(fd, 0600) != 0 || ftruncate(fd, (off_t)bytes) != 0) {
        int code = errno;
        close(fd);
        return np_error(code == ENOSPC || code == EFBIG ? -ENOMEM : -code,
                        "cannot give the memory file for %s its mode and size (%s)", what, strerror(code));
    }
    return fd;
}

static bool is_refusal(int code)
{
    return code == -EPERM || code == -ENOSYS;
}

/* 0 or -errno. */
static int set_policy(const struct np_memory *memory, int policy, int physical)
{
    unsigned long mask[NODE_MASK_WORDS] = {0};
    size_t word_bits = 8 * sizeof mask[0];
    mask[(size_t)physical / word_bits] = 1ul << ((size_t)physical % word_bits);
    return mbind(memory->address, memory->bytes, policy, mask, NP_NODES_MAX + 1, 0) == 0 ? 0 : -errno;
}

/* preferred: the node that memory which may be anywhere had best be on; -1: none. */
static int bind_to_node(const struct np_memory *memory, int preferred, const char *what)
{
    const int physical = np_node_physical(memory->node >= 0 ? memory->node : preferred);
    if (physical < 0 || physical >= NP_NODES_MAX)
        return 0;
    int code = set_policy(memory, memory->node >= 0 ? MPOL_BIND : MPOL_PREFERRED, physical);
    if (code == 0 || memory->node < 0)
        return 0; /* what cannot be preferred is looked for afterwards */
    if (is_refusal(code) && np_topology_is_only_node(NP_SYSTEM_ROOT, physical))
        return 0;
    return np_error(code,
                    "cannot bind %s to node %d (mbind: %s): allow mbind(2), in a container by --cap-add SYS_NICE or its "
                    "seccomp profile, or let it be on any node",
                    what, memory->node, strerror(-code));
}

static int check_huge_budget(const char *what, enum page_kind kind, size_t bytes, int node)
{
    size_t page_bytes = page_bytes_of(kind), wanted = bytes / page_bytes;
    uint64_t unused = np_budget_huge_pages(NP_SYSTEM_ROOT, node, page_bytes);
    if (wanted <= unused)
        return 0;
    if (node < 0)
        return np_error(-ENOSPC,
                        "%s needs %zu pages of %s, of which %" PRIu64 " are free: reserve %" PRIu64 " more in "
                        "/sys/kernel/mm/hugepages/hugepages-%zukB/nr_hugepages, or allow other pages",
                        what, wanted, name_of(kind), unused, wanted - unused, page_bytes / 1024);
    return np_error(-ENOSPC,
                    "%s needs %zu pages of %s on node %d, where %" PRIu64 " are free: reserve %" PRIu64 " more in "
                    "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/nr_hugepages, or allow other pages",
                    what, wanted, name_of(kind), node, unused, wanted - unused, node, page_bytes / 1024);
}

static int populate_failed(const struct np_memory *memory, const char *what, enum page_kind kind, size_t done, int code)
{
    char done_text[NP_SIZE_TEXT_BYTES], all_text[NP_SIZE_TEXT_BYTES];
    np_size_text_down(done_text, done);
    np_size_text_up(all_text, memory->bytes);
    if (is_reserved(kind))
        return np_error(-ENOSPC,
                        "the %s pages ran out after %s of the %s of %s (%s): somebody else took them or a hugetlb cgroup "
                        "limits them; reserve more in /sys/kernel/mm/hugepages/hugepages-%zukB/nr_hugepages, or allow other pages",
                        name_of(kind), done_text, all_text, what, strerror(-code), page_bytes_of(kind) / 1024);
    return np_error(-ENOMEM,
                    "the kernel gave no more memory after %s of the %s of %s (%s): make it smaller, free memory on its "
                    "node, or, where /proc/sys/vm/overcommit_memory is 2, raise the commit limit",
                    done_text, all_text, what, strerror(-code));
}

/* Others take memory too while this runs, so the budget is looked at before each slice, not just once; of the first slice it
 * has just been. */
static int populate(const struct np_memory *memory, int fd, const char *what, enum page_kind kind)
{
    /* Pages are smaller than the kind asked for where there turn out to be no transparent ones. */
    const size_t page_bytes = is_reserved(kind) ? page_bytes_of(kind) : NP_SMALL_PAGE_BYTES;
    const size_t most = page_bytes > SLICE_BYTES ? page_bytes : SLICE_BYTES;
    bool collapse = kind == TRANSPARENT;
    for (size_t done = 0; done < memory->bytes;) {
        size_t left = memory->bytes - done, slice = left < most ? left : most;
        int code = is_reserved(kind) || done == 0 ? 0 : np_budget_now(what, left, np_node_physical(memory->node));
        if (code < 0)
            return code;
        /* Where one huge page was refused the memory as a whole will not be on them, and trying on would only cost time. */
        if (collapse && slice >= NP_HUGE_PAGE_BYTES)
            collapse = np_pages_collapse(memory->address, fd, done, whole_huge(slice)) == 0;
        code = np_pages_populate(memory->address, fd, done, slice, page_bytes);
        if (code < 0)
            return populate_failed(memory, what, kind, done, code);
        done += slice;
    }
    return 0;
}

/* Records the pages that the memory is really on. */
static void measure_pages(struct np_memory *memory, enum page_kind kind)
{
    memory->page_bytes = page_bytes_of(is_reserved(kind) ? kind : SMALL);
    memory->transparent = false;
    memory->huge_bytes = 0;
    if (is_reserved(kind) || memory->bytes < NP_HUGE_PAGE_BYTES)
        return;
    size_t huge_bytes = whole_huge(memory->bytes);
    if (np_pages_transparent_bytes(memory->address, memory->bytes) != huge_bytes)
        return;
    memory->huge_bytes = huge_bytes;
    if (huge_bytes == memory->bytes) {
        memory->page_bytes = NP_HUGE_PAGE_BYTES;
        memory->transparent = true;
    }
}

/* A transparent huge page is on one node as a whole: it is asked about once. */
static int count_misplaced(const struct np_memory *memory, uint64_t *misplaced)
{
    const size_t huge_bytes = memory->huge_bytes;
    uint64_t of_huge = 0, of_rest = 0;
    int code = huge_bytes == 0 ? 0 : np_memory_verify(memory->address, huge_bytes, NP_HUGE_PAGE_BYTES, memory->node, &of_huge);
    if (code == 0)
        code = np_memory_verify((char *)memory->address + huge_bytes, memory->bytes - huge_bytes, memory->page_bytes, memory->node,
                                &of_rest);
    *misplaced = of_huge + of_rest;
    return code;
}

static int verify(const struct np_memory *memory, int fd, const char *what)
{
    if (memory->node < 0)
        return 0;
    uint64_t misplaced = 0;
    for (int i = 0; i < VERIFY_TRIES_MAX; i++) {
        int code = count_misplaced(memory, &misplaced);
        if (is_refusal(code) && np_topology_is_only_node(NP_SYSTEM_ROOT, np_node_physical(memory->node)))
            return 0;
        if (code < 0)
            return np_error_within(code, "%s", what);
        if (misplaced == 0)
            return 0;
        np_pages_populate(memory->address, fd, 0, memory->bytes, memory->page_bytes);
    }
    return np_error(-ENOMEM,
                    "%" PRIu64 " of the %zu pages of %s are not on node %d although they are bound to it: free memory "
                    "there, and look for swapping and page migration on this machine",
                    misplaced, memory->bytes / memory->page_bytes, what, memory->node);
}

static int seal(int fd, const char *what)
{
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        return 0;
    int code = errno;
    return np_error(-code, "cannot seal the size of %s (F_ADD_SEALS: %s)", what, strerror(code));
}

/* One attempt with one kind of page. must_be_huge: transparent pages, or nothing. */
static int create_of_kind(struct np_memory *memory, const char *what, enum page_kind kind, enum np_sharing sharing,
                          bool must_be_huge, int preferred)
{
    int code = is_reserved(kind) ? check_huge_budget(what, kind, memory->bytes, np_node_physical(memory->node))
                                 : np_budget_now(what, memory->bytes, np_node_physical(memory->node));
    if (code < 0)
        return code;

    /* Huge pages without a file would be promised by the whole machine and fail node by node, at the touch. A file can be
     * asked for them. */
    int fd = -1;
    if (sharing == NP_SHARED || is_reserved(kind)) {
        fd = open_file(what, memory->bytes, kind);
        if (fd < 0)
            return fd;
    }
    void *address = NULL;
    code = np_mapping_make(&address, fd, memory->bytes, true);
    if (code < 0) {
        char text[NP_SIZE_TEXT_BYTES];
        np_size_text_up(text, memory->bytes);
        const char *remedy = kind == GIANT     ? "reserve more pages in /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
                             : kind == HUGETLB ? "reserve more pages in /proc/sys/vm/nr_hugepages"
                                               : "make it smaller, or raise LimitAS= or the commit limit";
        code = np_error(is_reserved(kind) ? -ENOSPC : code, "cannot map the %s of %s on pages of %zu bytes (%s): %s", text,
                        what, page_bytes_of(kind), strerror(-code), remedy);
        goto closed;
    }
    memory->address = address;

    code = bind_to_node(memory, preferred, what);
    if (code == 0 && kind == TRANSPARENT)
        /* Refused where the kernel has none; what came of it is measured below. */
        (void)madvise(memory->address, memory->bytes, MADV_HUGEPAGE);
    if (code == 0)
        code = populate(memory, fd, what, kind);
    if (code == 0) {
        measure_pages(memory, kind);
        if (must_be_huge && memory->page_bytes != NP_HUGE_PAGE_BYTES)
            code = np_error(-ENOSPC,
                            "the kernel does not give transparent huge pages for all of %s: enable them in /sys/kernel/mm/"
                            "transparent_hugepage (%s), free and compact memory, or allow other pages",
                            what, sharing == NP_SHARED ? "shmem_enabled" : "enabled");
    }
    if (code == 0)
        code = verify(memory, fd, what);
    if (code == 0 && fd >= 0)
        code = seal(fd, what);
    if (code < 0)
        goto unmapped;

    if (sharing == NP_SHARED)
        memory->fd = fd;
    else if (fd >= 0)
        close(fd);
    return 0;

unmapped:
    np_mapping_remove(memory->address, memory->bytes);
    memory->address = NULL;
closed:
    if (fd >= 0)
        close(fd);
    return code;
}

/* What was not there, or not allowed, when the nodes were read may be so now. */
static bool is_usable(int node)
{
    for (int i = 0; i < 2; i++) {
        const struct np_topology *topology = np_topology();
        const struct np_topology_node *found = topology == NULL ? NULL : np_topology_find(topology, node);
        if (found != NULL && np_topology_has_room(found))
            return true;
        if (i > 0 || np_topology_reload() < 0)
            break;
    }
    return false;
}

static int check_node(const char *what, int node)
{
    if (is_usable(node))
        return 0;
    int nodes[NP_NODES_MAX];
    int count = np_nodes_with_memory(nodes, NP_NODES_MAX);
    if (count < 0)
        return count;
    if (count == 1)
        return np_error(-EINVAL, "%s is wanted on node %d: the only node with memory that this process may use is %d", what,
                        node, nodes[0]);
    return np_error(-EINVAL,
                    "%s is wanted on node %d, which has no memory or is not allowed to this process: there are %d nodes, "
                    "from %d to %d (numactl --hardware, cpuset.mems)",
                    what, node, count, nodes[0], nodes[count - 1]);
}

static int create(struct np_memory *memory, const char *what, size_t bytes, int node, uint64_t page_flags, enum np_sharing sharing,
                  int preferred)
{
    *memory = (struct np_memory){.fd = -1, .node = node};
    if (bytes == 0)
        return np_error(-EINVAL, "%s has no bytes: give it at least one", what);
    uint64_t asked = page_flags & (NUMAPOOL_HUGE_1G | NUMAPOOL_HUGE_2M | NUMAPOOL_HUGE_THP);
    if ((asked & (asked - 1)) != 0)
        return np_error(-EINVAL, "%s is wanted on two kinds of huge pages at once (1 GiB, 2 MiB, transparent): choose one", what);
    if (bytes > PTRDIFF_MAX - 4 * NP_GIANT_PAGE_BYTES)
        return np_error(-ENOMEM, "%s needs %zu bytes, more than any address space holds: make it smaller", what, bytes);
    if (node < -1 || node >= NP_NODES_MAX)
        return np_error(-EINVAL, "%s is wanted on node %d: a node is 0 to %d, or -1 for any", what, node, NP_NODES_MAX - 1);
    int code = node >= 0 ? check_node(what, node) : 0;
    if (code < 0)
        return code;

    const bool mixed = (page_flags & NP_PAGES_MIXED) != 0;
    enum page_kind kinds[PAGE_KINDS];
    int count = kinds_to_try(page_flags, bytes, kinds);
    for (int i = 0; i < count; i++) {
        memory->bytes = round_up(bytes, mixed ? NP_SMALL_PAGE_BYTES : page_bytes_of(kinds[i]));
        /* A transparent attempt that got small pages is what the next attempt would get. */
        bool must_be_huge = kinds[i] == TRANSPARENT && i + 1 == count && !mixed;
        code = np_imagined_take(what, node, memory->bytes);
        if (code == 0 && (code = create_of_kind(memory, what, kinds[i], sharing, must_be_huge, preferred)) < 0)
            np_imagined_give(node, memory->bytes);
        if (code == 0) {
            np_imagined_made(memory->address, node, memory->bytes);
            if (sharing == NP_SHARED) /* before anybody else has it no page of it can be taken away */
                np_shield_put(memory->address, memory->bytes, page_bytes_of(is_reserved(kinds[i]) ? kinds[i] : SMALL), what);
            return 0;
        }
        if (code != -ENOSPC && code != -ENOMEM)
            break;
    }
    *memory = (struct np_memory){.fd = -1, .node = node};
    /* It went while this was on its way, or was forbidden: that says more than what mbind(2) does. */
    if (code == -EINVAL && node >= 0 && np_topology_reload() == 1)
        check_node(what, node);
    return code;
}

/* ---------------------------------------------------------------- the interface */

int np_memory_create(struct np_memory *memory, const char *what, size_t bytes, int node, uint64_t page_flags,
                     enum np_sharing sharing)
{
    return create(memory, what, bytes, node, page_flags, sharing, -1);
}

int np_memory_create_near(struct np_memory *memory, const char *what, size_t bytes, int node, uint64_t page_flags,
                          enum np_sharing sharing)
{
    const struct np_topology *topology = np_topology();
    int near[2] = {-1, -1}, usable = topology && node >= 0 ? np_topology_by_distance(topology, node, near, 2) : 0;
    if (usable <= 1) { /* what there is is on the only node, or wherever this thread's memory comes from */
        int code = create(memory, what, bytes, -1, page_flags, sharing, -1);
        memory->node = code == 0 && usable == 1 ? near[0] : -1;
        return code;
    }
    /* What an imagined node is too small for is on none of them. */
    const bool has_room = np_imagined_bytes(near[0]) >= bytes;
    int code = create(memory, what, bytes, -1, page_flags, sharing, has_room ? near[0] : -1);
    if (code < 0 || !has_room)
        return code;
    uint64_t misplaced = 0;
    memory->node = near[0];
    code = count_misplaced(memory, &misplaced);
    if (misplaced > 0 || (code < 0 && !(is_refusal(code) && np_topology_is_only_node(NP_SYSTEM_ROOT, np_node_physical(near[0])))) ||
        np_imagined_take(what, near[0], memory->bytes) < 0)
        memory->node = -1;
    else
        np_imagined_made(memory->address, near[0], memory->bytes);
    return 0;
}

void np_memory_destroy(struct np_memory *memory)
{
    if (memory->address == NULL)
        return;
    np_imagined_unmapped(memory->address);
    np_mapping_remove(memory->address, memory->bytes);
    if (memory->fd >= 0)
        close(memory->fd);
    *memory = (struct np_memory){.fd = -1, .node = memory->node};
}
