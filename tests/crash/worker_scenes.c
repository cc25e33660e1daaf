/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "worker_scenes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

enum { LANE_SLOTS = 16, HELD = 20, ANSWER_MS = 20000 };

#define DRAIN_NS  INT64_C(2000000000)
#define ARRIVE_NS INT64_C(10000000000)
#define MADE_POOL "made"

int party_dies(struct party *party)
{
    (void)party;
    return -1; /* is killed instead of being asked */
}

int party_asks(struct party *party)
{
    struct numapool_pool *pool;
    return numapool_open(party->client, "none", 0, &pool) == -ENOENT ? 0 : -1;
}

const char *const party_names[PARTY_COUNT] = { "anna", "bert", "carl" };

/* ---------------------------------------------------------------- what parties do */

static int join_at(struct party *party)
{
    return numapool_connect(&party->client, party->socket) < 0 ? -1 : 0;
}

static int open_pool(struct party *party)
{
    return numapool_open(party->client, SCENE_POOL, 0, &party->pool) < 0 ? -1 : 0;
}

static int join(struct party *party)
{
    return join_at(party) < 0 ? -1 : open_pool(party);
}

static int open_readonly(struct party *party)
{
    return numapool_open(party->client, SCENE_POOL, NUMAPOOL_READONLY, &party->pool) < 0 ? -1 : 0;
}

static int open_sender(struct party *party, const char *channel, unsigned flags, struct numapool_sender **sender)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = LANE_SLOTS;
    options.flags = flags;
    return numapool_sender_open(party->pool, channel, &options, sender) < 0 ? -1 : 0;
}

static int open_receiver(struct party *party, const char *channel, unsigned flags)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = LANE_SLOTS;
    options.flags = flags;
    return numapool_receiver_open(party->pool, channel, &options, &party->receiver) < 0 ? -1 : 0;
}

static int send_a(struct party *party) { return open_sender(party, "a", 0, &party->sender); }
static int send_b(struct party *party) { return open_sender(party, "b", 0, &party->second_sender); }
static int send_small(struct party *party) { return open_sender(party, "s", NUMAPOOL_SMALL, &party->sender); }
static int send_broadcast(struct party *party) { return open_sender(party, "x", NUMAPOOL_BROADCAST, &party->sender); }
static int receive_a(struct party *party) { return open_receiver(party, "a", 0); }
static int receive_b(struct party *party) { return open_receiver(party, "b", 0); }
static int receive_small(struct party *party) { return open_receiver(party, "s", NUMAPOOL_SMALL); }
static int receive_broadcast(struct party *party) { return open_receiver(party, "x", NUMAPOOL_BROADCAST); }

static int fail(const char *what)
{
    fprintf(stderr, "     %s\n", what);
    return -1;
}

static int send_one(struct party *party)
{
    struct numapool_msg message = { .length = 8, .id = 7, .data = numapool_loan(party->sender) };
    if (!message.data)
        return -1;
    return numapool_send(party->sender, &message, 0) < 0 ? -1 : 0;
}

static int send_four(struct party *party)
{
    for (unsigned i = 0; i < 4; i++)
        if (send_one(party) < 0)
            return -1;
    return 0;
}

static int send_four_small(struct party *party)
{
    uint64_t data = 1;
    struct numapool_msg message = { .length = 8, .data = &data };
    for (; data <= 4; data++)
        if (numapool_send(party->sender, &message, 0) < 0)
            return -1;
    return 0;
}

static int take(struct party *party, unsigned n)
{
    while (party->message_count < n) {
        int got = numapool_receive(party->receiver, party->messages + party->message_count, n - party->message_count, ARRIVE_NS);
        if (got <= 0)
            return -1;
        party->message_count += (unsigned)got;
    }
    return 0;
}

static int nothing_more(struct party *party)
{
    struct numapool_msg message;
    int got = numapool_receive(party->receiver, &message, 1, 0);
    return got == -EAGAIN ? 0 : fail("a message came that is none too many");
}

static int release_some(struct party *party, unsigned n)
{
    if (numapool_release(party->receiver, party->messages, n) < 0)
        return -1;
    party->message_count -= n;
    memmove(party->messages, party->messages + n, party->message_count * sizeof party->messages[0]);
    return 0;
}

