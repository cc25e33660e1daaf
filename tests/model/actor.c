/* SPDX-License-Identifier: MIT
 * The public calls as simulated processes make them: each tells the oracle what it is about to do and what came of it. */
#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "model.h"

void actor_begin(struct process *self)
{
    oracle_settle(self);
    self->in_call = true;
    self->call_begin = world.step;
}

void actor_end(struct process *self)
{
    oracle_settle(self);
    self->in_call = false;
    self->call_end = world.step;
}

void actor_connect(struct process *self)
{
    int result = client_connect(self);
    if (result < 0)
        model_fail("%s is not admitted: %s", self->name, numapool_errormsg());
    if (foreign_is(self))
        return; /* it gets nothing, and puts nothing */
    result = numapool_magazine_open(self->pool, 0, 0, &self->magazine);
    if (result < 0)
        model_fail("%s cannot open a magazine: %s", self->name, numapool_errormsg());
}

void actor_join(struct process *self, const char *channel, bool sends)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = world.run.scenario->lane_slots;
    options.spin_ns = model_random(3) == 0 ? 2 * NP_BELL_SETTLE_NS : -1; /* who spins may settle instead of a barrier */
    options.flags = world.run.scenario->flags;
    options.magazine = sends ? self->magazine : NULL;
    actor_begin(self);
    int result = sends ? numapool_sender_open(self->pool, channel, &options, &self->sender)
                       : numapool_receiver_open(self->pool, channel, &options, &self->receiver);
    actor_end(self);
    if (result < 0)
        model_fail("%s cannot join channel %s: %s", self->name, channel, numapool_errormsg());
    if (!sends)
        self->joined = world.step;
}

void *actor_get(struct process *self, bool waits)
{
    void *slot = NULL;
    const bool loans = self->sender && model_random(2) == 0; /* in the order in which they came back, else out of the magazine that they share */
    actor_begin(self);
    int result = !waits ? 0 : loans ? numapool_loan_wait(self->sender, &slot, NUMAPOOL_FOREVER) : numapool_get_wait(self->magazine, &slot, NUMAPOOL_FOREVER);
    if (!waits)
        slot = loans ? numapool_loan(self->sender) : numapool_get(self->magazine);
    if (result < 0)
        model_fail("%s waits for ever for a slot, and gets %d: %s", self->name, result, numapool_errormsg());
    if (slot)
        oracle_got(self, slot);
    else
        oracle_said_empty(self);
    actor_end(self);
    return slot;
}

void actor_put(struct process *self, void *slot)
{
    oracle_before_put(self, slot);
    actor_begin(self);
    if (numapool_put(self->magazine, slot) < 0)
        model_fail("%s cannot put: %s", self->name, numapool_errormsg());
    actor_end(self);
}

unsigned actor_get_bulk(struct process *self, void **slots, unsigned n)
{
    actor_begin(self);
    int result = numapool_get_bulk(self->magazine, slots, n);
    for (unsigned i = 0; result == 0 && i < n; i++)
        oracle_got(self, slots[i]);
    actor_end(self);
    return result == 0 ? n : 0;
}

void actor_put_bulk(struct process *self, void **slots, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        oracle_before_put(self, slots[i]);
    actor_begin(self);
    if (numapool_put_bulk(self->magazine, slots, n) < 0)
        model_fail("%s cannot put %u: %s", self->name, n, numapool_errormsg());
    actor_end(self);
}

unsigned actor_send(struct process *self, void **slots, unsigned n, int64_t timeout_ns)
{
    struct numapool_msg messages[HOLD_MAX];
    int ledger[HOLD_MAX];
    memset(messages, 0, sizeof messages);
    for (unsigned i = 0; i < n; i++) {
        ledger[i] = oracle_before_send(self, slots[i], 0, -1);
        messages[i].data = slots[i];
        messages[i].length = 16;
        messages[i].type = 7;
        messages[i].id = world.messages[ledger[i]].id;
        messages[i].key = keys_key_of(oracle_slot_of(slots[i]));
        messages[i].flags = keys_flags();
    }
    actor_begin(self);
    int sent = numapool_send_bulk(self->sender, messages, n, timeout_ns);
    actor_end(self);
    if (sent < 0 && sent != -EAGAIN && sent != -ETIMEDOUT)
        model_fail("%s cannot send: %s", self->name, numapool_errormsg());
    for (unsigned i = 0; i < n; i++)
        oracle_after_send(self, ledger[i], 0, (int)i < sent);
    return sent > 0 ? (unsigned)sent : 0;
}

