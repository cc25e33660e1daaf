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
        model_fail("%s frees slot %u, which %s has", self->name, slot,
                   world.processes[book->user >= 0 ? book->user : book->reader].name);
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
        model_fail("%s takes slot %u, which %s has", self->name, slot, world.processes[book->user >= 0 ? book->user : book->reader].name);
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
    switch (np_word_state(new)) {
    case NP_WORD_FREE: became_free(self, slot); break;
    case NP_WORD_HELD: became_held(self, slot, old, new); break;
    case NP_WORD_SENT: became_sent(self, slot, old, new); break;
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
        model_fail("%s gets slot %u, which %s has", self->name, i, world.processes[book->user >= 0 ? book->user : book->reader].name);
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
    return freer->call_begin > book->free_since ? freer->call_begin <= self->call_begin
                                                : !freer->in_call && book->free_since <= freer->call_end && freer->call_end <= self->call_begin;
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
        model_fail("%s is told that message %d was %s, and its word says otherwise", self->name, ledger, sent ? "sent" : "not sent");
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
        model_fail("%s receives message %d of %s out of its lane's order", self->name, ledger, world.processes[message->from[hop]].name);
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
    if (self->source[place].lane == message->first_lane && message->order[0] < self->source[place].order && message->seen[hop] == 1)
        model_fail("%s receives message %d after one that followed it: a forwarder's successor has overtaken it", self->name, ledger);
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
    if (message->slot != i || received->key != i || received->type != 7 || received->length != 16)
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
        model_fail("%s receives message %d in slot %u, which %s has", self->name, ledger, i,
                   world.processes[book->user >= 0 ? book->user : book->reader].name);
    if (*payload_of(i) != message->id)
        model_fail("%s receives message %d, whose payload has changed", self->name, ledger);
    message->seen[hop]++;
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

/* ---------------------------------------------------------------- sleepers (O6) */

static bool sleeps_for_slot(const struct process *p)
{
    return p->state == PROCESS_SLEEPING && p->client != 0 && p->bell == &world.bells[p->client];
}

static bool sleeps_as(const struct process *p, const struct np_endpoint *endpoint)
{
    return p->state == PROCESS_SLEEPING && p->bell == endpoint->bell;
}

static struct process *process_of_client(unsigned client)
{
    int index = client < sizeof world.kept_clients / sizeof world.kept_clients[0] ? world.kept_clients[client] : -1;
    return index >= 0 && !world.processes[index].reaped ? &world.processes[index] : NULL;
}

static struct process *somebody_sleeps_for_slot(void)
{
    for (unsigned i = 1; i < world.process_count; i++)
        if (sleeps_for_slot(&world.processes[i]))
            return &world.processes[i];
    return NULL;
}

static void check_sent_word(unsigned slot, uint64_t word)
{
    unsigned number = np_word_owner(word);
    uint64_t position = np_word_seq(word);
    struct np_lane_shared *lane = lane_of(number);
    if (!lane || !np_entry_is(&world.board.lanes[number].state, NP_ACTIVE))
        model_fail("word %u names lane %u, which is gone", slot, number);
    struct np_lane_entry *entry = &world.board.lanes[number];
    uint64_t where = np_load64(&np_lane_cells(lane)[position & (entry->capacity - 1)].where, memory_order_relaxed);
    if (position >= released_of(lane)) {
        if (!np_cell_is_announced(where, position))
            model_fail("nobody runs, and message %llu of lane %u is sent and not announced", (unsigned long long)position, number);
        return;
    }
    struct process *sender = process_of_client(client_of_end(&entry->sender));
    if (!sender)
        model_fail("slot %u stays on lane %u, released, and its sender is gone", slot, number);
    if (sleeps_for_slot(sender))
        model_fail("%s sleeps, and slot %u has been released to it on lane %u", sender->name, slot, number);
}

static void check_words(void)
{
    struct process *sleeper = somebody_sleeps_for_slot();
    for (unsigned i = 0; i < world.look.slots; i++) {
        uint64_t word = word_of(i);
        switch (np_word_state(word)) {
        case NP_WORD_FREE:
            if (sleeper)
                model_fail("%s sleeps for a slot, and slot %u is free", sleeper->name, i);
            break;
        case NP_WORD_HELD:
            if (np_word_owner(word) != NP_CLIENTS_LIMIT && !process_of_client(np_word_owner(word)))
                model_fail("slot %u is held by client %u, which is gone", i, np_word_owner(word));
            break;
        case NP_WORD_SENT: check_sent_word(i, word); break;
        default: model_fail("word %u is %llx", i, (unsigned long long)word);
        }
    }
}

static void check_lanes_known(const struct process *p, const struct np_endpoint *endpoint)
{
    for (uint32_t lane = 1; lane <= world.limits.lanes; lane++) {
        struct np_lane_entry *entry = &world.board.lanes[lane];
        if (np_entry_is(&entry->state, NP_ACTIVE) && np_load64(&entry->stamp, memory_order_relaxed) > endpoint->stamp &&
            (np_load32(&entry->sender, memory_order_relaxed) == endpoint->id ||
             np_load32(&entry->receiver, memory_order_relaxed) == endpoint->id))
            model_fail("%s sleeps and does not know that its lane %u has changed", p->name, lane);
    }
}

static void check_receiver(const struct process *p)
{
    const struct numapool_receiver *receiver = p->receiver;
    check_lanes_known(p, &receiver->endpoint);
    for (unsigned i = 0; i < receiver->lane_count; i++) {
        const struct np_receiver_lane *lane = &receiver->lanes[i];
        if (lane->shared && lane->head - lane->done <= lane->mask &&
            np_cell_is_announced(np_load64(&lane->cells[lane->head & lane->mask].where, memory_order_relaxed), lane->head))
            model_fail("%s sleeps for a message, and message %llu of lane %u is there", p->name, (unsigned long long)lane->head, lane->id);
    }
}

static void check_sender(const struct process *p)
{
    const struct numapool_sender *sender = p->sender;
    if (!p->leaving) /* who leaves wants no new lanes */
        check_lanes_known(p, &sender->endpoint);
    for (unsigned i = 0; i < sender->lane_count; i++) {
        const struct np_sender_lane *lane = &sender->lanes[i];
        /* a lane to be drained gives no room, except to one who leaves and waits for all */
        if (released_of(lane->shared) > lane->reclaimed && (lane->state == NP_LANE_ACTIVE || p->leaving))
            model_fail("%s sleeps for room, and lane %u has been released up to %llu", p->name, lane->id,
                       (unsigned long long)released_of(lane->shared));
    }
}

static void check_waiting_lanes(void)
{
    for (uint32_t lane = 1; lane <= world.limits.lanes; lane++) {
        struct np_lane_entry *entry = &world.board.lanes[lane];
        if (!np_entry_is(&entry->state, NP_ACTIVE) || np_load32(&entry->receiver, memory_order_relaxed) != 0)
            continue;
        for (uint32_t e = 1; e <= world.limits.endpoints; e++)
            if (np_entry_is(&world.board.endpoints[e].state, NP_ACTIVE) && world.board.endpoints[e].role == NP_ROLE_RECEIVER &&
                world.board.endpoints[e].channel == entry->channel)
                model_fail("lane %u waits for a receiver, and its channel has one", lane);
    }
}

/* Every free slot is shown by its bits: nobody is between two of his steps, and the dead have been swept up after. */
static void check_hints(void)
{
    for (unsigned i = 0; i < world.look.slots; i++) {
        uint64_t unit = i;
        if (np_word_state(word_of(i)) != NP_WORD_FREE)
            continue;
        for (unsigned level = 0; level < world.look.levels; level++, unit /= 64)
            if (!(np_load64(&world.look.level[level][unit / 64], memory_order_relaxed) >> unit % 64 & 1))
                model_fail("slot %u is free, and level %u of the bitmap hides it", i, level);
    }
}

void oracle_quiescent(void)
{
    check_words();
    check_waiting_lanes();
    check_hints();
    for (unsigned i = 1; i < world.process_count; i++) {
        struct process *p = &world.processes[i];
        if (p->receiver && sleeps_as(p, &p->receiver->endpoint))
            check_receiver(p);
        if (p->sender && sleeps_as(p, &p->sender->endpoint))
            check_sender(p);
    }
}

/* ---------------------------------------------------------------- the end (O4, O9) */

static void check_messages(void)
{
    for (unsigned i = 0; i < world.message_count; i++) {
        const struct message_book *message = &world.messages[i];
        if (!message->sent[0] || message->kept)
            continue;
        if (message->seen[message->hop] == 0)
            model_fail("message %u was sent%s and is never received", i, message->hop ? " on" : "");
        if (!message->release_begun)
            model_fail("message %u was received by one who is gone, and by nobody after him", i);
    }
}

static void check_board(void)
{
    const struct np_board *board = &world.board;
    for (uint32_t i = 1; i <= world.limits.clients; i++)
        if (!np_entry_is(&board->clients[i].state, NP_NONE))
            model_fail("everybody is gone, and client number %u is in use", i);
    for (uint32_t i = 1; i <= world.limits.endpoints; i++)
        if (!np_entry_is(&board->endpoints[i].state, NP_NONE))
            model_fail("everybody is gone, and endpoint %u is in use", i);
    for (uint32_t i = 1; i <= world.limits.lanes; i++)
        if (!np_entry_is(&board->lanes[i].state, NP_NONE))
            model_fail("everything is received, and lane %u is in use", i);
    for (uint32_t i = 1; i <= world.limits.channels; i++)
        if (!np_entry_is(&board->channels[i].state, NP_NONE))
            model_fail("everybody is gone, and channel %u is in use", i);
}

void oracle_end(void)
{
    uint64_t free_slots = 0;
    check_messages();
    for (unsigned i = 0; i < world.look.slots; i++) {
        uint64_t word = word_of(i);
        free_slots += np_word_state(word) == NP_WORD_FREE;
        if (np_word_state(word) != NP_WORD_FREE && word != np_word_held(NP_CLIENTS_LIMIT, 0))
            model_fail("everybody is gone, and word %u is %llx", i, (unsigned long long)word);
    }
    check_board();
    check_hints();
    if (np_arena_free_hint(&world.look) != free_slots)
        model_fail("%llu slots are free, and the counters say %llu", (unsigned long long)free_slots,
                   (unsigned long long)np_arena_free_hint(&world.look));
    if (np_load64(&world.look.header->sleepers_summary, memory_order_relaxed) != 0)
        model_fail("everybody is gone, and somebody stands in the map of sleepers");
}
