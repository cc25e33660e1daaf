/* SPDX-License-Identifier: MIT
 *
 * Floor: a bare stack that threads share: indexes linked through an array, its head with a tag in one word (Treiber), so that a pop
 * and a push are a CAS each. Nobody sleeps for what it lacks, and who dies takes with him what he has.
 */
#ifndef NP_BENCH_FLOOR_SHARED_STACK_H
#define NP_BENCH_FLOOR_SHARED_STACK_H

#include <stdatomic.h>

#include "../bench.h"

#define BENCH_SHARED_STACK_SLOTS 64u
#define BENCH_SHARED_STACK_NONE UINT32_MAX

struct bench_shared_stack {
    _Alignas(128) _Atomic uint64_t head; /* tag:32 | index:32 */
    _Alignas(128) _Atomic uint32_t next[BENCH_SHARED_STACK_SLOTS];
};

static inline void bench_shared_stack_push(struct bench_shared_stack *stack, uint32_t index)
{
    uint64_t head = atomic_load_explicit(&stack->head, memory_order_relaxed); /* relaxed: the CAS decides */
    uint64_t wanted;
    do {
        atomic_store_explicit(&stack->next[index], (uint32_t)head, memory_order_relaxed); /* relaxed: published by the CAS */
        wanted = ((head >> 32) + 1) << 32 | index;
    } while (!atomic_compare_exchange_weak_explicit(&stack->head, &head, wanted, memory_order_release, memory_order_relaxed));
}

static inline uint32_t bench_shared_stack_pop(struct bench_shared_stack *stack)
{
    uint64_t head = atomic_load_explicit(&stack->head, memory_order_acquire); /* pairs with push */
    uint64_t wanted;
    do {
        if ((uint32_t)head == BENCH_SHARED_STACK_NONE)
            return BENCH_SHARED_STACK_NONE;
        /* relaxed: another's by now, maybe; then the tag has changed */
        wanted = ((head >> 32) + 1) << 32 | atomic_load_explicit(&stack->next[(uint32_t)head], memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&stack->head, &head, wanted, memory_order_acquire, memory_order_acquire));
    return (uint32_t)head;
}

#endif
