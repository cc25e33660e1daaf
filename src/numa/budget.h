/* SPDX-License-Identifier: MIT
 * What may still be taken before the kernel would rather kill somebody. Everything is read below a root directory,
 * NP_SYSTEM_ROOT for the machine itself. */
#ifndef NP_NUMA_BUDGET_H
#define NP_NUMA_BUDGET_H

#include <stddef.h>
#include <stdint.h>

/* "136 MiB": at least four figures' worth of precision, rounded up for what is needed and down for what there is. */
enum { NP_SIZE_TEXT_BYTES = 32 };
const char *np_size_text_up(char *text, uint64_t bytes);
const char *np_size_text_down(char *text, uint64_t bytes);

/* Bytes that the node (-1: the machine) can give without the reserve that it needs to live; UINT64_MAX: it does not say. */
uint64_t np_budget_node_bytes(const char *root, int node);

/* Bytes that the cgroups of this process still allow, of version 1 and 2; UINT64_MAX: no limit. `file` becomes the path of
 * the tightest limit, or "". */
uint64_t np_budget_cgroup_bytes(const char *root, char *file, size_t capacity);

/* Huge pages of page_bytes that are free on the node (-1: the machine) and promised to nobody. Surplus pages, which the
 * kernel may or may not find when they are touched, do not count. */
uint64_t np_budget_huge_pages(const char *root, int node, size_t page_bytes);

/* np_memory_budget, on the machine below root. */
int np_budget_check(const char *root, const char *what, size_t bytes, int node);

/* A look reads some ten files, which takes longer than making a lane or an account. Where it found plenty, a sixteenth of
 * what was to spare, at most 16 MiB, may be taken without another one for 50 ms, by memory on any node of at most
 * NP_BUDGET_SMALL_BYTES each. Zeroed: no credit yet. */
enum { NP_BUDGET_SMALL_BYTES = 1 << 20 };
struct np_budget_credit {
    uint64_t bytes;
    int64_t until_ns;
};
int np_budget_check_small(struct np_budget_credit *credit, const char *root, const char *what, size_t bytes, int64_t now_ns);

/* np_budget_check on this machine, for pieces small and large. */
int np_budget_now(const char *what, size_t bytes, int node);

#endif
