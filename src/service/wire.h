/* SPDX-License-Identifier: MIT
 *
 * What clients and the daemon say to each other: one request, one answer, each one SOCK_SEQPACKET message of fixed layout,
 * descriptors by SCM_RIGHTS. Native byte order: both ends are on one machine. The daemon never speaks first.
 *
 * Every request may be repeated on a new connection after the old one broke: none does more the second time.
 *
 *   request          answer, descriptors
 *   HELLO            client's number, cookie, uuid; [bells]           first on every connection
 *   LOOK             uuid; [board read-only, bells read-only]         instead of HELLO: may only look
 *   GOODBYE          -                                                this process holds nothing any more
 *   POOL_OPEN        geometry; [account]                              then POOL_MEMORY for each arena
 *   POOL_MEMORY      -; [meta, data]                                  LOOK: [meta] read-only. -ENXIO: the pool has no such arena (yet)
 *   POOL_CLOSE       -
 *   ENDPOINT_OPEN    endpoint, bell
 *   ENDPOINT_CLOSE   -
 *   NEXT_LANE        lane as of stamp, or none; [lane]
 *   LEAVE_LANE       -
 *   LANE_MEMORY      -; [lane read-only]                              LOOK only
 *   ACCOUNT_MEMORY   -; [account read-only]                           LOOK only
 *   VERIFY           where the pages of an arena are                  LOOK only: move_pages by the daemon; asked of one arena after the other
 *   POOL_CREATE      -; result UNDER_WAY: ask again until it is 0      admins. `tag` makes it be done once
 *   POOL_GROW        -; likewise
 *   POOL_DESTROY     -
 *   IO_TOKEN         -; [write end of a pipe]                          the daemon watches the other end after the client's death
 *   UPGRADE          how it went; result UNDER_WAY: ask again          LOOK, of the daemon's user and root. `tag` makes it be done once
 *
 * POOL_OPEN for readonly gives the client's own page of bells instead of an account; POOL_MEMORY then gives [data read-only] alone.
 */
#ifndef NP_SERVICE_WIRE_H
#define NP_SERVICE_WIRE_H

#include <stdint.h>

#include "broker/board.h"
#include "channel/authority.h"

#define NP_WIRE_MAGIC 0x4e504c31u /* "NPL1" */
#define NP_WIRE_FDS_MAX 2
#define NP_WIRE_UNDER_WAY 1 /* POOL_CREATE, POOL_GROW, UPGRADE: memory is being made. Nobody is kept waiting for an answer, on a socket that all threads of the
                               client share, but asks again: so the worker need not remember who asked, and may die in between */
#define NP_WIRE_SENTENCE_BYTES 256u
#define NP_WIRE_WHERE_MAX 24u

enum np_wire_operation {
    NP_WIRE_HELLO = 1,
    NP_WIRE_LOOK,
    NP_WIRE_GOODBYE,
    NP_WIRE_POOL_OPEN,
    NP_WIRE_POOL_MEMORY,
    NP_WIRE_POOL_CLOSE,
    NP_WIRE_ENDPOINT_OPEN,
    NP_WIRE_ENDPOINT_CLOSE,
    NP_WIRE_NEXT_LANE,
    NP_WIRE_LEAVE_LANE,
    NP_WIRE_LANE_MEMORY,
    NP_WIRE_ACCOUNT_MEMORY,
    NP_WIRE_VERIFY,
    NP_WIRE_POOL_CREATE,
    NP_WIRE_POOL_GROW,
    NP_WIRE_POOL_DESTROY,
    NP_WIRE_IO_TOKEN,
    NP_WIRE_UPGRADE,
    NP_WIRE_OPERATIONS
};

struct np_wire_hello {
    uint64_t layout;   /* np_wire_layout(): of everything shared */
    uint64_t cookie;   /* that the client drew and is known by; the same when it asks again to be admitted. 0: the daemon draws one */
    uint8_t uuid[16];  /* of the daemon that admitted it */
    uint32_t client;   /* 0: a new client; else the number of the one that reconnects */
    uint32_t reserved;
    uint64_t topology; /* fingerprint of the nodes that the client imagines; 0: the machine's own. LOOK: of no account */
    char name[32];     /* of the program, for people */
};

struct np_wire_pool {
    uint64_t tag;
    char name[NUMAPOOL_NAME_BYTES];
    uint64_t slot_bytes, slots, flags, low_watermark;
    uint32_t magazine_slots, sharers;
    int32_t node;              /* GROW: or NUMAPOOL_ANY_NODE */
    uint32_t nodes;            /* CREATE: length of node_slots; 0: evenly on all */
    uint64_t node_slots[NP_ARENAS_MAX];
    char access[512];          /* as in struct numapool_options; "": the daemon's user */
    uint32_t policy;           /* CREATE, as all of the following: enum numapool_policy */
    int32_t own_node;          /* that the asking thread runs on */
    uint64_t spill_slots;
    char device[64];
};

