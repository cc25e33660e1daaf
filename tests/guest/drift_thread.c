/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "drift.h"

#define COUNT(thread, what, n)                                                                                         \
    atomic_fetch_add_explicit(&(thread)->done.what, (n), memory_order_relaxed) /* relaxed: figures */

enum { BURST = 256, BULK_MAX = 24 };

/* ---------------------------------------------------------------- slots that this thread has */

/* The first word of a slot says which thread has it, 0: none. Whoever takes one that somebody has finds it out here. */
static void take_up(struct drift_thread *thread, void *slot, uint64_t expected)
{
    uint64_t found = __atomic_exchange_n((uint64_t *)slot, thread->stamp,
                                         __ATOMIC_RELAXED); /* relaxed: ordered by how the slot came here */
    if (found != expected)
        drift_wrong(thread->crew->plan, "a slot that came to thread %llx said that %llx has it",
                    (unsigned long long)thread->stamp, (unsigned long long)found);
}

static void lay_down(struct drift_thread *thread, void *slot, uint64_t left)
{
    uint64_t found = __atomic_exchange_n((uint64_t *)slot, left, __ATOMIC_RELAXED); /* relaxed: as above */
    if (found != thread->stamp)
        drift_wrong(thread->crew->plan, "a slot of thread %llx said that %llx has it",
                    (unsigned long long)thread->stamp, (unsigned long long)found);
}

static struct numapool_magazine *some_magazine(struct drift_thread *thread)
{
    return harness_below(&thread->random, 3) ? thread->own : thread->fixed;
}

static void *pick_from_hand(struct drift_thread *thread)
{
    unsigned place = harness_below(&thread->random, thread->in_hand);
    void *slot = thread->hand[place];
    thread->hand[place] = thread->hand[--thread->in_hand];
    return slot;
}

/* ---------------------------------------------------------------- steps */

static void get_one(struct drift_thread *thread)
{
    if (thread->in_hand == DRIFT_HAND)
        return;
    void *slot = numapool_get(some_magazine(thread));
    if (!slot) {
        COUNT(thread, empty, 1);
        return;
    }
    take_up(thread, slot, 0);
    thread->hand[thread->in_hand++] = slot;
    COUNT(thread, gets, 1);
}

static void put_one(struct drift_thread *thread)
{
    if (thread->in_hand == 0)
        return;
    void *slot = pick_from_hand(thread);
    lay_down(thread, slot, 0);
    if (numapool_put(some_magazine(thread), slot) < 0)
        drift_wrong(thread->crew->plan, "put: %s", numapool_errormsg());
    COUNT(thread, puts, 1);
}

static void get_bulk(struct drift_thread *thread)
{
    unsigned n = 1 + harness_below(&thread->random, BULK_MAX);
    if (thread->in_hand + n > DRIFT_HAND)
        return;
    if (numapool_get_bulk(some_magazine(thread), thread->hand + thread->in_hand, n) < 0) {
        COUNT(thread, empty, 1);
        return;
    }
    for (unsigned i = 0; i < n; i++)
        take_up(thread, thread->hand[thread->in_hand + i], 0);
    thread->in_hand += n;
    COUNT(thread, gets, n);
    COUNT(thread, bulks, 1);
}

static void put_bulk(struct drift_thread *thread)
{
    unsigned n = 1 + harness_below(&thread->random, BULK_MAX);
    if (n > thread->in_hand)
        n = thread->in_hand;
    if (n == 0)
        return;
    thread->in_hand -= n;
    for (unsigned i = 0; i < n; i++)
        lay_down(thread, thread->hand[thread->in_hand + i], 0);
    if (numapool_put_bulk(some_magazine(thread), thread->hand + thread->in_hand, n) < 0)
        drift_wrong(thread->crew->plan, "put_bulk: %s", numapool_errormsg());
    COUNT(thread, puts, n);
    COUNT(thread, bulks, 1);
}

