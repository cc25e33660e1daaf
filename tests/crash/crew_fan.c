/* SPDX-License-Identifier: MIT */
#include "crew.h"

#include <errno.h>
#include <string.h>

enum { BATCH = 4, HELD_MAX = 12, BODY_WORDS = 12, PAUSE_NS = 200000, QUIET_ROUNDS = 3 };

static void fill(uint64_t *body, uint64_t id)
{
    for (unsigned i = 0; i < BODY_WORDS; i++)
        body[i] = id * UINT64_C(0x9e3779b97f4a7c15) + i;
}

static bool is_intact(const struct numapool_msg *message)
{
    uint64_t body[BODY_WORDS];
    fill(body, message->id);
    return message->length == sizeof body && memcmp(message->data, body, sizeof body) == 0;
}

/* ---------------------------------------------------------------- sending */

static int broadcast_some(struct life *life, struct numapool_sender *sender, uint32_t own, uint32_t *number)
{
    struct crew_record *record = life->record;
    struct numapool_msg messages[BATCH];
    unsigned n = 1 + harness_below(&life->random, BATCH), have = 0;
    memset(messages, 0, sizeof messages);
    if (atomic_fetch_add_explicit(&record->broadcast_count, n, memory_order_relaxed) > GET(record->broadcast_allowance)) {
        atomic_fetch_sub_explicit(&record->broadcast_count, n, memory_order_relaxed);
        harness_sleep_ns(PAUSE_NS);
        return 0;
    }
    while (have < n && (messages[have].data = DOOMED(numapool_loan(sender))) != NULL) {
        messages[have].id = (uint64_t)own << 32 | (*number + 1 + have);
        messages[have].length = BODY_WORDS * sizeof(uint64_t);
        fill(messages[have].data, messages[have].id);
        have++;
    }
    if (have == 0)
        harness_sleep_ns(PAUSE_NS);
    /* release: who joins after this send has begun may miss it, and must see that it has */
    atomic_store_explicit(&record->begun[own], *number + have, memory_order_release);
    for (unsigned done = 0; done < have;) {
        int result = DOOMED(numapool_send_bulk(sender, messages + done, have - done, life_patience(life)));
        if (result < 0 && !life_is_late(result))
            return life_failed(life, "send_bulk", result);
        if (result < 0 && life_is_over(life))
            return 0; /* its loans go back with the process */
        done += result > 0 ? (unsigned)result : 0;
    }
    *number += have;
    return 0;
}

int crew_broadcaster(struct life *life)
{
    struct numapool_sender *sender;
    uint32_t own = atomic_fetch_add_explicit(&life->record->broadcasters, 1, memory_order_relaxed) + 1, number = 0;
    life->options.flags = NUMAPOOL_BROADCAST;
    int result = DOOMED(numapool_sender_open(life->pool, "fan", &life->options, &sender));
    if (result < 0)
        return life_failed(life, "sender_open", result);
    life_tell_phase(life, 2);
    while (result == 0 && !life_is_over(life)) {
        if (own > CREW_BROADCASTERS_MAX)
            harness_sleep_ns(PAUSE_NS); /* more have come than can be told of in one act */
        else
            result = broadcast_some(life, sender, own, &number);
    }
    return result;
}

/* ---------------------------------------------------------------- receiving */

static void check(struct life *life, struct crew_seen *seen, const struct numapool_msg *message)
{
    uint32_t sender = (uint32_t)(message->id >> 32), number = (uint32_t)message->id;
    if (sender == 0 || sender > CREW_BROADCASTERS_MAX || number == 0 || message->flags != 0 || !is_intact(message)) {
        ledger_breach(life->ledger, "%s %u: a broadcast %llx of which something is wrong (flags %u)", life->name,
                      life->start->incarnation, (unsigned long long)message->id, message->flags);
        return;
    }
    /* joined + 1: who came when nothing had begun gets the first one */
    uint32_t last = GET(seen->last[sender]), joined = GET(seen->joined[sender]) - 1;
    if (last != 0 ? number != last + 1 : number > joined + 1)
        ledger_breach(life->ledger, "%s %u: number %u of broadcaster %u after %u, joined at %u", life->name,
                      life->start->incarnation, number, sender, last, joined);
    SET(seen->last[sender], number);
    atomic_fetch_add_explicit(&life->record->broadcasts_seen, 1, memory_order_relaxed);
}

static int leave(struct life *life, struct numapool_receiver *receiver, struct crew_seen *seen)
{
    int result = numapool_receiver_close(receiver);
    if (result == 0)
        result = numapool_close(life->pool);
    if (result < 0)
        return life_failed(life, "leaving", result);
    SET(seen->is_whole, 1);
    return 0;
}

/* Whether there is nothing more: when it was told that no broadcaster is left, all that they sent was announced. */
static bool has_all(struct life *life, int got, unsigned held, unsigned *quiet)
{
    if (!GET(life->record->readers_end))
        return false;
    doom_forgive();
    *quiet = got < 0 && held == 0 ? *quiet + 1 : 0;
    return *quiet >= QUIET_ROUNDS;
}

int crew_reader(struct life *life)
{
    struct crew_seen *seen = &life->record->seen[life->start->place];
    struct numapool_receiver *receiver;
    struct numapool_msg held[HELD_MAX];
    unsigned count = 0, quiet = 0;
    memset(seen, 0, sizeof *seen);
    life->options.flags = NUMAPOOL_BROADCAST;
    int result = DOOMED(numapool_receiver_open(life->pool, "fan", &life->options, &receiver));
    if (result < 0)
        return life_failed(life, "receiver_open", result);
    for (unsigned sender = 1; sender <= CREW_BROADCASTERS_MAX; sender++) /* acquire: pairs with broadcast_some */
        SET(seen->joined[sender], atomic_load_explicit(&life->record->begun[sender], memory_order_acquire) + 1);
    life_tell_phase(life, 2);
    for (;;) {
        int got = DOOMED(numapool_receive(receiver, held + count, 1 + harness_below(&life->random, HELD_MAX - count),
                                          life_patience(life)));
        if (got < 0 && !life_is_late(got))
            return life_failed(life, "receive", got);
        for (int i = 0; i < got; i++)
            check(life, seen, &held[count + (unsigned)i]);
        count += got > 0 ? (unsigned)got : 0;
        unsigned done = got > 0 && count < HELD_MAX ? harness_below(&life->random, count + 1) : count; /* the eldest */
        for (unsigned i = 0; i < done; i++)
            if (!is_intact(&held[i]))
                ledger_breach(life->ledger, "%s %u: broadcast %llx changed while it was read", life->name,
                              life->start->incarnation, (unsigned long long)held[i].id);
        if (done > 0 && (result = DOOMED(numapool_release(receiver, held, done))) < 0)
            return life_failed(life, "release", result);
        count -= done;
        memmove(held, held + done, count * sizeof held[0]);
        if (has_all(life, got, count, &quiet))
            return leave(life, receiver, seen);
    }
}
