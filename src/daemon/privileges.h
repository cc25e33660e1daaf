/* SPDX-License-Identifier: MIT
 * Of the two halves of the daemon the keeper alone may move pages that others have mapped (CAP_SYS_NICE). */
#ifndef NP_DAEMON_PRIVILEGES_H
#define NP_DAEMON_PRIVILEGES_H

#include <stdbool.h>

/* Gives CAP_SYS_NICE up for good: permitted, effective, inheritable, ambient, and for programs to come where that may be
 * said (bounding set; takes CAP_SETPCAP). Binding memory (mbind(2) without MPOL_MF_MOVE_ALL) does not need it, and the
 * seccomp filter of a container that lets a process bind because the container has it stays as it is. Whether it is gone.
 * Safe after fork. */
bool np_privileges_drop(void);

/* Whether this process may move pages that others have mapped. */
bool np_privileges_may_move(void);

#endif
