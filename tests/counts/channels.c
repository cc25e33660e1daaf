/* SPDX-License-Identifier: MIT
 *
 * Messages from a sender to a receiver of the same thread: in turn, and each half alone. What is counted is the calls; nobody
 * reads or writes payload.
 */
#include "counts.h"

#define BATCH_MAX 32u

static struct numapool_sender *sender;
static struct numapool_receiver *receiver;

static void open_ends(unsigned flags)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.flags = flags;
    counts_check(numapool_receiver_open(counts_pool, "one", &options, &receiver) == 0, "receiver_open");
    counts_check(numapool_sender_open(counts_pool, "one", &options, &sender) == 0, "sender_open");
}

static void open_plain(void)
{
    open_ends(0);
}

static void open_small(void)
{
    open_ends(NUMAPOOL_SMALL);
}

static void close_ends(void)
{
    counts_check(numapool_receiver_close(receiver) == 0, "receiver_close");
    counts_check(numapool_sender_close(sender, 0) == 0, "sender_close");
}

static void run_unloan(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++)
        numapool_unloan(sender, counts_opaque(numapool_loan(sender)));
}

/* One message or many, by the calls for one where it is one. Inlined, so that `batch` and `small` are no variables. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE void send(struct numapool_msg *messages, unsigned batch, bool small)
{
    if (batch == 1 && !small)
        messages->data = numapool_loan(sender);
    if (batch > 1 && !small) {
        void *slots[BATCH_MAX];
        counts_check(numapool_loan_bulk(sender, slots, batch) == (int)batch, "loan_bulk");
        for (unsigned i = 0; i < batch; i++)
            messages[i].data = slots[i];
    }
    counts_opaque(messages);
    if (batch == 1)
        counts_check(numapool_send(sender, messages, 0) == 0, "send");
    else
        counts_check(numapool_send_bulk(sender, messages, batch, 0) == (int)batch, "send_bulk");
}

ALWAYS_INLINE void receive(struct numapool_msg *messages, unsigned batch)
{
    counts_check(numapool_receive(receiver, messages, batch, 0) == (int)batch, "receive");
    counts_opaque(messages);
    counts_check(numapool_release(receiver, messages, batch) == 0, "release");
}

static void fill(struct numapool_msg *messages, void *data, uint16_t flags)
{
    for (unsigned i = 0; i < BATCH_MAX; i++)
        messages[i] = (struct numapool_msg){ .data = data, .length = 16, .flags = flags, .key = i };
}

/* In turn: what both halves cost. */
ALWAYS_INLINE void in_turn(unsigned rounds, unsigned batch, bool small, uint16_t flags)
{
    struct numapool_msg sent[BATCH_MAX], received[BATCH_MAX];
    uint64_t payload[2] = { 1, 2 };
    fill(sent, payload, flags);
    counts_on();
    for (unsigned i = 0; i < rounds; i++) {
        send(sent, batch, small);
        receive(received, batch);
    }
    counts_off();
}

enum half { NEITHER, SENDER, RECEIVER };

/* So many messages are sent, then received, and one of the two is counted. */
ALWAYS_INLINE void half(unsigned rounds, unsigned batch, bool small, enum half counted)
{
    struct numapool_msg sent[BATCH_MAX], received[BATCH_MAX];
    uint64_t payload[2] = { 1, 2 };
    fill(sent, payload, 0);
    for (unsigned i = 0; i < rounds; i++) {
        if (counted == SENDER)
            counts_on();
        for (unsigned number = 0; number < COUNTS_HALF; number += batch)
            send(sent, batch, small);
        if (counted == SENDER)
            counts_off();
        if (counted == RECEIVER)
            counts_on();
        for (unsigned number = 0; number < COUNTS_HALF; number += batch)
            receive(received, batch);
        if (counted == RECEIVER)
            counts_off();
    }
}

static void run_nothing_halves(unsigned rounds)
{
    struct numapool_msg messages[BATCH_MAX];
    for (unsigned i = 0; i < rounds; i++) {
        counts_on();
        for (unsigned number = 0; number < COUNTS_HALF; number++)
            counts_opaque(messages);
        counts_off();
    }
}

#define RUN(name, call)                      \
    static void run_##name(unsigned rounds) \
    {                                        \
        call;                                \
    }
RUN(message_1, in_turn(rounds, 1, false, 0))
RUN(message_8, in_turn(rounds, 8, false, 0))
RUN(message_32, in_turn(rounds, 32, false, 0))
RUN(small_1, in_turn(rounds, 1, true, 0))
RUN(small_8, in_turn(rounds, 8, true, 0))
RUN(keyed_1, in_turn(rounds, 1, false, NUMAPOOL_KEYED))
RUN(sender_1, half(rounds, 1, false, SENDER))
RUN(sender_8, half(rounds, 8, false, SENDER))
RUN(sender_32, half(rounds, 32, false, SENDER))
RUN(receiver_1, half(rounds, 1, false, RECEIVER))
RUN(receiver_8, half(rounds, 8, false, RECEIVER))
RUN(receiver_32, half(rounds, 32, false, RECEIVER))
RUN(small_sender_1, half(rounds, 1, true, SENDER))
RUN(small_sender_8, half(rounds, 8, true, SENDER))
RUN(small_receiver_1, half(rounds, 1, true, RECEIVER))
RUN(small_receiver_8, half(rounds, 8, true, RECEIVER))

const struct counts_operation counts_channels[] = {
    { "loan_unloan", "pair", "nothing", 1, false, open_plain, run_unloan, close_ends },
    { "message_1", "message", "nothing", 1, true, open_plain, run_message_1, close_ends },
    { "message_8", "message", "nothing", 8, true, open_plain, run_message_8, close_ends },
    { "message_32", "message", "nothing", 32, true, open_plain, run_message_32, close_ends },
    { "nothing_halves", "message", NULL, COUNTS_HALF, true, NULL, run_nothing_halves, NULL },
    { "sender_1", "message", "nothing_halves", COUNTS_HALF, true, open_plain, run_sender_1, close_ends },
    { "sender_8", "message", "nothing_halves", COUNTS_HALF, true, open_plain, run_sender_8, close_ends },
    { "sender_32", "message", "nothing_halves", COUNTS_HALF, true, open_plain, run_sender_32, close_ends },
    { "receiver_1", "message", "nothing_halves", COUNTS_HALF, true, open_plain, run_receiver_1, close_ends },
    { "receiver_8", "message", "nothing_halves", COUNTS_HALF, true, open_plain, run_receiver_8, close_ends },
    { "receiver_32", "message", "nothing_halves", COUNTS_HALF, true, open_plain, run_receiver_32, close_ends },
    { "small_1", "message", "nothing", 1, true, open_small, run_small_1, close_ends },
    { "small_8", "message", "nothing", 8, true, open_small, run_small_8, close_ends },
    { "small_sender_1", "message", "nothing_halves", COUNTS_HALF, true, open_small, run_small_sender_1, close_ends },
    { "small_sender_8", "message", "nothing_halves", COUNTS_HALF, true, open_small, run_small_sender_8, close_ends },
    { "small_receiver_1", "message", "nothing_halves", COUNTS_HALF, true, open_small, run_small_receiver_1, close_ends },
    { "small_receiver_8", "message", "nothing_halves", COUNTS_HALF, true, open_small, run_small_receiver_8, close_ends },
    { "keyed_1", "message", "nothing", 1, true, open_plain, run_keyed_1, close_ends },
    { 0 },
};
