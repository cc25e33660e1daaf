/* SPDX-License-Identifier: MIT
 *
 * A thread beside the epoll loop that does one thing after another that epoll cannot wait for: it reads a file (/proc/PID/maps of a
 * process whose memory is locked may take its time), or waits for a futex. An operation that it was given is the thread's, under
 * the lock, until np_helper_take hands it back.
 */
#ifndef NP_DAEMON_LOOP_HELPER_H
#define NP_DAEMON_LOOP_HELPER_H

#include <pthread.h>

#include "daemon/loop.h"

struct np_helper {
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t more;
    bool ending;
    struct np_operation *waiting, *current, *finished;
    int event_fd;   /* the loop's; written to when something has finished */
    np_shm32 awake; /* 1: whoever waits for a futex is to stop. A futex beside the one that is waited for */
};

/* -errno: there is no thread, and it can be given nothing. */
int np_helper_start(struct np_helper *helper, int event_fd);
/* Waits for what it is at. What it was given can be taken back. */
void np_helper_stop(struct np_helper *helper);
/* Of operation->task it reads what, held or fd, at, bytes and offset, and writes result. */
void np_helper_give(struct np_helper *helper, struct np_operation *operation);
bool np_helper_is_idle(struct np_helper *helper);
/* Whether the operation has not begun and is the caller's again. A futex that is being waited for comes back by
 * np_helper_take, soon, with -ECANCELED; a file that is being read as if nothing had been asked. */
bool np_helper_cancel(struct np_helper *helper, struct np_operation *operation);
/* All that have finished, linked by task.next. */
struct np_operation *np_helper_take(struct np_helper *helper);
/* Whether a helper can wait for a futex here. */
bool np_helper_has_futex(void);

#endif
