/* SPDX-License-Identifier: MIT
 * Whether memory can be put where it is asked for, and what might take it away from there. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "doctor.h"
#include "numa/system_files.h"
#include "numa/topology.h"

enum { PAGE_BYTES = 4096, WORD_BITS = 8 * (int)sizeof(unsigned long) };

struct policy_calls {
    int bind, ask, move; /* 0 or an errno */
};

static void try_calls(void *page, int node, struct policy_calls *calls)
{
    unsigned long mask[NP_NODES_MAX / (8 * sizeof(unsigned long))] = { 0 };
    int status = 0, where = 0;
    mask[node / WORD_BITS] = 1ul << (node % WORD_BITS);
    calls->bind = mbind(page, PAGE_BYTES, MPOL_BIND, mask, NP_NODES_MAX + 1, 0) == 0 ? 0 : errno;
    *(volatile char *)page = 1;
    calls->ask = get_mempolicy(&where, NULL, 0, page, MPOL_F_NODE | MPOL_F_ADDR) == 0 ? 0 : errno;
    calls->move = move_pages(0, 1, &page, NULL, &status, 0) == 0 ? 0 : errno;
}

static const char *verdict(int code)
{
    return code == 0 ? "allowed" : code == ENOSYS ? "not there" : "refused";
}

void np_doctor_memory_policy(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static int allowed[NP_NODES_MAX];
    struct policy_calls calls;
    /* The machine's own nodes, whatever the tree of a test says: the calls are real. */
    int count = np_topology_nodes(NP_SYSTEM_ROOT, allowed, NP_NODES_MAX), machine = np_topology_machine_nodes(doctor->root);
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (count < 1 || page == MAP_FAILED) {
        np_found(finding, "cannot be told: %s",
                 count < 1 ? "no node with memory is allowed to this process" : "no page can be mapped");
        np_means(finding, NP_DOCTOR_WARNING, "there is nothing to bind");
        if (page != MAP_FAILED)
            munmap(page, PAGE_BYTES);
        return;
    }
    try_calls(page, allowed[0], &calls);
    munmap(page, PAGE_BYTES);
    np_found(finding, "mbind %s, get_mempolicy %s, move_pages %s", verdict(calls.bind), verdict(calls.ask),
             verdict(calls.move));
    if (calls.bind == 0 && (calls.ask == 0 || calls.move == 0)) {
        np_means(finding, NP_DOCTOR_OK,
                 calls.move == 0 ? "memory is bound to its node, and every page of it is looked at"
                                 : "memory is bound to its node, and each page is asked for alone, which takes longer");
        return;
    }
    if (machine == 1) {
        np_means(finding, NP_DOCTOR_NOTE,
                 calls.bind ? "there is one node, so that nothing is lost by it"
                            : "there is one node, so that nothing is lost; 'verify' cannot look");
    } else {
        np_means(finding, NP_DOCTOR_ERROR,
                 calls.bind ? "memory cannot be put where it is asked for: the daemon does not start"
                            : "where memory is cannot be asked: the daemon does not start, since it could prove nothing");
    }
    np_mend(finding, "docker run --cap-add SYS_NICE IMAGE");
}

/* ---------------------------------------------------------------- what moves pages */

static bool several_nodes(const struct np_doctor *doctor)
{
    return np_topology_machine_nodes(doctor->root) > 1;
}

void np_doctor_numa_balancing(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    uint64_t mode;
    if (!np_system_file_number(doctor->root, "/proc/sys/kernel/numa_balancing", &mode)) {
        np_found(finding, "not in this kernel");
        np_means(finding, NP_DOCTOR_OK, "no page and no thread is moved by it");
        return;
    }
    np_found(finding, "kernel.numa_balancing %" PRIu64, mode);
    if (mode == 0) {
        np_means(finding, NP_DOCTOR_OK, "no page and no thread is moved by it");
    } else if (!several_nodes(doctor)) {
        np_means(finding, NP_DOCTOR_OK, "there is one node, and nowhere to move to");
    } else {
        np_means(finding, NP_DOCTOR_NOTE,
                 "memory that is bound, as pools are, stays where it is; it moves threads towards their private memory, and "
                 "that and what is not bound towards who uses it, at the cost of faults: a magazine follows its thread, and "
                 "a thread that is pinned to its CPUs is not moved");
        np_mend(finding, "sysctl -w kernel.numa_balancing=0");
    }
}

/* Tiers of memory that have nodes. */
struct tiers {
    const struct np_doctor *doctor;
    unsigned count;
};

static void count_tier(void *argument, const char *name)
{
    struct tiers *tiers = argument;
    char path[PATH_MAX], nodes[256];
    snprintf(path, sizeof path, "/sys/devices/virtual/memory_tiering/%.64s/nodelist", name);
    tiers->count += np_doctor_line(tiers->doctor, path, nodes, sizeof nodes) && nodes[0] != '\0';
}

void np_doctor_demotion(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    char value[16];
    struct tiers tiers = { .doctor = doctor };
    if (!np_doctor_line(doctor, "/sys/kernel/mm/numa/demotion_enabled", value, sizeof value)) {
        np_found(finding, "not in this kernel");
        np_means(finding, NP_DOCTOR_OK, "no page moves to slower memory by itself");
        return;
    }
    bool enabled = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    bool told = np_doctor_each_entry(doctor, "/sys/devices/virtual/memory_tiering", count_tier,
                                     &tiers); /* since Linux 6.1 */
    np_found(finding, "demotion_enabled is %s", value);
    if (told)
        np_found(finding, ", %u tier%s of memory", tiers.count, tiers.count == 1 ? "" : "s");
    if (!enabled) {
        np_means(finding, NP_DOCTOR_OK, "no page moves to slower memory by itself");
    } else if (!several_nodes(doctor) || (told && tiers.count < 2)) {
        np_means(finding, NP_DOCTOR_OK, "no memory is slower than other, and there is nowhere to move to");
    } else {
        np_means(finding, NP_DOCTOR_WARNING,
                 "when a node or a control group runs short, pages of a pool move to slower memory although they are bound: "
                 "'numapoolctl verify' counts them as misplaced");
        np_mend(finding, "echo false > /sys/kernel/mm/numa/demotion_enabled");
    }
}

void np_doctor_zone_reclaim(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    uint64_t mode;
    if (!np_system_file_number(doctor->root, "/proc/sys/vm/zone_reclaim_mode", &mode)) {
        np_found(finding, "not in this kernel");
        np_means(finding, NP_DOCTOR_OK, "a node that is full does not make others wait");
        return;
    }
    np_found(finding, "vm.zone_reclaim_mode %" PRIu64, mode);
    if (mode == 0) {
        np_means(finding, NP_DOCTOR_OK, "memory of programs that is not bound goes to the next node when one is full");
        return;
    }
    np_means(finding, several_nodes(doctor) ? NP_DOCTOR_NOTE : NP_DOCTOR_OK,
             several_nodes(doctor) ? "pools are bound and committed, and not concerned; other memory of programs on a node "
                                     "that pools have filled waits for its page cache to be given up instead of taking the "
                                     "next node"
                                   : "there is one node, and no next one");
    if (several_nodes(doctor))
        np_mend(finding, "sysctl -w vm.zone_reclaim_mode=0");
}
