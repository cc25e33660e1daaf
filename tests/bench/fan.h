/* SPDX-License-Identifier: MIT
 *
 * What subjects and floors between more ends than two have in common: who is on which CPU, how they wait, and how they find the end.
 *
 * There are two CPUs, even ends on one and odd ends on the other. The one sender or receiver has a CPU for itself, the others share
 * the other one; ends in between that have no part return at once. Those that share a CPU must yield it when there is nothing
 * for them to do, else each burns its share of time while another has work: after some looks in vain they do, in subject and floor
 * alike. So these benchmarks show what many lanes cost beside many bare rings, on a CPU that is shared; they do not show what
 * as many CPUs would do.
 */
#ifndef NP_BENCH_FAN_H
#define NP_BENCH_FAN_H

#include <sched.h>
#include <stdatomic.h>

#include "payload.h"

#define FAN_MAX 4u /* ends that share a CPU */
#define FAN_BATCH 8u
#define FAN_LOOKS 16u /* in vain, before the CPU is yielded */

static inline void fan_wait(unsigned *looks)
{
    if (++*looks % FAN_LOOKS == 0)
        sched_yield();
    else
        bench_pause();
}

/* Which of those that share a CPU an end is. */
static inline unsigned fan_place(unsigned end)
{
    return end / 2;
}

/* Shared memory: who sends to several says that all is sent, and each receiver what it has got. Laps are numbered from 1, by each end for
 * itself. */
struct fan_shared {
    _Alignas(128) _Atomic uint64_t sent_all; /* lap */
    struct {
        _Alignas(128) _Atomic uint64_t done; /* lap */
        uint64_t sum;
    } receivers[FAN_MAX];
};

/* The sender, when all is sent: waits for its receivers, and compares what they have got. */
static inline void fan_sent(struct fan_shared *shared, const char *name, uint64_t lap, uint64_t operations, unsigned receivers,
                            unsigned bytes)
{
    unsigned looks = 0;
    uint64_t sum = 0;
    atomic_store_explicit(&shared->sent_all, lap, memory_order_release); /* pairs with fan_ended() */
    for (unsigned i = 0; i < receivers; i++) {
        while (atomic_load_explicit(&shared->receivers[i].done, memory_order_acquire) != lap) /* pairs with fan_received() */
            fan_wait(&looks);
        sum += shared->receivers[i].sum;
    }
    bench_bytes_check(name, sum, operations, bytes);
}

/* A receiver that finds nothing: true when all was sent before it looks the next time. */
static inline bool fan_ended(struct fan_shared *shared, uint64_t lap)
{
    return atomic_load_explicit(&shared->sent_all, memory_order_acquire) == lap; /* pairs with fan_sent() */
}

static inline void fan_received(struct fan_shared *shared, unsigned place, uint64_t lap, uint64_t sum)
{
    shared->receivers[place].sum = sum;
    atomic_store_explicit(&shared->receivers[place].done, lap, memory_order_release); /* pairs with fan_sent() */
}

#endif
