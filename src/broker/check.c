/* SPDX-License-Identifier: MIT
 *
 * Is every slot somebody's, exactly once? A sweep that only reads, over memory that others go on writing.
 *
 * Invariants
 *   C1  Nothing is written but what the caller owns: all of it works on read-only mappings.
 *   C2  What looks wrong becomes a suspect. A suspect is looked at again over SETTLE_ROUNDS pauses, and is a finding only if
 *       it is wrong each time and never changed: what is on its way from one right state to the next does not stay.
 *   C3  A lane is judged by the capacity and generation it had when the sweep began; one that has been ended or given out again
 *       since is judged by the board alone, since the mapping here is then of memory that is nobody's any more.
 *   C4  Each word is counted once, as what it was when it was looked at last.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "channel/broadcast.h"
#include "channel/small.h"
#include "core/error.h"

#define SUSPECTS_MAX 16384u
#define SETTLE_ROUNDS 5u
#define SETTLE_PAUSE_NS 4000000

enum fault {
    FAULT_NONE,
    FAULT_STATE,
    FAULT_FREE_OWNED,
    FAULT_HELD_SEQ,
    FAULT_HELD_OWNER,
    FAULT_SENT_LANE,
    FAULT_SENT_SEQ,
    FAULT_SENT_CELL,
    FAULT_SHARED_HOME,
    FAULT_SHARED_CELL,
    FAULT_SHARED_UNREAD,
    FAULT_CELL_SLOT,
    FAULT_CELL_WORD,
    FAULT_CELL_LENGTH,
    FAULT_CELL_GAP,
    FAULT_RELEASED_AHEAD,
    FAULT_TAIL_AHEAD,
    FAULT_LANE_HEADER,
    FAULT_SENDER,
    FAULT_RECEIVER,
    FAULT_ARENA_HEADER
};

enum subject { OF_WORD, OF_CELL, OF_COUNTERS, OF_LANE_HEADER, OF_ENDS, OF_ARENA_HEADER };

struct suspect {
    enum subject subject;
    enum fault fault;
    uint32_t number;   /* arena or lane */
    uint64_t position; /* slot, or position on the lane */
    uint64_t seen[2];  /* what it was judged by; a change of it clears the suspect */
};

struct lane_view {
    struct np_lane_shared *shared; /* NULL: not mapped here */
    uint32_t capacity, generation, kind, home;
    bool fits; /* the mapping is the board's lane */
};

struct sweep {
    struct np_check *check;
    const struct np_board *board;
    const struct np_pool_entry *entry;
    char name[NUMAPOOL_NAME_BYTES]; /* the board's own may change under us */
    uint32_t pool;
    const struct np_arena *arenas;
    unsigned arena_count;
    struct lane_view *lanes;
    uint64_t *held_by, *sent_on;
    struct suspect *suspects;
    unsigned suspect_count;
};

/* ---------------------------------------------------------------- judging */

static bool is_alive(const np_shm32 *state)
{
    uint32_t now = np_load32(state, memory_order_acquire); /* pairs with the release store of `state` */
    return now == NP_ACTIVE || now == NP_DYING;
}

/* The lane's entry when it is one of this pool, else NULL. */
static const struct np_lane_entry *lane_of_pool(const struct sweep *sweep, uint32_t lane)
{
    if (lane == 0 || lane > sweep->board->limits.lanes)
        return NULL;
    const struct np_lane_entry *entry = &sweep->board->lanes[lane];
    if (!is_alive(&entry->state) || entry->channel == 0 || entry->channel > sweep->board->limits.channels)
        return NULL;
    return sweep->board->channels[entry->channel].pool == sweep->pool ? entry : NULL;
}

/* Its memory, when what is mapped here still is what the board means (C3). */
static struct np_lane_shared *memory_of_lane(const struct sweep *sweep, uint32_t lane)
{
    const struct lane_view *view = &sweep->lanes[lane];
    const struct np_lane_entry *entry = &sweep->board->lanes[lane];
    return view->fits && is_alive(&entry->state) && entry->generation == view->generation ? view->shared : NULL;
}

static struct np_cell *cell_at(const struct sweep *sweep, uint32_t lane, struct np_lane_shared *shared, uint64_t position)
{
    return &np_lane_cells(shared)[position & (sweep->lanes[lane].capacity - 1)];
}

