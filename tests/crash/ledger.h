/* SPDX-License-Identifier: MIT
 *
 * The ledger: what the processes of a test say they have done, in memory of the test's own that outlives them. It uses nothing of
 * numapool, so that the two can be compared. A process writes "about to" before a call and "done" after it; one that is killed between
 * them leaves open which it was, and then both are right.
 */
#ifndef NUMAPOOL_TESTS_CRASH_LEDGER_H
#define NUMAPOOL_TESTS_CRASH_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "numapool.h"

#define LEDGER_PAYLOAD_BYTES 128u
#define LEDGER_SMALL_BYTES 40u /* of a small message: what ledger_fill writes, so far, and a key */
#define LEDGER_STAMPS_MAX 64u
#define LEDGER_WORKERS_MAX 16u
#define LEDGER_BREACHES_MAX 16u

enum ledger_channel { LEDGER_A, LEDGER_B, LEDGER_CHANNELS };

/* A message by its number. An appearance is lane 16 | generation 16 | position + 1 32 bits, high to low; 0: none yet. */
struct ledger_message {
    _Atomic uint64_t appeared[LEDGER_CHANNELS];
    _Atomic uint32_t sender;                    /* its incarnation: 1 and up */
    _Atomic uint8_t about_to_send;
    _Atomic uint8_t sent;                       /* send returned */
    _Atomic uint8_t about_to_finish[LEDGER_CHANNELS]; /* of who is stepped */
    _Atomic uint8_t finished[LEDGER_CHANNELS];  /* release, keep or forward returned: it may not come again */
    _Atomic uint16_t received[LEDGER_CHANNELS];
    _Atomic uint16_t unmarked[LEDGER_CHANNELS]; /* of those, how often not as REDELIVERED */
};

/* What a worker tells of itself. */
struct ledger_worker {
    _Atomic int32_t client;
    _Atomic uint32_t phase; /* 0: not connected yet, 1: connected, 2: has all it needs */
};

struct ledger {
    uint32_t capacity;
    _Atomic uint32_t next;      /* message number */
    _Atomic uint32_t allowance; /* no numbers from here on are given out */
    _Atomic uint64_t received[LEDGER_CHANNELS];
    _Atomic uint64_t puts;      /* of slots that stayed what their holder had written into them */
    _Atomic uint32_t drain;     /* senders send no more */
    _Atomic uint32_t stay;      /* nobody leaves and joins again, which wants the daemon */
    _Atomic uint32_t breaches;
    char breach[LEDGER_BREACHES_MAX][240];
    struct ledger_worker workers[LEDGER_WORKERS_MAX];
    struct ledger_message messages[];
};

/* Exits when there is no memory for it. */
struct ledger *ledger_new(uint32_t capacity);
void ledger_delete(struct ledger *ledger);

/* A promise was broken, found in whichever process. Kept for the end. */
__attribute__((format(printf, 2, 3))) void ledger_breach(struct ledger *ledger, const char *format, ...);

/* n numbers in a row, or 0 when the allowance is used up. Numbers of one sender rise. */
uint32_t ledger_numbers(struct ledger *ledger, uint32_t sender, unsigned n);

void ledger_fill(void *payload, uint64_t number);
/* Whether the payload is what ledger_fill wrote, whole. */
bool ledger_payload_is(const void *payload, uint64_t number);
/* The same of a message, in a slot or small. */
bool ledger_message_is(const struct numapool_msg *message, uint64_t number);

/* ---- a receiver's part */

/* For the order on each lane, as one process sees it. */
struct ledger_order {
    uint64_t lane;      /* lane and generation, as in an appearance; 0: vacant */
    uint64_t position;  /* last one */
    uint64_t number;    /* LEDGER_A: last message; numbers rise on a sender's lane */
    uint64_t source[8]; /* LEDGER_B: last appearance on each lane of A that was forwarded to here */
};
struct ledger_reader {
    struct ledger *ledger;
    enum ledger_channel channel;
    const char *role;
    uint32_t incarnation;
    struct ledger_order lanes[LEDGER_STAMPS_MAX];
    unsigned next_place;
};

/* Enters a received message before anything is done with it. Its appearance, to go with it as `key` when it is forwarded. */
uint64_t ledger_receive(struct ledger_reader *reader, const struct numapool_receiver *receiver, const struct numapool_msg *message);
/* Its release, keep or forward has returned. */
void ledger_finish(struct ledger_reader *reader, const struct numapool_msg *message);

/* ---- at the end */

struct ledger_verdict {
    uint64_t numbers, sent, unsure, lost, only_on_a, redelivered;
    uint64_t first_lost;
};
/* Goes through all messages; nobody else may be at work. `forwarded`: messages come to B through forwarders, else they end
 * at A. */
struct ledger_verdict ledger_judge(struct ledger *ledger, bool forwarded);
/* The promises of a run, as a test's verdicts. */
void ledger_expect(struct ledger *ledger, bool forwarded);

#endif
