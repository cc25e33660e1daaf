/* SPDX-License-Identifier: MIT
 *
 * The worker: everything but keeping. One loop, in one thread. All that it must remember is on the board or in the store; what
 * is here dies with it.
 *
 *   worker.c      its life: start, turn, end
 *   premises.c    the memory it makes and takes over: board, bells, pools, lanes, accounts
 *   connection.c  sockets: a request is received, its answer sent, then the next is received
 *   spare.c       the descriptor with which one can be told that there is none
 *   request.c     what each request does
 *   rights.c      who may ask for what
 *   watch.c       clients' lives: pidfds, and processes that have become another program
 *   inflight.c    clients that are gone while the kernel may still do I/O into their slots
 *   nodes.c       which nodes there are, and what is kept on imagined ones
 *   look.c        where pages are, a slice at a time
 *   verify.c      the same for who asks
 *   patrol.c      the same from time to time; strayed pages are brought back
 *   pools.c       pools made, enlarged and ended; maker.c makes their memory, in a thread of its own
 *   request_admin.c  what admins ask for
 *   request_upgrade.c  another build of the worker; upgrade.c is the keeper's part of it
 *
 * Invariants
 *   W1  It waits in np_loop_turn alone (and, before it is ready, for the keeper's records and for memory).
 *   W2  What others must be able to rely on is stored (np_worker_keep) before it is told to anybody.
 *   W3  Everything is bounded when it starts: connections, watches, one request at a time for each connection.
 *   W4  Numbers from messages are compared with the board's private limits before they are used.
 */
#ifndef NP_DAEMON_WORKER_H
#define NP_DAEMON_WORKER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "broker/broker.h"
#include "daemon/config.h"
#include "daemon/depository.h"
#include "daemon/identity.h"
#include "daemon/inflight.h"
#include "daemon/log.h"
#include "daemon/look.h"
#include "daemon/loop.h"
#include "daemon/nodes.h"
#include "daemon/patrol.h"
#include "daemon/pools.h"
#include "daemon/spare.h"
#include "daemon/store.h"
#include "daemon/upgrade.h"
#include "numapool.h"
#include "service/wire.h"

#define NP_CONNECTIONS_SPARE 64u /* beyond one for each client: those that look, and those that have not said who they are */

enum np_connection_kind { NP_CONNECTION_NEW, NP_CONNECTION_CLIENT, NP_CONNECTION_LOOK };

struct np_worker;
struct np_watch;

struct np_connection {
    struct np_worker *worker;
    struct np_connection *next_free;
    int fd; /* -1: unused */
    enum np_connection_kind kind;
    uint32_t client; /* of a CLIENT */
    bool refused;    /* of a user without any right: gets one answer */
    bool closing;
    bool awaits_verify;
    bool verify_begun; /* its arena is being looked at */
    uint32_t verify_pool, verify_arena;
    struct np_connection *next_verify;
    bool unheard; /* its client was admitted by the request that is just being answered: nobody knows the number before that */
    struct np_identity identity;
    int64_t accepted_ns;
    struct np_operation receive, send;
    /* One byte more than a request, so that a longer message is seen to be one. */
    _Alignas(8) uint8_t request[sizeof(struct np_wire_request) + 1];
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    bool fd_is_ours[NP_WIRE_FDS_MAX]; /* to be closed when it was sent */
    unsigned fd_count;
    struct iovec part;
    struct msghdr message;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * NP_WIRE_FDS_MAX)];
    } control;
};

/* One client's life. */
struct np_watch {
    struct np_worker *worker;
    struct np_watch *next_free;
    uint32_t client;
    struct np_operation death; /* poll of its pidfd */
    struct np_connection *connection;
    int64_t check_at_ns; /* INT64_MAX: it is connected */
    unsigned checks, misses;
};

/* Reading /proc/PID/maps of the one client that is being looked at. */
struct np_maps_check {
    struct np_watch *watch; /* NULL: none, or it has gone meanwhile */
    struct np_operation read;
    int fd; /* -1: none under way */
    uint32_t turn; /* whom to look at next */
    uint64_t offset;
    size_t kept; /* bytes of an unfinished line at the start of the buffer */
    unsigned inode_count;
    uint64_t inodes[2 + NP_POOLS_MAX * (1 + NP_ARENAS_MAX)];
    char buffer[8192];
};

