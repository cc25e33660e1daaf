/* SPDX-License-Identifier: MIT
 * The layout that inline calls are compiled into is the library's forever (NUMAPOOL_ABI): a change must not go unseen. */
#include <numapool.h>

_Static_assert(NUMAPOOL_ABI == 1u, "another ABI: pin its layout here");
_Static_assert(offsetof(struct numapool_magazine, count) == 0, "count moved");
_Static_assert(offsetof(struct numapool_magazine, capacity) == 4, "capacity moved");
_Static_assert(offsetof(struct numapool_magazine, base) == 8, "base moved");
_Static_assert(offsetof(struct numapool_magazine, span) == 16, "span moved");
_Static_assert(offsetof(struct numapool_magazine, slots) == 24, "slots moved");
_Static_assert(sizeof(struct numapool_magazine) == 32, "the magazine's public part changed its size");
_Static_assert(sizeof(numapool_handle) == 8, "a handle is 64 bits");
_Static_assert(sizeof(struct numapool_msg) == 48, "a message descriptor changed its size");

int use_header_c11(struct numapool_magazine *magazine);

int use_header_c11(struct numapool_magazine *magazine)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    void *slot = numapool_get(magazine);

    return slot != NULL && options.size != 0 ? numapool_put(magazine, slot) : 0;
}
