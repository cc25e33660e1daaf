/* SPDX-License-Identifier: MIT
 * numapoolctl doctor on a machine whose /proc and /sys say anything: every finding is made, in printable words, and what of
 * a file comes into a command is one word of it.
 *
 * An input is files: a byte that says which one, what is in it, and a record separator.
 */
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>

#include "../../tools/numapoolctl/doctor.h"
#include "fuzz.h"

#define NODE "/sys/devices/system/node/"
#define THP "/sys/kernel/mm/transparent_hugepage/"

static const char *const paths[] = {
    "/proc/self/status",
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/proc/meminfo",
    "/proc/swaps",
    "/proc/1/cgroup",
    "/proc/1/environ",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/numa_balancing",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/max_map_count",
    "/proc/sys/vm/zone_reclaim_mode",
    "/proc/sys/vm/swappiness",
    "/proc/sys/vm/min_free_kbytes",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/present",
    NODE "online",
    NODE "has_memory",
    NODE "has_cpu",
    NODE "node0/cpulist",
    NODE "node0/distance",
    NODE "node0/meminfo",
    NODE "node0/hugepages/hugepages-2048kB/nr_hugepages",
    NODE "node0/hugepages/hugepages-2048kB/free_hugepages",
    NODE "node1/distance",
    NODE "node1/meminfo",
    NODE "node1/hugepages/hugepages-2048kB/nr_hugepages",
    NODE "node1/hugepages/hugepages-1048576kB/nr_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
    "/sys/kernel/mm/numa/demotion_enabled",
    THP "enabled",
    THP "shmem_enabled",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "/sys/devices/system/clocksource/clocksource0/available_clocksource",
    "/sys/fs/cgroup/a b/memory.max",
    "/sys/fs/cgroup/a b/memory.current",
    "/sys/fs/cgroup/a b/hugetlb.2MB.max",
    "/sys/fs/cgroup/a b/memory.stat",
    "/sys/fs/cgroup/memory.limit_in_bytes",
    "/sys/fs/cgroup/memory.usage_in_bytes",
    "/sys/bus/nd/devices/region0/numa_node",
    "/sys/bus/nd/devices/namespace0.0/mode",
    "/sys/bus/dax/devices/dax0.0/target_node",
    "/run/systemd/container",
};
enum { PATHS = sizeof paths / sizeof paths[0], SEPARATOR = 0x1e };
_Static_assert(PATHS < SEPARATOR + 0x80, "each path has a byte");

static char root[64];
static bool written[PATHS];

static void make_directories(char *path)
{
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_root(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_root(void)
{
    char path[PATH_MAX];
    strcpy(root, "/tmp/fuzz_doctor.XXXXXX");
    FUZZ_MUST(mkdtemp(root) != NULL);
    atexit(remove_root);
    for (unsigned i = 0; i < PATHS; i++) {
        snprintf(path, sizeof path, "%s%s", root, paths[i]);
        make_directories(path);
    }
}

static void write_files(const uint8_t *data, size_t bytes)
{
    char path[PATH_MAX];
    for (unsigned i = 0; i < PATHS; i++)
        if (written[i]) {
            snprintf(path, sizeof path, "%s%s", root, paths[i]);
            remove(path);
            written[i] = false;
        }
    while (bytes > 1) {
        const uint8_t *end = memchr(data + 1, SEPARATOR, bytes - 1);
        size_t length = end ? (size_t)(end - data) : bytes;
        unsigned which = (unsigned)(data[0] - '!') % PATHS;
        snprintf(path, sizeof path, "%s%s", root, paths[which]);
        FILE *file = fopen(path, "w");
        FUZZ_MUST(file != NULL);
        FUZZ_MUST(fwrite(data + 1, 1, length - 1, file) == length - 1);
        fclose(file);
        written[which] = true;
        length += end != NULL;
        data += length;
        bytes -= length;
    }
}

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

/* What a shell takes for one word, and nothing after it. */
static bool is_one_word(const char *text)
{
    bool quoted = false;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text == '\'')
            quoted = !quoted;
        else if (!quoted && *text == '\\' && text[1])
            text++;
        else if (!quoted && strchr(" \t;&|<>()$`\"*?[#~!{}", *text))
            return false;
    }
    return !quoted;
}

