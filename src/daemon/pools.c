/* SPDX-License-Identifier: MIT */
#include "daemon/pools.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/options.h"
#include "core/bell.h"
#include "core/error.h"
#include "daemon/worker.h"
#include "numa/pages.h"
#include "numa/placement.h"

#define KEEP_AGAIN_NS    INT64_C(1000000)
#define KEEP_PATIENCE_NS INT64_C(5000000000)

static struct np_store_key key_of(enum np_store_kind kind, uint32_t pool, uint32_t arena)
{
    return (struct np_store_key){ (uint32_t)kind, pool, arena };
}

static struct np_log_about about(const struct np_pool_entry *entry)
{
    return (struct np_log_about){ .pool = entry->name };
}

static uint64_t slots_of(const struct np_pool_entry *entry)
{
    uint64_t slots = 0;
    for (unsigned i = 0; i < np_pool_arenas(entry); i++)
        slots += entry->arena[i].slots;
    return slots;
}

/* ---------------------------------------------------------------- from memory to arenas */

/* Gives the keeper what was made, one descriptor after the other. -EAGAIN: go on later. */
static int keep_all(struct np_worker *worker)
{
    struct np_pool_making *making = &worker->making;
    struct np_maker_work *work = &making->work;
    for (; making->kept < 2 * work->plan.count; making->kept++) {
        struct np_maker_arena *arena = &work->arenas[making->kept / 2];
        bool is_meta = making->kept % 2 == 1;
        struct np_memory *memory = is_meta ? &arena->meta : &arena->data;
        int copy = fcntl(memory->fd, F_DUPFD_CLOEXEC, 0); /* np_worker_keep closes what the keeper has no room for */
        if (copy < 0)
            return np_error(-errno, "cannot keep the memory of pool '%s': %s: raise the limit of open files (LimitNOFILE=)",
                            work->pool_name, strerror(errno));
        int result = np_worker_keep(worker, key_of(is_meta ? NP_STORE_META : NP_STORE_DATA, work->pool, work->first + making->kept / 2),
                                    copy);
        if (result < 0)
            return result;
        close(memory->fd);
        memory->fd = -1;
    }
    return 0;
}

/* The broker takes the words over; after that the arenas count. */
static int attach_all(struct np_worker *worker)
{
    struct np_pool_making *making = &worker->making;
    struct np_maker_work *work = &making->work;
    struct np_pool_entry *entry = making->entry;
    for (unsigned i = 0; i < work->plan.count; i++) {
        struct np_maker_arena *arena = &work->arenas[i];
        unsigned number = work->first + i;
        memset(&entry->arena[number], 0, sizeof entry->arena[number]);
        entry->arena[number].slots = work->plan.arenas[i].slots;
        entry->arena[number].tag = making->tag;
        entry->arena[number].node = arena->node;
        entry->arena[number].page_bytes = arena->data.page_bytes;
        entry->arena[number].transparent = arena->data.transparent;
        entry->arena[number].tier = work->plan.arenas[i].tier;
        /* where it was verified to be when it was made */
        entry->arena[number].where[0].pages = arena->data.bytes / arena->data.page_bytes;
        entry->arena[number].where[0].node = np_look_node(entry, number);
        entry->arena[number].words_pages = arena->meta.bytes / NP_SMALL_PAGE_BYTES;
        int result = np_broker_attach_pool(&worker->broker, entry->id, number, arena->meta.address, arena->meta.bytes);
        if (result < 0)
            return result;
    }
    for (unsigned i = 0; i < work->plan.count; i++) {
        np_nodes_hand_over(&work->arenas[i].data);
        np_nodes_hand_over(&work->arenas[i].meta);
        work->arenas[i].meta.address = NULL; /* the broker's now */
    }
    if (work->first == 0)
        memcpy(entry->access, work->access, sizeof entry->access);
    /* release: pairs with np_pool_arenas; who sees the number finds the rows, and the keeper has what they stand for (W2) */
    np_store32(&entry->arenas, work->first + work->plan.count, memory_order_release);
    return 0;
}

/* Nothing of it is left but an entry, which is FORMING or has as many arenas as before. */
static void undo(struct np_worker *worker)
{
    struct np_maker_work *work = &worker->making.work;
    for (unsigned i = 0; i < work->plan.count; i++) {
        np_worker_forget(worker, key_of(NP_STORE_DATA, work->pool, work->first + i));
        np_worker_forget(worker, key_of(NP_STORE_META, work->pool, work->first + i));
    }
    worker->broker.pools[work->pool].arena_count = work->first;
    worker->broker.pools[work->pool].mapped = work->first > 0;
    np_maker_discard(work);
}

