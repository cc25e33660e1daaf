/* SPDX-License-Identifier: MIT
 * The control groups that this process is in, of version 1 and 2, as far as they are mounted. */
#ifndef NP_NUMA_CGROUP_H
#define NP_NUMA_CGROUP_H

#include <stdbool.h>

/* Called with a directory without the root; its limits are files in it. */
typedef void np_cgroup_level(void *argument, const char *directory, bool version_2);

/* Calls `level` for the process's group in each hierarchy that may limit by `controller` ("memory"), and for every group above
 * it, whose limits hold as well. A directory of version 2 need not have that controller. */
void np_cgroup_each_level(const char *root, const char *controller, np_cgroup_level *level, void *argument);

#endif
