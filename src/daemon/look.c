/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/error.h"
#include "daemon/worker.h"
#include "numa/pages.h"
#include "numa/topology.h"

/* Of small pages a slice is smaller: the worker serves nobody meanwhile. A whole number of huge pages. */
enum { SMALL_SLICE_BYTES = 4 << 20 };

int np_look_node(const struct np_pool_entry *entry, unsigned arena)
{
    return np_node_physical(entry->arena[arena].node);
}

/* ---------------------------------------------------------------- lanes */

static bool is_first_of_node(const struct np_pool_entry *entry, unsigned arena)
{
    for (unsigned i = 0; i < arena; i++)
        if (entry->arena[i].node == entry->arena[arena].node)
            return false;
    return true;
}

/* Lanes are on their receivers' nodes, of which the pool need not have arenas: those are counted with its first. */
static bool is_counted_here(const struct np_pool_entry *entry, unsigned arena, int node)
{
    if (entry->arena[arena].node == node)
        return is_first_of_node(entry, arena);
    for (unsigned i = 0; i < np_pool_arenas(entry); i++)
        if (entry->arena[i].node == node)
            return false;
    return arena == 0;
}

static bool is_of_look(const struct np_worker *worker, const struct np_look *look, uint32_t lane)
{
    const struct np_board *board = &worker->board;
    const struct np_lane_entry *entry = &board->lanes[lane];
    if (!np_entry_is(&entry->state, NP_ACTIVE) || entry->node < 0 || entry->channel < 1 ||
        entry->channel > board->limits.channels || board->channels[entry->channel].pool != look->pool)
        return false;
    return is_counted_here(&board->pools[look->pool], look->arena, entry->node);
}

/* ---------------------------------------------------------------- slice by slice */

void np_look_begin(struct np_look *look, uint32_t pool, unsigned arena)
{
    *look = (struct np_look){ .pool = pool, .arena = arena, .lane = 1 };
}

/* What is looked at next: false, there is nothing more. */
static bool next_file(const struct np_worker *worker, struct np_look *look, struct np_store_key *key)
{
    if (look->piece != NP_LOOK_LANES) {
        *key = (struct np_store_key){ look->piece == NP_LOOK_WORDS ? NP_STORE_META : NP_STORE_DATA, look->pool,
                                      look->arena };
        return true;
    }
    for (; look->lane <= worker->board.limits.lanes; look->lane++, look->offset = 0)
        if (is_of_look(worker, look, look->lane)) {
            *key = (struct np_store_key){ NP_STORE_LANE, look->lane, 0 };
            return true;
        }
    return false;
}

static int go_on(struct np_look *look)
{
    look->offset = 0;
    if (look->piece == NP_LOOK_LANES) {
        look->lanes++;
        look->lane++;
    } else {
        look->piece++;
    }
    return NP_LOOK_GOES_ON;
}

int np_look_next(struct np_worker *worker, struct np_look *look)
{
    const struct np_pool_entry *entry = &worker->board.pools[look->pool];
    struct np_store_key key;
    if (!next_file(worker, look, &key))
        return NP_LOOK_FINISHED;
    /* Of words and lanes nothing says on which pages they are: they are asked for by small ones. */
    bool is_payload = look->piece == NP_LOOK_PAYLOAD;
    uint64_t page_bytes = is_payload ? entry->arena[look->arena].page_bytes : NP_SMALL_PAGE_BYTES;
    uint64_t most = page_bytes == NP_SMALL_PAGE_BYTES   ? SMALL_SLICE_BYTES
                    : page_bytes > NP_WHERE_SLICE_BYTES ? page_bytes
                                                        : NP_WHERE_SLICE_BYTES;
    uint64_t bytes = np_premises_bytes(worker, key), slice = bytes - look->offset < most ? bytes - look->offset : most;
    struct np_where *where = &look->where[look->piece];
    look->before = *where;
    look->last = (struct np_look_slice){ .key = key, .offset = look->offset, .bytes = slice };
    if (bytes <= look->offset) /* the keeper had no descriptor to spare for it (premises.c) */
        return go_on(look);
    int node = look->piece == NP_LOOK_LANES ? np_node_physical(worker->board.lanes[look->lane].node)
                                            : np_look_node(entry, look->arena);
    int result = np_file_where(np_store_get(&worker->store, key), look->offset, slice, page_bytes,
                               is_payload && entry->arena[look->arena].transparent, node, where);
    if (result < 0)
        return result;
    look->last.elsewhere = where->elsewhere - look->before.elsewhere;
    look->offset += slice;
    return look->offset < bytes ? NP_LOOK_GOES_ON : go_on(look);
}

void np_look_again(struct np_look *look)
{
    switch (look->last.key.kind) {
    case NP_STORE_META:
        look->piece = NP_LOOK_WORDS;
        break;
    case NP_STORE_DATA:
        look->piece = NP_LOOK_PAYLOAD;
        break;
    default:
        if (look->lane != look->last.key.a) /* it was looked at to its end */
            look->lanes--;
        look->piece = NP_LOOK_LANES;
        look->lane = look->last.key.a;
        break;
    }
    look->offset = look->last.offset;
    look->where[look->piece] = look->before;
}

