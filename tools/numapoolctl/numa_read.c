/* SPDX-License-Identifier: MIT
 * What the command numa reads: the daemon's board, clients' accounts, /proc. */
#include "numa.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/sleep.h"
#include "numa/system_files.h"

static int no_memory(void)
{
    return np_error(-ENOMEM, "no memory for what clients have counted");
}

/* ---------------------------------------------------------------- counts */

static uint64_t sum_of(uint64_t a, uint64_t b)
{
    return a + b < a ? UINT64_MAX : a + b;
}

void np_numa_add(struct np_numa_counts *sum, const struct np_numa_counts *counts)
{
    for (unsigned i = 0; i < NP_NUMA_COUNTERS; i++)
        sum->of[i] = sum_of(sum->of[i], counts->of[i]);
}

static uint64_t counted(const np_shm64 *counter)
{
    return np_load64(counter, memory_order_relaxed); /* relaxed: a statistic */
}

struct np_numa_counts np_numa_of_row(const struct np_account_row *row)
{
    return (struct np_numa_counts){ .of = {
        [NP_NUMA_LOCAL] = counted(&row->local),       [NP_NUMA_REMOTE] = counted(&row->remote),
        [NP_NUMA_FOREIGN] = counted(&row->foreign),   [NP_NUMA_SPILLED] = counted(&row->spilled),
        [NP_NUMA_TIERED] = counted(&row->tiered),     [NP_NUMA_HOMELESS] = counted(&row->homeless),
        [NP_NUMA_FOLLOWED] = counted(&row->followed), [NP_NUMA_HOME_RETURNS] = counted(&row->home_returns),
        [NP_NUMA_REFILLS] = counted(&row->refills),   [NP_NUMA_FAILURES] = counted(&row->failures),
    } };
}

struct np_numa_counts np_numa_sum(const struct np_numa_pool *pool, const struct np_numa_client *client)
{
    struct np_numa_counts sum = { .of = { 0 } };
    for (unsigned i = 0; i < pool->node_count; i++)
        np_numa_add(&sum, &client->counts[i]);
    return sum;
}

/* Less than before: it was written over; or of all clients, while one of them was leaving, whose counts the next look will have. */
static void subtract(struct np_numa_counts *counts, const struct np_numa_counts *before)
{
    for (unsigned i = 0; i < NP_NUMA_COUNTERS; i++)
        counts->of[i] = counts->of[i] >= before->of[i] ? counts->of[i] - before->of[i] : 0;
}

/* ---------------------------------------------------------------- nodes */

static int row_of(const struct np_numa_pool *pool, int node)
{
    for (unsigned i = 0; i < pool->node_count; i++)
        if (pool->nodes[i].node == node)
            return (int)i;
    return -1;
}

static struct np_numa_node *node_of(struct np_numa_pool *pool, int node)
{
    int row = row_of(pool, node);
    if (row >= 0)
        return &pool->nodes[row];
    unsigned at = pool->node_count++;
    for (; at > 0 && pool->nodes[at - 1].node > node; at--)
        pool->nodes[at] = pool->nodes[at - 1];
    pool->nodes[at] = (struct np_numa_node){ .node = node };
    return &pool->nodes[at];
}

/* All that there will be, so that places stay as they are. A pool has so many arenas as it had when it was mapped. */
static int make_nodes(struct np_numa_pool *pool, const struct np_pool_entry *entry, unsigned arenas, const struct np_topology *topology)
{
    pool->nodes = calloc((size_t)arenas + (topology ? topology->count : 0) + 1, sizeof *pool->nodes);
    if (!pool->nodes)
        return no_memory();
    for (unsigned i = 0; i < arenas; i++) {
        struct np_numa_node *node = node_of(pool, entry->arena[i].node);
        node->memory_only = node->memory_only || entry->arena[i].tier != 0;
        node->has_room = true;
    }
    for (unsigned i = 0; topology && i < topology->count; i++) {
        const struct np_topology_node *of = &topology->nodes[i];
        if (of->cpus == 0 && row_of(pool, of->number) < 0)
            continue;
        struct np_numa_node *node = node_of(pool, of->number);
        node->memory_only = np_topology_is_memory_only(of);
        node->has_room = of->memory_bytes > 0; /* what of it this program may use is not what the daemon may */
    }
    return 0;
}

