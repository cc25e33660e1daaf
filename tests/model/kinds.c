/* SPDX-License-Identifier: MIT
 *
 * Small messages and broadcast: the calls, and what must hold of them.
 *
 *   K1  a broadcast is everybody's at the store that makes its word SHARED, or nobody's
 *   K2  each receiver gets what one sender broadcasts without gap or double, from no later than the first send that began after it had joined
 *   K3  a broadcast slot changes hands only when no receiver that is there has it, or is still to get it
 *   K4  what a message says does not change before its release has begun
 *   K5  a small message whose send returned is received, in its lane's order, twice only if marked REDELIVERED, never once it was released
 */
#include <errno.h>
#include <string.h>

#include "model.h"

#define FIRST_ID 0x7000
#define SMALL_BYTES 24u

static bool broadcasts(void)
{
    return world.run.scenario->flags == NUMAPOOL_BROADCAST;
}

static uint64_t *payload_of(unsigned slot)
{
    return (uint64_t *)(void *)(world.data + (size_t)slot * SLOT_BYTES);
}

static uint32_t bit_of(const struct process *p)
{
    return UINT32_C(1) << p->index;
}

static struct kind_message *message_of(unsigned ledger)
{
    return &world.kind_messages[ledger];
}

static unsigned new_message(struct process *self)
{
    if (world.kind_message_count == MESSAGES_MAX)
        model_fail("the scenario sends more than %u messages", MESSAGES_MAX);
    unsigned ledger = world.kind_message_count++;
    *message_of(ledger) = (struct kind_message){ .sender = self->index, .id = FIRST_ID + ledger, .begun = world.step };
    return ledger;
}

/* ---------------------------------------------------------------- words (K1, K3) */

void kinds_became_shared(struct process *self, unsigned slot)
{
    struct slot_book *book = &world.slots[slot];
    if (!broadcasts() || book->intended < 0)
        model_fail("%s broadcasts slot %u unasked", self->name, slot);
    struct kind_message *message = message_of((unsigned)book->intended);
    message->sent = true;
    message->order = ++self->order_next;
    book->message = book->intended;
    book->intended = -1;
}

/* Whether that message must be seen by that process. */
static bool is_for(const struct kind_message *message, const struct process *p)
{
    return p->receiver && !p->leaving && model_is_alive(p) && p->joined > 0 && message->begun > p->joined;
}

void kinds_left_shared(struct process *self, unsigned slot)
{
    struct slot_book *book = &world.slots[slot];
    if (book->message < 0)
        return;
    const struct kind_message *message = message_of((unsigned)book->message);
    for (unsigned i = 1; i < world.process_count; i++) {
        const struct process *p = &world.processes[i];
        bool has = p->receiver && p->joined > 0 && model_is_alive(p) && (message->seen & ~message->released & bit_of(p));
        if (has || (is_for(message, p) && !(message->seen & bit_of(p))))
            model_fail("%s takes slot %u out of broadcast %d, which %s %s", self->name, slot, book->message, p->name,
                       has ? "has" : "is still to get");
    }
    book->message = -1;
}

/* ---------------------------------------------------------------- sending */

static void fill_small(uint64_t *words, uint64_t id)
{
    for (unsigned i = 0; i < SMALL_BYTES / 8; i++)
        words[i] = id * 3 + i;
}

static bool is_intact(const struct numapool_msg *received)
{
    uint64_t words[SMALL_BYTES / 8], expected[SMALL_BYTES / 8];
    if (broadcasts())
        return *payload_of(oracle_slot_of(received->data)) == received->id;
    memcpy(words, received->data, SMALL_BYTES);
    fill_small(expected, received->id);
    return memcmp(words, expected, SMALL_BYTES) == 0;
}

