/* SPDX-License-Identifier: MIT
 *
 * The commands. Each looks, fills *document, and returns the exit status (NP_CTL_FINE, NP_CTL_WRONG), or -errno with the
 * sentence. `pool` is the name given, or NULL. The _print functions show the same documents to people.
 */
#ifndef NP_CTL_CTL_H
#define NP_CTL_CTL_H

#include "table.h"
#include "view.h"

enum np_ctl_status { NP_CTL_FINE = 0, NP_CTL_WRONG = 1, NP_CTL_TROUBLE = 2 };

int np_ctl_pools(struct np_view *view, const char *pool, json_t *document);
void np_ctl_pools_print(const json_t *document);

/* Access lists, by name where there is one; and, below the table of pools, those that name somebody. */
json_t *np_ctl_access(const struct np_access list[NP_ACCESS_MAX]);
void np_ctl_access_print(const json_t *pools);

int np_ctl_stats(struct np_view *view, const char *pool, json_t *document);
void np_ctl_stats_print(const json_t *document);

int np_ctl_numa(struct np_view *view, const char *pool, json_t *document);
void np_ctl_numa_print(const json_t *document);

int np_ctl_clients(struct np_view *view, const char *pool, json_t *document);
void np_ctl_clients_print(const json_t *document);

int np_ctl_channels(struct np_view *view, const char *pool, json_t *document);
void np_ctl_channels_print(const json_t *document);

int np_ctl_check(struct np_view *view, const char *pool, json_t *document);
void np_ctl_check_print(const json_t *document);

int np_ctl_verify(struct np_view *view, const char *pool, json_t *document);
void np_ctl_verify_print(const json_t *document);

/* "topology": whether the daemon's nodes are imagined, and as what. And one line that says so, where they are. */
void np_ctl_topology(const struct np_board_header *header, json_t *document);
void np_ctl_topology_print(const json_t *document);

/* Of the smallest pages of its nodes; 0 arenas: 0. */
uint64_t np_ctl_page_bytes(const struct np_pool_entry *entry, unsigned arenas);

/* Calls `one` for each pool, or for the one that is named. A pool that is gone before its turn is left out.
 * The highest status, or -errno. */
int np_ctl_each_pool(struct np_view *view, const char *pool, int (*one)(struct np_view *view, uint32_t pool, json_t *argument),
                     json_t *argument);

#endif
