/* SPDX-License-Identifier: MIT
 *
 * Floors for who waits for one of several: one mailbox there, and BENCH_SET_MEMBERS back, of which each trip uses the next;
 * who waits for them has one futex for all.
 */
#ifndef NP_BENCH_FLOOR_FUTEX_SET_H
#define NP_BENCH_FLOOR_FUTEX_SET_H

#include "../bench.h"

#define BENCH_SET_MEMBERS 4u

extern const struct bench_variant floor_futex_set;        /* never spins */
extern const struct bench_variant floor_futex_set_spin;   /* BENCH_SPIN_NS first */
/* The lead waits in poll(2) for an eventfd that the peer writes; the peer waits on a futex. Neither spins. */
extern const struct bench_variant floor_eventfd;

#endif
