/* SPDX-License-Identifier: MIT
 *
 * A client's session with the daemon. The connection may break at any time, for the daemon's worker may die: whatever was
 * asked is then asked again on a new connection. Only a daemon with another uuid ends a session, for it has not the memory.
 *
 * Locks, outermost first: opening, learning (of a pool), calling. Private to the process. A pool's own lock is never held around them.
 */
#ifndef NP_SERVICE_SESSION_H
#define NP_SERVICE_SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "core/pool.h"
#include "service/wire.h"

#define NP_CLIENT_LIVE UINT64_C(0x746e65696c63706e)
#define NP_SESSION_CALL_NS INT64_C(10000000000)     /* for one answer */
/* Who is not answered for so long asks again on another connection, once: every request may be. The connections of a dead worker end
 * when the kernel has taken its io_uring apart, which on a busy machine is seconds after another has taken over. */
#define NP_SESSION_ASK_AGAIN_NS INT64_C(1000000000)
#define NP_SESSION_PROBE_NS INT64_C(50000000)       /* for a greeting, asked on behalf of those who go on without an answer */
/* How long a call goes on trying while the daemon is being replaced: when somebody opens something, and on behalf of those
 * who go on without an answer (they ask again, and must not stand still). */
#define NP_SESSION_PATIENT_NS INT64_C(2000000000)
#define NP_SESSION_BRIEF_NS INT64_C(100000000)

struct np_direct_pool;

/* An endpoint that the daemon may have made, or still has, while nobody here knows it: a receiver of that kind would be
 * given lanes that it never reads. It is closed as soon as the daemon answers again. Likewise a pool that could be
 * destroyed if only the daemon had heard that it was closed here. */
struct np_session_debt {
    bool is_pool;                       /* a pool that was closed here; else an endpoint */
    uint32_t pool;
    bool known;                         /* `endpoint` is its number; else `request` asked again tells it */
    uint32_t endpoint;
    struct np_endpoint_request request;
};

/* The I/O token as it was got, to know it again. */
struct np_session_token {
    int number; /* the descriptor plus 1; 0: not asked for */
    uint64_t device, inode;
};

/* Lies in memory that a forked child finds zeroed. */
struct numapool_client {
    uint64_t live; /* NP_CLIENT_LIVE */
    char path[sizeof ((struct sockaddr_un *)0)->sun_path];

    pthread_mutex_t opening; /* guards pools; held while one is opened or closed */
    struct np_direct_pool *pools;
    struct np_session_token token; /* guarded by opening too */

    pthread_mutex_t calling; /* one request at a time; guards what follows */
    int fd;                  /* -1: to be connected */
    bool stale;              /* the daemon that gave the cookie is gone */
    bool unreachable;        /* patience has run out: until the daemon answers, a brief call tries once */
    uint64_t number;         /* of the last request */
    struct np_session_debt *debts;
    unsigned debt_count, debt_room;

    uint8_t uuid[16];
    uint64_t cookie;
    uint64_t topology; /* fingerprint of the nodes that this process imagined when it connected; 0: the machine's */
    uint32_t id;
    struct np_bell *bells; /* of all; NULL: the daemon gives them to those alone who may write to some pool */
    uint32_t bell_count;
    size_t bells_bytes;
    struct np_bell *page; /* bells of our own, for pools that are open read-only; NULL: none was needed yet */
    size_t page_bytes;
};

/* 0 when it is a live client of this process, else -EINVAL with the sentence. */
int np_client_check(const struct numapool_client *client);

/* Asks the daemon, with as many new connections as it takes within patience_ns. request->of and ->operation are the
 * caller's. The answer must bring exactly `descriptors` descriptors when its result is not negative; they are then the
 * caller's. 0 or the daemon's count; the daemon's -errno with its sentence; -ENOTCONN, -ETIMEDOUT, -ESTALE, -EPROTO. */
int np_session_call(struct numapool_client *client, struct np_wire_request *request, struct np_wire_answer *answer,
                    int fds[NP_WIRE_FDS_MAX], unsigned descriptors, int64_t patience_ns);

/* A number that no other request has: by it one that is asked again is known to be the same. Never 0, and nobody's to guess: who could
 * would learn whether it was done, which the log says as well. */
uint64_t np_session_new_tag(void);
/* 0, or -ESTALE when the session is known to have outlived its daemon. Asks nobody. */
int np_session_check(struct numapool_client *client);

/* Says hello again, since the daemon may have become willing to give the table of all bells. 0, or -EACCES: it has not. */
int np_session_want_bells(struct numapool_client *client);

/* Maps the page of own bells if it is not mapped yet. fd stays the caller's. */
int np_session_take_page(struct numapool_client *client, int fd);

void np_session_close_descriptors(int fds[NP_WIRE_FDS_MAX]);

/* Closes an endpoint or a pool later, since it cannot be done now. */
void np_session_owe(struct numapool_client *client, const struct np_session_debt *debt);

/* token.c: the session has ended. What rings have registered stays theirs. */
void np_session_drop_token(struct numapool_client *client);

/* remote.c: endpoints and lanes by requests. Its context is the struct numapool_pool. */
extern const struct np_authority np_remote_authority;

/* A pool of the daemon that this process maps. Lies in memory that a forked child finds zeroed. */
struct np_direct_pool {
    struct numapool_pool pool;
    struct numapool_client *client;
    struct np_direct_pool *next;
    pthread_mutex_t learning; /* one thread asks for new arenas */
    bool readonly;            /* payload alone, to read: no account, no words */
    bool prefault;            /* page tables of new arenas too */
    uint64_t slot_bytes; /* as the pool was made; what is usable is rounded up to whole lines */
    void *account;
    void *arena_memory[NP_ARENAS_MAX][2]; /* meta, data: what was mapped of each, NULL: nothing */
};

#endif
