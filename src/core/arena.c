/* SPDX-License-Identifier: MIT */
#include "core/arena.h"

#include <errno.h>
#include <string.h>

#include "core/bell.h"
#include "core/error.h"
#include "core/layout.h"
#include "core/probe.h"
#include "numapool.h"

#define GROUP_SLOTS 64u

uint64_t np_arena_layout(void)
{
    const uint64_t layout[] = { np_layout_revision(),
                                sizeof(struct np_arena_header),
                                offsetof(struct np_arena_header, slots),
                                offsetof(struct np_arena_header, taken),
                                offsetof(struct np_arena_header, low_water),
                                offsetof(struct np_arena_header, sleepers_summary),
                                sizeof(struct np_guard_record),
                                offsetof(struct np_arena_header, notices),
                                NP_ARENA_HEADER_BYTES,
                                NP_ARENA_LEVELS_MAX,
                                NP_WORD_SEQ_BITS,
                                sizeof(struct np_bell) };
    return np_fingerprint(layout, sizeof layout / sizeof layout[0]);
}

static uint64_t divide_up(uint64_t value, uint64_t by)
{
    return value / by + (value % by != 0);
}

static unsigned levels_of(uint64_t slots, uint64_t level_words[NP_ARENA_LEVELS_MAX])
{
    unsigned levels = 0;
    uint64_t bits = slots;
    do {
        bits = divide_up(bits, 64);
        level_words[levels++] = bits;
    } while (bits > 1 && levels < NP_ARENA_LEVELS_MAX);
    return levels;
}

uint64_t np_arena_stride(uint64_t slot_bytes)
{
    return divide_up(slot_bytes, NP_CACHE_LINE) * NP_CACHE_LINE;
}

static uint64_t sleepers_words_of(uint32_t sleepers_max)
{
    return divide_up(sleepers_max, 64);
}

uint64_t np_arena_stride_of(uint64_t slot_bytes, uint64_t flags)
{
    return np_arena_stride(flags & NUMAPOOL_CHECKS ? slot_bytes + NP_GUARD_BYTES_MIN : slot_bytes);
}

/* Where the check records begin: a line after what a pool without checks has. */
static uint64_t shadow_offset_of(uint64_t slots, uint32_t sleepers_max)
{
    return np_arena_stride(np_arena_meta_bytes(slots, sleepers_max, 0));
}

size_t np_arena_meta_bytes(uint64_t slots, uint32_t sleepers_max, uint64_t flags)
{
    if (flags & NUMAPOOL_CHECKS)
        return shadow_offset_of(slots, sleepers_max) + divide_up(slots * sizeof(struct np_guard_record), 4096) * 4096;
    uint64_t level_words[NP_ARENA_LEVELS_MAX], words = slots + sleepers_words_of(sleepers_max);
    unsigned levels = levels_of(slots, level_words);
    for (unsigned level = 0; level < levels; level++)
        words += level_words[level];
    return divide_up(NP_ARENA_HEADER_BYTES + words * 8, 4096) * 4096;
}

void np_arena_format(void *meta, uint64_t slots, uint64_t slot_bytes, uint32_t pool, uint32_t index, int node,
                     uint32_t sleepers_max, uint64_t flags)
{
    struct np_arena_header *header = meta;
    header->layout = np_arena_layout();
    header->slots = slots;
    header->slot_bytes = slot_bytes;
    header->stride = np_arena_stride_of(slot_bytes, flags);
    header->shadow_offset = flags & NUMAPOOL_CHECKS ? shadow_offset_of(slots, sleepers_max) : 0;
    header->pool = pool;
    header->index = index;
    header->node = node;
    header->sleepers_max = sleepers_max;
    /* relaxed: nobody else has this memory yet; handing out its descriptor publishes it */
    np_store64(&header->low_water, slots, memory_order_relaxed);

    uint64_t level_words[NP_ARENA_LEVELS_MAX];
    unsigned levels = levels_of(slots, level_words);
    np_shm64 *bitmap = (np_shm64 *)((char *)meta + NP_ARENA_HEADER_BYTES) + slots + sleepers_words_of(sleepers_max);
    uint64_t bits = slots;
    for (unsigned level = 0; level < levels; level++) {
        for (uint64_t i = 0; i < level_words[level]; i++) {
            uint64_t left = bits - i * 64;
            np_store64(&bitmap[i], left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1, memory_order_relaxed);
        }
        bits = level_words[level];
        bitmap += level_words[level];
    }
    np_arena_set_low_watermark(meta, 0, true);
    header->magic = NP_ARENA_MAGIC;
}

