/* SPDX-License-Identifier: MIT */
#include "channel/lane.h"

#include <errno.h>

#include "core/error.h"
#include "core/layout.h"

size_t np_lane_bytes(uint32_t capacity, uint32_t kind)
{
    size_t bytes = NP_LANE_HEADER_BYTES + (size_t)capacity * (np_cell_bytes(kind) + np_label_bytes(kind));
    return (bytes + 4095) / 4096 * 4096;
}

uint64_t np_lane_layout(void)
{
    const uint64_t layout[] = { np_layout_revision(),
                                sizeof(struct np_lane_shared),
                                sizeof(struct np_cell),
                                sizeof(struct np_label),
                                sizeof(struct np_small_cell),
                                NP_LANE_HEADER_BYTES,
                                offsetof(struct np_lane_shared, state),
                                offsetof(struct np_lane_shared, tail),
                                offsetof(struct np_lane_shared, released),
                                offsetof(struct np_lane_shared, receiver_sleeps),
                                offsetof(struct np_lane_shared, sender_sleeps),
                                NP_WORD_SEQ_BITS };
    return np_fingerprint(layout, sizeof layout / sizeof layout[0]);
}

uint32_t np_lane_capacity(uint32_t wanted)
{
    uint32_t capacity = NP_LANE_SLOTS_MIN;
    if (wanted > NP_LANE_SLOTS_MAX)
        return 0;
    while (capacity < wanted)
        capacity *= 2;
    return capacity;
}

void np_lane_format(struct np_lane_shared *lane, uint32_t id, uint32_t capacity, uint32_t kind, uint32_t home, uint32_t pool,
                    uint32_t channel)
{
    lane->layout = np_lane_layout();
    lane->lane = id;
    lane->capacity = capacity;
    lane->kind = kind;
    lane->home = home;
    lane->pool = pool;
    lane->channel = channel;
    lane->magic = NP_LANE_MAGIC;
    np_store32(&lane->state, NP_LANE_ACTIVE, memory_order_relaxed); /* relaxed: nobody else has it yet */
}

int np_lane_check(const struct np_lane_shared *lane, uint32_t id, uint32_t capacity, uint32_t kind)
{
    if (lane->magic != NP_LANE_MAGIC || lane->lane != id || lane->capacity != capacity || lane->kind != kind)
        return np_error(-EBADMSG, "lane %u: its header does not agree with the daemon's description of it", id);
    if (lane->layout != np_lane_layout())
        return np_error(-EPROTO, "lane %u has another layout: use the library that came with the daemon", id);
    return 0;
}

np_shm64 *np_lane_word_at(struct np_lane_shared *lane, uint32_t capacity, uint64_t position, const struct np_lane_pool *pool,
                          struct np_arena **arena, uint64_t *index)
{
    struct np_cell *cell = &np_lane_cells(lane)[position & (capacity - 1)];
    /* relaxed: the word decides whether this is the message's cell at all */
    uint64_t where = np_load64(&cell->where, memory_order_relaxed);
    unsigned number = np_cell_arena(np_load64(&cell->what, memory_order_relaxed));
    if (number >= pool->arena_count)
        return NULL;
    *arena = np_lane_arena(pool, number);
    *index = np_cell_slot(where);
    return *index < (*arena)->slots ? &(*arena)->words[*index] : NULL;
}

uint64_t np_lane_announced_until(struct np_lane_shared *lane, uint32_t capacity, uint32_t kind, uint64_t position, uint64_t limit)
{
    const char *cells = (const char *)lane + NP_LANE_HEADER_BYTES;
    const size_t bytes = np_cell_bytes(kind);
    _Static_assert(offsetof(struct np_cell, where) == 0 && offsetof(struct np_small_cell, where) == 0, "each cell begins with it");
    if (kind == NP_LANE_HOME)
        return position;
    for (; position < limit; position++) {
        const np_shm64 *where = (const np_shm64 *)(const void *)(cells + (position & (capacity - 1)) * bytes);
        /* acquire: pairs with the sender's announcement; what it had stored before, word and cell, is seen */
        if (!np_cell_is_announced(np_load64(where, memory_order_acquire), position))
            break;
    }
    return position;
}

