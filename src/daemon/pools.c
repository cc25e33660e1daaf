/* SPDX-License-Identifier: MIT */
#include "daemon/pools.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/worker.h"
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
    for (; making->kept < 2 * work->count; making->kept++) {
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
    for (unsigned i = 0; i < work->count; i++) {
        struct np_maker_arena *arena = &work->arenas[i];
        unsigned number = work->first + i;
        memset(&entry->arena[number], 0, sizeof entry->arena[number]);
        entry->arena[number].slots = arena->slots;
        entry->arena[number].tag = making->tag;
        entry->arena[number].node = arena->node;
        entry->arena[number].page_bytes = arena->data.page_bytes;
        entry->arena[number].transparent = arena->data.transparent;
        int result = np_broker_attach_pool(&worker->broker, entry->id, number, arena->meta.address, arena->meta.bytes);
        if (result < 0)
            return result;
    }
    for (unsigned i = 0; i < work->count; i++)
        work->arenas[i].meta.address = NULL; /* the broker's now */
    if (work->first == 0)
        memcpy(entry->access, work->access, sizeof entry->access);
    /* release: pairs with np_pool_arenas; who sees the number finds the rows, and the keeper has what they stand for (W2) */
    np_store32(&entry->arenas, work->first + work->count, memory_order_release);
    return 0;
}

/* Nothing of it is left but an entry, which is FORMING or has as many arenas as before. */
static void undo(struct np_worker *worker)
{
    struct np_maker_work *work = &worker->making.work;
    for (unsigned i = 0; i < work->count; i++) {
        np_worker_forget(worker, key_of(NP_STORE_DATA, work->pool, work->first + i));
        np_worker_forget(worker, key_of(NP_STORE_META, work->pool, work->first + i));
    }
    worker->broker.pools[work->pool].arena_count = work->first;
    worker->broker.pools[work->pool].mapped = work->first > 0;
    np_maker_discard(work);
}

static void prepare_work(struct np_worker *worker, struct np_pool_entry *entry, uint64_t tag, unsigned first, unsigned count)
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
    work->count = count;
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
    prepare_work(worker, entry, order->tag, 0, order->arenas);
    if (order->access)
        memcpy(worker->making.work.access, order->access, sizeof worker->making.work.access);
    else if (order->access_text)
        snprintf(worker->making.work.access_text, sizeof worker->making.work.access_text, "%s", order->access_text);
    for (unsigned i = 0; i < order->arenas; i++) {
        worker->making.work.arenas[i].slots = order->slots[i];
        worker->making.work.arenas[i].node = order->nodes[i];
        worker->making.work.arenas[i].first_of_node = true;
    }
    return 0;
}

static void log_made(const struct np_pool_entry *entry)
{
    np_log_of(NP_LOG_INFO, about(entry), "pool '%s': %llu slots of %llu bytes in %u arenas, pages of %llu KiB%s", entry->name,
              (unsigned long long)slots_of(entry), (unsigned long long)entry->slot_bytes, np_pool_arenas(entry),
              (unsigned long long)entry->arena[0].page_bytes / 1024, entry->arena[0].transparent ? ", transparent" : "");
}

/* ---------------------------------------------------------------- pools of the configuration */

static int order_configured(const struct np_config_pool *wanted, struct np_pool_order *order)
{
    int node_count = np_nodes_with_memory(order->nodes, NP_ARENAS_MAX);
    if (node_count <= 0)
        return node_count < 0 ? node_count : np_error(-ENOMEM, "no node has memory that this process may use (cpuset.mems)");
    order->name = wanted->name;
    order->slot_bytes = wanted->slot_bytes;
    order->flags = wanted->flags;
    order->low_watermark = wanted->low_watermark;
    order->magazine_slots = wanted->magazine_slots;
    order->sharers = wanted->sharers;
    order->uid = geteuid();
    order->access = wanted->access;
    /* Evenly, the remainder on the first; a node that would get nothing is left out. */
    uint64_t each = wanted->slots / (unsigned)node_count;
    order->arenas = each > 0 ? (unsigned)node_count : 1;
    for (unsigned i = 0; i < order->arenas; i++)
        order->slots[i] = i == 0 ? wanted->slots - each * (unsigned)(node_count - 1) : each;
    if (order->slots[0] > NP_SLOTS_MAX)
        return np_error(-EINVAL, "pool '%s' would have %llu slots on node %d, where there can be %llu: ask for fewer, or make two pools",
                        wanted->name, (unsigned long long)order->slots[0], order->nodes[0], (unsigned long long)NP_SLOTS_MAX);
    return 0;
}

static int make_configured(struct np_worker *worker, const struct np_config_pool *wanted)
{
    struct np_pool_order order = { 0 };
    int result = order_configured(wanted, &order);
    if (result == 0)
        result = prepare_pool(worker, &order);
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
                  (unsigned long long)making->work.arenas[0].slots, making->work.arenas[0].node, (unsigned long long)slots_of(entry));
    }
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

static bool has_node(const struct np_pool_entry *entry, int node)
{
    for (unsigned i = 0; i < np_pool_arenas(entry); i++)
        if (entry->arena[i].node == node)
            return true;
    return false;
}

int np_pools_begin_grow(struct np_worker *worker, struct np_pool_entry *entry, int node, uint64_t slots, uint64_t tag)
{
    prepare_work(worker, entry, tag, np_pool_arenas(entry), 1);
    worker->making.work.arenas[0].slots = slots;
    worker->making.work.arenas[0].node = node;
    worker->making.work.arenas[0].first_of_node = !has_node(entry, node);
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
