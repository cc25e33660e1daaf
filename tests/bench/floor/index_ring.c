/* SPDX-License-Identifier: MIT */
#include "index_ring.h"

#include <stdatomic.h>

#define SLOTS 512u /* and cells: slots go round with them, and are back when their cell is */
#define MASK (SLOTS - 1)
/* The receiver says so often what it is done with; oftener costs a line, seldomer stops the sender. */
#define RELEASE_EVERY 64u

struct ring {
    _Alignas(128) _Atomic uint64_t released; /* the receiver's: messages that it is done with */
    _Alignas(128) _Atomic uint64_t cells[SLOTS]; /* the sender's: index:32 | position + 1:32 */
    _Alignas(128) char payload[SLOTS][BENCH_PAYLOAD_BYTES];
};

struct rings {
    struct ring there, back;
};

static void *rings_open(void)
{
    return bench_shared(sizeof(struct rings));
}

static void rings_close(void *state)
{
    bench_unshare(state, sizeof(struct rings));
}

/* Before the next lap numbers its messages from 0 again; the other end waits for that lap's beginning. */
static void reset(struct ring *ring)
{
    for (unsigned i = 0; i < SLOTS; i++) /* relaxed here: the lap's beginning and end order it */
        atomic_store_explicit(&ring->cells[i], 0, memory_order_relaxed);
    atomic_store_explicit(&ring->released, 0, memory_order_relaxed);
}

static inline void announce(struct ring *ring, uint64_t position)
{
    uint64_t index = position & MASK;
    /* release: pairs with the acquire of arrived() */
    atomic_store_explicit(&ring->cells[index], index << 32 | (uint32_t)(position + 1), memory_order_release);
}

static inline bool arrived(struct ring *ring, uint64_t position, uint32_t *index)
{
    uint64_t cell = atomic_load_explicit(&ring->cells[position & MASK], memory_order_acquire);
    *index = (uint32_t)(cell >> 32);
    return (uint32_t)cell == (uint32_t)(position + 1);
}

/* Without a pause: here that is faster by a tenth, other than with a bare line. */
static inline uint32_t await(struct ring *ring, uint64_t position)
{
    uint32_t index;
    while (!arrived(ring, position, &index))
        ;
    return index;
}

/* ---------------------------------------------------------------- round trip */

/* What the two read, to be compared with what was written; private to each process. */
static uint64_t read_sum;

static void trip(void *state, uint64_t number)
{
    struct rings *rings = state;
    bench_payload_write(rings->there.payload[number & MASK], number);
    announce(&rings->there, number);
    read_sum += bench_payload_read(rings->back.payload[await(&rings->back, number)]);
}

static void trip_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct rings *rings = state;
    read_sum = 0;
    bench_trips(state, operations, samples, trip);
    bench_payload_check("bare ring", read_sum, operations);
    reset(&rings->there);
    reset(&rings->back);
}

static void trip_peer(void *state, uint64_t operations)
{
    struct rings *rings = state;
    uint64_t sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        sum += bench_payload_read(rings->there.payload[await(&rings->there, number)]);
        bench_payload_write(rings->back.payload[number & MASK], number);
        announce(&rings->back, number);
    }
    bench_payload_check("bare ring", sum, operations);
}

/* ---------------------------------------------------------------- one way */

static inline __attribute__((always_inline)) void one_way_lead(struct ring *ring, uint64_t operations, unsigned batch,
                                                               struct bench_histogram *samples)
{
    const int64_t clock_cost_ns = bench_clock_cost_ns();
    uint64_t released = 0, position = 0;
    int64_t mark_ns = bench_now_ns();
    while (position < operations) {
        while (position + batch - released > SLOTS) {
            /* acquire: pairs with the receiver's release; its reads of the payload come before */
            released = atomic_load_explicit(&ring->released, memory_order_acquire);
            if (position + batch - released > SLOTS)
                bench_pause();
        }
        for (unsigned i = 0; i < batch; i++)
            bench_payload_write(ring->payload[(position + i) & MASK], position + i);
        for (unsigned i = batch; i-- > 0;) /* last first, so that who sees the first sees all of them */
            announce(ring, position + i);
        position += batch;
        if (position % BENCH_ONE_WAY_SAMPLE == 0) {
            int64_t now_ns = bench_now_ns();
            bench_histogram_add(samples, (double)(now_ns - mark_ns - clock_cost_ns) / BENCH_ONE_WAY_SAMPLE);
            mark_ns = now_ns;
        }
    }
    /* acquire: as above */
    while (atomic_load_explicit(&ring->released, memory_order_acquire) != operations)
        bench_pause();
    reset(ring);
}

static inline __attribute__((always_inline)) void one_way_peer(struct ring *ring, uint64_t operations, unsigned batch)
{
    uint64_t sum = 0, position = 0;
    while (position < operations) {
        uint32_t index = await(ring, position);
        for (unsigned i = 0; i < batch; i++) {
            if (i > 0)
                index = await(ring, position + i); /* there already, with the first */
            sum += bench_payload_read(ring->payload[index]);
        }
        position += batch;
        if (position % RELEASE_EVERY == 0) /* release: the payload has been read */
            atomic_store_explicit(&ring->released, position, memory_order_release);
    }
    bench_payload_check("bare ring", sum, operations);
    atomic_store_explicit(&ring->released, position, memory_order_release);
}

static void lead_1(void *state, uint64_t operations, struct bench_histogram *samples)
{
    one_way_lead(&((struct rings *)state)->there, operations, 1, samples);
}

static void peer_1(void *state, uint64_t operations)
{
    one_way_peer(&((struct rings *)state)->there, operations, 1);
}

static void lead_8(void *state, uint64_t operations, struct bench_histogram *samples)
{
    one_way_lead(&((struct rings *)state)->there, operations, 8, samples);
}

static void peer_8(void *state, uint64_t operations)
{
    one_way_peer(&((struct rings *)state)->there, operations, 8);
}

const struct bench_variant floor_index_ring_trip = {
    .name = "bare ring of indexes", .open = rings_open, .close = rings_close, .lead = trip_lead, .peer = trip_peer,
};
const struct bench_variant floor_index_ring_one_way = {
    .name = "bare ring of indexes", .open = rings_open, .close = rings_close, .lead = lead_1, .peer = peer_1,
};
const struct bench_variant floor_index_ring_one_way_8 = {
    .name = "bare ring of indexes, by 8", .open = rings_open, .close = rings_close, .lead = lead_8, .peer = peer_8,
};
