/* SPDX-License-Identifier: MIT
 * What the library has to say, to whoever asked for it by numapool_log_set. Never from a warm path. */
#ifndef NP_CORE_TELL_H
#define NP_CORE_TELL_H

#include "numapool.h"

/* level: enum numapool_log_level. Costs one load where nobody listens. Leaves numapool_errormsg as it is. */
void np_tell(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
