/* SPDX-License-Identifier: MIT */
#include "fan_rings.h"

#include <stdlib.h>

#include "../fan.h"
#include "ring.h"

/* As many slots as a lane has messages by default: what a sender fills before its CPU goes to the next one. */
#define SHAPE                                                                                                                   \
    ((struct ring_shape){ .bytes = BENCH_PAYLOAD_BYTES, .slots = RING_SLOTS_MAX, .spread = 1, .ahead = 16, .cells_ahead = 16,   \
                          .release_every = 64 })

/* Private to each process but for what it points to; positions go on from lap to lap. */
struct fan_rings {
    const char *name;
    unsigned others;
    struct fan_shared *shared;
    struct ring *rings[FAN_MAX];
    char *payload[FAN_MAX];
    uint64_t position[FAN_MAX];
    uint64_t released[FAN_MAX]; /* as last seen by the sender */
    uint64_t lap;
};

static void *rings_open(const char *name, unsigned others)
{
    struct fan_rings *fan = calloc(1, sizeof *fan);
    if (!fan)
        bench_fail("no memory for %s", name);
    fan->name = name;
    fan->others = others;
    fan->shared = bench_shared(sizeof *fan->shared);
    for (unsigned i = 0; i < others; i++) {
        fan->rings[i] = bench_shared(sizeof *fan->rings[i]);
        fan->payload[i] = bench_shared(ring_payload_bytes(SHAPE));
    }
    return fan;
}

static void rings_close(void *state)
{
    struct fan_rings *fan = state;
    for (unsigned i = 0; i < fan->others; i++) {
        bench_unshare(fan->rings[i], sizeof *fan->rings[i]);
        bench_unshare(fan->payload[i], ring_payload_bytes(SHAPE));
    }
    bench_unshare(fan->shared, sizeof *fan->shared);
    free(fan);
}

static inline bool has_room(struct fan_rings *fan, unsigned which)
{
    if (fan->position[which] + FAN_BATCH - fan->released[which] > SHAPE.slots)
        fan->released[which] = ring_released(fan->rings[which]);
    return fan->position[which] + FAN_BATCH - fan->released[which] <= SHAPE.slots;
}

static inline void announce_batch(struct fan_rings *fan, unsigned which)
{
    const uint64_t first = fan->position[which];
    for (uint64_t at = first + FAN_BATCH; at-- > first;) /* last first, so that who sees the first sees all of them */
        ring_announce(fan->rings[which], at, (uint32_t)(at & (SHAPE.slots - 1)), SHAPE);
    fan->position[which] = first + FAN_BATCH;
}

static inline void write_batch(struct fan_rings *fan, unsigned which, uint64_t number)
{
    for (unsigned i = 0; i < FAN_BATCH; i++) {
        bench_payload_write(ring_slot(fan->payload[which], fan->position[which] + i, SHAPE), number + i);
        ring_fetch_ahead(fan->rings[which], fan->payload[which], fan->position[which] + i, SHAPE);
    }
}

/* To the rings in turn, but for those that are full. */
static void send_all(struct fan_rings *fan, unsigned first_ring, unsigned rings, uint64_t first, uint64_t count,
                     struct bench_histogram *samples)
{
    struct bench_marks marks = bench_marks_begin(samples);
    unsigned looks = 0, turn = 0;
    for (uint64_t number = 0; number < count;) {
        unsigned tried = 0;
        while (tried < rings && !has_room(fan, first_ring + turn)) {
            turn = turn + 1 < rings ? turn + 1 : 0;
            tried++;
        }
        if (tried == rings) {
            fan_wait(&looks);
            continue;
        }
        write_batch(fan, first_ring + turn, first + number);
        announce_batch(fan, first_ring + turn);
        turn = turn + 1 < rings ? turn + 1 : 0;
        number += FAN_BATCH;
        if (samples)
            bench_marks_sent(&marks, number);
    }
}

/* Those that are there, of a batch; their number. */
static inline unsigned receive_some(struct fan_rings *fan, unsigned which, const char *payload, uint64_t *sum)
{
    unsigned got = 0;
    uint32_t index;
    for (; got < FAN_BATCH && ring_arrived(fan->rings[which], fan->position[which] + got, &index, SHAPE); got++)
        *sum += bench_payload_read(payload + index * ring_stride(SHAPE));
    fan->position[which] += got;
    if (got > 0 && fan->position[which] % SHAPE.release_every == 0)
        ring_release(fan->rings[which], fan->position[which]);
    return got;
}

/* ---------------------------------------------------------------- several senders */

static void in_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct fan_rings *fan = state;
    send_all(fan, 0, 1, 0, operations / fan->others, samples);
}