void np_arena_set_low_watermark(void *meta, uint64_t wanted, bool first_of_node)
{
    struct np_arena_header *header = meta;
    uint64_t share = header->slots / 16 ? header->slots / 16 : 1;
    if (wanted > 0)
        share = first_of_node ? wanted : 0;
    header->low_watermark = share < header->slots ? share : header->slots;
}

/* What follows from numbers that clients cannot write. */
static void set_geometry(struct np_arena *arena, void *data, uint64_t slots, uint64_t slot_bytes, uint32_t index, int node, unsigned client,
                         uint64_t flags)
{
    const bool special = (flags & (NUMAPOOL_CHECKS | NUMAPOOL_MALLOC)) != 0;
    memset(arena, 0, sizeof *arena);
    arena->index = index;
    arena->node = node;
    arena->client = client;
    arena->slots = slots;
    arena->cell_slots = flags & NUMAPOOL_MALLOC ? 0 : slots;
    arena->stride = np_arena_stride_of(slot_bytes, flags);
    arena->slot_bytes = special ? slot_bytes : arena->stride;
    arena->length_end = flags & NUMAPOOL_CHECKS ? 0 : arena->slot_bytes + 1;
    arena->stride_lines = arena->stride / NP_CACHE_LINE;
    if (arena->stride_lines > 1) /* ceil(2^64 / d) = floor((2^64 - 1) / d) + 1, for d of any kind: 2^64 - 1 = q d + r, r < d */
        arena->stride_inverse = UINT64_MAX / arena->stride_lines + 1;
    if ((arena->stride & (arena->stride - 1)) == 0 && !special) {
        arena->shifted_slots = slots;
        arena->stride_shift = (unsigned)__builtin_ctzll(arena->stride);
    }
    arena->data = data;
    arena->data_bytes = data ? slots * arena->stride : 0;
}

void np_arena_attach_readonly(struct np_arena *arena, void *data, uint64_t slots, uint64_t slot_bytes, uint32_t index, int node,
                              unsigned client, uint64_t flags)
{
    set_geometry(arena, data, slots, slot_bytes, index, node, client, flags);
}

int np_arena_attach(struct np_arena *arena, void *meta, size_t meta_bytes, void *data, uint64_t slots, uint64_t slot_bytes,
                    uint32_t index, int node, unsigned client, struct np_bell *bells, uint32_t bell_count,
                    uint64_t flags)
{
    struct np_arena_header *header = meta;
    if (header->magic != NP_ARENA_MAGIC)
        return np_error(-EBADMSG, "arena %u: its words do not begin with numapool's mark; the pool was not made by numapoold",
                        index);
    if (header->layout != np_arena_layout())
        return np_error(-EPROTO, "arena %u has layout %016llx, this library %016llx: use the library that came with the daemon",
                        index, (unsigned long long)header->layout, (unsigned long long)np_arena_layout());
    const uint32_t sleepers_max = header->sleepers_max; /* once: clients can write it */
    const uint64_t shadow = flags & NUMAPOOL_CHECKS ? shadow_offset_of(slots, sleepers_max) : 0;
    if (header->slots != slots || header->slot_bytes != slot_bytes || header->index != index ||
        header->shadow_offset != shadow || sleepers_max > bell_count || np_arena_meta_bytes(slots, sleepers_max, flags) > meta_bytes)
        return np_error(-EBADMSG, "arena %u: its header does not agree with the daemon's description of it", index);

    set_geometry(arena, data, slots, slot_bytes, index, node, client, flags);
    arena->header = header;
    arena->words = (np_shm64 *)((char *)meta + NP_ARENA_HEADER_BYTES);
    arena->sleepers = arena->words + slots;
    arena->sleepers_words = sleepers_words_of(sleepers_max);
    arena->levels = levels_of(slots, arena->level_words);
    np_shm64 *bitmap = arena->sleepers + arena->sleepers_words;
    for (unsigned level = 0; level < arena->levels; level++) {
        arena->level[level] = bitmap;
        bitmap += arena->level_words[level];
    }
    arena->low_watermark = header->low_watermark < slots ? header->low_watermark : slots;
    if (shadow != 0)
        arena->records = (struct np_guard_record *)((char *)meta + shadow);
    /* clients begin their search at different places, so that they seldom meet in a group */
    arena->cursor = (uint64_t)client * 0x9e3779b97f4a7c15u % arena->level_words[0];
    arena->bells = bells;
    arena->bell_count = bell_count;
    return 0;
}

