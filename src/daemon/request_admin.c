/* SPDX-License-Identifier: MIT
 *
 * What admins ask for: pools made, enlarged, destroyed. Each request has a tag by which it is done once however often it is
 * asked: making takes its time, so the library asks again until it is done, also the next worker.
 */
#include <errno.h>
#include <string.h>

#include "broker/options.h"
#include "core/error.h"
#include "core/pool.h"
#include "daemon/worker.h"
#include "numa/topology.h"

/* entry NULL: of the daemon. */
static int check_admin(const struct np_connection *connection, const struct np_pool_entry *entry, const char *what)
{
    if (entry ? (np_rights_at_pool(connection, entry) & NP_RIGHT_ADMIN) != 0 : np_rights_is_admin(connection))
        return 0;
    return np_error(-EACCES, "user %ld may not %s: it is not named by admin= of [daemon]%s (numapoold.conf)",
                    (long)connection->identity.uid, what, entry ? " or of the pool" : "");
}

static void log_asked(const struct np_connection *connection, const char *pool, const char *what)
{
    np_log_of(NP_LOG_INFO, (struct np_log_about){ .pool = pool, .pid = connection->identity.pid },
              "pool '%s': process %ld of user %ld asks to %s it", pool, (long)connection->identity.pid,
           (long)connection->identity.uid, what);
}

static int check_tag(uint64_t tag)
{
    return tag != 0 ? 0 : np_error(-EINVAL, "a request to change pools has a tag that is not 0");
}

/* ---------------------------------------------------------------- create */

static int check_caches(const struct np_wire_pool *wanted)
{
    if (wanted->magazine_slots > NP_MAGAZINE_SLOTS_MAX)
        return np_error(-EINVAL, "pool '%s': magazine_slots is %u: at most %u", wanted->name, wanted->magazine_slots, NP_MAGAZINE_SLOTS_MAX);
    if (wanted->sharers > NP_CLIENTS_LIMIT)
        return np_error(-EINVAL, "pool '%s': sharers is %u: at most %u", wanted->name, wanted->sharers, NP_CLIENTS_LIMIT);
    if (wanted->flags & (NUMAPOOL_MALLOC | NUMAPOOL_READONLY))
        return np_error(-EINVAL, "pool '%s': MALLOC and READONLY are no flags of a pool of the daemon", wanted->name);
    return 0;
}

/* The node that the asking thread says it runs on: nothing but LOCAL goes by it. */
static int check_own_node(const struct np_wire_pool *wanted)
{
    const struct np_topology *topology = np_topology();
    if (wanted->policy != NUMAPOOL_LOCAL || (topology && np_topology_find(topology, wanted->own_node)))
        return 0;
    return np_error(-EINVAL, "pool '%s' is to be local to node %d, which the daemon does not know (numactl --hardware): has it come since the "
                    "daemon was started?", wanted->name, wanted->own_node);
}

static int order_of(const struct np_wire_pool *wanted, struct np_pool_order *order)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT, known;
    options.name = wanted->name;
    options.slot_bytes = wanted->slot_bytes;
    options.slots = wanted->slots;
    options.flags = wanted->flags;
    options.low_watermark = wanted->low_watermark;
    options.node_slots = wanted->nodes ? wanted->node_slots : NULL;
    options.nodes = wanted->nodes;
    options.policy = wanted->policy;
    options.device = wanted->device[0] != '\0' ? wanted->device : NULL;
    options.spill_slots = wanted->spill_slots;
    int result = check_caches(wanted);
    if (result == 0)
        result = check_own_node(wanted);
    if (result == 0)
        result = np_pool_options(&known, &options);
    if (result < 0)
        return result;
    result = np_pool_plan(&order->plan, &known, wanted->own_node);
    if (result < 0)
        return result;
    order->policy = known.policy;
    order->spill_slots = known.spill_slots;
    order->name = wanted->name;
    order->slot_bytes = wanted->slot_bytes;
    order->flags = wanted->flags;
    order->low_watermark = wanted->low_watermark;
    order->magazine_slots = wanted->magazine_slots;
    order->sharers = wanted->sharers ? wanted->sharers : NP_CONFIG_POOL_SHARERS_DEFAULT;
    order->tag = wanted->tag;
    order->access_text = wanted->access;
    return 0;
}

