/* SPDX-License-Identifier: MIT
 *
 * A pool inside one process: the same arenas, lanes and broker as in a daemon, in private memory, with a lock around the
 * broker. There is one client, number 1; nobody's death is to be survived but that of ends that are closed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/embedded.h"

#include "broker/broker.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/notice.h"
#include "core/pool.h"
#include "core/tell.h"
#include "core/wipe.h"
#include "numa/placement.h"
#include "numa/topology.h"

#define EMBEDDED_CLIENT 1u

struct embedded {
    pthread_mutex_t growing; /* one thread adds an arena; outside of lock, for making memory takes its time */
    pthread_mutex_t lock;    /* the broker, and so its board */
    struct numapool_options options; /* as the pool was made */
    struct np_broker broker;
    struct np_board board;
    void *board_memory;
    struct np_bell *bells;
    struct np_account_row *account;
    struct np_memory meta[NP_ARENAS_MAX], data[NP_ARENAS_MAX];
    struct np_memory *lanes; /* by lane; address NULL: there is none */
    unsigned arena_count;
    int home_node; /* of np_plan */
};

static const struct np_board_limits embedded_limits = { 1, 256, 512, 2048 };

static size_t lanes_bytes(void)
{
    return (embedded_limits.lanes + 1) * sizeof(struct np_memory);
}

/* ---------------------------------------------------------------- authority: the broker under a lock */

static int endpoint_open(void *context, const struct np_endpoint_request *request, struct np_endpoint_grant *grant)
{
    struct embedded *embedded = context;
    pthread_mutex_lock(&embedded->lock);
    int result = np_broker_endpoint_open(&embedded->broker, EMBEDDED_CLIENT, request, grant);
    pthread_mutex_unlock(&embedded->lock);
    return result;
}

static int endpoint_close(void *context, uint32_t endpoint)
{
    struct embedded *embedded = context;
    pthread_mutex_lock(&embedded->lock);
    int result = np_broker_endpoint_close(&embedded->broker, EMBEDDED_CLIENT, endpoint);
    pthread_mutex_unlock(&embedded->lock);
    return result;
}

static int next_lane(void *context, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant)
{
    struct embedded *embedded = context;
    pthread_mutex_lock(&embedded->lock);
    int result = np_broker_next_lane(&embedded->broker, EMBEDDED_CLIENT, endpoint, stamp, grant);
    pthread_mutex_unlock(&embedded->lock);
    return result;
}

static int leave_lane(void *context, uint32_t endpoint, uint32_t lane, uint32_t generation)
{
    struct embedded *embedded = context;
    pthread_mutex_lock(&embedded->lock);
    int result = np_broker_leave_lane(&embedded->broker, EMBEDDED_CLIENT, endpoint, lane, generation);
    pthread_mutex_unlock(&embedded->lock);
    return result;
}

static void unmap_lane(void *context, struct np_lane_shared *memory, uint32_t capacity, uint32_t kind)
{
    (void)context, (void)memory, (void)capacity, (void)kind; /* the broker's own mapping */
}

static void ring(void *context, uint32_t bell)
{
    struct embedded *embedded = context;
    if (bell == NP_BELL_OF_DAEMON) {
        pthread_mutex_lock(&embedded->lock);
        np_broker_orphan_duty(&embedded->broker);
        pthread_mutex_unlock(&embedded->lock);
    } else if (bell < embedded->broker.bell_count) {
        np_bell_ring(&embedded->bells[bell]);
    }
}

static const struct np_authority embedded_authority = { endpoint_open, endpoint_close, next_lane, leave_lane, unmap_lane, ring };

static int lane_memory(void *context, uint32_t lane, size_t bytes, int *node, void **address)
{
    struct embedded *embedded = context;
    int result = np_memory_create_near(&embedded->lanes[lane], "a lane", bytes, *node, 0, NP_PRIVATE);
    *node = embedded->lanes[lane].node;
    if (result == 0)
        *address = embedded->lanes[lane].address;
    return result;
}