static int take_one(struct party *party) { return take(party, 1); }
static int take_two(struct party *party) { return take(party, 2); }
static int take_three(struct party *party) { return take(party, 3); }
static int release_one(struct party *party) { return release_some(party, 1); }
static int release_all(struct party *party) { return release_some(party, party->message_count); }

static int take_exactly(struct party *party, unsigned n)
{
    return take(party, n) < 0 || nothing_more(party) < 0 ? -1 : release_all(party);
}

static int expect_one(struct party *party) { return take_exactly(party, 1); }
static int expect_two(struct party *party) { return take_exactly(party, 2); }
static int expect_three(struct party *party) { return take_exactly(party, 3); }
static int expect_four(struct party *party) { return take_exactly(party, 4); }
static int expect_five(struct party *party) { return take_exactly(party, 5); }
static int expect_eight(struct party *party) { return take_exactly(party, 8); }

/* Of what is kept or forwarded nobody else may hear again. */
static int keep_second(struct party *party)
{
    if (numapool_keep(party->receiver, &party->messages[1]) < 0)
        return -1;
    party->messages[1] = party->messages[2];
    party->message_count--;
    return 0;
}

static int forward_second(struct party *party)
{
    if (numapool_forward(party->receiver, &party->messages[1], party->second_sender, ARRIVE_NS) < 0)
        return -1;
    party->messages[1] = party->messages[2];
    party->message_count--;
    return 0;
}

static int hold_some(struct party *party)
{
    if (numapool_magazine_open(party->pool, NUMAPOOL_ANY_NODE, 0, &party->magazine) < 0)
        return -1;
    for (unsigned i = 0; i < HELD; i++)
        if (!(party->slots[party->slot_count++] = numapool_get(party->magazine)))
            return -1;
    return 0;
}

static int hold_all(struct party *party)
{
    if (numapool_magazine_open(party->pool, NUMAPOOL_ANY_NODE, 0, &party->magazine) < 0)
        return -1;
    while (party->slot_count < PARTY_SLOTS_MAX && (party->slots[party->slot_count] = numapool_get(party->magazine)))
        party->slot_count++;
    return party->slot_count > 0 ? 0 : -1;
}

static int get_sleeping(struct party *party)
{
    void *slot;
    if (numapool_magazine_open(party->pool, NUMAPOOL_ANY_NODE, 0, &party->magazine) < 0)
        return -1;
    /* how many it takes at once depends on how many it finds free when it wakes: all but one go back */
    return numapool_get_wait(party->magazine, &slot, ARRIVE_NS) < 0 || numapool_flush(party->magazine) < 0 ? -1 : 0;
}

static int close_receiver(struct party *party) { return numapool_receiver_close(party->receiver) < 0 ? -1 : 0; }
static int close_sender(struct party *party) { return numapool_sender_close(party->sender, 0) < 0 ? -1 : 0; }
static int close_pool(struct party *party) { return numapool_close(party->pool) < 0 ? -1 : 0; }
static int leave(struct party *party) { return numapool_disconnect(party->client) < 0 ? -1 : 0; }

static int close_magazine(struct party *party)
{
    return numapool_magazine_close(party->magazine) < 0 ? -1 : 0;
}

static int ask_for_token(struct party *party)
{
    int token = numapool_io_token(party->client);
    if (token < 0)
        return -1;
    close(token);
    return 0;
}

static int make_pool(struct party *party)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = MADE_POOL;
    options.slot_bytes = 64;
    options.slots = 64;
    return numapool_admin_create(party->client, &options) < 0 ? -1 : 0;
}

static int enlarge_pool(struct party *party)
{
    return numapool_admin_grow(party->client, MADE_POOL, NUMAPOOL_ANY_NODE, 64) < 0 ? -1 : 0;
}

static int destroy_pool(struct party *party)
{
    return numapool_admin_destroy(party->client, MADE_POOL, NUMAPOOL_DESTROY_DISCARD) < 0 ? -1 : 0;
}

static int open_made(struct party *party)
{
    return numapool_open(party->client, MADE_POOL, 0, &party->pool) < 0 ? -1 : 0;
}

/* ---------------------------------------------------------------- the scenes */

#define A(call) { PARTY_ANNA, call }
#define B(call) { PARTY_BERT, call }
#define C(call) { PARTY_CARL, call }

