/* SPDX-License-Identifier: MIT
 *
 * The broker: admits clients, pairs senders and receivers by lanes, and gives back what the dead held. It writes the
 * board, and repairs lanes and words; it knows nothing of sockets. Not thread-safe: the daemon's worker is one thread,
 * an embedded broker has a lock around it.
 *
 * Reconciling a channel is the heart: whatever happened, np_broker_reconcile looks at the board and makes it so that
 *   R1  every lane whose receiver is gone has another, or waits (receiver 0);
 *   R2  every (sender, receiver) pair of live endpoints has exactly one ACTIVE lane; a second one becomes DRAIN; but a sender that has
 *       NP_DRAINING_LANES_MAX lanes to leave gets no more until it does, which it does when it next sends: else receivers that
 *       come and go beside an idle sender would fill the table;
 *   R3  a sender without any receiver has one ACTIVE lane that waits;
 *   R4  an orphan lane that is drained and has no receiver, or whose receiver has left it, is gone.
 * Channels that broadcast have rules of their own (broadcast.c).
 * It can be stopped at any instruction and run again.
 */
#ifndef NP_BROKER_BROKER_H
#define NP_BROKER_BROKER_H

#include "broker/board.h"

/* What the broker needs done by whoever runs it. */
struct np_broker_environment {
    void *context;
    /* Zeroed memory for a lane, kept safe from this process's death before it returns. *node: where it had best be (-1: anywhere);
     * then where it is, -1: not all of it is there. 0 or -errno. */
    int (*lane_memory)(void *context, uint32_t lane, size_t bytes, int *node, void **address);
    void (*lane_memory_gone)(void *context, uint32_t lane, void *address, size_t bytes);
    /* A receiver's mapping of a lane is its own, and stays when the lane ends: a drained orphan need not wait for it. */
    bool ends_map_themselves;
};


struct np_broker_pool {
    bool mapped;
    struct np_arena arenas[NP_ARENAS_MAX]; /* .client is 0: the broker holds nothing */
    unsigned arena_count;
};

struct np_broker {
    struct np_board board;
    struct np_bell *bells;
    uint32_t bell_count;
    struct np_broker_environment environment;
    struct np_broker_pool *pools;          /* [NP_POOLS_MAX] */
    struct np_bell **pages;                /* [limits.clients + 1]: the own bells of those who open pools read-only; NULL: none */
    struct np_lane_shared **lane_memory;   /* [limits.lanes + 1]; NULL: not mapped */
    unsigned unheard_orphans;              /* of those that the last duty found, how many have a receiver that cannot ring the daemon */
    uint32_t *scratch;                     /* for lists of 2 x endpoints, lanes, and lanes again (broadcast.c): repairs must not want memory */
};

/* bells: np_board_bells() of them. -ENOMEM. */
int np_broker_start(struct np_broker *broker, const struct np_board *board, struct np_bell *bells,
                    const struct np_broker_environment *environment);
void np_broker_stop(struct np_broker *broker);

/* Tells the broker where the memory of an entry of the board is: at start, and for a pool when it is made. */
int np_broker_attach_pool(struct np_broker *broker, uint32_t pool, unsigned arena, void *meta, size_t meta_bytes);
int np_broker_attach_lane(struct np_broker *broker, uint32_t lane, void *memory);

/* After a start on a board with a past, once all memory is attached: clears FORMING entries, puts lanes without memory
 * aside until their ends are gone, goes on with clients that are DYING, does orphans' duty, reconciles every channel. */
void np_broker_recover(struct np_broker *broker);

/* A pool's entry: FORMING, for the caller to fill, attach and activate. -EEXIST, -ENOSPC. */
int np_broker_pool_add(struct np_broker *broker, const char *name, struct np_pool_entry **entry);
int np_broker_pool_find(struct np_broker *broker, const char *name, struct np_pool_entry **entry);

/* ---- pools.c: pools that grow and end */
struct np_pool_use {
    uint32_t clients; /* that have it open */
    uint64_t waiting; /* messages on its lanes that are not released */
};
void np_broker_pool_use(struct np_broker *broker, uint32_t pool, struct np_pool_use *use);
/* The pool's entry is DYING: its channels, endpoints and lanes are gone, and the broker's view of its arenas (which the
 * caller unmaps). Can be done twice, and where neither arenas nor lanes were attached. */
void np_broker_pool_remove(struct np_broker *broker, uint32_t pool);

/* A client's number: FORMING until np_broker_client_activate, which comes after its pidfd is safe. -EUSERS. */
int np_broker_client_add(struct np_broker *broker, struct np_client_entry **entry);
void np_broker_client_activate(struct np_broker *broker, uint32_t client);

struct np_scavenged {
    uint64_t slots, rolled_forward, redelivered;
    uint32_t lanes, endpoints;
};
/* The kernel says that the client's process is gone: gives everything back. Can be done twice. */
void np_broker_client_gone(struct np_broker *broker, uint32_t client, struct np_scavenged *what);
/* The process is gone, but the kernel may still do I/O into what it had: what it sent goes on its way, nobody sends to it
 * any more, and what it held or had received and not released stays as it is until np_broker_client_gone. Can be done
 * twice. */
void np_broker_client_stopped(struct np_broker *broker, uint32_t client, struct np_scavenged *what);
/* Counts what clients hold that wait for the kernel like this, and tells it in the arenas' headers. How many slots. */
uint64_t np_broker_count_quarantined(struct np_broker *broker);