/* The whole position that 28 bits of it and the lane's tail mean. False: no position that a word can still name. */
static bool position_near(uint64_t tail, uint64_t seq, uint32_t capacity, uint64_t *position)
{
    uint64_t ahead = (seq - tail) & NP_WORD_SEQ_MASK, behind = (tail - seq) & NP_WORD_SEQ_MASK;
    if (ahead <= capacity) { /* sent, and perhaps not announced yet */
        *position = tail + ahead;
        return true;
    }
    if (behind > 2 * (uint64_t)capacity || behind > tail)
        return false;
    *position = tail - behind;
    return true;
}

static enum fault judge_sent(const struct sweep *sweep, const struct np_arena *arena, uint64_t index, uint64_t word)
{
    uint32_t lane = np_word_owner(word);
    const struct np_lane_entry *entry = lane_of_pool(sweep, lane);
    if (!entry || entry->kind != NP_LANE_SLOTS)
        return FAULT_SENT_LANE;
    struct np_lane_shared *shared = memory_of_lane(sweep, lane);
    uint64_t position;
    if (!shared)
        return FAULT_NONE;
    if (!position_near(np_load64(&shared->tail, memory_order_acquire), np_word_seq(word), sweep->lanes[lane].capacity, &position))
        return FAULT_SENT_SEQ;
    /* L1 and L2: the cell was complete before the word said SENT, and is used again only after the word says something
     * else. One cell names one slot, so a second word that claims the same message is found here. */
    const struct np_cell *cell = cell_at(sweep, lane, shared, position);
    uint64_t where = np_load64(&cell->where, memory_order_acquire);
    uint64_t what = np_load64(&cell->what, memory_order_relaxed); /* relaxed: ordered by the acquire of where */
    uint32_t slot = (uint32_t)index;
    bool names_it = where == np_cell_where(position, slot) || where == np_cell_where_unannounced(position, slot);
    return names_it && np_cell_arena(what) == arena->index ? FAULT_NONE : FAULT_SENT_CELL;
}

/* A broadcast is on the lanes that were there when it was sent and have not released it (channel/broadcast.h). */
static enum fault judge_shared(const struct sweep *sweep, const struct np_arena *arena, uint64_t index, uint64_t word)
{
    uint32_t home = np_word_owner(word);
    const struct np_lane_entry *entry = lane_of_pool(sweep, home);
    if (!entry || entry->kind != NP_LANE_HOME)
        return FAULT_SHARED_HOME;
    uint64_t position;
    struct np_lane_shared *shared = memory_of_lane(sweep, home);
    if (shared && !position_near(np_load64(&shared->tail, memory_order_acquire), np_word_seq(word), sweep->lanes[home].capacity, &position))
        return FAULT_SENT_SEQ;
    bool anywhere = np_load32(&entry->sender, memory_order_acquire) != 0; /* who may not have taken it back, or not announced it */
    for (uint32_t lane = 1; lane <= sweep->board->limits.lanes; lane++) {
        const struct lane_view *view = &sweep->lanes[lane];
        const struct np_lane_entry *of = &sweep->board->lanes[lane];
        if (of->kind != NP_LANE_BROADCAST || of->home != home || !is_alive(&of->state) || np_load32(&of->receiver, memory_order_acquire) == 0)
            continue;
        struct np_lane_shared *memory = view->kind == NP_LANE_BROADCAST ? memory_of_lane(sweep, lane) : NULL;
        uint64_t start;
        anywhere = anywhere || !memory;
        if (!memory || !np_broadcast_start(memory, &start))
            continue;
        uint64_t released = np_load64(&memory->released, memory_order_acquire), tail = np_load64(&memory->tail, memory_order_acquire);
        uint64_t ahead = (np_word_seq(word) - (start + released)) & NP_WORD_SEQ_MASK;
        if (tail - released > view->capacity || ahead >= tail - released)
            continue;
        const struct np_cell *cell = cell_at(sweep, lane, memory, released + ahead);
        uint64_t where = np_load64(&cell->where, memory_order_acquire); /* pairs with the sender's announcement */
        uint64_t what = np_load64(&cell->what, memory_order_relaxed);   /* relaxed: ordered by the acquire of where */
        if (where != np_cell_where(released + ahead, (uint32_t)index) || np_cell_arena(what) != arena->index)
            return FAULT_SHARED_CELL;
        anywhere = true;
    }
    return anywhere ? FAULT_NONE : FAULT_SHARED_UNREAD;
}

