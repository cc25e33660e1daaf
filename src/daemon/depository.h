/* SPDX-License-Identifier: MIT
 *
 * The depository: a service manager (systemd) that keeps, by name, every descriptor the keeper keeps, and gives them all to the
 * next keeper. So keeper and worker may both die. The manager is spoken to in its notification protocol (sd_notify(3), which
 * promises that it stays), and not by libsystemd, whose call makes a socket for every message and waits while the manager's queue
 * is full: the keeper waits in one place only. Knows no worker and maps no memory.
 *
 * A name is "np1-KIND-A-B", the store's key in hexadecimal, at most 14 characters: all names together are one variable of the
 * next keeper's environment, which the kernel bounds at 128 KiB. The board's A and B are the fingerprint of everything shared. The
 * listening socket is kept too, with the inode number of its path as A and B: who connects while there is no keeper is heard by the next.
 *
 * Invariants
 *   D1  What goes to the manager goes in the order of the worker's records, and a name is removed before it is stored again.
 *   D2  A record is acknowledged after its descriptor is in the manager's queue and is known to have found room: from then on no
 *       death of ours takes it away.
 *   D3  Either the manager has all, or it has no board: half a store is never taken for a whole one.
 */
#ifndef NP_DAEMON_DEPOSITORY_H
#define NP_DAEMON_DEPOSITORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/store.h"

#define NP_DEPOSITORY_NAME_BYTES 32u

enum np_depository_state {
    NP_DEPOSITORY_NONE,    /* no manager, or one that keeps nothing */
    NP_DEPOSITORY_KEEPING, /* it has all that was acknowledged */
    NP_DEPOSITORY_LOST     /* it had no room for all, and keeps nothing any more */
};

enum np_deposit_verb { NP_DEPOSIT_STORE, NP_DEPOSIT_REMOVE, NP_DEPOSIT_SOCKET, NP_DEPOSIT_TELL };

struct np_deposit {
    enum np_deposit_verb verb;
    struct np_store_key key;
    uint32_t serial;  /* STORE: of the worker's record; 0: nobody waits for it */
    const char *text; /* TELL: lives for ever */
    int fd;           /* SOCKET: the caller's, for ever */
};

/* Whether there is room for one more is learned by storing one and looking whether the manager closed it. */
enum np_depository_probe { NP_PROBE_NONE, NP_PROBE_TO_STORE, NP_PROBE_TO_ASK, NP_PROBE_ASKED, NP_PROBE_TO_REMOVE };

struct np_depository {
    enum np_depository_state state;
    struct sockaddr_un manager;
    socklen_t manager_bytes; /* 0: there is none */
    int socket_fd;
    struct np_store *store;
    int listen_fd;           /* a listening socket that the manager gave, or -1; the caller's */
    uint64_t listen_inode;   /* of its path, if a keeper before has made it; 0: the manager has (socket activation) */
    bool has_socket;         /* the manager keeps ours, with that inode */

    size_t count;            /* of what the manager has of ours */
    size_t known_room;       /* it takes at least so many */
    size_t most;             /* it takes no more than that, or the environment does not */
    enum np_depository_probe probe;
    int probe_read, answer_read; /* hang up when the manager has closed its end; -1 */

    struct np_deposit *queue;
    size_t first, queued, room;
    bool blocked;            /* the manager's queue was full: try again in a while */
    uint32_t sent_serial;    /* last one that was sent */
    uint32_t stored_serial;  /* last one that is known to have found room */
};

/* Learns of the manager from the environment, and clears that of it; puts what the manager has kept into the empty store.
 * -EPROTO: it is another version's, and stays with the manager. */
int np_depository_open(struct np_depository *depository, struct np_store *store);
/* Finds out whether the manager keeps descriptors at all. Waits for it, 2 s at most. */
void np_depository_begin(struct np_depository *depository);
/* Before np_store_remove, and before np_store_put, which may replace what the key has. */
void np_depository_remove(struct np_depository *depository, struct np_store_key key);
/* After np_store_put. serial: of the worker's records, 1 and up; 0: nobody waits to hear of it. */
void np_depository_store(struct np_depository *depository, struct np_store_key key, uint32_t serial);
/* It listens at a path of that inode. For the next keeper. */
void np_depository_listen(struct np_depository *depository, int fd, uint64_t inode);
/* For the manager: "READY=1" and the like; lives for ever. Wanted whether it keeps descriptors or not. */
void np_depository_tell(struct np_depository *depository, const char *text);
/* Hands over as much as the manager takes. Up to which serial everything is with it: stored_serial. */
void np_depository_turn(struct np_depository *depository);
/* Another worker counts from 1 again. What the last one stored and nobody acknowledged goes to the manager all the same. */
void np_depository_new_worker(struct np_depository *depository);
void np_depository_close(struct np_depository *depository);

/* For tests: the name of a key and back. False: not a name of this version. */
void np_depository_name(struct np_store_key key, char name[NP_DEPOSITORY_NAME_BYTES]);
bool np_depository_key(const char *name, struct np_store_key *key);

#endif