const struct scene scenes[] = {
    { "a client is admitted", SCENE_CALL, { B(join), B(receive_a) }, A(join_at), { 0, NULL }, { A(open_pool), A(send_a),
      A(send_four), B(expect_four) }, false },
    { "a pool is opened", SCENE_CALL, { A(join_at) }, A(open_pool), { 0, NULL }, { A(hold_some) }, false },
    { "a pool is opened read-only", SCENE_CALL, { A(join_at), B(join), B(send_a) }, A(open_readonly), { 0, NULL },
      { A(receive_a), B(send_four), A(expect_four) }, false },
    { "the first receiver joins and gets a lane that waits", SCENE_CALL, { B(join), B(send_a), B(send_four), A(join) },
      A(receive_a),
      { 0, NULL }, { B(send_four), A(expect_eight) }, false },
    { "another receiver joins and gets a lane of its own", SCENE_CALL,
      { B(join), B(send_a), C(join), C(receive_a), B(send_four), C(take_one), A(join) }, A(receive_a), { 0, NULL },
      { C(expect_four) }, false },
    { "a sender joins two receivers", SCENE_CALL, { B(join), B(receive_a), C(join), C(receive_a), A(join) }, A(send_a),
      { 0, NULL },
      { A(send_four), B(expect_two), C(expect_two) }, false },
    { "a broadcaster joins two receivers", SCENE_CALL, { B(join), B(receive_broadcast), C(join), C(receive_broadcast),
      A(join) },
      A(send_broadcast), { 0, NULL }, { A(send_four), B(expect_four), C(expect_four) }, false },
    { "a receiver leaves and its lane goes to another", SCENE_CALL,
      { B(join), B(send_a), A(join), A(receive_a), B(send_four), A(take_three), A(keep_second), C(join), C(receive_a) },
      A(close_receiver),
      { 0, NULL }, { C(expect_three) }, true },
    { "a sender leaves with messages on their way", SCENE_CALL,
      { A(join), A(send_a), B(join), B(receive_a), A(send_four), B(take_two), B(release_one) }, A(close_sender), { 0, NULL },
      { B(expect_three) }, true },
    { "a client leaves", SCENE_CALL, { A(join), A(hold_some), A(close_magazine), A(close_pool) }, A(leave), { 0, NULL },
      { A(join) }, false },
    { "a pool is closed", SCENE_CALL, { A(join), A(hold_some), A(close_magazine) }, A(close_pool), { 0, NULL },
      { A(open_pool) }, true },
    { "a sender dies in the middle of a send", SCENE_MID_SEND, { A(join), A(send_a), B(join), B(receive_a), A(send_four),
      B(take_two) },
      A(send_one), { 0, NULL }, { B(expect_five) }, false },
    { "a receiver dies that had kept one of three", SCENE_DEATH,
      { B(join), B(send_a), A(join), A(receive_a), A(hold_some), B(send_four), A(take_three), A(keep_second), C(join),
      C(receive_a) },
      A(party_dies), { 0, NULL }, { C(expect_three) }, false },
    { "a forwarder dies", SCENE_DEATH,
      { B(join), B(send_a), A(join), A(receive_a), A(send_b), C(join), C(receive_b), B(send_four), A(take_three),
      A(forward_second) },
      A(party_dies), { 0, NULL }, { C(expect_one), C(close_receiver), C(receive_a), C(expect_three) }, false },
    { "a broadcaster dies", SCENE_DEATH,
      { A(join), A(send_broadcast), B(join), B(receive_broadcast), C(join), C(receive_broadcast), A(send_four),
      B(take_two), B(release_one) },
      A(party_dies), { 0, NULL }, { B(expect_three), C(expect_four) }, false },
    { "one of two who hear a broadcast dies", SCENE_DEATH,
      { B(join), B(send_broadcast), A(join), A(receive_broadcast), C(join), C(receive_broadcast), B(send_four),
      A(take_two), A(release_one) },
      A(party_dies), { 0, NULL }, { C(expect_four) }, false },
    { "a receiver of small messages dies", SCENE_DEATH,
      { B(join), B(send_small), A(join), A(receive_small), B(send_four_small), A(take_two), A(release_one), C(join),
      C(receive_small) },
      A(party_dies), { 0, NULL }, { C(expect_three) }, false },
    { "one dies who held all slots while another sleeps for one", SCENE_DEATH, { A(join), A(hold_all), B(join) },
      A(party_dies), B(get_sleeping),
      { B(send_a) }, false },
    { "a client with an I/O token dies", SCENE_DEATH, { A(join), A(hold_some), A(ask_for_token) }, A(party_dies), { 0,
      NULL }, { B(join) }, false },
    { "a message of the dead is released", SCENE_CALL, { A(join), A(send_a), B(join), B(receive_a), A(send_four),
      B(take_three), A(party_dies) },
      B(release_all), { 0, NULL }, { B(expect_one) }, false },
    { "an I/O token is given", SCENE_CALL, { A(join) }, A(ask_for_token), { 0, NULL }, { A(hold_some) }, false },
    { "a pool is made", SCENE_CALL, { A(join_at) }, A(make_pool), { 0, NULL }, { A(open_made), A(hold_some),
      A(close_magazine), A(close_pool), A(destroy_pool) }, false },
    { "a pool is enlarged", SCENE_CALL, { A(join_at), A(make_pool) }, A(enlarge_pool), { 0, NULL }, { A(open_made),
      A(hold_some), A(close_magazine), A(close_pool), A(destroy_pool) }, false },
    { "a pool is destroyed", SCENE_CALL, { A(join_at), A(make_pool) }, A(destroy_pool), { 0, NULL }, { A(make_pool),
      A(destroy_pool) }, false },
    { "a worker takes over from one that died, and a client has died too", SCENE_START,
      { B(join), B(send_a), A(join), A(receive_a), A(send_b), A(hold_some), C(join), C(receive_b), B(send_four),
      A(take_three),
        A(forward_second) }, A(party_dies), { 0, NULL }, { C(expect_one), C(close_receiver), C(receive_a),
      C(expect_three) }, false },
};
const unsigned scene_count = sizeof scenes / sizeof scenes[0];

