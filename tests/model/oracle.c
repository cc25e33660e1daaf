/* SPDX-License-Identifier: MIT
 *
 * What must hold. The books are kept from what processes were told by public calls, and from the words as they change; nothing is
 * read from the hints.
 *
 *   O1  a slot has one owner: who gets, keeps or receives one is the only one who has it
 *   O2  a word is written only by whom the table of the design allows to
 *   O3  a slot in flight keeps its payload until its release has begun
 *   O4  what was sent is received, in its lane's order, never again once released, and twice only if marked REDELIVERED
 *   O5  what was kept or forwarded is seen on its former channel no more
 *   O6  nobody sleeps while what he waits for is there
 *   O7  "empty" is said only if no slot stayed free during the whole call
 *   O8  a handle is stale once its slot has been freed
 *   O9  at the end all is free, all hints agree, and no number is in use
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

#define FIRST_ID 0x1000

static uint64_t word_of(unsigned slot)
{
    return atomic_load_explicit(&world.look.words[slot], memory_order_relaxed); /* relaxed: there is one thread */
}

static uint64_t *payload_of(unsigned slot)
{
    return (uint64_t *)(void *)(world.data + (size_t)slot * SLOT_BYTES);
}

unsigned oracle_slot_of(const void *slot)
{
    int64_t index = np_arena_index_of(&world.look, slot);
    if (index < 0)
        model_fail("%p is not a slot", slot);
    return (unsigned)index;
}

void oracle_start(void)
{
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        world.slots[i] = (struct slot_book){ .user = -1, .reader = -1, .message = -1, .intended = -1, .keeper = -1, .freer = -1 };
}

static const char *holder_of(const struct slot_book *book)
{
    return world.processes[book->user >= 0 ? book->user : book->reader].name;
}

/* ---------------------------------------------------------------- words (O1, O2, O3) */

static struct np_lane_shared *lane_of(unsigned lane)
{
    return lane >= 1 && lane <= world.limits.lanes ? world.kept_lanes[lane] : NULL;
}

static unsigned client_of_end(const np_shm32 *end)
{
    uint32_t endpoint = atomic_load_explicit((np_shm32 *)(uintptr_t)end, memory_order_relaxed); /* relaxed: one thread */
    return endpoint ? world.board.endpoints[endpoint].client : 0;
}

static uint64_t released_of(struct np_lane_shared *lane)
{
    return atomic_load_explicit(&lane->released, memory_order_relaxed); /* relaxed: one thread */
}

static void check_right_to_store(struct process *self, unsigned slot, uint64_t old)
{
    unsigned owner = np_word_owner(old);
    if (self->index == 0 || np_word_state(old) == NP_WORD_FREE)
        model_fail("%s changes word %u (%llx) by a plain store", self->name, slot, (unsigned long long)old);
    if (np_word_state(old) == NP_WORD_SHARED && client_of_end(&world.board.lanes[owner].sender) != self->client)
        model_fail("%s stores to word %u, a broadcast of home %u", self->name, slot, owner);
    if (np_word_state(old) == NP_WORD_HELD && owner != self->client)
        model_fail("%s (client %u) stores to word %u, which client %u holds", self->name, self->client, slot, owner);
    struct np_lane_shared *lane = np_word_state(old) == NP_WORD_SENT ? lane_of(owner) : NULL;
    if (!lane)
        return;
    struct np_lane_entry *entry = &world.board.lanes[owner];
    bool released = np_word_seq(old) < released_of(lane);
    if (client_of_end(released ? &entry->sender : &entry->receiver) != self->client)
        model_fail("%s stores to word %u, message %llu of lane %u, which its %s may write", self->name, slot,
                   (unsigned long long)np_word_seq(old), owner, released ? "sender" : "receiver");
}

static void leaves_flight(struct process *self, unsigned slot, const char *how)
{
    struct slot_book *book = &world.slots[slot];
    if (book->message < 0)
        return;
    if (!world.messages[book->message].release_begun)
        model_fail("%s %s slot %u while message %d is in it, unreleased", self->name, how, slot, book->message);
    book->message = -1;
}

static void became_free(struct process *self, unsigned slot)
{
    struct slot_book *book = &world.slots[slot];
    if (book->user >= 0 || book->reader >= 0)
        model_fail("%s frees slot %u, which %s has", self->name, slot, holder_of(book));
    leaves_flight(self, slot, "frees");
    book->free_since = world.step;
    book->freer = (int)self->index;
    book->freed_since = true;
}

