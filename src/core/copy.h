/* SPDX-License-Identifier: MIT
 *
 * Copying pointers between a magazine and its user.
 *
 * A bulk of 32 is 256 bytes: less than what it costs to call a copying function, choose in it, and read all of them once more to
 * see whose they are. So the copy is a loop of 16-byte vectors here, and looks at what it copies by the way.
 */
#ifndef NP_CORE_COPY_H
#define NP_CORE_COPY_H

#include <stdbool.h>
#include <stdint.h>

typedef uintptr_t np_pointers __attribute__((vector_size(16), aligned(8), may_alias)); /* two, anywhere in an array of them */

/* Copies n pointers and returns their distances from `base`, or-ed together: none is larger than that. */
static inline uintptr_t np_copy_distances(void **to, void *const *from, unsigned n, uintptr_t base)
{
    const np_pointers bases = { base, base };
    np_pointers even = { 0, 0 }, odd = { 0, 0 };
    void *const *const end = from + n;
    for (void *const *const stop = from + n / 4 * 4; from < stop; from += 4, to += 4) {
        np_pointers first = *(const np_pointers *)from, second = *(const np_pointers *)(from + 2);
        *(np_pointers *)to = first;
        *(np_pointers *)(to + 2) = second;
        even |= first - bases;
        odd |= second - bases;
    }
    even |= odd;
    uintptr_t distances = even[0] | even[1];
    while (from < end) {
        void *one = *from++;
        *to++ = one;
        distances |= (uintptr_t)one - base;
    }
    return distances;
}

/* The same, and says exactly whether all of them lie in the span that begins at `base`. */
static inline bool np_copy_of_span(void **to, void *const *from, unsigned n, uintptr_t base, uintptr_t span)
{
    const np_pointers bases = { base, base }, lasts = { span - 1, span - 1 };
    np_pointers even = lasts, odd = lasts; /* whose highest bit says so of nothing, where there is no span */
    void *const *const end = from + n;
    for (void *const *const stop = from + n / 4 * 4; from < stop; from += 4, to += 4) {
        np_pointers first = *(const np_pointers *)from, second = *(const np_pointers *)(from + 2);
        *(np_pointers *)to = first;
        *(np_pointers *)(to + 2) = second;
        first -= bases;
        second -= bases;
        even |= first | (lasts - first); /* negative, either of them, for who is outside */
        odd |= second | (lasts - second);
    }
    even |= odd;
    uintptr_t outside = even[0] | even[1];
    while (from < end) {
        void *one = *from++;
        *to++ = one;
        uintptr_t distance = (uintptr_t)one - base;
        outside |= distance | (span - 1 - distance);
    }
    return (intptr_t)outside >= 0;
}

static inline void np_copy_pointers(void **to, void *const *from, unsigned n)
{
    void *const *const end = from + n;
    for (void *const *const stop = from + n / 4 * 4; from < stop; from += 4, to += 4) {
        np_pointers first = *(const np_pointers *)from, second = *(const np_pointers *)(from + 2);
#if defined(__SSE2__)
        __asm__("" : "+x"(first)); /* else compilers make a call of memcpy of it again */
#endif
        *(np_pointers *)to = first;
        *(np_pointers *)(to + 2) = second;
    }
    while (from < end)
        *to++ = *from++;
}

#endif
