/* SPDX-License-Identifier: MIT */
#include "crew.h"

#include <errno.h>
#include <string.h>

enum { OUTSTANDING = 12, BATCH = 8, PAUSE_NS = 200000 };
#define ANSWERED_WITHIN_NS INT64_C(20000000000)

const char *crew_service(const struct life *life, struct numapool_channel_options *options)
{
    bool is_small = GET(life->record->small_requests) != 0;
    options->flags = is_small ? NUMAPOOL_SMALL : 0;
    return is_small ? "ask-small" : "ask";
}

/* ---------------------------------------------------------------- asking */

struct asked {
    uint32_t number; /* 0: a free place */
    int64_t at_ns;
};

static int ask(struct life *life, struct numapool_requester *requester, struct asked *place)
{
    struct tally *tally = life->record->asked;
    struct numapool_sender *sender = numapool_requester_sender(requester);
    struct tally_payload payload;
    struct numapool_msg request = { .data = &payload, .length = sizeof payload };
    bool is_small = life->options.flags & NUMAPOOL_SMALL;
    if (!is_small && (request.data = DOOMED(numapool_loan(sender))) == NULL)
        return 0;
    uint32_t number = tally_number(tally, life->start->incarnation, 0, 0);
    int result = -EAGAIN;
    if (number != 0) {
        request.id = number;
        tally_fill(request.data, number, false);
        result = DOOMED(numapool_request(requester, &request, life_patience(life)));
    }
    if (result == 0) {
        *place = (struct asked){ number, harness_now_ns() };
        tally_sent(tally, number);
        return 0;
    }
    if (!life_is_late(result))
        return life_failed(life, "request", result);
    if (number != 0)
        tally_withdraw(tally, number);
    else
        harness_sleep_ns(PAUSE_NS);
    result = is_small ? 0 : numapool_unloan(sender, request.data);
    return result < 0 ? life_failed(life, "unloan", result) : 0;
}

/* What was answered in place was answered by one store, and so once. */
static void take_answer(struct life *life, const struct numapool_msg *reply, struct asked asked[OUTSTANDING])
{
    struct tally *tally = life->record->asked;
    uint32_t number = (uint32_t)reply->id;
    if (reply->id == 0 || reply->id >= GET(tally->next) || GET(tally->entries[number].sender) != life->start->incarnation ||
        !tally_is(reply, number, true)) {
        ledger_breach(life->ledger, "%s %u was given an answer to %llu, which it did not ask, or another's answer",
                      life->name, life->start->incarnation, (unsigned long long)reply->id);
        return;
    }
    struct tally_entry *entry = &tally->entries[number];
    unsigned before = atomic_fetch_add_explicit(&entry->answers, 1, memory_order_relaxed);
    if (before > 0 && (GET(entry->received) < 2 || (number % 2 == 1 && !(life->options.flags & NUMAPOOL_SMALL))))
        ledger_breach(life->ledger, "%s %u: request %u was answered twice%s", life->name, life->start->incarnation, number,
                      number % 2 == 1 ? " in place" : ", and nobody received it twice");
    atomic_fetch_add_explicit(&life->record->answers, 1, memory_order_relaxed);
    for (unsigned i = 0; i < OUTSTANDING; i++)
        if (asked[i].number == number)
            asked[i].number = 0;
}

static int hear(struct life *life, struct numapool_requester *requester, struct asked asked[OUTSTANDING])
{
    struct numapool_receiver *receiver = numapool_requester_receiver(requester);
    struct numapool_msg replies[BATCH];
    int got = DOOMED(numapool_receive(receiver, replies, BATCH, life_patience(life)));
    if (got < 0)
        return life_is_late(got) ? 0 : life_failed(life, "receive", got);
    for (int i = 0; i < got; i++)
        take_answer(life, &replies[i], asked);
    int result = DOOMED(numapool_release(receiver, replies, (unsigned)got));
    return result < 0 ? life_failed(life, "release", result) : 0;
}