/* ---------------------------------------------------------------- hints */

/* Takes `unit`'s bit out of level 1 and those above it, as far as they have become empty. */
static void clear_summaries(struct np_arena *arena, uint64_t unit)
{
    for (unsigned level = 1; level < arena->levels; level++) {
        np_shm64 *word = &arena->level[level][unit / 64];
        uint64_t bit = UINT64_C(1) << unit % 64;
        uint64_t old = np_and64(word, ~bit, memory_order_acq_rel);
        /* A3. Between our emptying the unit below and this clearing, somebody may have put bits into it, found the
         * summary bit set, and gone: acq_rel on both sides makes us see his bits here. */
        if (!NP_MUTANT(SUMMARY_NO_RELOAD) && np_load64(&arena->level[level - 1][unit], memory_order_acquire) != 0) {
            old = np_or64(word, bit, memory_order_acq_rel);
            if (old != 0)
                return;
            /* the word was empty for a moment, so the summaries above may have been cleared on that account */
            for (unsigned above = level + 1; above < arena->levels; above++) {
                unit /= 64;
                old = np_or64(&arena->level[above][unit / 64], UINT64_C(1) << unit % 64, memory_order_acq_rel);
                if (old != 0)
                    return;
            }
            return;
        }
        if ((old & ~bit) != 0)
            return;
        unit /= 64;
    }
}

static void set_summaries(struct np_arena *arena, uint64_t unit)
{
    for (unsigned level = 1; level < arena->levels; level++) {
        uint64_t bit = UINT64_C(1) << unit % 64;
        /* always the OR, never a load first: a bit seen set may be on its way out */
        if (np_or64(&arena->level[level][unit / 64], bit, memory_order_acq_rel) != 0)
            return;
        unit /= 64;
    }
}

/* Sets bits of one group; the wake-up is the caller's (A4), once for all groups. */
static void set_group_bits(struct np_arena *arena, uint64_t group, uint64_t mask)
{
    if (np_or64(&arena->level[0][group], mask, memory_order_acq_rel) == 0)
        set_summaries(arena, group);
}

void np_arena_show_free(struct np_arena *arena, uint64_t group, uint64_t mask)
{
    uint64_t shown = np_load64(&arena->level[0][group], memory_order_acquire);
    if ((mask | shown) == 0)
        return;
    if ((mask & ~shown) != 0)
        np_or64(&arena->level[0][group], mask & ~shown, memory_order_acq_rel);
    /* Every summary, whatever the one below says: who died between two of his steps may have left any of them clear. */
    for (unsigned level = 1; level < arena->levels; level++, group /= 64)
        np_or64(&arena->level[level][group / 64], UINT64_C(1) << group % 64, memory_order_acq_rel);
}

bool np_arena_reclaim(struct np_arena *arena, uint64_t index, uint64_t word)
{
    /* acq_rel: what the dead did before is over for who gets the slot next; the whole word with its generation makes a
     * second scavenger's CAS fail */
    return np_cas64(&arena->words[index], &word, np_word_freed(word), memory_order_acq_rel);
}

void np_arena_note_reclaimed(struct np_arena *arena, uint64_t n)
{
    if (n > 0)
        np_add64(&arena->header->given, n, memory_order_release); /* pairs with take_by_scan's acquire */
}

/* First group at or after `from` (no wrapping) whose bits are not all clear, or -1. Bounded: each step
 * passes over a stale summary bit or goes up a level. */
