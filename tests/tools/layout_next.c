/* SPDX-License-Identifier: MIT
 * Linked into a numapoold before the library's own, so that the tests of upgrades have a build whose shared memory means something
 * else. */
#include "core/layout.h"

uint32_t np_layout_revision(void)
{
    return 99;
}
