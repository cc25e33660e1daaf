/* SPDX-License-Identifier: MIT */
#include "core/bell.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/probe.h"

#ifdef NUMAPOOL_HOOKS
void (*np_shm_hook)(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value);
enum np_mutant np_mutant_now;
int (*np_bell_wait_hook)(struct np_bell *bell, uint32_t seen, int64_t deadline_ns);
#endif

/* 0: not asked yet; 1: registered; 2: refused. Inherited over fork with the mm's own registration, lost with it on exec. */
static _Atomic int registration;

bool np_bell_register(void)
{
    long result = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
    /* relaxed: an independent flag, whose worst stale value costs a fence */
    atomic_store_explicit(&registration, result == 0 ? 1 : 2, memory_order_relaxed);
    return result == 0;
}

bool np_bell_registered(void)
{
    return atomic_load_explicit(&registration, memory_order_relaxed) == 1;
}

bool np_bell_heavy_barrier(void)
{
    np_fence();
    return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

void np_bell_ring(struct np_bell *bell)
{
    /* release: pairs with the acquire load of `ring` by who wakes, so that it sees what it was rung for */
    uint32_t before = np_add32(&bell->ring, 1, memory_order_release);
    NP_PROBE2(ring, bell, before);
    syscall(SYS_futex, &bell->ring, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

int64_t np_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t np_deadline_ns(int64_t timeout_ns)
{
    int64_t now = np_monotonic_ns();
    return timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}

int np_bell_wait(struct np_bell *bell, uint32_t seen, int64_t deadline_ns)
{
#ifdef NUMAPOOL_HOOKS
    if (np_bell_wait_hook)
        return np_bell_wait_hook(bell, seen, deadline_ns);
#endif
    NP_PROBE2(sleep, bell, seen);
    struct timespec until = { (time_t)(deadline_ns / 1000000000), (long)(deadline_ns % 1000000000) };
    /* FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time, FUTEX_WAIT a relative one */
    long result = syscall(SYS_futex, &bell->ring, FUTEX_WAIT_BITSET, seen, deadline_ns == INT64_MAX ? NULL : &until, NULL,
                          FUTEX_BITSET_MATCH_ANY);
    return result < 0 && errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}
