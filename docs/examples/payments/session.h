/* SPDX-License-Identifier: MIT
 * What the three programs have in common: a client of the daemon with the pool open, and a wish to stop. */
#ifndef PAYMENTS_SESSION_H
#define PAYMENTS_SESSION_H

#include <signal.h>
#include <stdint.h>

#include "numapool.h"

/* How long a call waits before the program looks whether it is to stop. */
#define SESSION_WAIT_NS INT64_C(100000000)

enum session_exit { SESSION_OK = 0, SESSION_FAILED = 1, SESSION_USAGE = 2 };

struct session {
    const char *program;
    struct numapool_client *client;
    struct numapool_pool *pool;
};

/* Set by SIGINT and SIGTERM. */
extern volatile sig_atomic_t session_stopping;

/* Connects to the daemon ($NUMAPOOL_SOCKET), opens the pool and catches the signals. 0 or -1, having said why. */
int session_open(struct session *session, const char *program);
void session_close(struct session *session);

/* "program: what: the library's sentence" to standard error. */
void session_complain(const struct session *session, const char *what);

int64_t session_now_ns(void); /* monotonic */

/* A decimal number of an option, from `least` to `most`. 0 or -1. */
int session_number(const char *text, uint64_t least, uint64_t most, uint64_t *value);

#endif
