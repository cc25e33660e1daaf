/* SPDX-License-Identifier: MIT
 * What a loop is to loop.c: one of two kinds, each with a struct of its own that begins with this one. */
#ifndef NP_DAEMON_LOOP_KIND_H
#define NP_DAEMON_LOOP_KIND_H

#include "daemon/loop.h"

struct np_loop_kind {
    enum np_loop_choice choice;
    /* loop.h says what these do; an operation is not yet pending when it comes here. */
    int (*start)(struct np_loop **loop, unsigned operations);
    void (*stop)(struct np_loop *loop);
    /* Waits so long at most for something to happen, and calls `done`; INT64_MAX: as long as it takes. */
    int (*turn)(struct np_loop *loop, int64_t timeout_ns);
    void (*accept)(struct np_loop *loop, struct np_operation *operation, int fd);
    void (*receive)(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes);
    void (*send_message)(struct np_loop *loop, struct np_operation *operation, int fd, const struct msghdr *message);
    void (*read)(struct np_loop *loop, struct np_operation *operation, int fd, void *buffer, unsigned bytes, uint64_t offset);
    void (*poll)(struct np_loop *loop, struct np_operation *operation, int fd, unsigned events);
    void (*futex_wait)(struct np_loop *loop, struct np_operation *operation, np_shm32 *word, uint32_t seen);
    void (*cancel)(struct np_loop *loop, struct np_operation *operation); /* of a pending one */
};

enum { NP_LOOP_ACCEPTS_MAX = 64 /* between two looks at the timers */ };

/* A connection that is there; -EAGAIN: none; another -errno of accept4(2). The listening socket is a blocking one
 * (listener.c), and nobody else accepts from it. */
int np_loop_accept_now(int fd);

struct np_loop {
    const struct np_loop_kind *kind;
    struct np_timer *timers;
    int refusal;
    bool futex;
};

extern const struct np_loop_kind np_loop_ring, np_loop_epoll;

#endif
