/* SPDX-License-Identifier: MIT
 * Processes that opened the pool read-only: they have a page of bells of their own in place of the table, and their lanes' own words.
 * A role with `foreign` is played by such ones. */
#include "model.h"

bool foreign_is(const struct process *p)
{
    return p->role != UINT32_MAX && p->index != 0 && world.run.scenario->roles[p->role].foreign;
}

struct np_bell *foreign_page(unsigned client)
{
    return world.bells + world.bell_count + (size_t)client * FOREIGN_BELLS;
}

/* The daemon's part, at each admission and for those whom its successors find. */
void foreign_admit(uint32_t number, bool foreign)
{
    np_store64(&world.board.clients[number].readonly, foreign, memory_order_release); /* bit 0: the only pool */
    world.broker->pages[number] = foreign ? foreign_page(number) : NULL;
}

void foreign_take_over(void)
{
    for (uint32_t number = 1; number <= world.limits.clients; number++)
        if (np_load64(&world.board.clients[number].readonly, memory_order_acquire) != 0)
            world.broker->pages[number] = foreign_page(number);
}

static void must_not_ring(void *context, uint32_t bell)
{
    (void)context;
    model_fail("one without bells rings bell %u", bell);
}

/* What it is told and what it maps; `authority` is the others'. */
void foreign_set_up(struct process *self, const struct np_authority *authority)
{
    static struct np_authority its_own;
    its_own = *authority;
    its_own.ring = must_not_ring;
    self->pool->mode = NUMAPOOL_MODE_READONLY;
    self->pool->bells = foreign_page(self->client);
    self->pool->bell_count = FOREIGN_BELLS;
    self->pool->authority = &its_own;
}

/* The daemon's timer, which runs while there are orphans that it cannot hear of: due whenever there is something for it
 * to do. */
bool foreign_duty_is_due(void)
{
    for (uint32_t lane = 1; world.broker && lane <= world.limits.lanes; lane++) {
        struct np_lane_entry *entry = &world.board.lanes[lane];
        struct np_lane_shared *shared = world.kept_lanes[lane];
        /* relaxed, all: there is one thread */
        uint32_t receiver = atomic_load_explicit(&entry->receiver, memory_order_relaxed);
        if (!shared || atomic_load_explicit(&entry->state, memory_order_relaxed) != NP_ACTIVE ||
            atomic_load_explicit(&entry->sender, memory_order_relaxed) != 0 || !np_broker_is_foreign(world.broker, receiver))
            continue;
        uint64_t released = atomic_load_explicit(&shared->released, memory_order_relaxed);
        uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_relaxed);
        if (atomic_load_explicit(&shared->reclaimed, memory_order_relaxed) < (released < tail ? released : tail))
            return true;
    }
    return false;
}

/* A receiver that leaves, while its process stays for ever: no sweep after its end wakes those who sleep for a slot. */
void guest_who_stays(struct process *self)
{
    actor_connect(self);
    actor_join(self, "a", false);
    actor_receive(self, 0, 2, model_random(2) == 0 ? 0 : NUMAPOOL_FOREVER);
    if (self->held_count > 0 && model_random(2) == 0)
        actor_release(self, 0);
    actor_leave_receiver(self);
    oracle_settle(self);
    self->deadline_ns = INT64_MAX;
    model_block(self, PROCESS_NAPPING);
}
