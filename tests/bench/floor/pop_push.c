/* SPDX-License-Identifier: MIT */
#include "pop_push.h"

#include <stdlib.h>

#include "../local.h"

#define STACK_SLOTS 2048u

struct stack {
    uint32_t count;
    void **slots;
    char *payload;
};

static inline void *pop(struct stack *stack)
{
    return stack->slots[--stack->count];
}

static inline void push(struct stack *stack, void *slot)
{
    stack->slots[stack->count++] = slot;
}

/* The barrier keeps a compiler from copying or inlining what is to be a call. */
static __attribute__((noinline)) void *pop_call(struct stack *stack)
{
    __asm__ volatile("");
    return pop(stack);
}

static __attribute__((noinline)) void push_call(struct stack *stack, void *slot)
{
    __asm__ volatile("");
    push(stack, slot);
}

static void *stack_open(void)
{
    struct stack *stack = calloc(1, sizeof *stack);
    if (!stack || (stack->payload = calloc(STACK_SLOTS, BENCH_PAYLOAD_BYTES)) == NULL ||
        (stack->slots = calloc(STACK_SLOTS, sizeof *stack->slots)) == NULL)
        bench_fail("no memory for a stack of %u slots", STACK_SLOTS);
    for (unsigned i = 0; i < STACK_SLOTS; i++)
        push(stack, stack->payload + (size_t)i * BENCH_PAYLOAD_BYTES);
    return stack;
}

static void stack_close(void *state)
{
    struct stack *stack = state;
    free(stack->payload);
    free(stack->slots);
    free(stack);
}

static void pairs(void *state)
{
    struct stack *stack = bench_opaque(state);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_PAIRS; i++) {
        void *slot = bench_opaque(pop(stack));
        push(stack, slot);
        bench_opaque(slot);
    }
}

static void pairs_call(void *state)
{
    struct stack *stack = bench_opaque(state);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_PAIRS; i++) {
        void *slot = bench_opaque(pop_call(stack));
        push_call(stack, slot);
        bench_opaque(slot);
    }
}

static void thousand(void *state)
{
    struct stack *stack = bench_opaque(state);
    void *slots[BENCH_THOUSAND];
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        slots[i] = pop_call(stack);
    bench_opaque(slots);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        push_call(stack, slots[i]);
}

static void thousand_inline(void *state)
{
    struct stack *stack = bench_opaque(state);
    void *slots[BENCH_THOUSAND];
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        slots[i] = pop(stack);
    bench_opaque(slots);
    bench_align_loop();
    for (unsigned i = 0; i < BENCH_THOUSAND; i++)
        push(stack, slots[i]);
}

const struct bench_variant floor_pop_push = {
    .name = "bare pop and push", .open = stack_open, .close = stack_close, .chunk = pairs, .operations = BENCH_PAIRS,
};
const struct bench_variant floor_pop_push_call = {
    .name = "bare pop and push by call", .open = stack_open, .close = stack_close, .chunk = pairs_call, .operations = BENCH_PAIRS,
};
const struct bench_variant floor_pop_push_thousand = {
    .name = "bare pop and push by call", .open = stack_open, .close = stack_close, .chunk = thousand, .operations = BENCH_THOUSAND,
};
const struct bench_variant floor_pop_push_thousand_inline = {
    .name = "bare pop and push", .open = stack_open, .close = stack_close, .chunk = thousand_inline, .operations = BENCH_THOUSAND,
};
