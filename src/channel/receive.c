/* SPDX-License-Identifier: MIT
 * Receiving: what is announced on the lanes, orphans first, then lanes to be drained, and waiting for it. */
#include <errno.h>

#include "channel/receiver.h"
#include "channel/small.h"
#include "core/error.h"

static const char nothing_sentence[] = "no message is there";

#define LOOKS_WITHOUT_CLOCK 64u  /* at the next cell, at the beginning of a wait: a microsecond or two */
#define LOOK_NS 32               /* about what such a look and its pause take */
#define CELLS_A_LINE (NP_CACHE_LINE / sizeof(struct np_cell))
#define FETCHED_AHEAD_MAX 32u    /* messages */
#define LOOKS_BETWEEN 4u         /* before all else is looked at again */

/* The flags of a cell that a message of the common kind may have. */
#define COMMON_FLAGS (NP_CELL_LABELLED | NP_CELL_KEYED)

/* id and key, 0 where the cell has no label. */
static inline void read_label(struct numapool_msg *message, const struct np_label *label, uint64_t what)
{
    message->id = message->key = 0;
    if (what & np_cell_flag_bits(NP_CELL_LABELLED)) {
        message->id = np_load64(&label->id, memory_order_relaxed); /* relaxed, both: ordered by the acquire of where */
        message->key = np_load64(&label->key, memory_order_relaxed);
    }
}

/* Takes the message at `position` if it is of the common kind: in a slot of the first node, directed to nobody. False: it is not there, or of
 * another kind. at: its place in the ring. */
static inline __attribute__((always_inline)) bool take_one(const struct np_receiver_lane *lane, uint64_t at, uint64_t position,
                                                           const struct np_arena *arena, struct numapool_msg *message)
{
    const struct np_cell *cell = &lane->cells[at];
    uint64_t where = np_load64(&cell->where, memory_order_acquire); /* pairs with the sender's announcement */
    if (!np_cell_is_announced(where, position))
        return false;
    uint64_t what = np_load64(&cell->what, memory_order_relaxed); /* relaxed: ordered by the acquire of where */
    uint64_t slot = np_cell_slot(where);
    /* arena and other flags are 0 where length, below 2^32, is in its place */
    if (__builtin_expect(np_cell_without_type(what & ~np_cell_flag_bits(COMMON_FLAGS)) > arena->slot_bytes || slot >= arena->cell_slots, 0))
        return false;
    message->data = arena->data + slot * arena->stride;
    np_cell_describe(message, what, np_cell_flags(what) & NP_CELL_KEYED ? NUMAPOOL_KEYED : 0);
    message->lane_seq = position;
    message->lane = lane->place;
    message->reserved = 0;
    read_label(message, &lane->labels[at], what);
    return true;
}

/* Takes messages of the common kind that were never delivered before, from position `first` until the ring's end. Stops at the first that is not there or of
 * another kind; how many. */
static inline unsigned take_common(const struct np_receiver_lane *lane, uint64_t first, const struct np_arena *arena,
                                   struct numapool_msg *messages, unsigned n)
{
    const uint64_t at = first & lane->mask, until_end = lane->mask + 1 - at;
    /* Copies, for a store to a message might be one to any of these for all that the compiler knows. */
    const struct np_receiver_lane here = { .cells = &lane->cells[at], .labels = &lane->labels[at], .place = lane->place };
    const struct np_arena common = { .data = arena->data, .cell_slots = arena->cell_slots, .slot_bytes = arena->slot_bytes,
                                     .stride = arena->stride };
    unsigned got = 0;
    n = n < until_end ? n : (unsigned)until_end;
    if (__builtin_expect(first < lane->redelivered_until, 0))
        return 0;
    while (got < n && take_one(&here, got, first + got, &common, &messages[got]))
        got++;
    return got;
}

/* A cell names an arena: one that is not known here belongs to a pool that has grown, or is a scribble, which the pool's
 * maker tells apart. False: he does not answer now. The message stays where it is, for the next call. */
static bool know_arena(struct numapool_receiver *receiver, unsigned arena)
{
    struct numapool_pool *pool = receiver->endpoint.pool;
    receiver->unknown = arena >= np_pool_arena_count(pool);
    if (!receiver->unknown)
        return true;
    if (np_endpoint_may_ask(&receiver->endpoint)) {
        int learned = np_pool_learn(pool);
        receiver->unknown = np_endpoint_asked(&receiver->endpoint, learned < 0 ? learned : 0) < 0;
    }
    return !receiver->unknown;
}

