/* SPDX-License-Identifier: MIT
 * What the simulated processes do. Small: a few slots, a few messages, so that many interleavings are different ones. */
#include "model.h"

#define SECOND_NS INT64_C(1000000000)

static void leave(struct process *self)
{
    if (self->receiver)
        actor_leave_receiver(self);
    if (self->sender)
        actor_leave_sender(self, 0);
    actor_begin(self);
    if (self->magazine && numapool_magazine_close(self->magazine) < 0)
        model_fail("%s cannot close its magazine: %s", self->name, numapool_errormsg());
    client_disconnect(self);
    actor_end(self);
}

static int64_t patience(void)
{
    return model_random(3) == 0 ? SECOND_NS : NUMAPOOL_FOREVER;
}

/* ---------------------------------------------------------------- slots alone */

static void get_and_put(struct process *self)
{
    actor_connect(self);
    for (unsigned round = 0; round < 3; round++) {
        void *slot = actor_get(self, self->instance % 2 == 0 || model_random(2) == 0);
        if (slot)
            actor_put(self, slot);
    }
    leave(self);
}

/* Gets, puts, and stays: no sweep after its end makes good what it left undone. */
static void get_put_and_stay(struct process *self)
{
    actor_connect(self);
    for (unsigned round = 0; round < 2; round++) {
        void *slot = actor_get(self, self->instance % 2 == 0 || model_random(2) == 0);
        if (slot)
            actor_put(self, slot);
    }
    actor_join(self, "a", false);
    actor_receive(self, 0, 1, NUMAPOOL_FOREVER);
    leave(self);
}

static void get_several(struct process *self)
{
    void *slots[3];
    actor_connect(self);
    for (unsigned round = 0; round < 3; round++) {
        unsigned n = 1 + (unsigned)model_random(3);
        if (actor_get_bulk(self, slots, n) == n)
            actor_put_bulk(self, slots, n);
    }
    leave(self);
}

static void cache_and_flush(struct process *self)
{
    void *slots[3];
    actor_connect(self);
    for (unsigned round = 0; round < 3; round++) {
        unsigned had = 0;
        while (had < 3 && (slots[had] = actor_get(self, false)) != NULL)
            had++;
        while (had > 0)
            actor_put(self, slots[--had]);
        if (model_random(2) == 0) {
            actor_begin(self);
            numapool_flush(self->magazine);
            actor_end(self);
        }
    }
    leave(self);
}

/* ---------------------------------------------------------------- messages */

static void send_some(struct process *self)
{
    actor_connect(self);
    actor_join(self, "a", true);
    for (unsigned i = 0; i < 4; i++) {
        void *slot = actor_get(self, true);
        int64_t timeout_ns = patience();
        while (actor_send(self, &slot, 1, timeout_ns) == 0)
            timeout_ns = NUMAPOOL_FOREVER;
    }
    if (model_random(2) == 0)
        actor_leave_sender(self, NUMAPOOL_FOREVER);
    leave(self);
}

static void send_batches(struct process *self)
{
    void *slots[3];
    actor_connect(self);
    actor_join(self, "a", true);
    for (unsigned round = 0; round < 3; round++) {
        unsigned had = 0, wanted = 1 + (unsigned)model_random(3);
        slots[had++] = actor_get(self, true);
        while (had < wanted && (slots[had] = actor_get(self, false)) != NULL)
            had++;
        for (unsigned done = 0; done < had;)
            done += actor_send(self, slots + done, had - done, NUMAPOOL_FOREVER);
    }
    leave(self);
}

/* Sends and stays, idle, with whatever is released to it parked on its lane. */
static void send_and_idle(struct process *self)
{
    actor_connect(self);
    actor_join(self, "a", true);
    for (unsigned i = 0; i < 3; i++) {
        void *slot = actor_get(self, true);
        actor_send(self, &slot, 1, NUMAPOOL_FOREVER);
    }
    actor_put(self, actor_get(self, true));
    leave(self);
}

static void finish_in_some_order(struct process *self)
{
    switch (model_random(3)) {
    case 0: actor_release_all(self); break;
    case 1:
        while (self->held_count > 0)
            actor_release(self, (unsigned)model_random(self->held_count));
        break;
    default:
        while (self->held_count > 0)
            actor_release(self, 0);
    }
}

static void receive_all(struct process *self)
{
    actor_connect(self);
    actor_join(self, world.run.scenario->channels == 2 ? "b" : "a", false);
    for (unsigned round = 0; round < 20; round++) {
        int got = actor_receive(self, world.run.scenario->channels - 1, 1 + (unsigned)model_random(3), patience());
        if (got < 0)
            break;
        if (model_random(3) != 0)
            finish_in_some_order(self);
    }
    leave(self);
}

