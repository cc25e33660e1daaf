/* SPDX-License-Identifier: MIT
 *
 * Who takes slots from where: what the command `numa` has read at one moment, and what it says of it.
 *
 * Counters come from memory that clients can write. They are shown as they stand: sums stop at the largest number there is, and nothing
 * is an index or a size.
 */
#ifndef NP_CTL_NUMA_H
#define NP_CTL_NUMA_H

#include <argp.h>

#include "ctl.h"
#include "threads.h"

/* Of struct np_account_row, in the order of the table. */
enum np_numa_counter {
    NP_NUMA_LOCAL,
    NP_NUMA_REMOTE,
    NP_NUMA_FOREIGN,
    NP_NUMA_SPILLED,
    NP_NUMA_TIERED,
    NP_NUMA_HOMELESS,
    NP_NUMA_HOME_RETURNS,
    NP_NUMA_FOLLOWED,
    NP_NUMA_REFILLS, /* from here on not in the table */
    NP_NUMA_FAILURES,
    NP_NUMA_COUNTERS
};
struct np_numa_counts {
    uint64_t of[NP_NUMA_COUNTERS];
};

/* A node that the pool has slots on, or that has CPUs. */
struct np_numa_node {
    int node;
    bool memory_only;
    bool has_room;   /* slots can be there: it has memory that pools may use */
    uint64_t slots, free_slots;
    struct np_numa_counts counts; /* of all clients, those that are gone too */
    struct np_numa_counts departed;
};

struct np_numa_client {
    uint32_t number;
    int32_t pid;
    uint32_t uid;
    uint64_t admitted_unix_ns; /* with its number: tells it from a later one */
    char program[33];
    bool readonly;             /* it has no account */
    bool sends, receives;      /* it has open ends of channels of this pool */
    uint64_t receiver_nodes;   /* bit i: what it sends is received on nodes[i], of the first 64 */
    struct np_threads threads;
    struct np_numa_counts *counts; /* by node, as in the pool */
};

struct np_numa_pool {
    uint32_t number;
    uint64_t tag;              /* tells it from another of that number */
    char name[NUMAPOOL_NAME_BYTES];
    unsigned node_count, client_count;
    struct np_numa_node *nodes; /* ascending */
    struct np_numa_client *clients;
};

struct np_numa {
    int64_t at_ns;              /* by the monotonic clock */
    double seconds;             /* counts are those of so long; 0: of all the time */
    bool emulated;
    char topology_name[64];
    bool topology_known;        /* false: it is emulated, and cannot be read here */
    unsigned pool_count;
    struct np_numa_pool *pools;
};

/* Reads all pools, or the one named. 0 or -errno with the sentence. */
int np_numa_read(struct np_numa *numa, struct np_view *view, const char *pool);
int np_numa_copy(struct np_numa *copy, const struct np_numa *from);
void np_numa_free(struct np_numa *numa);
/* Takes away what had been counted before, so that what is left was counted since. Who or what was not there then keeps all. */
void np_numa_subtract(struct np_numa *numa, const struct np_numa *before);

/* Where the threads of one client run. */
void np_numa_threads(const struct np_view *view, uint32_t client, struct np_threads *threads);

void np_numa_add(struct np_numa_counts *sum, const struct np_numa_counts *counts);
struct np_numa_counts np_numa_of_row(const struct np_account_row *row);
/* All that the client counted, over the nodes. */
struct np_numa_counts np_numa_sum(const struct np_numa_pool *pool, const struct np_numa_client *client);

/* ---- diagnosis.c */
#define NP_DIAGNOSIS_SLOTS_LEAST 100u  /* of fewer slots nothing is said */
#define NP_DIAGNOSIS_SHARE_PERCENT 10u /* nor of a smaller share of them */
#define NP_DIAGNOSIS_FOLLOWED_LEAST 10u
#define NP_DIAGNOSIS_BELIEVED_MAX (UINT64_C(1) << 56)

enum np_diagnosis_cause {
    NP_CAUSE_NONE,
    NP_CAUSE_UNBELIEVABLE, /* somebody has written over the counters */
    NP_CAUSE_HOMELESS,     /* its node has no slots of this pool */
    NP_CAUSE_RAN_EMPTY,    /* its node had none left */
    NP_CAUSE_BY_NUMBER,    /* its magazines are another node's, as they were opened */
    NP_CAUSE_RECEIVERS,    /* the same, and those who receive what it sends are there: as it should be */
    NP_CAUSE_MOVING,       /* its threads change their nodes */
    NP_CAUSE_TIERED,       /* its node ran low, and it got slots of a memory-only one */
    NP_CAUSE_HANDED_OVER,  /* its threads give back what others on another node have taken, without a channel */
    NP_CAUSE_RECEIVED      /* the same by a channel: as it should be */
};
const char *np_diagnosis_name(enum np_diagnosis_cause cause);
/* One sentence with what to do; "" and NP_CAUSE_NONE: there is nothing to say. */
enum np_diagnosis_cause np_diagnosis_make(const struct np_numa_pool *pool, const struct np_numa_client *client, char *text, size_t bytes);

/* ---- numa.c */
extern const char *const np_numa_keys[NP_NUMA_COUNTERS]; /* in documents */
/* As a document. Of counts since an earlier moment: per second. */
void np_numa_describe(const struct np_numa *numa, json_t *document);

struct np_ctl_numa_order {
    bool given;
    double interval_s; /* 0: once, of all the time */
    uint64_t count;    /* so many reports; 0: until somebody ends it */
};
extern const struct argp np_ctl_numa_argp; /* its input is the order */
/* One report after each interval, of what was counted in it. The exit status, or -errno with the sentence. */
int np_ctl_numa_watch(struct np_view *view, const struct np_ctl_numa_order *order, const char *pool, bool json);

#endif
