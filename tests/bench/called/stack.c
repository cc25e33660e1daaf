/* SPDX-License-Identifier: MIT */
#include "stack.h"

void *bench_called_pop(struct called_stack *stack)
{
    return stack->slots[--stack->count];
}

void bench_called_push(struct called_stack *stack, void *slot)
{
    stack->slots[stack->count++] = slot;
}

void *bench_called_nothing(void *argument)
{
    return argument;
}

int bench_called_nothing_of_two(void *argument, void *other)
{
    (void)argument;
    (void)other;
    return 0;
}
