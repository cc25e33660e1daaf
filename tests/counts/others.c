/* SPDX-License-Identifier: MIT
 *
 * What else is done with messages: keep, forward, broadcast, request and reply, and looking at a wait-set.
 */
#include "counts.h"

#define BATCH 8u
#define READERS 2u

static struct numapool_sender *first, *second;
static struct numapool_receiver *middle, *last;

static void open_chain(void)
{
    counts_check(numapool_receiver_open(counts_pool, "first", NULL, &middle) == 0, "receiver_open");
    counts_check(numapool_sender_open(counts_pool, "first", NULL, &first) == 0, "sender_open");
    counts_check(numapool_receiver_open(counts_pool, "second", NULL, &last) == 0, "receiver_open");
    counts_check(numapool_sender_open(counts_pool, "second", NULL, &second) == 0, "sender_open");
}

static void close_chain(void)
{
    counts_check(numapool_receiver_close(middle) == 0 && numapool_receiver_close(last) == 0, "receiver_close");
    counts_check(numapool_sender_close(first, 0) == 0 && numapool_sender_close(second, 0) == 0, "sender_close");
}

static void send_one(struct numapool_sender *sender)
{
    struct numapool_msg message = { .data = numapool_loan(sender), .length = 16 };
    counts_check(message.data && numapool_send(sender, &message, 0) == 0, "send");
}

/* COUNTS_HALF messages for who receives of `receiver`. */
static void receive_many(struct numapool_sender *sender, struct numapool_receiver *receiver, struct numapool_msg *messages)
{
    for (unsigned i = 0; i < COUNTS_HALF; i++)
        send_one(sender);
    counts_check(numapool_receive(receiver, messages, COUNTS_HALF, 0) == (int)COUNTS_HALF, "receive");
}

static void run_keep(unsigned rounds)
{
    struct numapool_msg messages[COUNTS_HALF];
    for (unsigned i = 0; i < rounds; i++) {
        receive_many(first, middle, messages);
        counts_on();
        for (unsigned number = 0; number < COUNTS_HALF; number++)
            counts_check(numapool_keep(middle, &messages[number]) == 0, "keep");
        counts_off();
        for (unsigned number = 0; number < COUNTS_HALF; number++)
            counts_check(numapool_unloan(second, messages[number].data) == 0, "unloan");
    }
}

static void run_forward(unsigned rounds)
{
    struct numapool_msg messages[COUNTS_HALF];
    for (unsigned i = 0; i < rounds; i++) {
        receive_many(first, middle, messages);
        counts_on();
        for (unsigned number = 0; number < COUNTS_HALF; number++)
            counts_check(numapool_forward(middle, &messages[number], second, 0) == 0, "forward");
        counts_off();
        counts_check(numapool_receive(last, messages, COUNTS_HALF, 0) == (int)COUNTS_HALF, "receive");
        counts_check(numapool_release(last, messages, COUNTS_HALF) == 0, "release");
    }
}

static void run_forward_bulk(unsigned rounds)
{
    struct numapool_msg messages[COUNTS_HALF];
    for (unsigned i = 0; i < rounds; i++) {
        receive_many(first, middle, messages);
        counts_on();
        for (unsigned number = 0; number < COUNTS_HALF; number += BATCH)
            counts_check(numapool_forward_bulk(middle, &messages[number], BATCH, second, 0) == (int)BATCH, "forward_bulk");
        counts_off();
        counts_check(numapool_receive(last, messages, COUNTS_HALF, 0) == (int)COUNTS_HALF, "receive");
        counts_check(numapool_release(last, messages, COUNTS_HALF) == 0, "release");
    }
}

/* ---------------------------------------------------------------- several ends */

static struct numapool_sender *senders[2];
static struct numapool_receiver *receivers[2];
static unsigned sender_count, receiver_count;

static void open_several(unsigned of_senders, unsigned of_receivers)
{
    sender_count = of_senders, receiver_count = of_receivers;
    for (unsigned i = 0; i < receiver_count; i++)
        counts_check(numapool_receiver_open(counts_pool, "several", NULL, &receivers[i]) == 0, "receiver_open");
    for (unsigned i = 0; i < sender_count; i++)
        counts_check(numapool_sender_open(counts_pool, "several", NULL, &senders[i]) == 0, "sender_open");
}

static void open_two_receivers(void)
{
    open_several(1, 2);
}

static void open_two_senders(void)
{
    open_several(2, 1);
}

static void close_several(void)
{
    for (unsigned i = 0; i < receiver_count; i++)
        counts_check(numapool_receiver_close(receivers[i]) == 0, "receiver_close");
    for (unsigned i = 0; i < sender_count; i++)
        counts_check(numapool_sender_close(senders[i], 0) == 0, "sender_close");
}

/* Two messages, singly: each sender sends its share, each receiver receives what came to it. */
static void run_several(unsigned rounds)
{
    struct numapool_msg message;
    for (unsigned i = 0; i < rounds; i++) {
        for (unsigned number = 0; number < 2; number++)
            send_one(senders[number % sender_count]);
        for (unsigned number = 0; number < 2; number++) {
            counts_check(numapool_receive(receivers[number % receiver_count], &message, 1, 0) == 1, "receive");
            counts_check(numapool_release(receivers[number % receiver_count], &message, 1) == 0, "release");
        }
    }
}

