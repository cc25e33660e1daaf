/* SPDX-License-Identifier: MIT
 * Loans: slots to fill and send, those first that were taken back.
 *
 * A loan for a receiver is of that receiver's node: a slot of it that came back on its lane, else one from a further magazine of the
 * sender, for that node. Once there is such a magazine, lanes whose receivers are on other nodes keep their slots for such loans. */
#include <errno.h>

#include "channel/keys.h"
#include "core/error.h"
#include "core/fault.h"
#include "core/magazine.h"

/* How many loans ahead the beginning of a slot is fetched: its receiver's processor has it. */
#define LOANS_AHEAD 8u

/* The arena with slots on the node, or -1: the sender's own node, not known, or without slots. */
static int away_arena(const struct numapool_sender *sender, int node)
{
    const struct numapool_pool *pool = sender->endpoint.pool;
    if (node < 0 || node == pool->arenas[sender->magazine->arena].arena.node)
        return -1;
    for (unsigned i = 0, count = np_pool_arena_count(pool); i < count; i++)
        if (pool->arenas[i].arena.node == node)
            return (int)i;
    return -1;
}

/* Whether what comes back on the lane waits for loans to its receiver. */
static bool is_away(const struct numapool_sender *sender, const struct np_sender_lane *lane)
{
    return sender->away_open && away_arena(sender, lane->node) >= 0;
}

/* ---------------------------------------------------------------- where its receivers are */

/* The node that all of them are on, -1: they are on several, or it is not known, or the pool has no slots there. */
static int node_of_receivers(const struct numapool_sender *sender)
{
    int node = -1;
    for (unsigned i = 0; i < sender->lane_count; i++) {
        const struct np_sender_lane *lane = &sender->lanes[i];
        if (lane->state != NP_LANE_ACTIVE || lane->kind == NP_LANE_HOME || lane->peer == 0)
            continue;
        if (lane->node < 0 || (node >= 0 && lane->node != node))
            return -1;
        node = lane->node;
    }
    return node >= 0 && np_pool_has_node(sender->endpoint.pool, node) ? node : -1;
}

void np_sender_follow_receivers(struct numapool_sender *sender)
{
    if (!sender->owns_magazine || sender->kind == NP_LANE_SMALL || np_pool_arena_count(sender->endpoint.pool) == 1)
        return;
    const int node = node_of_receivers(sender);
    if (node == sender->receivers_node)
        return;
    sender->receivers_node = node;
    if (!np_magazine_lead(sender->magazine, node < 0 ? NUMAPOOL_OWN_NODE : node))
        return;
    /* What is on its way, and what has come back and was not loaned again, is of the node before, and so is what was loaned and is not
     * sent yet: once in a lane a slot is loaned again and again, so loans look at each until that and a ring more has come back. */
    for (unsigned i = 0; i < sender->lane_count; i++)
        sender->lanes[i].stray_until = sender->lanes[i].head + sender->lanes[i].mask + 1;
    sender->strays = sender->has_away = sender->loans_specially = true;
    sender->loan_lane = NULL;
}

/* Ends the looking when there is nothing left to look for. */
static void look_for_strays(struct numapool_sender *sender)
{
    for (unsigned i = 0; i < sender->lane_count; i++) {
        const struct np_sender_lane *lane = &sender->lanes[i];
        bool is_over = lane->state != NP_LANE_ACTIVE && lane->recycled == lane->head; /* nothing more is sent on it */
        if (lane->sent && lane->recycled < lane->stray_until && !is_over)
            return;
    }
    sender->strays = false;
    sender->has_away = sender->away_open || (sender->endpoint.pool->flags & NUMAPOOL_STRICT) != 0;
    sender->loans_specially = sender->has_away || sender->kind == NP_LANE_SMALL;
}

/* ---------------------------------------------------------------- loans */

/* Whether a slot that has come back may be loaned: in a STRICT pool, and while there are strays, of the node alone on which its magazine
 * takes them. */
