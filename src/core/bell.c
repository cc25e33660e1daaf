/* SPDX-License-Identifier: MIT */
#include "core/bell.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef NUMAPOOL_HOOKS
void (*np_shm_hook)(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value);
enum np_mutant np_mutant_now;
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

int64_t np_bell_fence_ns(void)
{
    return np_bell_heavy_barrier() ? INT64_MAX : NP_BELL_BOUNDED_NS;
}

int64_t np_bell_settle_ns(const struct np_sleep *sleep)
{
    enum { LOOKS_A_CLOCK = 8 };
    np_fence();
    if (NP_MUTANT(SETTLED_SLEEPS_UNBOUNDED)) /* and at once: few stores outlast the wait that follows, in a simulation too */
        return INT64_MAX;
    const int64_t until_ns = np_deadline_ns(NP_BELL_SETTLE_NS);
    for (unsigned looks = 1; !np_sleep_is_over(sleep); looks++) {
        if (looks % LOOKS_A_CLOCK == 0 && np_monotonic_ns() >= until_ns)
            break;
        np_pause();
    }
    return NP_BELL_SETTLED_NS;
}

void np_bell_ring(struct np_bell *bell)
{
    np_ring(&bell->ring);
}
