/* SPDX-License-Identifier: MIT
 *
 * A bare stack in a shared library of its own, for floors that are to be called as a program calls libnumapool: through the
 * procedure linkage table.
 */
#ifndef NP_BENCH_CALLED_STACK_H
#define NP_BENCH_CALLED_STACK_H

#include <stdint.h>

struct called_stack {
    uint32_t count;
    void **slots;
};

__attribute__((visibility("default"))) void *bench_called_pop(struct called_stack *stack);
__attribute__((visibility("default"))) void bench_called_push(struct called_stack *stack, void *slot);

/* What a call costs by itself. */
__attribute__((visibility("default"))) void *bench_called_nothing(void *argument);
__attribute__((visibility("default"))) int bench_called_nothing_of_two(void *argument, void *other);

#endif