void np_lane_orphan(struct np_lane_shared *lane, uint32_t capacity, uint64_t tail, uint64_t stamp)
{
    np_store64(&lane->tail, tail, memory_order_release);
    if (np_load32(&lane->state, memory_order_relaxed) == NP_LANE_ORPHAN) /* relaxed: one writer */
        return;
    /* From where the dead sender may not have taken back: cells older than a capacity have been written again, by L2 after
     * their words were re-marked. */
    np_store64(&lane->reclaimed, tail > capacity ? tail - capacity : 0, memory_order_relaxed); /* relaxed, both: before the state */
    np_store64(&lane->orphaned, stamp, memory_order_relaxed);
    np_store32(&lane->state, NP_LANE_ORPHAN, memory_order_release); /* pairs with the receiver's look at a drained lane */
}

uint64_t np_lane_released_until(struct np_lane_shared *lane)
{
    uint64_t tail = np_load64(&lane->tail, memory_order_acquire);
    uint64_t released = np_load64(&lane->released, memory_order_acquire); /* pairs with the receiver's release store */
    return released < tail ? released : tail; /* scribbled: the receiver cannot release what was not sent */
}

/* One past the run of messages from `position` on whose words say SENT, at most `limit`. */
static uint64_t sent_until(struct np_lane_shared *lane, uint32_t id, uint32_t capacity, const struct np_lane_pool *pool, uint64_t position,
                           uint64_t limit)
{
    for (; position < limit; position++) {
        struct np_arena *arena;
        uint64_t index;
        np_shm64 *word = np_lane_word_at(lane, capacity, position, pool, &arena, &index);
        /* acquire: pairs with the dead sender's store of SENT, before which the cell was complete (L1) */
        if (!word || !np_word_is_sent_as(np_load64(word, memory_order_acquire), id, position))
            break;
    }
    return position;
}

static void set_announced(struct np_lane_shared *lane, uint32_t capacity, uint64_t position, bool announced)
{
    np_shm64 *where = &np_lane_cells(lane)[position & (capacity - 1)].where;
    uint32_t slot = np_cell_slot(np_load64(where, memory_order_relaxed)); /* relaxed: its writer is dead */
    /* release: pairs with the receiver's acquire of the announcement */
    np_store64(where, announced ? np_cell_where(position, slot) : np_cell_where_unannounced(position, slot), memory_order_release);
}

unsigned np_lane_roll_forward(struct np_lane_shared *lane, uint32_t id, uint32_t capacity, const struct np_lane_pool *pool,
                              uint64_t stamp)
{
    uint64_t released = np_load64(&lane->released, memory_order_acquire), limit = released + capacity;
    uint64_t announced = np_lane_announced_until(lane, capacity, NP_LANE_SLOTS, released, limit), until = announced;
    if (!NP_MUTANT(NO_ROLL_FORWARD))
        until = sent_until(lane, id, capacity, pool, announced, limit);
    /* What is announced and not sent is taken back before the gap in front of it closes (L3), and that closes last: whoever dies in
     * between leaves the same to be done again. */
    for (uint64_t position = until; position < limit && !NP_MUTANT(ANNOUNCEMENTS_STAY); position++)
        if (np_lane_announced_until(lane, capacity, NP_LANE_SLOTS, position, position + 1) > position)
            set_announced(lane, capacity, position, false);
    for (uint64_t position = until; position-- > announced;)
        set_announced(lane, capacity, position, true);
    np_lane_orphan(lane, capacity, until, stamp);
    return (unsigned)(until - announced);
}

unsigned np_lane_prepare_handover(struct np_lane_shared *lane, uint32_t id, uint32_t capacity, const struct np_lane_pool *pool)
{
    uint64_t released = np_load64(&lane->released, memory_order_acquire);
    /* What the one who is gone can have seen lies in the announced run; a live sender may lengthen it while we look. */
    uint64_t until = np_lane_announced_until(lane, capacity, NP_LANE_SLOTS, released, released + capacity);
    unsigned again = 0;
    for (uint64_t position = released; position < until; position++) {
        struct np_arena *arena;
        uint64_t index;
        np_shm64 *word = np_lane_word_at(lane, capacity, position, pool, &arena, &index);
        if (word && np_word_is_sent_as(np_load64(word, memory_order_acquire), id, position)) {
            again++;
            continue;
        }
        if (NP_MUTANT(NO_SKIP))
            continue;
        np_shm64 *what = &np_lane_cells(lane)[position & (capacity - 1)].what;
        np_or64(what, np_cell_flag_bits(NP_CELL_SKIP), memory_order_release); /* published with the hand-over itself */
    }
    if (until > np_load64(&lane->redelivered_until, memory_order_relaxed)) /* relaxed: only the broker writes it */
        np_store64(&lane->redelivered_until, until, memory_order_release);
    return again;
}