/* The warm path, many times; what is taken of the one magazine is given to the other every eighth time. */
static void burst(struct drift_thread *thread)
{
    struct numapool_magazine *from = some_magazine(thread),
                             *to = harness_below(&thread->random, 8) ? from : some_magazine(thread);
    unsigned done = 0;
    for (; done < BURST; done++) {
        void *slot = numapool_get(from);
        if (!slot)
            break;
        take_up(thread, slot, 0);
        lay_down(thread, slot, 0);
        if (numapool_put(to, slot) < 0)
            drift_wrong(thread->crew->plan, "put: %s", numapool_errormsg());
    }
    COUNT(thread, gets, done);
    COUNT(thread, puts, done);
}

static void hand_over(struct drift_thread *thread)
{
    struct drift_thread *other = &thread->crew->threads[harness_below(&thread->random, thread->crew->plan->threads)];
    if (thread->in_hand == 0 || other == thread)
        return;
    pthread_mutex_lock(&other->queue.lock);
    for (unsigned i = 0; i < 8 && thread->in_hand > 0 && other->queue.count < DRIFT_QUEUE; i++) {
        void *slot = pick_from_hand(thread);
        lay_down(thread, slot, other->stamp);
        other->queue.slots[other->queue.count++] = slot;
        COUNT(thread, handed, 1);
    }
    pthread_mutex_unlock(&other->queue.lock);
}

static void take_what_was_handed(struct drift_thread *thread)
{
    pthread_mutex_lock(&thread->queue.lock);
    while (thread->queue.count > 0 && thread->in_hand < DRIFT_HAND) {
        void *slot = thread->queue.slots[--thread->queue.count];
        take_up(thread, slot, thread->stamp);
        thread->hand[thread->in_hand++] = slot;
    }
    pthread_mutex_unlock(&thread->queue.lock);
}

static void hop(struct drift_thread *thread)
{
    const struct machine *machine = &thread->crew->plan->machine;
    machine_run_on_cpu(machine->cpus[harness_below(&thread->random, machine->cpu_count)]);
    COUNT(thread, hops, 1);
}

/* A slot that was loaned, or one of its own, wherever that came from. */
static void send_one(struct drift_thread *thread)
{
    const bool loaned = thread->in_hand == 0 || harness_below(&thread->random, 2) == 0;
    void *slot = loaned ? numapool_loan(thread->sender) : pick_from_hand(thread);
    if (!slot)
        return;
    if (loaned)
        take_up(thread, slot, 0);
    lay_down(thread, slot, 0);
    struct numapool_msg message = { .data = slot, .length = 8 };
    int result = numapool_send(thread->sender, &message, 0);
    if (result == 0) {
        COUNT(thread, sent, 1);
        return;
    }
    if (result != -EAGAIN)
        drift_wrong(thread->crew->plan, "send: %s", numapool_errormsg());
    if ((loaned ? numapool_unloan(thread->sender, slot) : numapool_put(some_magazine(thread), slot)) < 0)
        drift_wrong(thread->crew->plan, "unloan: %s", numapool_errormsg());
}

/* Kept, and later put into a magazine of this process; or released, and then its sender's again. */
static void let_go_of_message(struct drift_thread *thread, bool may_keep)
{
    const struct numapool_msg *message = &thread->held[--thread->held_count];
    if (may_keep && thread->in_hand < DRIFT_HAND && harness_below(&thread->random, 2)) {
        if (numapool_keep(thread->receiver, message) < 0)
            drift_wrong(thread->crew->plan, "keep: %s", numapool_errormsg());
        take_up(thread, message->data, 0);
        thread->hand[thread->in_hand++] = message->data;
        COUNT(thread, kept, 1);
    } else if (numapool_release(thread->receiver, message, 1) < 0)
        drift_wrong(thread->crew->plan, "release: %s", numapool_errormsg());
}

static void receive_some(struct drift_thread *thread)
{
    int got = numapool_receive(thread->receiver, thread->held + thread->held_count, DRIFT_HELD - thread->held_count, 0);
    if (got > 0) {
        thread->held_count += (unsigned)got;
        COUNT(thread, received, (unsigned)got);
    } else if (got != -EAGAIN)
        drift_wrong(thread->crew->plan, "receive: %s", numapool_errormsg());
    while (thread->held_count > DRIFT_HELD / 2)
        let_go_of_message(thread, true);
}

