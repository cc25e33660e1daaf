/* SPDX-License-Identifier: MIT
 *
 * The board: everything that whoever gives out pools, clients, channels and lanes must remember. In a daemon it lies in a memfd that
 * outlives its worker, and a new worker learns all from it; embedded, in the process's own memory. One writer: the
 * worker (or, embedded, whoever holds the broker's lock). Others may map it read-only to look (numapoolctl).
 *
 * Every table entry goes NONE -> FORMING -> ACTIVE -> ... -> NONE by stores to `state`, the last store of each step. A writer that dies
 * leaves FORMING entries, which its successor clears, or an ACTIVE entry whose consequences are not all drawn, which
 * np_broker_recover draws: reconciling a channel (broker.h) starts from what the board says, not from what was going on.
 */
#ifndef NP_BROKER_BOARD_H
#define NP_BROKER_BOARD_H

#include <stdint.h>

#include "channel/authority.h"
#include "core/account.h"
#include "core/arena.h"
#include "numapool.h"

#define NP_BOARD_MAGIC UINT64_C(0x316472616f62706e)
#define NP_POOLS_MAX 64u
#define NP_CLIENTS_LIMIT 65534u
#define NP_LANES_LIMIT 65535u

enum np_entry_state { NP_NONE = 0, NP_FORMING = 1, NP_ACTIVE = 2, NP_DYING = 3 };

struct np_board_limits {
    uint32_t clients;   /* numbers 1 .. clients */
    uint32_t channels;  /* 1 .. channels */
    uint32_t endpoints; /* 1 .. endpoints; bell of endpoint e is clients + e */
    uint32_t lanes;     /* 1 .. lanes */
};
#define NP_BOARD_LIMITS_DEFAULT { 1024, 1024, 2048, 4096 }

enum np_board_loop { NP_BOARD_LOOP_UNSAID = 0, NP_BOARD_LOOP_IO_URING = 1, NP_BOARD_LOOP_EPOLL = 2 };

struct np_board_header {
    uint64_t magic;
    uint64_t layout;
    uint8_t uuid[16];
    struct np_board_limits limits;
    uint64_t created_unix_ns;
    np_shm64 stamp;            /* of the last change of any lane */
    np_shm64 worker_starts;
    np_shm64 clients_admitted;
    np_shm64 clients_died;
    np_shm64 slots_scavenged;
    np_shm64 messages_rolled_forward;
    np_shm64 messages_redelivered;
    np_shm64 requests_refused;
    np_shm64 scavenge_ns_max;  /* from the news of a death to the last slot free */
    np_shm64 pools_made;       /* 1: all pools of the configuration have been made once, and are not made again */
    np_shm64 lows;             /* how often any pool ran low */
    np_shm64 io_waits;         /* deaths after which slots had to wait for the kernel */
    np_shm64 pages_lost;       /* that were gone when the worker touched them: of words, lanes, accounts, bells */
    np_shm64 upgrades;         /* of the worker, to another build, while it ran */
    np_shm64 worker_version[3]; /* as text, NP_BOARD_VERSION_BYTES with zeros at the end */
    np_shm64 keeper_version[3];
    np_shm32 loop;             /* what the worker runs on: enum np_board_loop */
    np_shm32 loop_refusal;     /* a number of errno(3): why not on io_uring, which it had tried; 0: it runs on it, or was not to */
    np_shm64 depository;       /* enum np_depository_state: whether a service manager has every descriptor too */
    np_shm64 topology;         /* fingerprint of imagined nodes (numa/topology.h); 0: the machine's own */
    char topology_name[64];    /* of an emulated one, as it was given; "": the machine's own */
    /* The patrol, which looks where pages are (patrol.h). */
    np_shm64 patrol_rounds;
    np_shm64 patrol_unix_ns;   /* when the last round ended */
    np_shm64 pages_moved_back; /* by the keeper, of all pools */
    np_shm64 nodes_gone;       /* bit n: node n (of the first 64), which some pool has memory of, is not there any more */
    uint64_t reserved[8];
};
#define NP_BOARD_VERSION_BYTES 24u
_Static_assert(sizeof(struct np_board_header) == 400, "board header layout");