static void in_end(void *state, unsigned end, uint64_t operations)
{
    struct fan_rings *fan = state;
    if (end % 2 == 0 && fan_place(end) < fan->others)
        send_all(fan, fan_place(end), 1, fan_place(end) * (operations / fan->others), operations / fan->others, NULL);
}

static void in_peer(void *state, uint64_t operations)
{
    struct fan_rings *fan = state;
    uint64_t sum = 0;
    unsigned looks = 0;
    for (uint64_t number = 0; number < operations;) {
        unsigned got = 0;
        for (unsigned i = 0; i < fan->others; i++)
            got += receive_some(fan, i, fan->payload[i], &sum);
        number += got;
        if (got == 0)
            fan_wait(&looks);
    }
    for (unsigned i = 0; i < fan->others; i++)
        ring_release(fan->rings[i], fan->position[i]);
    bench_payload_check(fan->name, sum, operations);
}

/* ---------------------------------------------------------------- several receivers */

static void out_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct fan_rings *fan = state;
    fan->lap++;
    send_all(fan, 0, fan->others, 0, operations, samples);
    fan_sent(fan->shared, fan->name, fan->lap, operations, fan->others, BENCH_PAYLOAD_BYTES);
}

static void receive_share(struct fan_rings *fan, unsigned place)
{
    uint64_t sum = 0;
    unsigned looks = 0;
    fan->lap++;
    for (bool ended = false;;) {
        if (receive_some(fan, place, fan->payload[place], &sum) > 0)
            continue;
        if (ended)
            break;
        ended = fan_ended(fan->shared, fan->lap);
        if (!ended)
            fan_wait(&looks);
    }
    ring_release(fan->rings[place], fan->position[place]);
    fan_received(fan->shared, place, fan->lap, sum);
}

static void out_peer(void *state, uint64_t operations)
{
    (void)operations;
    receive_share(state, 0);
}

static void out_end(void *state, unsigned end, uint64_t operations)
{
    struct fan_rings *fan = state;
    (void)operations;
    if (end % 2 == 1 && fan_place(end) < fan->others)
        receive_share(fan, fan_place(end));
    else
        fan->lap++;
}

/* ---------------------------------------------------------------- several receivers of all */

/* Payload of the first ring; all rings are at the same position. */
static void broadcast_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct fan_rings *fan = state;
    struct bench_marks marks = bench_marks_begin(samples);
    unsigned looks = 0;
    for (uint64_t number = 0; number < operations;) {
        bool room = true;
        for (unsigned i = 0; i < fan->others; i++)
            room = room && has_room(fan, i);
        if (!room) {
            fan_wait(&looks);
            continue;
        }
        write_batch(fan, 0, number);
        for (unsigned i = 0; i < fan->others; i++)
            announce_batch(fan, i);
        number += FAN_BATCH;
        bench_marks_sent(&marks, number);
    }
}

static void receive_all(struct fan_rings *fan, unsigned place, uint64_t operations)
{
    uint64_t sum = 0;
    unsigned looks = 0;
    for (uint64_t number = 0; number < operations;) {
        unsigned got = receive_some(fan, place, fan->payload[0], &sum);
        number += got;
        if (got == 0)
            fan_wait(&looks);
    }
    ring_release(fan->rings[place], fan->position[place]);
    bench_payload_check(fan->name, sum, operations);
}

static void broadcast_peer(void *state, uint64_t operations)
{
    receive_all(state, 0, operations);
}

static void broadcast_end(void *state, unsigned end, uint64_t operations)
{
    struct fan_rings *fan = state;
    if (end % 2 == 1 && fan_place(end) < fan->others)
        receive_all(fan, fan_place(end), operations);
}

#define FAN(NAME, KIND, OTHERS, ABOUT)                                                                                          \
    static void *open_##NAME(void)                                                                                              \
    {                                                                                                                           \
        return rings_open(ABOUT, OTHERS);                                                                                       \
    }                                                                                                                           \
    const struct bench_variant NAME = {                                                                                         \
        .name = ABOUT, .open = open_##NAME, .close = rings_close, .lead = KIND##_lead, .peer = KIND##_peer, .end = KIND##_end,  \
    };

FAN(floor_fan_in_2, in, 2, "2 bare rings of indexes")
FAN(floor_fan_in_4, in, 4, "4 bare rings of indexes")
FAN(floor_fan_out_2, out, 2, "2 bare rings of indexes")
FAN(floor_fan_out_4, out, 4, "4 bare rings of indexes")
FAN(floor_broadcast_2, broadcast, 2, "2 bare rings of indexes, one payload")
