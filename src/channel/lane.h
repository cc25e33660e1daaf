/* SPDX-License-Identifier: MIT
 *
 * A lane: a ring of messages with one sender and one receiver, in memory that these two and the daemon share.
 *
 *   offset      bytes  written by   what
 *        0        128  daemon       geometry, once
 *      128        128  daemon       state, reclaimed, redelivered_until, orphaned
 *      256        128  sender       tail, registered
 *      384        128  receiver     released, registered
 *      512        128  receiver     "the receiver sleeps", and on which bell
 *      640        128  sender       "the sender sleeps", and on which bell
 *     4096   16 x cap  sender       cells (SMALL: 64 x cap; HOME: none)
 *   after   16 x cap  sender       labels (SMALL, HOME: none)
 *
 * Invariants
 *   L1  Message s is sent at the instant its slot's word says SENT(lane, s). Its cell is complete before that.
 *   L2  Cell s + capacity is written only after word s was re-marked or seen to have gone elsewhere.
 *   L3  The first cell of a batch is announced (the low half of its `where` is s + 1) after every word of the batch says SENT; the
 *       others are announced before, as they are filled. `tail` follows, for those who only count.
 *   L4  The receiver may write word s while s >= released, the sender once s < released. `released` moves past s only after
 *       a keep or forward has stored its word.
 *   L5  Announcements count as far as they follow one another from `released` on: so a receiver sees all of a batch or nothing.
 *       Who repairs a dead sender's lane looks at words behind the first gap, and takes announcements back that no word bears out.
 *
 * L1 to L5 are of lanes that carry slots. small.h says what holds where the cell carries the message, broadcast.h where several lanes
 * carry the same slot.
 */
#ifndef NP_CHANNEL_LANE_H
#define NP_CHANNEL_LANE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/arena.h"
#include "core/bell.h"
#include "numapool.h"

#define NP_LANE_MAGIC UINT64_C(0x31656e616c706e)
#define NP_LANE_HEADER_BYTES 4096u
#define NP_LANE_SLOTS_MIN 2u
#define NP_LANE_SLOTS_MAX (1u << 20)
#define NP_SMALL_LANE_SLOTS_MAX (1u << 14) /* 1 MiB: no pool bounds these, and the daemon makes their memory while others wait */
#define NP_LANE_SLOTS_DEFAULT 1024u

enum np_lane_state {
    NP_LANE_NONE = 0,
    NP_LANE_ACTIVE = 1, /* its sender sends on it */
    NP_LANE_DRAIN = 2,  /* its receiver has another from this sender: no more is sent, what is there is received */
    NP_LANE_ORPHAN = 3, /* its sender is gone, and the daemon is the sender: it frees what is released */
    NP_LANE_CLOSED = 4  /* broadcast: its receiver is gone for good; what is on it counts as released, and its sender leaves it */
};

enum np_lane_kind {
    NP_LANE_SLOTS = 0,     /* cells name slots whose words say SENT on this lane */
    NP_LANE_SMALL = 1,     /* 64-byte cells carry the message itself; there is no word, and the announcement is the sending */
    NP_LANE_BROADCAST = 2, /* cells name slots whose words say SHARED by the lane's home */
    NP_LANE_HOME = 3       /* of a broadcasting sender: no cells, no receiver; words name it, and so it lives until none does */
};

/* 16 bytes, as two words, so that a death or a scribble tears at most one of them. */
struct np_cell {
    np_shm64 where; /* announced:32 (low half, position + 1) | slot:32 (high half) */
    np_shm64 what;  /* length:32 | type:16 | arena:8 | flags:8, low to high */
};
_Static_assert(sizeof(struct np_cell) == 16, "four cells a line");

/* What the application calls a message, apart from the cells: most lines of a lane that carries none of it never move from
 * one processor to the other. Good while its cell has the flag LABELLED; without it both are 0. */
struct np_label {
    np_shm64 id;
    np_shm64 key;
};
_Static_assert(sizeof(struct np_label) == 16, "four labels a line");

