/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/patrol.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/worker.h"
#include "numa/topology.h"

#define SLICE_PAUSE_NS  INT64_C(10000000)
#define ANSWER_NS       INT64_C(10000000000) /* a page of 1 GiB is copied meanwhile, or a keeper was stopped and goes on */
#define SECOND_NS       INT64_C(1000000000)

enum {
    PAUSE_TIMES = 15, /* as long as a slice took: at most a sixteenth of a processor */
    PAUSE_ROUNDS_MAX = 64
};

static struct np_patrol *of(struct np_worker *worker)
{
    return &worker->patrol;
}

static void rest_between_slices(struct np_patrol *patrol)
{
    int64_t pause_ns = patrol->slice_ns * PAUSE_TIMES;
    np_timer_set(&patrol->timer, np_monotonic_ns() + (pause_ns > SLICE_PAUSE_NS ? pause_ns : SLICE_PAUSE_NS));
}

/* ---------------------------------------------------------------- nodes */

static bool is_there(const struct np_topology *topology, int node)
{
    const struct np_topology_node *found = topology ? np_topology_find(topology, node) : NULL;
    return topology == NULL || (found != NULL && found->memory_bytes > 0);
}

static void look_at_nodes(struct np_worker *worker)
{
    np_nodes_reload(worker, false);
    const struct np_topology *now = np_topology();
    uint64_t gone = 0;
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++) {
        const struct np_pool_entry *entry = &worker->board.pools[pool];
        for (unsigned i = 0; np_entry_is(&entry->state, NP_ACTIVE) && i < np_pool_arenas(entry); i++)
            if (entry->arena[i].node >= 0 && entry->arena[i].node < 64 && !is_there(now, entry->arena[i].node))
                gone |= UINT64_C(1) << entry->arena[i].node;
    }
    np_store64(&worker->board.header->nodes_gone, gone, memory_order_relaxed); /* relaxed: for people */
}

/* ---------------------------------------------------------------- rounds */

static void begin_round(struct np_worker *worker)
{
    struct np_patrol *patrol = of(worker);
    look_at_nodes(worker);
    patrol->hurry = false;
    patrol->begun = false;
    patrol->step = NP_PATROL_LOOKING;
    np_look_begin(&patrol->look, 0, 0);
    for (uint32_t pool = 0; pool < NP_POOLS_MAX; pool++)
        for (unsigned i = 0; i < NP_ARENAS_MAX; i++)
            patrol->of[pool][i].pause -= patrol->of[pool][i].pause > 0;
}

static void end_round(struct np_worker *worker)
{
    struct np_patrol *patrol = of(worker);
    struct np_board_header *header = worker->board.header;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    np_store64(&header->patrol_unix_ns, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
               memory_order_relaxed); /* relaxed, both: for people */
    np_add64(&header->patrol_rounds, 1, memory_order_relaxed);
    patrol->step = NP_PATROL_RESTING;
    np_timer_set(&patrol->timer, np_monotonic_ns() + (patrol->hurry ? SLICE_PAUSE_NS : patrol->period_ns));
}

/* The arena whose turn it is; false: the round is over. */
static bool find_arena(struct np_worker *worker)
{
    struct np_patrol *patrol = of(worker);
    struct np_look *look = &patrol->look;
    for (; look->pool < NP_POOLS_MAX; look->pool++, look->arena = 0) {
        const struct np_pool_entry *entry = &worker->board.pools[look->pool];
        if (np_entry_is(&entry->state, NP_ACTIVE) && look->arena < np_pool_arenas(entry))
            break;
        patrol->begun = false; /* it was destroyed in between */
    }
    if (look->pool == NP_POOLS_MAX)
        return false;
    if (!patrol->begun) {
        np_look_begin(look, look->pool, look->arena);
        patrol->begun = true;
        patrol->looked_again = false;
        patrol->result = 0;
        patrol->moved = 0;
        patrol->gave_up = patrol->of[look->pool][look->arena].pause > 0;
    }
    return true;
}

/* ---------------------------------------------------------------- an arena */

static bool node_is_there(const struct np_worker *worker, uint32_t pool, unsigned arena)
{
    return is_there(np_topology(), worker->board.pools[pool].arena[arena].node);
}

