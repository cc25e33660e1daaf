/* SPDX-License-Identifier: MIT
 * What travels from the gateway to the ledger beside the payments: what the files state about themselves, so that the
 * ledger can compare without having read them. Every message is 128 bytes in a slot of the pool. */
#ifndef PAYMENTS_STREAM_H
#define PAYMENTS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numapool/payment.h"

#define STREAM_POOL           "pay"
#define STREAM_TO_VALIDATOR   "pay.in"
#define STREAM_TO_LEDGER      "pay.out"
#define STREAM_BATCH_MESSAGES 64u

/* A payment is named by repeat, file and its ordinal in the file, all three in its payment_id. Trace numbers would not do:
 * bad files use one twice, and both entries have to be posted. */
#define STREAM_REPEATS_MAX (UINT32_C(1) << 20)
#define STREAM_FILES_MAX   (UINT32_C(1) << 12)
#define STREAM_ORDINAL_MAX UINT64_C(0xffffffff)

static inline uint64_t stream_payment_id(uint32_t repeat, uint32_t file, uint64_t ordinal)
{
    return (uint64_t)repeat << 44 | (uint64_t)file << 32 | (ordinal & STREAM_ORDINAL_MAX);
}

static inline uint32_t stream_id_repeat(uint64_t payment_id)
{
    return (uint32_t)(payment_id >> 44);
}

static inline uint32_t stream_id_file(uint64_t payment_id)
{
    return (uint32_t)(payment_id >> 32) & (STREAM_FILES_MAX - 1);
}

static inline uint64_t stream_id_ordinal(uint64_t payment_id)
{
    return payment_id & STREAM_ORDINAL_MAX;
}

/* Type of a message. Its id: of a payment the payment_id, of the others their number among themselves, from 1. Its key: of
 * a payment the line in its file. */
enum stream_type {
    STREAM_PAYMENT = 6,
    STREAM_PAYMENT_DAMAGED = 7, /* its checksum was wrong when the validator saw it; never posted, always reported */
    STREAM_NAME = 1,
    STREAM_BATCH = 8,
    STREAM_FILE = 9,
    STREAM_FINDING = 10,
    STREAM_END = 11
};

/* Why the validator objects, in the application's bits of a payment's flags. */
enum stream_objection {
    STREAM_BAD_CHECK_DIGIT = 0x10000,
    STREAM_UNKNOWN_CODE = 0x20000,
    STREAM_AMOUNT_AGAINST_CODE = 0x40000,
    STREAM_BAD_TRACE = 0x80000, /* found by the gateway already */
    STREAM_BAD_LAYOUT = 0x100000
};
#define STREAM_OBJECTIONS UINT32_C(0x1f0000)

struct stream_totals {
    uint64_t entries_and_addenda;
    uint64_t entry_hash;
    uint64_t debit_cents;
    uint64_t credit_cents;
};

/* A piece of a file's name, which may be longer than a slot. */
struct stream_name {
    uint32_t checksum;
    uint32_t file;
    uint32_t offset;
    uint32_t length;      /* of the whole name */
    char text[112];
};

struct stream_batch {
    uint32_t checksum;
    uint32_t repeat;
    uint32_t file;
    uint32_t ordinal;     /* which batch of the file, from 1 */
    uint32_t number;      /* as its header has it */
    uint32_t has_control;
    uint64_t line;
    uint64_t entries;     /* sent */
    uint64_t addenda;
    struct stream_totals stated;
    uint8_t reserved[48];
};

struct stream_file {
    uint32_t checksum;
    uint32_t repeat;
    uint32_t file;
    uint32_t batches;     /* sent */
    uint32_t has_control;
    uint32_t reserved0;
    uint64_t line;
    uint64_t entries;     /* sent */
    uint64_t addenda;
    struct stream_totals stated;
    uint8_t reserved[48];
};

struct stream_finding {
    uint32_t checksum;
    uint32_t file;
    uint64_t line;
    uint32_t severity;    /* enum nacha_severity */
    char text[108];
};

struct stream_end {
    uint32_t checksum;
    uint32_t files;
    uint32_t repeats;
    uint32_t reserved0;
    uint64_t payments;    /* sent in all */
    uint64_t statements;  /* other messages sent in all, this one included */
    uint8_t reserved[96];
};

_Static_assert(sizeof(struct stream_name) == 128, "one slot");
_Static_assert(sizeof(struct stream_batch) == 128, "one slot");
_Static_assert(sizeof(struct stream_file) == 128, "one slot");
_Static_assert(sizeof(struct stream_finding) == 128, "one slot");
_Static_assert(sizeof(struct stream_end) == 128, "one slot");

/* ---- over TCP: records of 128 bytes without anything between them, each a payment (numapool/payment.h) or one of these
 * two, told apart by the byte where a payment has its version. First a hello, last a closing; what is neither is refused.
 */
#define STREAM_RECORD_BYTES NUMAPOOL_PAYMENT_BYTES
#define STREAM_KIND_OFFSET  54u
enum stream_kind { STREAM_KIND_PAYMENT = NUMAPOOL_PAYMENT_VERSION, STREAM_KIND_HELLO = 0xf1, STREAM_KIND_CLOSING = 0xf2 };

struct stream_hello {
    uint32_t checksum;
    uint32_t reserved0;
    uint64_t session;     /* drawn by the sender; what it says on the ledger's reply port to get the replies. 0: wants none */
    char name[38];        /* of the connection, in the report */
    uint8_t kind;         /* STREAM_KIND_HELLO */
    uint8_t reserved[73];
};

struct stream_closing {
    uint32_t checksum;
    uint32_t reserved0;
    uint64_t payments;    /* sent on this connection; their number is their place among them, from 1 */
    struct stream_totals totals;
    uint8_t reserved1[6];
    uint8_t kind;         /* STREAM_KIND_CLOSING */
    uint8_t reserved[73];
};

/* The ledger's answer to each payment that it was to post, in any order. */
enum stream_verdict { STREAM_ACCEPTED = 1, STREAM_FLAGGED = 2, STREAM_REFUSED = 3 };
struct stream_reply {
    uint64_t number;      /* of the payment on its connection */
    uint32_t verdict;     /* enum stream_verdict; FLAGGED: posted, with objections */
    uint32_t objections;  /* enum stream_objection */
};
#define STREAM_REPLIES_IN_SLOT (STREAM_RECORD_BYTES / sizeof(struct stream_reply))

_Static_assert(sizeof(struct stream_hello) == 128 && offsetof(struct stream_hello, kind) == STREAM_KIND_OFFSET, "one record");
_Static_assert(sizeof(struct stream_closing) == 128 && offsetof(struct stream_closing, kind) == STREAM_KIND_OFFSET, "one record");
_Static_assert(sizeof(struct stream_reply) == 16, "eight to a slot");

static inline uint32_t stream_checksum(const void *message)
{
    return ~numapool_payment_crc32c(0xffffffffu, (const unsigned char *)message + 4, 124);
}

/* Every struct above begins with its checksum. */
static inline void stream_seal(void *message)
{
    uint32_t checksum = stream_checksum(message);
    memcpy(message, &checksum, sizeof(checksum));
}

static inline bool stream_is_sound(const void *message)
{
    uint32_t checksum;
    memcpy(&checksum, message, sizeof(checksum));
    return checksum == stream_checksum(message);
}

#endif
