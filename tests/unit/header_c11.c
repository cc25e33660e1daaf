/* SPDX-License-Identifier: MIT
 * The layout that inline calls are compiled into is the library's forever (NUMAPOOL_ABI): a change must not go unseen. */
#include <numapool.h>

_Static_assert(NUMAPOOL_ABI == 1u, "another ABI: pin its layout here");
_Static_assert(offsetof(struct numapool_magazine, top) == 0, "top moved");
_Static_assert(offsetof(struct numapool_magazine, bottom) == 8, "bottom moved");
_Static_assert(offsetof(struct numapool_magazine, limit) == 16, "limit moved");
_Static_assert(offsetof(struct numapool_magazine, base) == 24, "base moved");
_Static_assert(offsetof(struct numapool_magazine, span) == 32, "span moved");
_Static_assert(sizeof(struct numapool_magazine) == 40, "the magazine's public part changed its size");
_Static_assert(sizeof(numapool_handle) == 8, "a handle is 64 bits");
_Static_assert(sizeof(struct numapool_msg) == 48, "a message descriptor changed its size");

int use_header_c11(struct numapool_magazine *magazine);

int use_header_c11(struct numapool_magazine *magazine)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    void *slot = numapool_get(magazine);

    return slot != NULL && options.size != 0 ? numapool_put(magazine, slot) : 0;
}
