/* SPDX-License-Identifier: MIT */
#include "ledger.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "channel/receiver.h"
#include "harness.h"

/* relaxed everywhere here: what is compared lies a system call or the end of a process apart */
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define ADD(field, value) atomic_fetch_add_explicit(&(field), (value), memory_order_relaxed)

#define LANE_MASK UINT64_C(0xffffffff00000000)

static size_t ledger_bytes(uint32_t capacity)
{
    return sizeof(struct ledger) + (size_t)capacity * sizeof(struct ledger_message);
}

struct ledger *ledger_new(uint32_t capacity)
{
    struct ledger *ledger = mmap(NULL, ledger_bytes(capacity), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ledger == MAP_FAILED) {
        perror("the ledger");
        exit(2);
    }
    ledger->capacity = capacity;
    SET(ledger->next, 1);
    SET(ledger->allowance, capacity);
    return ledger;
}

void ledger_delete(struct ledger *ledger)
{
    munmap(ledger, ledger_bytes(ledger->capacity));
}

void ledger_breach(struct ledger *ledger, const char *format, ...)
{
    uint32_t place = ADD(ledger->breaches, 1);
    va_list arguments;
    if (place >= LEDGER_BREACHES_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(ledger->breach[place], sizeof ledger->breach[place], format, arguments);
    va_end(arguments);
}

uint32_t ledger_numbers(struct ledger *ledger, uint32_t sender, unsigned n)
{
    if (GET(ledger->drain) || GET(ledger->next) + n > GET(ledger->allowance))
        return 0;
    uint32_t first = ADD(ledger->next, n);
    if (first + n > ledger->capacity)
        return 0;
    for (unsigned i = 0; i < n; i++)
        SET(ledger->messages[first + i].sender, sender);
    return first;
}

/* ---------------------------------------------------------------- payload */

static uint64_t payload_word(uint64_t number, unsigned place)
{
    return (number + 1) * (UINT64_C(0x9e3779b97f4a7c15) + 2 * place);
}

void ledger_fill(void *payload, uint64_t number)
{
    uint64_t words[LEDGER_PAYLOAD_BYTES / 8];
    for (unsigned i = 0; i < LEDGER_PAYLOAD_BYTES / 8; i++)
        words[i] = payload_word(number, i);
    memcpy(payload, words, sizeof words);
}

static bool begins_as(const void *payload, unsigned bytes, uint64_t number)
{
    uint64_t words[LEDGER_PAYLOAD_BYTES / 8], wrong = 0;
    memcpy(words, payload, bytes);
    for (unsigned i = 0; i < bytes / 8; i++)
        wrong |= words[i] ^ payload_word(number, i);
    return wrong == 0;
}

bool ledger_payload_is(const void *payload, uint64_t number)
{
    return begins_as(payload, LEDGER_PAYLOAD_BYTES, number);
}

bool ledger_message_is(const struct numapool_msg *message, uint64_t number)
{
    const unsigned bytes = message->flags & NUMAPOOL_IN_CELL ? LEDGER_SMALL_BYTES : LEDGER_PAYLOAD_BYTES;
    return message->length == bytes && begins_as(message->data, bytes, number);
}

/* ---------------------------------------------------------------- receiving */

static struct ledger_order *order_of(struct ledger_reader *reader, uint64_t lane)
{
    for (unsigned i = 0; i < LEDGER_STAMPS_MAX; i++)
        if (reader->lanes[i].lane == lane)
            return &reader->lanes[i];
    /* more lanes than places: the oldest is forgotten, and with it a check, never a message */
    struct ledger_order *order = &reader->lanes[reader->next_place++ % LEDGER_STAMPS_MAX];
    *order = (struct ledger_order){ .lane = lane };
    return order;
}

/* On a lane of B: what a forwarder took from one lane of A comes in the order of that lane. */
static void check_source(struct ledger_reader *reader, struct ledger_order *order, const struct numapool_msg *message)
{
    for (unsigned i = 0; i < 8; i++) {
        if (order->source[i] != 0 && (order->source[i] & LANE_MASK) != (message->key & LANE_MASK))
            continue;
        if (order->source[i] >= message->key)
            ledger_breach(reader->ledger, "order: %s %u: message %llu, number %llu of its lane of a, came on b after number %llu",
                          reader->role, reader->incarnation, (unsigned long long)message->id,
                          (unsigned long long)(message->key & ~LANE_MASK) - 1,
                          (unsigned long long)(order->source[i] & ~LANE_MASK) - 1);
        order->source[i] = message->key;
        return;
    }
    order->source[message->key % 8] = message->key;
}

static void check_order(struct ledger_reader *reader, uint64_t appearance, const struct numapool_msg *message)
{
    struct ledger_order *order = order_of(reader, appearance & LANE_MASK);
    if (order->position != 0 && message->lane_seq + 1 <= order->position)
        ledger_breach(reader->ledger, "order: %s %u: position %llu of lane %llx came after position %llu", reader->role,
                      reader->incarnation, (unsigned long long)message->lane_seq, (unsigned long long)(appearance >> 32),
                      (unsigned long long)order->position - 1);
    order->position = message->lane_seq + 1;
    if (reader->channel == LEDGER_A && message->id <= order->number)
        ledger_breach(reader->ledger, "order: %s %u: message %llu of lane %llx came after message %llu", reader->role,
                      reader->incarnation, (unsigned long long)message->id, (unsigned long long)(appearance >> 32),
                      (unsigned long long)order->number);
    order->number = message->id;
    if (reader->channel == LEDGER_B && message->key != 0)
        check_source(reader, order, message);
}

uint64_t ledger_receive(struct ledger_reader *reader, const struct numapool_receiver *receiver, const struct numapool_msg *message)
{
    static const char *const channel_names[] = { "a", "b" };
    struct ledger *ledger = reader->ledger;
    enum ledger_channel channel = reader->channel;
    const struct np_receiver_lane *lane = &receiver->lanes[message->lane];
    uint64_t appearance = (uint64_t)lane->id << 48 | (uint64_t)(lane->generation & 0xffff) << 32 | (uint32_t)(message->lane_seq + 1);
    if (message->id == 0 || message->id >= GET(ledger->next) || message->id >= ledger->capacity) {
        ledger_breach(ledger, "%s %u received message %llu, which nobody sent", reader->role, reader->incarnation,
                      (unsigned long long)message->id);
        return appearance;
    }
    struct ledger_message *entry = &ledger->messages[message->id];
    if (!ledger_message_is(message, message->id))
        ledger_breach(ledger, "%s %u: message %llu on %s has somebody else's payload (lane %llx, position %llu, flags %u)", reader->role,
                      reader->incarnation, (unsigned long long)message->id, channel_names[channel],
                      (unsigned long long)(appearance >> 32), (unsigned long long)message->lane_seq, message->flags);
    if (!GET(entry->about_to_send))
        ledger_breach(ledger, "%s %u: message %llu was received before it was sent", reader->role, reader->incarnation,
                      (unsigned long long)message->id);
    uint64_t first = 0;
    bool is_first = atomic_compare_exchange_strong_explicit(&entry->appeared[channel], &first, appearance, memory_order_relaxed,
                                                            memory_order_relaxed);
    if (!is_first && first != appearance)
        ledger_breach(ledger, "%s %u: message %llu is on %s twice: at %llx and at %llx (flags %u)", reader->role, reader->incarnation,
                      (unsigned long long)message->id, channel_names[channel], (unsigned long long)first,
                      (unsigned long long)appearance, message->flags);
    if (GET(entry->finished[channel]))
        ledger_breach(ledger, "%s %u: message %llu came again on %s after it was done with (%llx, flags %u)", reader->role,
                      reader->incarnation, (unsigned long long)message->id, channel_names[channel], (unsigned long long)appearance,
                      message->flags);
    ADD(entry->received[channel], 1);
    if (!(message->flags & NUMAPOOL_REDELIVERED) && ADD(entry->unmarked[channel], 1) > 0)
        ledger_breach(ledger, "%s %u: message %llu came again on %s and was not marked redelivered (%llx)", reader->role,
                      reader->incarnation, (unsigned long long)message->id, channel_names[channel], (unsigned long long)appearance);
    ADD(ledger->received[channel], 1);
    check_order(reader, appearance, message);
    return appearance;
}

void ledger_finish(struct ledger_reader *reader, const struct numapool_msg *message)
{
    if (message->id < reader->ledger->capacity)
        SET(reader->ledger->messages[message->id].finished[reader->channel], 1);
}

/* ---------------------------------------------------------------- judging */

struct ledger_verdict ledger_judge(struct ledger *ledger, bool forwarded)
{
    struct ledger_verdict verdict = { 0 };
    uint32_t end = GET(ledger->next) < ledger->capacity ? GET(ledger->next) : ledger->capacity;
    enum ledger_channel last = forwarded ? LEDGER_B : LEDGER_A;
    for (uint32_t number = 1; number < end; number++) {
        struct ledger_message *entry = &ledger->messages[number];
        bool arrived = GET(entry->received[last]) > 0;
        verdict.numbers++;
        verdict.sent += GET(entry->sent);
        verdict.unsure += GET(entry->about_to_send) && !GET(entry->sent) && arrived;
        verdict.redelivered += GET(entry->received[LEDGER_A]) > 1 || GET(entry->received[LEDGER_B]) > 1;
        if (arrived || !(GET(entry->sent) || GET(entry->received[LEDGER_A]) > 0))
            continue;
        verdict.only_on_a += GET(entry->received[LEDGER_A]) > 0;
        if (verdict.lost++ == 0)
            verdict.first_lost = number;
    }
    return verdict;
}

void ledger_expect(struct ledger *ledger, bool forwarded)
{
    struct ledger_verdict verdict = ledger_judge(ledger, forwarded);
    uint32_t breaches = GET(ledger->breaches);
    for (uint32_t i = 0; i < breaches && i < LEDGER_BREACHES_MAX; i++)
        harness_note("%s", ledger->breach[i]);
    if (verdict.lost > 0) {
        struct ledger_message *entry = &ledger->messages[verdict.first_lost];
        harness_note("first lost: message %llu of sender %u: sent %u, on a at %llx %u times (done %u), on b at %llx %u times",
                     (unsigned long long)verdict.first_lost, GET(entry->sender), GET(entry->sent),
                     (unsigned long long)GET(entry->appeared[LEDGER_A]), GET(entry->received[LEDGER_A]),
                     GET(entry->finished[LEDGER_A]), (unsigned long long)GET(entry->appeared[LEDGER_B]),
                     GET(entry->received[LEDGER_B]));
    }
    harness_note("%llu numbers drawn, %llu sends returned, %llu more were sent by those killed in the call, %llu messages came "
                 "more than once",
                 (unsigned long long)verdict.numbers, (unsigned long long)verdict.sent, (unsigned long long)verdict.unsure,
                 (unsigned long long)verdict.redelivered);
    harness_expect(verdict.sent > 0 && verdict.lost == 0,
                   "every message that was sent is received (%llu lost, %llu of them between a and b)",
                   (unsigned long long)verdict.lost, (unsigned long long)verdict.only_on_a);
    harness_expect(breaches == 0, "payload whole, each message at one place of one lane, twice only as redelivered, order of each "
                   "lane kept, no call failed (%u breaches)", breaches);
}
