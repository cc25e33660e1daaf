/* SPDX-License-Identifier: MIT */
#include "core/layout.h"

uint32_t np_layout_revision(void)
{
    return NP_LAYOUT_REVISION;
}