int np_request_pool_create(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_worker *worker = connection->worker;
    const struct np_wire_pool *wanted = &request->of.pool_create;
    struct np_pool_order order = { .uid = connection->identity.uid };
    struct np_pool_entry *there;
    int result = check_tag(wanted->tag);
    if (result == 0)
        result = check_admin(connection, NULL, "make pools");
    if (result < 0)
        return result;
    if (np_broker_pool_find(&worker->broker, wanted->name, &there) == 0) {
        if (there->tag == wanted->tag)
            return 0; /* done, and the answer was lost or comes only now */
        return np_error(-EEXIST, "there is a pool '%s' already%s", wanted->name,
                        np_load32(&there->ending, memory_order_relaxed) ? ": it ends when nobody has it open any more" : ""); /* relaxed: one writer */
    }
    result = np_pools_outcome(worker, wanted->tag);
    if (result == 0)
        result = order_of(wanted, &order);
    if (result != 0)
        return result;
    log_asked(connection, wanted->name, "make");
    return np_pools_begin_create(worker, &order);
}

/* ---------------------------------------------------------------- grow */

static int plan_growth(const struct np_pool_entry *entry, int node, uint64_t slots, struct np_plan *plan)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct np_plan had = { .count = np_pool_arenas(entry), .home = entry->home_node };
    options.name = entry->name;
    options.slot_bytes = entry->slot_bytes;
    options.flags = entry->flags;
    options.policy = entry->policy;
    for (unsigned i = 0; i < had.count; i++)
        had.arenas[i] = (struct np_plan_arena){ .slots = entry->arena[i].slots, .node = entry->arena[i].node, .tier = entry->arena[i].tier };
    return np_pool_plan_growth(plan, &options, &had, node, slots);
}

static int check_growth(const struct np_worker *worker, const struct np_pool_entry *entry, const struct np_wire_pool *wanted)
{
    if (np_load32(&entry->ending, memory_order_relaxed)) /* relaxed: one writer */
        return np_error(-ESHUTDOWN, "pool '%s' is going to be destroyed", entry->name);
    if (!worker->broker.pools[entry->id].mapped)
        return np_error(-EBADMSG, "pool '%s' cannot be enlarged: its slot words were scribbled over by a client, or lost; destroy it and make another", entry->name);
    if (np_pool_arenas(entry) == NP_ARENAS_MAX)
        return np_error(-ENOSPC, "pool '%s' has been enlarged as often as can be, it has %u arenas: make another pool", entry->name, NP_ARENAS_MAX);
    if (wanted->slots < 1 || wanted->slots > NP_SLOTS_MAX || wanted->slots > NP_ARENA_BYTES_MAX / np_arena_stride_of(entry->slot_bytes, entry->flags))
        return np_error(-EINVAL, "pool '%s' cannot have %llu slots more: 1 to 2^32 - 1, and 64 TiB, at a time", entry->name,
                        (unsigned long long)wanted->slots);
    if (wanted->node != NUMAPOOL_ANY_NODE && wanted->node < 0)
        return np_error(-EINVAL, "pool '%s' cannot have slots on node %d: there is no such node", entry->name, wanted->node);
    return 0;
}

int np_request_pool_grow(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_worker *worker = connection->worker;
    const struct np_wire_pool *wanted = &request->of.pool_grow;
    struct np_pool_entry *entry;
    int result = check_tag(wanted->tag);
    if (result == 0)
        result = np_broker_pool_find(&worker->broker, wanted->name, &entry);
    if (result == 0)
        result = check_admin(connection, entry, "enlarge this pool");
    for (unsigned i = 0; result == 0 && i < np_pool_arenas(entry); i++)
        if (i > 0 && entry->arena[i].tag == wanted->tag)
            return 0; /* done, and the answer was lost or comes only now */
    if (result == 0)
        result = np_pools_outcome(worker, wanted->tag);
    if (result == 0)
        result = check_growth(worker, entry, wanted);
    struct np_plan plan;
    if (result == 0)
        result = plan_growth(entry, wanted->node, wanted->slots, &plan);
    if (result != 0)
        return result;
    log_asked(connection, entry->name, "enlarge");
    return np_pools_begin_grow(worker, entry, &plan, wanted->tag);
}

