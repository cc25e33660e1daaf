/* SPDX-License-Identifier: MIT
 *
 * An arena: the slots of one pool on one node. Two pieces of shared memory:
 *
 *   meta   a header page, the slot words, the hint bitmaps, the map of sleepers
 *   data   the payload, slots x stride bytes
 *
 * Invariants
 *   A1  The word alone says whose a slot is. The bitmap is a hint: a set bit may stand for a slot that is not free, and
 *       a free slot may have no bit for as long as somebody is between two of his steps or has died there.
 *   A2  A bit goes out before its slot is claimed (AND, then CAS) and comes back after its slot is free (store, then OR).
 *   A3  Who clears a summary bit looks at the group again and sets the bit again if the group is not empty.
 *   A4  Who puts bits back looks for sleepers afterwards, always.
 *   A5  Nothing read from shared memory is used as an index or address before it was masked or compared with the private geometry.
 */
#ifndef NP_CORE_ARENA_H
#define NP_CORE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "core/block.h"
#include "core/guard.h"
#include "core/shm.h"
#include "core/word.h"

#define NP_ARENA_MAGIC UINT64_C(0x3161656e61706e) /* "npanea1" */
#define NP_ARENA_LEVELS_MAX 6
#define NP_ARENA_HEADER_BYTES 4096
#define NP_SLOTS_MAX UINT64_C(0xffffffff)
#define NP_ARENAS_MAX 64
#define NP_CACHE_LINE 64
#define NP_STRIDE_MAX (UINT64_C(1) << 30)
#define NP_ARENA_BYTES_MAX (UINT64_C(1) << 46) /* keeps np_arena_index_of exact */

/* Shared, at the start of meta. What one process writes often lies on 128-byte lines of its own (adjacent-line prefetch). */
struct np_arena_header {
    /* geometry: written once, when the arena is made */
    uint64_t magic;
    uint64_t layout; /* np_arena_layout() of who made it */
    uint64_t slots;
    uint64_t slot_bytes;
    uint64_t stride;
    uint32_t pool;
    uint32_t index;
    int32_t node;
    uint32_t sleepers_max; /* bells that may stand in the map of sleepers */
    uint64_t low_watermark; /* its share of the node's: with fewer free slots than their sum a node runs low */
    uint64_t shadow_offset; /* of the check records behind the map of sleepers (check.h); 0: a pool without checks */
    uint64_t reserved[7];
    /* movement of slots, added at each refill and flush: what free and low water are computed from */
    np_shm64 taken;
    uint64_t taken_pad[15];
    np_shm64 given;
    uint64_t given_pad[15];
    np_shm64 low_water;
    np_shm64 empty_refills; /* that found nothing; a client's account has its failures */
    np_shm64 correction; /* what a sweep found free beyond slots - taken + given, two's complement */
    uint64_t water_pad[13];
    /* bit i: words 64 i .. 64 i + 63 of the map of sleepers may have bits (4,096 bells each) */
    np_shm64 sleepers_summary;
    uint64_t sleepers_pad[15];
    /* what happened seldom. Hints for those who watch: an event is told by comparing, not by believing */
    np_shm32 notices; /* a futex: bumped whenever one of the following changes */
    np_shm32 low;     /* 1: fewer free than low_watermark, and not recovered since */
    np_shm64 lows;    /* how often it ran low */
    np_shm32 arenas;  /* arena 0: how many the pool has now; the daemon's word decides */
    np_shm32 ending;  /* arena 0: the pool is going to be destroyed */
    np_shm64 quarantined; /* held by the dead whose I/O the kernel has not let go of; the daemon counts them */
    np_shm64 moved_back;  /* pages that had been moved away and that its keeper brought back; a copy of what the board has */
    uint64_t notices_pad[11];
};
_Static_assert(sizeof(struct np_arena_header) == 768, "arena header layout");
_Static_assert(offsetof(struct np_arena_header, notices) == 640, "arena header layout");
_Static_assert(offsetof(struct np_arena_header, taken) == 128, "arena header layout");
_Static_assert(offsetof(struct np_arena_header, sleepers_summary) == 512, "arena header layout");

struct np_arena;

/* What a pool with checks, or of blocks of malloc, does besides. A pool without has none. */
struct np_arena_hooks {
    /* n slots are HELD by the client since now; slots[i] is where it would lie in one piece of payload. How many it
     * leaves. */
    unsigned (*taken)(struct np_arena *arena, void **slots, unsigned n);
    /* The slot is going to be FREE. False: its word does not say that it is the caller's to give. */
    bool (*giving)(struct np_arena *arena, uint64_t index, uint64_t word);
};

/* One process's view. Private memory: nobody else can change what is checked against. */
struct np_arena {
    struct np_arena_header *header;
    np_shm64 *words;
    np_shm64 *level[NP_ARENA_LEVELS_MAX];
    uint64_t level_words[NP_ARENA_LEVELS_MAX];
    np_shm64 *sleepers;
    uint64_t sleepers_words;
    unsigned levels;
    unsigned index;
    int node;
    unsigned client; /* this process's number in words */
    uint64_t low_watermark;
    uint64_t slots;
    uint64_t cell_slots; /* what a cell's slot is compared with where data + index x stride is its address; 0: it is not */
    uint64_t slot_bytes; /* usable: the stride, or with CHECKS or MALLOC exactly what was asked for */
    uint64_t length_end; /* messages shorter than this are sent without another look: slot_bytes + 1, or 0 with CHECKS */
    uint64_t stride;
    uint64_t stride_lines; /* stride / 64 */
    uint64_t stride_inverse; /* ceil(2^64 / stride_lines); 0 when stride_lines is 1 */
    uint64_t shifted_slots; /* slots, where the stride is a power of two and no send is checked; else 0 */
    unsigned stride_shift;  /* log2 of the stride, there */
    char *data;
    size_t data_bytes; /* slots x stride: what a pointer is checked against; 0: see blocks */
    struct np_blocks *blocks; /* MALLOC */
    struct np_guard_record *records; /* CHECKS; shared */
    struct np_guard *guard;
    const struct np_arena_hooks *hooks; /* NULL: a pool without such */
    _Atomic uint64_t cursor; /* group where the next search begins; any value will do */
    _Atomic uint64_t scanned_given; /* `given` at the last full scan that found nothing, plus 1 */
    struct np_bell *bells; /* who sleeps is woken through these; NULL: nobody ever sleeps here */
    uint32_t bell_count;
};