struct np_verify {
    struct np_connection *first; /* who asks, in the order of asking */
    bool under_way;
    struct np_look look;
    struct np_timer next_slice;
};

struct np_worker {
    const struct np_config *config;
    int listen_fd, records_fd, signal_fd;
    bool ending;
    bool told_to_leave;
    bool told_to_reload; /* between two turns, likewise */
    struct np_nodes_told nodes_told;
    bool leaving; /* another build's worker is to take over: what has arrived is answered, and nothing more is heard */
    int status;
    struct np_loop *loop;
    struct np_store store;
    bool ready; /* before it, np_worker_keep waits for room; after it, never */
    enum np_depository_state depository; /* as the keeper said. KEEPING: np_worker_keep waits until the service manager has it */
    uint32_t stores, stored;             /* STORE records that were sent, and those of them that the manager has */
    bool keeper_is_slow;                 /* it let a store wait in vain: the next is waited for less */

    struct np_board board;
    size_t board_bytes;
    struct np_bell *bells;
    struct np_broker broker;

    struct np_connection *connections, *free_connections;
    unsigned connection_count, connections_used; /* from connections_used on none was ever used */
    struct np_watch *watches, *free_watches;
    struct np_watch **watch_of; /* [limits.clients + 1] */
    struct np_maps_check check;
    struct np_inflights inflights;
    struct np_verify verify;
    struct np_patrol patrol;
    struct np_pool_making making;

    struct np_store_key *drops; /* what the keeper has not been told yet that it need not keep any more */
    size_t drop_count, drop_room;
    struct np_timer drop_again;

    struct np_upgrade_report upgrade; /* as the keeper told it last */
    uint64_t upgrade_asked; /* tag of the order that the keeper was given and has not reported on yet */

    struct np_operation accept, signal, records, bell;
    uint32_t bell_seen;
    unsigned orphans;
    struct np_log_limit refusals, unaccepted; /* what the log was told of in this period */
    struct np_spare spare;
    bool accept_failed; /* the last time: who waits at the socket has had time to say what he wants */
    int64_t duty_period_ns;
    struct np_timer accept_again, duty, checks;
};

/* ---- worker.c */
/* Returns the exit status: 0, EX_CONFIG, NP_WORKER_LEFT, or another after which the keeper starts another worker. */
int np_worker_run(const struct np_config *config, int listen_fd, int records_fd);
/* The signals that either half hears: those that end it, and SIGHUP, upon which nodes are looked at again. Those that whoever started the daemon had ignored (nohup, a shell's background) stay
 * ignored. */
void np_worker_ending_signals(sigset_t *signals);
/* Whatever the keeper says once there is a worker, also while np_worker_keep waits for one of these. Closes fd. */
void np_worker_take_record(struct np_worker *worker, const struct np_record *record, int fd);
/* After anything that may have made or freed an orphan lane. */
void np_worker_duty(struct np_worker *worker);

/* ---- premises.c */
/* Owns fd from now on, also on failure. -EAGAIN: the keeper has no room just now; -ENOMEM. */
int np_worker_keep(struct np_worker *worker, struct np_store_key key, int fd);
void np_worker_forget(struct np_worker *worker, struct np_store_key key);
/* To the keeper, before `ready`: what was forgotten while taking over may have filled its socket, and is waited for. */
int np_worker_tell_ready(struct np_worker *worker);
/* Waits until no other worker writes on the board. -EBUSY: one does not end. */
int np_premises_lock(struct np_worker *worker);
/* Board, bells, broker; pools and lanes of a predecessor. */
int np_premises_take_over(struct np_worker *worker);
/* Forgets what a predecessor stored and had not yet put on the board when it died, or had taken off and could not say so. */
void np_premises_forget_strays(struct np_worker *worker);
void np_premises_start(struct np_worker *worker);
/* The client's account at a pool: made if there is none. A descriptor that stays the store's, or -errno. */
int np_premises_account(struct np_worker *worker, uint32_t client, uint32_t pool);
void np_premises_drop_account(struct np_worker *worker, uint32_t client, uint32_t pool);
/* The page of bells of a client who gets no others: made if there is none. A descriptor that stays the store's, or
 * -errno. */
