/* SPDX-License-Identifier: MIT */
#include "channel/broadcast.h"

#include <errno.h>

#include "core/error.h"

static const char full_sentence[] = "a receiver of this broadcast has not released what it was sent, and its lane is full";
static const char unknown_sentence[] = "a receiver has joined or left, and the daemon does not answer which: nothing is broadcast past it";

/* ---------------------------------------------------------------- taking back */

static bool is_closed(struct np_sender_lane *lane)
{
    /* In its memory at once, in what the daemon tells only at the next question; acquire: pairs with the broker's store
     * of it. */
    return !NP_MUTANT(CLOSED_KEEPS) &&
           (lane->state == NP_LANE_CLOSED || np_load32(&lane->shared->state, memory_order_acquire) == NP_LANE_CLOSED);
}

/* One past what no receiver has any more. */
static uint64_t released_by_all(struct numapool_sender *sender)
{
    const uint64_t head = np_broadcast_home(sender)->head;
    uint64_t until = head;
    for (unsigned i = 1; i < sender->lane_count; i++) {
        struct np_sender_lane *lane = &sender->lanes[i];
        uint64_t released = np_load64(&lane->shared->released, memory_order_acquire); /* pairs with the receiver's release store */
        if (released - lane->released <= lane->head - lane->released) /* else scribbled: nobody can release what was not sent */
            lane->released = lane->recycled = released;
        if (lane->start != 0 && lane->start - 1 + lane->released < until && !is_closed(lane))
            until = lane->start - 1 + lane->released;
        if (NP_MUTANT(BROADCAST_TAKES_EARLY) && lane->released == lane->head)
            return head;
    }
    return until;
}

unsigned np_broadcast_take_back(struct numapool_sender *sender)
{
    struct np_sender_lane *home = np_broadcast_home(sender);
    const uint64_t until = released_by_all(sender);
    unsigned took = until > home->released ? (unsigned)(until - home->released) : 0;
    home->released += took;
    return took;
}

/* ---------------------------------------------------------------- sending */

static uint32_t room(struct numapool_sender *sender)
{
    struct np_sender_lane *home = np_broadcast_home(sender);
    uint64_t used = home->head - home->recycled;
    if (used > home->mask || home->head >= home->take_back_at) {
        np_sender_take_back(sender, home);
        if (home->head - home->recycled > home->mask)
            np_sender_spill(sender, home, 0);
        used = home->head - home->recycled;
    }
    return (uint32_t)(home->mask + 1 - used);
}

/* Its cell on every lane, unannounced. */
static void fill_cells(struct numapool_sender *sender, const struct numapool_msg *message, uint64_t q, unsigned arena, uint32_t slot)
{
    for (unsigned i = 1; i < sender->lane_count; i++) {
        struct np_sender_lane *lane = &sender->lanes[i];
        if (lane->start == 0) { /* from here on it gets everything */
            lane->start = q + 1;
            np_store64(&lane->shared->start, q + 1, memory_order_relaxed); /* relaxed, all of these: before the word, by its release (B1) */
        }
        uint64_t position = q - (lane->start - 1);
        struct np_cell *cell = &lane->cells[position & lane->mask];
        const unsigned flags = np_cell_labelled(message->id, message->key);
        if (flags != 0) {
            struct np_label *label = &lane->labels[position & lane->mask];
            np_store64(&label->id, message->id, memory_order_relaxed);
            np_store64(&label->key, message->key, memory_order_relaxed);
        }
        np_store64(&cell->what, np_cell_what(message->length, arena, flags, message->type), memory_order_relaxed);
        np_store64(&cell->where, np_cell_where_unannounced(position, slot), memory_order_relaxed);
    }
}

