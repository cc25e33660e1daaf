/* SPDX-License-Identifier: MIT */
#ifndef NP_CHANNEL_SENDER_H
#define NP_CHANNEL_SENDER_H

#include "channel/endpoint.h"

#define NP_SENDER_LIVE    UINT64_C(0x7265646e6573706e)
#define NP_SENDER_CHECKED UINT64_C(0x7265646e6573706f) /* live, of a pool with checks */

/* What was sent at a position: how the slot comes back. */
struct np_sent {
    void *slot; /* NULL: kept or forwarded, somebody else's now */
    np_shm64 *word;
};

/* A lane as its sender sees it.
 *
 *     recycled <= released <= head <= recycled + capacity
 *
 * Words of [recycled, released) still say SENT, and are this sender's to change. Each is re-marked when its slot is loaned again, or goes
 * into the magazine: in that order, so that slots that went out one after the other go out again one after the other, which is what the
 * processors at both ends fetch ahead. Private: room and what comes back are computed from here, not from what a receiver could scribble
 * over. */
struct np_sender_lane {
    struct np_lane_shared *shared;
    struct np_cell *cells;
    struct np_label *labels;
    struct np_sent *sent;  /* by position; NULL where no slots come back to this lane */
    uint64_t head;         /* next position */
    uint64_t released;     /* what the receiver has released, when last looked */
    uint64_t recycled;     /* below it every word was re-marked or seen elsewhere (L2) */
    uint64_t take_back_at; /* head at which to look for released slots again */
    uint64_t room_until;   /* below it head may go without a look at anything else: <= take_back_at, <= recycled + capacity */
    struct np_sender_lane *next; /* of its sender's usual lanes, in a circle */
    uint64_t word;         /* of its message 0 of generation 0, SENT, of a home SHARED: np_word_sent_on */
    uint32_t mask;
    uint32_t sent_bytes;   /* of the last message, or the first of the last batch: so much of further slots is fetched ahead */
    uint32_t id;
    uint32_t generation;
    uint32_t state;
    int node;      /* what its receiver says of its own, believed only where an arena has it; -1: not known */
    uint64_t peer; /* address of its receiver; 0: it waits for one */
    uint32_t kind; /* enum np_lane_kind */
    uint64_t stray_until; /* what was sent below may be on another node than what is loaned now */
    uint64_t start; /* BROADCAST: position 0 here is this one of the home; plus 1, 0: nothing was sent yet */
};

struct np_keys;

struct numapool_sender {
    uint64_t live; /* zero in a forked child */
    struct np_endpoint endpoint;
    struct np_magazine *magazine; /* loans and what is taken back */
    uint64_t held;                /* what the word of a slot of this client says, but for its generation */
    const struct np_arena *home;  /* of the slot that was looked up last: the next one is most likely of the same */
    uint64_t home_bits;           /* its number where a cell has it */
    unsigned lane_count, lane_room;
    unsigned turn;
    struct np_sender_lane *usual; /* the next in turn of its ACTIVE lanes, where these carry slots and nothing is to be checked */
    struct np_sender_lane *small; /* its only lane, when that is ACTIVE and carries small messages, and nothing is to be checked */
    struct np_sender_lane *loan_lane; /* that the last loan came from; NULL: none */
    bool owns_magazine;
    bool is_part; /* of a requester or responder, with which it is closed */
    uint32_t kind; /* of its lanes; BROADCAST: the first one is their home */
    struct np_sender_lane *lanes;
    struct np_reclaimer reclaimer;
    struct np_keys *keys; /* NULL before the first keyed message (keys.h) */
    bool loans_specially; /* has_away, or it has no slots to loan */
    bool has_away; /* loans look at where slots are: some of `away` are open, the pool is STRICT, or there are strays */
    bool away_open; /* some of `away` are open */
    bool strays;    /* slots of another node than its receivers' may still come back: np_sender_lane.stray_until */
    int receivers_node; /* that all its receivers are on, and its magazine with them; -1: none is, or the magazine is not its own */
    struct numapool_magazine *away[NP_ARENAS_MAX]; /* by arena, opened by numapool_loan_for; NULL: not yet */
};

static inline void np_sender_set_home(struct numapool_sender *sender, const struct np_arena *home)
{
    sender->home = home;
    sender->home_bits = np_cell_arena_bits(home->index);
}

/* Released slots are taken back every so many sends, so that an idle sender parks few and reads `released` seldom. */
#define NP_TAKE_BACK_EVERY 32u

