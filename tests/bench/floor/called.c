/* SPDX-License-Identifier: MIT */
#include "called.h"

#include <stdlib.h>

#include "../called/stack.h"
#include "../local.h"

#define STACK_SLOTS 2048u

static void *stack_open(void)
{
    struct called_stack *stack = calloc(1, sizeof *stack);
    if (!stack || (stack->slots = calloc(STACK_SLOTS, sizeof *stack->slots)) == NULL)
        bench_fail("no memory for a stack of %u slots", STACK_SLOTS);
    for (unsigned i = 0; i < STACK_SLOTS; i++)
        bench_called_push(stack, &stack->slots[i]); /* any addresses: nothing looks at what they point to */
    return stack;
}

static void stack_close(void *state)
{
    struct called_stack *stack = state;
    free(stack->slots);
    free(stack);
}

static void pairs(void *state)
{
    struct called_stack *stack = bench_opaque(state);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_PAIRS; i++) {
        void *slot = bench_opaque(bench_called_pop(stack));
        bench_called_push(stack, slot);
        bench_opaque(slot);
    }
}

static void nothing(void *state)
{
    struct called_stack *stack = bench_opaque(state);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_PAIRS; i++) {
        void *slot = bench_opaque(bench_called_nothing(stack));
        bench_called_nothing_of_two(stack, slot);
        bench_opaque(slot);
    }
}

static void thousand(void *state)
{
    struct called_stack *stack = bench_opaque(state);
    void *slots[BENCH_THOUSAND];
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        slots[i] = bench_called_pop(stack);
    bench_opaque(slots);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        bench_called_push(stack, slots[i]);
}

const struct bench_variant floor_called_pop_push = {
    .name = "bare pop and push in a shared library", .open = stack_open, .close = stack_close, .chunk = pairs,
    .operations = BENCH_PAIRS,
};
const struct bench_variant floor_called_nothing = {
    .name = "two empty calls into a shared library", .open = stack_open, .close = stack_close, .chunk = nothing,
    .operations = BENCH_PAIRS,
};
const struct bench_variant floor_called_thousand = {
    .name = "bare pop and push in a shared library", .open = stack_open, .close = stack_close, .chunk = thousand,
    .operations = BENCH_THOUSAND,
};
