/* SPDX-License-Identifier: MIT */
#include "index_ring.h"

#include <stdlib.h>

#include "ring.h"

/* Private to each process but for what it points to; positions go on from lap to lap. */
struct rings {
    struct ring *there, *back;
    char *payload_there, *payload_back;
    size_t payload_bytes;
    uint64_t position;
    uint64_t sum; /* of what this process has read in this lap */
};

static void *rings_open(size_t payload_bytes)
{
    struct rings *rings = calloc(1, sizeof *rings);
    if (!rings)
        bench_fail("no memory for a pair of rings");
    rings->payload_bytes = payload_bytes;
    rings->there = bench_shared(sizeof *rings->there);
    rings->back = bench_shared(sizeof *rings->back);
    rings->payload_there = bench_shared(payload_bytes);
    rings->payload_back = bench_shared(payload_bytes);
    return rings;
}

static void rings_close(void *state)
{
    struct rings *rings = state;
    bench_unshare(rings->there, sizeof *rings->there);
    bench_unshare(rings->back, sizeof *rings->back);
    bench_unshare(rings->payload_there, rings->payload_bytes);
    bench_unshare(rings->payload_back, rings->payload_bytes);
    free(rings);
}

/* ---------------------------------------------------------------- round trip */

/* Few slots where they are large, so that they stay in the near caches; else the number makes no difference. A pause after a look
 * in vain lasts about as long as a line takes near. It halves the time where nothing but the cell is touched and saves a tenth
 * with much payload, but costs some hundredths with little. Cells on a line each or eight a line: the same within 2 %, but with a
 * pause and little payload, which goes better with the former. Fetching the next payload for writing while the other end works
 * gains 3 %; fetching the next cell loses 20 %, since the other end is looking at it. */
#define TRIP_SHAPE(BYTES)                                                                                                       \
    ((struct ring_shape){ .bytes = BYTES, .slots = BYTES >= 1024 ? 16 : 512, .spread = BYTES == 0 ? RING_CELLS_A_LINE : 1,      \
                          .ahead = 1, .pauses = BYTES == 0 || BYTES >= 1024 })

RING_INLINE void send_one(struct ring *ring, char *payload, uint64_t position, uint64_t number, struct ring_shape shape)
{
    bench_bytes_write(ring_slot(payload, position, shape), number, shape.bytes);
    ring_announce(ring, position, (uint32_t)(position & (shape.slots - 1)), shape);
    ring_fetch_ahead(ring, payload, position, shape); /* while the other end works */
}

RING_INLINE void trip(struct rings *rings, uint64_t number, struct ring_shape shape)
{
    send_one(rings->there, rings->payload_there, rings->position, number, shape);
    uint32_t index = ring_await(rings->back, rings->position++, shape);
    rings->sum += bench_bytes_read(ring_slot(rings->payload_back, index, shape), shape.bytes);
}

RING_INLINE void trips_peer(struct rings *rings, uint64_t operations, struct ring_shape shape)
{
    rings->sum = 0;
    for (uint64_t number = 0; number < operations; number++) {
        uint32_t index = ring_await(rings->there, rings->position, shape);
        rings->sum += bench_bytes_read(ring_slot(rings->payload_there, index, shape), shape.bytes);
        send_one(rings->back, rings->payload_back, rings->position++, number, shape);
    }
    bench_bytes_check("bare ring", rings->sum, operations, shape.bytes);
}

#define TRIP(BYTES)                                                                                                             \
    static void *trip_open_##BYTES(void)                                                                                        \
    {                                                                                                                           \
        return rings_open(ring_payload_bytes(TRIP_SHAPE(BYTES)));                                                               \
    }                                                                                                                           \
    static void trip_##BYTES(void *state, uint64_t number)                                                                      \
    {                                                                                                                           \
        trip(state, number, TRIP_SHAPE(BYTES));                                                                                 \
    }                                                                                                                           \
    static void trip_lead_##BYTES(void *state, uint64_t operations, struct bench_histogram *samples)                            \
    {                                                                                                                           \
        struct rings *rings = state;                                                                                            \
        rings->sum = 0;                                                                                                         \
        bench_trips(state, operations, samples, trip_##BYTES);                                                                  \
        bench_bytes_check("bare ring", rings->sum, operations, BYTES);                                                          \
    }                                                                                                                           \
    static void trip_peer_##BYTES(void *state, uint64_t operations)                                                             \
    {                                                                                                                           \
        trips_peer(state, operations, TRIP_SHAPE(BYTES));                                                                       \
    }                                                                                                                           \
    const struct bench_variant floor_ring_trip_##BYTES = {                                                                      \
        .name = "bare ring of indexes", .open = trip_open_##BYTES, .close = rings_close, .lead = trip_lead_##BYTES,             \
        .peer = trip_peer_##BYTES,                                                                                              \
    };

