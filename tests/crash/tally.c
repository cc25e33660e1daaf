/* SPDX-License-Identifier: MIT */
#include "tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "channel/receiver.h"

/* relaxed everywhere here: what is compared lies a system call, a message or the end of a process apart */
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define ADD(field, value) atomic_fetch_add_explicit(&(field), (value), memory_order_relaxed)

struct tally *tally_new(const char *name, uint32_t capacity)
{
    size_t bytes = sizeof(struct tally) + (size_t)capacity * sizeof(struct tally_entry);
    struct tally *tally = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (tally == MAP_FAILED) {
        perror("a tally");
        exit(2);
    }
    tally->name = name;
    tally->capacity = capacity;
    SET(tally->next, 1);
    return tally;
}

void tally_clear(struct tally *tally)
{
    uint32_t end = GET(tally->next) < tally->capacity ? GET(tally->next) : tally->capacity;
    memset(tally->entries, 0, end * sizeof tally->entries[0]);
    SET(tally->next, 1);
    SET(tally->allowance, 0);
    SET(tally->received, 0);
}

uint32_t tally_number(struct tally *tally, uint32_t sender, uint64_t to, uint32_t before)
{
    uint32_t most = GET(tally->allowance) < tally->capacity ? GET(tally->allowance) : tally->capacity;
    if (GET(tally->next) >= most)
        return 0;
    uint32_t number = ADD(tally->next, 1);
    if (number >= tally->capacity)
        return 0;
    struct tally_entry *entry = &tally->entries[number];
    SET(entry->to, to);
    SET(entry->sender, sender);
    SET(entry->before, before);
    SET(entry->about_to_send, 1);
    return number;
}

void tally_withdraw(struct tally *tally, uint32_t number)
{
    SET(tally->entries[number].about_to_send, 0);
}

void tally_sent(struct tally *tally, uint32_t number)
{
    SET(tally->entries[number].sent, 1);
}

static uint64_t check_of(uint32_t number, bool is_answer)
{
    uint64_t check = (number + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
    return is_answer ? ~check : check;
}

void tally_fill(void *payload, uint32_t number, bool is_answer)
{
    const struct tally_payload whole = { number, check_of(number, is_answer) };
    memcpy(payload, &whole, sizeof whole);
}

bool tally_is(const struct numapool_msg *message, uint32_t number, bool is_answer)
{
    struct tally_payload payload;
    if (message->length != sizeof payload)
        return false;
    memcpy(&payload, message->data, sizeof payload);
    return payload.number == number && payload.check == check_of(number, is_answer);
}

/* On one lane positions and numbers rise: it has one sender, who draws its numbers in the order in which it sends. */
static void check_order(struct tally_reader *reader, const struct np_receiver_lane *lane, const struct numapool_msg *message,
                        uint32_t number)
{
    uint64_t key = (uint64_t)lane->id << 32 | lane->generation;
    unsigned place = 0;
    while (place < LEDGER_STAMPS_MAX && reader->lanes[place].lane != key)
        place++;
    if (place == LEDGER_STAMPS_MAX) { /* more lanes than places: a check is forgotten, never a message */
        place = reader->next_place++ % LEDGER_STAMPS_MAX;
        reader->lanes[place].lane = key;
        reader->lanes[place].position = reader->lanes[place].number = 0;
    }
    if (message->lane_seq + 1 <= reader->lanes[place].position || number <= reader->lanes[place].number)
        ledger_breach(reader->ledger, "order: %s %u: %s %u at position %llu of lane %llx came after %llu at position %llu",
                      reader->role, reader->incarnation, reader->tally->name, number, (unsigned long long)message->lane_seq,
                      (unsigned long long)key, (unsigned long long)reader->lanes[place].number,
                      (unsigned long long)reader->lanes[place].position - 1);
    reader->lanes[place].position = message->lane_seq + 1;
    reader->lanes[place].number = number;
}

uint32_t tally_receive(struct tally_reader *reader, const struct numapool_receiver *receiver,
                       const struct numapool_msg *message)
{
    struct tally *tally = reader->tally;
    uint32_t number = (uint32_t)message->id;
    if (message->id == 0 || message->id >= GET(tally->next) || message->id >= tally->capacity) {
        ledger_breach(reader->ledger, "%s %u received %s %llu, which nobody sent", reader->role, reader->incarnation,
                      tally->name, (unsigned long long)message->id);
        return 0;
    }
    struct tally_entry *entry = &tally->entries[number];
    bool is_marked = (message->flags & NUMAPOOL_REDELIVERED) != 0;
    const char *wrong = NULL;
    if (!tally_is(message, number, false) && !(is_marked && reader->may_be_answered && tally_is(message, number, true)))
        wrong = "has somebody else's payload";
    else if (!GET(entry->about_to_send))
        wrong = "was received before it was sent";
    else if (GET(entry->finished))
        wrong = "came again after it was done with";
    else if (GET(entry->to) != 0 && GET(entry->to) != reader->address)
        wrong = "was for another receiver alone";
    else if (!is_marked && ADD(entry->unmarked, 1) > 0)
        wrong = "came again and was not marked redelivered";
    else if (GET(entry->received) == 0 && GET(entry->before) != 0 && GET(tally->entries[GET(entry->before)].received) == 0)
        wrong = "came before an earlier one of its key";
    if (wrong)
        ledger_breach(reader->ledger, "%s %u: %s %u of sender %u %s (flags %u)", reader->role, reader->incarnation,
                      tally->name, number, GET(entry->sender), wrong, message->flags);
    ADD(entry->received, 1);
    ADD(tally->received, 1);
    check_order(reader, &receiver->lanes[message->lane], message, number);
    return number;
}

void tally_finish(struct tally_reader *reader, uint32_t number)
{
    SET(reader->tally->entries[number].finished, 1);
}

uint64_t tally_lost(const struct tally *tally, uint32_t *first)
{
    uint32_t end = GET(tally->next) < tally->capacity ? GET(tally->next) : tally->capacity;
    uint64_t lost = 0;
    for (uint32_t number = 1; number < end; number++) {
        const struct tally_entry *entry = &tally->entries[number];
        if (!GET(entry->sent) || GET(entry->to) != 0 || GET(entry->received) > 0)
            continue;
        if (lost++ == 0)
            *first = number;
    }
    return lost;
}
