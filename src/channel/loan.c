/* SPDX-License-Identifier: MIT
 * Loans: slots to fill and send, those first that were taken back. */
#include <errno.h>

#include "channel/sender.h"
#include "core/error.h"

/* How many loans ahead the beginning of a slot is fetched: its receiver's processor has it. */
#define LOANS_AHEAD 8u

/* The slot that was taken back first of those that wait, or NULL. */
static void *recycle(struct numapool_sender *sender)
{
    for (unsigned i = 0; i < sender->lane_count; i++) {
        struct np_sender_lane *lane = &sender->lanes[i];
        while (lane->recycled < lane->reclaimed) {
            void *slot = lane->sent[lane->recycled++ & lane->mask].slot;
            if (slot) {
                sender->loan_lane = lane;
                return slot;
            }
        }
    }
    return NULL;
}

static __attribute__((noinline)) void *loan_slow(struct numapool_sender *sender)
{
    if (!np_sender_is_live(sender))
        return NULL;
    void *slot = recycle(sender);
    if (slot)
        return slot;
    const struct numapool_magazine *magazine = &sender->magazine->fast;
    if (magazine->top == magazine->bottom && np_sender_take_back_all(sender) > 0 && (slot = recycle(sender)) != NULL)
        return slot; /* rather than one more from the pool */
    return numapool_get(&sender->magazine->fast);
}

/* Begins to fetch a slot's beginning from its receiver's processor. */
static inline void fetch_slot(const char *slot)
{
    np_prefetch_write(slot);
    np_prefetch_write((const char *)((uintptr_t)slot + NP_CACHE_LINE)); /* slot may be NULL: a hint, nothing is accessed */
}

int numapool_loan_bulk(struct numapool_sender *sender, void **slots, unsigned n)
{
    if (!np_sender_is_live(sender))
        return -EINVAL;
    if (n == 0 || n > NP_LANE_SLOTS_MAX)
        return np_error(-EINVAL, "loan_bulk of %u slots: 1 to %u", n, NP_LANE_SLOTS_MAX);
    struct np_sender_lane *lane = sender->loan_lane;
    unsigned got = 0;
    if (__builtin_expect(lane != NULL, 1)) {
        const struct np_sent *sent = lane->sent;
        const uint64_t mask = lane->mask, end = lane->reclaimed;
        uint64_t recycled = lane->recycled;
        while (got < n && recycled < end) {
            slots[got] = sent[recycled & mask].slot;
            got += slots[got] != NULL;
            recycled++;
        }
        for (uint64_t ahead = recycled; ahead < end && ahead < recycled + got; ahead++)
            fetch_slot(sent[ahead & mask].slot);
        lane->recycled = recycled;
    }
    while (got < n && (slots[got] = numapool_loan(sender)) != NULL)
        got++;
    return got > 0 ? (int)got : -EAGAIN;
}

void *numapool_loan(struct numapool_sender *sender)
{
    if (__builtin_expect(sender != NULL && sender->live == NP_SENDER_LIVE && sender->loan_lane != NULL, 1)) {
        struct np_sender_lane *lane = sender->loan_lane;
        uint64_t recycled = lane->recycled;
        if (__builtin_expect(recycled < lane->reclaimed, 1)) {
            void *slot = lane->sent[recycled & lane->mask].slot;
            char *ahead = lane->sent[(recycled + LOANS_AHEAD) & lane->mask].slot;
            lane->recycled = recycled + 1;
            if (__builtin_expect(slot != NULL, 1)) {
                fetch_slot(ahead);
                return slot;
            }
        }
    }
    return loan_slow(sender);
}

int numapool_loan_wait(struct numapool_sender *sender, void **slot, int64_t timeout_ns)
{
    if (!np_sender_is_live(sender))
        return -EINVAL;
    *slot = timeout_ns < 0 ? NULL : recycle(sender); /* numapool_get_wait refuses it */
    return *slot ? 0 : numapool_get_wait(&sender->magazine->fast, slot, timeout_ns);
}

int numapool_unloan(struct numapool_sender *sender, void *slot)
{
    if (!np_sender_is_live(sender))
        return -EINVAL;
    return numapool_put(&sender->magazine->fast, slot);
}