static const char *reason(int code, char *text, size_t bytes)
{
    switch (code) {
    case -EPERM:
        return "the keeper may not move pages that clients have mapped: give the daemon CAP_SYS_NICE "
               "(AmbientCapabilities=CAP_SYS_NICE of the unit, "
               "--cap-add SYS_NICE of a container)";
    case -ENOMEM:
        return "there is no room: free memory there, or huge pages of that size (numactl --hardware, nr_hugepages of the "
               "node)";
    case -EACCES:
        return "the node is not allowed to the daemon (cpuset.mems)";
    case -EBUSY:
        return "somebody has them in use all the time (pages registered for I/O cannot be moved), or there is no room: free "
               "memory there, or huge pages of "
               "that size (nr_hugepages of the node)";
    case -ETIMEDOUT:
        return "the keeper does not answer";
    default:
        snprintf(text, bytes, "move_pages: %s", strerror(-code));
        return text;
    }
}

static void arena_done(struct np_worker *worker)
{
    struct np_patrol *patrol = of(worker);
    struct np_look *look = &patrol->look;
    uint8_t *failures = &patrol->of[look->pool][look->arena].failures, *rounds = &patrol->of[look->pool][look->arena].pause;
    uint64_t elsewhere = np_look_elsewhere(look);
    char text[96];
    np_look_publish(worker, look);
    if (!node_is_there(worker, look->pool, look->arena)) {
        np_look_set_state(worker, look->pool, look->arena, NP_PLACE_NODE_GONE, elsewhere, NULL);
        *failures = *rounds = 0; /* the first round after it has come back tries */
    } else if (elsewhere == 0) {
        np_look_set_state(worker, look->pool, look->arena, NP_PLACE_RIGHT, 0, NULL);
        *failures = *rounds = 0;
    } else if (*rounds == 0 && patrol->result < 0) {
        *rounds = *failures < 6 ? (uint8_t)(1u << *failures) : PAUSE_ROUNDS_MAX;
        *failures += *failures < 6;
        np_look_set_state(worker, look->pool, look->arena, NP_PLACE_STUCK, elsewhere,
                          reason(patrol->result, text, sizeof text));
    }
    if (patrol->moved > 0)
        np_log_of(NP_LOG_INFO, (struct np_log_about){ .pool = worker->board.pools[look->pool].name },
                  "pool '%s': %llu pages of arena %u were brought back to node %d", worker->board.pools[look->pool].name,
                  (unsigned long long)patrol->moved, look->arena, worker->board.pools[look->pool].arena[look->arena].node);
    look->arena++;
    patrol->begun = false;
}

static void arena_untold(struct np_worker *worker)
{
    struct np_patrol *patrol = of(worker);
    np_look_set_state(worker, patrol->look.pool, patrol->look.arena, NP_PLACE_UNTOLD, 0, np_error_sentence());
    patrol->look.arena++;
    patrol->begun = false;
}

/* ---------------------------------------------------------------- bringing pages back */

static bool ask_keeper(struct np_worker *worker)
{
    struct np_patrol *patrol = of(worker);
    const struct np_look *look = &patrol->look;
    const struct np_look_slice *slice = &look->last;
    int node = slice->key.kind == NP_STORE_LANE ? np_node_physical(worker->board.lanes[slice->key.a].node)
                                                : np_look_node(&worker->board.pools[look->pool], look->arena);
    const struct np_mend mend = { .offset = slice->offset, .bytes = (uint32_t)slice->bytes, .node = node };
    return np_record_send_mend(worker->records_fd, NP_RECORD_MEND, slice->key, &mend) == 0;
}

/* After a slice with pages that are elsewhere. True: they are asked for. */
static bool mend(struct np_worker *worker)
{
    struct np_patrol *patrol = of(worker);
    struct np_look *look = &patrol->look;
    if (patrol->gave_up || !node_is_there(worker, look->pool, look->arena))
        return false;
    if (patrol->looked_again) {
        /* what does not go here will not go with the next slice; another round may find it otherwise */
        patrol->gave_up = patrol->result < 0;
        return false;
    }
    np_look_set_state(worker, look->pool, look->arena, NP_PLACE_STRAYED, look->last.elsewhere, NULL);
    patrol->step = NP_PATROL_AWAITING;
    patrol->looked_again = true;
    np_look_again(look);
    patrol->result = -ETIMEDOUT;
    np_timer_set(&patrol->timer, np_monotonic_ns() + (ask_keeper(worker) ? ANSWER_NS : SLICE_PAUSE_NS));
    return true;
}

