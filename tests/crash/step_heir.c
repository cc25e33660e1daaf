/* SPDX-License-Identifier: MIT
 *
 * The same code inherits from the living daemon, as another process, and from a copy of its memory: it does what any client can do. */
#include "step_heir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel/receiver.h"

/* relaxed: who has written the ledger is gone, or has been waited for */
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

enum { BATCH = 16, RECEIVES_MAX = 4096 };

struct step_legacy step_legacy_of(const struct np_board *board, uint32_t pool)
{
    struct step_legacy legacy = { .is_whole = true };
    for (uint32_t i = 1; i <= board->limits.channels; i++) {
        const struct np_channel_entry *entry = &board->channels[i];
        if (!np_entry_is(&entry->state, NP_ACTIVE) || entry->pool != pool)
            continue;
        bool is_left = (entry->name[0] == 'a' || entry->name[0] == 'b') && !memchr(entry->name, '/', sizeof entry->name) &&
                       !(entry->flags & NUMAPOOL_BROADCAST);
        if (!is_left || legacy.channel_count == STEP_CHANNELS_MAX) {
            legacy.is_whole = false;
            continue;
        }
        memcpy(legacy.channels[legacy.channel_count].name, entry->name, NUMAPOOL_NAME_BYTES);
        legacy.channels[legacy.channel_count++].flags = entry->flags;
    }
    for (unsigned arena = 0; arena < np_pool_arenas(&board->pools[pool]); arena++)
        legacy.slots += board->pools[pool].arena[arena].slots;
    return legacy;
}

/* ---------------------------------------------------------------- taking */

/* Who has received it says so by nothing but `released`: the word is the lane's until then, and whoever else it names will have the slot too. */
static void expect_sent(struct numapool_pool *pool, struct ledger *ledger, const struct numapool_receiver *receiver,
                        const struct numapool_msg *message)
{
    uint64_t slot;
    if (message->flags & NUMAPOOL_IN_CELL)
        return;
    const struct np_pool_arena *pa = np_pool_locate(pool, message->data, &slot);
    const uint64_t word = pa ? np_load64(&pa->arena.words[slot], memory_order_acquire) : 0; /* pairs with the sender's release */
    if (!np_word_is_sent_as(word, receiver->lanes[message->lane].id, message->lane_seq))
        ledger_breach(ledger, "message %llu came, and the word of its slot is %016llx", (unsigned long long)message->id,
                      (unsigned long long)word);
}

static void drain(struct numapool_pool *pool, struct ledger *ledger, const char *channel, uint32_t flags)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[BATCH];
    struct ledger_reader *reader = calloc(1, sizeof *reader); /* large for a stack */
    options.flags = flags;
    options.spin_ns = -1;
    int result = reader ? numapool_receiver_open(pool, channel, &options, &receiver) : -ENOMEM;
    if (result < 0) {
        ledger_breach(ledger, "the heir cannot join channel %s: %s", channel, numapool_errormsg());
        free(reader);
        return;
    }
    *reader = (struct ledger_reader){ .ledger = ledger, .channel = channel[0] == 'a' ? LEDGER_A : LEDGER_B, .role = "heir",
                                      .incarnation = 1000 };
    for (unsigned i = 0; i < RECEIVES_MAX; i++) {
        int got = numapool_receive(receiver, messages, BATCH, 0);
        if (got == -EAGAIN)
            break;
        if (got < 0) {
            ledger_breach(ledger, "the heir receives from %s: %s", channel, numapool_errormsg());
            continue;
        }
        for (int n = 0; n < got; n++) {
            ledger_receive(reader, receiver, &messages[n]);
            expect_sent(pool, ledger, receiver, &messages[n]);
        }
        if (numapool_release(receiver, messages, (unsigned)got) < 0)
            ledger_breach(ledger, "the heir releases to %s: %s", channel, numapool_errormsg());
    }
    if (numapool_receiver_close(receiver) < 0)
        ledger_breach(ledger, "the heir leaves %s: %s", channel, numapool_errormsg());
    free(reader);
}

static int by_address(const void *left, const void *right)
{
    const char *l = *(char *const *)left, *r = *(char *const *)right;
    return (l > r) - (l < r);
}

