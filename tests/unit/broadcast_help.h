/* SPDX-License-Identifier: MIT
 * What the tests of broadcast share: ends of one channel, messages that tell their number. */
#ifndef NP_TEST_BROADCAST_HELP_H
#define NP_TEST_BROADCAST_HELP_H

#include "pool_help.h"

#include "channel/broadcast.h"

enum { LANE_SLOTS = 8, MESSAGES_MAX = 16 };

static inline struct numapool_channel_options broadcasting(void)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = LANE_SLOTS;
    options.flags = NUMAPOOL_BROADCAST;
    options.spin_ns = -1;
    return options;
}

static inline struct numapool_sender *open_sender(struct numapool_pool *pool)
{
    struct numapool_channel_options options = broadcasting();
    struct numapool_sender *sender = NULL;
    ck_assert_int_eq(numapool_sender_open(pool, "b", &options, &sender), 0);
    return sender;
}

static inline struct numapool_receiver *open_receiver(struct numapool_pool *pool)
{
    struct numapool_channel_options options = broadcasting();
    struct numapool_receiver *receiver = NULL;
    ck_assert_int_eq(numapool_receiver_open(pool, "b", &options, &receiver), 0);
    return receiver;
}

static inline int send_one(struct numapool_sender *sender, uint64_t id)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 16, .type = 3, .id = id, .key = ~id };
    if (!message.data)
        return -EAGAIN;
    memcpy(message.data, &id, sizeof id);
    int result = numapool_send(sender, &message, 0);
    if (result < 0)
        numapool_unloan(sender, message.data);
    return result;
}

static inline void send_ids(struct numapool_sender *sender, uint64_t from, uint64_t until)
{
    for (uint64_t id = from; id < until; id++)
        ck_assert_int_eq(send_one(sender, id), 0);
}

static inline void assert_are(const struct numapool_msg *messages, uint64_t from, uint64_t until)
{
    for (uint64_t id = from; id < until; id++) {
        const struct numapool_msg *message = &messages[id - from];
        uint64_t payload;
        memcpy(&payload, message->data, sizeof payload);
        ck_assert_uint_eq(message->id, id);
        ck_assert_uint_eq(payload, id);
        ck_assert_uint_eq(message->key, ~id);
        ck_assert_uint_eq(message->type, 3);
        ck_assert_uint_eq(message->length, 16);
        ck_assert_uint_eq(message->flags, 0);
    }
}

/* Exactly those, in order. */
static inline void receive_ids(struct numapool_receiver *receiver, struct numapool_msg *messages, uint64_t from, uint64_t until)
{
    struct numapool_msg more;
    if (until > from)
        ck_assert_int_eq(numapool_receive(receiver, messages, (unsigned)(until - from), 0), (int)(until - from));
    assert_are(messages, from, until);
    ck_assert_int_eq(numapool_receive(receiver, &more, 1, 0), -EAGAIN);
}

static inline void release(struct numapool_receiver *receiver, const struct numapool_msg *messages, uint64_t n)
{
    ck_assert_int_eq(numapool_release(receiver, messages, (unsigned)n), 0);
}

static inline void receive_and_release(struct numapool_receiver *receiver, uint64_t from, uint64_t until)
{
    struct numapool_msg messages[MESSAGES_MAX];
    receive_ids(receiver, messages, from, until);
    release(receiver, messages, until - from);
}

#endif
