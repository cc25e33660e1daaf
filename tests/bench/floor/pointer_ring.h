/* SPDX-License-Identifier: MIT
 *
 * A bare ring of 1,024 pointers from one thread to another, with which subjects and floors hand objects over alike. Each end keeps a
 * copy of the other's position, so that it fetches that line only when the copy says full or empty.
 */
#ifndef NP_BENCH_FLOOR_POINTER_RING_H
#define NP_BENCH_FLOOR_POINTER_RING_H

#include <stdatomic.h>
#include <string.h>

#include "../bench.h"

#define BENCH_RING_SLOTS 1024u
#define BENCH_RING_SAY_EVERY 64u /* the consumer says so often how far it is: the producer needs to know when it is full */
#define BENCH_RING_SLIP_PAUSES 32u /* near a microsecond: a part of what the ring holds */

struct bench_ring {
    _Alignas(128) _Atomic uint64_t head; /* pushed; the producer's */
    uint64_t tail_seen;
    _Alignas(128) _Atomic uint64_t tail; /* popped, as far as it was said; the consumer's */
    uint64_t popped;
    uint64_t head_seen;
    _Alignas(128) void *cells[BENCH_RING_SLOTS];
};

/* Who finds nothing to do looks again a while later, so that several are there by then: else each look takes the other's line away
 * from him for one object (Giacomoni, Moseley and Vachharajani 2008: temporal slipping). */
static inline void bench_ring_slip(void)
{
    for (unsigned i = 0; i < BENCH_RING_SLIP_PAUSES; i++)
        bench_pause();
}

/* n at once: 1, or a divisor of the ring's size, always the same. */
static inline __attribute__((always_inline)) void bench_ring_push(struct bench_ring *ring, void *const *objects, unsigned n)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed); /* relaxed: its own */
    while (head + n - ring->tail_seen > BENCH_RING_SLOTS) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire); /* pairs with the store of pop */
        if (head + n - ring->tail_seen > BENCH_RING_SLOTS)
            bench_ring_slip();
    }
    memcpy(&ring->cells[head % BENCH_RING_SLOTS], objects, n * sizeof *objects);
    atomic_store_explicit(&ring->head, head + n, memory_order_release); /* pairs with the load of pop */
}

static inline __attribute__((always_inline)) void bench_ring_pop(struct bench_ring *ring, void **objects, unsigned n)
{
    const uint64_t tail = ring->popped;
    while (ring->head_seen - tail < n) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire); /* pairs with the store of push */
        if (ring->head_seen - tail < n)
            bench_ring_slip();
    }
    memcpy(objects, &ring->cells[tail % BENCH_RING_SLOTS], n * sizeof *objects);
    ring->popped = tail + n;
    if ((tail + n) % BENCH_RING_SAY_EVERY == 0)
        atomic_store_explicit(&ring->tail, tail + n, memory_order_release); /* pairs with the load of push */
}

#endif
