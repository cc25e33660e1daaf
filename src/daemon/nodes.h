/* SPDX-License-Identifier: MIT
 * Which nodes the worker takes memory of: what it says of them, that they are those of its clients, and how they change. */
#ifndef NP_DAEMON_NODES_H
#define NP_DAEMON_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "numa/placement.h"

struct np_worker;
struct np_topology;

/* What the log has of nodes. */
struct np_nodes_told {
    const struct np_topology *topology;
    char failure[160]; /* why they could not be looked at again, the last time; "": they could */
};

/* With a board: says which nodes are used, and writes on the board whether they are imagined. -EPROTO: the pools on the board lie on nodes
 * that were imagined otherwise, or not at all; other -errno: the nodes cannot be read. */
int np_nodes_start(struct np_worker *worker);

/* Reads them anew and logs what has changed; that nothing has only if somebody asked. */
void np_nodes_reload(struct np_worker *worker, bool asked);

/* -EPROTO with what to do: the client imagines other nodes than the worker. */
int np_nodes_check_client(uint64_t fingerprint);

/* Adds up what the keeper keeps on imagined nodes. Before more is made there. */
void np_nodes_count(const struct np_worker *worker);
/* Memory that was made here is on the board and the keeper's: that count has it from now on. */
void np_nodes_hand_over(const struct np_memory *memory);

#endif
