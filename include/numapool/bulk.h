/* SPDX-License-Identifier: MIT
 *
 * numapool/bulk.h - the warm halves of numapool_get_bulk and numapool_put_bulk, inline: a copy of pointers that fits the magazine.
 *
 * Included by numapool.h. Where a compiler does not inline them, at -O0 or through a pointer to the function, the library's are called,
 * which do the same.
 */
#ifndef NUMAPOOL_BULK_H
#define NUMAPOOL_BULK_H

#include "numapool.h"

#if defined(__GNUC__) && !defined(NUMAPOOL_BUILDING_LIBRARY)
#ifdef __cplusplus
extern "C" {
#endif

extern __inline__ __attribute__((gnu_inline)) int numapool_get_bulk(struct numapool_magazine *magazine, void **slots, unsigned n)
{
    void **top;
    if (NUMAPOOL_UNLIKELY(!magazine) || (__builtin_constant_p(n) && n > 65536u)) /* more than any magazine holds */
        return numapool_get_bulk_slow(magazine, slots, n);
    top = magazine->top;
    if (NUMAPOOL_UNLIKELY((size_t)(n - 1u) >= (size_t)(top - magazine->bottom))) /* 0 is none of the numbers that can be had */
        return numapool_get_bulk_slow(magazine, slots, n);
    magazine->top = top -= n;
    __builtin_memcpy(slots, top, n * sizeof *slots);
    return 0;
}

/* Copied before it is known whose they are, for above the top is nobody's. None of them is farther from the base than all
 * their distances or-ed together: two by two, by the way, since reading them again takes as long as the copy. Where the span is no
 * power of two that can be too far though each is here: then they are read again, by the slow half. */
typedef uintptr_t numapool_two __attribute__((vector_size(16), aligned(8), may_alias));
extern __inline__ __attribute__((gnu_inline)) int numapool_put_bulk(struct numapool_magazine *magazine, void *const *slots, unsigned n)
{
    void **top;
    numapool_two base, even = { 0, 0 }, odd = { 0, 0 };
    uintptr_t far;
    unsigned i = 0;
    if (NUMAPOOL_UNLIKELY(!magazine || (size_t)n > (size_t)(magazine->limit - magazine->top)))
        return numapool_put_bulk_slow(magazine, slots, n);
    top = magazine->top;
    base[0] = base[1] = magazine->base;
    for (; i < n / 4 * 4; i += 4) {
        numapool_two first = *(const numapool_two *)(slots + i), second = *(const numapool_two *)(slots + i + 2);
        *(numapool_two *)(top + i) = first;
        *(numapool_two *)(top + i + 2) = second;
        even |= first - base;
        odd |= second - base;
    }
    even |= odd;
    far = even[0] | even[1];
    for (; i < n; i++) {
        void *slot = slots[i];
        top[i] = slot;
        far |= (uintptr_t)slot - magazine->base;
    }
    if (NUMAPOOL_UNLIKELY(far >= magazine->span))
        return numapool_put_bulk_slow(magazine, slots, n);
    magazine->top = top + n;
    return 0;
}

#ifdef __cplusplus
}
#endif
#endif
#endif