/* Who polls finds nothing most of the time. */
static void run_receive_none(unsigned rounds)
{
    struct numapool_msg message;
    for (unsigned i = 0; i < rounds; i++)
        counts_check(numapool_receive(middle, &message, 1, 0) < 0, "receive");
}

/* ---------------------------------------------------------------- broadcast */

static struct numapool_receiver *readers[READERS];

static void open_broadcast(void)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.flags = NUMAPOOL_BROADCAST;
    for (unsigned i = 0; i < READERS; i++)
        counts_check(numapool_receiver_open(counts_pool, "all", &options, &readers[i]) == 0, "receiver_open");
    counts_check(numapool_sender_open(counts_pool, "all", &options, &first) == 0, "sender_open");
}

static void close_broadcast(void)
{
    for (unsigned i = 0; i < READERS; i++)
        counts_check(numapool_receiver_close(readers[i]) == 0, "receiver_close");
    counts_check(numapool_sender_close(first, 0) == 0, "sender_close");
}

static void run_broadcast(unsigned rounds)
{
    struct numapool_msg message;
    for (unsigned i = 0; i < rounds; i++) {
        send_one(first);
        for (unsigned reader = 0; reader < READERS; reader++) {
            counts_check(numapool_receive(readers[reader], &message, 1, 0) == 1, "receive");
            counts_check(numapool_release(readers[reader], &message, 1) == 0, "release");
        }
    }
}

/* ---------------------------------------------------------------- request and reply */

static struct numapool_requester *requester;
static struct numapool_responder *responder;

static void open_service(void)
{
    counts_check(numapool_responder_open(counts_pool, "service", NULL, &responder) == 0, "responder_open");
    counts_check(numapool_requester_open(counts_pool, "service", NULL, &requester) == 0, "requester_open");
}

static void close_service(void)
{
    counts_check(numapool_requester_close(requester, 0) == 0, "requester_close");
    counts_check(numapool_responder_close(responder, 0) == 0, "responder_close");
}

static inline void ask(struct numapool_msg *request)
{
    struct numapool_msg message = { .data = numapool_loan(numapool_requester_sender(requester)), .length = 16 };
    counts_check(numapool_request(requester, &message, 0) == 0, "request");
    counts_check(numapool_receive(numapool_responder_receiver(responder), request, 1, 0) == 1, "receive");
}

static inline void hear(void)
{
    struct numapool_msg reply;
    counts_check(numapool_receive(numapool_requester_receiver(requester), &reply, 1, 0) == 1, "receive");
    counts_check(numapool_release(numapool_requester_receiver(requester), &reply, 1) == 0, "release");
}

static void run_reply(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        struct numapool_msg request;
        ask(&request);
        struct numapool_msg reply = { .data = numapool_loan(numapool_responder_sender(responder)), .length = 16 };
        counts_check(numapool_reply(responder, &request, &reply, 0) == 0, "reply");
        hear();
    }
}

static void run_reply_in_place(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        struct numapool_msg request;
        ask(&request);
        counts_check(numapool_reply_in_place(responder, &request, 0) == 0, "reply_in_place");
        hear();
    }
}

/* ---------------------------------------------------------------- wait-set */

static struct numapool_waitset *waitset;

static void open_waitset(void)
{
    open_chain();
    counts_check(numapool_waitset_open(&waitset) == 0, "waitset_open");
    counts_check(numapool_waitset_add(waitset, middle, middle) == 0, "waitset_add");
    counts_check(numapool_waitset_add(waitset, last, last) == 0, "waitset_add");
    send_one(first);
}

static void close_waitset(void)
{
    struct numapool_msg message;
    while (numapool_receive(middle, &message, 1, 0) == 1)
        counts_check(numapool_release(middle, &message, 1) == 0, "release");
    counts_check(numapool_waitset_close(waitset) == 0, "waitset_close");
    close_chain();
}

/* Two receivers, for one of which something is there. */
static void run_waitset(unsigned rounds)
{
    void *tags[2];
    for (unsigned i = 0; i < rounds; i++)
        counts_check(numapool_waitset_wait(waitset, tags, 2, 0) == 1, "waitset_wait");
}

const struct counts_operation counts_others[] = {
    { "keep", "message", "nothing_halves", COUNTS_HALF, true, open_chain, run_keep, close_chain },
    { "forward_1", "message", "nothing_halves", COUNTS_HALF, true, open_chain, run_forward, close_chain },
    { "forward_8", "message", "nothing_halves", COUNTS_HALF, true, open_chain, run_forward_bulk, close_chain },
    { "to_2_receivers", "message", "nothing", 2, false, open_two_receivers, run_several, close_several },
    { "from_2_senders", "message", "nothing", 2, false, open_two_senders, run_several, close_several },
    { "receive_none", "call", "nothing", 1, false, open_chain, run_receive_none, close_chain },
    { "broadcast_to_2", "message", "nothing", 1, false, open_broadcast, run_broadcast, close_broadcast },
    { "request_reply", "trip", "nothing", 1, false, open_service, run_reply, close_service },
    { "request_reply_in_place", "trip", "nothing", 1, false, open_service, run_reply_in_place, close_service },
    { "waitset_poll", "call", "nothing", 1, false, open_waitset, run_waitset, close_waitset },
    { 0 },
};