/* ---------------------------------------------------------------- a party as a process */

struct answer {
    int result;
    char sentence[240];
};

struct stage {
    const char *socket;
    int calls, answers;
};

static int play(void *context)
{
    struct stage *stage = context;
    struct party party = { .socket = stage->socket };
    party_call call;
    while (read(stage->calls, &call, sizeof call) == (ssize_t)sizeof call) {
        struct answer answer = { .result = call(&party) };
        snprintf(answer.sentence, sizeof answer.sentence, "%s", answer.result < 0 ? numapool_errormsg() : "");
        if (write(stage->answers, &answer, sizeof answer) != (ssize_t)sizeof answer)
            return 1;
    }
    return 0;
}

void actor_start(struct actor *actor, const char *socket)
{
    int calls[2], answers[2];
    if (pipe2(calls, O_CLOEXEC) < 0 || pipe2(answers, O_CLOEXEC) < 0) {
        perror("pipe2");
        exit(2);
    }
    struct stage stage = { socket, calls[0], answers[1] };
    actor->pid = harness_fork(play, &stage);
    close(calls[0]);
    close(answers[1]);
    actor->to = calls[1];
    actor->from = answers[0];
}

void actor_begin(struct actor *actor, party_call call)
{
    if (write(actor->to, &call, sizeof call) != (ssize_t)sizeof call)
        perror("write to a party");
}

bool actor_has_answered(const struct actor *actor)
{
    struct pollfd polled = { .fd = actor->from, .events = POLLIN };
    return poll(&polled, 1, 0) == 1;
}

int actor_answer(struct actor *actor, const char *what)
{
    struct answer answer = { -1, "it gives no answer" };
    struct pollfd polled = { .fd = actor->from, .events = POLLIN };
    if (poll(&polled, 1, ANSWER_MS) == 1 && read(actor->from, &answer, sizeof answer) != (ssize_t)sizeof answer)
        answer = (struct answer){ -1, "it has ended" };
    if (answer.result < 0)
        harness_note("%s: %s", what, answer.sentence);
    return answer.result;
}

void actor_end(struct actor *actor)
{
    if (actor->pid == 0)
        return;
    harness_kill(actor->pid);
    close(actor->to);
    close(actor->from);
    *actor = (struct actor){ 0 };
}
