/* SPDX-License-Identifier: MIT
 * What the tests of keys, directed messages and requests share: ends of channels of one embedded pool. */
#ifndef NP_TEST_CHANNEL_HELP_H
#define NP_TEST_CHANNEL_HELP_H

#include "pool_help.h"

static struct numapool_pool *pool;

static inline struct numapool_sender *open_sender(const char *channel, uint32_t lane_slots)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_sender *sender = NULL;
    options.lane_slots = lane_slots;
    ck_assert_int_eq(numapool_sender_open(pool, channel, &options, &sender), 0);
    return sender;
}

static inline struct numapool_receiver *open_receiver(const char *channel)
{
    struct numapool_receiver *receiver = NULL;
    ck_assert_int_eq(numapool_receiver_open(pool, channel, NULL, &receiver), 0);
    return receiver;
}

static inline void close_sender(struct numapool_sender *sender)
{
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
}

static inline void close_receiver(struct numapool_receiver *receiver)
{
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
}

/* A loaned message with this id, also in its payload. */
static inline struct numapool_msg loaned(struct numapool_sender *sender, uint64_t key, uint64_t id, uint16_t flags)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 16, .type = 3, .flags = flags, .id = id, .key = key };
    ck_assert_ptr_nonnull(message.data);
    memcpy(message.data, &id, sizeof id);
    return message;
}

static inline int send_flagged(struct numapool_sender *sender, uint64_t key, uint64_t id, uint16_t flags, int64_t timeout_ns)
{
    struct numapool_msg message = loaned(sender, key, id, flags);
    int result = numapool_send(sender, &message, timeout_ns);
    if (result < 0)
        ck_assert_int_eq(numapool_unloan(sender, message.data), 0);
    return result;
}

static inline int send_keyed(struct numapool_sender *sender, uint64_t key, uint64_t id)
{
    return send_flagged(sender, key, id, NUMAPOOL_KEYED, 0);
}

static inline int send_plain(struct numapool_sender *sender, uint64_t id)
{
    return send_flagged(sender, 0, id, 0, 0);
}

/* One message that is there. */
static inline struct numapool_msg receive_one(struct numapool_receiver *receiver, uint64_t id)
{
    struct numapool_msg message;
    uint64_t payload;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
    memcpy(&payload, message.data, sizeof payload);
    ck_assert_uint_eq(message.id, id);
    ck_assert_uint_eq(payload, id);
    return message;
}

static inline void release_one(struct numapool_receiver *receiver, const struct numapool_msg *message)
{
    ck_assert_int_eq(numapool_release(receiver, message, 1), 0);
}

static inline void receive_and_release(struct numapool_receiver *receiver, uint64_t id)
{
    struct numapool_msg message = receive_one(receiver, id);
    release_one(receiver, &message);
}

static inline void assert_nothing_there(struct numapool_receiver *receiver)
{
    struct numapool_msg message;
    ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), -EAGAIN);
}

/* How many are there; all are released. */
static inline unsigned drain(struct numapool_receiver *receiver)
{
    struct numapool_msg messages[16];
    unsigned count = 0;
    for (int got; (got = numapool_receive(receiver, messages, 16, 0)) > 0; count += (unsigned)got)
        ck_assert_int_eq(numapool_release(receiver, messages, (unsigned)got), 0);
    return count;
}

#endif
