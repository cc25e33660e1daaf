/* SPDX-License-Identifier: MIT
 *
 * The two ends of a pair as clients of the daemon: each sends on one channel and receives on another.
 */
#ifndef NP_BENCH_ENDS_H
#define NP_BENCH_ENDS_H

#include "bench.h"
#include "numapool.h"

/* An answer that takes longer than this is lost. */
#define BENCH_TIMEOUT_NS INT64_C(5000000000)
#define BENCH_BATCH_MAX 8u

struct bench_ends {
    const char *name;
    int64_t spin_ns;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    uint64_t sum; /* of the payloads read */
};

/* Before the fork. `name` tells its channels from those of other variants. */
struct bench_ends *bench_ends_open(const char *name, int64_t spin_ns);
void bench_ends_close(void *state);
void bench_ends_join(void *state, unsigned end);
void bench_ends_leave(void *state, unsigned end);

/* Sends `count` messages, numbered from `number`, whose payload is written whole. */
static inline __attribute__((always_inline)) void bench_ends_send(struct bench_ends *ends, uint64_t number, unsigned count)
{
    struct numapool_msg messages[BENCH_BATCH_MAX];
    void *slots[BENCH_BATCH_MAX];
    if (count == 1)
        slots[0] = numapool_loan(ends->sender);
    if (__builtin_expect(count == 1 ? !slots[0] : numapool_loan_bulk(ends->sender, slots, count) != (int)count, 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
    for (unsigned i = 0; i < count; i++) {
        bench_payload_write(slots[i], number + i);
        messages[i] = (struct numapool_msg){ .data = slots[i], .length = BENCH_PAYLOAD_BYTES };
    }
    int sent = count == 1 ? numapool_send(ends->sender, messages, BENCH_TIMEOUT_NS)
                          : numapool_send_bulk(ends->sender, messages, count, BENCH_TIMEOUT_NS);
    if (__builtin_expect(sent != (count == 1 ? 0 : (int)count), 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
}

/* Receives up to `most`, reads the payloads whole and releases; how many. */
static inline __attribute__((always_inline)) unsigned bench_ends_receive(struct bench_ends *ends, unsigned most)
{
    struct numapool_msg messages[BENCH_BATCH_MAX];
    int count = numapool_receive(ends->receiver, messages, most, BENCH_TIMEOUT_NS);
    if (__builtin_expect(count <= 0, 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
    for (int i = 0; i < count; i++)
        ends->sum += bench_payload_read(messages[i].data);
    if (__builtin_expect(numapool_release(ends->receiver, messages, (unsigned)count) < 0, 0))
        bench_fail("%s: %s", ends->name, numapool_errormsg());
    return (unsigned)count;
}

/* Round trips: each message is answered by another. */
void bench_ends_trips_lead(void *state, uint64_t operations, struct bench_histogram *samples);
void bench_ends_trips_peer(void *state, uint64_t operations);

#endif