/* 64 bytes: the message itself (small.h). */
#define NP_SMALL_WORDS (NUMAPOOL_SMALL_BYTES / 8)
struct np_small_cell {
    np_shm64 where; /* announced:32 (low half, position + 1) | length:8 | flags:8 | type:16 */
    np_shm64 id;
    np_shm64 data[NP_SMALL_WORDS]; /* of a message of at most 40 bytes the last is its key */
};
_Static_assert(sizeof(struct np_small_cell) == 64, "a cell a line");

#define NP_CELL_SKIP 1u     /* set by the daemon at a hand-over: this message has moved on */
#define NP_CELL_KEYED 2u    /* sent with NUMAPOOL_KEYED */
#define NP_CELL_DIRECTED 4u /* key is a receiver's address: others pass it over */
#define NP_CELL_LABELLED 8u /* id and key stand in its label */

/* Where the end of a lane sleeps: on its bell in the table that all direct clients map, or on the lane itself, where the
 * other end has no bells. */
enum np_sleeps { NP_SLEEPS_NOT = 0, NP_SLEEPS_ON_BELL = 1, NP_SLEEPS_ON_LANE = 2 };

struct np_lane_shared {
    uint64_t magic;
    uint64_t layout;
    uint32_t lane;
    uint32_t capacity;
    uint32_t pool;
    uint32_t channel;
    uint32_t kind;              /* enum np_lane_kind */
    uint32_t home;              /* BROADCAST: number of its home lane */
    uint64_t geometry_pad[11];

    np_shm32 state;             /* enum np_lane_state */
    np_shm32 receiver_foreign;  /* 1: its receiver knows no bells. It sleeps on receiver_ring, and rings sender_ring */
    np_shm64 reclaimed;         /* orphan: the daemon has freed what was released below */
    np_shm64 redelivered_until; /* messages below may have been seen by an earlier receiver */
    np_shm64 orphaned;          /* the board's stamp when it became an orphan: elder orphans are received first */
    uint64_t daemon_pad[12];

    np_shm64 tail;              /* one past the last announced */
    np_shm32 sender_registered; /* the sender needs no fence (bell.h) */
    uint32_t sender_pad32;
    np_shm64 start;             /* BROADCAST: position 0 here is this position of the home; plus 1, 0: nothing was sent yet */
    uint64_t sender_pad[13];

    np_shm64 released;          /* one past the last of the oldest complete run of released messages */
    np_shm32 receiver_registered;
    np_shm32 receiver_node;     /* the node its thread ran on when it got the lane, plus 1; 0: not known */
    uint64_t receiver_pad[14];

    np_shm32 receiver_sleeps;   /* enum np_sleeps */
    np_shm32 receiver_bell;
    np_shm32 receiver_ring;     /* a futex, where receiver_sleeps is ON_LANE */
    uint32_t receiver_sleep_pad32;
    uint64_t receiver_sleep_pad[14];

    np_shm32 sender_sleeps;
    np_shm32 sender_bell;
    np_shm32 sender_ring;
    uint32_t sender_sleep_pad32;
    uint64_t sender_sleep_pad[14];
};
_Static_assert(sizeof(struct np_lane_shared) == 768, "lane layout");
_Static_assert(offsetof(struct np_lane_shared, state) == 128, "lane layout");
_Static_assert(offsetof(struct np_lane_shared, tail) == 256, "lane layout");
_Static_assert(offsetof(struct np_lane_shared, released) == 384, "lane layout");
_Static_assert(offsetof(struct np_lane_shared, receiver_sleeps) == 512, "lane layout");
_Static_assert(offsetof(struct np_lane_shared, sender_sleeps) == 640, "lane layout");

/* Bytes of a cell; 0: it has none. */
static inline uint32_t np_cell_bytes(uint32_t kind)
{
    return kind == NP_LANE_HOME ? 0 : kind == NP_LANE_SMALL ? (uint32_t)sizeof(struct np_small_cell) : (uint32_t)sizeof(struct np_cell);
}

static inline uint32_t np_label_bytes(uint32_t kind)
{
    return kind == NP_LANE_SLOTS || kind == NP_LANE_BROADCAST ? (uint32_t)sizeof(struct np_label) : 0;
}

/* What the state is taken for by who must not believe it, since the other end can write it: one that is none is to be
 * drained. */
