/* SPDX-License-Identifier: MIT
 * Huge pages of each kind, per node. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "doctor.h"
#include "numa/budget.h"
#include "numa/pages.h"
#include "numa/system_files.h"

enum {
    SHOWN_MAX = 8,
    PAGES_MAX = 512 /* that are proposed for a node */
};

/* As many as half of what the poorest of these nodes has to spare is worth: the rest of the machine has to live. */
static uint64_t fitting_pages(const struct np_doctor *doctor, const int *nodes, int count, uint64_t kib)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < count; i++) {
        uint64_t bytes = np_budget_node_bytes(doctor->root, nodes[i]);
        least = bytes < least ? bytes : least;
    }
    uint64_t pages = least / 2 / 1024 / kib;
    return pages < PAGES_MAX ? pages : PAGES_MAX;
}

static void mend_reserve(const struct np_doctor *doctor, struct np_doctor_finding *finding, const int *nodes, int count,
                         uint64_t kib)
{
    char words[256] = "";
    size_t used = 0;
    const uint64_t pages = fitting_pages(doctor, nodes, count, kib);
    if (pages == 0) {
        np_means(finding, NP_DOCTOR_OK, "too little memory is left there to reserve any");
    } else if (count == 1) {
        np_mend(finding, "echo %" PRIu64 " > /sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
                pages, nodes[0], kib);
    } else {
        for (int i = 0; i < count && used + 8 < sizeof words; i++)
            used += (size_t)snprintf(words + used, sizeof words - used, "%s%d", i ? " " : "", nodes[i]);
        np_mend(finding,
                "for node in %s; do echo %" PRIu64 " > /sys/devices/system/node/node$node/hugepages/hugepages-%" PRIu64
                "kB/nr_hugepages; done",
                words, pages, kib);
    }
}

static bool reserved_on(const struct np_doctor *doctor, int node, uint64_t kib, uint64_t *pages)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages", node, kib);
    if (np_system_file_number(doctor->root, path, pages))
        return true;
    /* A kernel without NUMA has them for the machine alone. */
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages", kib);
    return np_system_file_number(doctor->root, path, pages);
}

/* true: some nodes have none, and they are in `without`. */
static void look_at_size(const struct np_doctor *doctor, struct np_doctor_finding *finding, uint64_t kib, const char *size,
                         const char *kind)
{
    static int nodes[NP_NODES_MAX], without[NP_NODES_MAX];
    int without_count = 0, known = 0;
    char list[256];
    int count = np_doctor_memory_nodes(doctor, nodes);
    for (int i = 0; i < count; i++) {
        uint64_t pages, unused = np_budget_huge_pages(doctor->root, nodes[i], (size_t)kib * 1024);
        if (!reserved_on(doctor, nodes[i], kib, &pages))
            continue;
        known++;
        if (pages == 0)
            without[without_count++] = nodes[i];
        if (known <= SHOWN_MAX)
            np_found(finding, "%snode %d: %" PRIu64 " of %" PRIu64 " free", known > 1 ? ", " : "", nodes[i], unused, pages);
    }
    if (known == 0) {
        np_found(finding, "no hugetlb pages of %s", size);
        np_means(finding, NP_DOCTOR_OK,
                 "the processor or the kernel has none: a pool that insists on them (pages=%s) is refused", kind);
        return;
    }
    if (without_count == 0) {
        np_means(finding, NP_DOCTOR_OK, "pools take them (pages=%s%s)", kind,
                 kib == 2048 ? ", and where they can pages=best" : "");
        return;
    }
    np_doctor_list_text(list, sizeof list, without, without_count);
    if (without_count == known && kib != 2048)
        np_means(finding, NP_DOCTOR_OK, "none are reserved; only a pool that asks for them (pages=%s) wants any", kind);
    else if (without_count == known)
        np_means(finding, NP_DOCTOR_NOTE,
                 "none are reserved: pools are on transparent huge pages where those can be had, else on 4 KiB; pages=%s is "
                 "refused",
                 kind);
    else
        np_means(finding, NP_DOCTOR_NOTE,
                 "none on node%s %s: a pool with pages=%s is refused there, and one with pages=best is on other pages there "
                 "than elsewhere",
                 without_count > 1 ? "s" : "", list, kind);
    if (kib == 2048 || without_count < known)
        mend_reserve(doctor, finding, without, without_count, kib);
}

void np_doctor_huge_2m(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    look_at_size(doctor, finding, 2048, "2 MiB", "2m");
}

void np_doctor_huge_1g(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    look_at_size(doctor, finding, 1048576, "1 GiB", "1g");
}

/* ---------------------------------------------------------------- transparent ones */

/* As placement.c asks for them. 0, or -errno. */
static int try_transparent(void)
{
    int fd = memfd_create("numapool: doctor", MFD_CLOEXEC);
    void *memory = NULL;
    if (fd < 0)
        return -errno;
    int result = ftruncate(fd, (off_t)NP_HUGE_PAGE_BYTES) != 0 ? -errno
                                                               : np_mapping_make(&memory, fd, NP_HUGE_PAGE_BYTES, true);
    if (result == 0) {
        (void)madvise(memory, NP_HUGE_PAGE_BYTES, MADV_HUGEPAGE);
        (void)np_pages_collapse(memory, fd, 0, NP_HUGE_PAGE_BYTES);
        result = np_pages_populate(memory, fd, 0, NP_HUGE_PAGE_BYTES, NP_SMALL_PAGE_BYTES);
        if (result == 0 && np_pages_transparent_bytes(memory, NP_HUGE_PAGE_BYTES) != NP_HUGE_PAGE_BYTES)
            result = -ENODATA;
        np_mapping_remove(memory, NP_HUGE_PAGE_BYTES);
    }
    close(fd);
    return result;
}

#define THP "/sys/kernel/mm/transparent_hugepage/"

void np_doctor_transparent(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    char enabled[32], shared[32];
    if (!np_doctor_choice(doctor, THP "enabled", enabled, sizeof enabled) ||
        !np_doctor_choice(doctor, THP "shmem_enabled", shared, sizeof shared)) {
        np_found(finding, "not in this kernel");
        np_means(finding, NP_DOCTOR_NOTE, "pools that are not on hugetlb pages are on 4 KiB, and pages=thp is refused");
        return;
    }
    int result = try_transparent();
    np_found(finding, "enabled %s, shmem_enabled %s; 2 MiB of a memory file %s", enabled, shared,
             result == 0 ? "were put on one" : "could not be put on one");
    if (result == 0) {
        np_means(finding, NP_DOCTOR_OK,
                 "pools are put on them when they are made, whatever these settings say of other memory");
        return;
    }
    np_means(finding, NP_DOCTOR_NOTE,
             "pools that are not on hugetlb pages are on 4 KiB here, or partly, and pages=thp is refused%s",
             strcmp(shared, "never") == 0 || strcmp(shared, "deny") == 0 ? "" : "; memory may be too fragmented");
    if (strcmp(shared, "never") == 0 || strcmp(shared, "deny") == 0)
        np_mend(finding, "echo advise > " THP "shmem_enabled");
    else
        np_mend(finding, "echo 1 > /proc/sys/vm/compact_memory");
}