static int64_t find_group(struct np_arena *arena, uint64_t from)
{
    if (np_load64(&arena->level[0][from], memory_order_acquire) != 0)
        return (int64_t)from;
    uint64_t position = from + 1; /* of the unit looked for, in units of level `level` - 1 */
    unsigned level = 1;
    uint64_t steps = 4 * arena->level_words[0] + 64;
    while (steps-- > 0) {
        if (level >= arena->levels || position >= arena->level_words[level - 1])
            return -1;
        uint64_t word = position / 64;
        uint64_t bits = np_load64(&arena->level[level][word], memory_order_acquire) & (UINT64_MAX << position % 64);
        if (bits == 0) {
            position = word + 1;
            level++;
            continue;
        }
        /* descend along first set bits */
        uint64_t unit = word * 64 + (unsigned)__builtin_ctzll(bits);
        while (level > 1 && unit < arena->level_words[level - 1]) {
            bits = np_load64(&arena->level[level - 1][unit], memory_order_acquire);
            if (bits == 0)
                break;
            unit = unit * 64 + (unsigned)__builtin_ctzll(bits);
            level--;
        }
        if (unit >= arena->level_words[level - 1])
            return -1; /* scribbled: a bit beyond the end */
        if (level == 1 && np_load64(&arena->level[0][unit], memory_order_acquire) != 0)
            return (int64_t)unit;
        position = unit + 1; /* a stale summary bit: pass over it */
    }
    return -1;
}

/* ---------------------------------------------------------------- taking */

/* Where a slot lies, or would if it were not a block of its own: for the hooks. */
static void *place_of(const struct np_arena *arena, uint64_t index)
{
    return (void *)((uintptr_t)arena->data + index * arena->stride);
}

/* Claims the slots of `mask` in a group, word by word. */
static unsigned claim(struct np_arena *arena, uint64_t group, uint64_t mask, void **slots)
{
    unsigned got = 0;
    while (mask != 0) {
        uint64_t index = group * GROUP_SLOTS + (unsigned)__builtin_ctzll(mask);
        mask &= mask - 1;
        if (index >= arena->slots)
            break; /* scribbled bit */
        uint64_t word = np_load64(&arena->words[index], memory_order_relaxed); /* relaxed: the CAS decides */
        /* acquire: pairs with the FREE store of who had it before, whose use of the payload is over */
        if (np_word_state(word) == NP_WORD_FREE &&
            np_cas64(&arena->words[index], &word, np_word_held(arena->client, np_word_gen(word)), memory_order_acquire))
            slots[got++] = place_of(arena, index);
        /* else its bit was wrong, and is out now */
    }
    return got;
}

static uint64_t lowest_bits(uint64_t bits, unsigned n)
{
    uint64_t chosen = 0;
    if ((unsigned)__builtin_popcountll(bits) <= n)
        return bits;
    while (n-- > 0) {
        chosen |= bits & -bits;
        bits &= bits - 1;
    }
    return chosen;
}

static unsigned take_from_group(struct np_arena *arena, uint64_t group, void **slots, unsigned n)
{
    np_shm64 *word = &arena->level[0][group];
    uint64_t bits = np_load64(word, memory_order_relaxed); /* relaxed: the AND decides */
    uint64_t wanted = NP_MUTANT(TAKE_EXCHANGES) ? UINT64_MAX : lowest_bits(bits, n);
    if (bits == 0)
        return 0;
    uint64_t old = np_and64(word, ~wanted, memory_order_acq_rel);
    if (old != 0 && (old & ~wanted) == 0)
        clear_summaries(arena, group);
    uint64_t mine = old & wanted;
    if (NP_MUTANT(TAKE_EXCHANGES)) {
        uint64_t surplus = mine & ~lowest_bits(mine, n);
        mine &= ~surplus;
        if (surplus != 0)
            set_group_bits(arena, group, surplus);
    }
    return claim(arena, group, mine, slots);
}

/* The words themselves, for what no bit shows: a client that died between its AND and its CAS hides slots until it is
 * swept. */
static unsigned take_by_scan(struct np_arena *arena, void **slots, unsigned n)
{
    uint64_t given = np_load64(&arena->header->given, memory_order_acquire);
    /* nothing was freed since a scan that found nothing: relaxed, a stale value costs one more scan */
    if (atomic_load_explicit(&arena->scanned_given, memory_order_relaxed) == given + 1)
        return 0;
    unsigned got = 0;
    for (uint64_t index = 0; index < arena->slots && got < n; index++) {
        uint64_t word = np_load64(&arena->words[index], memory_order_relaxed); /* relaxed: the CAS decides */
        if (np_word_state(word) == NP_WORD_FREE &&
            np_cas64(&arena->words[index], &word, np_word_held(arena->client, np_word_gen(word)), memory_order_acquire))
            slots[got++] = place_of(arena, index);
    }
    if (got == 0)
        atomic_store_explicit(&arena->scanned_given, given + 1, memory_order_relaxed);
    return got;
}