static bool may_loan(const struct numapool_sender *sender, const void *slot)
{
    const struct numapool_pool *pool = sender->endpoint.pool;
    const struct np_magazine *magazine = sender->magazine;
    uint64_t index;
    if ((pool->flags & NUMAPOOL_STRICT) == 0 && !sender->strays)
        return true;
    const struct np_pool_arena *pa = np_pool_locate(pool, slot, &index);
    return pa && pa->arena.node == pool->arenas[magazine->arena].arena.node && !magazine->stranded;
}

/* recycle, of a sender whose loans look at where slots are. What is not to be loaned goes home. */
static __attribute__((noinline)) void *recycle_looking(struct numapool_sender *sender)
{
    const bool strict = (sender->endpoint.pool->flags & NUMAPOOL_STRICT) != 0;
    if (strict)
        np_magazine_look(sender->magazine);
    if (sender->strays)
        look_for_strays(sender);
    for (unsigned i = 0; i < sender->lane_count; i++) {
        struct np_sender_lane *lane = &sender->lanes[i];
        while (lane->sent && lane->recycled < lane->released && !is_away(sender, lane)) {
            void *slot = np_sender_recycle(lane, sender->held);
            if (slot && may_loan(sender, slot)) {
                sender->loan_lane = strict || sender->strays ? NULL : lane;
                return slot;
            }
            if (slot)
                np_magazine_return(sender->magazine, slot);
        }
    }
    return NULL;
}

/* The slot that was taken back first of those that wait, or NULL. */
static void *recycle(struct numapool_sender *sender)
{
    for (unsigned i = 0; i < sender->lane_count; i++) {
        struct np_sender_lane *lane = &sender->lanes[i];
        while (lane->recycled < lane->released && lane->sent) {
            void *slot = np_sender_recycle(lane, sender->held);
            if (slot) {
                sender->loan_lane = lane;
                return slot;
            }
        }
    }
    return NULL;
}

/* False, with the sentence: its messages have no slots. */
static bool has_slots(const struct numapool_sender *sender)
{
    if (__builtin_expect(sender->kind != NP_LANE_SMALL, 1))
        return true;
    np_error_static(-EINVAL, "small messages have no slots: send copies from wherever message->data points");
    return false;
}

/* loan_more, of small messages or of a sender whose loans look at where slots are. */
static __attribute__((noinline)) void *loan_specially(struct numapool_sender *sender)
{
    if (!has_slots(sender))
        return NULL;
    void *slot = recycle_looking(sender);
    const struct numapool_magazine *magazine = &sender->magazine->fast;
    if (!slot && magazine->top == magazine->bottom && np_sender_take_back_all(sender) > 0)
        slot = recycle_looking(sender);
    return slot ? slot : np_magazine_get(sender->magazine);
}

static __attribute__((noinline)) void *loan_more(struct numapool_sender *sender)
{
    if (__builtin_expect(sender->loans_specially, 0))
        return loan_specially(sender);
    void *slot = recycle(sender);
    if (slot)
        return slot;
    const struct numapool_magazine *magazine = &sender->magazine->fast;
    if (magazine->top == magazine->bottom && np_sender_take_back_all(sender) > 0 && (slot = recycle(sender)) != NULL)
        return slot; /* rather than one more from the pool */
    return np_magazine_get(sender->magazine);
}

/* Begins to fetch from its receiver's processor as much of a slot's beginning as was sent last. */
static inline void fetch_slot(const struct np_sender_lane *lane, const char *slot)
{
    if (lane->sent_bytes > 0)
        np_prefetch_write(slot);
    if (lane->sent_bytes > NP_CACHE_LINE)
        np_prefetch_write((const char *)((uintptr_t)slot + NP_CACHE_LINE)); /* slot may be NULL: a hint, nothing is accessed */
}