/* Moved on before the lane came here, or directed to somebody else, who is gone: the lane was his. */
static bool is_passed_over(const struct numapool_receiver *receiver, const struct np_label *label, unsigned flags)
{
    /* relaxed: ordered by the acquire of where */
    return (flags & NP_CELL_SKIP) != 0 ||
           ((flags & NP_CELL_DIRECTED) != 0 && np_load64(&label->key, memory_order_relaxed) != np_receiver_address(receiver));
}

/* Whether it is in a block of malloc (slots is 0 for each of those): *data + slot x *stride then is where. */
static bool is_block(const struct np_arena *arena, uint64_t slot, uint64_t length, char **data, uint64_t *stride)
{
    if (!arena->blocks || slot >= arena->slots || length > arena->slot_bytes)
        return false;
    *data = np_blocks_at(arena->blocks, slot);
    *stride = 0;
    return *data != NULL;
}

/* Takes what is announced on a lane. A count. A cell that does not fit ends it and sets *scribbled; when nothing came
 * before it in this call (`first`), it is passed over, else it is left for the next call, which begins with it and reports
 * it. */
static unsigned poll_lane(struct numapool_receiver *receiver, unsigned place, struct numapool_msg *messages, unsigned n,
                          bool first, bool *scribbled)
{
    struct np_receiver_lane *lane = &receiver->lanes[place];
    if (__builtin_expect(lane->kind == NP_LANE_SMALL, 0))
        return np_small_poll(receiver, place, messages, n, first, scribbled);
    /* In locals, for a store to a message might be one to any of these for all that the compiler knows. */
    const struct np_pool_arena *arenas = receiver->endpoint.pool->arenas;
    const struct np_cell *cells = lane->cells;
    const uint64_t mask = lane->mask, redelivered_until = lane->redelivered_until;
    uint64_t position = lane->head, limit = lane->done + lane->mask + 1;
    const struct np_arena *arena = &arenas[0].arena;
    uint64_t slots = arena->cell_slots, slot_bytes = arena->slot_bytes, stride = arena->stride;
    char *data = arena->data;
    unsigned got = take_common(lane, position, arena, messages, limit - position < n ? (unsigned)(limit - position) : n), known_arena = 0;
    position += got;
    while (got < n && position < limit) {
        const struct np_cell *cell = &cells[position & mask];
        uint64_t where = np_load64(&cell->where, memory_order_acquire); /* pairs with the sender's announcement */
        if (!np_cell_is_announced(where, position))
            break;
        uint64_t what = np_load64(&cell->what, memory_order_relaxed); /* relaxed: ordered by the acquire of where */
        uint64_t slot = np_cell_slot(where), length = np_cell_length(what);
        const struct np_label *label = &lane->labels[position & mask];
        if (__builtin_expect(what >> 48 != known_arena, 0)) { /* another node, or flags */
            if (is_passed_over(receiver, label, np_cell_flags(what))) {
                np_receiver_finish(lane, position++);
                limit = lane->done + lane->mask + 1;
                continue;
            }
            if (np_cell_arena(what) != known_arena && !know_arena(receiver, np_cell_arena(what)))
                break;
            if (np_cell_arena(what) < np_pool_arena_count(receiver->endpoint.pool)) {
                known_arena = np_cell_arena(what);
                arena = &arenas[known_arena].arena;
                slots = arena->cell_slots, slot_bytes = arena->slot_bytes, stride = arena->stride, data = arena->data;
            }
        }
        if (__builtin_expect((np_cell_arena(what) != known_arena) | (slot >= slots) | (length > slot_bytes), 0) &&
            (np_cell_arena(what) != known_arena || !is_block(arena, slot, length, &data, &stride))) {
            *scribbled = true;
            if (!first || got > 0)
                break;
            np_receiver_finish(lane, position++);
            np_error(-EBADMSG, "lane %u: the cell of message %llu names slot %llu of node number %u with %llu bytes, which pool '%s' has not: "
                     "its sender scribbled; the message was passed over", lane->id, (unsigned long long)(position - 1),
                     (unsigned long long)slot, np_cell_arena(what), (unsigned long long)length, receiver->endpoint.pool->name);
            break;
        }
        messages[got] = (struct numapool_msg){
            .data = data + slot * stride, .length = (uint32_t)length, .type = np_cell_type(what),
            .flags = (uint16_t)((position < redelivered_until ? NUMAPOOL_REDELIVERED : 0) |
                                (np_cell_flags(what) & NP_CELL_KEYED ? NUMAPOOL_KEYED : 0)),
            .lane_seq = position, .lane = place,
        };
        read_label(&messages[got++], label, what);
        position++;
    }
    lane->head = position;
    np_receiver_publish(receiver, lane); /* what was passed over: who holds what follows may not look at this lane again */
    return got;
}