/* False, with the sentence: closed, or the parent's of a forked process. */
bool np_sender_refuse(void);
/* The same but for one of a pool with checks, for which it notes the call (fault.h). */
bool np_sender_admit(const struct numapool_sender *sender, const char *call, const void *return_address);
/* In a public function, whose name and caller are noted: inlined always, so that it is its return address. */
#define np_sender_is_live(sender) np_sender_is_live_in(sender, __func__)
static inline __attribute__((always_inline)) bool np_sender_is_live_in(const struct numapool_sender *sender, const char *call)
{
    return __builtin_expect(sender != NULL && sender->live == NP_SENDER_LIVE, 1) ||
           np_sender_admit(sender, call, __builtin_return_address(0));
}
/* Without a note. */
static inline bool np_sender_is_open(const struct numapool_sender *sender)
{
    return sender != NULL && (sender->live == NP_SENDER_LIVE || sender->live == NP_SENDER_CHECKED);
}

/* Its lane of that number and generation, or NULL: it has left it. */
struct np_sender_lane *np_sender_find_lane(struct numapool_sender *sender, uint32_t id, uint32_t generation);

/* Looks what has been released on the lane; how many more there are to be recycled, of which some may have been kept or forwarded. */
unsigned np_sender_take_back(struct numapool_sender *sender, struct np_sender_lane *lane);
/* The same on every lane; leaves lanes that were to be drained and are. */
unsigned np_sender_take_back_all(struct numapool_sender *sender);
/* The oldest released slot, HELD again, or NULL: it was kept or forwarded. There is one. */
static inline void *np_sender_recycle(struct np_sender_lane *lane, uint64_t held)
{
    const struct np_sent *was = &lane->sent[lane->recycled & lane->mask];
    uint64_t gen = np_load64(was->word, memory_order_relaxed) ^ np_word_sent_on(lane->word, lane->recycled, 0); /* relaxed: ordered by the acquire of released */
    lane->recycled++;
    if (__builtin_expect(gen > NP_WORD_GEN_MASK, 0))
        return NULL;
    /* relaxed: from one state of ours to another, seen by nobody but a scavenger after our death */
    np_store64(was->word, held | gen, memory_order_relaxed);
    return was->slot;
}

/* Released slots, but the youngest `keep`, go into the magazine. */
void np_sender_spill(struct numapool_sender *sender, struct np_sender_lane *lane, uint64_t keep);
/* "The sender sleeps", on every lane: on that bell, whose word is named already, or on the lane where its receiver has no
 * bells. */
void np_sender_raise_flags(struct numapool_sender *sender, uint32_t bell, struct np_sleep *sleep);
void np_sender_lower_flags(struct numapool_sender *sender);

/* Sends messages whose words make the given claims (NULL: HELD by this client). The first k; -errno with k == 0. */
int np_sender_send(struct numapool_sender *sender, const struct numapool_msg *messages, const uint64_t *claims, unsigned n,
                   int64_t timeout_ns);

/* The same for one message to the receiver of that address. 0; -EHOSTUNREACH. */
int np_sender_send_to(struct numapool_sender *sender, uint64_t address, const struct numapool_msg *message, const uint64_t *claim,
                      int64_t timeout_ns);

/* A slot that may be sent by the given claim: the word, or NULL with the sentence. */
struct np_claimed {
    uint64_t index;
    unsigned arena, generation;
};
np_shm64 *np_sender_claimed(struct numapool_sender *sender, const struct numapool_msg *message, uint64_t claim, struct np_claimed *claimed);

/* loan.c: its own magazine takes slots of the node that all its receivers are on; of its thread's, where they are on several, on none
 * that the pool has slots on, or there are none. After its lanes have changed. */
void np_sender_follow_receivers(struct numapool_sender *sender);

/* Asks for changed lanes. */
int np_sender_sync(struct numapool_sender *sender);

static inline void np_sender_note_node(struct np_sender_lane *lane)
{
    lane->node = (int)(np_load32(&lane->shared->receiver_node, memory_order_relaxed) - 1); /* relaxed: a hint */
}

static inline void np_sender_note_room(struct np_sender_lane *lane)
{
    uint64_t full_at = (NP_MUTANT(ROOM_UNTIL_RELEASED) ? lane->released : lane->recycled) + lane->mask + 1;
    lane->room_until = full_at < lane->take_back_at ? full_at : lane->take_back_at;
}

/* How many messages may be sent on the lane now. */
static inline uint32_t np_sender_room(struct numapool_sender *sender, struct np_sender_lane *lane)
{
    uint64_t used = lane->head - lane->recycled;
    if (__builtin_expect(used > lane->mask || lane->head >= lane->take_back_at, 0)) {
        if (NP_MUTANT(ROOM_BY_RELEASED)) {
            used = lane->head - np_load64(&lane->shared->released, memory_order_acquire);
            return used > lane->mask ? 0 : (uint32_t)(lane->mask + 1 - used);
        }
        np_sender_take_back(sender, lane);
        if (lane->head - lane->recycled > lane->mask)
            np_sender_spill(sender, lane, 0);
        used = lane->head - lane->recycled;
    }
    np_sender_note_room(lane);
    return (uint32_t)(lane->mask + 1 - used);
}

#endif