static void exchange_messages(struct drift_thread *thread)
{
    if (thread->sender)
        send_one(thread);
    if (thread->receiver)
        receive_some(thread);
}

void drift_thread_round(struct drift_thread *thread)
{
    for (unsigned step = 0; step < thread->crew->plan->steps; step++) {
        unsigned choice = harness_below(&thread->random, 64);
        if (choice < 14)
            get_one(thread);
        else if (choice < 28)
            put_one(thread);
        else if (choice < 31)
            get_bulk(thread);
        else if (choice < 35)
            put_bulk(thread);
        else if (choice < 45)
            hand_over(thread);
        else if (choice < 53)
            take_what_was_handed(thread);
        else if (choice < 61)
            exchange_messages(thread);
        else if (choice < 63)
            burst(thread);
        else if (thread->hops && harness_below(&thread->random, 4) == 0)
            hop(thread);
    }
}

/* ---------------------------------------------------------------- beginning and end */

void drift_thread_open(struct drift_thread *thread)
{
    struct drift_crew *crew = thread->crew;
    struct drift_plan *plan = crew->plan;
    const struct machine *machine = &plan->machine;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    const int node = crew->pool->arenas[thread->number % np_pool_arena_count(crew->pool)].arena.node;
    options.lane_slots = 16;
    machine_run_on_cpu(machine->cpus[thread->number % machine->cpu_count]);
    thread->own = numapool_thread_magazine(crew->pool);
    if (!thread->own || numapool_magazine_open(crew->pool, node, 0, &thread->fixed) < 0)
        drift_wrong(plan, "magazine: %s", numapool_errormsg());
    int result = 0;
    if (thread->number < 2)
        result = numapool_receiver_open(crew->pool, "across", &options, &thread->receiver);
    else if (thread->number < 4) {
        result = numapool_sender_open(crew->pool, "across", &options, &thread->sender);
        atomic_fetch_add_explicit(&plan->senders_open, 1, memory_order_relaxed); /* relaxed: a barrier follows */
    }
    if (result < 0)
        drift_wrong(plan, "end of a channel: %s", numapool_errormsg());
}

/* Receivers go on until no sender has anything that was not released. */
static void end_messages(struct drift_thread *thread)
{
    struct drift_plan *plan = thread->crew->plan;
    if (thread->sender) {
        int left = numapool_sender_close(thread->sender, INT64_C(10000000000));
        if (left != 0)
            drift_wrong(plan, "a sender closed with %d: %s", left,
                        left < 0 ? numapool_errormsg() : "messages that nobody has released");
        atomic_fetch_sub_explicit(&plan->senders_open, 1, memory_order_release); /* pairs with the look below */
    }
    if (!thread->receiver)
        return;
    while (atomic_load_explicit(&plan->senders_open, memory_order_acquire) > 0) {
        int got = numapool_receive(thread->receiver, thread->held + thread->held_count, DRIFT_HELD - thread->held_count,
                                   2000000);
        thread->held_count += got > 0 ? (unsigned)got : 0;
        while (thread->held_count > 0)
            let_go_of_message(thread, false);
    }
    if (numapool_receiver_close(thread->receiver) < 0)
        drift_wrong(plan, "receiver_close: %s", numapool_errormsg());
}

void drift_thread_end(struct drift_thread *thread)
{
    end_messages(thread);
    take_what_was_handed(thread);
    while (thread->in_hand > 0)
        put_one(thread);
    take_what_was_handed(thread); /* what its hand had no room for */
    while (thread->in_hand > 0)
        put_one(thread);
    if (numapool_magazine_close(thread->fixed) < 0 || numapool_thread_magazine_close(thread->crew->pool) < 0)
        drift_wrong(thread->crew->plan, "closing a magazine: %s", numapool_errormsg());
}
