/* SPDX-License-Identifier: MIT */
#include "cell_ring.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "../payload.h"

#define CELLS 1024u
#define MASK (CELLS - 1)
#define CELLS_INLINE static inline __attribute__((always_inline))
/* The receiver says so often what it is done with; oftener costs a line, seldomer stops the sender. */
#define RELEASE_EVERY 256u
/* Of cells that are fetched for writing; one by one it is neither gain nor loss. */
#define AHEAD 16u
/* After a look in vain, so that the sender gets ahead. */
#define PAUSES 32u

struct cell {
    _Alignas(64) _Atomic uint64_t announced; /* position + 1 */
    char payload[56];
};

struct cell_ring {
    _Alignas(128) _Atomic uint64_t released; /* the receiver's: messages that it is done with */
    _Alignas(128) struct cell cells[CELLS];  /* the sender's */
};

/* Private to each process but for the rings; positions go on from lap to lap. */
struct cell_rings {
    struct cell_ring *there, *back;
    uint64_t position, sum;
};

static void *rings_open(void)
{
    struct cell_rings *rings = calloc(1, sizeof *rings);
    if (!rings)
        bench_fail("no memory for a pair of rings");
    rings->there = bench_shared(sizeof *rings->there);
    rings->back = bench_shared(sizeof *rings->back);
    return rings;
}

static void rings_close(void *state)
{
    struct cell_rings *rings = state;
    bench_unshare(rings->there, sizeof *rings->there);
    bench_unshare(rings->back, sizeof *rings->back);
    free(rings);
}

CELLS_INLINE void announce(struct cell_ring *ring, uint64_t position)
{
    atomic_store_explicit(&ring->cells[position & MASK].announced, position + 1, memory_order_release); /* pairs with await() */
}

CELLS_INLINE const char *await(struct cell_ring *ring, uint64_t position, unsigned pauses)
{
    struct cell *cell = &ring->cells[position & MASK];
    while (atomic_load_explicit(&cell->announced, memory_order_acquire) != position + 1)
        for (unsigned i = 0; i < pauses; i++)
            bench_pause();
    return cell->payload;
}

/* ---------------------------------------------------------------- round trip */

/* One pause lasts about as long as the line takes: without it a round trip takes twice as long near. */
#define TRIP_PAUSES 1u

CELLS_INLINE void trip(struct cell_rings *rings, uint64_t number, unsigned bytes)
{
    bench_bytes_write(rings->there->cells[rings->position & MASK].payload, number, bytes);
    announce(rings->there, rings->position);
    rings->sum += bench_bytes_read(await(rings->back, rings->position++, TRIP_PAUSES), bytes);
}

CELLS_INLINE void echo(struct cell_rings *rings, uint64_t operations, unsigned bytes)
{
    rings->sum = 0;
    for (uint64_t number = 0; number < operations; number++, rings->position++) {
        rings->sum += bench_bytes_read(await(rings->there, rings->position, TRIP_PAUSES), bytes);
        bench_bytes_write(rings->back->cells[rings->position & MASK].payload, number, bytes);
        announce(rings->back, rings->position);
    }
    bench_bytes_check("bare cells", rings->sum, operations, bytes);
}

#define TRIP(BYTES)                                                                                                             \
    static void trip_##BYTES(void *state, uint64_t number)                                                                      \
    {                                                                                                                           \
        trip(state, number, BYTES);                                                                                             \
    }                                                                                                                           \
    static void trip_lead_##BYTES(void *state, uint64_t operations, struct bench_histogram *samples)                            \
    {                                                                                                                           \
        struct cell_rings *rings = state;                                                                                       \
        rings->sum = 0;                                                                                                         \
        bench_trips(state, operations, samples, trip_##BYTES);                                                                  \
        bench_bytes_check("bare cells", rings->sum, operations, BYTES);                                                         \
    }                                                                                                                           \
    static void trip_peer_##BYTES(void *state, uint64_t operations)                                                             \
    {                                                                                                                           \
        echo(state, operations, BYTES);                                                                                         \
    }                                                                                                                           \
    const struct bench_variant floor_cells_trip_##BYTES = {                                                                     \
        .name = "bare ring of cells", .open = rings_open, .close = rings_close, .lead = trip_lead_##BYTES,                      \
        .peer = trip_peer_##BYTES,                                                                                              \
    };

TRIP(16)
TRIP(48)

/* ---------------------------------------------------------------- one way */

CELLS_INLINE void way_lead(struct cell_rings *rings, uint64_t operations, unsigned batch, struct bench_histogram *samples,
                           unsigned bytes)
{
    struct cell_ring *ring = rings->there;
    struct bench_marks marks = bench_marks_begin(samples);
    const uint64_t start = rings->position, end = start + operations;
    uint64_t position = start, released = start; /* all of the last lap is */
    while (position < end) {
        while (position + batch - released > CELLS) {
            released = atomic_load_explicit(&ring->released, memory_order_acquire); /* pairs with the receiver's release */
            if (position + batch - released > CELLS)
                bench_pause();
        }
        for (unsigned i = 0; i < batch; i++) {
            bench_bytes_write(ring->cells[(position + i) & MASK].payload, position - start + i, bytes);
            __builtin_prefetch(&ring->cells[(position + i + AHEAD) & MASK], 1);
        }
        for (uint64_t at = position + batch; at-- > position;) /* last first, so that who sees the first sees all of them */
            announce(ring, at);
        position += batch;
        bench_marks_sent(&marks, position - start);
    }
    while (atomic_load_explicit(&ring->released, memory_order_acquire) != end) /* as above */
        bench_pause();
    rings->position = end;
}

CELLS_INLINE void way_peer(struct cell_rings *rings, uint64_t operations, unsigned batch, unsigned bytes)
{
    struct cell_ring *ring = rings->there;
    const uint64_t end = rings->position + operations;
    uint64_t sum = 0, position = rings->position;
    while (position < end) {
        for (unsigned i = 0; i < batch; i++)
            sum += bench_bytes_read(await(ring, position + i, PAUSES), bytes);
        position += batch;
        if (position % RELEASE_EVERY == 0) /* release: the payload has been read */
            atomic_store_explicit(&ring->released, position, memory_order_release);
    }
    bench_bytes_check("bare cells", sum, operations, bytes);
    atomic_store_explicit(&ring->released, position, memory_order_release); /* as above */
    rings->position = end;
}

#define WAY(BYTES, BATCH)                                                                                                       \
    static void way_lead_##BYTES##_##BATCH(void *state, uint64_t operations, struct bench_histogram *samples)                   \
    {                                                                                                                           \
        way_lead(state, operations, BATCH, samples, BYTES);                                                                     \
    }                                                                                                                           \
    static void way_peer_##BYTES##_##BATCH(void *state, uint64_t operations)                                                    \
    {                                                                                                                           \
        way_peer(state, operations, BATCH, BYTES);                                                                              \
    }                                                                                                                           \
    const struct bench_variant floor_cells_way_##BYTES##_##BATCH = {                                                            \
        .name = "bare ring of cells, by " #BATCH, .open = rings_open, .close = rings_close,                                     \
        .lead = way_lead_##BYTES##_##BATCH, .peer = way_peer_##BYTES##_##BATCH,                                                 \
    };

WAY(16, 1)
WAY(16, 8)
WAY(16, 32)
WAY(48, 1)
WAY(48, 8)
WAY(48, 32)