/* An orphan lane from which all has been received and released is left. */
static void leave_drained_orphans(struct numapool_receiver *receiver)
{
    struct numapool_pool *pool = receiver->endpoint.pool;
    bool left = false;
    if (!np_endpoint_may_ask(&receiver->endpoint))
        return;
    for (unsigned i = 0; i < receiver->orphan_count; i++) {
        struct np_receiver_lane *lane = &receiver->lanes[receiver->order[i]];
        if (lane->done != lane->head || lane->done != np_load64(&lane->shared->tail, memory_order_acquire))
            continue;
        np_receiver_publish(receiver, lane);
        int result = pool->authority->leave_lane(pool->authority_context, receiver->endpoint.id, lane->id, lane->generation);
        left = true;
        if (result == -EINVAL) { /* its sender lives, and has scribbled over it */
            lane->denied = true;
            np_receiver_set_state(lane, NP_LANE_ACTIVE);
            continue;
        }
        if (np_endpoint_asked(&receiver->endpoint, result) < 0)
            break;
        np_receiver_forget_lane(receiver, lane);
    }
    if (left)
        np_receiver_set_order(receiver);
}

/* From lanes to be drained, as long as they have precedence. */
static unsigned poll_lanes_to_drain(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n, bool takes,
                                    bool *scribbled)
{
    unsigned got = 0;
    bool ends = false;
    for (unsigned i = 0; i < receiver->drain_count && got < n && !*scribbled; i++) {
        unsigned place = receiver->order[receiver->orphan_count + i];
        got += poll_lane(receiver, place, messages + got, n - got, takes && got == 0, scribbled);
        ends |= receiver->lanes[place].head >= receiver->lanes[place].first_until;
    }
    if (ends)
        np_receiver_set_order(receiver);
    return got;
}

/* Whether the lane's next cell is announced. relaxed: who is told so looks again. */
static inline bool has_next(const struct np_receiver_lane *lane)
{
    const np_shm64 *where = lane->kind == NP_LANE_SMALL ? &np_small_cells(lane->shared)[lane->head & lane->mask].where
                                                        : &lane->cells[lane->head & lane->mask].where;
    return np_cell_is_announced(np_load64(where, memory_order_relaxed), lane->head);
}

/* takes: a scribbled cell is passed over and told; else it stays, and is only seen. */
static unsigned poll_lanes(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n, bool takes, bool *scribbled)
{
    unsigned got = 0;
    for (unsigned i = 0; i < receiver->orphan_count && got < n && !*scribbled; i++) {
        receiver->unknown = false;
        got += poll_lane(receiver, receiver->order[i], messages + got, n - got, takes && got == 0, scribbled);
        if (receiver->unknown)
            return got; /* younger lanes wait for it */
    }
    if (receiver->orphan_count > 0 && !*scribbled) {
        if (got > 0)
            return got; /* the successors of the dead wait */
        leave_drained_orphans(receiver);
    }
    if (__builtin_expect(receiver->drain_count > 0, 0) && !*scribbled)
        got = poll_lanes_to_drain(receiver, messages, n, takes, scribbled);
    unsigned firsts = receiver->orphan_count + receiver->drain_count, others = receiver->order_count - firsts;
    for (unsigned tried = 0; tried < others && got < n && !*scribbled; tried++) {
        if (++receiver->turn >= others)
            receiver->turn = 0;
        unsigned place = receiver->order[firsts + receiver->turn];
        if (has_next(&receiver->lanes[place]))
            got += poll_lane(receiver, place, messages + got, n - got, takes && got == 0, scribbled);
    }
    if (*scribbled && got > 0)
        receiver->turn = (receiver->turn + others - 1) % (others ? others : 1);
    return got;
}