/* ---------------------------------------------------------------- clients */

/* By channel: bit i: somebody receives on nodes[i]. */
static uint64_t *receivers_by_channel(const struct np_view *view, const struct np_numa_pool *pool)
{
    const struct np_board *board = &view->board;
    uint64_t *nodes = calloc((size_t)board->limits.channels + 1, sizeof *nodes);
    for (uint32_t i = 1; nodes && i <= board->limits.endpoints; i++) {
        const struct np_endpoint_entry *end = &board->endpoints[i];
        const uint32_t channel = end->channel;
        int row = row_of(pool, end->node);
        if (np_entry_is(&end->state, NP_ACTIVE) && end->role == NP_ROLE_RECEIVER && channel <= board->limits.channels && row >= 0 && row < 64)
            nodes[channel] |= UINT64_C(1) << row;
    }
    return nodes;
}

static void note_ends(const struct np_view *view, uint32_t pool, struct np_numa_client *client, const uint64_t *receivers)
{
    const struct np_board *board = &view->board;
    for (uint32_t i = 1; i <= board->limits.endpoints; i++) {
        const struct np_endpoint_entry *end = &board->endpoints[i];
        const uint32_t channel = end->channel;
        if (!np_entry_is(&end->state, NP_ACTIVE) || end->client != client->number || channel == 0 || channel > board->limits.channels ||
            board->channels[channel].pool != pool)
            continue;
        client->sends = client->sends || end->role == NP_ROLE_SENDER;
        client->receives = client->receives || end->role == NP_ROLE_RECEIVER;
        if (end->role == NP_ROLE_SENDER)
            client->receiver_nodes |= receivers[channel];
    }
}

static void add_rows(struct np_numa_pool *pool, const struct np_pool_entry *entry, unsigned arenas, const struct np_account_row *rows,
                     struct np_numa_client *client)
{
    for (unsigned i = 0; i < arenas; i++) {
        int row = row_of(pool, entry->arena[i].node);
        if (row < 0)
            continue;
        struct np_numa_counts counts = np_numa_of_row(&rows[i]);
        np_numa_add(&client->counts[row], &counts);
        np_numa_add(&pool->nodes[row].counts, &counts);
    }
}

/* 1: it is there; 0: it has gone meanwhile. */
static int read_client(struct np_view *view, struct np_numa_pool *pool, unsigned arenas, uint32_t number, const struct np_topology *topology,
                       struct np_numa_client *client)
{
    const struct np_client_entry *entry = &view->board.clients[number];
    struct np_view_account account;
    *client = (struct np_numa_client){ .number = number, .pid = entry->pid, .uid = entry->uid, .admitted_unix_ns = entry->admitted_unix_ns };
    memcpy(client->program, entry->name, sizeof client->program - 1);
    client->readonly = (np_load64(&entry->readonly, memory_order_relaxed) >> pool->number & 1) != 0; /* relaxed: shown to people */
    client->counts = calloc((size_t)pool->node_count + 1, sizeof *client->counts);
    if (!client->counts)
        return no_memory();
    if (!client->readonly) {
        int result = np_view_map_account(view, number, pool->number, &account);
        if (result < 0) {
            free(client->counts);
            return result == -ENOENT ? 0 : result;
        }
        add_rows(pool, &view->board.pools[pool->number], arenas, account.rows, client);
        np_view_unmap_account(&account);
    }
    np_threads_look(&client->threads, NP_SYSTEM_ROOT, client->pid, entry->start_ticks, topology);
    return 1;
}

static int read_clients(struct np_view *view, struct np_numa_pool *pool, unsigned arenas, const struct np_topology *topology)
{
    const uint32_t most = view->board.limits.clients;
    uint64_t *receivers = receivers_by_channel(view, pool);
    pool->clients = calloc((size_t)most + 1, sizeof *pool->clients);
    int result = receivers && pool->clients ? 0 : no_memory();
    for (uint32_t i = 1; result >= 0 && i <= most; i++) {
        const struct np_client_entry *entry = &view->board.clients[i];
        if (!np_entry_is(&entry->state, NP_ACTIVE) || (np_load64(&entry->pools, memory_order_relaxed) >> pool->number & 1) == 0)
            continue; /* relaxed: shown to people */
        result = read_client(view, pool, arenas, i, topology, &pool->clients[pool->client_count]);
        if (result > 0)
            note_ends(view, pool->number, &pool->clients[pool->client_count++], receivers);
    }
    free(receivers);
    return result < 0 ? result : 0;
}