/* Who may do what with a pool. Rights of all entries that fit a user add up. */
#define NP_ACCESS_MAX 32u
enum np_right { NP_RIGHT_DIRECT = 1, NP_RIGHT_READONLY = 2, NP_RIGHT_ADMIN = 4 };
struct np_access {
    uint32_t id;       /* uid or gid */
    uint16_t is_group;
    uint16_t rights;   /* of enum np_right; 0: end of the list */
};

/* So many pages are on that node (-1: not there at all). */
#define NP_WHEREABOUTS 4u
struct np_whereabouts {
    uint64_t pages;
    int32_t node;
    uint32_t reserved;
};
enum np_place_state {
    NP_PLACE_RIGHT = 0,  /* every page was where it should be */
    NP_PLACE_STRAYED,    /* some are elsewhere, and are being brought back */
    NP_PLACE_STUCK,      /* some are elsewhere and could not be brought back: no room there, or no right to (CAP_SYS_NICE) */
    NP_PLACE_NODE_GONE,  /* its node is not there any more (offline) */
    NP_PLACE_UNTOLD      /* the system does not say where pages are */
};

struct np_pool_entry {
    np_shm32 state;
    uint32_t id; /* its place in the table */
    char name[NUMAPOOL_NAME_BYTES];
    uint64_t slot_bytes;
    uint64_t flags;
    uint32_t magazine_slots;
    uint32_t sharers;  /* processes to share what may be cached among */
    np_shm32 arenas;   /* grows; arena[i] is complete for i below it */
    uint32_t uid;      /* who made it, and has all rights */
    np_shm32 ending;   /* 1: no new opens; destroyed when nobody has it open */
    np_shm32 damaged;  /* pages of its words and lanes that were gone when the worker touched them */
    uint64_t tag;      /* of the request that made it */
    uint64_t low_watermark; /* of the pool; shared out among the arenas */
    uint32_t policy;   /* enum numapool_policy; STRICT is in flags */
    int32_t home_node; /* LOCAL, NEAR_DEVICE: on which it was to be, and grows first; else -1 */
    uint64_t spill_slots;
    struct np_access access[NP_ACCESS_MAX];
    struct {
        uint64_t slots;
        uint64_t tag; /* of the request that added it */
        uint64_t page_bytes; /* of payload */
        int32_t node;
        uint32_t transparent;
        uint64_t misplaced_pages; /* when last verified */
        struct np_account_row departed; /* what clients had counted that are gone */
        /* Where the pages of its payload were when they were last looked at, most first; what is left over is with the last. */
        struct np_whereabouts where[NP_WHEREABOUTS];
        uint64_t words_pages, words_misplaced; /* of its words: in all; not on its node */
        np_shm64 looked_unix_ns;  /* when; 0: not since it was made, verified */
        np_shm64 moved_back;      /* pages that the keeper brought back, so far */
        np_shm32 state;           /* enum np_place_state */
        uint32_t tier;            /* 0; 1: on a memory-only node, to be spilled to */
        uint64_t split_pages;     /* of payload's transparent ones: whose parts are small pages by now */
        uint64_t reserved[1];
    } arena[NP_ARENAS_MAX];
};

struct np_client_entry {
    np_shm32 state;
    int32_t pid;
    uint64_t start_ticks; /* /proc/pid/stat field 22: tells a number used again from the process meant */
    uint64_t cookie;      /* proves to a new worker that a connection is this client's */
    uint32_t uid, gid;
    uint64_t admitted_unix_ns;
    np_shm64 pools;       /* bit p: has pool p open; an account there, but for the readonly */
    np_shm64 readonly;    /* bit p: has pool p open read-only, and no account there */
    np_shm64 opened;      /* bit p: may hold slots of pool p; all set when it is not known. Not cleared before the client is gone */
    np_shm32 connected;   /* its socket is open */
    np_shm32 foreign;     /* 1: it has no bells, but a page of its own (readonly) */
    np_shm32 has_io;      /* 1: it was given an I/O token: its slots wait for the kernel after its death */
    uint32_t reserved;
    char name[32];        /* of its program */
};