/* What news there may be of the lanes that are known, when nobody answers: their states lie in their own memory. True:
 * some have changed. */
static bool look_at_states(struct numapool_receiver *receiver)
{
    bool changed = false;
    for (unsigned i = 0; i < receiver->lane_count; i++) {
        struct np_receiver_lane *lane = &receiver->lanes[i];
        uint32_t state = lane->shared ? np_load32(&lane->shared->state, memory_order_acquire) : lane->state; /* pairs with roll forward */
        if (state == lane->state)
            continue;
        np_receiver_set_state(lane, state);
        lane->orphaned = np_load64(&lane->shared->orphaned, memory_order_relaxed); /* relaxed: ordered by the acquire of the state */
        changed = true;
    }
    if (changed)
        np_receiver_set_order(receiver);
    return changed;
}

/* Asks for what has changed. A lane that became an orphan with nothing on it may have ended before it was asked for, and then no answer
 * names it: that its memory says so is reason enough to ask to leave it. The daemon decides, for who sends there can write it too. */
static void sync_lanes(struct numapool_receiver *receiver)
{
    bool changed = false;
    if (np_endpoint_sync(&receiver->endpoint, np_receiver_lane_changed, receiver) < 0)
        return;
    for (unsigned i = 0; i < receiver->lane_count; i++) {
        struct np_receiver_lane *lane = &receiver->lanes[i];
        if (!lane->shared || lane->kind == NP_LANE_BROADCAST || lane->state == NP_LANE_ORPHAN || lane->denied ||
            np_load32(&lane->shared->state, memory_order_acquire) != NP_LANE_ORPHAN) /* pairs with roll forward */
            continue;
        np_receiver_set_state(lane, NP_LANE_ORPHAN);
        lane->orphaned = np_load64(&lane->shared->orphaned, memory_order_relaxed); /* relaxed: ordered by the acquire of the state */
        changed = true;
    }
    if (changed)
        np_receiver_set_order(receiver);
}

/* Undoes poll_lanes. A dead sender's lane is an orphan before its successor can send what follows, so who has read a
 * successor's message and looks for news then finds it. */
static void put_back(struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n)
{
    while (n-- > 0)
        receiver->lanes[messages[n].lane].head = messages[n].lane_seq;
}

/* Whether the next cell of its only lane is announced, or there is news: a look at nothing but these two lines. Without such a lane there
 * may always be something. */
static inline bool may_be_there(const struct numapool_receiver *receiver)
{
    return !receiver->usual || has_next(receiver->usual) || np_endpoint_has_news(&receiver->endpoint);
}

/* The same within so many looks, of which each is followed by a pause: without it more looks are under way when the line is taken by who is
 * about to announce, and it comes back later. */
static inline bool comes_within(const struct numapool_receiver *receiver, int64_t looks)
{
    for (; receiver->usual && looks > 0; looks--) {
        if (may_be_there(receiver))
            return true;
        np_pause();
    }
    return false;
}

/* The same at the beginning of a wait: the other end may be about to answer, and a clock takes longer to read. */
static inline bool comes_at_once(const struct numapool_receiver *receiver)
{
    int64_t looks = receiver->endpoint.spin_ns / LOOK_NS;
    return comes_within(receiver, looks < LOOKS_WITHOUT_CLOCK ? looks : LOOKS_WITHOUT_CLOCK);
}

bool np_receiver_peek(struct numapool_receiver *receiver)
{
    struct numapool_msg message;
    bool scribbled = false;
    if (!may_be_there(receiver))
        return false;
    if (np_endpoint_has_news(&receiver->endpoint) && np_endpoint_may_ask(&receiver->endpoint))
        sync_lanes(receiver);
    unsigned turn = receiver->turn;
    unsigned got = poll_lanes(receiver, &message, 1, false, &scribbled);
    put_back(receiver, &message, got);
    receiver->turn = turn;
    return got > 0 || scribbled;
}

