/* SPDX-License-Identifier: MIT
 * numapoolctl pool create, grow, destroy. */
#ifndef NP_CTL_POOL_H
#define NP_CTL_POOL_H

#include <argp.h>
#include <stdint.h>

#include "core/arena.h"
#include "numapool.h"
#include "table.h"

struct np_ctl_pool_order {
    unsigned action; /* 0: not said yet */
    unsigned given;  /* which options */
    struct numapool_options options;
    uint64_t node_slots[NP_ARENAS_MAX];
    int node;
    unsigned destroy_flags;
};
#define NP_CTL_POOL_ORDER_INIT { .options = NUMAPOOL_OPTIONS_INIT, .node = NUMAPOOL_ANY_NODE }

/* The command line. All end the program themselves on errors. */
/* The options; its input is the order. */
extern const struct argp np_ctl_pool_argp;
/* What stands after "pool": 0 the action, 1 the name. */
void np_ctl_pool_argument(const struct argp_state *state, struct np_ctl_pool_order *order, unsigned place, char *text);
/* What --count said, to another command than these, which takes it too; 0: nothing. It is as if it had not been given. */
uint64_t np_ctl_pool_take_count(struct np_ctl_pool_order *order);
void np_ctl_pool_check(const struct argp_state *state, const struct np_ctl_pool_order *order);

/* 0, or -errno with the sentence. */
int np_ctl_pool(const struct np_ctl_pool_order *order, const char *socket_path, json_t *document);
void np_ctl_pool_print(const json_t *document);

#endif
