// SPDX-License-Identifier: MIT
// Uses the inline part and the initialisers of the public header in C++.
#include <numapool.h>

int use_header_cxx(numapool_magazine *magazine);

int use_header_cxx(numapool_magazine *magazine)
{
    numapool_options options = NUMAPOOL_OPTIONS_INIT;
    numapool_channel_options channel_options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    void *slot = numapool_get(magazine);

    return slot != nullptr && options.size != 0 && channel_options.size != 0 ? numapool_put(magazine, slot) : 0;
}
