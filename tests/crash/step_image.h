/* SPDX-License-Identifier: MIT
 * All shared memory of a daemon: found among its descriptors, compared with what it was, and kept. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_IMAGE_H
#define NUMAPOOL_TESTS_CRASH_STEP_IMAGE_H

#include <sys/types.h>

#include "broker/board.h"
#include "daemon/store.h"
#include "step.h"

enum { STEP_REGIONS_MAX = 96, STEP_LEDGER_NUMBERS = 256 };

struct step_region {
    uint32_t kind; /* enum np_store_kind */
    uint32_t a, b; /* as in struct np_store_key; of an account the client alone */
    uint64_t inode;
    size_t bytes;  /* mapped */
    size_t used;   /* that are compared and copied */
    const unsigned char *live;
    unsigned char *image; /* as it was after the last step that changed it */
    unsigned char *copy;  /* repaired by the judge */
    uint64_t hash;        /* of the image */
    bool is_seen;
};

struct step_memory {
    pid_t worker;
    struct step_region regions[STEP_REGIONS_MAX];
    unsigned count;
    struct np_board board; /* the living one */
    struct ledger *ledger, *ledger_image, *ledger_copy;
    uint64_t ledger_hash;
};

/* False: no board was found. */
bool step_memory_open(struct step_memory *memory, pid_t worker, struct ledger *ledger);
void step_memory_close(struct step_memory *memory);
/* Looks which memory there is now. Whether anything has come or gone. */
bool step_memory_scan(struct step_memory *memory);
/* Compares with the images and renews them. with_board: others have run since. Whether shared memory has changed; *told: whether the
 * ledger has. A change of a word that may not be is told in `sentence`, which is empty otherwise. */
bool step_memory_changed(struct step_memory *memory, bool with_board, bool *told, char *sentence, size_t bytes);
uint64_t step_memory_hash(const struct step_memory *memory);
/* The images' copies, to be repaired. */
void step_memory_copy(struct step_memory *memory);
struct step_region *step_memory_find(struct step_memory *memory, uint32_t kind, uint32_t a, uint32_t b);
/* Whether all slots of all pools are free, in living memory. */
bool step_memory_all_free(const struct step_memory *memory);

size_t step_ledger_bytes(void);
void step_ledger_clear(struct ledger *ledger);

#endif
