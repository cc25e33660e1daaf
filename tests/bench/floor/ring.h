/* SPDX-License-Identifier: MIT
 *
 * A bare ring of 32-bit indexes between two processes, for floors. A cell carries its own sequence beside the index, so that a message
 * costs its receiver one line and not two. No owner, no check, no sleep, nothing to be found again after a death.
 */
#ifndef NP_BENCH_FLOOR_RING_H
#define NP_BENCH_FLOOR_RING_H

#include <stdatomic.h>

#include "../payload.h"

#define RING_SLOTS_MAX 1024u
#define RING_LINE 64u
#define RING_CELLS_A_LINE (RING_LINE / sizeof(uint64_t))

/* What a ring is tuned by; constant where the functions below are inlined. */
struct ring_shape {
    unsigned bytes;         /* of payload; 0: it is not touched */
    unsigned slots;         /* and cells, a power of two: slots go round with them, and are back when their cell is */
    unsigned spread;        /* cells are so many words apart */
    unsigned ahead;         /* the sender fetches payload of so many messages ahead for writing; 0: none */
    unsigned cells_ahead;   /* the same of cells */
    unsigned release_every; /* the receiver says so often what it is done with: oftener costs a line, seldomer stops the sender */
    unsigned pauses;        /* after a look in vain, so that the sender can fill the rest of a line that is looked at */
};

struct ring {
    _Alignas(128) _Atomic uint64_t released; /* the receiver's: messages that it is done with */
    _Alignas(128) _Atomic uint64_t cells[RING_SLOTS_MAX * RING_CELLS_A_LINE]; /* the sender's: index:32 | position + 1:32 */
};

#define RING_INLINE static inline __attribute__((always_inline))

/* Slots are whole lines, as they are in a pool. */
RING_INLINE size_t ring_stride(struct ring_shape shape)
{
    return shape.bytes <= RING_LINE ? RING_LINE : shape.bytes;
}

RING_INLINE size_t ring_payload_bytes(struct ring_shape shape)
{
    return shape.slots * ring_stride(shape);
}

RING_INLINE char *ring_slot(char *payload, uint64_t position, struct ring_shape shape)
{
    return payload + (position & (shape.slots - 1)) * ring_stride(shape);
}

RING_INLINE _Atomic uint64_t *ring_cell(struct ring *ring, uint64_t position, struct ring_shape shape)
{
    return &ring->cells[(position & (shape.slots - 1)) * shape.spread];
}

RING_INLINE void ring_announce(struct ring *ring, uint64_t position, uint32_t index, struct ring_shape shape)
{
    /* release: pairs with the acquire of ring_arrived() */
    atomic_store_explicit(ring_cell(ring, position, shape), (uint64_t)index << 32 | (uint32_t)(position + 1), memory_order_release);
}

RING_INLINE bool ring_arrived(struct ring *ring, uint64_t position, uint32_t *index, struct ring_shape shape)
{
    uint64_t cell = atomic_load_explicit(ring_cell(ring, position, shape), memory_order_acquire);
    *index = (uint32_t)(cell >> 32);
    return (uint32_t)cell == (uint32_t)(position + 1);
}

RING_INLINE uint32_t ring_await(struct ring *ring, uint64_t position, struct ring_shape shape)
{
    uint32_t index;
    while (!ring_arrived(ring, position, &index, shape))
        for (unsigned i = 0; i < shape.pauses; i++)
            bench_pause();
    return index;
}

RING_INLINE void ring_release(struct ring *ring, uint64_t position)
{
    atomic_store_explicit(&ring->released, position, memory_order_release); /* release: the payload has been read */
}

RING_INLINE uint64_t ring_released(struct ring *ring)
{
    /* acquire: pairs with ring_release(); the reads of the payload come before */
    return atomic_load_explicit(&ring->released, memory_order_acquire);
}

RING_INLINE void ring_fetch_ahead(struct ring *ring, char *payload, uint64_t position, struct ring_shape shape)
{
    if (shape.cells_ahead > 0)
        __builtin_prefetch(ring_cell(ring, position + shape.cells_ahead, shape), 1);
    if (shape.ahead > 0)
        for (unsigned at = 0; at < shape.bytes; at += RING_LINE)
            __builtin_prefetch(ring_slot(payload, position + shape.ahead, shape) + at, 1);
}

#endif
