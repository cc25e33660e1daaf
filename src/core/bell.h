/* SPDX-License-Identifier: MIT
 *
 * Bells: futex words on which sleepers sleep (sleep.h), and the asymmetric fence between a sleeper and those who never sleep.
 *
 *   fast side:  make the thing true (announce, release, free)    sleeper:  load bell.ring
 *               light barrier (a compiler barrier when                     raise the flag
 *               this process is registered)                                barrier
 *               load the flag; when raised, ring                           look again; futex-wait on the loaded value
 *               the bell                                                   lower the flag (only the sleeper does)
 *
 * Either the fast side sees the flag or the sleeper sees the thing. The fast side's store-load order, which it does not
 * fence, is enforced from the sleeper's side by membarrier(2) GLOBAL_EXPEDITED, for which the fast side must have
 * registered; a process that could not (seccomp, an old kernel) fences itself, and a sleeper whose membarrier fails
 * sleeps for a bounded time. A registration is per mm and lost on exec.
 *
 * That barrier interrupts every processor on which a registered process runs. Who spins before he sleeps can do without: he
 * raises the flag some time before the end of the spin, and spins on with an eye on his bell. By then whatever was stored before
 * the flag could be seen has left its processor, so that the second look finds it. No processor promises that, and so the sleep
 * that follows is bounded; whoever was not rung in it raises the flag again, with the heavy barrier.
 */
#ifndef NP_CORE_BELL_H
#define NP_CORE_BELL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/shm.h"
#include "core/sleep.h"

/* Shared: one line a bell. Number 0 is the daemon's, 1 .. clients_max the clients', the rest endpoints'. */
struct np_bell {
    np_shm32 ring; /* bumped by who rings; the futex */
    np_shm32 news; /* bumped by the daemon when this endpoint's lanes have changed */
    uint32_t pad[14];
};
_Static_assert(sizeof(struct np_bell) == 64, "one line a bell");

#define NP_BELL_OF_DAEMON 0u

/* Longest sleep when the heavy barrier is not to be had. */
#define NP_BELL_BOUNDED_NS NP_SLEEP_BOUNDED_NS
/* The sleep after settling. Longer than a tick of the kernel's clock, so that it needs no timer of its own. */
#define NP_BELL_SETTLED_NS INT64_C(10000000)
/* More than any store takes to leave its processor: those before it too, of which each may have to fetch its line from far away. */
#define NP_BELL_SETTLE_NS INT64_C(5000)

/* Registers this process as a fast side; once per process, again in a forked child. True when the light barrier is
 * enough. */
bool np_bell_register(void);
/* Whether this process is registered (np_bell_register was called and the kernel agreed). */
bool np_bell_registered(void);

/* The fast side's barrier. */
static inline void np_bell_light_barrier(bool registered)
{
    if (__builtin_expect(registered, 1)) {
        NP_SHM_HOOK(NP_SHM_FENCE, 0, 0, 1); /* 1: orders nothing for the processor */
        atomic_signal_fence(memory_order_seq_cst);
    } else {
        np_fence();
    }
}

/* The sleeper's barrier. False: it did not reach the others. */
bool np_bell_heavy_barrier(void);

/* Either comes between raising the flag and the second look, and tells how long the sleep may last; INT64_MAX: for ever.
 * The heavy barrier; and, for who may spin for NP_BELL_SETTLE_NS more, what does instead of it before the first sleep. It
 * ends sooner when one of the words of `sleep` is rung. */
int64_t np_bell_fence_ns(void);
int64_t np_bell_settle_ns(const struct np_sleep *sleep);

void np_bell_ring(struct np_bell *bell);

#endif
