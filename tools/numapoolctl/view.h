/* SPDX-License-Identifier: MIT
 *
 * The daemon as one who may only look sees it: its board, the words of its pools, lanes and accounts, all mapped read-only, so
 * that no mistake of this program can reach a client. A worker that is replaced meanwhile is asked again.
 *
 * Functions return 0 or -errno with the sentence (core/error.h).
 */
#ifndef NP_CTL_VIEW_H
#define NP_CTL_VIEW_H

#include <stdbool.h>

#include "broker/board.h"
#include "broker/broker.h"
#include "core/pool.h"
#include "service/wire.h"

struct np_view {
    const char *path;
    int socket; /* -1: to be connected */
    uint64_t number;
    uint8_t uuid[16];
    struct np_board board;
    void *board_memory; /* NULL: nothing looked at yet */
    size_t board_bytes;
};

struct np_view_pool {
    uint32_t pool;
    unsigned arena_count;
    struct np_arena arenas[NP_ARENAS_MAX];
    struct { void *meta; size_t bytes; } memory[NP_ARENAS_MAX];
};

/* Lanes by number; NULL: none there, or gone before it could be mapped. */
struct np_view_lanes {
    uint32_t limit;
    struct np_lane_shared **shared;
    struct { size_t bytes; uint32_t generation; } *of;
};

struct np_view_account {
    const struct np_account_row *rows; /* by arena */
    void *memory;
    size_t bytes;
};

int np_view_open(struct np_view *view, const char *path);
void np_view_close(struct np_view *view);

/* Asks with the operation and members set; expects so many descriptors when the result is not negative. The daemon's
 * result. */
int np_view_call(struct np_view *view, struct np_wire_request *request, struct np_wire_answer *answer, int fds[NP_WIRE_FDS_MAX],
                 unsigned descriptors, int64_t timeout_ns);

/* The number of a pool by its name. -ENOENT. */
int np_view_find_pool(const struct np_view *view, const char *name, uint32_t *pool);
/* The name as it is now, always with its closing zero. */
void np_view_name(char name[NUMAPOOL_NAME_BYTES], const char *shared);

int np_view_map_pool(struct np_view *view, uint32_t pool, struct np_view_pool *mapped);
void np_view_unmap_pool(struct np_view_pool *mapped);

/* The lanes of a pool's channels, and which pool a lane is of (-1: none). */
int np_view_map_lanes(struct np_view *view, uint32_t pool, struct np_view_lanes *lanes);
void np_view_unmap_lanes(struct np_view_lanes *lanes);
int np_view_pool_of_lane(const struct np_view *view, uint32_t lane);
/* A mapped lane has been ended or given out again since, so that what is mapped is nobody's. */
bool np_view_lanes_changed(const struct np_view *view, const struct np_view_lanes *lanes);

/* -ENOENT: the client has none at that pool, or is gone. */
int np_view_map_account(struct np_view *view, uint32_t client, uint32_t pool, struct np_view_account *account);
void np_view_unmap_account(struct np_view_account *account);

#endif
