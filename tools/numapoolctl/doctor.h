/* SPDX-License-Identifier: MIT
 *
 * doctor: what this machine gives a user of numapool. Each finding is a function that looks at one thing and says what it
 * found here, what that means here, and the command that mends it. doctor.c has the table of them.
 *
 * Files of /proc and /sys are read below a root directory, which tests replace; system calls are really tried. A finding
 * neither fails nor waits: what cannot be found out is said to be so.
 */
#ifndef NP_CTL_DOCTOR_H
#define NP_CTL_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numa/topology.h"

enum np_doctor_state {
    NP_DOCTOR_OK,
    NP_DOCTOR_NOTE,    /* worth knowing; nothing that numapool promises is weaker for it */
    NP_DOCTOR_WARNING, /* something is slower, smaller or missing */
    NP_DOCTOR_ERROR,   /* numapool does not work here, or memory is not where it is asked for */
    NP_DOCTOR_STATES
};

enum { NP_DOCTOR_TEXT_BYTES = 1024, NP_DOCTOR_FINDINGS_MAX = 64 };

struct np_doctor {
    const char *root;            /* NP_SYSTEM_ROOT, or a tree that a test has made */
    const char *socket_path;     /* of the daemon */
    struct np_topology topology; /* of the machine below root; np_doctor_look fills it */
};

/* Printable ASCII, whatever the files said. remedy "": there is nothing to mend. */
struct np_doctor_finding {
    const char *name; /* as numapoolctl(1) lists it: stable */
    enum np_doctor_state state;
    char found[NP_DOCTOR_TEXT_BYTES], means[NP_DOCTOR_TEXT_BYTES], remedy[NP_DOCTOR_TEXT_BYTES];
};

/* Makes every finding; how many. */
unsigned np_doctor_look(const char *root, const char *socket_path,
                        struct np_doctor_finding findings[NP_DOCTOR_FINDINGS_MAX]);

/* The command. The exit status: NP_CTL_FINE or NP_CTL_WRONG. */
int np_ctl_doctor(const char *socket_path, json_t *document);
void np_ctl_doctor_print(const json_t *document);

/* ---- for the findings. The three texts are appended to, and cut off where they are full. */

void np_found(struct np_doctor_finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));
void np_means(struct np_doctor_finding *finding, enum np_doctor_state at_least, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void np_mend(struct np_doctor_finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A text as one word of a shell's command line. */
const char *np_doctor_quote(char *quoted, size_t capacity, const char *text);

/* The first line of a file, printable, without blanks at its ends. False: no such file. */
bool np_doctor_line(const struct np_doctor *doctor, const char *path, char *line, size_t capacity);
/* The word in brackets of such as "always [madvise] never". */
bool np_doctor_choice(const struct np_doctor *doctor, const char *path, char *choice, size_t capacity);
/* The value behind "Key:" in /proc/self/status. */
bool np_doctor_status(const struct np_doctor *doctor, const char *key, char *value, size_t capacity);
/* Whether this process has the capability with this number (CAP_SYS_NICE, ...). */
bool np_doctor_capable(const struct np_doctor *doctor, unsigned capability);
/* Calls `one` for each entry of a directory, sorted, at most 1024 of them. False: no such directory. */
bool np_doctor_each_entry(const struct np_doctor *doctor, const char *path, void (*one)(void *argument, const char *name),
                          void *argument);

/* The numbers of the nodes that have memory, ascending. How many. */
int np_doctor_memory_nodes(const struct np_doctor *doctor, int nodes[NP_NODES_MAX]);
/* "0-2,5" */
const char *np_doctor_list_text(char *text, size_t capacity, const int *numbers, int count);

/* ---- the findings */

typedef void np_doctor_look_at(const struct np_doctor *doctor, struct np_doctor_finding *finding);

np_doctor_look_at np_doctor_kernel, np_doctor_memory_files, np_doctor_populate, np_doctor_pagemap_scan, np_doctor_futex,
    np_doctor_pidfd, np_doctor_membarrier, np_doctor_io_uring, np_doctor_clock;
np_doctor_look_at np_doctor_memlock, np_doctor_open_files, np_doctor_address_space, np_doctor_mappings,
    np_doctor_cgroup_memory, np_doctor_cgroup_hugetlb, np_doctor_overcommit, np_doctor_swap;
np_doctor_look_at np_doctor_nodes, np_doctor_distances, np_doctor_cpus, np_doctor_emulated, np_doctor_cpuset,
    np_doctor_node_memory;
np_doctor_look_at np_doctor_memory_policy, np_doctor_numa_balancing, np_doctor_demotion, np_doctor_zone_reclaim;
np_doctor_look_at np_doctor_huge_2m, np_doctor_huge_1g, np_doctor_transparent;
np_doctor_look_at np_doctor_capabilities, np_doctor_proc, np_doctor_socket_directory, np_doctor_container;
np_doctor_look_at np_doctor_pmem, np_doctor_test_guest;
np_doctor_look_at np_doctor_daemon;

#endif