void np_receiver_raise_flags(struct numapool_receiver *receiver, struct np_sleep *sleep)
{
    for (unsigned i = 0; i < receiver->order_count; i++) {
        struct np_lane_shared *shared = receiver->lanes[receiver->order[i]].shared;
        if (receiver->endpoint.foreign)
            np_sleep_on(sleep, &shared->receiver_ring);
        np_store32(&shared->receiver_sleeps, receiver->endpoint.foreign ? NP_SLEEPS_ON_LANE : NP_SLEEPS_ON_BELL,
                   memory_order_relaxed); /* relaxed: a fence follows */
    }
}

void np_receiver_lower_flags(struct numapool_receiver *receiver)
{
    for (unsigned i = 0; i < receiver->order_count && !receiver->keeps_flags; i++) /* relaxed: lowered late costs a vain ring */
        np_store32(&receiver->lanes[receiver->order[i]].shared->receiver_sleeps, NP_SLEEPS_NOT, memory_order_relaxed);
}

static int receive_or_wait(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n, int64_t timeout_ns);

/* Begins to fetch the payload of up to n messages that are there already and will be received next: their sender's processor has it. And
 * the cells of as many after them, for the next such look. */
static void fetch_ahead(const struct np_receiver_lane *lane, const struct np_arena *arena, unsigned n)
{
    const struct np_cell *const cells = lane->cells;
    const uint64_t mask = lane->mask, head = lane->head, slots = arena->cell_slots, stride = arena->stride;
    const char *const data = arena->data;
    n = n < FETCHED_AHEAD_MAX ? n : FETCHED_AHEAD_MAX;
    for (uint64_t position = head; position < head + n; position++) {
        const struct np_cell *cell = &cells[position & mask];
        const uint64_t where = np_load64(&cell->where, memory_order_relaxed); /* relaxed, both: nothing is believed that is read here */
        if (!np_cell_is_announced(where, position) || np_cell_slot(where) >= slots)
            break;
        const char *payload = data + np_cell_slot(where) * stride;
        const uint32_t length = np_cell_length(np_load64(&cell->what, memory_order_relaxed));
        if (length > 0)
            np_prefetch(payload);
        if (length > NP_CACHE_LINE)
            np_prefetch((const char *)((uintptr_t)payload + NP_CACHE_LINE));
    }
    for (unsigned i = 0; i < n; i += CELLS_A_LINE)
        np_prefetch(&cells[(head + n + i) & mask]);
}

/* Of its only lane the next message, when there is nothing else to be thought of. */
static inline __attribute__((always_inline)) bool receive_one(const struct numapool_receiver *receiver, struct numapool_msg *message)
{
    struct np_receiver_lane *lane = receiver->usual;
    if (__builtin_expect(lane == NULL, 0))
        return false;
    const uint64_t head = lane->head;
    if (__builtin_expect(receiver->kind == NP_LANE_SMALL, 0)) {
        if (__builtin_expect(head - lane->done > lane->mask, 0) ||
            !np_small_take_one(&np_small_cells(lane->shared)[head & lane->mask], head, lane->redelivered_until, lane->place, message) ||
            np_endpoint_has_news(&receiver->endpoint))
            return false;
        lane->head = head + 1;
        return true;
    }
    if (__builtin_expect((head - lane->done > lane->mask) | (head < lane->redelivered_until), 0) ||
        !take_one(lane, head & lane->mask, head, receiver->first, message) ||
        np_endpoint_has_news(&receiver->endpoint)) /* looked at last: what came may have overtaken a lane that is an orphan since */
        return false;
    lane->head = head + 1;
    return true;
}

/* The same for so many. How many; 0: none is there, or it is not so simple. */
static unsigned receive_usual(const struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n)
{
    struct np_receiver_lane *lane = receiver->usual;
    if (__builtin_expect(lane == NULL, 0))
        return 0;
    const uint64_t room = lane->done + lane->mask + 1 - lane->head;
    n = room < n ? (unsigned)room : n;
    unsigned got = receiver->kind == NP_LANE_SMALL ? np_small_take(lane, lane->place, messages, n)
                                                   : take_common(lane, lane->head, receiver->first, messages, n);
    if (__builtin_expect(got < n && got > 0 && ((lane->head + got) & lane->mask) == 0 && receiver->kind != NP_LANE_SMALL, 0))
        got += take_common(lane, lane->head + got, receiver->first, messages + got, n - got); /* from the ring's beginning on */
    if (__builtin_expect(np_endpoint_has_news(&receiver->endpoint), 0))
        return 0;
    lane->head += got;
    if (got > 0 && receiver->kind != NP_LANE_SMALL)
        fetch_ahead(lane, receiver->first, got);
    return got;
}

