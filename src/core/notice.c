/* SPDX-License-Identifier: MIT */
#include "core/notice.h"

#include "core/sleep.h"

void np_notice_bump(struct np_arena *arena)
{
    np_ring(&arena->header->notices); /* what was changed before is seen by who wakes */
}

void np_notice_growth(struct np_arena *first, uint32_t arenas)
{
    np_store32(&first->header->arenas, arenas, memory_order_release); /* pairs with np_pool_has_grown */
    np_notice_bump(first);
}

void np_notice_ending(struct np_arena *first)
{
    np_store32(&first->header->ending, 1, memory_order_release); /* pairs with the look for events */
    np_notice_bump(first);
}

void np_notice_level(struct np_arena *arenas, unsigned count, size_t stride, int node)
{
    struct np_arena *home = NULL;
    uint64_t free_slots = 0, slots = 0, low_watermark = 0;
    for (unsigned i = 0; i < count; i++) {
        struct np_arena *arena = (struct np_arena *)((char *)arenas + i * stride);
        if (arena->node != node)
            continue;
        home = home ? home : arena;
        free_slots += np_arena_free_hint(arena);
        slots += arena->slots;
        low_watermark += arena->low_watermark;
    }
    if (!home)
        return;
    uint32_t low = np_load32(&home->header->low, memory_order_relaxed); /* relaxed: the CAS decides who tells */
    /* A death between the CAS and the bump leaves sleepers asleep: the sweep that follows it bumps. */
    if (low == 0 && free_slots < low_watermark) {
        if (!np_cas32(&home->header->low, &low, 1, memory_order_relaxed)) /* relaxed, both: the bump publishes them */
            return;
        np_add64(&home->header->lows, 1, memory_order_relaxed);
        np_notice_bump(home);
    } else if (low != 0 && free_slots >= np_notice_recovered(low_watermark, slots)) {
        if (np_cas32(&home->header->low, &low, 0, memory_order_relaxed))
            np_notice_bump(home);
    }
}