/* Another worker binary. What became of it is told until another upgrade is asked for. */
enum np_wire_upgrade_state {
    NP_UPGRADE_NONE,
    NP_UPGRADE_UNDER_WAY,
    NP_UPGRADE_CHECKED,     /* it could take over: no more was asked */
    NP_UPGRADE_DONE,
    NP_UPGRADE_REFUSED,     /* nothing was done; `sentence` says why */
    NP_UPGRADE_ROLLED_BACK  /* the old one is back; `sentence` says why */
};
enum np_wire_upgrade_flags { NP_UPGRADE_CHECK_ONLY = 1 };
struct np_wire_upgrade {
    uint64_t tag;
    uint32_t flags;
    uint32_t wait_ms;  /* for the new worker to be ready; 0: as long as clients' calls wait for it */
    char binary[1024]; /* its path as the daemon sees it; "": the one that the daemon was started from */
};
struct np_wire_upgrade_answer {
    uint32_t state; /* enum np_wire_upgrade_state */
    uint32_t clients;
    int32_t worker_before, worker_after; /* processes */
    int64_t took_ns; /* from the order to the old worker to go until the new one was ready */
    char version_before[32], version_after[32], keeper_version[32];
};

struct np_wire_request {
    uint32_t magic;
    uint32_t operation;
    uint64_t number; /* the answer repeats it */
    union {
        struct np_wire_hello hello; /* HELLO, LOOK */
        struct { char name[NUMAPOOL_NAME_BYTES]; uint32_t readonly; } pool_open;
        struct { uint32_t pool, arena; } pool_memory;
        struct { uint32_t pool; } pool_close;
        struct { uint32_t pool, arena; } verify;
        struct np_endpoint_request endpoint_open;
        struct { uint32_t endpoint; } endpoint_close;
        struct { uint64_t stamp; uint32_t endpoint, reserved; } next_lane;
        struct { uint32_t endpoint, lane, generation, reserved; } leave_lane;
        struct { uint32_t lane; } lane_memory;
        struct { uint32_t client, pool; } account_memory;
        struct np_wire_pool pool_create, pool_grow; /* grow: tag, name, node, slots */
        struct { uint64_t tag; char name[NUMAPOOL_NAME_BYTES]; uint32_t flags; } pool_destroy;
        struct np_wire_upgrade upgrade;
        uint8_t room[1264];
    } of;
};
_Static_assert(sizeof(struct np_wire_request) == 1280, "wire layout");

struct np_wire_answer {
    uint32_t magic;
    int32_t result;  /* 0 or a count, or -errno: then `sentence` says why */
    uint64_t number;
    uint32_t operation;
    uint32_t descriptors;
    union {
        struct { uint8_t uuid[16]; uint64_t cookie; uint32_t client; uint32_t bells; struct np_board_limits limits;
                 uint64_t topology; /* as in the board's header */ } hello; /* and LOOK */
        struct {
            uint32_t pool, arenas;
            uint64_t slot_bytes, flags;
            uint32_t magazine_slots, sharers;
            uint64_t low_watermark;
            uint32_t policy, reserved;
        } pool_open;
        struct { uint64_t slots, meta_bytes, data_bytes, page_bytes; int32_t node; uint32_t transparent, tier, reserved; } pool_memory;
        struct np_endpoint_grant endpoint_open;
        struct { uint64_t stamp; uint32_t lane, generation, capacity, state, kind, home, peer, peer_generation; } next_lane; /* result 1; 0: no more */
        struct {
            uint64_t pages, misplaced, words_pages, words_misplaced;
            uint64_t split_pages; /* of payload's transparent ones: whose parts are small pages by now */
            uint64_t lanes, lanes_misplaced; /* of the pool, asked for on that node: how many; pages of them that are elsewhere */
            int32_t node;         /* where they should be */
            uint32_t where_count;
            struct np_whereabouts where[NP_WIRE_WHERE_MAX]; /* payload's; what is left over is with the last */
        } verify;
        struct np_wire_upgrade_answer upgrade;
        uint8_t room[NP_ARENAS_MAX * 8];
    } of;
    char sentence[NP_WIRE_SENTENCE_BYTES]; /* also of an UPGRADE that was refused or rolled back */
};

/* Fingerprint of arena, lane, board, account and wire layouts together. */
uint64_t np_wire_layout(void);
/* Of the wire alone. */
uint64_t np_wire_messages(void);

/* 0 when a message of `bytes` is a request as above; else -EPROTO with a sentence. Never reads beyond bytes. */
int np_wire_check_request(const void *message, size_t bytes);
int np_wire_check_answer(const void *message, size_t bytes, const struct np_wire_request *request);

/* $NUMAPOOL_SOCKET, else $XDG_RUNTIME_DIR/numapool.sock, else /run/numapool/numapool.sock. -ENAMETOOLONG. */
int np_wire_default_path(char *path, size_t bytes);

/* Client side: sends a request, receives its answer and up to NP_WIRE_FDS_MAX descriptors (close-on-exec).
 * 0; -EPIPE, -ECONNRESET: the connection broke; -ETIMEDOUT; -EPROTO. */
int np_wire_call(int socket, const struct np_wire_request *request, struct np_wire_answer *answer, int fds[NP_WIRE_FDS_MAX],
                 int64_t timeout_ns);

/* Connects to a path; -errno with the sentence. */
int np_wire_connect(const char *path);

#endif