/* Of whatever kind and number; of who has not been admitted yet as well. Called at the end, so that this is the name that a trace shows. */
static __attribute__((noinline)) int numapool_receive_slow(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n,
                                             int64_t timeout_ns, const void *return_address)
{
    if ((receiver == NULL || receiver->live != NP_RECEIVER_LIVE) && !np_receiver_admit(receiver, "numapool_receive", return_address))
        return -EINVAL;
    if (n == 0 || n > NP_LANE_SLOTS_MAX || timeout_ns < 0)
        return np_error(-EINVAL, "receive of %u messages with timeout %lld: 1 to %u, and 0 or more", n, (long long)timeout_ns,
                        NP_LANE_SLOTS_MAX);
    int got = n == 1 ? 0 : (int)receive_usual(receiver, messages, n); /* one has just been looked for */
    if (got == 0 && timeout_ns > 0 && comes_at_once(receiver))
        got = n == 1 && receive_one(receiver, messages) ? 1 : (int)receive_usual(receiver, messages, n);
    if (got == 0 && timeout_ns == 0 && !may_be_there(receiver))
        return np_error_static(-EAGAIN, nothing_sentence);
    if (got == 0)
        got = receive_or_wait(receiver, messages, n, timeout_ns);
    for (int i = 0; __builtin_expect(np_receiver_is_checked(receiver), 0) && i < got; i++)
        if (!(messages[i].flags & NUMAPOOL_IN_CELL))
            np_guard_received(receiver->endpoint.pool, messages[i].data);
    return got;
}

int numapool_receive(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n, int64_t timeout_ns)
{
    if (__builtin_expect(receiver != NULL && n == 1 && timeout_ns >= 0 && receive_one(receiver, messages), 1))
        return 1;
    return numapool_receive_slow(receiver, messages, n, timeout_ns, __builtin_return_address(0));
}

static int receive_or_wait(struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n, int64_t timeout_ns)
{
    struct np_waiting waiting;
    bool waits = false, armed = false;
    uint32_t armed_changes = 0;
    for (int result = 0;;) {
        bool scribbled = false;
        if (np_endpoint_has_news(&receiver->endpoint) && np_endpoint_may_ask(&receiver->endpoint)) {
            if (armed)
                np_receiver_lower_flags(receiver);
            armed = false; /* a lane that comes now has no flag up */
            sync_lanes(receiver); /* unanswered: the lanes that are known will do */
        }
        unsigned got = armed && NP_MUTANT(SLEEP_NO_SECOND_LOOK) ? 0 : poll_lanes(receiver, messages, n, true, &scribbled);
        if (got > 0 && np_endpoint_has_news(&receiver->endpoint) &&
            (np_endpoint_may_ask(&receiver->endpoint) || look_at_states(receiver))) {
            put_back(receiver, messages, got); /* what came may have overtaken a lane that is an orphan since */
            continue;
        }
        if (got > 0 || scribbled) {
            if (armed)
                np_receiver_lower_flags(receiver);
            return got > 0 ? (int)got : -EBADMSG;
        }
        if (timeout_ns == 0)
            return np_error_static(-EAGAIN, nothing_sentence);
        if (result == -ETIMEDOUT)
            return np_error_static(-ETIMEDOUT, "no message came in time");
        if (!waits)
            np_waiting_begin(&waiting, receiver->endpoint.spin_ns, timeout_ns);
        waits = true;
        if (armed) {
            if (receiver->changes == armed_changes) /* else a lane that it would sleep on has been left */
                result = np_waiting_sleep(&waiting, &receiver->endpoint); /* the second look was in vain */
            np_receiver_lower_flags(receiver);
            armed = false;
        } else if (np_waiting_spins(&waiting)) {
            if (waiting.looks > NP_LOOKS_WITHOUT_PAUSE && !comes_within(receiver, LOOKS_BETWEEN))
                np_pause();
        } else {
            np_waiting_arm(&receiver->endpoint);
            np_receiver_raise_flags(receiver, &receiver->endpoint.sleep);
            np_waiting_fence(&waiting, &receiver->endpoint.sleep);
            armed = true;
            armed_changes = receiver->changes;
        }
    }
}
