/* SPDX-License-Identifier: MIT
 *
 * Descriptors that must outlive a worker: a table of them, which both the keeper and the worker have, and the records by which
 * the worker keeps the keeper's equal to its own.
 *
 *   keeper -> worker   STORE... READY          at the worker's start: all there is, then the end of it. a: enum np_depository_state
 *                      STORED                  where a service manager keeps descriptors: it has those of the worker's first `a` STORE
 *                                              records. b: enum np_depository_state
 *                      MENDED                  what became of a MEND: its key and offset
 *                      END                     end in good order
 *   worker -> keeper   STORE, DROP             one key each; a key stored again replaces what was there
 *                      READY                   pools are there and verified
 *                      MEND                    bring the pages of a part of what is stored onto a node (mend.h). One at a time
 *
 * One record is one SOCK_SEQPACKET message; STORE carries one descriptor. What a worker has sent is read by the keeper even after
 * the worker's death, and before another is started: so what was stored before an answer went out is never forgotten. Where both may
 * die, the worker waits for STORED before anything relies on what it stored.
 */
#ifndef NP_DAEMON_STORE_H
#define NP_DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum np_store_kind {
    NP_STORE_BOARD = 1,
    NP_STORE_BELLS,
    NP_STORE_META,    /* pool, arena */
    NP_STORE_DATA,    /* pool, arena */
    NP_STORE_ACCOUNT, /* client, pool */
    NP_STORE_LANE,    /* lane */
    NP_STORE_PIDFD,   /* client */
    NP_STORE_PAGE,    /* client: the bells of a foreign one */
    NP_STORE_IO,      /* client: read end of its I/O token */
    NP_STORE_KINDS
};

struct np_store_key {
    uint32_t kind; /* enum np_store_kind */
    uint32_t a, b;
};

/* ---- the table: open addressing, grown as needed */

struct np_store_entry {
    struct np_store_key key; /* kind 0: vacant */
    int fd;
    bool deposited; /* the service manager has it too (depository.h); the keeper's alone */
};

struct np_store {
    struct np_store_entry *entries;
    size_t room; /* a power of two, or 0 */
    size_t count;
};

/* Owns fd from now on; what the key had is closed. -ENOMEM: fd is still the caller's. */
int np_store_put(struct np_store *store, struct np_store_key key, int fd);
/* Its descriptor, which stays the store's; or -1. */
int np_store_get(const struct np_store *store, struct np_store_key key);
/* Its entry, until the table changes; or NULL. */
struct np_store_entry *np_store_find(const struct np_store *store, struct np_store_key key);
/* Closes it, if it is there. */
void np_store_remove(struct np_store *store, struct np_store_key key);
/* Closes all. */
void np_store_clear(struct np_store *store);
/* For going through all: the first entry at or after *at that is there, or NULL; *at goes past it. Not while it is being
 * changed. */
const struct np_store_entry *np_store_next(const struct np_store *store, size_t *at);

/* ---- the records */

enum np_record_verb {
    NP_RECORD_STORE = 1,
    NP_RECORD_DROP,
    NP_RECORD_READY,
    NP_RECORD_END,
    NP_RECORD_STORED,
    NP_RECORD_MEND,
    NP_RECORD_MENDED,
    NP_RECORD_UPGRADE = 8, /* upgrade.h */
    NP_RECORD_LEAVE,
    NP_RECORD_RELOAD /* to the worker: look at the nodes again */
};

/* Zeros in other records. */
struct np_mend {
    uint64_t offset;
    uint32_t bytes;  /* at that offset */
    int32_t node;    /* of the machine; where the pages should be */
    int32_t result;  /* MENDED: 0, or -errno: why not all of them are there now */
    uint32_t moved;  /* MENDED: pages that were brought there */
};

struct np_record {
    uint32_t magic;
    uint32_t verb; /* enum np_record_verb */
    struct np_store_key key;
    uint32_t reserved;
    struct np_mend mend;
};

/* Never waits. fd -1: none. 0; -EAGAIN: there is no room now; -EPIPE: the other is gone. */
int np_record_send(int socket, enum np_record_verb verb, struct np_store_key key, int fd);
/* MEND or MENDED; likewise. */
int np_record_send_mend(int socket, enum np_record_verb verb, struct np_store_key key, const struct np_mend *mend);
/* Never waits. 1, or 0: the other end is closed; -EAGAIN: nothing there; -EPROTO: not a record; -EMFILE: its descriptor did
 * not arrive (the record did). *fd is the caller's, -1: none. */
int np_record_receive(int socket, struct np_record *record, int *fd);

#endif
