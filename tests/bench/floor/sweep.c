/* SPDX-License-Identifier: MIT */
#include "sweep.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "../bench.h"
#include "populate.h"

struct bench_sweep {
    struct bench_memory memory;
    _Atomic uint64_t *words;
    uint64_t count;
};

struct bench_sweep *bench_sweep_open(uint64_t words)
{
    struct bench_sweep *sweep = calloc(1, sizeof *sweep);
    if (!sweep)
        bench_fail("no memory for a benchmark");
    bench_memory_make(&sweep->memory, words * sizeof *sweep->words, BENCH_PAGES_SHARED);
    sweep->words = (_Atomic uint64_t *)sweep->memory.address;
    sweep->count = words;
    return sweep;
}

void bench_sweep_close(struct bench_sweep *sweep)
{
    bench_memory_unmake(&sweep->memory);
    free(sweep);
}

void bench_sweep_prepare(struct bench_sweep *sweep, uint64_t held)
{
    for (uint64_t i = 0; i < sweep->count; i++)
        atomic_store_explicit(&sweep->words[i], i < held ? BENCH_SWEEP_HELD : BENCH_SWEEP_OTHER, memory_order_relaxed);
}

uint64_t bench_sweep_run(struct bench_sweep *sweep)
{
    _Atomic uint64_t *words = bench_opaque(sweep->words);
    uint64_t freed = 0;
    for (uint64_t i = 0; i < sweep->count; i++) {
        uint64_t word = atomic_load_explicit(&words[i], memory_order_relaxed);
        if (word == BENCH_SWEEP_HELD)
            freed += atomic_compare_exchange_strong_explicit(&words[i], &word, BENCH_SWEEP_FREE, memory_order_acq_rel, memory_order_relaxed);
    }
    return freed;
}
