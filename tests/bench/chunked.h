/* SPDX-License-Identifier: MIT
 *
 * Variants of which every end does the same work, alone in a local group or beside others: work(state, end, operations).
 */
#ifndef NP_BENCH_CHUNKED_H
#define NP_BENCH_CHUNKED_H

#include "bench.h"

/* A sample is the mean of so many operations of the lead. */
static inline __attribute__((always_inline)) void bench_sampled(void *state, uint64_t operations, uint64_t chunk,
                                                                struct bench_histogram *samples,
                                                                void (*work)(void *state, unsigned end, uint64_t operations))
{
    const int64_t clock_cost_ns = bench_clock_cost_ns();
    while (operations > 0) {
        const uint64_t n = operations < chunk ? operations : chunk;
        const int64_t start_ns = bench_now_ns();
        work(state, BENCH_LEAD, n);
        bench_histogram_add(samples, (double)(bench_now_ns() - start_ns - clock_cost_ns) / (double)n);
        operations -= n;
    }
}

/* variant_WORK, whose chunks are of so many operations. */
#define BENCH_CHUNKED(work, chunk_operations, its_name, its_open, its_close)                          \
    static void work##_chunk(void *state)                                                             \
    {                                                                                                 \
        work(state, BENCH_LEAD, chunk_operations);                                                    \
    }                                                                                                 \
    static void work##_lead(void *state, uint64_t operations, struct bench_histogram *samples)        \
    {                                                                                                 \
        bench_sampled(state, operations, chunk_operations, samples, work);                            \
    }                                                                                                 \
    static void work##_peer(void *state, uint64_t operations)                                         \
    {                                                                                                 \
        work(state, BENCH_PEER, operations);                                                          \
    }                                                                                                 \
    static const struct bench_variant variant_##work = {                                              \
        .name = its_name, .open = its_open, .close = its_close, .chunk = work##_chunk,                \
        .operations = chunk_operations, .lead = work##_lead, .peer = work##_peer, .end = work,        \
    }

#endif