static void prepare_work(struct np_worker *worker, struct np_pool_entry *entry, uint64_t tag, unsigned first, const struct np_plan *plan)
{
    struct np_pool_making *making = &worker->making;
    struct np_maker_work *work = &making->work;
    memset(work, 0, sizeof *work);
    memcpy(work->pool_name, entry->name, sizeof work->pool_name);
    work->pool = entry->id;
    work->slot_bytes = entry->slot_bytes;
    work->flags = entry->flags;
    work->low_watermark = entry->low_watermark;
    work->sleepers_max = worker->board.limits.clients + 1;
    work->first = first;
    work->plan = *plan;
    for (unsigned i = 0; i < first; i++)
        work->nodes_before[i] = entry->arena[i].node;
    making->entry = entry;
    making->tag = tag;
    making->kept = 0;
}

/* An entry that is FORMING, and work to be done for it. */
static int prepare_pool(struct np_worker *worker, const struct np_pool_order *order)
{
    struct np_pool_entry *entry;
    int result = np_broker_pool_add(&worker->broker, order->name, &entry);
    if (result < 0)
        return result;
    entry->slot_bytes = order->slot_bytes;
    entry->flags = order->flags;
    entry->magazine_slots = order->magazine_slots;
    entry->sharers = order->sharers;
    entry->low_watermark = order->low_watermark;
    entry->uid = order->uid;
    entry->tag = order->tag;
    entry->policy = order->policy;
    entry->spill_slots = order->spill_slots;
    entry->home_node = order->plan.home;
    prepare_work(worker, entry, order->tag, 0, &order->plan);
    if (order->access)
        memcpy(worker->making.work.access, order->access, sizeof worker->making.work.access);
    else if (order->access_text)
        snprintf(worker->making.work.access_text, sizeof worker->making.work.access_text, "%s", order->access_text);
    return 0;
}

/* What is not where it was wanted: as it was planned, and as it was made. */
static void log_elsewhere(const struct np_pool_entry *entry, const struct np_maker_work *work)
{
    if (work->plan.note[0] != '\0')
        np_log_of(NP_LOG_WARN, about(entry), "pool '%s': %s", entry->name, work->plan.note);
    if (work->moved[0] != '\0')
        np_log_of(NP_LOG_WARN, about(entry), "pool '%s': %s", entry->name, work->moved);
}

/* "node 0" or "nodes 0, 2 and, to spill to, 3". */
static void name_nodes(const struct np_pool_entry *entry, char *text, size_t bytes)
{
    const unsigned count = np_pool_arenas(entry);
    int used = snprintf(text, bytes, count == 1 ? "node" : "nodes");
    for (unsigned i = 0; i < count && used > 0 && (size_t)used < bytes; i++) {
        bool spills = entry->arena[i].tier > 0 && (i == 0 || entry->arena[i - 1].tier == 0);
        used += snprintf(text + used, bytes - (size_t)used, "%s%s %d", i > 0 ? "," : "", spills ? " to spill to" : "", entry->arena[i].node);
    }
}

static void log_made(const struct np_pool_entry *entry)
{
    char nodes[160];
    name_nodes(entry, nodes, sizeof nodes);
    np_log_of(NP_LOG_INFO, about(entry), "pool '%s': %llu slots of %llu bytes in %u arenas on %s, pages of %llu KiB%s", entry->name,
              (unsigned long long)slots_of(entry), (unsigned long long)entry->slot_bytes, np_pool_arenas(entry), nodes,
              (unsigned long long)entry->arena[0].page_bytes / 1024, entry->arena[0].transparent ? ", transparent" : "");
}

/* ---------------------------------------------------------------- pools of the configuration */

static int order_configured(const struct np_config_pool *wanted, struct np_pool_order *order)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT, known;
    options.name = wanted->name;
    options.slot_bytes = wanted->slot_bytes;
    options.slots = wanted->nodes > 0 ? 0 : wanted->slots;
    options.flags = wanted->flags;
    options.low_watermark = wanted->low_watermark;
    options.node_slots = wanted->nodes > 0 ? wanted->node_slots : NULL;
    options.nodes = wanted->nodes;
    options.policy = wanted->policy;
    options.device = wanted->device[0] != '\0' ? wanted->device : NULL;
    options.spill_slots = wanted->spill_slots;
    order->name = wanted->name;
    order->slot_bytes = wanted->slot_bytes;
    order->flags = wanted->flags;
    order->low_watermark = wanted->low_watermark;
    order->magazine_slots = wanted->magazine_slots;
    order->sharers = wanted->sharers;
    order->uid = geteuid();
    order->access = wanted->access;
    int result = np_pool_options(&known, &options);
    if (result < 0)
        return result;
    order->policy = known.policy;
    order->spill_slots = known.spill_slots;
    return np_pool_plan(&order->plan, &known, np_node_of_this_thread());
}