/* 0 or -errno: -ENOSPC tables, -EINVAL; -EROFS: a sender, of a pool that the client has open read-only. The same client's
 * same tag gives the same endpoint. */
int np_broker_endpoint_open(struct np_broker *broker, uint32_t client, const struct np_endpoint_request *request,
                            struct np_endpoint_grant *grant);
/* 0, also when the endpoint is not this client's: it is asked again after it was done. -EINVAL: no such number. */
int np_broker_endpoint_close(struct np_broker *broker, uint32_t client, uint32_t endpoint);
/* As np_authority.next_lane; grant->memory is the broker's own mapping. */
int np_broker_next_lane(struct np_broker *broker, uint32_t client, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant);
int np_broker_leave_lane(struct np_broker *broker, uint32_t client, uint32_t endpoint, uint32_t lane, uint32_t generation);

/* Frees what is released on orphan lanes; ends those that are drained. Returns how many orphan lanes are left: call again
 * when the daemon's bell is rung, and now and then. */
unsigned np_broker_orphan_duty(struct np_broker *broker);

/* 0, or the first failure to make a lane (-ENOSPC, -ENOMEM): what could be done is done. */
int np_broker_reconcile(struct np_broker *broker, uint32_t channel);

/* scavenge.c: frees every slot of a pool whose word names client or lane `owner` in `state` (NP_WORD_HELD, NP_WORD_SENT,
 * NP_WORD_SHARED), sets hint bits of all that is free, wakes all who sleep there. Can be done twice. Returns how many
 * were freed. */
uint64_t np_broker_sweep(struct np_broker *broker, uint32_t pool, unsigned state, unsigned owner);

/* The same but for words that are kept, by what `is_kept` says of them; NULL: none is. */
uint64_t np_broker_sweep_but(struct np_broker *broker, uint32_t pool, unsigned state, unsigned owner,
                             bool (*is_kept)(const void *context, uint64_t word), const void *context);

/* Parts of client_gone, for one endpoint of a client that may live on. Repairs its lanes and detaches them; the caller
 * reconciles. */
void np_broker_endpoint_gone(struct np_broker *broker, uint32_t endpoint, struct np_scavenged *what);
struct np_lane_pool np_broker_lane_pool(struct np_broker *broker, uint32_t pool);
void np_broker_lane_changed(struct np_broker *broker, uint32_t lane);
/* What the next change of any lane will be stamped with. */
uint64_t np_broker_next_stamp(struct np_broker *broker);
/* Rolls a lane forward and makes the daemon its sender: an orphan until it is drained. Can be done twice. How many
 * messages were announced. */
unsigned np_broker_orphan(struct np_broker *broker, uint32_t lane);

/* ---- bells.c */
/* The bell on which an endpoint hears that its lanes have changed: in the table, or in its client's page. NULL: that page
 * is not here. */
struct np_bell *np_broker_bell(struct np_broker *broker, uint32_t endpoint);
/* For a new endpoint: 0, the bell of its number; else one of its client's page that none of his others has, plus 1.
 * -EROFS, -ENOSPC. */
int np_broker_bell_for(struct np_broker *broker, uint32_t client, const struct np_endpoint_request *request);
struct np_endpoint_grant np_broker_grant(struct np_broker *broker, uint32_t endpoint);
/* Whether the endpoint has no table of bells: on its lanes both ends are rung by the lane's own words. */
bool np_broker_is_foreign(const struct np_broker *broker, uint32_t endpoint);
/* The lane of these two has changed. A getter of the sender's client that sleeps with its flag up in the lane sleeps on
 * the client's bell, which a foreign receiver cannot ring: it wakes, and sleeps on the lane. */
void np_broker_ring_getters(struct np_broker *broker, uint32_t sender, uint32_t receiver);
/* Before the receiver can know of the lane, and before its sender is told of him: the two must agree on what to sleep. */
void np_broker_note_receiver(struct np_broker *broker, struct np_lane_shared *shared, uint32_t receiver);

/* notify.c: tells all who have the pool how many arenas it has and whether it is ending, as the board says, and wakes who
 * sleeps for a slot. After each such change; can be done again. */
void np_broker_pool_changed(struct np_broker *broker, uint32_t pool);
/* After a sweep: nodes may have recovered, and the dead may have changed something without telling. */
void np_broker_pool_swept(struct np_broker *broker, uint32_t pool);
/* After other freeing, of orphans' messages: nodes may have recovered by that, and nobody else may ever look. */
void np_broker_pool_freed(struct np_broker *broker, uint32_t pool);

/* ---- check.c: is everything somebody's, once? */
struct np_finding {
    char sentence[240];
};
struct np_check {
    uint64_t slots, free_slots, held, in_flight, kept;
    uint64_t wrong; /* findings in all; those beyond capacity are only counted */
    struct np_finding *findings;
    unsigned findings_capacity;
};
/* Sweeps the words of a pool and the lanes of its channels. Everything may be mapped read-only and in use: what looks wrong
 * is looked at again before it counts. `lanes[i]` NULL: that lane is not mapped here and is only checked by the board.
 * held_by: [limits.clients + 1] counts, or NULL; sent_on: [limits.lanes + 1], or NULL. */
int np_check_pool(struct np_check *check, const struct np_board *board, uint32_t pool, struct np_arena *arenas, unsigned arena_count,
                  struct np_lane_shared *const *lanes, uint64_t *held_by, uint64_t *sent_on);

#endif
