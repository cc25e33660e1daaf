/* SPDX-License-Identifier: MIT */
#include "look.h"

#include <string.h>

#include "core/magazine.h"

size_t look_claims_bytes(unsigned arenas, uint64_t slots)
{
    return sizeof(struct look_claims) + arenas * slots;
}

void look_claims_begin(struct look_claims *claims, unsigned arenas, uint64_t slots)
{
    claims->arenas = arenas;
    claims->slots = (uint32_t)slots;
    for (uint64_t i = 0; i < arenas * slots; i++)
        atomic_store_explicit(&claims->of[i], 0,
                              memory_order_relaxed); /* relaxed, all: all others stand still at a barrier */
}

bool look_claim(struct look_claims *claims, const struct numapool_pool *pool, const void *slot)
{
    uint64_t index;
    const struct np_pool_arena *pa = np_pool_locate(pool, slot, &index);
    if (!pa || pa->arena.index >= claims->arenas || index >= claims->slots)
        return false;
    atomic_fetch_add_explicit(&claims->of[pa->arena.index * (uint64_t)claims->slots + index], 1, memory_order_relaxed);
    return true;
}

static void look_at_slot(const struct numapool_pool *pool, const void *slot, int node, struct look_claims *claims,
                         struct look_caches *caches)
{
    uint64_t index;
    const struct np_pool_arena *pa = np_pool_locate(pool, slot, &index);
    caches->looked_at++;
    if (!pa || !look_claim(claims, pool, slot)) {
        caches->unknown++;
        return;
    }
    caches->foreign += pa->arena.node != node;
    if (node >= 0 && node < MACHINE_NODES_MAX && pa->arena.node >= 0 && pa->arena.node < MACHINE_NODES_MAX)
        caches->by_node[node][pa->arena.node]++;
}

static void look_at_slots(const struct numapool_pool *pool, void *const *slots, uint32_t count, int node,
                          struct look_claims *claims, struct look_caches *caches)
{
    for (uint32_t i = 0; i < count; i++)
        look_at_slot(pool, slots[i], node, claims, caches);
}

void look_at_caches(const struct numapool_pool *pool, struct look_claims *claims, struct look_caches *caches)
{
    for (struct np_magazine *magazine = pool->magazines; magazine; magazine = magazine->next) {
        caches->magazines++;
        look_at_slots(pool, magazine->slots, np_magazine_count(magazine), pool->arenas[magazine->arena].arena.node,
                      claims, caches);
        for (unsigned arena = 0; arena < magazine->outbound_arenas; arena++)
            look_at_slots(pool, magazine->outbound + (size_t)arena * NP_OUTBOUND_SLOTS, magazine->outbound_count[arena],
                          pool->arenas[arena].arena.node, claims, caches);
    }
    for (unsigned arena = 0; arena < np_pool_arena_count(pool); arena++) {
        const struct np_pool_arena *pa = &pool->arenas[arena];
        look_at_slots(pool, pa->depot.slots, pa->depot.count, pa->arena.node, claims, caches);
    }
}

static void judge_word(uint64_t word, unsigned claimed, struct look_words *words)
{
    words->looked_at++;
    switch (np_word_state(word)) {
    case NP_WORD_HELD:
        words->held++;
        words->lost += claimed == 0;
        words->twice += claimed > 1;
        break;
    case NP_WORD_FREE:
        words->free_slots++;
        words->twice += claimed > 0;
        break;
    default:
        words->sent++;
        words->twice += claimed > 0;
    }
}

void look_at_words(const struct numapool_pool *pool, struct look_claims *claims, struct look_words *words)
{
    for (unsigned arena = 0; arena < np_pool_arena_count(pool); arena++) {
        const struct np_arena *a = &pool->arenas[arena].arena;
        for (uint64_t i = 0; i < a->slots; i++) {
            unsigned claimed = atomic_load_explicit(&claims->of[arena * (uint64_t)claims->slots + i],
                                                    memory_order_relaxed);
            judge_word(np_load64(&a->words[i], memory_order_relaxed), claimed,
                       words); /* relaxed: nobody changes it now */
        }
    }
}

int look_at_pages(const struct numapool_pool *pool, struct machine_pages *pages)
{
    int result = 0;
    for (unsigned arena = 0; arena < np_pool_arena_count(pool) && result == 0; arena++) {
        const struct np_pool_arena *pa = &pool->arenas[arena];
        result = machine_pages_look(pa->arena.data, pa->arena.data_bytes, pa->arena.node, pages);
        if (result == 0)
            result = machine_pages_look(pa->arena.header, pa->meta_bytes, pa->arena.node, pages);
    }
    return result;
}
