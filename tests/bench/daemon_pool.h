/* SPDX-License-Identifier: MIT
 *
 * Pools of the benchmarks' daemon that are made and ended while it runs.
 */
#ifndef NP_BENCH_DAEMON_POOL_H
#define NP_BENCH_DAEMON_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "numapool.h"

/* The connection by which that is asked for; made the first time, of this process and no child of it. */
struct numapool_client *bench_daemon_admin(void);

void bench_daemon_pool_make(const char *name, uint64_t slots, uint64_t flags);
void bench_daemon_pool_end(const char *name);

/* Size of payload pages of a daemon's pool. */
uint64_t bench_daemon_page_bytes(const char *name);

/* Hugetlb pages of 2 MiB that are free on this machine now. */
uint64_t bench_free_huge_pages(void);
/* Flags of a pool that is not to take hugetlb pages, even if there are some: none where there are none anyway. */
uint64_t bench_transparent_flags(void);
/* "transparent 2 MiB", say. */
const char *bench_pages_text(uint64_t page_bytes, bool hugetlb);

/* What a pool of 16M slots takes, words, page tables and all, and what it is compared with while that is made or let go of. */
#define BENCH_BYTES_16M (UINT64_C(6) << 30)

#endif
