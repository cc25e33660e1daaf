/* SPDX-License-Identifier: MIT
 * The gateway: payments come from files (gateway.c) or connections (listen.c), and go out one way (outlet.c). */
#ifndef PAYMENTS_GATEWAY_H
#define PAYMENTS_GATEWAY_H

#include <stdint.h>

#include "nacha.h"
#include "session.h"
#include "stream.h"

struct gateway {
    struct session session;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_msg batch[STREAM_BATCH_MESSAGES];
    unsigned batched;
    uint32_t repeat;
    uint32_t file;        /* or connection: a number for each, from 0 */
    uint64_t notes;       /* on this file */
    uint64_t payments;
    uint64_t statements;
    int64_t started_ns;   /* wall clock: when this pass began */
};

/* ---- outlet.c. Each is 0, or -1 having said why (or because it is time to stop). */

/* Sends what is batched, in order; waits for room. */
int outlet_flush(struct gateway *gateway);
/* A slot to fill, waiting while others hold them all; NULL: it is time to stop. */
void *outlet_slot(struct gateway *gateway);
/* The slot is sent with its batch; from now on it is not the caller's. */
int outlet_send(struct gateway *gateway, void *slot, enum stream_type type, uint64_t id, uint64_t key);
/* A statement is small and rare: it is made by the caller and copied. */
int outlet_state(struct gateway *gateway, enum stream_type type, void *statement);
int outlet_finding(struct gateway *gateway, enum nacha_severity severity, uint64_t line, const char *sentence);
int outlet_name(struct gateway *gateway, const char *name);

/* ---- listen.c */

struct listening {
    const char *address;  /* [ADDRESS:]PORT */
    uint64_t connections; /* ends when so many have come and gone; 0: at SIGTERM */
    uint64_t ready_fd;    /* 0: none; else the port is written there, in decimal, with a line end */
};
/* Receives payments from connections until it is to end. */
int listen_for_payments(struct gateway *gateway, const struct listening *listening);

#endif