int np_premises_page(struct np_worker *worker, uint32_t client);
void np_premises_drop_page(struct np_worker *worker, uint32_t client);
/* Opening for reading only: no account, and nothing to sweep. */
void np_premises_open_readonly(struct np_worker *worker, uint32_t client, uint32_t pool);
bool np_premises_is_readonly(const struct np_worker *worker, uint32_t client, uint32_t pool);
/* Length of what is stored under a key; 0: nothing. */
uint64_t np_premises_bytes(const struct np_worker *worker, struct np_store_key key);

/* ---- connection.c */
int np_connections_start(struct np_worker *worker);
void np_connections_accept(struct np_worker *worker);
/* Sends connection->answer, then receives the next request. */
void np_connection_answer(struct np_connection *connection, int result);
void np_connection_attach(struct np_connection *connection, int fd, bool ours);
void np_connection_close(struct np_connection *connection);
/* From now on nothing new is heard: a client whose request does not get an answer any more asks the next worker. */
void np_connections_leave(struct np_worker *worker);
/* All that had arrived by then is answered. */
bool np_connections_have_left(const struct np_worker *worker);

/* ---- request.c */
/* Fills connection->answer and its descriptors; true: it can be sent now. */
bool np_request_serve(struct np_connection *connection, const struct np_wire_request *request, int *result);

/* ---- rights.c: of the process at the other end, by the kernel's word for its user and groups alone */
/* Added up from enum np_right. The daemon's user and root have all, everywhere, and who made a pool has all there; an
 * admin of the daemon is one of every pool. */
unsigned np_rights_at_pool(const struct np_connection *connection, const struct np_pool_entry *pool);
bool np_rights_is_admin(const struct np_connection *connection); /* of the daemon */
bool np_rights_is_direct(const struct np_connection *connection); /* of one pool or more: gets the table of bells */
bool np_rights_has_any(const struct np_connection *connection);
/* Counts and, not too often, logs that the request was refused; the sentence is np_error's. */
void np_rights_refused(const struct np_connection *connection);
/* Opens the socket to all users when a list names some, and to the daemon's alone when none does. After every change of a
 * list. */
void np_rights_set_socket_mode(const struct np_worker *worker);

/* ---- request_admin.c */
int np_request_pool_create(struct np_connection *connection, const struct np_wire_request *request);
int np_request_pool_grow(struct np_connection *connection, const struct np_wire_request *request);
int np_request_pool_destroy(struct np_connection *connection, const struct np_wire_request *request);

/* ---- request_upgrade.c */
int np_request_upgrade(struct np_connection *connection, const struct np_wire_request *request);
/* Who keeps, who works, and how often it was upgraded, for who looks at the board. */
void np_upgrade_tell_board(struct np_worker *worker);
/* The keeper's report; fd stays the caller's. */
void np_upgrade_heard(struct np_worker *worker, int fd);

/* ---- watch.c */
int np_watches_start(struct np_worker *worker);
/* Clients of a predecessor: each is watched again, or is gone. -errno: of one it cannot be told now. */
int np_watches_take_over(struct np_worker *worker);
/* Admits the process at the other end of the connection. Its number, or -errno. */
int np_watch_admit(struct np_connection *connection, const struct np_wire_hello *hello);
/* The client is on this connection now; an older one of his is closed. */
void np_watch_connect(struct np_watch *watch, struct np_connection *connection);
/* His connection is lost, which says nothing yet of the process. */
void np_watch_disconnect(struct np_watch *watch);
/* Everything of his comes back, now or when the kernel has let go of it. `why`: for the log. */
void np_watch_end(struct np_watch *watch, const char *why);
/* Its second part: nobody can write into his slots any more. */
void np_watch_give_back(struct np_worker *worker, uint32_t client, const char *why);

/* ---- verify.c */
void np_verify_start(struct np_worker *worker);
/* It will be answered later. */
void np_verify_begin(struct np_connection *connection, uint32_t pool, uint32_t arena);
/* The pool is being destroyed: whoever waits for where its pages are is told so. */
void np_verify_pool_gone(struct np_worker *worker, uint32_t pool);

#endif
