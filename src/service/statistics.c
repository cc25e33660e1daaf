/* SPDX-License-Identifier: MIT
 *
 * What a process can say about a pool that it has open, embedded or direct: the words counted, the counters of the arenas,
 * and this process's own. It reads only; each figure is true of some instant, not all of the same.
 */
#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "core/pool.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/topology.h"
#include "numapool.h"

/* More than any version's struct: beyond it `size` was not set. */
enum { STATS_BYTES_MAX = 4096 };

static uint64_t counted(const np_shm64 *counter)
{
    return np_load64(counter, memory_order_relaxed); /* relaxed: a statistic */
}

static void add_account(struct numapool_stats *sum, const struct np_account_row *row)
{
    sum->gets += counted(&row->gets);
    sum->puts += counted(&row->puts);
    sum->refills += counted(&row->refills);
    sum->flushes += counted(&row->flushes);
    sum->home_returns += counted(&row->home_returns);
    sum->failures += counted(&row->failures);
    sum->faults += counted(&row->faults);
    sum->local += counted(&row->local);
    sum->remote += counted(&row->remote);
    sum->foreign += counted(&row->foreign);
    sum->spilled += counted(&row->spilled);
    sum->homeless += counted(&row->homeless);
    sum->followed += counted(&row->followed);
}

static void add_arena(struct numapool_stats *sum, const struct np_pool_arena *pa)
{
    const struct np_arena *arena = &pa->arena;
    struct np_arena_census census;
    np_arena_census(arena, &census);
    /* low_water lies where every client may write */
    uint64_t low_water = counted(&arena->header->low_water);
    if (low_water > arena->slots)
        low_water = arena->slots;
    /* relaxed: a statistic. It begins at 0, which is so: who made the memory verified it before anybody could open it. */
    uint64_t elsewhere = atomic_load_explicit(&pa->misplaced_pages, memory_order_relaxed) * pa->page_bytes;
    if (elsewhere > pa->data_map_bytes)
        elsewhere = pa->data_map_bytes;
    sum->slots += arena->slots;
    sum->free_slots += census.free_slots;
    sum->held += census.held + census.kept;
    sum->in_flight += census.sent;
    sum->low_water += low_water;
    sum->high_water += arena->slots - low_water;
    sum->taken += counted(&arena->header->taken);
    sum->given += counted(&arena->header->given);
    uint64_t quarantined = counted(&arena->header->quarantined); /* as low_water */
    sum->quarantined += quarantined < census.held ? quarantined : census.held;
    sum->pages_moved_back += counted(&arena->header->moved_back);
    sum->low_watermark += arena->low_watermark;
    sum->lows += counted(&arena->header->lows);
    add_account(sum, pa->account);
    if (sum->page_bytes == 0 || pa->page_bytes < sum->page_bytes)
        sum->page_bytes = pa->page_bytes; /* of several nodes: the smallest */
    sum->bytes_on_node += pa->data_map_bytes - elsewhere;
    sum->bytes_elsewhere += elsewhere;
}

/* What open magazines have counted and not yet put into the account. */
static void add_tallies(struct numapool_stats *sum, struct numapool_pool *pool, int node)
{
    pthread_mutex_lock(&pool->lock); /* so that no magazine is closed under us */
    for (const struct np_magazine *magazine = pool->magazines; magazine; magazine = magazine->next) {
        if (node != NUMAPOOL_ANY_NODE && pool->arenas[magazine->arena].arena.node != node)
            continue;
        /* relaxed: their owner writes them meanwhile */
        sum->gets += atomic_load_explicit(&magazine->gets, memory_order_relaxed);
        sum->puts += atomic_load_explicit(&magazine->puts, memory_order_relaxed);
        sum->local += atomic_load_explicit(&magazine->local, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pool->lock);
}

int numapool_stats_read(struct numapool_pool *pool, int node, struct numapool_stats *stats)
{
    int result = np_pool_check_writable(pool, "numapool_stats_read");
    if (result < 0)
        return result;
    if (!stats || stats->size < sizeof *stats || stats->size > STATS_BYTES_MAX)
        return np_error(-EINVAL, "statistics of pool '%s': size is %zu; set it to sizeof(struct numapool_stats), here %zu",
                        pool->name, stats ? stats->size : 0, sizeof *stats);
    struct numapool_stats sum = { .size = stats->size };
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++)
        if (node == NUMAPOOL_ANY_NODE || pool->arenas[i].arena.node == node)
            add_arena(&sum, &pool->arenas[i]);
    const struct np_topology *topology = np_topology();
    sum.emulated = topology != NULL && topology->emulated;
    if (sum.slots == 0)
        return np_error(-EINVAL, "pool '%s' has no slots on node %d: NUMAPOOL_ANY_NODE asks for the whole pool", pool->name, node);
    add_tallies(&sum, pool, node);
    memset(stats, 0, stats->size); /* a program of a later version reads 0 in what is not known here */
    memcpy(stats, &sum, sizeof sum);
    return 0;
}

/* The kernel tells where a page is to who has it in his page tables: so they are built first. */
static int verify(void *address, size_t bytes, size_t page_bytes, int node, const char *name, uint64_t *misplaced)
{
    int result = np_pages_prefault(address, bytes, page_bytes, false);
    if (result < 0)
        return np_error(result, "cannot build the page tables of pool '%s' to verify it (%s): free memory or raise the memory "
                        "limit of this process's cgroup", name, strerror(-result));
    result = np_memory_verify(address, bytes, page_bytes, node, misplaced);
    return result < 0 ? np_error_within(result, "pool '%s'", name) : 0;
}

int numapool_verify(struct numapool_pool *pool, uint64_t *misplaced_pages)
{
    int result = np_pool_check_writable(pool, "numapool_verify");
    if (result < 0)
        return result;
    if (!misplaced_pages)
        return np_error_static(-EINVAL, "numapool_verify: misplaced_pages is NULL");
    uint64_t sum = 0;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        struct np_pool_arena *pa = &pool->arenas[i];
        uint64_t of_data, of_words;
        if (pa->arena.blocks)
            continue; /* malloc's, wherever that is */
        result = verify(pa->arena.data, pa->data_map_bytes, pa->page_bytes, pa->arena.node, pool->name, &of_data);
        if (result == 0) /* whatever pages the words are on: small ones are parts of them */
            result = verify(pa->arena.header, pa->meta_bytes, NP_SMALL_PAGE_BYTES, pa->arena.node, pool->name, &of_words);
        if (result < 0)
            return result;
        atomic_store_explicit(&pa->misplaced_pages, of_data, memory_order_relaxed); /* relaxed: a statistic */
        sum += of_data + of_words;
    }
    *misplaced_pages = sum;
    return 0;
}