/* The next of those that were released on the lane of the last loan, or NULL. */
static inline void *loan_next(const struct numapool_sender *sender, struct np_sender_lane *lane)
{
    if (__builtin_expect(lane->recycled == lane->released, 0))
        return NULL;
    fetch_slot(lane, lane->sent[(lane->recycled + LOANS_AHEAD) & lane->mask].slot);
    return np_sender_recycle(lane, sender->held);
}

/* For who has been admitted. */
static void *loan(struct numapool_sender *sender)
{
    void *slot = sender->loan_lane ? loan_next(sender, sender->loan_lane) : NULL;
    return slot ? slot : loan_more(sender);
}

/* For who has not. */
static __attribute__((noinline)) void *numapool_loan_slow(struct numapool_sender *sender, const void *return_address)
{
    if ((sender == NULL || sender->live != NP_SENDER_LIVE) && !np_sender_admit(sender, "numapool_loan", return_address))
        return NULL;
    return loan_more(sender);
}

/* np_sender_recycle for n of them, as far as the ring's end, so that the number in the word cannot overflow; how many were slots. */
static inline unsigned recycle_stretch(struct np_sender_lane *lane, uint64_t held, void **slots, unsigned n)
{
    const uint64_t mask = lane->mask;
    const struct np_sent *const sent = lane->sent;
    uint64_t recycled = lane->recycled, as_sent = np_word_sent_on(lane->word, recycled, 0);
    unsigned got = 0;
    for (const struct np_sent *was = &sent[recycled & mask], *end = was + n; was < end; was++, as_sent += UINT64_C(1) << 16) {
        fetch_slot(lane, sent[(++recycled + LOANS_AHEAD) & mask].slot);
        uint64_t gen = np_load64(was->word, memory_order_relaxed) ^ as_sent; /* relaxed, both: as np_sender_recycle */
        if (__builtin_expect(gen > NP_WORD_GEN_MASK, 0))
            continue;
        np_store64(was->word, held | gen, memory_order_relaxed);
        slots[got++] = was->slot;
    }
    lane->recycled = recycled;
    return got;
}

int numapool_loan_bulk(struct numapool_sender *sender, void **slots, unsigned n)
{
    if (!np_sender_is_live(sender) || !has_slots(sender))
        return -EINVAL;
    if (n == 0 || n > NP_LANE_SLOTS_MAX)
        return np_error(-EINVAL, "loan_bulk of %u slots: 1 to %u", n, NP_LANE_SLOTS_MAX);
    struct np_sender_lane *lane = sender->loan_lane;
    unsigned got = 0;
    if (__builtin_expect(lane != NULL, 1)) {
        uint64_t until_end = lane->mask + 1 - (lane->recycled & lane->mask), most = lane->released - lane->recycled;
        most = most < until_end ? most : until_end;
        got = recycle_stretch(lane, sender->held, slots, most < n ? (unsigned)most : n);
    }
    while (got < n && (slots[got] = loan(sender)) != NULL)
        got++;
    return got > 0 ? (int)got : -EAGAIN;
}

void *numapool_loan(struct numapool_sender *sender)
{
    if (__builtin_expect(sender != NULL && sender->live == NP_SENDER_LIVE && sender->loan_lane != NULL, 1)) {
        void *slot = loan_next(sender, sender->loan_lane);
        if (__builtin_expect(slot != NULL, 1))
            return slot;
    }
    return numapool_loan_slow(sender, __builtin_return_address(0));
}

/* ---------------------------------------------------------------- for a receiver */

/* The lane that the next message like this will go to, or NULL: none can be told. Nothing moves on, so that the send
 * finds the same. */