int actor_receive(struct process *self, unsigned hop, unsigned n, int64_t timeout_ns)
{
    struct numapool_msg messages[HOLD_MAX];
    if (n > HOLD_MAX - self->held_count)
        n = HOLD_MAX - self->held_count;
    if (n == 0)
        return 0;
    actor_begin(self);
    int got = numapool_receive(self->receiver, messages, n, timeout_ns);
    actor_end(self);
    if (got < 0 && got != -EAGAIN && got != -ETIMEDOUT)
        model_fail("%s cannot receive: %s", self->name, numapool_errormsg());
    for (int i = 0; i < got; i++)
        self->held[self->held_count++] = (struct held_message){ messages[i], oracle_received(self, &messages[i], hop) };
    return got;
}

static void forget_held(struct process *self, unsigned which, unsigned n)
{
    self->held_count -= n;
    memmove(self->held + which, self->held + which + n, (self->held_count - which) * sizeof *self->held);
}

void actor_release(struct process *self, unsigned which)
{
    struct held_message held = self->held[which];
    oracle_before_release(self, held.ledger);
    actor_begin(self);
    if (numapool_release(self->receiver, &held.message, 1) < 0)
        model_fail("%s cannot release message %d: %s", self->name, held.ledger, numapool_errormsg());
    actor_end(self);
    oracle_after_release(self, &held.message, held.ledger);
    forget_held(self, which, 1);
}

void actor_release_all(struct process *self)
{
    struct numapool_msg messages[HOLD_MAX];
    for (unsigned i = 0; i < self->held_count; i++) {
        messages[i] = self->held[i].message;
        oracle_before_release(self, self->held[i].ledger);
    }
    actor_begin(self);
    if (self->held_count > 0 && numapool_release(self->receiver, messages, self->held_count) < 0)
        model_fail("%s cannot release %u messages: %s", self->name, self->held_count, numapool_errormsg());
    actor_end(self);
    for (unsigned i = 0; i < self->held_count; i++)
        oracle_after_release(self, &messages[i], self->held[i].ledger);
    self->held_count = 0;
}

void *actor_keep(struct process *self, unsigned which)
{
    struct held_message held = self->held[which];
    oracle_before_keep(self, held.message.data);
    actor_begin(self);
    if (numapool_keep(self->receiver, &held.message) < 0)
        model_fail("%s cannot keep message %d: %s", self->name, held.ledger, numapool_errormsg());
    actor_end(self);
    oracle_after_keep(self, held.ledger);
    forget_held(self, which, 1);
    return held.message.data;
}

unsigned actor_forward(struct process *self, unsigned n, int64_t timeout_ns)
{
    struct numapool_msg messages[HOLD_MAX];
    for (unsigned i = 0; i < n; i++) {
        messages[i] = self->held[i].message;
        oracle_before_send(self, messages[i].data, 1, self->held[i].ledger);
    }
    actor_begin(self);
    int went = numapool_forward_bulk(self->receiver, messages, n, self->sender, timeout_ns);
    actor_end(self);
    if (went < 0 && went != -EAGAIN && went != -ETIMEDOUT)
        model_fail("%s cannot forward: %s", self->name, numapool_errormsg());
    for (unsigned i = 0; i < n; i++)
        oracle_after_send(self, self->held[i].ledger, 1, (int)i < went);
    if (went > 0)
        forget_held(self, 0, (unsigned)went);
    return went > 0 ? (unsigned)went : 0;
}

void actor_leave_receiver(struct process *self)
{
    /* what is held goes to another */
    self->joined = 0;
    for (unsigned i = 0; i < self->held_count && world.run.scenario->flags == 0; i++)
        world.slots[world.messages[self->held[i].ledger].slot].reader = -1;
    self->held_count = 0;
    actor_begin(self);
    int result = numapool_receiver_close(self->receiver);
    self->receiver = NULL;
    actor_end(self);
    if (result < 0)
        model_fail("%s cannot leave: %s", self->name, numapool_errormsg());
}

void actor_leave_sender(struct process *self, int64_t drain_ns)
{
    actor_begin(self);
    self->leaving = true;
    int result = numapool_sender_close(self->sender, drain_ns);
    self->sender = NULL;
    actor_end(self);
    if (result < 0)
        model_fail("%s cannot leave: %s", self->name, numapool_errormsg());
}