static void check_remedy(const struct np_doctor_finding *finding)
{
    static const char *const echoes[] = { "echo max > ", "echo -1 > " };
    FUZZ_MUST(is_printable(finding->remedy));
    if (strncmp(finding->name, "cgroup_", 7) != 0 || !finding->remedy[0])
        return;
    bool echo = false;
    for (size_t i = 0; i < sizeof echoes / sizeof echoes[0]; i++)
        if (strncmp(finding->remedy, echoes[i], strlen(echoes[i])) == 0) {
            echo = true;
            FUZZ_MUST(is_one_word(finding->remedy + strlen(echoes[i])));
        }
    FUZZ_MUST(echo);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct np_doctor_finding findings[NP_DOCTOR_FINDINGS_MAX];
    static unsigned usual;
    if (!root[0])
        make_root();
    write_files(data, bytes);
    unsigned count = np_doctor_look(root, "/nowhere/numapool.sock", findings);
    FUZZ_MUST(count > 0 && count <= NP_DOCTOR_FINDINGS_MAX && (usual == 0 || count == usual));
    usual = count;
    for (unsigned i = 0; i < count; i++) {
        FUZZ_MUST((unsigned)findings[i].state < NP_DOCTOR_STATES);
        FUZZ_MUST(findings[i].found[0] && is_printable(findings[i].found));
        FUZZ_MUST(findings[i].means[0] && is_printable(findings[i].means));
        check_remedy(&findings[i]);
    }
    return 0;
}

#ifndef NUMAPOOL_LIBFUZZER
#define TEXT(text)            \
    {                         \
        text, sizeof text - 1 \
    }
#define END "\x1e"
int main(int argc, char **argv)
{
    static const struct fuzz_seed_input seeds[] = {
        TEXT("!Name: x\nCapEff: 000001ffffffffff\nSeccomp: 2\nSeccomp_filters: 1\nNoNewPrivs: 1\nCpus_allowed_list: "
             "0-3\nMems_allowed_list: 0-1\n" END "$MemTotal: 16777216 kB\nMemAvailable: 12582912 kB\nCommitLimit: 4194304 "
             "kB\nCommitted_AS: 4190000 kB\n" END "%Filename Type Size\n/dev/sda2 partition 2097152 0 -2\n" END "+2\n" END
             "(6.12.1-test\n" END ")1\n" END),
        TEXT("\"0::/a b\n4:memory:/\n2:cpuset:/x\n" END "#22 27 0:21 / /proc rw - proc proc rw,hidepid=2\n30 20 0:26 / "
             "/sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
             "35 31 0:32 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n40 20 259:0 / /mnt/p\\040x rw - ext4 /dev/pmem0 "
             "rw\n" END "D1073741824\n" END "E104857600\n" END "F67108864\n" END "Ginactive_file 4096\n" END
             "H134217728\n" END "I104857600\n" END),
        TEXT("00-3\n" END "10-7\n" END "20-1\n" END "30-1\n" END "40\n" END "50-1\n" END "610 21\n" END "7Node 0 MemTotal: "
             "8388608 kB\nNode 0 "
             "MemFree: 4096 "
             "kB\n" END "8512"
             "\n" END "9512\n" END ":31 10\n" END ";Node 1 MemTotal: 8388608 kB\nNode 1 MemFree: 8388608 kB\n" END "<0\n" END
             "=1"
             "\n" END "?true\n" END "@always [madvise] never\n" END "Aalways [never] deny\n" END "Bhpet\n" END "Ctsc "
                                                                                                               "hpet\n" END),
        TEXT("(\033[31m6.12\n" END "J1\n" END "Kraw\n" END "L3\n" END "Mlxc\n" END "&0::/docker/abc\n" END "'PATH=/bin\0container=lxc\n" END),
    };
    return fuzz_main(argc, argv, seeds, sizeof seeds / sizeof seeds[0], 4000);
}
#endif