static void lane_memory_gone(void *context, uint32_t lane, void *address, size_t bytes)
{
    struct embedded *embedded = context;
    (void)address, (void)bytes;
    np_memory_destroy(&embedded->lanes[lane]);
}

/* ---------------------------------------------------------------- making and unmaking */

static void unmake_arena(struct numapool_pool *pool, struct embedded *embedded, unsigned i)
{
    np_blocks_end(&pool->arenas[i].arena);
    np_memory_destroy(&embedded->meta[i]);
    np_memory_destroy(&embedded->data[i]);
}

static void unmake(struct numapool_pool *pool)
{
    struct embedded *embedded = pool->maker;
    for (uint32_t lane = 0; embedded->lanes && lane <= embedded_limits.lanes; lane++)
        np_memory_destroy(&embedded->lanes[lane]);
    for (unsigned i = 0; i < embedded->arena_count; i++)
        unmake_arena(pool, embedded, i);
    np_broker_stop(&embedded->broker);
    pthread_mutex_destroy(&embedded->lock);
    pthread_mutex_destroy(&embedded->growing);
    np_wipe_free(embedded->lanes, lanes_bytes());
    np_wipe_free(embedded->board_memory, np_board_bytes(&embedded_limits));
    np_wipe_free(embedded->bells, np_board_bells(&embedded_limits) * sizeof *embedded->bells);
    free(embedded->account);
    free(pool->arenas);
    free(embedded);
    np_wipe_free(pool, sizeof *pool);
}

static void *zeroed(size_t bytes)
{
    void *memory = aligned_alloc(128, (bytes + 127) / 128 * 128);
    if (memory)
        memset(memory, 0, (bytes + 127) / 128 * 128);
    else
        np_error(-ENOMEM, "no memory for %zu bytes of a pool's tables", bytes);
    return memory;
}

static int make_tables(struct numapool_pool *pool, struct embedded *embedded)
{
    uint32_t bells = np_board_bells(&embedded_limits);
    /* mapped, not cleared: most of the tables are never touched */
    embedded->board_memory = np_wipe_alloc(np_board_bytes(&embedded_limits));
    embedded->bells = np_wipe_alloc(bells * sizeof *embedded->bells);
    embedded->account = zeroed(NP_ARENAS_MAX * sizeof *embedded->account);
    embedded->lanes = np_wipe_alloc(lanes_bytes());
    pool->arenas = zeroed(NP_ARENAS_MAX * sizeof *pool->arenas);
    if (!embedded->board_memory || !embedded->bells || !embedded->account || !embedded->lanes || !pool->arenas)
        return -ENOMEM;
    np_board_format(embedded->board_memory, &embedded_limits);
    int result = np_board_attach(&embedded->board, embedded->board_memory, np_board_bytes(&embedded_limits));
    const struct np_broker_environment environment = { embedded, lane_memory, lane_memory_gone, false };
    if (result == 0)
        result = np_broker_start(&embedded->broker, &embedded->board, embedded->bells, &environment);
    pool->bells = embedded->bells;
    pool->bell_count = bells;
    return result;
}

static bool is_first_of_node(const struct numapool_pool *pool, unsigned index, int node)
{
    for (unsigned i = 0; i < index; i++)
        if (pool->arenas[i].arena.node == node)
            return false;
    return true;
}

