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

/* Whether it has changed `low`, having told so. */
static bool change_level(struct np_arena *arenas, unsigned count, size_t stride, int node)
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
        return false;
    uint32_t low = np_load32(&home->header->low, memory_order_relaxed); /* relaxed: the CAS decides who tells */
    const uint32_t wanted = low == 0 ? free_slots < low_watermark : free_slots < np_notice_recovered(low_watermark, slots);
    /* A death between the CAS and the bump leaves sleepers asleep: the sweep that follows it bumps. */
    if (wanted == low || !np_cas32(&home->header->low, &low, wanted, memory_order_relaxed)) /* relaxed, both: the bump publishes them */
        return false;
    if (wanted == 1)
        np_add64(&home->header->lows, 1, memory_order_relaxed);
    np_notice_bump(home);
    return true;
}

void np_notice_level(struct np_arena *arenas, unsigned count, size_t stride, int node)
{
    enum { CHANGES_MAX = 4 }; /* who moves slots back and forth meanwhile looks himself */
    /* Who has moved slots since they were counted here, and saw `low` as it was, had nothing to tell: that is for us, who
     * look again. */
    for (unsigned i = 0; i < CHANGES_MAX && change_level(arenas, count, stride, node); i++)
        np_fence(); /* pairs with np_arena_wake's, between the slots' counter and the look at `low` of who frees */
}