static void note_low_water(struct np_arena *arena)
{
    uint64_t now = np_arena_free_hint(arena);
    uint64_t low = np_load64(&arena->header->low_water, memory_order_relaxed); /* relaxed: a statistic */
    for (unsigned tries = 0; now < low && tries < 8; tries++)
        if (np_cas64(&arena->header->low_water, &low, now, memory_order_relaxed))
            break;
}

unsigned np_arena_take(struct np_arena *arena, void **slots, unsigned n)
{
    uint64_t groups = arena->level_words[0];
    if (n == 0)
        return 0;
    /* relaxed: any start will do */
    uint64_t start = atomic_load_explicit(&arena->cursor, memory_order_relaxed) % groups, group = start;
    unsigned got = 0;
    bool wrapped = false;
    for (uint64_t steps = 0; got < n && steps < 2 * groups + 2; steps++) {
        int64_t found = find_group(arena, group);
        if (found < 0) {
            if (wrapped)
                break;
            wrapped = true;
            group = 0;
            continue;
        }
        group = (uint64_t)found;
        got += take_from_group(arena, group, slots + got, n - got);
        if (got < n && ++group >= groups) {
            if (wrapped)
                break;
            wrapped = true;
            group = 0;
        }
        if (wrapped && group > start && got > 0)
            break; /* once round */
    }
    atomic_store_explicit(&arena->cursor, group, memory_order_relaxed);
    if (got == 0 && !NP_MUTANT(EMPTY_NO_SCAN))
        got = take_by_scan(arena, slots, n);
    NP_PROBE2(refill, arena->index, got); /* got 0: the arena is empty */
    if (got > 0) {
        np_add64(&arena->header->taken, got, memory_order_relaxed); /* relaxed: a statistic */
        note_low_water(arena);
        if (__builtin_expect(arena->hooks != NULL, 0))
            got = arena->hooks->taken(arena, slots, got);
    } else {
        np_add64(&arena->header->empty_refills, 1, memory_order_relaxed);
    }
    return got;
}

/* ---------------------------------------------------------------- giving */

unsigned np_arena_give(struct np_arena *arena, void *const *slots, unsigned n)
{
    const struct np_arena_hooks *const hooks = arena->hooks;
    uint64_t group = 0, mask = 0;
    unsigned freed = 0;
    for (unsigned i = 0; i < n; i++) {
        int64_t index = np_arena_index_of(arena, slots[i]);
        if (index < 0)
            continue;
        np_shm64 *address = &arena->words[index];
        uint64_t word = np_load64(address, memory_order_relaxed); /* relaxed: HELD by us, nobody else writes it */
        if (__builtin_expect(hooks ? !hooks->giving(arena, (uint64_t)index, word) : !np_word_is_held_by(word, arena->client), 0))
            continue;
        /* release: our use of the payload is over; pairs with the acquire CAS of the next getter */
        np_store64(address, NP_MUTANT(FREE_KEEPS_GENERATION) ? np_word_free(np_word_gen(word)) : np_word_freed(word),
                   memory_order_release);
        freed++;
        uint64_t its_group = (uint64_t)index / GROUP_SLOTS;
        if (mask != 0 && its_group != group) {
            set_group_bits(arena, group, mask);
            mask = 0;
        }
        group = its_group;
        mask |= UINT64_C(1) << (unsigned)((uint64_t)index % GROUP_SLOTS);
    }
    if (mask != 0)
        set_group_bits(arena, group, mask);
    NP_PROBE2(flush, arena->index, freed);
    if (freed > 0) {
        np_add64(&arena->header->given, freed, memory_order_release); /* pairs with take_by_scan's acquire */
        if (!NP_MUTANT(GIVE_NO_WAKE))
            np_arena_wake(arena);
    }
    return freed;
}

/* ---------------------------------------------------------------- sleepers */

