/* SPDX-License-Identifier: MIT */
#include "chain.h"

#include <stdlib.h>

#include "../fan.h"
#include "ring.h"

/* As many slots as a lane has messages by default: what is filled before a CPU goes from the first to the last. */
#define SHAPE                                                                                                                   \
    ((struct ring_shape){ .bytes = BENCH_PAYLOAD_BYTES, .slots = RING_SLOTS_MAX, .spread = 1, .ahead = 16, .cells_ahead = 16,   \
                          .release_every = 64 })
/* Where nobody touches payload. */
#define MIDDLE_SHAPE ((struct ring_shape){ .slots = RING_SLOTS_MAX, .spread = 1, .cells_ahead = 16 })

/* Private to each process but for what it points to; positions go on from lap to lap. */
struct chain {
    struct ring *in, *out; /* `released` of the second is for both: it is behind */
    char *payload;
    const enum chain_role *roles;
    uint64_t position;
};

static void *chain_open(const enum chain_role *roles)
{
    struct chain *chain = calloc(1, sizeof *chain);
    if (!chain)
        bench_fail("no memory for a chain of rings");
    chain->roles = roles;
    chain->in = bench_shared(sizeof *chain->in);
    chain->out = bench_shared(sizeof *chain->out);
    chain->payload = bench_shared(ring_payload_bytes(SHAPE));
    return chain;
}

static void chain_close(void *state)
{
    struct chain *chain = state;
    bench_unshare(chain->in, sizeof *chain->in);
    bench_unshare(chain->out, sizeof *chain->out);
    bench_unshare(chain->payload, ring_payload_bytes(SHAPE));
    free(chain);
}

static void first(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct chain *chain = state;
    struct bench_marks marks = bench_marks_begin(samples);
    const uint64_t start = chain->position, end = start + operations;
    uint64_t position = start, released = ring_released(chain->out);
    unsigned looks = 0;
    while (position < end) {
        if (position + FAN_BATCH - released > SHAPE.slots) {
            released = ring_released(chain->out);
            if (position + FAN_BATCH - released > SHAPE.slots) {
                fan_wait(&looks);
                continue;
            }
        }
        for (unsigned i = 0; i < FAN_BATCH; i++) {
            bench_payload_write(ring_slot(chain->payload, position + i, SHAPE), position - start + i);
            ring_fetch_ahead(chain->in, chain->payload, position + i, SHAPE);
        }
        for (uint64_t at = position + FAN_BATCH; at-- > position;) /* last first, so that who sees the first sees all of them */
            ring_announce(chain->in, at, (uint32_t)(at & (SHAPE.slots - 1)), SHAPE);
        position += FAN_BATCH;
        bench_marks_sent(&marks, position - start);
    }
    chain->position = end;
}

static void middle(struct chain *chain, uint64_t operations)
{
    const uint64_t end = chain->position + operations;
    uint64_t position = chain->position;
    unsigned looks = 0;
    while (position < end) {
        uint32_t indexes[FAN_BATCH];
        if (!ring_arrived(chain->in, position, &indexes[0], MIDDLE_SHAPE)) {
            fan_wait(&looks);
            continue;
        }
        for (unsigned i = 1; i < FAN_BATCH; i++)
            while (!ring_arrived(chain->in, position + i, &indexes[i], MIDDLE_SHAPE)) /* there already, with the first */
                ;
        for (unsigned i = FAN_BATCH; i-- > 0;)
            ring_announce(chain->out, position + i, indexes[i], MIDDLE_SHAPE);
        ring_fetch_ahead(chain->out, NULL, position, MIDDLE_SHAPE);
        position += FAN_BATCH;
    }
    chain->position = end;
}

static void last(struct chain *chain, uint64_t operations)
{
    const uint64_t end = chain->position + operations;
    uint64_t sum = 0, position = chain->position;
    unsigned looks = 0;
    while (position < end) {
        uint32_t index;
        if (!ring_arrived(chain->out, position, &index, SHAPE)) {
            fan_wait(&looks);
            continue;
        }
        sum += bench_payload_read(chain->payload + index * ring_stride(SHAPE));
        position++;
        if (position % SHAPE.release_every == 0)
            ring_release(chain->out, position);
    }
    ring_release(chain->out, position);
    bench_payload_check("chain of bare rings", sum, operations);
    chain->position = end;
}

static void end(void *state, unsigned number, uint64_t operations)
{
    struct chain *chain = state;
    (chain->roles[number] == CHAIN_MIDDLE ? middle : last)(chain, operations);
}

static void peer(void *state, uint64_t operations)
{
    end(state, BENCH_PEER, operations);
}

static void *open_across(void)
{
    return chain_open(chain_across);
}

static void *open_beside(void)
{
    return chain_open(chain_beside);
}

const struct bench_variant floor_chain_across = {
    .name = "chain of bare rings", .open = open_across, .close = chain_close, .lead = first, .peer = peer, .end = end,
};
const struct bench_variant floor_chain_beside = {
    .name = "chain of bare rings", .open = open_beside, .close = chain_close, .lead = first, .peer = peer, .end = end,
};