/* ---------------------------------------------------------------- destroy */

/* By the same request: its answer was lost. The entry remembers until another pool gets its place. */
static bool was_destroyed(const struct np_worker *worker, const char *name, uint64_t tag)
{
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++) {
        const struct np_pool_entry *entry = &worker->board.pools[i];
        if (np_entry_is(&entry->state, NP_NONE) && entry->tag == tag && strncmp(entry->name, name, sizeof entry->name) == 0)
            return true;
    }
    return false;
}

static int check_unused(const struct np_pool_entry *entry, const struct np_pool_use *use, unsigned flags)
{
    if (use->clients > 0)
        return np_error(-EBUSY, "%u clients have pool '%s' open and %llu messages wait in it: close it there (numapoolctl clients lists them), or "
                        "destroy it when it is unused", use->clients, entry->name, (unsigned long long)use->waiting);
    if (use->waiting > 0 && !(flags & NUMAPOOL_DESTROY_DISCARD))
        return np_error(-EBUSY, "%llu messages wait in pool '%s' for a receiver: let one receive them, or discard them",
                        (unsigned long long)use->waiting, entry->name);
    return 0;
}

static void end_when_unused(struct np_connection *connection, struct np_pool_entry *entry, uint64_t tag, unsigned clients)
{
    struct np_worker *worker = connection->worker;
    if (np_load32(&entry->ending, memory_order_relaxed)) /* relaxed: one writer */
        return;
    entry->tag = tag;
    np_store32(&entry->ending, 1, memory_order_release);
    np_broker_pool_changed(&worker->broker, entry->id);
    np_log_of(NP_LOG_INFO, (struct np_log_about){ .pool = entry->name },
              "pool '%s' is not opened any more and ends when the %u clients that have it open have closed it", entry->name, clients);
}

int np_request_pool_destroy(struct np_connection *connection, const struct np_wire_request *request)
{
    struct np_worker *worker = connection->worker;
    uint64_t tag = request->of.pool_destroy.tag;
    unsigned flags = request->of.pool_destroy.flags;
    struct np_pool_entry *entry;
    struct np_pool_use use;
    int result = check_tag(tag);
    if (result < 0)
        return result;
    if (flags & ~(unsigned)(NUMAPOOL_DESTROY_WHEN_UNUSED | NUMAPOOL_DESTROY_DISCARD))
        return np_error(-EINVAL, "flags %#x of a pool's end are not known: WHEN_UNUSED and DISCARD are", flags);
    result = np_broker_pool_find(&worker->broker, request->of.pool_destroy.name, &entry);
    if (result < 0)
        return was_destroyed(worker, request->of.pool_destroy.name, tag) ? 0 : result;
    result = check_admin(connection, entry, "destroy this pool");
    if (result < 0)
        return result;
    if (np_pools_is_growing(worker, entry))
        return np_error(-EAGAIN, "pool '%s' is just being enlarged: ask again when it is", entry->name);
    np_broker_pool_use(&worker->broker, entry->id, &use);
    if (use.clients > 0 && (flags & NUMAPOOL_DESTROY_WHEN_UNUSED)) {
        log_asked(connection, entry->name, "destroy");
        end_when_unused(connection, entry, tag, use.clients);
        return 0;
    }
    result = check_unused(entry, &use, flags);
    if (result < 0)
        return result;
    log_asked(connection, entry->name, "destroy");
    entry->tag = tag;
    np_pools_end(worker, entry, "as it was asked");
    return 0;
}
