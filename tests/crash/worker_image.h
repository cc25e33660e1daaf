/* SPDX-License-Identifier: MIT
 *
 * All memory that a daemon shares with its clients, found through the keeper's descriptors: watched while its worker is stepped, copied,
 * and taken over in the copy by a broker of the test's own, as the next worker would take it over.
 *
 * A summary says in lines what there is, but for numbers that the next worker may give out otherwise: clients, who has joined what,
 * which messages wait in which order, how many slots are whose.
 */
#ifndef NUMAPOOL_TESTS_CRASH_WORKER_IMAGE_H
#define NUMAPOOL_TESTS_CRASH_WORKER_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/board.h"
#include "broker/broker.h"

enum { IMAGE_PARTS_MAX = 96, IMAGE_PIDS_MAX = 64, SUMMARY_BYTES = 8192, SUMMARY_NAMES_MAX = 8 };

enum image_kind { IMAGE_BOARD = 1, IMAGE_BELLS, IMAGE_META, IMAGE_LANE, IMAGE_PAGE, IMAGE_ACCOUNT };

struct image_part {
    enum image_kind kind;
    uint32_t number;    /* lane, client; META: pool << 8 | arena */
    uint64_t inode;
    uint8_t *live;      /* as it is now, read-only */
    uint8_t *last;      /* when it was last looked at */
    uint8_t *copy;
    size_t bytes;
    bool seen;
};

struct image {
    pid_t keeper;
    struct image_part parts[IMAGE_PARTS_MAX];
    unsigned count;
    pid_t watched[IMAGE_PIDS_MAX]; /* whose pidfds the keeper has */
    unsigned watched_count;
};

/* Which processes are called how in summaries; all others are not told of. A dead one is taken for what it is. */
struct image_cast {
    struct { pid_t pid; const char *name; bool dead; } members[SUMMARY_NAMES_MAX];
    unsigned count;
    const char *pool; /* of which slots and messages are told */
    const char *busy; /* NULL, or a pool that is used all the while, so that a copy of its words is none of one moment */
};

struct summary {
    char text[SUMMARY_BYTES];
    uint64_t hash;
};

/* Maps what the keeper has and forgets what it has no longer. False: there is no board. */
bool image_look(struct image *image, pid_t keeper);
void image_forget(struct image *image);
/* Waits until the keeper has read and done all that it was sent on the worker's side `records` of their socket pair. */
bool image_settle(const struct image *image, int records);
/* Whether anything has changed since it was last asked. */
bool image_changed(struct image *image);
void image_copy(struct image *image);

/* What the memory holds now, by what was last looked at: a number. */
uint64_t image_hash(const struct image *image);
/* How many words of pool 0 say SENT. */
unsigned image_sent(const struct image *image);
/* Whether a client of that process is on the board. */
bool image_has_client(const struct image *image, pid_t pid);
uint64_t image_worker_starts(const struct image *image);

enum image_verdict {
    IMAGE_TAKEN_OVER, /* the copy is repaired first, as by the next worker */
    IMAGE_AS_IT_IS    /* it is to be right without */
};
/* The copy is judged and told. How many things are wrong; those are said on standard output with `when`, unless that is NULL. `besides`: a
 * member of the cast that has died meanwhile too, or -1. `with_slots`: which slot a message is in is told too. */
unsigned image_judge(struct image *image, enum image_verdict verdict, const struct image_cast *cast, int besides, bool with_slots,
                     struct summary *summary, const char *when);

#endif