static int make_configured(struct np_worker *worker, const struct np_config_pool *wanted)
{
    struct np_pool_order order = { 0 };
    int result = order_configured(wanted, &order);
    if (result == 0)
        result = prepare_pool(worker, &order);
    np_nodes_count(worker);
    if (result == 0)
        result = np_maker_make(&worker->making.work);
    if (result == 0)
        result = keep_all(worker);
    if (result == 0)
        result = attach_all(worker);
    if (result < 0) /* it stays FORMING, and the status with which the worker ends frees all of it */
        return result;
    np_store32(&worker->making.entry->state, NP_ACTIVE, memory_order_release);
    log_made(worker->making.entry);
    log_elsewhere(worker->making.entry, &worker->making.work);
    worker->making.entry = NULL;
    return 0;
}

int np_pools_make_configured(struct np_worker *worker)
{
    np_shm64 *made = &worker->board.header->pools_made;
    if (np_load64(made, memory_order_relaxed)) /* relaxed: its only writer was reaped */
        return 0;
    for (unsigned i = 0; i < worker->config->pool_count; i++) {
        struct np_pool_entry *there;
        if (np_broker_pool_find(&worker->broker, worker->config->pools[i].name, &there) == 0)
            continue; /* a predecessor made it and then died */
        int result = make_configured(worker, &worker->config->pools[i]);
        if (result < 0)
            return result;
    }
    np_store64(made, 1, memory_order_release);
    return 0;
}

/* ---------------------------------------------------------------- pools of admins */

static void failed(struct np_worker *worker, int result, const char *sentence)
{
    struct np_pool_making *making = &worker->making;
    making->failed_tag = making->tag;
    making->failed_result = result;
    snprintf(making->failed_sentence, sizeof making->failed_sentence, "%s", sentence);
    np_log_of(NP_LOG_WARN, about(making->entry), "pool '%s' %s: %s", making->entry->name,
              making->work.first ? "was not enlarged" : "was not made", sentence);
    if (making->work.first == 0)
        np_store32(&making->entry->state, NP_NONE, memory_order_release);
    making->entry = NULL;
    np_pools_end_unused(worker); /* what was to end while it was being enlarged */
}

static void adopt(struct np_worker *worker)
{
    struct np_pool_making *making = &worker->making;
    struct np_pool_entry *entry = making->entry;
    int result = keep_all(worker);
    if (result == -EAGAIN && np_monotonic_ns() < making->keep_until_ns) {
        np_timer_set(&making->keep_on, np_monotonic_ns() + KEEP_AGAIN_NS);
        return;
    }
    if (result == 0)
        result = attach_all(worker);
    if (result < 0) {
        char sentence[NP_WIRE_SENTENCE_BYTES];
        snprintf(sentence, sizeof sentence, "%s", np_error_sentence());
        undo(worker);
        failed(worker, result, sentence);
        return;
    }
    if (making->work.first == 0) {
        np_store32(&entry->state, NP_ACTIVE, memory_order_release);
        np_rights_set_socket_mode(worker);
        log_made(entry);
    } else {
        np_broker_pool_changed(&worker->broker, entry->id);
        np_log_of(NP_LOG_INFO, about(entry), "pool '%s' has %llu slots more on node %d, %llu in all", entry->name,
                  (unsigned long long)making->work.plan.arenas[0].slots, making->work.arenas[0].node, (unsigned long long)slots_of(entry));
    }
    log_elsewhere(entry, &making->work);
    making->entry = NULL;
    np_pools_end_unused(worker);
}

static void memory_made(void *context, struct np_maker_work *work)
{
    struct np_worker *worker = context;
    if (work->result < 0) {
        failed(worker, work->result, work->sentence);
        return;
    }
    worker->making.keep_until_ns = np_monotonic_ns() + KEEP_PATIENCE_NS;
    adopt(worker);
}

static void keep_on(struct np_timer *timer)
{
    adopt(timer->context);
}