unsigned np_lane_pass_over(struct np_lane_shared *lane, uint32_t capacity, uint32_t kind)
{
    const uint32_t mask = capacity - 1;
    uint64_t released = np_load64(&lane->released, memory_order_acquire);
    uint64_t position = released, until = np_lane_announced_until(lane, capacity, kind, released, released + capacity);
    for (; position < until; position++) {
        /* relaxed, both: ordered by the acquire of the announcement */
        unsigned flags = kind == NP_LANE_SMALL ? np_small_flags(np_load64(&np_small_cells(lane)[position & mask].where, memory_order_relaxed))
                                               : np_cell_flags(np_load64(&np_lane_cells(lane)[position & mask].what, memory_order_relaxed));
        if ((flags & (NP_CELL_SKIP | NP_CELL_DIRECTED)) == 0)
            break;
    }
    if (position > released) /* release: as the receiver's own store, which pairs with the sender's acquire */
        np_store64(&lane->released, position, memory_order_release);
    return (unsigned)(position - released);
}

unsigned np_lane_orphan_duty(struct np_lane_shared *lane, uint32_t id, uint32_t capacity, const struct np_lane_pool *pool)
{
    if (NP_MUTANT(NO_ORPHAN_DUTY))
        return 0;
    uint64_t released = np_lane_released_until(lane);
    uint64_t position = np_load64(&lane->reclaimed, memory_order_relaxed);
    unsigned freed = 0;
    if (released > position + 2 * (uint64_t)capacity)
        position = released - 2 * (uint64_t)capacity;
    for (; position < released; position++) {
        struct np_arena *arena;
        uint64_t index;
        np_shm64 *address = np_lane_word_at(lane, capacity, position, pool, &arena, &index);
        if (!address)
            continue;
        uint64_t word = np_load64(address, memory_order_acquire);
        if (np_word_is_sent_as(word, id, position) && np_arena_reclaim(arena, index, word)) {
            np_arena_note_reclaimed(arena, 1);
            np_arena_show_free(arena, index / 64, UINT64_C(1) << index % 64);
            freed++;
        }
    }
    np_store64(&lane->reclaimed, position, memory_order_release);
    if (freed > 0)
        for (unsigned i = 0; i < pool->arena_count; i++)
            np_arena_wake(np_lane_arena(pool, i));
    return freed;
}

bool np_lane_is_drained(struct np_lane_shared *lane, uint32_t capacity, uint32_t kind)
{
    uint64_t released = np_load64(&lane->released, memory_order_acquire);
    if (np_load32(&lane->state, memory_order_acquire) == NP_LANE_ORPHAN)
        return np_load64(&lane->reclaimed, memory_order_relaxed) >= np_load64(&lane->tail, memory_order_acquire);
    return np_lane_announced_until(lane, capacity, kind, released, released + 1) == released;
}

static void ring(const struct np_lane_pool *pool, uint32_t bell)
{
    if (bell < pool->bell_count)
        np_bell_ring(&pool->bells[bell]);
}

void np_lane_ring(struct np_lane_shared *lane, const struct np_lane_pool *pool)
{
    /* What was changed before, or the bell that stands here now: who goes to sleep names his bell, fences and looks. */
    np_fence();
    ring(pool, np_load32(&lane->receiver_bell, memory_order_acquire));
    ring(pool, np_load32(&lane->sender_bell, memory_order_acquire));
    np_ring(&lane->receiver_ring);
    np_ring(&lane->sender_ring);
}

uint64_t np_lane_depth(struct np_lane_shared *lane, uint32_t capacity)
{
    uint64_t released = np_load64(&lane->released, memory_order_relaxed); /* relaxed: a statistic */
    uint64_t tail = np_load64(&lane->tail, memory_order_relaxed);
    if (tail < released)
        return 0;
    return tail - released > capacity ? capacity : tail - released;
}
