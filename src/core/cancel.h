/* SPDX-License-Identifier: MIT
 *
 * Cancellation: a thread that is cancelled (deferred) inside a call of the library would leave locks taken and answers unread. So calls that pass
 * through cancellation points (a socket, a sleep, a file) turn it off for their time, and the thread is cancelled at its own next point.
 */
#ifndef NP_CORE_CANCEL_H
#define NP_CORE_CANCEL_H

#include <pthread.h>

/* What np_cancel_restore wants back. May be nested. */
static inline int np_cancel_defer(void)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

static inline void np_cancel_restore(int before)
{
    pthread_setcancelstate(before, NULL);
}

#endif
