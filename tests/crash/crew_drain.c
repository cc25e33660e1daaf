/* SPDX-License-Identifier: MIT */
#include "crew.h"

#include <errno.h>

enum { BATCH = 128, QUIET_ROUNDS = 3 };
#define ROOM_NS INT64_C(5000000000)

/* All senders are dead and scavenged before this one joins: what they left is on lanes that it is given as it joins, and
 * nothing comes after a round in which nothing came. Three, so that nothing hangs on that. */
struct drain {
    struct life *life;
    struct numapool_receiver *a, *b, *mail, *small;
    struct numapool_sender *onward;
    struct numapool_responder *responder;
    struct ledger_reader reader_a, reader_b;
    struct tally_reader reader_mail, reader_small, reader_asked;
    struct numapool_msg messages[BATCH];
    unsigned came; /* in this round */
};

static struct tally_reader reader_of(struct life *life, struct tally *tally)
{
    return (struct tally_reader){ .tally = tally,
                                  .ledger = life->ledger,
                                  .role = life->name,
                                  .incarnation = life->start->incarnation,
                                  .may_be_answered = tally == life->record->asked };
}

static int next_batch(struct drain *drain, struct numapool_receiver *receiver)
{
    int got = numapool_receive(receiver, drain->messages, BATCH, 0);
    if (got < 0)
        return life_is_late(got) ? 0 : got;
    drain->came += (unsigned)got;
    return got;
}

static int open_all(struct drain *drain)
{
    struct life *life = drain->life;
    struct numapool_channel_options plain = life->options, small = life->options, asked = life->options;
    const char *service = crew_service(life, &asked);
    small.flags = NUMAPOOL_SMALL;
    drain->reader_a = (struct ledger_reader){ .ledger = life->ledger, .channel = LEDGER_A, .role = life->name,
                                              .incarnation = life->start->incarnation };
    drain->reader_b = drain->reader_a;
    drain->reader_b.channel = LEDGER_B;
    drain->reader_mail = reader_of(life, life->record->mail);
    drain->reader_small = reader_of(life, life->record->small);
    drain->reader_asked = reader_of(life, life->record->asked);
    int result = numapool_sender_open(life->pool, "b", &plain, &drain->onward);
    if (result == 0)
        result = numapool_receiver_open(life->pool, "b", &plain, &drain->b);
    if (result == 0)
        result = numapool_receiver_open(life->pool, "a", &plain, &drain->a);
    if (result == 0)
        result = numapool_receiver_open(life->pool, "mail", &plain, &drain->mail);
    if (result == 0)
        result = numapool_receiver_open(life->pool, "small", &small, &drain->small);
    if (result == 0)
        result = numapool_responder_open(life->pool, service, &asked, &drain->responder);
    return result;
}

static int take_b(struct drain *drain)
{
    int got = next_batch(drain, drain->b);
    for (int i = 0; i < got; i++)
        ledger_receive(&drain->reader_b, drain->b, &drain->messages[i]);
    int result = got > 0 ? numapool_release(drain->b, drain->messages, (unsigned)got) : got;
    for (int i = 0; i < got && result == 0; i++)
        ledger_finish(&drain->reader_b, &drain->messages[i]);
    return result;
}

/* One at a time, and those before it taken off b where that is full. */
static int forward_a(struct drain *drain)
{
    struct numapool_msg batch[16];
    int got = numapool_receive(drain->a, batch, 16, 0), result = 0;
    if (got < 0)
        return life_is_late(got) ? 0 : got;
    drain->came += (unsigned)got;
    for (int i = 0; i < got; i++)
        batch[i].key = ledger_receive(&drain->reader_a, drain->a, &batch[i]);
    int64_t until_ns = harness_now_ns() + ROOM_NS;
    for (int i = 0; i < got;) {
        result = numapool_forward(drain->a, &batch[i], drain->onward, 0);
        if (result == 0)
            ledger_finish(&drain->reader_a, &batch[i++]);
        else if (!life_is_late(result) || harness_now_ns() > until_ns || (result = take_b(drain)) < 0)
            return result;
    }
    return 0;
}

static int take_tallied(struct drain *drain, struct numapool_receiver *receiver, struct tally_reader *reader)
{
    uint32_t numbers[BATCH];
    int got = next_batch(drain, receiver);
    for (int i = 0; i < got; i++)
        numbers[i] = tally_receive(reader, receiver, &drain->messages[i]);
    int result = got > 0 ? numapool_release(receiver, drain->messages, (unsigned)got) : got;
    for (int i = 0; i < got && result == 0; i++)
        tally_finish(reader, numbers[i]);
    return result;
}

static int close_all(struct drain *drain)
{
    int result = numapool_receiver_close(drain->a);
    if (result == 0)
        result = numapool_receiver_close(drain->mail);
    if (result == 0)
        result = numapool_receiver_close(drain->small);
    if (result == 0)
        result = numapool_responder_close(drain->responder, 0);
    if (result == 0)
        result = numapool_sender_close(drain->onward, 0);
    if (result == 0)
        result = numapool_receiver_close(drain->b);
    return result == 0 ? numapool_close(drain->life->pool) : result;
}

int crew_drainer(struct life *life)
{
    static struct drain drain;
    drain.life = life;
    int result = open_all(&drain);
    for (unsigned quiet = 0; quiet < QUIET_ROUNDS && result == 0;) {
        drain.came = 0;
        if ((result = forward_a(&drain)) == 0 && (result = take_b(&drain)) == 0 &&
            (result = take_tallied(&drain, drain.mail, &drain.reader_mail)) == 0 &&
            (result = take_tallied(&drain, drain.small, &drain.reader_small)) == 0)
            result = take_tallied(&drain, numapool_responder_receiver(drain.responder), &drain.reader_asked);
        quiet = drain.came == 0 ? quiet + 1 : 0;
    }
    if (result == 0)
        result = close_all(&drain);
    if (result == 0)
        result = numapool_disconnect(life->client);
    return result < 0 ? life_failed(life, "draining", result) : 0;
}
