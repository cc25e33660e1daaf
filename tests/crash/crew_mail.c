/* SPDX-License-Identifier: MIT */
#include "crew.h"

#include <errno.h>
#include <string.h>

enum { BATCH = 24, KEYS = 8, DIRECTED_ONE_IN = 6, PAUSE_NS = 200000 };

/* ---------------------------------------------------------------- sending */

/* What one sender has sent last of each key. */
struct keys {
    uint32_t last[KEYS];
};

/* The numbers are drawn in the order in which the messages are sent, and an earlier one of a key is never given up. */
static unsigned describe(struct life *life, struct tally *tally, struct keys *keys, struct numapool_msg *messages,
                         unsigned n)
{
    unsigned have = 0;
    for (; have < n; have++) {
        bool is_keyed = harness_below(&life->random, 2) != 0;
        unsigned key = harness_below(&life->random, KEYS);
        uint32_t number = tally_number(tally, life->start->incarnation, 0, is_keyed ? keys->last[key] : 0);
        if (number == 0)
            break;
        if (is_keyed)
            keys->last[key] = number;
        messages[have].id = number;
        messages[have].key = (uint64_t)life->start->incarnation * KEYS + key;
        messages[have].flags = is_keyed ? NUMAPOOL_KEYED : 0;
        messages[have].length = sizeof(struct tally_payload);
        tally_fill(messages[have].data, number, false);
    }
    return have;
}

/* All of them, but where the act ends meanwhile: then nothing is sent after what was not. */
static int send_all(struct life *life, struct tally *tally, struct numapool_sender *sender,
                    const struct numapool_msg *messages, unsigned n)
{
    for (unsigned done = 0; done < n;) {
        int result = n - done == 1 ? DOOMED(numapool_send(sender, &messages[done], life_patience(life)))
                                   : DOOMED(numapool_send_bulk(sender, messages + done, n - done, life_patience(life)));
        if (n - done == 1 && result == 0)
            result = 1;
        if (result < 0 && !life_is_late(result))
            return life_failed(life, "send", result);
        if (result < 0 && life_is_over(life))
            return 0;
        for (; result > 0; result--)
            tally_sent(tally, (uint32_t)messages[done++].id);
    }
    return 0;
}

static int send_directed(struct life *life, struct numapool_sender *sender)
{
    struct tally *tally = life->record->mail;
    uint64_t address = GET(life->record->addresses[harness_below(&life->random, CREW_PLACES)]);
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    if (address == 0 || (message.data = DOOMED(numapool_loan(sender))) == NULL)
        return 0;
    uint32_t number = tally_number(tally, life->start->incarnation, address, 0);
    message.id = number;
    message.length = sizeof(struct tally_payload);
    int result = -EAGAIN;
    if (number != 0) {
        tally_fill(message.data, number, false);
        result = DOOMED(numapool_send_to(sender, address, &message, life_patience(life)));
    }
    if (result == 0)
        tally_sent(tally, number);
    else if (result != -EHOSTUNREACH && !life_is_late(result))
        return life_failed(life, "send_to", result);
    else if (number != 0)
        tally_withdraw(tally, number);
    result = result < 0 ? numapool_unloan(sender, message.data) : 0;
    return result < 0 ? life_failed(life, "unloan", result) : 0;
}

static int mail_some(struct life *life, struct numapool_sender *sender, struct keys *keys)
{
    struct numapool_msg messages[BATCH];
    unsigned n = 1 + harness_below(&life->random, BATCH), have = 0;
    memset(messages, 0, sizeof messages);
    doom_call(); /* the loans of a batch are one call */
    while (have < n && (messages[have].data = numapool_loan(sender)) != NULL)
        have++;
    doom_return();
    unsigned used = describe(life, life->record->mail, keys, messages, have);
    for (unsigned i = used; i < have; i++)
        if (numapool_unloan(sender, messages[i].data) < 0)
            return life_failed(life, "unloan", -EINVAL);
    if (used == 0)
        harness_sleep_ns(PAUSE_NS);
    return send_all(life, life->record->mail, sender, messages, used);
}

int crew_mailer(struct life *life)
{
    struct numapool_sender *sender;
    struct keys keys = { { 0 } };
    int result = DOOMED(numapool_sender_open(life->pool, "mail", &life->options, &sender));
    if (result < 0)
        return life_failed(life, "sender_open", result);
    life_tell_phase(life, 2);
    while (result == 0 && !life_is_over(life)) {
        result = mail_some(life, sender, &keys);
        if (result == 0 && harness_below(&life->random, DIRECTED_ONE_IN) == 0)
            result = send_directed(life, sender);
    }
    return result;
}

int crew_small_sender(struct life *life)
{
    struct numapool_sender *sender;
    struct keys keys = { { 0 } };
    struct tally_payload payloads[BATCH];
    struct numapool_msg messages[BATCH];
    life->options.flags = NUMAPOOL_SMALL;
    int result = DOOMED(numapool_sender_open(life->pool, "small", &life->options, &sender));
    if (result < 0)
        return life_failed(life, "sender_open", result);
    life_tell_phase(life, 2);
    while (result == 0 && !life_is_over(life)) {
        memset(messages, 0, sizeof messages);
        for (unsigned i = 0; i < BATCH; i++)
            messages[i].data = &payloads[i];
        unsigned n = describe(life, life->record->small, &keys, messages, 1 + harness_below(&life->random, BATCH));
        if (n == 0)
            harness_sleep_ns(PAUSE_NS);
        result = send_all(life, life->record->small, sender, messages, n);
    }
    return result;
}

/* ---------------------------------------------------------------- receiving */

static int receive_on(struct life *life, struct tally *tally, const char *channel)
{
    struct numapool_receiver *receiver;
    struct numapool_msg messages[BATCH];
    uint32_t numbers[BATCH];
    struct tally_reader reader = {
        .tally = tally, .ledger = life->ledger, .role = life->name, .incarnation = life->start->incarnation
    };
    int result = DOOMED(numapool_receiver_open(life->pool, channel, &life->options, &receiver));
    if (result < 0)
        return life_failed(life, "receiver_open", result);
    reader.address = numapool_receiver_address(receiver);
    if (tally == life->record->mail)
        SET(life->record->addresses[life->start->place], reader.address);
    life_tell_phase(life, 2);
    while (!life_is_over(life)) {
        int got = DOOMED(numapool_receive(receiver, messages, 1 + harness_below(&life->random, BATCH), life_patience(life)));
        if (got < 0 && !life_is_late(got))
            return life_failed(life, "receive", got);
        unsigned n = got > 0 ? (unsigned)got : 0, at_once = harness_below(&life->random, 2) ? n : 1;
        for (unsigned i = 0; i < n; i++)
            numbers[i] = tally_receive(&reader, receiver, &messages[i]);
        for (unsigned done = 0; done < n; done += at_once) {
            result = DOOMED(numapool_release(receiver, messages + done, at_once));
            if (result < 0)
                return life_failed(life, "release", result);
            for (unsigned i = done; i < done + at_once; i++)
                tally_finish(&reader, numbers[i]);
        }
    }
    return 0;
}

int crew_mailbox(struct life *life)
{
    return receive_on(life, life->record->mail, "mail");
}

int crew_small_receiver(struct life *life)
{
    life->options.flags = NUMAPOOL_SMALL;
    return receive_on(life, life->record->small, "small");
}