static void receive_and_keep(struct process *self)
{
    actor_connect(self);
    actor_join(self, "a", false);
    for (unsigned round = 0; round < 8; round++) {
        if (actor_receive(self, 0, 2, patience()) < 0)
            break;
        while (self->held_count > 0) {
            unsigned which = (unsigned)model_random(self->held_count);
            if (model_random(3) == 0)
                actor_release(self, which);
            else
                actor_put(self, actor_keep(self, which));
        }
    }
    leave(self);
}

/* Comes, looks, goes: its lanes change hands though nobody dies. */
static void receive_and_go(struct process *self)
{
    actor_connect(self);
    actor_join(self, "a", false);
    if (actor_receive(self, 0, 2, SECOND_NS) > 0 && model_random(2) == 0)
        actor_release(self, 0);
    leave(self);
}

static void forward_all(struct process *self)
{
    actor_connect(self);
    actor_join(self, "b", true);
    actor_join(self, "a", false);
    for (unsigned round = 0; round < 12; round++) {
        if (actor_receive(self, 0, 1 + (unsigned)model_random(2), patience()) < 0)
            break;
        while (self->held_count > 0) {
            unsigned n = 1 + (unsigned)model_random(self->held_count);
            if (actor_forward(self, n, 0) == 0)
                actor_forward(self, n, NUMAPOOL_FOREVER);
        }
    }
    leave(self);
}

/* ---------------------------------------------------------------- small messages and broadcast */

static void kinds_send_some(struct process *self)
{
    actor_connect(self);
    actor_join(self, "a", true);
    for (unsigned round = 0; round < 4; round++)
        kinds_send(self, 1 + (unsigned)model_random(2), model_random(3) == 0 ? 0 : NUMAPOOL_FOREVER);
    if (model_random(2) == 0) {
        actor_leave_sender(self, model_random(2) == 0 ? SECOND_NS : 0);
    }
    leave(self);
}

static void kinds_release_some(struct process *self)
{
    while (self->held_count > 0)
        kinds_release(self, (unsigned)model_random(self->held_count));
}

static void kinds_receive_all(struct process *self)
{
    actor_connect(self);
    actor_join(self, "a", false);
    for (unsigned round = 0; round < 12; round++) {
        if (kinds_receive(self, 1 + (unsigned)model_random(3), patience()) < 0)
            break;
        if (model_random(3) != 0)
            kinds_release_some(self);
    }
    leave(self);
}

static void kinds_receive_and_go(struct process *self)
{
    actor_connect(self);
    actor_join(self, "a", false);
    if (kinds_receive(self, 2, SECOND_NS) > 0 && model_random(2) == 0)
        kinds_release(self, 0);
    leave(self);
}

static void kinds_drain(struct process *self)
{
    actor_connect(self);
    actor_join(self, "a", false);
    for (unsigned in_vain = 0; in_vain < 2; in_vain++)
        while (kinds_receive(self, 4, 0) > 0)
            kinds_release_some(self);
    leave(self);
}

/* When everybody else is gone: what is left on the channels. */
void drain_body(struct process *self)
{
    static const char *const names[] = { "a", "b" };
    if (world.run.scenario->flags != 0) {
        kinds_drain(self);
        return;
    }
    actor_connect(self);
    for (unsigned hop = 0; hop < world.run.scenario->channels; hop++) {
        actor_join(self, names[hop], false);
        for (unsigned in_vain = 0; in_vain < 2; in_vain++)
            while (actor_receive(self, hop, HOLD_MAX, 0) > 0)
                actor_release_all(self);
        actor_leave_receiver(self);
    }
    leave(self);
}

static const unsigned two_groups[] = { 3, 5, 70 };
static const unsigned few_of_many[] = { 0, 1, 2, 3, 4, 63 };

