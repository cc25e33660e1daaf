/* SPDX-License-Identifier: MIT
 * Fingerprints of shared layouts: builds whose structs differ refuse each other (an idea of LMDB's). */
#ifndef NP_CORE_LAYOUT_H
#define NP_CORE_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

/* Bumped when the meaning of shared memory changes though no offset does. */
#define NP_LAYOUT_REVISION 5u

/* The same, in a file of its own: the tests of upgrades link builds that have another. */
uint32_t np_layout_revision(void);

/* FNV-1a (Fowler, Noll, Vo) over sizes and offsets. */
static inline uint64_t np_fingerprint(const uint64_t *values, size_t n)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++)
        for (unsigned byte = 0; byte < 8; byte++)
            hash = (hash ^ (values[i] >> (8 * byte) & 0xff)) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
