/* SPDX-License-Identifier: MIT */
#include "roles.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* Long batches, so that many are killed between the first store of one and its announcement. */
enum { BATCH = 128, KEPT = 12, BULK = 24 };
#define SHORT_NS INT64_C(2000000)
#define DOOM_NS_MAX 8000

const char *const role_names[ROLE_COUNT] = { "sender", "forwarder", "receiver", "keeper", "getter" };

struct worker {
    const struct role_start *start;
    struct ledger *ledger;
    struct numapool_client *client;
    struct numapool_pool *pool;
    uint64_t random;
    const char *name;
    struct ledger_reader reader;
    timer_t doom;
};

/* A call failed in a way that no death excuses. */
static int failed(struct worker *worker, const char *call, int result)
{
    ledger_breach(worker->ledger, "%s %u: %s gave %d: %s", worker->name, worker->start->incarnation, call, result, numapool_errormsg());
    return 1;
}

static bool is_only_late(int result)
{
    return result == -EAGAIN || result == -ETIMEDOUT;
}

static void tell_phase(struct worker *worker, uint32_t phase)
{
    SET(worker->ledger->workers[worker->start->place].phase, phase);
}

/* A waiting time as callers give them: none, or up to 2 ms. */
static int64_t some_patience(struct worker *worker)
{
    return harness_below(&worker->random, 4) == 0 ? 0 : 1 + harness_below(&worker->random, (unsigned)SHORT_NS);
}

/* Before a call. A kill by another process seldom finds its victim on a processor; a timer finds it in the middle of the
 * call. */
static void tempt_fate(struct worker *worker)
{
    if (worker->start->doom == 0 || harness_below(&worker->random, worker->start->doom) > 0)
        return;
    const struct itimerspec soon = { .it_value.tv_nsec = 1 + harness_below(&worker->random, DOOM_NS_MAX) };
    timer_settime(worker->doom, 0, &soon, NULL);
}

/* ---------------------------------------------------------------- sender */

static int send_some(struct worker *worker, struct numapool_sender *sender)
{
    struct numapool_msg messages[BATCH];
    unsigned n = 1 + harness_below(&worker->random, harness_below(&worker->random, 2) ? BATCH : 2);
    unsigned have = 0, sent = 0;
    memset(messages, 0, sizeof messages);
    while (have < n && (messages[have].data = numapool_loan(sender)))
        have++;
    uint32_t first = have > 0 ? ledger_numbers(worker->ledger, worker->start->incarnation, have) : 0;
    if (first == 0) {
        for (unsigned i = 0; i < have; i++)
            numapool_unloan(sender, messages[i].data);
        harness_sleep_ns(200000);
        return 0;
    }
    for (unsigned i = 0; i < have; i++) {
        messages[i].id = first + i;
        messages[i].length = LEDGER_PAYLOAD_BYTES;
        ledger_fill(messages[i].data, first + i);
        SET(worker->ledger->messages[first + i].about_to_send, 1);
    }
    while (sent < have) {
        int result;
        tempt_fate(worker);
        if (have - sent == 1) {
            result = numapool_send(sender, &messages[sent], some_patience(worker));
            result = result == 0 ? 1 : result;
        } else {
            result = numapool_send_bulk(sender, messages + sent, have - sent, some_patience(worker));
        }
        if (result < 0 && !is_only_late(result))
            return failed(worker, "send", result);
        for (int i = 0; i < result; i++)
            SET(worker->ledger->messages[first + sent + (unsigned)i].sent, 1);
        sent += result > 0 ? (unsigned)result : 0;
        if (result < 0 && GET(worker->ledger->drain))
            break; /* its loans go back with the process */
    }
    return 0;
}