const struct scenario scenarios[] = {
    { .name = "getters", .slots = 2, .sharers = 4, .roles = { { "getter", get_and_put, 4, 1, false } } },
    { .name = "groups", .slots = 130, .free_slots = two_groups, .free_count = 3, .sharers = 130, .channels = 1,
      .roles = { { "getter", get_put_and_stay, 4, 0, false } } },
    { .name = "stayers", .slots = 2, .sharers = 4, .channels = 1, .roles = { { "getter", get_put_and_stay, 4, 1, false } } },
    { .name = "last", .slots = 1, .sharers = 4, .channels = 1, .roles = { { "getter", get_put_and_stay, 3, 0, false } } },
    { .name = "bulk", .slots = 4, .sharers = 4,
      .roles = { { "taker", get_several, 3, 0, false }, { "getter", get_and_put, 1, 0, false } } },
    { .name = "caches", .slots = 64, .free_slots = few_of_many, .free_count = 6, .sharers = 1,
      .roles = { { "cacher", cache_and_flush, 3, 0, false } } },
    { .name = "pipe", .slots = 2, .sharers = 4, .lane_slots = 2, .channels = 1,
      .roles = { { "sender", send_some, 1, 1, false }, { "receiver", receive_all, 1, 1, false } } },
    { .name = "parked", .slots = 3, .sharers = 4, .lane_slots = 2, .channels = 1,
      .roles = { { "sender", send_and_idle, 1, 0, false }, { "receiver", receive_all, 1, 1, false }, { "getter", get_and_put, 1, 0, false } } },
    { .name = "fan", .slots = 8, .sharers = 8, .lane_slots = 2, .channels = 1,
      .roles = { { "sender", send_some, 2, 0, false }, { "receiver", receive_all, 1, 1, false }, { "guest", receive_and_go, 1, 0, false } } },
    { .name = "keep", .slots = 4, .sharers = 4, .lane_slots = 2, .channels = 1,
      .roles = { { "sender", send_some, 1, 0, false }, { "keeper", receive_and_keep, 2, 0, false } } },
    { .name = "batches", .slots = 16, .sharers = 16, .lane_slots = 4, .channels = 1,
      .roles = { { "sender", send_batches, 1, 1, false }, { "receiver", receive_all, 1, 1, false } } },
    { .name = "orphan", .slots = 3, .sharers = 4, .lane_slots = 2, .channels = 1,
      .roles = { { "sender", send_some, 1, 1, false }, { "receiver", receive_all, 1, 0, false }, { "getter", get_and_put, 1, 0, false } } },
    { .name = "chain", .slots = 6, .sharers = 6, .lane_slots = 2, .channels = 2, .one_receiver = true,
      .roles = { { "sender", send_some, 1, 0, false }, { "forwarder", forward_all, 1, 2, false }, { "receiver", receive_all, 1, 0, false } } },
    { .name = "relay", .slots = 8, .sharers = 8, .lane_slots = 2, .channels = 2, .one_receiver = true,
      .roles = { { "sender", send_some, 1, 0, false }, { "forwarder", forward_all, 2, 0, false }, { "receiver", receive_all, 1, 0, false } } },
    { .name = "spares", .slots = 8, .sharers = 8, .lane_slots = 2, .channels = 2,
      .roles = { { "sender", send_some, 2, 0, false }, { "forwarder", forward_all, 2, 1, false }, { "receiver", receive_all, 1, 1, false } } },
    { .name = "keys", .slots = 8, .sharers = 8, .lane_slots = 2, .channels = 1, .keyed = true,
      .roles = { { "sender", send_some, 2, 0, false }, { "receiver", receive_all, 2, 1, false }, { "guest", receive_and_go, 1, 0, false } } },
    { .name = "keybatches", .slots = 16, .sharers = 16, .lane_slots = 4, .channels = 1, .keyed = true,
      .roles = { { "sender", send_batches, 1, 1, false }, { "receiver", receive_all, 2, 0, false }, { "guest", receive_and_go, 1, 0, false } } },
    { .name = "foreign", .slots = 3, .sharers = 4, .lane_slots = 2, .channels = 1,
      .roles = { { "sender", send_some, 1, 1, false }, { "reader", receive_all, 1, 1, .foreign = true }, { "getter", get_and_put, 1, 0, false } } },
    { .name = "adopted", .slots = 2, .sharers = 4, .lane_slots = 2, .channels = 1,
      .roles = { { "sender", send_and_idle, 1, 1, false }, { "guest", guest_who_stays, 1, 0, false },
                 { "reader", receive_all, 1, 1, .foreign = true } } },
    { .name = "small", .slots = 2, .sharers = 4, .lane_slots = 2, .channels = 1, .flags = NUMAPOOL_SMALL,
      .roles = { { "sender", kinds_send_some, 1, 1, false }, { "receiver", kinds_receive_all, 1, 1, false }, { "guest", kinds_receive_and_go, 1, 0, false } } },
    { .name = "broadcast", .slots = 8, .sharers = 8, .lane_slots = 2, .channels = 1, .flags = NUMAPOOL_BROADCAST,
      .roles = { { "sender", kinds_send_some, 1, 1, false }, { "reader", kinds_receive_all, 2, 1, false }, { "guest", kinds_receive_and_go, 1, 0, false } } },
    { .name = "dearth", .slots = 2, .sharers = 4, .lane_slots = 2, .channels = 1, .flags = NUMAPOOL_BROADCAST,
      .roles = { { "sender", kinds_send_some, 1, 0, false }, { "guest", kinds_receive_and_go, 2, 1, false } } },
    { .name = "fanout", .slots = 16, .sharers = 16, .lane_slots = 4, .channels = 1, .flags = NUMAPOOL_BROADCAST,
      .roles = { { "sender", kinds_send_some, 2, 0, false }, { "reader", kinds_receive_all, 2, 0, false } } },
};
const unsigned scenario_count = sizeof scenarios / sizeof scenarios[0];