int crew_requester(struct life *life)
{
    struct numapool_requester *requester;
    struct asked asked[OUTSTANDING] = { { 0, 0 } };
    const char *service = crew_service(life, &life->options);
    int result = DOOMED(numapool_requester_open(life->pool, service, &life->options, &requester));
    if (result < 0)
        return life_failed(life, "requester_open", result);
    life_tell_phase(life, 2);
    while (result == 0 && !life_is_over(life)) {
        unsigned waiting = 0;
        for (unsigned i = 0; i < OUTSTANDING && result == 0; i++) {
            if (asked[i].number == 0 && harness_below(&life->random, 2))
                result = ask(life, requester, &asked[i]);
            waiting += asked[i].number != 0;
            if (asked[i].number != 0 && harness_now_ns() - asked[i].at_ns > ANSWERED_WITHIN_NS)
                ledger_breach(life->ledger, "%s %u: request %u was not answered in %d s", life->name,
                              life->start->incarnation, asked[i].number, (int)(ANSWERED_WITHIN_NS / 1000000000));
        }
        if (result == 0 && waiting > 0)
            result = hear(life, requester, asked);
    }
    return result;
}

/* ---------------------------------------------------------------- answering */

static int reply_by_slot(struct life *life, struct numapool_responder *responder, const struct numapool_msg *request)
{
    struct numapool_sender *sender = numapool_responder_sender(responder);
    struct tally_payload payload;
    struct numapool_msg reply = { .data = &payload, .length = sizeof payload };
    bool is_small = life->options.flags & NUMAPOOL_SMALL;
    int result = is_small ? 0 : DOOMED(numapool_loan_wait(sender, &reply.data, life_patience(life)));
    if (result < 0)
        return result;
    tally_fill(reply.data, (uint32_t)request->id, true);
    result = DOOMED(numapool_reply(responder, request, &reply, life_patience(life)));
    if (result < 0 && !is_small && numapool_unloan(sender, reply.data) < 0)
        return life_failed(life, "unloan", -EINVAL);
    return result;
}

/* Odd ones in place, whoever answers them: so that they are answered once. */
static int reply_one(struct life *life, struct numapool_responder *responder, const struct numapool_msg *request)
{
    bool in_place = request->id % 2 == 1 && !(life->options.flags & NUMAPOOL_SMALL);
    if (in_place) /* it is this process's to write while it has the request */
        tally_fill(request->data, (uint32_t)request->id, true);
    for (;;) {
        int result = in_place ? DOOMED(numapool_reply_in_place(responder, request, life_patience(life)))
                              : reply_by_slot(life, responder, request);
        if (result == -EHOSTUNREACH)
            return 0; /* it has been released */
        if (!life_is_late(result) || life_is_over(life))
            return life_is_late(result) ? 0 : result;
    }
}

int crew_responder(struct life *life)
{
    struct numapool_responder *responder;
    struct numapool_msg requests[BATCH];
    struct tally_reader reader = { .tally = life->record->asked, .ledger = life->ledger, .role = life->name,
                                   .incarnation = life->start->incarnation, .may_be_answered = true };
    const char *service = crew_service(life, &life->options);
    int result = DOOMED(numapool_responder_open(life->pool, service, &life->options, &responder));
    if (result < 0)
        return life_failed(life, "responder_open", result);
    struct numapool_receiver *receiver = numapool_responder_receiver(responder);
    life_tell_phase(life, 2);
    while (!life_is_over(life)) {
        int got = DOOMED(numapool_receive(receiver, requests, 1 + harness_below(&life->random, BATCH), life_patience(life)));
        if (got < 0 && !life_is_late(got))
            return life_failed(life, "receive", got);
        for (int i = 0; i < got && !life_is_over(life); i++) {
            uint32_t number = tally_receive(&reader, receiver, &requests[i]);
            result = reply_one(life, responder, &requests[i]);
            if (result < 0)
                return life_failed(life, "reply", result);
            if (!life_is_over(life))
                tally_finish(&reader, number);
        }
    }
    return 0;
}
