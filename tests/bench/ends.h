/* SPDX-License-Identifier: MIT
 *
 * The two ends of a pair as clients of the daemon: each sends on one channel and receives on another.
 */
#ifndef NP_BENCH_ENDS_H
#define NP_BENCH_ENDS_H

#include "numapool.h"
#include "payload.h"

/* An answer that takes longer than this is lost. */
#define BENCH_TIMEOUT_NS INT64_C(5000000000)
#define BENCH_BATCH_MAX 32u
#define BENCH_KEYS 64u

struct bench_ends_options {
    const char *name; /* tells its channels from those of other variants */
    const char *pool; /* of the daemon's: daemon.h */
    int64_t spin_ns;
    uint32_t channel_flags; /* of numapool_channel_flags */
};

struct bench_ends {
    const char *name, *pool;
    int64_t spin_ns;
    uint32_t channel_flags;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    uint64_t sum; /* of the payloads read */
};

/* What a message is; constant where the functions below are inlined. */
struct bench_kind {
    unsigned bytes;
    bool small; /* in the cell */
    bool keys;  /* id and key are set, but it is not keyed */
    bool keyed; /* keyed, by one of BENCH_KEYS */
};

/* Before the fork. */
struct bench_ends *bench_ends_open_as(const struct bench_ends_options *options);
struct bench_ends *bench_ends_open(const char *name, int64_t spin_ns); /* of BENCH_POOL, with 128 bytes */
void bench_ends_close(void *state);
void bench_ends_join(void *state, unsigned end);
void bench_ends_leave(void *state, unsigned end);

/* This process's pool of that name, and its session; opened when first asked for, in each process that asks. They stay until as many
 * bench_ends_pool_done as this was called. */
struct numapool_pool *bench_ends_pool(const char *name);
void bench_ends_pool_done(void);

/* Sends `count` messages, numbered from `number`, whose payload is written whole. */
static inline __attribute__((always_inline)) void bench_ends_send_kind(struct bench_ends *ends, uint64_t number, unsigned count,
                                                                       struct bench_kind kind)
{
    struct numapool_msg messages[BENCH_BATCH_MAX];
    void *slots[BENCH_BATCH_MAX];
    uint64_t small[BENCH_BATCH_MAX][NUMAPOOL_SMALL_BYTES / sizeof(uint64_t)];
    if (count == 1 && !kind.small)
        slots[0] = numapool_loan(ends->sender);
    if (!kind.small &&
        __builtin_expect(count == 1 ? !slots[0] : numapool_loan_bulk(ends->sender, slots, count) != (int)count, 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
    for (unsigned i = 0; i < count; i++) {
        if (kind.small)
            slots[i] = small[i];
        bench_bytes_write(slots[i], number + i, kind.bytes);
        messages[i] = (struct numapool_msg){ .data = slots[i], .length = kind.bytes };
        if (kind.keyed)
            messages[i].flags = NUMAPOOL_KEYED;
        if (kind.keys || kind.keyed) {
            messages[i].id = number + i;
            messages[i].key = (number + i) % BENCH_KEYS;
        }
    }
    int sent = count == 1 ? numapool_send(ends->sender, messages, BENCH_TIMEOUT_NS)
                          : numapool_send_bulk(ends->sender, messages, count, BENCH_TIMEOUT_NS);
    if (__builtin_expect(sent != (count == 1 ? 0 : (int)count), 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
}

/* Receives up to `most`, reads the payloads whole and releases; how many. */
static inline __attribute__((always_inline)) unsigned bench_ends_receive_kind(struct bench_ends *ends, unsigned most,
                                                                              struct bench_kind kind)
{
    struct numapool_msg messages[BENCH_BATCH_MAX];
    int count = numapool_receive(ends->receiver, messages, most, BENCH_TIMEOUT_NS);
    if (__builtin_expect(count <= 0, 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
    for (int i = 0; i < count; i++) {
        ends->sum += bench_bytes_read(messages[i].data, kind.bytes);
        if (kind.keys || kind.keyed)
            ends->sum += messages[i].key - messages[i].id % BENCH_KEYS;
    }
    if (__builtin_expect(numapool_release(ends->receiver, messages, (unsigned)count) < 0, 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
    return (unsigned)count;
}

#define BENCH_KIND_128 ((struct bench_kind){ .bytes = BENCH_PAYLOAD_BYTES })

static inline __attribute__((always_inline)) void bench_ends_send(struct bench_ends *ends, uint64_t number, unsigned count)
{
    bench_ends_send_kind(ends, number, count, BENCH_KIND_128);
}

static inline __attribute__((always_inline)) unsigned bench_ends_receive(struct bench_ends *ends, unsigned most)
{
    return bench_ends_receive_kind(ends, most, BENCH_KIND_128);
}

/* Round trips of 128 bytes: each message is answered by another. */
void bench_ends_trips_lead(void *state, uint64_t operations, struct bench_histogram *samples);
void bench_ends_trips_peer(void *state, uint64_t operations);

#endif