static enum fault judge_word(const struct sweep *sweep, const struct np_arena *arena, uint64_t index, uint64_t word)
{
    uint32_t owner = np_word_owner(word);
    switch (np_word_state(word)) {
    case NP_WORD_FREE:
        return np_word_claim(word) == 0 ? FAULT_NONE : FAULT_FREE_OWNED;
    case NP_WORD_HELD:
        if (owner == 0 || owner > sweep->board->limits.clients || !is_alive(&sweep->board->clients[owner].state))
            return FAULT_HELD_OWNER;
        /* in a pool with checks it may be on its way out */
        return np_word_seq(word) <= (sweep->entry->flags & NUMAPOOL_CHECKS ? 1 : 0) ? FAULT_NONE : FAULT_HELD_SEQ;
    case NP_WORD_SENT:
        return judge_sent(sweep, arena, index, word);
    case NP_WORD_SHARED:
        return judge_shared(sweep, arena, index, word);
    case NP_WORD_KEPT:
        return FAULT_NONE;
    default:
        return FAULT_STATE;
    }
}

/* Whether somebody receives from it: a home has no cells, and a closed lane's sender goes on for a while. */
static bool is_read(const struct sweep *sweep, uint32_t lane)
{
    uint32_t kind = sweep->lanes[lane].kind;
    return kind != NP_LANE_HOME &&
           (kind != NP_LANE_BROADCAST || np_load32(&sweep->board->lanes[lane].receiver, memory_order_acquire) != 0);
}

/* Of an announced and unreleased cell: whether what it carries can be received. */
static enum fault judge_content(const struct sweep *sweep, uint32_t lane, uint64_t position, const uint64_t seen[2])
{
    const struct lane_view *view = &sweep->lanes[lane];
    unsigned arena = np_cell_arena(seen[1]);
    uint32_t slot = np_cell_slot(seen[0]);
    uint64_t start;
    if (view->kind == NP_LANE_SMALL)
        return np_small_length(seen[0]) <= NUMAPOOL_SMALL_BYTES ? FAULT_NONE : FAULT_CELL_LENGTH;
    if (arena >= sweep->arena_count || slot >= sweep->arenas[arena].slots)
        return FAULT_CELL_SLOT;
    if (view->kind != NP_LANE_BROADCAST || !np_broadcast_start(view->shared, &start))
        return FAULT_NONE;
    uint64_t word = np_load64(&sweep->arenas[arena].words[slot], memory_order_acquire); /* pairs with the sender's store of SHARED */
    return np_word_claim(word) == np_word_shared(view->home, start + position, 0) ? FAULT_NONE : FAULT_CELL_WORD;
}

static enum fault judge_cell(const struct sweep *sweep, uint32_t lane, uint64_t position, uint64_t seen[2], bool *goes_on)
{
    struct np_lane_shared *shared = memory_of_lane(sweep, lane);
    const struct lane_view *view = &sweep->lanes[lane];
    *goes_on = false;
    if (!shared || !is_read(sweep, lane))
        return FAULT_NONE;
    const char *cell = (const char *)shared + NP_LANE_HEADER_BYTES + (position & (view->capacity - 1)) * np_cell_bytes(view->kind);
    seen[0] = np_load64((const np_shm64 *)(const void *)cell, memory_order_acquire); /* where; pairs with the sender's announcement */
    if (view->kind != NP_LANE_SMALL) /* relaxed: complete before the announcement */
        seen[1] = np_load64(&cell_at(sweep, lane, shared, position)->what, memory_order_relaxed);
    enum fault fault = np_cell_is_announced(seen[0], position) ? judge_content(sweep, lane, position, seen) : FAULT_NONE;
    /* acquire, and after the cell: a cell that was used again for a later message is told by `released` having passed it */
    bool passed = np_load64(&shared->released, memory_order_acquire) > position;
    *goes_on = passed || np_cell_is_announced(seen[0], position);
    if (passed)
        return FAULT_NONE;
    if (!*goes_on) /* `tail` follows the announcements, so below it there is none missing */
        return position < np_load64(&shared->tail, memory_order_acquire) ? FAULT_CELL_GAP : FAULT_NONE;
    return fault;
}