static int make_arena_on(struct numapool_pool *pool, struct embedded *embedded, unsigned i, uint64_t slots, int node)
{
    const struct numapool_options *options = &embedded->options;
    char what[96];
    struct np_memory *meta = &embedded->meta[i], *data = &embedded->data[i];
    size_t meta_bytes = np_arena_meta_bytes(slots, embedded_limits.clients + 1, options->flags);
    meta->fd = data->fd = -1;
    embedded->arena_count = i + 1;
    snprintf(what, sizeof what, "words of pool '%s'", options->name);
    int result = np_memory_create(meta, what, meta_bytes, node, NP_PAGES_MIXED, NP_PRIVATE);
    if (result < 0)
        return result;
    snprintf(what, sizeof what, "payload of pool '%s'", options->name);
    if (!(options->flags & NUMAPOOL_MALLOC))
        result = np_memory_create(data, what, slots * np_arena_stride_of(options->slot_bytes, options->flags), node,
                              options->flags & (NUMAPOOL_HUGE_1G | NUMAPOOL_HUGE_2M | NUMAPOOL_HUGE_THP | NUMAPOOL_PAGES_FALLBACK), NP_PRIVATE);
    if (result < 0)
        return result;
    np_arena_format(meta->address, slots, options->slot_bytes, 0, i, node, embedded_limits.clients + 1, options->flags);
    np_arena_set_low_watermark(meta->address, options->low_watermark, is_first_of_node(pool, i, node));
    struct np_pool_arena *pa = &pool->arenas[i];
    result = np_arena_attach(&pa->arena, meta->address, meta->bytes, data->address, slots, options->slot_bytes, i, node,
                             EMBEDDED_CLIENT, embedded->bells, pool->bell_count, options->flags);
    if (result == 0 && options->flags & NUMAPOOL_MALLOC)
        result = np_blocks_begin(&pa->arena);
    pa->account = &embedded->account[i];
    pa->meta_bytes = meta->bytes;
    pa->data_map_bytes = data->bytes;
    pa->page_bytes = data->page_bytes;
    pa->transparent = data->transparent;
    return result;
}

/* Arena i of the pool is number `planned` of the plan. Where its node has no room for it after all, the next nodes are tried, if they
 * will do. */
static int make_arena(struct numapool_pool *pool, struct embedded *embedded, unsigned i, const struct np_plan *plan, unsigned planned)
{
    const struct np_plan_arena *arena = &plan->arenas[planned];
    char why[NP_PLAN_NOTE_BYTES];
    int node, result = 0;
    for (unsigned attempt = 0; (node = np_plan_node_to_try(np_topology(), plan, planned, attempt)) >= 0; attempt++) {
        result = make_arena_on(pool, embedded, i, arena->slots, node);
        if (result == 0 && attempt > 0)
            np_tell(NUMAPOOL_LOG_WARN, "pool '%s': %llu slots that were to be on node %d are on node %d: %s", pool->name,
                    (unsigned long long)arena->slots, arena->node, node, why);
        if (result != -ENOMEM && result != -ENOSPC)
            break;
        unmake_arena(pool, embedded, i);
        if (attempt == 0)
            snprintf(why, sizeof why, "%s", np_error_sentence());
    }
    if (result < 0 && arena->movable && (result == -ENOMEM || result == -ENOSPC))
        return np_error(result, "%s; and no other node has room for it", why);
    pool->arenas[i].tier = arena->tier;
    return result;
}

/* An arena that has been made becomes the board's and the broker's. */
static int board_arena(struct embedded *embedded, struct np_pool_entry *entry, const struct numapool_pool *pool, unsigned i)
{
    entry->arena[i].slots = pool->arenas[i].arena.slots;
    entry->arena[i].node = pool->arenas[i].arena.node;
    entry->arena[i].page_bytes = pool->arenas[i].page_bytes;
    entry->arena[i].transparent = pool->arenas[i].transparent;
    entry->arena[i].tier = pool->arenas[i].tier;
    return np_broker_attach_pool(&embedded->broker, entry->id, i, embedded->meta[i].address, embedded->meta[i].bytes);
}

