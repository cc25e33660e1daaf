/* SPDX-License-Identifier: MIT */
#include "heap.h"

#include <stdlib.h>

#include "../local.h"

static void *heap_open(void)
{
    return NULL;
}

static void heap_close(void *state)
{
    (void)state;
}

static void thousand(void *state)
{
    void *slots[BENCH_THOUSAND];
    (void)state;
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        slots[i] = malloc(BENCH_PAYLOAD_BYTES);
    bench_opaque(slots);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        free(slots[i]);
}

const struct bench_variant floor_heap_thousand = {
    .name = "malloc and free of the C library", .open = heap_open, .close = heap_close, .chunk = thousand,
    .operations = BENCH_THOUSAND,
};