unsigned kinds_send(struct process *self, unsigned n, int64_t timeout_ns)
{
    uint64_t bodies[4][SMALL_BYTES / 8];
    struct numapool_msg messages[4];
    unsigned ledgers[4];
    memset(messages, 0, sizeof messages);
    for (unsigned i = 0; i < n; i++) {
        ledgers[i] = new_message(self);
        struct kind_message *message = message_of(ledgers[i]);
        messages[i] = (struct numapool_msg){ .data = bodies[i], .length = SMALL_BYTES, .type = 9, .id = message->id, .key = ~message->id };
        if (broadcasts()) {
            void *slot = actor_get(self, true);
            message->slot = oracle_slot_of(slot);
            *payload_of(message->slot) = message->id;
            world.slots[message->slot].user = -1;
            world.slots[message->slot].intended = (int)ledgers[i];
            messages[i].data = slot;
        } else {
            fill_small(bodies[i], message->id);
            message->order = ++self->order_next;
        }
    }
    for (unsigned i = 0; i < n; i++)
        message_of(ledgers[i])->begun = world.step;
    actor_begin(self);
    int sent = numapool_send_bulk(self->sender, messages, n, timeout_ns);
    actor_end(self);
    if (sent < 0 && sent != -EAGAIN && sent != -ETIMEDOUT)
        model_fail("%s cannot send: %s", self->name, numapool_errormsg());
    for (unsigned i = 0; i < n; i++) {
        struct kind_message *message = message_of(ledgers[i]);
        message->returned = (int)i < sent;
        if (!broadcasts())
            continue;
        if (message->returned != message->sent)
            model_fail("%s is told that broadcast %u was %s, and its word says otherwise", self->name, ledgers[i],
                       message->returned ? "sent" : "not sent");
        if (message->sent)
            continue;
        struct slot_book *book = &world.slots[message->slot];
        book->intended = -1;
        book->user = (int)self->index;
        book->stamp = *payload_of(message->slot);
        actor_put(self, messages[i].data);
    }
    return sent > 0 ? (unsigned)sent : 0;
}

/* ---------------------------------------------------------------- receiving */

/* K2: nothing is missing between what this one saw last of that sender and this. */
static void check_broadcast(struct process *self, const struct kind_message *message, unsigned ledger)
{
    unsigned *last = &self->last_order[message->sender];
    if (!message->sent)
        model_fail("%s receives broadcast %u, whose word never said so", self->name, ledger);
    if (message->seen & bit_of(self))
        model_fail("%s receives broadcast %u again", self->name, ledger);
    if (*last != 0 && message->order != *last + 1)
        model_fail("%s receives broadcast %u, number %u of its sender, after number %u", self->name, ledger, message->order, *last);
    for (unsigned i = 0; i < world.kind_message_count && *last == 0; i++) {
        const struct kind_message *other = message_of(i);
        if (other->sender == message->sender && other->sent && other->order < message->order && is_for(other, self))
            model_fail("%s receives broadcast %u first, and not %u, which was sent after it had joined", self->name, ledger, i);
    }
    *last = message->order;
}

static void check_small(struct process *self, const struct numapool_msg *received, const struct kind_message *message, unsigned ledger)
{
    const struct np_receiver_lane *lane = &self->receiver->lanes[received->lane];
    if (message->finished)
        model_fail("%s receives small message %u again, which has been released", self->name, ledger);
    if (message->seen != 0 && (received->flags & NUMAPOOL_REDELIVERED) == 0)
        model_fail("%s receives small message %u again, not marked as redelivered", self->name, ledger);
    if (received->lane >= LANES_MAX)
        model_fail("%s has more than %u lanes", self->name, LANES_MAX);
    if (self->seen[received->lane].any && self->seen[received->lane].lane == lane->id &&
        self->seen[received->lane].generation == lane->generation && self->seen[received->lane].order >= message->order)
        model_fail("%s receives small message %u out of its lane's order", self->name, ledger);
    self->seen[received->lane].any = true;
    self->seen[received->lane].lane = lane->id;
    self->seen[received->lane].generation = lane->generation;
    self->seen[received->lane].order = message->order;
}