static int fill_board(struct embedded *embedded, const struct numapool_pool *pool, unsigned count)
{
    const struct numapool_options *options = &embedded->options;
    struct np_pool_entry *entry;
    struct np_client_entry *client;
    int result = np_broker_pool_add(&embedded->broker, options->name, &entry);
    if (result < 0)
        return result;
    entry->slot_bytes = options->slot_bytes;
    entry->flags = options->flags;
    entry->low_watermark = options->low_watermark;
    entry->policy = options->policy;
    entry->spill_slots = options->spill_slots;
    entry->home_node = embedded->home_node;
    for (unsigned i = 0; i < count && result == 0; i++)
        result = board_arena(embedded, entry, pool, i);
    np_store32(&entry->arenas, count, memory_order_release);
    np_store32(&entry->state, NP_ACTIVE, memory_order_release);
    if (result == 0)
        result = np_broker_client_add(&embedded->broker, &client);
    if (result == EMBEDDED_CLIENT)
        np_broker_client_activate(&embedded->broker, EMBEDDED_CLIENT);
    return result < 0 ? result : 0;
}

static int create_as_planned(struct numapool_pool **result_pool, const struct numapool_options *options, const struct np_plan *plan)
{
    struct numapool_pool *pool = np_wipe_alloc(sizeof *pool);
    struct embedded *embedded = calloc(1, sizeof *embedded);
    if (!pool || !embedded) {
        free(embedded);
        np_wipe_free(pool, sizeof *pool);
        return np_error(-ENOMEM, "no memory for a pool's tables");
    }
    pthread_mutex_init(&embedded->lock, NULL);
    pthread_mutex_init(&embedded->growing, NULL);
    pool->maker = embedded;
    snprintf(pool->name, sizeof pool->name, "%s", options->name);
    embedded->options = *options;
    embedded->options.name = pool->name; /* the caller's may go */
    embedded->options.node_slots = NULL;
    embedded->options.access = NULL;
    embedded->options.device = NULL;
    embedded->home_node = plan->home;
    pool->mode = NUMAPOOL_MODE_EMBEDDED;
    pool->client = EMBEDDED_CLIENT;
    pool->flags = options->flags;
    pool->slot_bytes = np_arena_stride_of(options->slot_bytes, options->flags);
    pool->magazine_slots = options->magazine_slots;
    pool->own_node = np_node_of_this_thread;
    pool->distance = np_node_distance;
    pool->authority = &embedded_authority;
    pool->authority_context = embedded;
    pool->destroy = unmake;
    pool->opens = 1;
    np_bell_register();
    int result = make_tables(pool, embedded);
    for (unsigned i = 0; i < plan->count && result == 0; i++)
        result = make_arena(pool, embedded, i, plan, i);
    if (result == 0)
        result = fill_board(embedded, pool, plan->count);
    atomic_store_explicit(&pool->arena_count, plan->count, memory_order_release); /* nobody else has it yet */
    if (result == 0)
        result = np_pool_start(pool, options->sharers ? options->sharers : 1);
    if (result < 0) {
        unmake(pool);
        return result;
    }
    *result_pool = pool;
    return 0;
}

int np_embedded_create(struct numapool_pool **pool, const struct numapool_options *options, const uint64_t *slots, const int *nodes,
                       unsigned count)
{
    struct np_plan plan = { .count = count, .home = -1 };
    for (unsigned i = 0; i < count; i++)
        plan.arenas[i] = (struct np_plan_arena){ .slots = slots[i], .node = nodes[i] };
    return create_as_planned(pool, options, &plan);
}

int numapool_create(struct numapool_pool **pool, const struct numapool_options *options)
{
    struct numapool_options known;
    struct np_plan plan;
    int result = np_pool_options(&known, options);
    if (result < 0)
        return result;
    int cancel = np_cancel_defer();
    result = np_topology_reload(); /* nodes may have come and gone since this process looked */
    if (result >= 0)
        result = np_pool_plan(&plan, &known, np_node_of_this_thread());
    if (result == 0)
        result = create_as_planned(pool, &known, &plan);
    if (result == 0 && plan.note[0] != '\0')
        np_tell(NUMAPOOL_LOG_WARN, "pool '%s': %s", known.name, plan.note);
    np_cancel_restore(cancel);
    return result;
}

/* ---------------------------------------------------------------- growing */