/* Announces what lies between a lane's head and home position `until`, and wakes its receiver. */
static void announce(struct numapool_sender *sender, struct np_sender_lane *lane, uint64_t until)
{
    uint64_t end = lane->start ? until - (lane->start - 1) : 0;
    if (end == lane->head)
        return;
    for (uint64_t position = end; position-- > lane->head;) {
        np_shm64 *where = &lane->cells[position & lane->mask].where;
        uint32_t slot = np_cell_slot(np_load64(where, memory_order_relaxed)); /* relaxed: our own store */
        /* release: pairs with the receiver's acquire of the announcement. Last first: all of it is seen or nothing. */
        np_store64(where, np_cell_where(position, slot), memory_order_release);
    }
    lane->head = end;
    np_store64(&lane->shared->tail, end, memory_order_release); /* for who counts */
    np_endpoint_wake(&sender->endpoint, &lane->shared->receiver_sleeps, &lane->shared->receiver_bell, &lane->shared->receiver_ring);
}

/* Sends up to n, for which there is room. */
static int send_run(struct numapool_sender *sender, const struct numapool_msg *messages, const uint64_t *claims, unsigned n)
{
    struct np_sender_lane *home = np_broadcast_home(sender);
    const uint64_t held = np_word_held(sender->endpoint.pool->client, 0), first = home->head;
    unsigned sent = 0;
    for (; sent < n; sent++) {
        struct np_claimed claimed;
        const uint64_t q = first + sent;
        np_shm64 *address = np_sender_claimed(sender, &messages[sent], claims ? claims[sent] : held, &claimed);
        if (!address)
            break;
        fill_cells(sender, &messages[sent], q, claimed.arena, (uint32_t)claimed.index);
        home->sent[q & home->mask] = (struct np_sent){ messages[sent].data, address };
        for (unsigned i = 1; NP_MUTANT(BROADCAST_WORD_LAST) && i < sender->lane_count; i++)
            announce(sender, &sender->lanes[i], q + 1);
        /* release: pairs with the scavenger's acquire load of the word. Here it is sent, to all (B1). */
        np_store64(address, np_word_shared(home->id, q, claimed.generation), memory_order_release);
    }
    if (sent == 0)
        return -EINVAL;
    home->head = first + sent;
    np_store64(&home->shared->tail, home->head, memory_order_release); /* for who counts */
    for (unsigned i = 1; i < sender->lane_count; i++)
        announce(sender, &sender->lanes[i], home->head);
    if (sender->lane_count == 1)
        np_sender_take_back(sender, home); /* nobody is there: it comes home at once */
    return (int)sent;
}

/* Whether the broker may hold back a lane to a receiver that is there, until others have been left. */
static bool lane_may_be_missing(const struct numapool_sender *sender)
{
    unsigned closed = 0;
    for (unsigned i = 1; i < sender->lane_count; i++)
        closed += sender->lanes[i].state == NP_LANE_CLOSED;
    return closed >= NP_DRAINING_LANES_MAX;
}

/* Learns which receivers there are, until there is nothing to be learnt: leaving a lane of one who is gone may give one
 * of one who has come. 1: known; 0: nobody answers just now; -errno. */
static int know_receivers(struct numapool_sender *sender)
{
    enum { QUESTIONS_MAX = 64 };
    struct np_endpoint *endpoint = &sender->endpoint;
    for (unsigned i = 0; i < QUESTIONS_MAX && (np_endpoint_has_news(endpoint) || endpoint->asked_in_vain); i++) {
        int result = np_sender_sync(sender);
        if (result == -EAGAIN || result == -ENOTCONN || result == -ETIMEDOUT)
            break;
        if (result < 0)
            return result;
    }
    return !np_endpoint_has_news(endpoint) && (!endpoint->asked_in_vain || !lane_may_be_missing(sender));
}

/* Waits until there may be room. 0: look again; -ETIMEDOUT. */
static int wait_for_room(struct numapool_sender *sender, struct np_waiting *waiting)
{
    if (np_waiting_spins(waiting)) {
        np_pause();
        return 0;
    }
    np_waiting_arm(&sender->endpoint);
    np_sender_raise_flags(sender, sender->endpoint.bell_id, &sender->endpoint.sleep);
    np_waiting_fence(waiting, &sender->endpoint.sleep);
    int result = 0;
    bool asks = np_endpoint_has_news(&sender->endpoint) || (sender->endpoint.asked_in_vain && lane_may_be_missing(sender));
    bool again = asks ? np_endpoint_may_ask(&sender->endpoint) : !NP_MUTANT(SLEEP_NO_SECOND_LOOK) && room(sender) > 0;
    if (!again)
        result = np_waiting_sleep(waiting, &sender->endpoint);
    np_sender_lower_flags(sender);
    return result;
}