void np_patrol_mended(struct np_worker *worker, const struct np_record *record)
{
    struct np_patrol *patrol = of(worker);
    const struct np_look *look = &patrol->look;
    struct np_pool_entry *entry;
    if (patrol->step != NP_PATROL_AWAITING || memcmp(&record->key, &look->last.key, sizeof record->key) != 0 ||
        record->mend.offset != look->last.offset)
        return; /* of a slice that is not waited for any more: it will be looked at again */
    entry = &worker->board.pools[look->pool];
    patrol->step = NP_PATROL_LOOKING;
    patrol->result = record->mend.result;
    patrol->moved += record->mend.moved;
    np_add64(&worker->board.header->pages_moved_back, record->mend.moved,
             memory_order_relaxed); /* relaxed, both: statistics */
    np_add64(&entry->arena[look->arena].moved_back, record->mend.moved, memory_order_relaxed);
    const struct np_broker_pool *pool = &worker->broker.pools[look->pool];
    if (pool->mapped && look->arena < pool->arena_count) /* for its clients, who have no board; relaxed: as above */
        np_store64(&pool->arenas[look->arena].header->moved_back,
                   np_load64(&entry->arena[look->arena].moved_back, memory_order_relaxed), memory_order_relaxed);
    np_timer_set(&patrol->timer, np_monotonic_ns());
}

/* ---------------------------------------------------------------- its steps */

static void due(struct np_timer *timer)
{
    struct np_worker *worker = timer->context;
    struct np_patrol *patrol = of(worker);
    if (patrol->step == NP_PATROL_RESTING)
        begin_round(worker);
    patrol->step = NP_PATROL_LOOKING; /* also when the keeper was waited for in vain */
    if (!find_arena(worker)) {
        end_round(worker);
        return;
    }
    int64_t begun_ns = np_monotonic_ns();
    int result = np_look_next(worker, &patrol->look);
    patrol->slice_ns = np_monotonic_ns() - begun_ns;
    if (result < 0)
        arena_untold(worker);
    else if (result == NP_LOOK_FINISHED)
        arena_done(worker);
    else if (patrol->look.last.elsewhere > 0 && mend(worker))
        return;
    patrol->looked_again = false;
    rest_between_slices(patrol);
}

void np_patrol_start(struct np_worker *worker)
{
    struct np_patrol *patrol = of(worker);
    patrol->timer = (struct np_timer){ .due = due, .context = worker };
    patrol->period_ns = worker->config->patrol_s * SECOND_NS;
    np_loop_timer_add(worker->loop, &patrol->timer);
    np_timer_set(&patrol->timer, patrol->period_ns > 0 ? np_monotonic_ns() + patrol->period_ns : INT64_MAX);
}

void np_patrol_verified(struct np_worker *worker, const struct np_look *look)
{
    struct np_patrol *patrol = of(worker);
    const struct np_pool_entry *entry = &worker->board.pools[look->pool];
    uint32_t state = np_load32(&entry->arena[look->arena].state,
                               memory_order_relaxed); /* relaxed: written by this thread only */
    uint64_t elsewhere = np_look_elsewhere(look);
    if (!node_is_there(worker, look->pool, look->arena))
        return; /* whether it is gone for good the next round tells */
    if (elsewhere == 0) {
        np_look_set_state(worker, look->pool, look->arena, NP_PLACE_RIGHT, 0, NULL);
        return;
    }
    if (state != NP_PLACE_STUCK)
        np_look_set_state(worker, look->pool, look->arena, NP_PLACE_STRAYED, elsewhere, NULL);
    patrol->of[look->pool][look->arena].pause = 0; /* somebody cares: it is tried now */
    if (patrol->period_ns == 0)
        return;
    if (patrol->step == NP_PATROL_RESTING)
        np_timer_set_earlier(&patrol->timer, np_monotonic_ns());
    else
        patrol->hurry = true;
}

void np_patrol_pool_gone(struct np_worker *worker, uint32_t pool)
{
    struct np_patrol *patrol = of(worker);
    memset(patrol->of[pool], 0, sizeof patrol->of[pool]);
    if (patrol->step == NP_PATROL_RESTING || patrol->look.pool != pool)
        return;
    patrol->look.pool++;
    patrol->look.arena = 0;
    patrol->begun = patrol->looked_again = false;
    if (patrol->step == NP_PATROL_AWAITING)
        np_timer_set(&patrol->timer, np_monotonic_ns());
    patrol->step = NP_PATROL_LOOKING;
}
