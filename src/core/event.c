/* SPDX-License-Identifier: MIT
 *
 * Events of a pool: what this process has been told, compared with what the headers of the arenas say (notice.h). */
#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "core/notice.h"
#include "core/pool.h"

/* More than any version's struct: beyond it `size` was not set. */
enum { EVENT_BYTES_MAX = 4096 };

static uint64_t free_on_node(const struct numapool_pool *pool, int node)
{
    uint64_t free_slots = 0;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        if (pool->arenas[i].arena.node == node)
            free_slots += np_arena_free_hint(&pool->arenas[i].arena);
    return free_slots;
}

/* Crossings of a node's watermark. Who has slept through several is told how they ended. */
static bool find_crossing(struct numapool_pool *pool, struct np_pool_arena *home, struct numapool_event *event, bool tell)
{
    const struct np_arena_header *header = home->arena.header;
    uint64_t lows = np_load64(&header->lows, memory_order_acquire); /* acquire: before `low`, which is changed first */
    bool low = np_load32(&header->low, memory_order_acquire) != 0;
    if (low == home->told_low && (low || lows == home->told_lows))
        return false;
    if (tell) {
        home->told_low = low;
        home->told_lows = lows;
        event->kind = low ? NUMAPOOL_EVENT_LOW : NUMAPOOL_EVENT_RECOVERED;
        event->node = home->arena.node;
        event->value = free_on_node(pool, home->arena.node);
    }
    return true;
}

/* What there is to be told, and notes that it has been when `tell` says so. */
static bool find(struct numapool_pool *pool, struct numapool_event *event, bool tell)
{
    bool found = false;
    pthread_mutex_lock(&pool->lock);
    unsigned count = np_pool_arena_count(pool);
    event->node = NUMAPOOL_ANY_NODE;
    if (pool->told_arenas < count) {
        found = true;
        event->kind = NUMAPOOL_EVENT_GROWN;
        event->value = 0;
        for (unsigned i = 0; i < count; i++)
            event->value += pool->arenas[i].arena.slots;
        if (tell)
            pool->told_arenas = count;
    } else if (!pool->told_ending && np_load32(&pool->arenas[0].arena.header->ending, memory_order_acquire) != 0) {
        found = true; /* the acquire pairs with np_notice_ending */
        event->kind = NUMAPOOL_EVENT_ENDING;
        event->value = 0;
        pool->told_ending = tell;
    }
    for (unsigned i = 0; !found && i < count; i++)
        if (pool->arenas[i].home == &pool->arenas[i])
            found = find_crossing(pool, &pool->arenas[i], event, tell);
    pthread_mutex_unlock(&pool->lock);
    return found;
}

bool np_pool_has_events(struct numapool_pool *pool)
{
    struct numapool_event event;
    np_pool_learn_hinted(pool);
    return find(pool, &event, false);
}

void np_pool_sleep_on_events(struct numapool_pool *pool, struct np_sleep *sleep)
{
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        if (pool->arenas[i].home == &pool->arenas[i])
            np_sleep_on(sleep, &pool->arenas[i].arena.header->notices);
}

static int check(const struct numapool_pool *pool, const struct numapool_event *event, int64_t timeout_ns)
{
    int result = np_pool_check(pool);
    if (result < 0)
        return result;
    if (pool->mode == NUMAPOOL_MODE_READONLY)
        return np_error(-EROFS, "pool '%s' is open READONLY here, and its events are told to those who may write: open it without", pool->name);
    if (!event || event->size < sizeof *event || event->size > EVENT_BYTES_MAX)
        return np_error(-EINVAL, "event of pool '%s': size is %zu; set it to sizeof(struct numapool_event), here %zu", pool->name,
                        event ? event->size : 0, sizeof *event);
    if (timeout_ns < 0)
        return np_error_static(-EINVAL, "timeout_ns is negative: 0 means at once, NUMAPOOL_FOREVER for ever");
    return 0;
}

int numapool_next_event(struct numapool_pool *pool, struct numapool_event *event, int64_t timeout_ns)
{
    struct numapool_event found = { 0 };
    struct np_sleep sleep;
    int result = check(pool, event, timeout_ns);
    const int64_t deadline_ns = result < 0 ? 0 : np_deadline_ns(timeout_ns);
    while (result == 0) {
        np_sleep_reset(&sleep);
        np_pool_sleep_on_events(pool, &sleep);
        np_pool_learn_hinted(pool);
        if (find(pool, &found, true)) {
            found.size = event->size;
            memset(event, 0, found.size); /* a program of a later version reads 0 in what is not known here */
            memcpy(event, &found, sizeof found);
            return 0;
        }
        if (timeout_ns == 0)
            return np_error_static(-EAGAIN, "nothing has happened to the pool that this process has not been told");
        /* a hint that could not be followed up is looked at again though nothing is bumped */
        int64_t until_ns = np_pool_has_grown(pool) ? np_sooner_ns(deadline_ns, NP_LEARN_PAUSE_NS) : deadline_ns;
        np_sleep_until(&sleep, until_ns);
        if (np_monotonic_ns() >= deadline_ns) /* the clock decides: words that are bumped all the time must not put the end off */
            result = np_error_static(-ETIMEDOUT, "nothing happened to the pool in time");
    }
    return result;
}