TRIP(0)
TRIP(16)
TRIP(128)
TRIP(1024)
TRIP(4096)

/* ---------------------------------------------------------------- one way */

/* Cells on a line each take 1.4 times as long by 8, and 1.9 times one by one. Fewer slots where they are large: more would not
 * stay in the near caches. A pause after a look in vain lets the sender get ahead: far, one by one, that halves the time of a message;
 * by many it makes no difference. Fetching many ahead gains a tenth where that costs little beside the payload; with much payload
 * one ahead is neither gain nor loss near, and gains far. */
#define WAY_SHAPE(BYTES, BATCH)                                                                                                 \
    ((struct ring_shape){ .bytes = BYTES, .slots = BYTES >= 4096 ? 128 : BYTES >= 1024 ? 256 : 1024, .spread = 1,               \
                          .ahead = BYTES >= 1024 ? 1 : 16, .cells_ahead = 16,                                                   \
                          .release_every = BYTES >= 4096 ? 8 : BYTES >= 1024 ? 64 : 256, .pauses = BATCH == 1 ? 32 : 8 })

RING_INLINE void way_lead(struct rings *rings, uint64_t operations, unsigned batch, struct bench_histogram *samples,
                          struct ring_shape shape)
{
    struct ring *ring = rings->there;
    char *payload = rings->payload_there;
    struct bench_marks marks = bench_marks_begin(samples);
    const uint64_t start = rings->position, end = start + operations;
    uint64_t position = start, released = start; /* all of the last lap is */
    while (position < end) {
        while (position + batch - released > shape.slots) {
            released = ring_released(ring);
            if (position + batch - released > shape.slots)
                bench_pause();
        }
        for (unsigned i = 0; i < batch; i++) {
            bench_bytes_write(ring_slot(payload, position + i, shape), position - start + i, shape.bytes);
            ring_fetch_ahead(ring, payload, position + i, shape);
        }
        for (uint64_t at = position + batch; at-- > position;) /* last first, so that who sees the first sees all of them */
            ring_announce(ring, at, (uint32_t)(at & (shape.slots - 1)), shape);
        position += batch;
        bench_marks_sent(&marks, position - start);
    }
    while (ring_released(ring) != end)
        bench_pause();
    rings->position = end;
}

RING_INLINE void way_peer(struct rings *rings, uint64_t operations, unsigned batch, struct ring_shape shape)
{
    struct ring *ring = rings->there;
    const uint64_t end = rings->position + operations;
    uint64_t sum = 0, position = rings->position;
    while (position < end) {
        for (unsigned i = 0; i < batch; i++) { /* all there, with the first */
            uint32_t index = ring_await(ring, position + i, shape);
            sum += bench_bytes_read(ring_slot(rings->payload_there, index, shape), shape.bytes);
        }
        position += batch;
        if (position % shape.release_every == 0)
            ring_release(ring, position);
    }
    bench_bytes_check("bare ring", sum, operations, shape.bytes);
    ring_release(ring, position);
    rings->position = end;
}

#define WAY(BYTES, BATCH)                                                                                                       \
    static void *way_open_##BYTES##_##BATCH(void)                                                                               \
    {                                                                                                                           \
        return rings_open(ring_payload_bytes(WAY_SHAPE(BYTES, BATCH)));                                                         \
    }                                                                                                                           \
    static void way_lead_##BYTES##_##BATCH(void *state, uint64_t operations, struct bench_histogram *samples)                   \
    {                                                                                                                           \
        way_lead(state, operations, BATCH, samples, WAY_SHAPE(BYTES, BATCH));                                                   \
    }                                                                                                                           \
    static void way_peer_##BYTES##_##BATCH(void *state, uint64_t operations)                                                    \
    {                                                                                                                           \
        way_peer(state, operations, BATCH, WAY_SHAPE(BYTES, BATCH));                                                            \
    }                                                                                                                           \
    const struct bench_variant floor_ring_way_##BYTES##_##BATCH = {                                                             \
        .name = "bare ring of indexes, by " #BATCH, .open = way_open_##BYTES##_##BATCH, .close = rings_close,                   \
        .lead = way_lead_##BYTES##_##BATCH, .peer = way_peer_##BYTES##_##BATCH,                                                 \
    };
#define WAYS(BYTES) WAY(BYTES, 1) WAY(BYTES, 8) WAY(BYTES, 32)

WAYS(0)
WAYS(16)
WAYS(128)
WAYS(1024)
WAYS(4096)