int np_pools_start(struct np_worker *worker)
{
    worker->making.keep_on = (struct np_timer){ .due = keep_on, .context = worker };
    np_loop_timer_add(worker->loop, &worker->making.keep_on);
    return np_maker_start(&worker->making.maker, worker->loop, memory_made, worker);
}

int np_pools_outcome(struct np_worker *worker, uint64_t tag)
{
    struct np_pool_making *making = &worker->making;
    if (making->entry)
        return making->tag == tag
                   ? NP_WIRE_UNDER_WAY
                   : np_error(-EAGAIN, "memory for pool '%s' is just being made: ask again when it is there", making->entry->name);
    if (making->failed_result == 0 || making->failed_tag != tag)
        return 0;
    int result = making->failed_result;
    making->failed_result = 0;
    return np_error(result, "%s", making->failed_sentence);
}

static int begin(struct np_worker *worker)
{
    struct np_pool_making *making = &worker->making;
    np_nodes_count(worker);
    int result = np_maker_begin(&making->maker, &making->work);
    if (result == 0)
        return NP_WIRE_UNDER_WAY;
    if (making->work.first == 0)
        np_store32(&making->entry->state, NP_NONE, memory_order_release);
    making->entry = NULL;
    return result;
}

int np_pools_begin_create(struct np_worker *worker, const struct np_pool_order *order)
{
    int result = prepare_pool(worker, order);
    return result < 0 ? result : begin(worker);
}

int np_pools_begin_grow(struct np_worker *worker, struct np_pool_entry *entry, const struct np_plan *plan, uint64_t tag)
{
    prepare_work(worker, entry, tag, np_pool_arenas(entry), plan);
    return begin(worker);
}

bool np_pools_is_growing(const struct np_worker *worker, const struct np_pool_entry *entry)
{
    return worker->making.entry == entry;
}

/* ---------------------------------------------------------------- the end of a pool */

static void forget_all(struct np_worker *worker, uint32_t pool)
{
    for (unsigned i = 0; i < NP_ARENAS_MAX; i++) {
        np_worker_forget(worker, key_of(NP_STORE_META, pool, i));
        np_worker_forget(worker, key_of(NP_STORE_DATA, pool, i));
    }
    /* One that was stored before its client's bit was set, by a worker that died in between. */
    for (uint32_t client = 1; client <= worker->board.limits.clients; client++)
        np_worker_forget(worker, key_of(NP_STORE_ACCOUNT, client, pool));
}

void np_pools_end_dying(struct np_worker *worker, struct np_pool_entry *entry)
{
    struct np_broker_pool view = worker->broker.pools[entry->id];
    np_broker_pool_remove(&worker->broker, entry->id);
    for (unsigned i = 0; i < view.arena_count; i++)
        np_memory_unmap(view.arenas[i].header, np_premises_bytes(worker, key_of(NP_STORE_META, entry->id, i)));
    forget_all(worker, entry->id);
    np_store32(&entry->state, NP_NONE, memory_order_release);
}

void np_pools_end(struct np_worker *worker, struct np_pool_entry *entry, const char *why)
{
    struct np_pool_use use;
    uint64_t slots = slots_of(entry);
    np_broker_pool_use(&worker->broker, entry->id, &use);
    np_store32(&entry->state, NP_DYING, memory_order_release); /* from here on it is ended, by this worker or the next */
    np_verify_pool_gone(worker, entry->id);
    np_patrol_pool_gone(worker, entry->id);
    np_pools_end_dying(worker, entry);
    np_rights_set_socket_mode(worker);
    np_log_of(NP_LOG_INFO, about(entry), "pool '%s' of %llu slots is destroyed: %s", entry->name,
              (unsigned long long)slots, why);
    if (use.waiting > 0)
        np_log_of(NP_LOG_WARN, about(entry), "pool '%s': %llu messages that waited in it for a receiver are lost",
                  entry->name, (unsigned long long)use.waiting);
    np_worker_duty(worker);
}

void np_pools_end_unused(struct np_worker *worker)
{
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        struct np_pool_entry *entry = &worker->board.pools[pool];
        struct np_pool_use use;
        if (!np_entry_is(&entry->state, NP_ACTIVE) || !np_load32(&entry->ending, memory_order_relaxed) || /* relaxed: one writer */
            np_pools_is_growing(worker, entry))
            continue;
        np_broker_pool_use(&worker->broker, pool, &use);
        if (use.clients == 0)
            np_pools_end(worker, entry, "nobody has it open any more");
    }
}
