/* SPDX-License-Identifier: MIT
 *
 * A smaller ledger, for channels on which nothing is forwarded: numbered messages whose payload is 16 bytes, so that small
 * messages and requests can have one too. Memory of the test's own that outlives its processes; nothing of numapool in it.
 */
#ifndef NUMAPOOL_TESTS_CRASH_TALLY_H
#define NUMAPOOL_TESTS_CRASH_TALLY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"
#include "numapool.h"

struct tally_entry {
    _Atomic uint64_t to;       /* address of the only receiver that may get it; 0: any */
    _Atomic uint32_t sender;   /* its incarnation */
    _Atomic uint32_t before;   /* the one of the same key before it; 0: none */
    _Atomic uint16_t received;
    _Atomic uint8_t about_to_send, sent, finished, unmarked, answers;
};

struct tally {
    const char *name;
    uint32_t capacity;
    _Atomic uint32_t next, allowance;
    _Atomic uint64_t received;
    struct tally_entry entries[];
};

struct tally_payload {
    uint64_t number, check;
};

/* Exits when there is no memory for it. */
struct tally *tally_new(const char *name, uint32_t capacity);
/* As new: nobody is at work on it. */
void tally_clear(struct tally *tally);

/* A number that is about to be sent, or 0: the allowance is used up. */
uint32_t tally_number(struct tally *tally, uint32_t sender, uint64_t to, uint32_t before);
/* It will not be sent after all. */
void tally_withdraw(struct tally *tally, uint32_t number);
void tally_sent(struct tally *tally, uint32_t number);
void tally_fill(void *payload, uint32_t number, bool is_answer);
bool tally_is(const struct numapool_msg *message, uint32_t number, bool is_answer);

struct tally_reader {
    struct tally *tally;
    struct ledger *ledger; /* where breaches are told */
    const char *role;
    uint32_t incarnation;
    uint64_t address;
    bool may_be_answered; /* who died with it may have written its answer into it */
    struct {
        uint64_t lane, position, number;
    } lanes[LEDGER_STAMPS_MAX];
    unsigned next_place;
};

/* Enters a received message before anything is done with it. Its number, or 0 after a breach. */
uint32_t tally_receive(struct tally_reader *reader, const struct numapool_receiver *receiver,
                       const struct numapool_msg *message);
/* Its release or reply has returned: it may not come again. */
void tally_finish(struct tally_reader *reader, uint32_t number);

/* Messages that were sent to anybody and came to nobody. Nobody else may be at work. */
uint64_t tally_lost(const struct tally *tally, uint32_t *first);

#endif
