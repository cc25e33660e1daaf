/* SPDX-License-Identifier: MIT
 * Telling those who have a pool that it has changed. */
#include "broker/broker.h"
#include "core/notice.h"

void np_broker_pool_changed(struct np_broker *broker, uint32_t pool)
{
    struct np_broker_pool *bp = &broker->pools[pool];
    struct np_pool_entry *entry = &broker->board.pools[pool];
    if (bp->arena_count == 0)
        return;
    np_notice_growth(&bp->arenas[0], np_pool_arenas(entry));
    if (np_load32(&entry->ending, memory_order_acquire) != 0) /* pairs with the store of who ends it */
        np_notice_ending(&bp->arenas[0]);
    for (unsigned i = 0; i < bp->arena_count; i++) {
        np_notice_level(bp->arenas, bp->arena_count, sizeof bp->arenas[0], bp->arenas[i].node); /* it may have recovered by that */
        np_arena_wake_all(&bp->arenas[i]); /* there is more to be had, though not in what they know */
    }
}

void np_broker_pool_freed(struct np_broker *broker, uint32_t pool)
{
    struct np_broker_pool *bp = &broker->pools[pool];
    for (unsigned i = 0; i < bp->arena_count; i++)
        np_notice_level(bp->arenas, bp->arena_count, sizeof bp->arenas[0], bp->arenas[i].node);
}

void np_broker_pool_swept(struct np_broker *broker, uint32_t pool)
{
    struct np_broker_pool *bp = &broker->pools[pool];
    np_broker_pool_freed(broker, pool);
    for (unsigned i = 0; i < bp->arena_count; i++)
        np_notice_bump(&bp->arenas[i]); /* the dead may have changed something and not said so */
}
