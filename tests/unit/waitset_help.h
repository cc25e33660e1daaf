/* SPDX-License-Identifier: MIT
 * Channels of an embedded pool with a wait-set beside them. */
#ifndef NP_TEST_WAITSET_HELP_H
#define NP_TEST_WAITSET_HELP_H

#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "channel/waitset.h"
#include "pool_help.h"

#define LONG_NS INT64_C(20000000000) /* longer than any test may take */

static inline struct numapool_channel_options without_spinning(void)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.spin_ns = -1;
    return options;
}

static inline struct numapool_sender *open_sender(struct numapool_pool *pool, const char *channel)
{
    struct numapool_channel_options options = without_spinning();
    struct numapool_sender *sender = NULL;
    ck_assert_int_eq(numapool_sender_open(pool, channel, &options, &sender), 0);
    return sender;
}

static inline struct numapool_receiver *open_receiver(struct numapool_pool *pool, const char *channel)
{
    struct numapool_channel_options options = without_spinning();
    struct numapool_receiver *receiver = NULL;
    ck_assert_int_eq(numapool_receiver_open(pool, channel, &options, &receiver), 0);
    return receiver;
}

/* As a process has it that opened the pool read-only: without the table of bells. Its lanes are marked as the broker
 * marks them. */
static inline void make_foreign(struct numapool_receiver *receiver)
{
    receiver->endpoint.foreign = true;
    for (unsigned i = 0; i < receiver->lane_count; i++)
        if (receiver->lanes[i].shared) {
            np_store32(&receiver->lanes[i].shared->receiver_foreign, 1, memory_order_release);
            np_store32(&receiver->lanes[i].shared->receiver_bell, UINT32_MAX, memory_order_release);
        }
}

static inline void send_id(struct numapool_sender *sender, uint64_t id)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 8, .id = id };
    ck_assert_ptr_nonnull(message.data);
    ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
}

static inline void receive_id(struct numapool_receiver *receiver, uint64_t id)
{
    struct numapool_msg message;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
    ck_assert_uint_eq(message.id, id);
    ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
}

static inline struct numapool_waitset *open_waitset(void)
{
    struct numapool_waitset *waitset = NULL;
    ck_assert_int_eq(numapool_waitset_open(&waitset), 0);
    return waitset;
}

/* Readable within the time; 0 ms: now. */
static inline bool is_readable(int fd, int timeout_ms)
{
    struct pollfd polled = { .fd = fd, .events = POLLIN };
    return poll(&polled, 1, timeout_ms) == 1;
}

#endif