static inline uint32_t np_lane_state_of(const struct np_lane_shared *lane)
{
    uint32_t state = np_load32(&lane->state, memory_order_acquire); /* pairs with who changed it */
    return state >= NP_LANE_ACTIVE && state <= NP_LANE_CLOSED ? state : NP_LANE_DRAIN;
}

static inline struct np_cell *np_lane_cells(struct np_lane_shared *lane)
{
    return (struct np_cell *)((char *)lane + NP_LANE_HEADER_BYTES);
}

static inline struct np_label *np_lane_labels(struct np_lane_shared *lane, uint32_t capacity)
{
    return (struct np_label *)(np_lane_cells(lane) + capacity);
}

static inline struct np_small_cell *np_small_cells(struct np_lane_shared *lane)
{
    return (struct np_small_cell *)((char *)lane + NP_LANE_HEADER_BYTES);
}

static inline uint64_t np_cell_where(uint64_t position, uint32_t slot)
{
    return (uint64_t)slot << 32 | (uint32_t)(position + 1);
}

/* The same cell before its announcement: no position of this cell has that low half (capacity is at least 2). */
static inline uint64_t np_cell_where_unannounced(uint64_t position, uint32_t slot)
{
    return (uint64_t)slot << 32 | (uint32_t)position;
}

static inline bool np_cell_is_announced(uint64_t where, uint64_t position)
{
    return (uint32_t)where == (uint32_t)(position + 1);
}

static inline uint32_t np_cell_slot(uint64_t where)
{
    return (uint32_t)(where >> 32);
}

static inline uint64_t np_cell_what(uint32_t length, unsigned arena, unsigned flags, uint16_t type)
{
    return length | (uint64_t)type << 32 | (uint64_t)(arena & 0xff) << 48 | (uint64_t)(flags & 0xff) << 56;
}

static inline uint32_t np_cell_length(uint64_t what)
{
    return (uint32_t)what;
}

static inline uint16_t np_cell_type(uint64_t what)
{
    return (uint16_t)(what >> 32);
}

/* Everything but the type: with arena and flags 0 it is the length. */
static inline uint64_t np_cell_without_type(uint64_t what)
{
    return what & UINT64_C(0xffff0000ffffffff);
}

static inline unsigned np_cell_arena(uint64_t what)
{
    return (unsigned)(what >> 48 & 0xff);
}

static inline unsigned np_cell_flags(uint64_t what)
{
    return (unsigned)(what >> 56);
}

/* `what` of a message, by arena and flags that are 0 or shifted into their places already. Field by field: a caller has just stored them, and
 * one load of what two stores wrote waits until both have left the processor's store buffer, behind all payload. */
static inline uint64_t np_cell_what_of(const struct numapool_msg *message, uint64_t arena_and_flags)
{
    return message->length | (uint64_t)message->type << 32 | arena_and_flags;
}

/* Whether it is longer than that, or keyed and should not be, or the other way round. */
static inline bool np_cell_misfits(const struct numapool_msg *message, bool keyed, uint64_t slot_bytes)
{
    return message->length > slot_bytes || ((message->flags & NUMAPOOL_KEYED) != 0) != keyed;
}

_Static_assert(offsetof(struct numapool_msg, length) == 8 && offsetof(struct numapool_msg, type) == 12 &&
               offsetof(struct numapool_msg, flags) == 14, "a message's length, type and flags are eight bytes");

/* Length and type of a message, and the flags that are given: they lie as in `what`, so that one store writes all three. */
static inline void np_cell_describe(struct numapool_msg *message, uint64_t what, uint16_t flags)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t words = (what & UINT64_C(0xffffffffffff)) | (uint64_t)flags << 48;
    memcpy(&message->length, &words, sizeof words);
#else
    message->length = np_cell_length(what);
    message->type = np_cell_type(what);
    message->flags = flags;
#endif
}

static inline uint64_t np_cell_arena_bits(unsigned arena)
{
    return (uint64_t)(arena & 0xff) << 48;
}

/* The bits of `what` that are these flags. */
static inline uint64_t np_cell_flag_bits(unsigned flags)
{
    return (uint64_t)flags << 56;
}

/* Flags of a small cell, by its `where`. */
static inline unsigned np_small_flags(uint64_t where)
{
    return (unsigned)(where >> 40 & 0xff);
}