static void became_held(struct process *self, unsigned slot, uint64_t old, uint64_t new)
{
    struct slot_book *book = &world.slots[slot];
    if (self->index != 0 && np_word_owner(new) != self->client)
        model_fail("%s (client %u) makes word %u client %u's", self->name, self->client, slot, np_word_owner(new));
    if (np_word_state(old) == NP_WORD_SENT && book->keeper == (int)self->index) {
        world.messages[book->message].kept = true;
        book->message = -1;
        book->reader = -1;
        return;
    }
    if (book->user >= 0 || book->reader >= 0)
        model_fail("%s takes slot %u, which %s has", self->name, slot, holder_of(book));
    leaves_flight(self, slot, "takes");
}

static void became_sent(struct process *self, unsigned slot, uint64_t old, uint64_t new)
{
    struct slot_book *book = &world.slots[slot];
    if (book->intended < 0)
        model_fail("%s sends slot %u unasked", self->name, slot);
    struct message_book *message = &world.messages[book->intended];
    unsigned hop = np_word_state(old) == NP_WORD_SENT ? 1 : 0;
    message->hop = hop;
    message->sent[hop] = true;
    if (hop == 0)
        message->first_lane = lane_of(np_word_owner(new));
    message->release_begun = false;
    book->message = book->intended;
    book->reader = -1;
}

static void word_changed(struct process *self, unsigned slot, uint64_t old, uint64_t new)
{
    if (np_word_claim(old) == np_word_claim(new) && np_word_state(new) != NP_WORD_FREE)
        return;
    if (np_word_state(old) == NP_WORD_SHARED)
        kinds_left_shared(self, slot);
    switch (np_word_state(new)) {
    case NP_WORD_FREE: became_free(self, slot); break;
    case NP_WORD_HELD: became_held(self, slot, old, new); break;
    case NP_WORD_SENT: became_sent(self, slot, old, new); break;
    case NP_WORD_SHARED: kinds_became_shared(self, slot); break;
    default: model_fail("%s makes word %u %llx", self->name, slot, (unsigned long long)new);
    }
}

void oracle_access(struct process *self, enum np_shm_kind kind, const volatile void *address, uint64_t value)
{
    size_t slot = ((uintptr_t)address - (uintptr_t)world.look.words) / 8;
    if ((uintptr_t)address < (uintptr_t)world.look.words || slot >= world.look.slots || kind == NP_SHM_LOAD)
        return;
    if (kind == NP_SHM_STORE) {
        uint64_t old = word_of((unsigned)slot);
        check_right_to_store(self, (unsigned)slot, old);
        word_changed(self, (unsigned)slot, old, value);
    } else if (kind == NP_SHM_CAS) {
        self->cas_address = address;
        self->cas_before = word_of((unsigned)slot);
        self->cas_wanted = value;
    } else {
        model_fail("%s changes word %zu by an %s", self->name, slot, name_of_kind(kind));
    }
}

/* What the last access was is known now: nobody else has run since. */
void oracle_settle(struct process *self)
{
    if (!self->cas_address)
        return;
    unsigned slot = (unsigned)(((uintptr_t)self->cas_address - (uintptr_t)world.look.words) / 8);
    self->cas_address = NULL;
    if (word_of(slot) == self->cas_wanted && self->cas_before != self->cas_wanted)
        word_changed(self, slot, self->cas_before, self->cas_wanted);
}

/* ---------------------------------------------------------------- getting and putting (O1, O7, O8) */

void oracle_got(struct process *self, void *slot)
{
    unsigned i = oracle_slot_of(slot);
    struct slot_book *book = &world.slots[i];
    oracle_settle(self);
    if (book->user >= 0 || book->reader >= 0)
        model_fail("%s gets slot %u, which %s has", self->name, i, holder_of(book));
    if (book->message >= 0)
        model_fail("%s gets slot %u, in which message %d is in flight", self->name, i, book->message);
    book->user = (int)self->index;
    book->stamp = UINT64_C(0x5500000000) + world.step;
    *payload_of(i) = book->stamp;
    void *stale;
    if (book->has_handle && book->freed_since && numapool_resolve(self->pool, book->handle, &stale) != -ESTALE)
        model_fail("%s: a handle of slot %u is good although the slot has been freed since", self->name, i);
    book->has_handle = numapool_handle_of(self->pool, slot, &book->handle) == 0;
    book->freed_since = false;
    if (!book->has_handle || numapool_resolve(self->pool, book->handle, &stale) != 0 || stale != slot)
        model_fail("%s: slot %u has no good handle: %s", self->name, i, numapool_errormsg());
}

