/* SPDX-License-Identifier: MIT
 * How much this process, and what is started from the same place, may have. */
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "broker/board.h"
#include "doctor.h"
#include "numa/budget.h"
#include "numa/cgroup.h"
#include "numa/system_files.h"

#define MIB (UINT64_C(1) << 20)

enum {
    FILES_SMALL = 1024, /* a daemon with fewer has room for a few clients */
    FILES_EACH_CLIENT = 3,
    MAPPINGS_EACH_LANE = 3 /* its memory, and the page before and after it that nobody may touch */
};

static const char *amount(char text[NP_SIZE_TEXT_BYTES], uint64_t bytes)
{
    if (bytes == UINT64_MAX)
        return "unlimited";
    return np_size_text_down(text, bytes);
}

static const char *limit_text(char text[NP_SIZE_TEXT_BYTES], rlim_t limit)
{
    return amount(text, limit == RLIM_INFINITY ? UINT64_MAX : (uint64_t)limit);
}

/* False: cannot be told, and said so. */
static bool limit_of(struct np_doctor_finding *finding, int resource, const char *name, struct rlimit *limit)
{
    if (getrlimit((__rlimit_resource_t)resource, limit) == 0)
        return true;
    np_found(finding, "cannot be told: %s may not be asked for", name);
    np_means(finding, NP_DOCTOR_NOTE, "numapool does without knowing, and says so where it runs into it");
    return false;
}