/* Whether a message has anything to stand in a label. */
static inline unsigned np_cell_labelled(uint64_t id, uint64_t key)
{
    return (id | key) != 0 ? NP_CELL_LABELLED : 0;
}

size_t np_lane_bytes(uint32_t capacity, uint32_t kind);
uint64_t np_lane_layout(void);
/* Rounds up to a power of two within the limits; 0: too large. */
uint32_t np_lane_capacity(uint32_t wanted);

/* Makes a lane in zeroed memory. home: BROADCAST, else 0. */
void np_lane_format(struct np_lane_shared *lane, uint32_t id, uint32_t capacity, uint32_t kind, uint32_t home, uint32_t pool,
                    uint32_t channel);

/* 0 when the mapping is lane `id` of that capacity and kind; -EPROTO, -EBADMSG. */
int np_lane_check(const struct np_lane_shared *lane, uint32_t id, uint32_t capacity, uint32_t kind);

/* ---- repairs: by the broker, for ends that are gone. Each can be done twice, and again by another after a death in the
 * middle. */

/* The arenas of a pool, for looking words up. */
struct np_lane_pool {
    struct np_arena *arenas; /* arenas[i].index == i */
    unsigned arena_count;
    size_t arena_stride;     /* bytes from one struct np_arena to the next */
    struct np_bell *bells;
    uint32_t bell_count;
};

static inline struct np_arena *np_lane_arena(const struct np_lane_pool *pool, unsigned index)
{
    return (struct np_arena *)((char *)pool->arenas + index * pool->arena_stride);
}

/* One past the run of announced cells that begins at `position`, at most `limit`. Within it nothing is ever
 * taken back. */
uint64_t np_lane_announced_until(struct np_lane_shared *lane, uint32_t capacity, uint32_t kind, uint64_t position, uint64_t limit);

/* What every rolling forward ends with: `tail`, and once the state, since `stamp`. */
void np_lane_orphan(struct np_lane_shared *lane, uint32_t capacity, uint64_t tail, uint64_t stamp);

/* One past what counts as released on an orphan lane. */
uint64_t np_lane_released_until(struct np_lane_shared *lane);

/* The word of the message at `position` by its cell, or NULL when the cell names no slot. */
np_shm64 *np_lane_word_at(struct np_lane_shared *lane, uint32_t capacity, uint64_t position, const struct np_lane_pool *pool,
                          struct np_arena **arena, uint64_t *index);

/* The sender is dead: announces what it had sent (words say SENT) and not announced; sets tail; state ORPHAN, since
 * `stamp`. Returns how many were rolled forward. */
unsigned np_lane_roll_forward(struct np_lane_shared *lane, uint32_t id, uint32_t capacity, const struct np_lane_pool *pool,
                              uint64_t stamp);

/* The receiver is gone: marks SKIP in the cells that it kept or forwarded, and what the next one gets again as redelivered.
 * Returns how many will be redelivered. */
unsigned np_lane_prepare_handover(struct np_lane_shared *lane, uint32_t id, uint32_t capacity, const struct np_lane_pool *pool);

/* Nobody receives from the lane: whoever something was directed to has left it, and will not be back (an address is never
 * given out again). Releases such messages and what has moved on, up to the first that is somebody's who comes. How many.
 */
unsigned np_lane_pass_over(struct np_lane_shared *lane, uint32_t capacity, uint32_t kind);

/* Orphan lane: frees what has been released since the last time. Returns how many slots. */
unsigned np_lane_orphan_duty(struct np_lane_shared *lane, uint32_t id, uint32_t capacity, const struct np_lane_pool *pool);

/* Nothing on it is unreleased (for an orphan: nor unreclaimed). */
bool np_lane_is_drained(struct np_lane_shared *lane, uint32_t capacity, uint32_t kind);

/* Rings both ends, whether they sleep or not. */
void np_lane_ring(struct np_lane_shared *lane, const struct np_lane_pool *pool);

/* Messages sent and not released, by tail and released; at most capacity. A statistic. */
uint64_t np_lane_depth(struct np_lane_shared *lane, uint32_t capacity);

#endif