int np_broadcast_send(struct numapool_sender *sender, const struct numapool_msg *messages, const uint64_t *claims, unsigned n,
                      int64_t timeout_ns)
{
    struct np_waiting waiting;
    bool waits = false;
    unsigned done = 0;
    while (done < n) {
        int known = know_receivers(sender);
        if (known < 0)
            return done > 0 ? (int)done : known;
        uint32_t some = known ? room(sender) : 0;
        if (some > 0) {
            some = n - done < some ? n - done : some;
            int result = send_run(sender, messages + done, claims ? claims + done : NULL, some);
            if (result < 0)
                return done > 0 ? (int)done : result;
            done += (unsigned)result;
            if ((unsigned)result < some)
                break;
            continue;
        }
        const char *why = known ? full_sentence : unknown_sentence;
        if (timeout_ns == 0)
            return done > 0 ? (int)done : np_error_static(-EAGAIN, why);
        if (!waits)
            np_waiting_begin(&waiting, sender->endpoint.spin_ns, timeout_ns);
        waits = true;
        if (wait_for_room(sender, &waiting) == -ETIMEDOUT)
            return done > 0 ? (int)done : np_error_static(-ETIMEDOUT, why);
    }
    return (int)done;
}

/* ---------------------------------------------------------------- repairs */

bool np_broadcast_start(struct np_lane_shared *lane, uint64_t *start)
{
    uint64_t plus_one = np_load64(&lane->start, memory_order_acquire); /* pairs with the release of the first word that followed it */
    *start = plus_one - 1;
    return plus_one != 0;
}

unsigned np_broadcast_roll_forward(struct np_lane_shared *lane, uint32_t home, uint32_t capacity, const struct np_lane_pool *pool,
                                   uint64_t stamp)
{
    uint64_t released = np_load64(&lane->released, memory_order_acquire), start;
    uint64_t position = released, limit = released + capacity;
    bool began = np_broadcast_start(lane, &start);
    unsigned rolled = 0;
    while (began) {
        position = np_lane_announced_until(lane, capacity, NP_LANE_BROADCAST, position, limit);
        struct np_arena *arena;
        uint64_t index;
        np_shm64 *word = position < limit ? np_lane_word_at(lane, capacity, position, pool, &arena, &index) : NULL;
        if (!word || NP_MUTANT(BROADCAST_NO_ROLL_FORWARD))
            break;
        np_shm64 *where = &np_lane_cells(lane)[position & (capacity - 1)].where;
        /* An older cell may name the same slot. acquire: pairs with the dead sender's store of SHARED, before which all
         * cells were complete. */
        if (np_load64(where, memory_order_relaxed) != np_cell_where_unannounced(position, (uint32_t)index) ||
            np_word_claim(np_load64(word, memory_order_acquire)) != np_word_shared(home, start + position, 0))
            break;
        /* release: pairs with the receiver's acquire of the announcement */
        np_store64(where, np_cell_where(position, (uint32_t)index), memory_order_release);
        position++;
        rolled++;
    }
    np_lane_orphan(lane, capacity, position, stamp);
    return rolled;
}

bool np_broadcast_has(struct np_lane_shared *lane, uint32_t capacity, uint64_t seq)
{
    uint64_t start;
    if (!np_broadcast_start(lane, &start))
        return false;
    uint64_t released = np_lane_released_until(lane), tail = np_load64(&lane->tail, memory_order_relaxed); /* relaxed: the broker set it */
    uint64_t unreleased = tail - released < capacity ? tail - released : capacity;
    return ((seq - (start + released)) & NP_WORD_SEQ_MASK) < unreleased;
}