/* flags, here and below: the pool's numapool_flags, of which CHECKS and MALLOC change where things lie (guard.h,
 * block.h). */

/* Bytes of meta for so many slots, whole pages. */
size_t np_arena_meta_bytes(uint64_t slots, uint32_t sleepers_max, uint64_t flags);
/* Rounded up to whole lines. */
uint64_t np_arena_stride(uint64_t slot_bytes);
/* From one slot to the next: with CHECKS there is a guard behind each. */
uint64_t np_arena_stride_of(uint64_t slot_bytes, uint64_t flags);

/* Makes a new arena in zeroed meta: all slots FREE, all bits set. */
void np_arena_format(void *meta, uint64_t slots, uint64_t slot_bytes, uint32_t pool, uint32_t index, int node,
                     uint32_t sleepers_max, uint64_t flags);

/* Its share of its node's low watermark, in what was formatted and nobody else has yet: `wanted` as in the options of the
 * pool (0: 1/16 of the slots, at least 1), which the first arena of a node bears alone. */
void np_arena_set_low_watermark(void *meta, uint64_t wanted, bool first_of_node);

/* Builds the private view. What the header says is compared with `slots`, `slot_bytes`, `index`, which came by a way that
 * clients cannot write. -EPROTO: another layout; -EBADMSG: a header that does not fit. data may be NULL for who only
 * sweeps. */
int np_arena_attach(struct np_arena *arena, void *meta, size_t meta_bytes, void *data, uint64_t slots, uint64_t slot_bytes,
                    uint32_t index, int node, unsigned client, struct np_bell *bells, uint32_t bell_count,
                    uint64_t flags);

/* The view of who may only read payload: geometry, and no words. */
void np_arena_attach_readonly(struct np_arena *arena, void *data, uint64_t slots, uint64_t slot_bytes, uint32_t index, int node,
                              unsigned client, uint64_t flags);

/* Takes up to n free slots for arena->client; pointers go to slots[]. Returns how many. Each is HELD(client) when it
 * returns. Searches by the hints, and through all words before it returns 0. Any thread. */
unsigned np_arena_take(struct np_arena *arena, void **slots, unsigned n);

/* Frees n slots that are HELD(client) by the caller; wakes who waits. Returns how many were the client's and are free now;
 * the others are left as they are. Any thread. */
unsigned np_arena_give(struct np_arena *arena, void *const *slots, unsigned n);

/* Fingerprint of the layout above. */
uint64_t np_arena_layout(void);

/* For the scavenger: frees the slot at `index` if its word still is `word`. Then np_arena_note_reclaimed counts such slots,
 * and np_arena_show_free sets their bits. Can be done twice. */
bool np_arena_reclaim(struct np_arena *arena, uint64_t index, uint64_t word);
void np_arena_note_reclaimed(struct np_arena *arena, uint64_t n);
/* Sets hint bits of a group: every slot of `mask` whose word is free. No wake-up. */
void np_arena_show_free(struct np_arena *arena, uint64_t group, uint64_t mask);
/* Rings the bells in the map of sleepers (A4). */
void np_arena_wake(struct np_arena *arena);

/* Wakes all, whatever the map says. For the end of a sweep. */
void np_arena_wake_all(struct np_arena *arena);

/* Raises or clears the sleeper's bit. The caller has stored whatever else it must before, fences after and looks again. */
void np_arena_sleep_begin(struct np_arena *arena, uint32_t bell);
void np_arena_sleep_end(struct np_arena *arena, uint32_t bell);

/* Free slots by the counters: exact when nobody died since the last sweep, else a little off. */
uint64_t np_arena_free_hint(const struct np_arena *arena);

struct np_arena_census {
    uint64_t free_slots, held, sent, kept, odd;
};
/* Counts the words. Not of one instant. */
void np_arena_census(const struct np_arena *arena, struct np_arena_census *census);

/* Index of the slot at `slot`, or -1: not the first byte of a slot of this arena. */
static inline int64_t np_arena_index_of(const struct np_arena *arena, const void *slot)
{
    uint64_t offset = (uint64_t)((uintptr_t)slot - (uintptr_t)arena->data), index = offset / NP_CACHE_LINE;
    if (arena->stride_inverse != 0)
        /* exact while lines x stride_lines < 2^64 (Granlund and Montgomery 1994): 2^40 x 2^24 at most here */
        index = (uint64_t)((unsigned __int128)index * arena->stride_inverse >> 64);
    if (__builtin_expect(offset < arena->data_bytes && index * arena->stride == offset, 1))
        return (int64_t)index;
    return arena->blocks ? np_blocks_index_of(arena->blocks, slot) : -1;
}

static inline void *np_arena_slot(const struct np_arena *arena, uint64_t index)
{
    return arena->blocks ? np_blocks_at(arena->blocks, index) : arena->data + index * arena->stride;
}

#endif