static int work_as_sender(struct worker *worker, const struct numapool_channel_options *options)
{
    struct numapool_sender *sender;
    int result = numapool_sender_open(worker->pool, "a", options, &sender);
    if (result < 0)
        return failed(worker, "sender_open", result);
    tell_phase(worker, 2);
    while (!GET(worker->ledger->drain)) {
        if (send_some(worker, sender) != 0)
            return 1;
        if (harness_below(&worker->random, 4000) == 0 && !GET(worker->ledger->stay)) { /* leaves, and joins again */
            result = numapool_sender_close(sender, some_patience(worker));
            if (result < 0)
                return failed(worker, "sender_close", result);
            result = numapool_sender_open(worker->pool, "a", options, &sender);
            if (result < 0)
                return failed(worker, "sender_open", result);
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- receiving roles */

static int forward_some(struct worker *worker, struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n,
                        struct numapool_sender *sender)
{
    unsigned done = 0;
    while (done < n) {
        int result;
        tempt_fate(worker);
        if (n - done == 1 || harness_below(&worker->random, 3) == 0) {
            result = numapool_forward(receiver, &messages[done], sender, some_patience(worker));
            result = result == 0 ? 1 : result;
        } else {
            result = numapool_forward_bulk(receiver, messages + done, n - done, sender, some_patience(worker));
        }
        if (result < 0 && !is_only_late(result))
            return failed(worker, "forward", result);
        for (; result > 0; result--)
            ledger_finish(&worker->reader, &messages[done++]);
    }
    return 0;
}

struct kept {
    void *slot;
    uint64_t stamp;
};

static int put_back(struct worker *worker, struct numapool_magazine *magazine, struct kept *kept)
{
    if (!ledger_payload_is(kept->slot, kept->stamp))
        ledger_breach(worker->ledger, "%s %u: a slot it held was written by somebody else", worker->name, worker->start->incarnation);
    ledger_fill(kept->slot, 0); /* what is read from a slot that was given back must be wrong */
    int result = numapool_put(magazine, kept->slot);
    if (result < 0)
        return failed(worker, "put", result);
    atomic_fetch_add_explicit(&worker->ledger->puts, 1, memory_order_relaxed);
    kept->slot = NULL;
    return 0;
}

/* What its holder writes into a slot: no message's payload, and nobody else's stamp. */
static void stamp(struct worker *worker, struct kept *kept)
{
    kept->stamp = (uint64_t)worker->start->incarnation << 32 | UINT64_C(1) << 63 | (uint32_t)harness_random(&worker->random);
    ledger_fill(kept->slot, kept->stamp);
}

static int keep_some(struct worker *worker, struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n,
                     struct numapool_magazine *magazine, struct kept kept[KEPT])
{
    tempt_fate(worker);
    for (unsigned i = 0; i < n; i++) {
        int result;
        if (harness_below(&worker->random, 3) == 0) {
            result = numapool_release(receiver, &messages[i], 1);
            if (result < 0)
                return failed(worker, "release", result);
            ledger_finish(&worker->reader, &messages[i]);
            continue;
        }
        struct kept *place = &kept[harness_below(&worker->random, KEPT)];
        if (place->slot && put_back(worker, magazine, place) != 0)
            return 1;
        result = numapool_keep(receiver, &messages[i]);
        if (result < 0)
            return failed(worker, "keep", result);
        ledger_finish(&worker->reader, &messages[i]);
        place->slot = messages[i].data;
        stamp(worker, place);
    }
    return 0;
}

static int release_some(struct worker *worker, struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n)
{
    unsigned at_once = harness_below(&worker->random, 2) ? n : 1;
    tempt_fate(worker);
    for (unsigned done = 0; done < n; done += at_once) {
        unsigned some = n - done < at_once ? n - done : at_once;
        int result = numapool_release(receiver, messages + done, some);
        if (result < 0)
            return failed(worker, "release", result);
        for (unsigned i = 0; i < some; i++)
            ledger_finish(&worker->reader, &messages[done + i]);
    }
    return 0;
}

static int open_receiver(struct worker *worker, const char *channel, const struct numapool_channel_options *options,
                         struct numapool_receiver **receiver)
{
    int result = numapool_receiver_open(worker->pool, channel, options, receiver);
    if (result < 0)
        return failed(worker, "receiver_open", result);
    worker->reader = (struct ledger_reader){ .ledger = worker->ledger, .channel = channel[0] == 'a' ? LEDGER_A : LEDGER_B,
                                             .role = worker->name, .incarnation = worker->start->incarnation };
    return 0;
}

static int work_as_receiver(struct worker *worker, const struct numapool_channel_options *options)
{
    struct numapool_receiver *receiver;
    struct numapool_sender *sender = NULL;
    struct numapool_magazine *magazine = NULL;
    struct numapool_msg messages[BATCH];
    struct kept kept[KEPT] = { { NULL, 0 } };
    enum role role = worker->start->role;
    const char *channel = role == ROLE_FORWARDER ? "a" : "b";
    int64_t last_ns = harness_now_ns();
    int result = 0;
    if (role == ROLE_FORWARDER && (result = numapool_sender_open(worker->pool, "b", options, &sender)) < 0)
        return failed(worker, "sender_open", result);
    if (role == ROLE_KEEPER && (result = numapool_magazine_open(worker->pool, NUMAPOOL_ANY_NODE, 0, &magazine)) < 0)
        return failed(worker, "magazine_open", result);
    if (open_receiver(worker, channel, options, &receiver) != 0)
        return 1;
    tell_phase(worker, 2);
    for (;;) {
        int got = numapool_receive(receiver, messages, 1 + harness_below(&worker->random, BATCH), some_patience(worker));
        if (got < 0 && !is_only_late(got))
            return failed(worker, "receive", got);
        if (got < 0 && worker->start->idle_end_ns > 0 && harness_now_ns() - last_ns > worker->start->idle_end_ns)
            break;
        if (got < 0)
            continue;
        last_ns = harness_now_ns();
        for (int i = 0; i < got; i++) {
            uint64_t appearance = ledger_receive(&worker->reader, receiver, &messages[i]);
            if (role == ROLE_FORWARDER)
                messages[i].key = appearance;
        }
        if (role == ROLE_FORWARDER)
            result = forward_some(worker, receiver, messages, (unsigned)got, sender);
        else if (role == ROLE_KEEPER)
            result = keep_some(worker, receiver, messages, (unsigned)got, magazine, kept);
        else
            result = release_some(worker, receiver, messages, (unsigned)got);
        if (result != 0)
            return 1;
        if (harness_below(&worker->random, 4000) == 0 && !GET(worker->ledger->stay)) { /* leaves, and joins again */
            if ((result = numapool_receiver_close(receiver)) < 0)
                return failed(worker, "receiver_close", result);
            if (open_receiver(worker, channel, options, &receiver) != 0)
                return 1;
        }
    }
    for (unsigned i = 0; i < KEPT; i++)
        if (kept[i].slot && put_back(worker, magazine, &kept[i]) != 0)
            return 1;
    if ((result = numapool_receiver_close(receiver)) < 0)
        return failed(worker, "receiver_close", result);
    if (sender && (result = numapool_sender_close(sender, 0)) < 0)
        return failed(worker, "sender_close", result);
    if (magazine && (result = numapool_magazine_close(magazine)) < 0)
        return failed(worker, "magazine_close", result);
    return 0;
}

/* ---------------------------------------------------------------- getter */

static int work_as_getter(struct worker *worker)
{
    struct numapool_magazine *magazine;
    struct kept kept[BULK];
    void *slots[BULK];
    int result = numapool_magazine_open(worker->pool, NUMAPOOL_ANY_NODE, 0, &magazine);
    if (result < 0)
        return failed(worker, "magazine_open", result);
    tell_phase(worker, 2);
    while (!GET(worker->ledger->drain)) {
        unsigned n = 1 + harness_below(&worker->random, BULK), have = 0;
        tempt_fate(worker);
        if (harness_below(&worker->random, 2)) {
            result = numapool_get_bulk(magazine, slots, n);
            have = result < 0 ? 0 : n;
            if (result < 0 && !is_only_late(result))
                return failed(worker, "get_bulk", result);
        }
        for (; have < n; have++) {
            slots[have] = numapool_get(magazine);
            if (slots[have])
                continue;
            result = numapool_get_wait(magazine, &slots[have], some_patience(worker));
            if (result < 0 && !is_only_late(result))
                return failed(worker, "get_wait", result);
            if (result < 0)
                break;
        }
        for (unsigned i = 0; i < have; i++) {
            kept[i].slot = slots[i];
            stamp(worker, &kept[i]);
        }
        tempt_fate(worker);
        for (unsigned i = 0; i < have; i++)
            if (put_back(worker, magazine, &kept[i]) != 0)
                return 1;
        if (harness_below(&worker->random, 16) == 0 && (result = numapool_flush(magazine)) < 0)
            return failed(worker, "flush", result);
    }
    result = numapool_magazine_close(magazine);
    return result < 0 ? failed(worker, "magazine_close", result) : 0;
}

/* ---------------------------------------------------------------- each of them */

static int run(void *context)
{
    struct worker worker = { .start = context };
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    worker.ledger = worker.start->ledger;
    worker.random = worker.start->seed | 1;
    worker.name = role_names[worker.start->role];
    options.lane_slots = worker.start->lane_slots;
    if (harness_below(&worker.random, 2))
        options.spin_ns = -1; /* half of them go to sleep at once */
    struct sigevent by_kill = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
    if (worker.start->doom > 0 && timer_create(CLOCK_MONOTONIC, &by_kill, &worker.doom) < 0)
        return failed(&worker, "timer_create", -errno);
    int result = numapool_connect(&worker.client, worker.start->socket);
    if (result < 0)
        return failed(&worker, "connect", result);
    SET(worker.ledger->workers[worker.start->place].client, numapool_client_id(worker.client));
    tell_phase(&worker, 1);
    if ((result = numapool_open(worker.client, ROLES_POOL, 0, &worker.pool)) < 0)
        return failed(&worker, "open", result);
    if (worker.start->role == ROLE_SENDER)
        result = work_as_sender(&worker, &options);
    else if (worker.start->role == ROLE_GETTER)
        result = work_as_getter(&worker);
    else
        result = work_as_receiver(&worker, &options);
    return result;
}

pid_t role_spawn(const struct role_start *start)
{
    struct role_start own = *start;
    SET(start->ledger->workers[start->place].client, 0);
    SET(start->ledger->workers[start->place].phase, 0);
    return harness_fork(run, &own);
}

void roles_drain(struct ledger *ledger, const char *socket, uint32_t first_incarnation, bool forwarded)
{
    struct role_start start = { .ledger = ledger, .socket = socket, .role = ROLE_RECEIVER, .incarnation = first_incarnation,
                                .place = 0, .seed = first_incarnation, .idle_end_ns = 1000000000, .lane_slots = 64 };
    SET(ledger->drain, 1);
    pid_t receiver = role_spawn(&start);
    if (forwarded) {
        start.role = ROLE_FORWARDER;
        start.idle_end_ns = 400000000;
        start.incarnation++;
        start.place = 1;
        harness_expect(harness_join(role_spawn(&start), INT64_C(60000000000)) == 0, "a fresh forwarder drains channel a");
    }
    harness_expect(harness_join(receiver, INT64_C(60000000000)) == 0, "a fresh receiver drains channel b");
}
