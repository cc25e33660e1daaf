/* SPDX-License-Identifier: MIT
 *
 * Another build of the worker takes over from the one that runs. The keeper does it, since it outlives both; the worker only hears
 * who asks and tells him what became of it.
 *
 *   worker -> keeper   UPGRADE   an order; the key has its tag
 *   keeper -> worker   UPGRADE   a report: at each worker's start, before READY, and whenever it has changed
 *   keeper -> worker   LEAVE     answer what has arrived, then end with NP_WORKER_LEFT and leave everything as it is
 *
 * Both are structs in a memory file that goes with the record.
 *
 *   IDLE -> PROBING -> LEAVING -> STARTING -> IDLE
 *             |                      |
 *             refused: nothing       rolled back: its worker died or was not ready in time,
 *             was done               and the old build's is started again
 *
 * Invariants
 *   U1  Workers are started from `binary` alone, except in STARTING, when it is the candidate; `binary` changes only when the
 *       candidate's worker has said READY. So whatever else happens, the next worker is of a build that has worked.
 *   U2  There is one worker at a time: the candidate's is started as every other, after the last was reaped (keeper.c, K1).
 *   U3  An order is done once: its tag stands in the report until another order replaces it, and the report is told to every worker
 *       before it hears a client.
 *   U4  Nothing here waits (K3); every step but IDLE has a deadline.
 */
#ifndef NP_DAEMON_UPGRADE_H
#define NP_DAEMON_UPGRADE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/candidate.h"
#include "daemon/probe.h"
#include "service/wire.h"

#define NP_WORKER_LEFT 79 /* exit status of a worker that was told to leave */

struct np_upgrade_order {
    uint32_t bytes; /* of this struct */
    uint32_t uid;
    int32_t pid;    /* who asks */
    uint32_t reserved;
    struct np_wire_upgrade wanted;
};

struct np_upgrade_report {
    uint32_t bytes;
    uint32_t reserved;
    uint64_t tag;
    uint64_t upgrades; /* done so far */
    struct np_wire_upgrade_answer answer; /* `clients` is for the worker to say */
    char sentence[NP_WIRE_SENTENCE_BYTES];
};

enum np_upgrade_step { NP_UPGRADE_IDLE, NP_UPGRADE_PROBING, NP_UPGRADE_LEAVING, NP_UPGRADE_STARTING };

struct np_upgrade {
    enum np_upgrade_step step;
    int64_t deadline_ns; /* INT64_MAX in IDLE */
    int64_t begun_ns;    /* LEAVING began */
    int64_t wait_ns;     /* for READY */
    bool check_only;
    bool late;           /* the deadline has passed, and the worker was killed for it */
    int binary;          /* -1: /proc/self/exe */
    struct np_candidate candidate;
    struct np_probe own, of_binary, of_candidate;
    char path[sizeof ((struct np_wire_upgrade *)0)->binary]; /* of the candidate */
    char started_from[PATH_MAX]; /* "": not known */
    struct np_upgrade_report report;
    bool told; /* the worker knows it as it is */
};

/* The keeper's worker as it is now: 0, -1 when there is none. */
struct np_upgrade_worker {
    pid_t pid;
    int records;
};

/* Once, before any worker is started. */
void np_upgrade_start(struct np_upgrade *upgrade);
/* A worker is about to be started: its descriptor for fexecve, or -1: /proc/self/exe. */
int np_upgrade_binary(const struct np_upgrade *upgrade);
void np_upgrade_worker_started(struct np_upgrade *upgrade, pid_t worker);
/* The report, unless this worker has it. 0; -EAGAIN: there is no room now; -errno: it cannot be told now. */
int np_upgrade_tell(struct np_upgrade *upgrade, int records);
/* An order came, with its descriptor, which stays the caller's; -1: that did not arrive. */
void np_upgrade_ordered(struct np_upgrade *upgrade, uint64_t tag, int fd);
void np_upgrade_worker_ready(struct np_upgrade *upgrade, pid_t worker);
/* The worker was reaped. True: it was to end, or the other is to be back; start the next at once. */
bool np_upgrade_worker_ended(struct np_upgrade *upgrade, int how);
/* For poll(2): -1, or what is readable when the candidate has said something; and when np_upgrade_turn is to be called. */
int np_upgrade_descriptor(const struct np_upgrade *upgrade);
int64_t np_upgrade_deadline_ns(const struct np_upgrade *upgrade);
/* After each wait: whatever can be done now. */
void np_upgrade_turn(struct np_upgrade *upgrade, struct np_upgrade_worker worker);
void np_upgrade_stop(struct np_upgrade *upgrade);

/* ---- records' memory files */

/* A descriptor with the bytes, or -errno with the sentence. */
int np_upgrade_pack(const void *bytes, size_t count);
/* Fills *bytes from it. -EPROTO: it holds something else. */
int np_upgrade_unpack(int fd, void *bytes, size_t count);

#endif
