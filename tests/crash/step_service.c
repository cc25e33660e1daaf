/* SPDX-License-Identifier: MIT
 * Stepped: requests and replies. Requests are messages of channel a; a reply has the number of its request and is the
 * requester's alone, so it is judged by what lies on the way to him. */
#include <errno.h>

#include "channel/receiver.h"
#include "channel/sender.h"
#include "step_lanes.h"

#define SERVICE "a"
#define REPLIES "a/reply"

static int open_requester(struct step_actor *actor, uint32_t flags)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = 8;
    options.flags = flags;
    options.spin_ns = -1;
    if (step_connect(actor) < 0)
        return -1;
    int result = numapool_requester_open(actor->pool, SERVICE, &options, &actor->requester);
    if (result < 0)
        return step_failed(actor, "requester_open", result);
    actor->senders[0] = numapool_requester_sender(actor->requester);
    actor->receivers[0] = numapool_requester_receiver(actor->requester);
    return 0;
}

static int open_responder(struct step_actor *actor, uint32_t flags)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = 8;
    options.flags = flags;
    options.spin_ns = -1;
    if (step_connect(actor) < 0)
        return -1;
    int result = numapool_responder_open(actor->pool, SERVICE, &options, &actor->responder);
    if (result < 0)
        return step_failed(actor, "responder_open", result);
    actor->senders[0] = numapool_responder_sender(actor->responder);
    actor->receivers[0] = numapool_responder_receiver(actor->responder);
    actor->readers[0] = (struct ledger_reader){ .ledger = actor->ledger, .channel = LEDGER_A, .role = "responder",
                                                .incarnation = actor->incarnation };
    return 0;
}

/* ---------------------------------------------------------------- asking */

static int peer_answers(struct step_actor *peer)
{
    return open_responder(peer, 0);
}

static int prepare_request(struct step_actor *stepped)
{
    return open_requester(stepped, 0) < 0 ? -1 : step_compose(stepped, 0, 0, 1);
}

static int run_request(struct step_actor *stepped)
{
    int result = numapool_request(stepped->requester, &stepped->messages[0], 0);
    if (result < 0)
        return step_failed(stepped, "request", result);
    step_sent(stepped, 0, 1);
    return 0;
}

static int run_call(struct step_actor *stepped)
{
    struct numapool_msg reply;
    int result = numapool_call(stepped->requester, &stepped->messages[0], &reply, NUMAPOOL_FOREVER, NULL);
    if (result == 0)
        result = numapool_release(stepped->receivers[0], &reply, 1);
    return result < 0 ? step_failed(stepped, "call", result) : 0;
}

static int peer_replies_in_place(struct step_actor *peer)
{
    if (step_receive(peer, 0, 0, 1) < 0)
        return -1;
    int result = numapool_reply_in_place(peer->responder, &peer->messages[0], STEP_PATIENCE_NS);
    if (result < 0)
        return step_failed(peer, "reply_in_place", result);
    ledger_finish(&peer->readers[0], &peer->messages[0]);
    return 0;
}

/* ---------------------------------------------------------------- answering */

static int ask(struct step_actor *peer, uint32_t flags)
{
    if (open_requester(peer, flags) < 0 || step_compose(peer, 0, 0, 2) < 0)
        return -1;
    for (unsigned i = 0; i < 2; i++) {
        int result = numapool_request(peer->requester, &peer->messages[i], 0);
        if (result < 0)
            return step_failed(peer, "request", result);
        step_sent(peer, i, 1);
    }
    return 0;
}

static int peer_asks(struct step_actor *peer)
{
    return ask(peer, 0);
}

static int peer_asks_small(struct step_actor *peer)
{
    return ask(peer, NUMAPOOL_SMALL);
}

static int prepare_answer(struct step_actor *stepped)
{
    if (open_responder(stepped, 0) < 0 || step_receive(stepped, 0, 0, 2) < 0)
        return -1;
    struct numapool_msg *reply = &stepped->messages[2];
    *reply = (struct numapool_msg){ .data = numapool_loan(stepped->senders[0]), .length = LEDGER_PAYLOAD_BYTES };
    if (!reply->data)
        return step_failed(stepped, "loan", 0);
    ledger_fill(reply->data, stepped->messages[0].id);
    return 0;
}

static int prepare_small_answer(struct step_actor *stepped)
{
    static char body[LEDGER_PAYLOAD_BYTES];
    if (open_responder(stepped, NUMAPOOL_SMALL) < 0 || step_receive(stepped, 0, 0, 2) < 0)
        return -1;
    ledger_fill(body, stepped->messages[0].id);
    stepped->messages[2] = (struct numapool_msg){ .data = body, .length = LEDGER_SMALL_BYTES };
    return 0;
}