void np_arena_wake(struct np_arena *arena)
{
    if (!arena->bells)
        return;
    np_fence(); /* pairs with the fence between np_arena_sleep_begin and the sleeper's second look */
    uint64_t summary = np_load64(&arena->header->sleepers_summary, memory_order_relaxed); /* relaxed: ordered by the fence */
    while (__builtin_expect(summary != 0, 0)) {
        unsigned part = (unsigned)__builtin_ctzll(summary);
        summary &= summary - 1;
        for (uint64_t i = part * 64u; i < part * 64u + 64 && i < arena->sleepers_words; i++) {
            uint64_t bits = np_load64(&arena->sleepers[i], memory_order_relaxed);
            for (; bits != 0; bits &= bits - 1) {
                uint64_t bell = i * 64 + (unsigned)__builtin_ctzll(bits);
                if (bell < arena->bell_count)
                    np_bell_ring(&arena->bells[bell]);
            }
        }
    }
}

void np_arena_wake_all(struct np_arena *arena)
{
    if (!arena->bells)
        return;
    np_fence();
    for (uint64_t i = 0; i < arena->sleepers_words; i++)
        for (uint64_t bits = np_load64(&arena->sleepers[i], memory_order_relaxed); bits != 0; bits &= bits - 1) {
            uint64_t bell = i * 64 + (unsigned)__builtin_ctzll(bits);
            if (bell < arena->bell_count)
                np_bell_ring(&arena->bells[bell]);
        }
}

void np_arena_sleep_begin(struct np_arena *arena, uint32_t bell)
{
    if (bell / 64 >= arena->sleepers_words)
        return;
    /* acq_rel: the bit before the summary, as A3 wants of every two-level map here */
    np_or64(&arena->sleepers[bell / 64], UINT64_C(1) << bell % 64, memory_order_acq_rel);
    np_or64(&arena->header->sleepers_summary, UINT64_C(1) << bell / 4096, memory_order_acq_rel);
}

/* Whether a bell that shares `bell`'s summary bit is in the map. */
static bool anybody_sleeps(const struct np_arena *arena, uint32_t bell)
{
    uint64_t first = bell / 4096 * 64, any = 0;
    for (uint64_t i = first; i < first + 64 && i < arena->sleepers_words; i++)
        any |= np_load64(&arena->sleepers[i], memory_order_acquire);
    return any != 0;
}

void np_arena_sleep_end(struct np_arena *arena, uint32_t bell)
{
    if (bell / 64 >= arena->sleepers_words)
        return;
    np_and64(&arena->sleepers[bell / 64], ~(UINT64_C(1) << bell % 64), memory_order_acq_rel);
    uint64_t bit = UINT64_C(1) << bell / 4096;
    if (!anybody_sleeps(arena, bell)) {
        np_and64(&arena->header->sleepers_summary, ~bit, memory_order_acq_rel);
        if (!anybody_sleeps(arena, bell))
            return;
    }
    /* A3. While the bit was out, cleared by us or by one who died before he looked again, somebody may have freed slots,
     * seen nobody asleep and gone: then the waking is ours. */
    if ((np_or64(&arena->header->sleepers_summary, bit, memory_order_acq_rel) & bit) == 0)
        np_arena_wake(arena);
}

/* ---------------------------------------------------------------- counting */

uint64_t np_arena_free_hint(const struct np_arena *arena)
{
    /* relaxed: statistics. `given` first, so that a slot that moves in between counts as taken rather than twice as free. */
    uint64_t given = np_load64(&arena->header->given, memory_order_relaxed);
    uint64_t taken = np_load64(&arena->header->taken, memory_order_relaxed);
    uint64_t correction = np_load64(&arena->header->correction, memory_order_relaxed);
    uint64_t free_slots = arena->slots - taken + given + correction;
    if ((int64_t)free_slots < 0)
        return 0;
    return free_slots > arena->slots ? arena->slots : free_slots;
}

void np_arena_census(const struct np_arena *arena, struct np_arena_census *census)
{
    memset(census, 0, sizeof *census);
    for (uint64_t index = 0; index < arena->slots; index++) {
        switch (np_word_state(np_load64(&arena->words[index], memory_order_relaxed))) { /* relaxed: only counted */
        case NP_WORD_FREE: census->free_slots++; break;
        case NP_WORD_HELD: census->held++; break;
        case NP_WORD_SENT:
        case NP_WORD_SHARED: census->sent++; break;
        case NP_WORD_KEPT: census->kept++; break;
        default: census->odd++; break;
        }
    }
}