static enum fault judge_counters(const struct sweep *sweep, uint32_t lane, uint64_t seen[2])
{
    struct np_lane_shared *shared = memory_of_lane(sweep, lane);
    if (!shared || !is_read(sweep, lane))
        return FAULT_NONE;
    uint32_t capacity = sweep->lanes[lane].capacity;
    seen[0] = np_load64(&shared->tail, memory_order_acquire);
    seen[1] = np_load64(&shared->released, memory_order_acquire);
    /* A receiver goes by the cells, which a sender announces before it moves tail: so released may be ahead by one batch. */
    if (seen[1] > seen[0] && seen[1] - seen[0] > capacity)
        return FAULT_RELEASED_AHEAD;
    return seen[0] > seen[1] && seen[0] - seen[1] > capacity ? FAULT_TAIL_AHEAD : FAULT_NONE;
}

static enum fault judge_lane_header(const struct sweep *sweep, uint32_t lane)
{
    const struct np_lane_entry *entry = lane_of_pool(sweep, lane);
    const struct lane_view *view = &sweep->lanes[lane];
    if (!entry || !view->shared || view->fits || entry->generation != view->generation)
        return FAULT_NONE;
    return FAULT_LANE_HEADER;
}

static bool end_is_right(const struct sweep *sweep, uint32_t endpoint, enum np_role role, uint32_t channel)
{
    if (endpoint == 0)
        return true;
    if (endpoint > sweep->board->limits.endpoints)
        return false;
    const struct np_endpoint_entry *entry = &sweep->board->endpoints[endpoint];
    return is_alive(&entry->state) && entry->role == (uint32_t)role && entry->channel == channel &&
           entry->client != 0 && entry->client <= sweep->board->limits.clients;
}

static enum fault judge_ends(const struct sweep *sweep, uint32_t lane, uint64_t seen[2])
{
    const struct np_lane_entry *entry = lane_of_pool(sweep, lane);
    if (!entry)
        return FAULT_NONE;
    seen[0] = np_load32(&entry->sender, memory_order_acquire);
    seen[1] = np_load32(&entry->receiver, memory_order_acquire);
    if (!end_is_right(sweep, (uint32_t)seen[0], NP_ROLE_SENDER, entry->channel))
        return FAULT_SENDER;
    return end_is_right(sweep, (uint32_t)seen[1], NP_ROLE_RECEIVER, entry->channel) ? FAULT_NONE : FAULT_RECEIVER;
}

/* What clients can scribble over and np_arena_attach compared only once. */
static enum fault judge_arena_header(const struct sweep *sweep, unsigned number)
{
    const struct np_arena *arena = &sweep->arenas[number];
    const struct np_arena_header *header = arena->header;
    bool fits = header->magic == NP_ARENA_MAGIC && header->layout == np_arena_layout() && header->slots == arena->slots &&
                header->slot_bytes == sweep->entry->slot_bytes && header->stride == arena->stride && header->pool == sweep->pool &&
                header->index == number && sweep->entry->arena[number].slots == arena->slots &&
                np_load64(&header->low_water, memory_order_relaxed) <= arena->slots; /* relaxed: a statistic */
    return fits ? FAULT_NONE : FAULT_ARENA_HEADER;
}

static enum fault look_again(const struct sweep *sweep, struct suspect *suspect)
{
    bool goes_on;
    switch (suspect->subject) {
    case OF_WORD: {
        const struct np_arena *arena = &sweep->arenas[suspect->number];
        suspect->seen[0] = np_load64(&arena->words[suspect->position], memory_order_acquire);
        return judge_word(sweep, arena, suspect->position, suspect->seen[0]);
    }
    case OF_CELL:
        return judge_cell(sweep, suspect->number, suspect->position, suspect->seen, &goes_on);
    case OF_COUNTERS:
        return judge_counters(sweep, suspect->number, suspect->seen);
    case OF_LANE_HEADER:
        return judge_lane_header(sweep, suspect->number);
    case OF_ENDS:
        return judge_ends(sweep, suspect->number, suspect->seen);
    case OF_ARENA_HEADER:
        break;
    }
    return judge_arena_header(sweep, suspect->number);
}

/* ---------------------------------------------------------------- saying it */

