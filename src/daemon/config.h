/* SPDX-License-Identifier: MIT
 *
 * What the daemon is asked for: by the command line, by a file, or by both. Everything here takes text and touches
 * nothing else, so that it can be tested and fuzzed alone. A value of the command line wins over the file's.
 *
 *   [daemon]                    [pool pay]
 *   socket = /run/x.sock        size = 128
 *   clients = 1024              count = 1M
 *   lanes = 4096                pages = 2m
 *   log = info                  fallback = yes
 *   admin = alice @ops          readonly = @audit
 */
#ifndef NP_DAEMON_CONFIG_H
#define NP_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "broker/board.h"
#include "daemon/access.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "numa/plan.h"

#define NP_CONFIG_POOL_SHARERS_DEFAULT 8u
#define NP_CONFIG_NODES_BYTES (NP_ARENAS_MAX * 11u + NP_DEVICE_BYTES + 80u) /* where it is to be */
#define NP_CONFIG_SPEC_BYTES (256u + NP_CONFIG_NODES_BYTES + NP_ACCESS_TEXT_BYTES) /* longest text of np_config_pool_spec, with its closing zero */
#define NP_CONFIG_PATROL_DEFAULT_S 60u
#define NP_CONFIG_PATROL_MAX_S 86400u

struct np_config_pool {
    char name[NUMAPOOL_NAME_BYTES];
    uint64_t slot_bytes;
    uint64_t slots; /* in all, but for those to spill to */
    uint64_t low_watermark; /* 0: 1/16 of a node's slots */
    uint64_t flags; /* of numapool_flags */
    uint32_t magazine_slots;
    uint32_t sharers;
    uint32_t policy; /* enum numapool_policy; STRICT is in flags */
    uint32_t nodes;  /* length of node_slots; 0: as the policy says */
    uint64_t node_slots[NP_ARENAS_MAX];
    uint64_t spill_slots;
    char device[NP_DEVICE_BYTES]; /* NEAR_DEVICE; "": none */
    struct np_access access[NP_ACCESS_MAX];
    bool has_placement, has_strict, has_spill;
    bool has_size, has_count, has_pages, has_fallback, has_magazine, has_sharers, has_exact, has_checks, has_low_watermark;
};

/* Where a scalar stands comes from; bits of np_config.from_command_line and .from_file. */
enum np_config_scalar {
    NP_CONFIG_SOCKET,
    NP_CONFIG_CLIENTS,
    NP_CONFIG_CHANNELS,
    NP_CONFIG_ENDPOINTS,
    NP_CONFIG_LANES,
    NP_CONFIG_LOG,
    NP_CONFIG_LOG_TO,
    NP_CONFIG_ADMIN,
    NP_CONFIG_LOOP,
    NP_CONFIG_PATROL,
    NP_CONFIG_SCALARS
};

struct np_config {
    char socket_path[sizeof((struct sockaddr_un *)0)->sun_path]; /* "": the default one */
    struct np_board_limits limits;
    enum np_log_level log_level;
    enum np_log_to log_to;
    enum np_loop_choice loop;
    uint32_t patrol_s; /* between two rounds of looking where pages are; 0: never */
    struct np_access admins[NP_ACCESS_MAX]; /* who may make, enlarge and destroy pools, and look at everything */
    unsigned from_command_line, from_file;
    unsigned pool_count;
    struct np_config_pool pools[NP_POOLS_MAX];
};

void np_config_start(struct np_config *config);

/* A number with an optional K, M or G (2^10, 2^20, 2^30). -EINVAL: not one; -ERANGE: beyond 64 bits. No sentence. */
int np_config_number(const char *text, uint64_t *number);

/* "auto", "io_uring", "epoll". */
const char *np_config_loop_name(enum np_loop_choice loop);

/* A scalar by its name: "socket", "clients", "channels", "endpoints", "lanes", "log", "log_to", "admin", "loop", "patrol". `where` begins the sentence:
 * "--lanes", "x.ini:3". -EINVAL, -ENAMETOOLONG; -ENOENT: no such name, without a sentence. */
int np_config_set(struct np_config *config, const char *name, const char *value, const char *where, bool command_line);

/* A pool as text: name,size=BYTES,count=N[,pages=best|thp|2m|1g][,fallback][,magazine=N][,sharers=N][,exact]
 * [,placement=even|memory|explicit|local|near:DEVICE][,node_slots=N:N...][,strict][,spill=N] (node_slots instead of count)
 * [,direct=ID:ID...][,readonly=ID...][,admin=ID...] (access.h). -EINVAL with the sentence. */
int np_config_pool_add(struct np_config *config, const char *spec, const char *where);

/* The same text from a pool: adding it elsewhere gives the same pool. */
void np_config_pool_spec(const struct np_config_pool *pool, char spec[NP_CONFIG_SPEC_BYTES]);

/* A whole file's text. `file` is its name in sentences. -EINVAL with the sentence, which names file:line. */
int np_config_parse(struct np_config *config, const char *text, size_t bytes, const char *file);

/* Reads a file of at most 1 MiB and parses it. */
int np_config_read(struct np_config *config, const char *file);

/* What can only be said of the whole: limits in range, a socket path. (np_pool_spec_finish
 * has looked at each pool.) -EINVAL, -ENAMETOOLONG. */
int np_config_finish(struct np_config *config);

#endif
