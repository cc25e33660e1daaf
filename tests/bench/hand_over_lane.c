/* SPDX-License-Identifier: MIT
 *
 * One process takes slots, another gives them back: loans that are sent on a lane, received and released. What threads do with get, a bare
 * ring and put (hand_over.c) is here one thing, which no death loses a slot of. Nobody touches the payload.
 *
 * The floor is the ring that the threads have, between processes: pointers that go round in an array, and are neither taken nor given back.
 */
#include <stdlib.h>

#include "daemon.h"
#include "ends.h"
#include "floor/pointer_ring.h"
#include "groups.h"

/* Longer than any lap waits: nobody sleeps here. */
#define SPIN_NS INT64_C(1000000000)
#define BULK 32u
#define INLINE static inline __attribute__((always_inline))

static const struct bench_kind untouched = { .bytes = 0 };

/* ---------------------------------------------------------------- by lane */

static void *open_1(void)
{
    return bench_ends_open("hand-over-1", SPIN_NS);
}

static void *open_bulk(void)
{
    return bench_ends_open("hand-over-bulk", SPIN_NS);
}

INLINE void lane_lead(struct bench_ends *ends, uint64_t operations, unsigned batch, struct bench_histogram *samples)
{
    struct bench_marks marks = bench_marks_begin(samples);
    for (uint64_t number = 0; number < operations;) {
        bench_ends_send_kind(ends, number, batch, untouched);
        number += batch;
        bench_marks_sent(&marks, number);
    }
}

INLINE void lane_peer(struct bench_ends *ends, uint64_t operations, unsigned batch)
{
    ends->sum = 0;
    for (uint64_t number = 0; number < operations;)
        number += bench_ends_receive_kind(ends, batch, untouched);
    bench_bytes_check(ends->name, ends->sum, operations, 0);
}

/* ---------------------------------------------------------------- bare */

static void *ring_open(void)
{
    return bench_shared(sizeof(struct bench_ring));
}

static void ring_close(void *state)
{
    bench_unshare(state, sizeof(struct bench_ring));
}

/* The pointers, which nobody follows: objects of 128 bytes that go round, twice as many as are in the ring at most. */
INLINE void ring_lead(struct bench_ring *ring, uint64_t operations, unsigned batch, struct bench_histogram *samples)
{
    struct bench_marks marks = bench_marks_begin(samples);
    const uintptr_t objects = (uintptr_t)ring;
    for (uint64_t number = 0; number < operations;) {
        void *some[BULK];
        for (unsigned i = 0; i < batch; i++)
            some[i] = (void *)(objects + (number + i) % (2 * BENCH_RING_SLOTS) * BENCH_PAYLOAD_BYTES);
        bench_ring_push(ring, bench_opaque(some), batch);
        number += batch;
        bench_marks_sent(&marks, number);
    }
}

INLINE void ring_peer(struct bench_ring *ring, uint64_t operations, unsigned batch)
{
    uint64_t count = 0;
    for (uint64_t number = 0; number < operations; number += batch) {
        void *some[BULK];
        bench_ring_pop(ring, some, batch);
        bench_opaque(some);
        for (unsigned i = 0; i < batch; i++)
            count += some[i] != NULL;
    }
    bench_bytes_check("bare ring of pointers", count, operations, 0);
}

#define ENDS(NAME, KIND, BATCH, ABOUT, ...)                                                                                     \
    static void NAME##_lead(void *state, uint64_t operations, struct bench_histogram *samples)                                  \
    {                                                                                                                           \
        KIND##_lead(state, operations, BATCH, samples);                                                                         \
    }                                                                                                                           \
    static void NAME##_peer(void *state, uint64_t operations)                                                                   \
    {                                                                                                                           \
        KIND##_peer(state, operations, BATCH);                                                                                  \
    }                                                                                                                           \
    static const struct bench_variant NAME = { .name = ABOUT, .lead = NAME##_lead, .peer = NAME##_peer, __VA_ARGS__ };
#define BY_LANE .close = bench_ends_close, .join = bench_ends_join, .leave = bench_ends_leave
#define BARE .open = ring_open, .close = ring_close

ENDS(lane_1, lane, 1, "loan, send, receive, release", .open = open_1, BY_LANE)
ENDS(ring_1, ring, 1, "the ring of pointers alone", BARE)
ENDS(lane_bulk, lane, BULK, "the same of 32", .open = open_bulk, BY_LANE)
ENDS(ring_bulk, ring, BULK, "the ring of pointers alone, 32 at once", BARE)

#define SAMPLE "mean of 512 slots at who takes them"
static const struct bench_row rows[] = {
    { "hand_over_processes", 0, 1, SAMPLE, "\"bulk\": 1, \"touched\": false, \"ends\": \"processes\"", 0, 0, 0 },
    { "hand_over_processes_bulk_32", 2, 3, SAMPLE, "\"bulk\": 32, \"touched\": false, \"ends\": \"processes\"", 0, 0, 0 },
};
/* Twice what the fastest peers were seen to take here between threads. */
static const double median_max[] = { 2 * 4.9, 2 * 2.2 };
const struct bench_group bench_hand_over_processes = {
    .about = "One process takes slots, another gives them back; by lane, beside the bare ring of pointers that threads have.",
    .variants = { &lane_1, &ring_1, &lane_bulk, &ring_bulk }, .variant_count = 4, .rows = rows, .row_count = 2, .ends = 2,
    .median_max = median_max,
};