void np_doctor_memlock(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    struct rlimit limit;
    char text[NP_SIZE_TEXT_BYTES];
    if (!limit_of(finding, RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", &limit))
        return;
    np_found(finding, "RLIMIT_MEMLOCK %s", limit_text(text, limit.rlim_cur));
    if (limit.rlim_cur == RLIM_INFINITY) {
        np_means(finding, NP_DOCTOR_OK, "a program may register the payload of any pool as io_uring buffers");
    } else if (np_doctor_capable(doctor, CAP_IPC_LOCK)) {
        np_found(finding, ", which CAP_IPC_LOCK lifts");
        np_means(finding, NP_DOCTOR_OK, "a program of this user may register the payload of any pool as io_uring buffers");
    } else {
        np_means(finding, limit.rlim_cur < MIB ? NP_DOCTOR_WARNING : NP_DOCTOR_NOTE,
                 "a program may register no more payload than that as io_uring buffers, beside its rings (numapool_io(3)); "
                 "pools themselves need none of it");
        np_mend(finding, "prlimit --pid $$ --memlock=unlimited:unlimited");
    }
}

void np_doctor_open_files(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    (void)doctor;
    static const struct np_board_limits tables = NP_BOARD_LIMITS_DEFAULT;
    struct rlimit limit;
    if (!limit_of(finding, RLIMIT_NOFILE, "RLIMIT_NOFILE", &limit))
        return;
    const uint64_t full = (uint64_t)tables.clients * FILES_EACH_CLIENT + tables.lanes;
    np_found(finding, "RLIMIT_NOFILE %" PRIu64 ", up to %" PRIu64, (uint64_t)limit.rlim_cur, (uint64_t)limit.rlim_max);
    if (limit.rlim_max >= full) {
        np_means(finding, NP_DOCTOR_OK,
                 "the daemon raises it to the second: enough for tables of the default size, %u clients with a pool each "
                 "and %u lanes",
                 tables.clients, tables.lanes);
        return;
    }
    np_means(finding, limit.rlim_max < FILES_SMALL ? NP_DOCTOR_WARNING : NP_DOCTOR_NOTE,
             "the daemon raises it to the second; full tables of the default size (%u clients with a pool each, %u lanes) "
             "want %" PRIu64 ", and who comes later is refused",
             tables.clients, tables.lanes, full);
    np_mend(finding, "prlimit --pid $$ --nofile=65536:65536");
}

void np_doctor_address_space(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    (void)doctor;
    struct rlimit limit;
    char text[NP_SIZE_TEXT_BYTES];
    if (!limit_of(finding, RLIMIT_AS, "RLIMIT_AS", &limit))
        return;
    np_found(finding, "RLIMIT_AS %s", limit_text(text, limit.rlim_cur));
    if (limit.rlim_cur == RLIM_INFINITY) {
        np_means(finding, NP_DOCTOR_OK, "a program may map as many pools as there are");
        return;
    }
    np_means(finding, NP_DOCTOR_WARNING,
             "a program that opens pools larger than that in all is refused, and so is a daemon that makes them");
    np_mend(finding, "prlimit --pid $$ --as=unlimited");
}

void np_doctor_mappings(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static const struct np_board_limits tables = NP_BOARD_LIMITS_DEFAULT;
    uint64_t most;
    if (!np_system_file_number(doctor->root, "/proc/sys/vm/max_map_count", &most)) {
        np_found(finding, "cannot be told: no number in /proc/sys/vm/max_map_count");
        np_means(finding, NP_DOCTOR_NOTE, "a lane takes %u mappings of each process that has it", MAPPINGS_EACH_LANE);
        return;
    }
    np_found(finding, "vm.max_map_count %" PRIu64, most);
    if (most >= (uint64_t)tables.lanes * MAPPINGS_EACH_LANE) {
        np_means(finding, NP_DOCTOR_OK, "enough for %u lanes of %u mappings each in the daemon", tables.lanes,
                 MAPPINGS_EACH_LANE);
        return;
    }
    np_means(finding, NP_DOCTOR_WARNING,
             "%u lanes of %u mappings each do not fit into the daemon: who opens one too many is refused", tables.lanes,
             MAPPINGS_EACH_LANE);
    np_mend(finding, "sysctl -w vm.max_map_count=65530");
}

/* ---------------------------------------------------------------- control groups */

void np_doctor_cgroup_memory(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    char file[PATH_MAX], quoted[PATH_MAX + 64], text[NP_SIZE_TEXT_BYTES];
    uint64_t left = np_budget_cgroup_bytes(doctor->root, file, sizeof file);
    if (left == UINT64_MAX) {
        np_found(finding, "no limit");
        np_means(finding, NP_DOCTOR_OK, "pools may be as large as the nodes allow");
        return;
    }
    np_found(finding, "%.300s leaves %s", file, amount(text, left));
    np_means(finding,
             left < 64 * MIB     ? NP_DOCTOR_ERROR
             : left < 1024 * MIB ? NP_DOCTOR_WARNING
                                 : NP_DOCTOR_NOTE,
             "a daemon started in this control group makes no more of pools and lanes than that");
    np_doctor_quote(quoted, sizeof quoted, file);
    np_mend(finding, strstr(file, "limit_in_bytes") ? "echo -1 > %s" : "echo max > %s", quoted);
}

struct hugetlb_search {
    const struct np_doctor *doctor;
    uint64_t left;
    char file[PATH_MAX];
};

static void weigh_hugetlb(void *argument, const char *directory, bool version_2)
{
    struct hugetlb_search *search = argument;
    static const char *const sizes[] = { "2MB", "1GB" };
    char path[PATH_MAX], used_path[PATH_MAX];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t limit, used;
        if (snprintf(path, sizeof path, "%s/hugetlb.%s.%s", directory, sizes[i], version_2 ? "max" : "limit_in_bytes") >=
                (int)sizeof path ||
            snprintf(used_path, sizeof used_path, "%s/hugetlb.%s.%s", directory, sizes[i],
                     version_2 ? "current" : "usage_in_bytes") >= (int)sizeof used_path ||
            !np_system_file_number(search->doctor->root, path, &limit) || limit >= UINT64_C(1) << 62)
            continue;
        if (!np_system_file_number(search->doctor->root, used_path, &used))
            used = 0;
        uint64_t left = limit > used ? limit - used : 0;
        if (left < search->left) {
            search->left = left;
            snprintf(search->file, sizeof search->file, "%s", path);
        }
    }
}

void np_doctor_cgroup_hugetlb(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    struct hugetlb_search search = { .doctor = doctor, .left = UINT64_MAX };
    char quoted[PATH_MAX + 64], text[NP_SIZE_TEXT_BYTES];
    np_cgroup_each_level(doctor->root, "hugetlb", weigh_hugetlb, &search);
    if (search.left == UINT64_MAX) {
        np_found(finding, "no limit");
        np_means(finding, NP_DOCTOR_OK, "a daemon here may take all hugetlb pages that are reserved");
        return;
    }
    np_found(finding, "%.300s leaves %s", search.file, amount(text, search.left));
    np_means(finding, search.left < 2 * MIB ? NP_DOCTOR_WARNING : NP_DOCTOR_NOTE,
             "a daemon started in this control group takes no more of such pages than that, however many are free: a pool "
             "that wants more is refused, or is on others where it may");
    np_doctor_quote(quoted, sizeof quoted, search.file);
    np_mend(finding, strstr(search.file, "limit_in_bytes") ? "echo -1 > %s" : "echo max > %s", quoted);
}

/* ---------------------------------------------------------------- the machine's memory as a whole */

void np_doctor_overcommit(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    uint64_t mode, limit, committed;
    char text[NP_SYSTEM_TEXT_BYTES], left_text[NP_SIZE_TEXT_BYTES];
    if (!np_system_file_number(doctor->root, "/proc/sys/vm/overcommit_memory", &mode)) {
        np_found(finding, "cannot be told: no number in /proc/sys/vm/overcommit_memory");
        np_means(finding, NP_DOCTOR_NOTE, "where it is 2, pools count against the commit limit");
        return;
    }
    np_found(finding, "vm.overcommit_memory %" PRIu64, mode);
    if (mode != 2) {
        np_means(finding, NP_DOCTOR_OK, "no commit limit: pools may take what the nodes have");
        return;
    }
    if (np_system_file_read(doctor->root, "/proc/meminfo", text, sizeof text) <= 0 ||
        !np_system_text_value(text, "CommitLimit", &limit) || !np_system_text_value(text, "Committed_AS", &committed)) {
        np_means(finding, NP_DOCTOR_WARNING,
                 "pools count against the commit limit; what is left of it cannot be told: /proc/meminfo does not say");
    } else {
        uint64_t left = limit > committed ? limit - committed : 0;
        np_found(finding, ", of the commit limit %s are left", amount(left_text, left));
        np_means(finding, left < 256 * MIB ? NP_DOCTOR_WARNING : NP_DOCTOR_NOTE,
                 "pools that are not on hugetlb pages count against it, and are refused beyond it however much memory is "
                 "free");
    }
    np_mend(finding, "sysctl -w vm.overcommit_memory=0");
}

void np_doctor_swap(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    char text[NP_SYSTEM_TEXT_BYTES], total_text[NP_SIZE_TEXT_BYTES];
    uint64_t total = 0, swappiness = 0;
    unsigned areas = 0;
    if (np_system_file_read(doctor->root, "/proc/swaps", text, sizeof text) < 0) {
        np_found(finding, "none (no /proc/swaps)");
        np_means(finding, NP_DOCTOR_OK, "no page of a pool leaves memory");
        return;
    }
    char *rest = text, *line = strsep(&rest, "\n"); /* the heading */
    while (line && (line = strsep(&rest, "\n")) != NULL) {
        uint64_t kib = 0;
        if (sscanf(line, "%*s %*s %" SCNu64, &kib) == 1) {
            areas++;
            total += kib < UINT64_MAX / 2048 ? kib * 1024 : 0;
        }
    }
    if (areas == 0) {
        np_found(finding, "none");
        np_means(finding, NP_DOCTOR_OK, "no page of a pool leaves memory");
        return;
    }
    np_found(finding, "%u swap area%s, %s", areas, areas > 1 ? "s" : "", np_size_text_down(total_text, total));
    if (np_system_file_number(doctor->root, "/proc/sys/vm/swappiness", &swappiness))
        np_found(finding, ", vm.swappiness %" PRIu64, swappiness);
    np_means(finding, NP_DOCTOR_NOTE,
             "when memory is short, payload that is not on hugetlb pages may be swapped out, bound as it is; the next touch "
             "of it waits for the disk, and it comes back to its node. "
             "For the daemon alone: MemorySwapMax=0 of its unit");
    np_mend(finding, "swapoff -a");
}
