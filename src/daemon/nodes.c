/* SPDX-License-Identifier: MIT */
#include "daemon/nodes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "daemon/log.h"
#include "daemon/worker.h"
#include "numa/imagined.h"
#include "numa/topology.h"

enum { LINE_BYTES = 800 /* fits a line of the log */ };

/* ---------------------------------------------------------------- the board's and the worker's */

static uint64_t topology_of(const struct np_board_header *header)
{
    return np_load64(&header->topology, memory_order_relaxed); /* relaxed: its only writers are this worker and those before it, reaped */
}

static const char *kind_of(const char *name)
{
    return *name == '\0' ? "the machine's own" : "imagined, NUMAPOOL_TOPOLOGY=";
}

static void write_on_board(struct np_board_header *header, const struct np_topology *topology)
{
    _Static_assert(sizeof header->topology_name == sizeof topology->name, "a name fits");
    memcpy(header->topology_name, topology->name, sizeof header->topology_name);
    np_store64(&header->topology, topology->fingerprint, memory_order_release); /* after its name, which it never has without */
}

/* A board that no worker has finished with yet has neither pools nor clients. */
static bool is_fresh(const struct np_board_header *header)
{
    return np_load64(&header->worker_starts, memory_order_relaxed) == 0; /* relaxed: as above */
}

static int compare(struct np_worker *worker, const struct np_topology *topology)
{
    struct np_board_header *header = worker->board.header;
    char name[sizeof header->topology_name];
    snprintf(name, sizeof name, "%.*s", (int)sizeof name - 1, header->topology_name);
    if (is_fresh(header) || topology_of(header) == topology->fingerprint) {
        write_on_board(header, topology);
        return 0;
    }
    /* The same file, which somebody has changed since: as if the worker before had been told to look at it again. */
    if (topology->emulated && strcmp(name, topology->name) == 0) {
        np_log(NP_LOG_WARN, "the imagined nodes of %s are others than those of the worker before", name);
        write_on_board(header, topology);
        return 0;
    }
    return np_error(-EPROTO,
                    "the nodes of the pools that are here are %s%s, and those of this worker are %s%s: start it with %s%s, or end the daemon "
                    "as a whole, which frees its pools",
                    kind_of(name), name, kind_of(topology->name), topology->name, name[0] ? "NUMAPOOL_TOPOLOGY=" : "no NUMAPOOL_TOPOLOGY", name);
}

int np_nodes_start(struct np_worker *worker)
{
    char line[LINE_BYTES];
    const struct np_topology *topology = np_topology();
    if (topology == NULL)
        return -EINVAL;
    int result = compare(worker, topology);
    if (result < 0)
        return result;
    worker->nodes_told = (struct np_nodes_told){ .topology = topology };
    np_topology_describe(topology, line, sizeof line);
    np_log(topology->emulated ? NP_LOG_WARN : NP_LOG_INFO, "nodes: %s", line);
    return 0;
}

/* ---------------------------------------------------------------- changes */

/* Something that pools may have memory of is not there any more. */
static bool has_lost(const struct np_topology *before, const struct np_topology *after)
{
    for (unsigned i = 0; i < before->count; i++) {
        const struct np_topology_node *node = np_topology_find(after, before->nodes[i].number);
        if (np_topology_has_room(&before->nodes[i]) && (node == NULL || !np_topology_has_room(node)))
            return true;
    }
    return false;
}

/* The patrol looks again and again: what it cannot read is told once, until it can, or cannot for another reason. */
static void tell_failure(struct np_nodes_told *told, bool asked)
{
    const char *sentence = np_error_sentence();
    if (!asked && strncmp(told->failure, sentence, sizeof told->failure - 1) == 0)
        return;
    snprintf(told->failure, sizeof told->failure, "%s", sentence);
    np_log(NP_LOG_WARN, "nodes: looked at again, in vain; they stay as they were: %s", sentence);
}

void np_nodes_reload(struct np_worker *worker, bool asked)
{
    char line[LINE_BYTES];
    /* Not what they are now: who makes memory may have looked again meanwhile, too, and has told nobody. */
    const struct np_topology *before = worker->nodes_told.topology;
    if (np_topology_reload() < 0) {
        tell_failure(&worker->nodes_told, asked);
        return;
    }
    const struct np_topology *after = np_topology();
    worker->nodes_told = (struct np_nodes_told){ .topology = after };
    if (before == after || before == NULL || after == NULL) {
        if (asked)
            np_log(NP_LOG_INFO, "nodes: looked at again, and nothing has changed");
        return;
    }
    write_on_board(worker->board.header, after);
    np_topology_difference(before, after, line, sizeof line);
    np_log(has_lost(before, after) ? NP_LOG_WARN : NP_LOG_INFO, "nodes: looked at again: %s", line);
    np_topology_describe(after, line, sizeof line);
    np_log(NP_LOG_INFO, "nodes: %s", line);
}

/* ---------------------------------------------------------------- clients */

int np_nodes_check_client(uint64_t fingerprint)
{
    const struct np_topology *topology = np_topology();
    if (topology == NULL || topology->fingerprint == fingerprint)
        return 0;
    if (!topology->emulated)
        return np_error(-EPROTO, "this process imagines its nodes (NUMAPOOL_TOPOLOGY), and numapoold's are the machine's own: unset the variable "
                                 "for this process, or set it for numapoold too");
    return np_error(-EPROTO, "numapoold's nodes are imagined, and this process %s: set NUMAPOOL_TOPOLOGY=%s for it",
                    fingerprint == 0 ? "has the machine's own" : "imagines others", topology->name);
}

/* ---------------------------------------------------------------- what is kept on imagined nodes */

/* -1: of no node, or not on the board (yet): who is making it counts it. */
static int node_of(const struct np_worker *worker, struct np_store_key key)
{
    const struct np_board *board = &worker->board;
    if (key.kind == NP_STORE_LANE)
        return key.a >= 1 && key.a <= board->limits.lanes && np_entry_is(&board->lanes[key.a].state, NP_ACTIVE) ? board->lanes[key.a].node : -1;
    if ((key.kind == NP_STORE_META || key.kind == NP_STORE_DATA) && key.a < NP_POOLS_MAX &&
        !np_entry_is(&board->pools[key.a].state, NP_NONE) && key.b < np_pool_arenas(&board->pools[key.a]))
        return board->pools[key.a].arena[key.b].node;
    return -1;
}

void np_nodes_count(const struct np_worker *worker)
{
    const struct np_topology *topology = np_topology();
    if (topology == NULL || !topology->emulated)
        return;
    uint64_t bytes[NP_NODES_MAX] = { 0 };
    size_t at = 0;
    const struct np_store_entry *entry;
    while ((entry = np_store_next(&worker->store, &at)) != NULL) {
        int node = node_of(worker, entry->key);
        const struct np_topology_node *found = node < 0 ? NULL : np_topology_find(topology, node);
        if (found != NULL)
            bytes[found - topology->nodes] += np_premises_bytes(worker, entry->key);
    }
    np_imagined_keep(bytes, topology->count);
}

void np_nodes_hand_over(const struct np_memory *memory)
{
    np_imagined_left(memory->address);
    np_imagined_give(memory->node, memory->bytes);
}