struct np_channel_entry {
    np_shm32 state;
    uint32_t pool;
    uint32_t lane_slots;
    uint32_t turn; /* for handing lanes out evenly; any value will do */
    uint32_t flags; /* numapool_channel_flags */
    uint32_t reserved;
    char name[NUMAPOOL_NAME_BYTES];
};

struct np_endpoint_entry {
    np_shm32 state;
    uint32_t role; /* enum np_role */
    uint32_t client;
    uint32_t channel;
    uint64_t tag;
    uint32_t lane_slots; /* a sender's wish; 0: the channel's */
    uint32_t generation; /* of this number; goes up each time it is given out */
    uint32_t bell;       /* 0: in the table of all, by its number; else in its client's own page, plus 1 */
    int32_t node;        /* that its thread ran on when it was opened */
};

struct np_lane_entry {
    np_shm32 state;    /* enum np_entry_state; the lane's own state is in its memory */
    uint32_t generation;
    uint32_t channel;
    uint32_t capacity;
    np_shm32 sender;   /* endpoint; 0: gone, the lane is an orphan */
    np_shm32 receiver; /* endpoint; 0: waits for one. Changed by CAS, so that it is handed over once */
    np_shm64 stamp;    /* header.stamp at its last change */
    np_shm64 redelivered;
    np_shm64 rolled_forward;
    uint32_t kind;            /* enum np_lane_kind */
    uint32_t home;            /* BROADCAST: its home lane, which outlives it */
    np_shm32 orphaning;       /* 1: the daemon is taking its sender's place, and goes on with it after a death */
    int32_t node;             /* that its memory is on; -1: wherever there was some */
};

_Static_assert(sizeof(struct np_pool_entry) == 18816 && sizeof(struct np_client_entry) == 112 && sizeof(struct np_channel_entry) == 72 &&
                   sizeof(struct np_endpoint_entry) == 40 && sizeof(struct np_lane_entry) == 64, "board entries' layout");

/* Where the tables lie, for limits. The tables follow the header in this order. */
struct np_board {
    struct np_board_header *header;
    struct np_board_limits limits; /* private copy: indices are checked against it */
    struct np_pool_entry *pools;   /* [NP_POOLS_MAX], from 0 */
    struct np_client_entry *clients;     /* [limits.clients + 1]; 0 unused in this and the following */
    struct np_channel_entry *channels;
    struct np_endpoint_entry *endpoints;
    struct np_lane_entry *lanes;
};

/* How many arenas the pool has now. */
static inline uint32_t np_pool_arenas(const struct np_pool_entry *entry)
{
    uint32_t arenas = np_load32(&entry->arenas, memory_order_acquire); /* pairs with the store that made the last one count */
    return arenas < NP_ARENAS_MAX ? arenas : NP_ARENAS_MAX;
}

/* A client's own page of bells: so many receivers of pools that it opened read-only. */
#define NP_PAGE_BELLS 256u
#define NP_PAGE_BYTES (NP_PAGE_BELLS * sizeof(struct np_bell))

uint64_t np_board_layout(void);
size_t np_board_bytes(const struct np_board_limits *limits);
uint32_t np_board_bells(const struct np_board_limits *limits); /* how many bells its numbers need */
/* -EINVAL with the sentence when a limit is out of range. */
int np_board_limits_check(const struct np_board_limits *limits);
/* In zeroed memory. */
void np_board_format(void *memory, const struct np_board_limits *limits);
/* -EBADMSG, -EPROTO. The memory may be mapped read-only. */
int np_board_attach(struct np_board *board, void *memory, size_t bytes);

static inline uint32_t np_bell_of_endpoint(const struct np_board *board, uint32_t endpoint)
{
    return board->limits.clients + endpoint;
}

static inline int np_entry_is(const np_shm32 *state, enum np_entry_state wanted)
{
    return np_load32(state, memory_order_acquire) == (uint32_t)wanted; /* pairs with the release store of `state` */
}

#endif