/* ---------------------------------------------------------------- pools */

static void free_pool(struct np_numa_pool *pool)
{
    for (unsigned i = 0; i < pool->client_count; i++)
        free(pool->clients[i].counts);
    free(pool->clients);
    free(pool->nodes);
    *pool = (struct np_numa_pool){ 0 };
}

static void add_slots(struct np_numa_pool *pool, const struct np_view_pool *mapped, const struct np_pool_entry *entry)
{
    for (unsigned i = 0; i < mapped->arena_count; i++) {
        struct np_arena_census census;
        int row = row_of(pool, entry->arena[i].node);
        if (row < 0)
            continue;
        np_arena_census(&mapped->arenas[i], &census);
        struct np_numa_counts departed = np_numa_of_row(&entry->arena[i].departed);
        pool->nodes[row].slots += mapped->arenas[i].slots;
        pool->nodes[row].free_slots += census.free_slots;
        np_numa_add(&pool->nodes[row].departed, &departed);
        np_numa_add(&pool->nodes[row].counts, &departed);
    }
}

static int read_pool(struct np_view *view, uint32_t number, const struct np_topology *topology, struct np_numa_pool *pool)
{
    const struct np_pool_entry *entry = &view->board.pools[number];
    struct np_view_pool mapped;
    int result = np_view_map_pool(view, number, &mapped);
    if (result < 0)
        return result;
    *pool = (struct np_numa_pool){ .number = number, .tag = entry->tag };
    np_view_name(pool->name, entry->name);
    result = make_nodes(pool, entry, mapped.arena_count, topology);
    if (result == 0) {
        add_slots(pool, &mapped, entry);
        result = read_clients(view, pool, mapped.arena_count, topology);
    }
    np_view_unmap_pool(&mapped);
    if (result < 0)
        free_pool(pool);
    return result;
}

/* The daemon's, imagined or real. NULL: it cannot be read here. */
static const struct np_topology *topology_of(const struct np_view *view, struct np_topology *imagined)
{
    const struct np_board_header *header = view->board.header;
    const struct np_topology *own = np_topology();
    const uint64_t fingerprint = np_load64(&header->topology, memory_order_acquire); /* pairs with the store after the name */
    char name[sizeof header->topology_name];
    memcpy(name, header->topology_name, sizeof name);
    name[sizeof name - 1] = '\0';
    if (own && own->fingerprint == fingerprint)
        return own;
    /* of the machine, for who looks with a variable of his own; else as the daemon was told */
    int result = fingerprint == 0 ? np_topology_read(imagined, NP_SYSTEM_ROOT) : np_topology_imagine(imagined, name);
    return result >= 0 && imagined->fingerprint == fingerprint ? imagined : NULL;
}

void np_numa_threads(const struct np_view *view, uint32_t client, struct np_threads *threads)
{
    const struct np_client_entry *entry = &view->board.clients[client];
    struct np_topology imagined = { .count = 0 };
    np_threads_look(threads, NP_SYSTEM_ROOT, entry->pid, entry->start_ticks, topology_of(view, &imagined));
    np_topology_free(&imagined);
}

static int read_pools(struct np_numa *numa, struct np_view *view, const char *pool, const struct np_topology *topology)
{
    uint32_t first = 0, last = NP_POOLS_MAX - 1;
    int result = pool ? np_view_find_pool(view, pool, &first) : 0;
    last = pool ? first : last;
    for (uint32_t i = first; result >= 0 && i <= last; i++) {
        if (!np_entry_is(&view->board.pools[i].state, NP_ACTIVE))
            continue;
        result = read_pool(view, i, topology, &numa->pools[numa->pool_count]);
        numa->pool_count += result >= 0;
        if (result == -ENOENT && !pool)
            result = 0; /* destroyed meanwhile */
    }
    return result < 0 ? result : 0;
}