/* Makes one more arena and gives it to the broker, then to the pool: a lane whose cells name it is understood by whoever
 * repairs it. Under `growing`. */
static int add_arena(struct numapool_pool *pool, struct embedded *embedded, const struct np_plan *plan)
{
    struct np_pool_entry *entry = &embedded->board.pools[pool->id];
    const unsigned index = np_pool_arena_count(pool);
    if (index == NP_ARENAS_MAX)
        return np_error(-ENOSPC, "pool '%s' has been made of %u pieces already, and there can be no more: grow by more slots at a time",
                        pool->name, NP_ARENAS_MAX);
    int result = make_arena(pool, embedded, index, plan, 0);
    if (result == 0) {
        pthread_mutex_lock(&embedded->lock);
        result = board_arena(embedded, entry, pool, index);
        if (result == 0)
            np_store32(&entry->arenas, index + 1, memory_order_release); /* pairs with np_pool_arenas */
        pthread_mutex_unlock(&embedded->lock);
    }
    if (result == 0 && (result = np_pool_add_arena(pool)) < 0) {
        pthread_mutex_lock(&embedded->lock);
        np_store32(&entry->arenas, index, memory_order_release);
        embedded->broker.pools[pool->id].arena_count = index; /* nobody has had a slot of it */
        pthread_mutex_unlock(&embedded->lock);
    }
    if (result < 0) {
        unmake_arena(pool, embedded, index);
        memset(&pool->arenas[index], 0, sizeof pool->arenas[index]);
        embedded->arena_count = index;
    }
    return result;
}

static int plan_growth(const struct numapool_pool *pool, const struct embedded *embedded, int node, uint64_t slots, struct np_plan *plan)
{
    struct np_plan had = { .count = np_pool_arena_count(pool), .home = embedded->home_node };
    for (unsigned i = 0; i < had.count; i++)
        had.arenas[i] = (struct np_plan_arena){ .slots = pool->arenas[i].arena.slots, .node = pool->arenas[i].arena.node,
                                                .tier = pool->arenas[i].tier };
    return np_pool_plan_growth(plan, &embedded->options, &had, node, slots);
}

int numapool_grow(struct numapool_pool *pool, int node, uint64_t slots)
{
    int result = np_pool_check(pool);
    if (result < 0)
        return result;
    if (pool->mode != NUMAPOOL_MODE_EMBEDDED)
        return np_error(-EOPNOTSUPP, "pool '%s' is the daemon's: numapool_admin_grow, or numapoolctl pool grow, enlarges it", pool->name);
    struct embedded *embedded = pool->maker;
    if (slots == 0 || (node < 0 && node != NUMAPOOL_ANY_NODE) || node >= NP_NODES_MAX)
        return np_error(-EINVAL, "pool '%s' cannot grow by %llu slots on node %d: 1 or more, on a node from 0 or NUMAPOOL_ANY_NODE",
                        pool->name, (unsigned long long)slots, node);
    struct np_plan plan = { 0 };
    int cancel = np_cancel_defer();
    pthread_mutex_lock(&embedded->growing);
    result = plan_growth(pool, embedded, node, slots, &plan);
    if (result == 0)
        result = add_arena(pool, embedded, &plan);
    node = result == 0 ? pool->arenas[np_pool_arena_count(pool) - 1].arena.node : node;
    if (result == 0) {
        np_notice_growth(&pool->arenas[0].arena, np_pool_arena_count(pool));
        np_pool_note_level(pool, &pool->arenas[np_pool_arena_count(pool) - 1]); /* it may have recovered by that */
    }
    pthread_mutex_unlock(&embedded->growing);
    np_cancel_restore(cancel);
    if (result == 0 && plan.note[0] != '\0')
        np_tell(NUMAPOOL_LOG_WARN, "pool '%s': %s", pool->name, plan.note);
    if (result == 0)
        np_tell(NUMAPOOL_LOG_INFO, "pool '%s' has grown by %llu slots on node %d", pool->name, (unsigned long long)slots, node);
    return result;
}
