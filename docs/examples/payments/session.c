/* SPDX-License-Identifier: MIT
 * What the three programs have in common. */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "stream.h"

volatile sig_atomic_t session_stopping;

static void stop(int signal_number)
{
    (void)signal_number;
    session_stopping = 1;
}

void session_complain(const struct session *session, const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", session->program, what, numapool_errormsg());
}

int session_open(struct session *session, const char *program)
{
    /* No SA_RESTART: a blocked read or write returns, so that the program sees the flag. */
    const struct sigaction action = { .sa_handler = stop };
    *session = (struct session){ .program = program };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (numapool_connect(&session->client, NULL) != 0) {
        session_complain(session, "cannot connect to numapoold");
        return -1;
    }
    if (numapool_open(session->client, STREAM_POOL, 0, &session->pool) != 0) {
        session_complain(session, "cannot open pool '" STREAM_POOL "'");
        session_close(session);
        return -1;
    }
    if (numapool_slot_bytes(session->pool) < NUMAPOOL_PAYMENT_BYTES) {
        fprintf(stderr, "%s: pool '" STREAM_POOL "' has slots of %" PRIu64
                        " bytes, a payment needs %u: start numapoold with --pool " STREAM_POOL ",size=%u,count=64K\n",
                program, numapool_slot_bytes(session->pool), NUMAPOOL_PAYMENT_BYTES, NUMAPOOL_PAYMENT_BYTES);
        session_close(session);
        return -1;
    }
    return 0;
}

void session_close(struct session *session)
{
    if (session->pool != NULL && numapool_close(session->pool) != 0)
        session_complain(session, "closing the pool");
    session->pool = NULL;
    if (session->client != NULL && numapool_disconnect(session->client) != 0)
        session_complain(session, "disconnecting");
    session->client = NULL;
}

int64_t session_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int session_number(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
    char *end;
    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || number < least || number > most)
        return -1;
    *value = number;
    return 0;
}