static const char *const verdicts[] = {
    [FAULT_NONE] = "is right",
    [FAULT_STATE] = "has no known state: some client overwrote it; restart numapoold to make the pool anew",
    [FAULT_FREE_OWNED] = "is free and yet names an owner: some client overwrote it; restart numapoold",
    [FAULT_HELD_SEQ] = "is held and yet names a message: some client overwrote it; end its holder",
    [FAULT_HELD_OWNER] = "names no live client: it is lost until numapoold is restarted",
    [FAULT_SENT_LANE] = "names no lane of this pool: it is lost until numapoold is restarted",
    [FAULT_SENT_SEQ] = "is not near its lane's tail: nobody will take it back; end the lane's sender",
    [FAULT_SENT_CELL] = "is named by no cell of its lane, another slot is; end the lane's sender",
    [FAULT_SHARED_HOME] = "names no broadcasting sender of this pool: it is lost until numapoold is restarted",
    [FAULT_SHARED_CELL] = "is broadcast, and a receiver's cell for it names another slot; end the sender",
    [FAULT_SHARED_UNREAD] = "is broadcast by one who is gone, and no receiver has it: restart numapoold's worker, which frees it",
    [FAULT_CELL_WORD] = "is announced, and its slot is not that broadcast any more: sender or broker freed it too early",
    [FAULT_CELL_LENGTH] = "is announced and says that it is longer than a cell: its sender overwrote it; end the sender",
    [FAULT_CELL_SLOT] = "is announced and names no slot of the pool: its sender overwrote it; end the sender",
    [FAULT_CELL_GAP] = "is below tail and not announced: its receiver waits for ever; end the lane's sender",
    [FAULT_RELEASED_AHEAD] = "more is released than was sent: its receiver overwrote it; end the receiver",
    [FAULT_TAIL_AHEAD] = "more is sent than it has room for: its sender overwrote it; end the sender",
    [FAULT_LANE_HEADER] = "its memory does not agree with the board: an end overwrote it; end both",
    [FAULT_SENDER] = "its sender is none of its channel's: restart numapoold's worker, which reconciles it",
    [FAULT_RECEIVER] = "its receiver is none of its channel's: restart numapoold's worker, which reconciles it",
    [FAULT_ARENA_HEADER] = "header does not agree with the board: some client overwrote it; restart numapoold",
};

static void describe_word(char *text, size_t bytes, uint64_t word)
{
    unsigned owner = np_word_owner(word), generation = np_word_gen(word);
    unsigned long long seq = np_word_seq(word);
    switch (np_word_state(word)) {
    case NP_WORD_HELD:
        snprintf(text, bytes, "held by client %u, seq %llu, gen %u", owner, seq, generation);
        break;
    case NP_WORD_SENT:
        snprintf(text, bytes, "sent on lane %u, seq %llu, gen %u", owner, seq, generation);
        break;
    case NP_WORD_SHARED:
        snprintf(text, bytes, "broadcast from home lane %u, seq %llu, gen %u", owner, seq, generation);
        break;
    default:
        snprintf(text, bytes, "state %u, owner %u, seq %llu, gen %u", np_word_state(word), owner, seq, generation);
    }
}

static void report(struct sweep *sweep, const struct suspect *suspect)
{
    struct np_check *check = sweep->check;
    if (check->wrong++ >= check->findings_capacity)
        return;
    struct np_finding *finding = &check->findings[check->wrong - 1];
    const char *verdict = verdicts[suspect->fault];
    unsigned long long position = suspect->position, first = suspect->seen[0], second = suspect->seen[1];
    char *text = finding->sentence, word[64];
    size_t bytes = sizeof finding->sentence;
    switch (suspect->subject) {
    case OF_WORD:
        describe_word(word, sizeof word, first);
        snprintf(text, bytes, "pool %s, node %d, slot %llu: word (%s) %s", sweep->name, sweep->arenas[suspect->number].node,
                 position, word, verdict);
        break;
    case OF_CELL:
        snprintf(text, bytes, "pool %s, lane %u, message %llu: cell (slot %u of arena %u) %s", sweep->name, suspect->number,
                 position, np_cell_slot(first), np_cell_arena(second), verdict);
        break;
    case OF_COUNTERS:
        snprintf(text, bytes, "pool %s, lane %u (tail %llu, released %llu): %s", sweep->name, suspect->number, first, second,
                 verdict);
        break;
    case OF_ENDS:
        snprintf(text, bytes, "pool %s, lane %u (sender endpoint %llu, receiver endpoint %llu): %s", sweep->name,
                 suspect->number, first, second, verdict);
        break;
    case OF_LANE_HEADER:
        snprintf(text, bytes, "pool %s, lane %u: %s", sweep->name, suspect->number, verdict);
        break;
    case OF_ARENA_HEADER:
        snprintf(text, bytes, "pool %s, node %d: %s", sweep->name, sweep->arenas[suspect->number].node, verdict);
        break;
    }
}