static int run_reply(struct step_actor *stepped)
{
    step_finishing(stepped, LEDGER_A, 0, 1);
    int result = numapool_reply(stepped->responder, &stepped->messages[0], &stepped->messages[2], 0);
    if (result < 0)
        return step_failed(stepped, "reply", result);
    step_finished(stepped, LEDGER_A, 0, 1);
    return 0;
}

static int run_reply_in_place(struct step_actor *stepped)
{
    step_finishing(stepped, LEDGER_A, 0, 1);
    int result = numapool_reply_in_place(stepped->responder, &stepped->messages[0], 0);
    if (result < 0)
        return step_failed(stepped, "reply_in_place", result);
    step_finished(stepped, LEDGER_A, 0, 1);
    return 0;
}

static int peer_goes(struct step_actor *peer)
{
    int result = numapool_requester_close(peer->requester, 0);
    peer->requester = NULL;
    peer->senders[0] = NULL;
    peer->receivers[0] = NULL;
    return result < 0 ? step_failed(peer, "requester_close", result) : 0;
}

/* Who asked is gone: the request is released all the same. */
static int run_reply_to_nobody(struct step_actor *stepped)
{
    step_finishing(stepped, LEDGER_A, 0, 1);
    int result = numapool_reply_in_place(stepped->responder, &stepped->messages[0], NUMAPOOL_FOREVER);
    if (result != -EHOSTUNREACH)
        return step_failed(stepped, "reply_in_place to one who has left", result);
    step_finished(stepped, LEDGER_A, 0, 1);
    return 0;
}

/* A request is there to be answered, or it is answered; by a reply in place never both. */
static void judge_request(struct np_broker *broker, struct ledger *ledger, uint32_t number, bool once)
{
    const unsigned asked = step_on_channel(broker, ledger, SERVICE, number),
        answered = step_on_channel(broker, ledger, REPLIES, number);
    const bool finished = ledger->messages[number].finished[LEDGER_A];
    if (asked > 1 || answered > 1 || asked + answered == 0 || (once && asked + answered != 1) ||
        (finished && (asked || !answered)))
        ledger_breach(ledger, "request %u is there %u times, and %u replies to it (replied %u)", number, asked, answered,
                      (unsigned)finished);
}

static int judge_reply(struct np_broker *broker, struct ledger *ledger)
{
    for (uint32_t number = 1; number < ledger->next; number++)
        judge_request(broker, ledger, number, false);
    return 0;
}

static int judge_reply_in_place(struct np_broker *broker, struct ledger *ledger)
{
    for (uint32_t number = 1; number < ledger->next; number++)
        judge_request(broker, ledger, number, true);
    return 0;
}

/* What was replied to is answered, whole. */
static int survive_replies(struct step_actor *peer)
{
    struct numapool_msg message;
    unsigned answers = 0, replied = 0;
    int result;
    while ((result = numapool_receive(peer->receivers[0], &message, 1, 0)) == 1) {
        if (!ledger_message_is(&message, message.id))
            return step_failed(peer, "receiving a whole reply", (int)message.id);
        answers++;
        if ((result = numapool_release(peer->receivers[0], &message, 1)) < 0)
            return step_failed(peer, "release", result);
    }
    for (uint32_t number = 1; number < peer->ledger->next; number++)
        replied += peer->ledger->messages[number].finished[LEDGER_A];
    return result == -EAGAIN && answers >= replied && answers <= replied + 1 ? 0
        : step_failed(peer, "receiving replies", (int)answers);
}

#define HERE .pool_options = STEP_LANES_POOL

static const struct step_operation operations[] = {
    { .name = "a request", HERE, .peer = peer_answers, .prepare = prepare_request, .run = run_request },
    { .name = "a call", HERE, .flags = STEP_SLEEPS | STEP_LONG, .peer = peer_answers, .prepare = prepare_request,
      .run = run_call,
      .meanwhile = peer_replies_in_place },
    { .name = "a reply", HERE, .peer = peer_asks, .prepare = prepare_answer, .run = run_reply, .judge = judge_reply,
      .survive = survive_replies },
    { .name = "a reply in place", HERE, .peer = peer_asks, .prepare = prepare_answer, .run = run_reply_in_place,
      .judge = judge_reply_in_place, .survive = survive_replies },
    { .name = "a small reply", HERE, .peer = peer_asks_small, .prepare = prepare_small_answer, .run = run_reply,
      .judge = judge_reply,
      .survive = survive_replies },
    { .name = "a reply to one who has left", HERE, .flags = STEP_TALKS | STEP_LONG, .peer = peer_asks,
      .prepare = prepare_answer,
      .peer_again = peer_goes, .run = run_reply_to_nobody },
};

const struct step_group step_service_group = { "service", operations, sizeof operations / sizeof operations[0] };