/* ---------------------------------------------------------------- what was found */

uint64_t np_look_elsewhere(const struct np_look *look)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < NP_LOOK_PIECES; i++)
        sum += look->where[i].elsewhere;
    return sum;
}

static int by_pages(const void *one, const void *other)
{
    const struct np_whereabouts *a = one, *b = other;
    return a->pages < b->pages ? 1 : a->pages > b->pages ? -1 : a->node - b->node;
}

unsigned np_look_list(const struct np_look *look, struct np_whereabouts *list, unsigned capacity)
{
    const struct np_where *where = &look->where[NP_LOOK_PAYLOAD];
    struct np_whereabouts all[NP_WHERE_NODES] = { { 0 } };
    for (unsigned i = 0; i < where->count; i++)
        all[i] = (struct np_whereabouts){ .pages = where->on[i].pages, .node = where->on[i].node };
    qsort(all, where->count, sizeof all[0], by_pages);
    unsigned count = where->count < capacity ? where->count : capacity;
    memcpy(list, all, count * sizeof all[0]);
    for (unsigned i = count; i < where->count; i++)
        list[count - 1].pages += all[i].pages;
    return count;
}

void np_look_publish(struct np_worker *worker, const struct np_look *look)
{
    struct np_pool_entry *entry = &worker->board.pools[look->pool];
    struct np_whereabouts list[NP_WHEREABOUTS] = { { 0 } };
    struct timespec now;
    np_look_list(look, list, NP_WHEREABOUTS);
    if (look->where[NP_LOOK_PAYLOAD].split > 0 && entry->arena[look->arena].split_pages == 0)
        np_log_of(NP_LOG_INFO, (struct np_log_about){ .pool = entry->name },
                  "pool '%s': %llu of the transparent huge pages of arena %u are in small parts "
                  "by now: they work as before, a little slower",
                  entry->name, (unsigned long long)look->where[NP_LOOK_PAYLOAD].split, look->arena);
    memcpy(entry->arena[look->arena].where, list, sizeof list);
    entry->arena[look->arena].misplaced_pages = look->where[NP_LOOK_PAYLOAD].elsewhere;
    entry->arena[look->arena].words_pages = look->where[NP_LOOK_WORDS].pages;
    entry->arena[look->arena].words_misplaced = look->where[NP_LOOK_WORDS].elsewhere;
    entry->arena[look->arena].split_pages = look->where[NP_LOOK_PAYLOAD].split;
    clock_gettime(CLOCK_REALTIME, &now);
    /* release: who sees the time reads what was found then, or later */
    np_store64(&entry->arena[look->arena].looked_unix_ns, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
               memory_order_release);
}

/* ---------------------------------------------------------------- states */

void np_look_set_state(struct np_worker *worker, uint32_t pool, unsigned arena, enum np_place_state state,
                       uint64_t elsewhere, const char *why)
{
    struct np_pool_entry *entry = &worker->board.pools[pool];
    const struct np_log_about about = { .pool = entry->name };
    const unsigned long long pages = elsewhere;
    int node = entry->arena[arena].node;
    uint32_t before = np_load32(&entry->arena[arena].state,
                                memory_order_relaxed); /* relaxed, both: written by this thread only, for people */
    if (before == (uint32_t)state)
        return;
    np_store32(&entry->arena[arena].state, (uint32_t)state, memory_order_relaxed);
    switch (state) {
    case NP_PLACE_RIGHT:
        np_log_of(NP_LOG_INFO, about, "pool '%s': every page of arena %u is on node %d again", entry->name, arena, node);
        break;
    case NP_PLACE_STRAYED:
        np_log_of(NP_LOG_WARN, about,
                  "pool '%s': pages of arena %u are not on node %d, where they should be (%llu found so far): somebody has "
                  "moved them, or the kernel; %s",
                  entry->name, arena, node, pages,
                  worker->config->patrol_s > 0 ? "they are brought back"
                                               : "they stay there, for the patrol is off (--patrol)");
        break;
    case NP_PLACE_STUCK:
        np_log_of(NP_LOG_WARN, about,
                  "pool '%s': %llu pages of arena %u cannot be brought back to node %d: %s; it is tried again", entry->name,
                  pages, arena, node, why ? why : "nobody says why");
        break;
    case NP_PLACE_NODE_GONE:
        np_log_of(NP_LOG_WARN, about,
                  "pool '%s': node %d, which arena %u is to be on, is not there any more: %llu pages of it are on other "
                  "nodes, and are served from there until it is back",
                  entry->name, node, arena, pages);
        break;
    case NP_PLACE_UNTOLD:
        np_log_of(NP_LOG_WARN, about, "pool '%s': it cannot be told where the pages of arena %u are: %s", entry->name, arena,
                  why ? why : "");
        break;
    }
}