/* ---------------------------------------------------------------- sweeping */

static void count_word(struct sweep *sweep, uint64_t word)
{
    uint32_t owner = np_word_owner(word);
    switch (np_word_state(word)) {
    case NP_WORD_FREE:
        sweep->check->free_slots++;
        break;
    case NP_WORD_HELD:
        sweep->check->held++;
        if (sweep->held_by && owner <= sweep->board->limits.clients)
            sweep->held_by[owner]++;
        break;
    case NP_WORD_SENT:
    case NP_WORD_SHARED:
        sweep->check->in_flight++;
        if (sweep->sent_on && owner <= sweep->board->limits.lanes)
            sweep->sent_on[owner]++;
        break;
    case NP_WORD_KEPT:
        sweep->check->kept++;
        break;
    default:
        break; /* one of nobody's states: a finding, which the sum lacks */
    }
}

/* Looks at all suspects again until they have changed, turned out right, or outlasted every round (C2). */
static void settle(struct sweep *sweep)
{
    const struct timespec pause = { 0, SETTLE_PAUSE_NS };
    for (unsigned round = 0; round < SETTLE_ROUNDS && sweep->suspect_count > 0; round++) {
        nanosleep(&pause, NULL);
        unsigned left = 0;
        for (unsigned i = 0; i < sweep->suspect_count; i++) {
            struct suspect now = sweep->suspects[i];
            now.fault = look_again(sweep, &now);
            if (now.fault != FAULT_NONE && memcmp(now.seen, sweep->suspects[i].seen, sizeof now.seen) == 0)
                sweep->suspects[left++] = now;
            else if (now.subject == OF_WORD)
                count_word(sweep, now.seen[0]);
        }
        sweep->suspect_count = left;
    }
    for (unsigned i = 0; i < sweep->suspect_count; i++) {
        if (sweep->suspects[i].subject == OF_WORD)
            count_word(sweep, sweep->suspects[i].seen[0]);
        report(sweep, &sweep->suspects[i]);
    }
    sweep->suspect_count = 0;
}

static void suspect(struct sweep *sweep, enum subject subject, enum fault fault, uint32_t number, uint64_t position,
                    const uint64_t seen[2])
{
    if (fault == FAULT_NONE)
        return;
    if (sweep->suspect_count == SUSPECTS_MAX)
        settle(sweep);
    sweep->suspects[sweep->suspect_count++] = (struct suspect){ subject, fault, number, position, { seen[0], seen[1] } };
}

static void sweep_lane(struct sweep *sweep, uint32_t lane)
{
    uint64_t seen[2] = { 0, 0 };
    suspect(sweep, OF_ENDS, judge_ends(sweep, lane, seen), lane, 0, seen);
    enum fault fault = judge_lane_header(sweep, lane);
    if (fault != FAULT_NONE || !memory_of_lane(sweep, lane)) {
        suspect(sweep, OF_LANE_HEADER, fault, lane, 0, (uint64_t[2]){ 0, 0 });
        return;
    }
    seen[0] = seen[1] = 0;
    fault = judge_counters(sweep, lane, seen);
    suspect(sweep, OF_COUNTERS, fault, lane, 0, seen);
    if (fault != FAULT_NONE || !is_read(sweep, lane))
        return; /* which cells are unreleased cannot be said */
    uint64_t until = seen[1] + sweep->lanes[lane].capacity;
    bool goes_on = true;
    for (uint64_t position = seen[1]; position < until && goes_on; position++) {
        uint64_t cell[2] = { 0, 0 };
        fault = judge_cell(sweep, lane, position, cell, &goes_on);
        suspect(sweep, OF_CELL, fault, lane, position, cell);
        goes_on = goes_on || fault != FAULT_NONE; /* a gap below tail does not hide what lies behind it */
    }
}