static struct np_sender_lane *next_lane(struct numapool_sender *sender, const struct numapool_msg *message)
{
    if ((message->flags & NUMAPOOL_KEYED) != 0 && sender->keys) {
        struct np_sender_lane *lane = np_keys_lane(sender, message->key);
        if (lane && lane->state == NP_LANE_ACTIVE)
            return lane;
    }
    struct np_sender_lane *full = NULL;
    if ((message->flags & NUMAPOOL_KEYED) == 0 && sender->usual && np_sender_room(sender, sender->usual) > 0)
        return sender->usual;
    for (unsigned tried = 0; tried < sender->lane_count; tried++) {
        struct np_sender_lane *lane = &sender->lanes[(sender->turn + 1 + tried) % sender->lane_count];
        if (lane->state == NP_LANE_ACTIVE && np_sender_room(sender, lane) > 0)
            return lane;
        if (lane->state == NP_LANE_ACTIVE && !full)
            full = lane;
    }
    return full;
}

/* The oldest slot of that node that came back on the lane; others go home. */
static void *recycle_away(struct numapool_sender *sender, struct np_sender_lane *lane, int node)
{
    while (lane->recycled < lane->released) {
        void *slot = np_sender_recycle(lane, sender->held);
        uint64_t index;
        const struct np_pool_arena *pa = slot ? np_pool_locate(sender->endpoint.pool, slot, &index) : NULL;
        if (pa && pa->arena.node == node)
            return slot;
        if (slot)
            np_magazine_return(sender->magazine, slot);
    }
    return NULL;
}

static void *loan_away(struct numapool_sender *sender, struct np_sender_lane *lane, unsigned arena)
{
    struct numapool_pool *pool = sender->endpoint.pool;
    int node = lane->node;
    void *slot = recycle_away(sender, lane, node);
    if (slot)
        return slot;
    if (!sender->away[arena]) {
        if (numapool_magazine_open(pool, node, 0, &sender->away[arena]) < 0)
            return NULL;
        sender->away_open = sender->has_away = sender->loans_specially = true;
        sender->loan_lane = NULL; /* it may be one whose slots are kept */
    }
    struct numapool_magazine *magazine = sender->away[arena];
    if (magazine->top == magazine->bottom && np_sender_take_back(sender, lane) > 0 && (slot = recycle_away(sender, lane, node)) != NULL)
        return slot; /* rather than one more from the pool */
    return np_magazine_get((struct np_magazine *)magazine);
}

void *numapool_loan_for(struct numapool_sender *sender, const struct numapool_msg *message)
{
    if (!np_sender_is_live(sender))
        return NULL;
    if (np_endpoint_has_news(&sender->endpoint))
        np_sender_sync(sender); /* as the send will do */
    struct np_sender_lane *lane = np_pool_arena_count(sender->endpoint.pool) > 1 && sender->kind == NP_LANE_SLOTS ? next_lane(sender, message) : NULL;
    int arena = lane ? away_arena(sender, lane->node) : -1;
    void *slot = arena >= 0 ? loan_away(sender, lane, (unsigned)arena) : NULL;
    if (slot || (arena >= 0 && sender->endpoint.pool->flags & NUMAPOOL_STRICT))
        return slot; /* strict: none of its receiver's node is none */
    return loan(sender);
}

int numapool_loan_wait(struct numapool_sender *sender, void **slot, int64_t timeout_ns)
{
    if (!np_sender_is_live(sender) || !has_slots(sender))
        return -EINVAL;
    if (timeout_ns < 0)
        return np_error_static(-EINVAL, "timeout_ns is negative: 0 means at once, NUMAPOOL_FOREVER for ever");
    *slot = sender->has_away ? recycle_looking(sender) : recycle(sender);
    if (!*slot)
        *slot = np_magazine_get(sender->magazine);
    if (*slot || timeout_ns == 0)
        return *slot ? 0 : -EAGAIN;
    return np_magazine_wait(sender->magazine, slot, timeout_ns);
}

int numapool_unloan(struct numapool_sender *sender, void *slot)
{
    if (!np_sender_is_live(sender) || !has_slots(sender))
        return -EINVAL;
    return np_magazine_put(sender->magazine, slot);
}
