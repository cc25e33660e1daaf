/* SPDX-License-Identifier: MIT */
#include "copy.h"

#include <stdlib.h>
#include <string.h>

#include "../local.h"

#define STACK_SLOTS 256u

struct stack {
    uint32_t count;
    void *slots[STACK_SLOTS];
};

static void *stack_open(void)
{
    struct stack *stack = calloc(1, sizeof *stack);
    if (!stack)
        bench_fail("no memory for a stack of %u slots", STACK_SLOTS);
    stack->count = STACK_SLOTS / 2;
    return stack;
}

static void bulks(void *state)
{
    struct stack *stack = bench_opaque(state);
    void *slots[BENCH_BULK];
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_BULKS; i++) {
        stack->count -= BENCH_BULK;
        memcpy(slots, stack->slots + stack->count, sizeof slots);
        bench_opaque(slots);
        memcpy(stack->slots + stack->count, slots, sizeof slots);
        stack->count += BENCH_BULK;
        bench_opaque(slots);
    }
}

const struct bench_variant floor_copy = {
    .name = "bare copy of 32 pointers, twice", .open = stack_open, .close = free, .chunk = bulks,
    .operations = BENCH_BULKS * BENCH_BULK,
};