static void get_all(struct numapool_pool *pool, struct ledger *ledger, uint64_t wanted)
{
    struct numapool_magazine *magazine;
    void **slots = malloc((wanted + 1) * sizeof *slots);
    uint64_t got = 0;
    if (!slots || numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0) {
        ledger_breach(ledger, "the heir cannot open a magazine: %s", numapool_errormsg());
        free(slots);
        return;
    }
    while (got <= wanted && (slots[got] = numapool_get(magazine)) != NULL)
        got++;
    if (got != wanted)
        ledger_breach(ledger, "of %llu slots %llu could be got", (unsigned long long)wanted, (unsigned long long)got);
    for (uint64_t i = 0; i < got; i++)
        if (numapool_put(magazine, slots[i]) < 0)
            ledger_breach(ledger, "the heir puts a slot: %s", numapool_errormsg());
    qsort(slots, got, sizeof *slots, by_address);
    for (uint64_t i = 1; i < got; i++)
        if (slots[i] == slots[i - 1])
            ledger_breach(ledger, "slot %p was got twice", slots[i]);
    if (numapool_flush(magazine) < 0 || numapool_magazine_close(magazine) < 0)
        ledger_breach(ledger, "the heir closes its magazine: %s", numapool_errormsg());
    free(slots);
}

/* In a pool with checks: no death looks like somebody's misuse. */
static void expect_no_faults(struct numapool_pool *pool, struct ledger *ledger)
{
    struct numapool_stats stats = { .size = sizeof stats };
    if (numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats) < 0)
        ledger_breach(ledger, "the heir reads statistics: %s", numapool_errormsg());
    else if (stats.faults > 0)
        ledger_breach(ledger, "the heir is told of %llu cases of misuse", (unsigned long long)stats.faults);
}

void step_inherit(struct numapool_pool *pool, struct ledger *ledger, const struct step_legacy *legacy)
{
    for (unsigned i = 0; i < legacy->channel_count; i++)
        drain(pool, ledger, legacy->channels[i].name, legacy->channels[i].flags);
    get_all(pool, ledger, legacy->slots);
    expect_no_faults(pool, ledger);
}

/* ---------------------------------------------------------------- comparing */

/* How often it must have come on a, on b, and on either. */
struct due {
    unsigned a_max, b_max, least;
};

static struct due due_of(const struct ledger_message *message, bool forwards)
{
    const unsigned sent = GET(message->sent), about = GET(message->about_to_send) || sent;
    const unsigned begun_a = GET(message->about_to_finish[LEDGER_A]), done_a = GET(message->finished[LEDGER_A]);
    const unsigned begun_b = GET(message->about_to_finish[LEDGER_B]), done_b = GET(message->finished[LEDGER_B]);
    if (done_b)
        return (struct due){ 0, 0, 0 };
    if (begun_b)
        return (struct due){ 0, 1, 0 };
    if (done_a)
        return (struct due){ 0, forwards, forwards };
    if (begun_a)
        return (struct due){ 1, forwards, forwards };
    return (struct due){ about, about, sent };
}

void step_compare(const struct step_legacy *legacy, bool forwards, const struct ledger *before, struct ledger *after)
{
    const uint32_t next = GET(before->next);
    for (uint32_t number = 1; number < next && number < before->capacity; number++) {
        const struct ledger_message *was = &before->messages[number], *is = &after->messages[number];
        const unsigned a = GET(is->received[LEDGER_A]) - GET(was->received[LEDGER_A]);
        const unsigned b = GET(is->received[LEDGER_B]) - GET(was->received[LEDGER_B]);
        const struct due due = due_of(was, forwards);
        if (a > due.a_max || b > due.b_max || a + b > 1 || (legacy->is_whole && a + b < due.least))
            ledger_breach(after, "message %u (about to be sent %u, sent %u; on a received %u, about to be finished %u, finished %u; on b %u, "
                          "%u, %u) came %u times on a and %u times on b", number, GET(was->about_to_send), GET(was->sent),
                          GET(was->received[LEDGER_A]), GET(was->about_to_finish[LEDGER_A]), GET(was->finished[LEDGER_A]),
                          GET(was->received[LEDGER_B]), GET(was->about_to_finish[LEDGER_B]), GET(was->finished[LEDGER_B]), a, b);
    }
}