int kinds_receive(struct process *self, unsigned n, int64_t timeout_ns)
{
    struct numapool_msg messages[4];
    if (n > 4 || n > HOLD_MAX - self->held_count)
        n = HOLD_MAX - self->held_count < 4 ? HOLD_MAX - self->held_count : 4;
    if (n == 0)
        return 0;
    actor_begin(self);
    int got = numapool_receive(self->receiver, messages, n, timeout_ns);
    actor_end(self);
    if (got < 0 && got != -EAGAIN && got != -ETIMEDOUT)
        model_fail("%s cannot receive: %s", self->name, numapool_errormsg());
    for (int i = 0; i < got; i++) {
        const struct numapool_msg *received = &messages[i];
        unsigned ledger = (unsigned)(received->id - FIRST_ID);
        if (received->id < FIRST_ID || ledger >= world.kind_message_count)
            model_fail("%s receives a message that nobody sent: id %llx", self->name, (unsigned long long)received->id);
        struct kind_message *message = message_of(ledger);
        if (received->type != 9 || received->length != SMALL_BYTES || received->key != ~received->id ||
            (broadcasts() && oracle_slot_of(received->data) != message->slot) || !is_intact(received))
            model_fail("%s receives message %u with a cell or payload of another", self->name, ledger);
        if (broadcasts())
            check_broadcast(self, message, ledger);
        else
            check_small(self, received, message, ledger);
        message->seen |= bit_of(self);
        self->held[self->held_count++] = (struct held_message){ *received, (int)ledger };
    }
    return got;
}

void kinds_release(struct process *self, unsigned which)
{
    struct held_message held = self->held[which];
    struct kind_message *message = message_of((unsigned)held.ledger);
    const struct np_receiver_lane *lane = &self->receiver->lanes[held.message.lane];
    if (!is_intact(&held.message))
        model_fail("message %d changed while %s had it", held.ledger, self->name);
    message->released |= bit_of(self);
    actor_begin(self);
    if (numapool_release(self->receiver, &held.message, 1) < 0)
        model_fail("%s cannot release message %d: %s", self->name, held.ledger, numapool_errormsg());
    actor_end(self);
    if (lane->shared && lane->released > held.message.lane_seq)
        message->finished = true;
    self->held_count--;
    memmove(self->held + which, self->held + which + 1, (self->held_count - which) * sizeof *self->held);
}

/* ---------------------------------------------------------------- at rest */

/* Whether a lane of the home carries it, unreleased, to somebody. */
static bool somebody_has(uint32_t home, uint64_t word)
{
    for (uint32_t lane = 1; lane <= world.limits.lanes; lane++) {
        const struct np_lane_entry *entry = &world.board.lanes[lane];
        if (np_entry_is(&entry->state, NP_ACTIVE) && entry->kind == NP_LANE_BROADCAST && entry->home == home && world.kept_lanes[lane] &&
            np_load32(&entry->receiver, memory_order_relaxed) != 0 &&
            np_broadcast_has(world.kept_lanes[lane], entry->capacity, np_word_seq(word)))
            return true;
    }
    return false;
}

void kinds_check_shared_word(unsigned slot, uint64_t word)
{
    uint32_t home = np_word_owner(word);
    const struct np_lane_entry *entry = home >= 1 && home <= world.limits.lanes ? &world.board.lanes[home] : NULL;
    if (!entry || !np_entry_is(&entry->state, NP_ACTIVE) || entry->kind != NP_LANE_HOME)
        model_fail("word %u names home %u, which is gone", slot, home);
    if (somebody_has(home, word))
        return;
    uint32_t endpoint = np_load32(&entry->sender, memory_order_relaxed);
    if (!endpoint)
        model_fail("slot %u stays broadcast, nobody has it, and its sender is gone", slot);
    int index = world.kept_clients[world.board.endpoints[endpoint].client];
    const struct process *p = index >= 0 ? &world.processes[index] : NULL;
    if (p && sleeps_for_slot(p))
        model_fail("%s sleeps for a slot, and nobody has slot %u of it any more", p->name, slot);
}

void kinds_check_receiver(const struct process *p)
{
    for (unsigned i = 0; i < world.kind_message_count && broadcasts(); i++)
        if (message_of(i)->sent && is_for(message_of(i), p) && !(message_of(i)->seen & bit_of(p)))
            model_fail("%s sleeps for a message, and broadcast %u has not come to it", p->name, i);
}

void kinds_check_sender(const struct process *p)
{
    const struct np_sender_lane *home = &p->sender->lanes[0];
    if (broadcasts() && !p->leaving && p->sender->lane_count > 0 && home->head - home->recycled <= home->mask)
        model_fail("%s sleeps for room, and its home has some", p->name);
}

void kinds_check_end(void)
{
    for (unsigned i = 0; i < world.kind_message_count && !broadcasts(); i++)
        if (message_of(i)->returned && message_of(i)->seen == 0)
            model_fail("small message %u was sent and is never received", i);
}
