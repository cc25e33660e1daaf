/* SPDX-License-Identifier: MIT
 *
 * Clients that are dead while the kernel may still do I/O into their slots.
 *
 * A client that does I/O by io_uring asks for a token: the write end of a pipe, which it registers as a fixed file with each such
 * ring. The kernel lets go of a ring's files when the ring's last request has completed, so when the read end hangs up no such ring
 * lives in any process. Until then what the client held is not given to others.
 *
 *   the token is asked for   pipe made; read end stored (NP_STORE_IO); has_io on the board; then answered
 *   the client is gone       hung up already: it ends like any other
 *                            else its sent lanes are seen to (np_broker_client_stopped), and the read end is polled
 *   the read end hangs up    np_broker_client_gone
 *
 * All of it is on the board and in the store, so another worker goes on with it.
 */
#ifndef NP_DAEMON_INFLIGHT_H
#define NP_DAEMON_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/loop.h"

struct np_worker;

struct np_inflight {
    struct np_worker *worker;
    struct np_operation poll; /* of the read end */
    uint32_t client;
    int64_t since_ns;
    int64_t tell_at_ns; /* INT64_MAX: it is not waited for, or was told */
};

struct np_inflights {
    struct np_inflight *of; /* [limits.clients + 1] */
    struct np_timer slow;
};

int np_inflights_start(struct np_worker *worker);
/* Clients that a predecessor waited for. */
void np_inflights_take_over(struct np_worker *worker);

/* A write end of the client's pipe, for the caller to send and close; always of the same pipe. -errno with the sentence. */
int np_inflight_token(struct np_worker *worker, uint32_t client);

/* The client is gone: true when the kernel may not have let go of its slots yet. Then it is waited for, and ended later. */
bool np_inflight_begin(struct np_worker *worker, uint32_t client, const char *why);

#endif