/* Whether the call that freed it, at `since`, was over when this one began. */
static bool freed_before(const struct slot_book *book, const struct process *self)
{
    if (book->freer < 0)
        return true;
    const struct process *freer = &world.processes[book->freer];
    if (freer == self)
        return book->free_since < self->call_begin;
    if (freer->state == PROCESS_DEAD)
        return false; /* it may have died before others could see it */
    if (freer->call_begin > book->free_since)
        return freer->call_begin <= self->call_begin;
    return !freer->in_call && book->free_since <= freer->call_end && freer->call_end <= self->call_begin;
}

void oracle_said_empty(struct process *self)
{
    oracle_settle(self);
    for (unsigned i = 0; i < world.look.slots; i++)
        if (np_word_state(word_of(i)) == NP_WORD_FREE && world.slots[i].free_since < self->call_begin &&
            freed_before(&world.slots[i], self))
            model_fail("%s is told that the pool is empty, and slot %u was free all the time", self->name, i);
}

static void check_user(struct process *self, unsigned slot)
{
    const struct slot_book *book = &world.slots[slot];
    if (book->user != (int)self->index)
        model_fail("%s uses slot %u, which it has not", self->name, slot);
    if (*payload_of(slot) != book->stamp)
        model_fail("somebody wrote into slot %u while %s had it", slot, self->name);
}

void oracle_before_put(struct process *self, void *slot)
{
    unsigned i = oracle_slot_of(slot);
    check_user(self, i);
    world.slots[i].user = -1;
}

/* ---------------------------------------------------------------- messages (O3, O4, O5) */

int oracle_before_send(struct process *self, void *slot, unsigned hop, int ledger)
{
    unsigned i = oracle_slot_of(slot);
    struct slot_book *book = &world.slots[i];
    if (hop == 0) {
        check_user(self, i);
        if (world.message_count == MESSAGES_MAX)
            model_fail("the scenario sends more than %u messages", MESSAGES_MAX);
        ledger = (int)world.message_count++;
        world.messages[ledger] = (struct message_book){ .sender = self->index, .slot = i, .id = FIRST_ID + (unsigned)ledger };
        *payload_of(i) = world.messages[ledger].id;
        book->user = -1;
    } else if (book->reader != (int)self->index) {
        model_fail("%s forwards slot %u, which it has not received", self->name, i);
    }
    world.messages[ledger].from[hop] = self->index;
    world.messages[ledger].order[hop] = ++self->order_next;
    book->intended = ledger;
    return ledger;
}

void oracle_after_send(struct process *self, int ledger, unsigned hop, bool sent)
{
    struct message_book *message = &world.messages[ledger];
    oracle_settle(self);
    if (sent != message->sent[hop])
        model_fail("%s is told that message %d was %s, and its word says otherwise", self->name, ledger,
                   sent ? "sent" : "not sent");
    message->returned[hop] = sent;
    if (!sent) {
        struct slot_book *book = &world.slots[message->slot];
        book->intended = -1;
        if (hop == 0) {
            book->user = (int)self->index;
            book->stamp = *payload_of(message->slot);
        }
    }
}

static void check_order(struct process *self, const struct numapool_msg *received, unsigned hop, int ledger)
{
    struct message_book *message = &world.messages[ledger];
    struct np_receiver_lane *lane = &self->receiver->lanes[received->lane];
    if (received->lane >= LANES_MAX)
        model_fail("%s has more than %u lanes", self->name, LANES_MAX);
    if (self->seen[received->lane].lane != lane->id || self->seen[received->lane].generation != lane->generation)
        self->seen[received->lane].any = false;
    if (self->seen[received->lane].any && (self->seen[received->lane].from != message->from[hop] ||
                                           self->seen[received->lane].order >= message->order[hop]))
        model_fail("%s receives message %d of %s out of its lane's order", self->name, ledger,
                   world.processes[message->from[hop]].name);
    self->seen[received->lane].any = true;
    self->seen[received->lane].lane = lane->id;
    self->seen[received->lane].generation = lane->generation;
    self->seen[received->lane].from = message->from[hop];
    self->seen[received->lane].order = message->order[hop];
    if (hop == 0 || !world.run.scenario->one_receiver || world.draining)
        return;
    /* what came to forwarders by one lane comes from them in that order, even over a forwarder's death */
    unsigned place = 0;
    while (place + 1 < LANES_MAX && self->source[place].lane && self->source[place].lane != message->first_lane)
        place++;
    if (self->source[place].lane == message->first_lane && message->order[0] < self->source[place].order &&
        message->seen[hop] == 1)
        model_fail("%s receives message %d after one that followed it: a forwarder's successor has overtaken it", self->name,
                   ledger);
    self->source[place].lane = message->first_lane;
    if (message->order[0] > self->source[place].order)
        self->source[place].order = message->order[0];
}