static void sweep_words(struct sweep *sweep, unsigned number)
{
    const struct np_arena *arena = &sweep->arenas[number];
    sweep->check->slots += arena->slots;
    suspect(sweep, OF_ARENA_HEADER, judge_arena_header(sweep, number), number, 0, (uint64_t[2]){ 0, 0 });
    for (uint64_t index = 0; index < arena->slots; index++) {
        /* acquire: pairs with the store of SENT, before which its cell was complete */
        uint64_t word = np_load64(&arena->words[index], memory_order_acquire);
        enum fault fault = judge_word(sweep, arena, index, word);
        if (fault == FAULT_NONE)
            count_word(sweep, word);
        else
            suspect(sweep, OF_WORD, fault, number, index, (uint64_t[2]){ word, 0 });
    }
}

/* The lanes of this pool and what is mapped of them, each as it is now (C3). */
static void view_lanes(struct sweep *sweep, struct np_lane_shared *const *lanes)
{
    for (uint32_t lane = 1; lane <= sweep->board->limits.lanes; lane++) {
        const struct np_lane_entry *entry = lane_of_pool(sweep, lane);
        struct lane_view *view = &sweep->lanes[lane];
        if (!entry || !lanes || !lanes[lane])
            continue;
        view->shared = lanes[lane];
        view->generation = entry->generation;
        view->capacity = entry->capacity;
        view->kind = entry->kind;
        view->home = entry->home;
        bool possible = view->kind <= NP_LANE_HOME && view->capacity >= NP_LANE_SLOTS_MIN && view->capacity <= NP_LANE_SLOTS_MAX &&
                        (view->capacity & (view->capacity - 1)) == 0;
        view->fits = possible && np_lane_check(view->shared, lane, view->capacity, view->kind) == 0 && view->shared->pool == sweep->pool &&
                     view->shared->channel == entry->channel;
    }
}

int np_check_pool(struct np_check *check, const struct np_board *board, uint32_t pool, struct np_arena *arenas,
                  unsigned arena_count, struct np_lane_shared *const *lanes, uint64_t *held_by, uint64_t *sent_on)
{
    struct np_finding *findings = check->findings;
    unsigned capacity = findings ? check->findings_capacity : 0;
    *check = (struct np_check){ .findings = findings, .findings_capacity = capacity };
    if (pool >= NP_POOLS_MAX || !np_entry_is(&board->pools[pool].state, NP_ACTIVE))
        return np_error(-ENOENT, "there is no pool number %u to check: it has not been made, or is gone", pool);
    const struct np_pool_entry *entry = &board->pools[pool];
    if (arena_count == 0 || arena_count != np_pool_arenas(entry) || arena_count > NP_ARENAS_MAX)
        return np_error(-EINVAL, "pool number %u has %u arenas, and %u are mapped to be checked", pool, np_pool_arenas(entry),
                        arena_count);

    struct sweep sweep = { .check = check, .board = board, .entry = entry, .pool = pool, .arenas = arenas,
                           .arena_count = arena_count, .held_by = held_by, .sent_on = sent_on };
    snprintf(sweep.name, sizeof sweep.name, "%.*s", (int)sizeof sweep.name - 1, entry->name);
    sweep.lanes = calloc((size_t)board->limits.lanes + 1, sizeof *sweep.lanes);
    sweep.suspects = malloc(SUSPECTS_MAX * sizeof *sweep.suspects);
    if (!sweep.lanes || !sweep.suspects) {
        free(sweep.lanes);
        free(sweep.suspects);
        return np_error(-ENOMEM, "no memory to check pool '%s' with", sweep.name);
    }
    if (held_by)
        memset(held_by, 0, ((size_t)board->limits.clients + 1) * sizeof *held_by);
    if (sent_on)
        memset(sent_on, 0, ((size_t)board->limits.lanes + 1) * sizeof *sent_on);
    view_lanes(&sweep, lanes);
    for (uint32_t lane = 1; lane <= board->limits.lanes; lane++)
        if (lane_of_pool(&sweep, lane))
            sweep_lane(&sweep, lane);
    for (unsigned i = 0; i < arena_count; i++)
        sweep_words(&sweep, i);
    settle(&sweep);
    free(sweep.lanes);
    free(sweep.suspects);
    return 0;
}