int np_numa_read(struct np_numa *numa, struct np_view *view, const char *pool)
{
    struct np_topology imagined = { .count = 0 };
    const struct np_topology *topology = topology_of(view, &imagined);
    *numa = (struct np_numa){ .at_ns = np_monotonic_ns(), .emulated = np_load64(&view->board.header->topology, memory_order_relaxed) != 0, .topology_known = topology != NULL };
    memcpy(numa->topology_name, view->board.header->topology_name, sizeof numa->topology_name - 1);
    numa->pools = calloc(NP_POOLS_MAX, sizeof *numa->pools);
    int result = numa->pools ? read_pools(numa, view, pool, topology) : no_memory();
    np_topology_free(&imagined);
    if (result < 0)
        np_numa_free(numa);
    return result;
}

static void *copy_of(const void *from, size_t count, size_t bytes)
{
    void *copy = calloc(count + 1, bytes);
    return copy && count > 0 ? memcpy(copy, from, count * bytes) : copy;
}

static int copy_pool(struct np_numa_pool *copy, const struct np_numa_pool *from)
{
    *copy = *from;
    copy->client_count = 0; /* so many are whole */
    copy->nodes = copy_of(from->nodes, from->node_count, sizeof *from->nodes);
    copy->clients = copy_of(from->clients, from->client_count, sizeof *from->clients);
    for (unsigned i = 0; copy->clients && i < from->client_count; i++) {
        copy->clients[i].counts = copy_of(from->clients[i].counts, from->node_count, sizeof *from->clients[i].counts);
        if (!copy->clients[i].counts)
            return no_memory();
        copy->client_count++;
    }
    return copy->nodes && copy->clients ? 0 : no_memory();
}

int np_numa_copy(struct np_numa *copy, const struct np_numa *from)
{
    int result = 0;
    *copy = *from;
    copy->pools = calloc(NP_POOLS_MAX, sizeof *copy->pools);
    copy->pool_count = 0;
    for (unsigned i = 0; copy->pools && i < from->pool_count && result == 0; i++)
        result = copy_pool(&copy->pools[copy->pool_count++], &from->pools[i]);
    result = copy->pools ? result : no_memory();
    if (result < 0)
        np_numa_free(copy);
    return result;
}

void np_numa_free(struct np_numa *numa)
{
    for (unsigned i = 0; i < numa->pool_count; i++)
        free_pool(&numa->pools[i]);
    free(numa->pools);
    *numa = (struct np_numa){ 0 };
}

/* ---------------------------------------------------------------- since */

static const struct np_numa_client *same_client(const struct np_numa_pool *pool, const struct np_numa_client *client)
{
    for (unsigned i = 0; i < pool->client_count; i++)
        if (pool->clients[i].number == client->number && pool->clients[i].admitted_unix_ns == client->admitted_unix_ns &&
            pool->clients[i].pid == client->pid)
            return &pool->clients[i];
    return NULL;
}

static void subtract_pool(struct np_numa_pool *pool, const struct np_numa_pool *before)
{
    for (unsigned i = 0; i < pool->node_count; i++) {
        int row = row_of(before, pool->nodes[i].node);
        if (row < 0)
            continue;
        subtract(&pool->nodes[i].counts, &before->nodes[row].counts);
        subtract(&pool->nodes[i].departed, &before->nodes[row].departed);
        for (unsigned c = 0; c < pool->client_count; c++) {
            const struct np_numa_client *was = same_client(before, &pool->clients[c]);
            if (was)
                subtract(&pool->clients[c].counts[i], &was->counts[row]);
        }
    }
}

void np_numa_subtract(struct np_numa *numa, const struct np_numa *before)
{
    numa->seconds = (double)(numa->at_ns - before->at_ns) / 1e9;
    for (unsigned i = 0; i < numa->pool_count; i++)
        for (unsigned j = 0; j < before->pool_count; j++)
            if (numa->pools[i].number == before->pools[j].number && numa->pools[i].tag == before->pools[j].tag &&
                strcmp(numa->pools[i].name, before->pools[j].name) == 0)
                subtract_pool(&numa->pools[i], &before->pools[j]);
}