int oracle_received(struct process *self, const struct numapool_msg *received, unsigned hop)
{
    unsigned i = oracle_slot_of(received->data);
    int ledger = (int)(received->id - FIRST_ID);
    struct slot_book *book = &world.slots[i];
    if (received->id < FIRST_ID || ledger >= (int)world.message_count)
        model_fail("%s receives a message that nobody sent: id %llx", self->name, (unsigned long long)received->id);
    struct message_book *message = &world.messages[ledger];
    if (message->slot != i || received->key != keys_key_of(i) || received->type != 7 || received->length != 16 ||
        (received->flags & NUMAPOOL_KEYED) != keys_flags())
        model_fail("%s receives message %d in slot %u with a cell of another", self->name, ledger, i);
    if (!message->sent[hop])
        model_fail("%s receives message %d, whose word never said so", self->name, ledger);
    if (message->kept || message->hop != hop)
        model_fail("%s receives message %d, which has been %s before", self->name, ledger, message->kept ? "kept" : "forwarded");
    if (message->finished[hop])
        model_fail("%s receives message %d again, which has been released", self->name, ledger);
    if (message->seen[hop] > 0 && (received->flags & NUMAPOOL_REDELIVERED) == 0)
        model_fail("%s receives message %d again, not marked as redelivered", self->name, ledger);
    if (book->user >= 0 || book->reader >= 0)
        model_fail("%s receives message %d in slot %u, which %s has", self->name, ledger, i, holder_of(book));
    if (*payload_of(i) != message->id)
        model_fail("%s receives message %d, whose payload has changed", self->name, ledger);
    message->seen[hop]++;
    keys_received(self, ledger);
    message->release_begun = false;
    book->reader = (int)self->index;
    check_order(self, received, hop, ledger);
    return ledger;
}

void oracle_before_release(struct process *self, int ledger)
{
    struct message_book *message = &world.messages[ledger];
    struct slot_book *book = &world.slots[message->slot];
    if (book->reader != (int)self->index || *payload_of(message->slot) != message->id)
        model_fail("message %d changed hands or payload while %s had it", ledger, self->name);
    book->reader = -1;
    message->release_begun = true;
}

void oracle_after_release(struct process *self, const struct numapool_msg *received, int ledger)
{
    const struct np_receiver_lane *lane = &self->receiver->lanes[received->lane];
    oracle_settle(self);
    if (lane->shared && lane->released > received->lane_seq)
        world.messages[ledger].finished[world.messages[ledger].hop] = true;
}

void oracle_before_keep(struct process *self, void *slot)
{
    struct slot_book *book = &world.slots[oracle_slot_of(slot)];
    if (book->reader != (int)self->index)
        model_fail("%s keeps slot %u, which it has not received", self->name, oracle_slot_of(slot));
    book->keeper = (int)self->index;
}

void oracle_after_keep(struct process *self, int ledger)
{
    struct message_book *message = &world.messages[ledger];
    struct slot_book *book = &world.slots[message->slot];
    oracle_settle(self);
    book->keeper = -1;
    if (!message->kept)
        model_fail("%s is told that it keeps message %d, and its word does not say so", self->name, ledger);
    if (book->user >= 0 || book->message >= 0)
        model_fail("%s keeps slot %u, which somebody else has", self->name, message->slot);
    book->user = (int)self->index;
    book->stamp = *payload_of(message->slot);
    if (book->stamp != message->id)
        model_fail("the payload of message %d changed while %s kept it", ledger, self->name);
}

void oracle_client_gone(struct process *process)
{
    for (unsigned i = 0; i < world.look.slots; i++) {
        struct slot_book *book = &world.slots[i];
        if (book->user == (int)process->index)
            book->user = -1;
        if (book->reader == (int)process->index)
            book->reader = -1;
        if (book->keeper == (int)process->index)
            book->keeper = -1;
    }
}
