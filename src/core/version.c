/* SPDX-License-Identifier: MIT */
#include "numapool.h"

#ifndef PACKAGE_VERSION
#error "PACKAGE_VERSION comes from configure"
#endif

const char *numapool_version(void)
{
    return PACKAGE_VERSION;
}
