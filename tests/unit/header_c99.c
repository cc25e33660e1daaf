/* SPDX-License-Identifier: MIT
 * Uses the inline part of the public header in C99, where a compiler would otherwise never look into it. */
#include <numapool.h>

int use_header_c99(struct numapool_magazine *magazine);

int use_header_c99(struct numapool_magazine *magazine)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_channel_options channel_options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    void *slot = numapool_get(magazine);

    return slot != NULL && options.size != 0 && channel_options.size != 0 ? numapool_put(magazine, slot) : 0;
}
