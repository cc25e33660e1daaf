/* SPDX-License-Identifier: MIT
 * Linked into a numapoold before the library's own, so that the tests of upgrades have a build of another version. */
#include "numapool.h"

const char *numapool_version(void)
{
    return "99.1.0";
}
