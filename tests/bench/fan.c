/* SPDX-License-Identifier: MIT
 *
 * Several senders to one receiver, one sender to several receivers, who share them or (broadcast) get all of them. 128 bytes, written
 * whole and read whole, by 8.
 */
#include "fan.h"

#include <stdlib.h>

#include "daemon.h"
#include "ends.h"
#include "floor/fan_rings.h"
#include "groups.h"
#include "polling.h"

#define RECEIVE_MAX 32u

/* Private to each process but for `shared`. */
struct fan {
    const char *name;
    uint32_t channel_flags;
    bool in; /* several senders */
    unsigned others; /* ends that share a CPU */
    struct fan_shared *shared;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    uint64_t lap;
};

static void *fan_open(const char *name, bool in, unsigned others, uint32_t channel_flags)
{
    struct fan *fan = calloc(1, sizeof *fan);
    if (!fan)
        bench_fail("no memory for %s", name);
    bench_daemon_socket(); /* so that all processes know it */
    *fan = (struct fan){ .name = name, .in = in, .others = others, .channel_flags = channel_flags,
                         .shared = bench_shared(sizeof *fan->shared) };
    return fan;
}

static void fan_close(void *state)
{
    struct fan *fan = state;
    bench_unshare(fan->shared, sizeof *fan->shared);
    free(fan);
}

static bool sends(const struct fan *fan, unsigned end)
{
    return end % 2 == 0 && fan_place(end) < (fan->in ? fan->others : 1);
}

static bool receives(const struct fan *fan, unsigned end)
{
    return end % 2 == 1 && fan_place(end) < (fan->in ? 1 : fan->others);
}

static void fan_join(void *state, unsigned end)
{
    struct fan *fan = state;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.flags = fan->channel_flags;
    if (!sends(fan, end) && !receives(fan, end))
        return;
    struct numapool_pool *pool = bench_ends_pool(BENCH_POOL);
    int result = sends(fan, end) ? numapool_sender_open(pool, fan->name, &options, &fan->sender)
                                 : numapool_receiver_open(pool, fan->name, &options, &fan->receiver);
    if (result < 0)
        bench_fail("%s: %s", fan->name, numapool_errormsg());
}

static void fan_leave(void *state, unsigned end)
{
    struct fan *fan = state;
    if (!sends(fan, end) && !receives(fan, end))
        return;
    if (sends(fan, end) ? numapool_sender_close(fan->sender, BENCH_TIMEOUT_NS) < 0 : numapool_receiver_close(fan->receiver) < 0)
        bench_fail("%s: %s", fan->name, numapool_errormsg());
    bench_ends_pool_done();
}

/* Messages first .. first + count - 1. */
static void send_all(struct fan *fan, uint64_t first, uint64_t count, struct bench_histogram *samples)
{
    struct bench_marks marks = bench_marks_begin(samples);
    unsigned looks = 0;
    for (uint64_t number = 0; number < count;) {
        polling_send(fan->sender, fan->name, first + number, &looks);
        number += FAN_BATCH;
        if (samples)
            bench_marks_sent(&marks, number);
    }
}

/* Those that are there; their number. */
static unsigned receive_some(struct fan *fan, uint64_t *sum)
{
    struct numapool_msg messages[RECEIVE_MAX];
    unsigned count = polling_receive(fan->receiver, fan->name, messages, RECEIVE_MAX);
    if (count > 0)
        *sum += polling_read_and_release(fan->receiver, fan->name, messages, count);
    return count;
}

static void receive_all(struct fan *fan, uint64_t count)
{
    uint64_t sum = 0;
    unsigned looks = 0;
    for (uint64_t number = 0; number < count;) {
        unsigned some = receive_some(fan, &sum);
        number += some;
        if (some == 0)
            fan_wait(&looks);
    }
    bench_payload_check(fan->name, sum, count);
}

/* Of what several share. */
static void receive_share(struct fan *fan, unsigned place)
{
    uint64_t sum = 0;
    unsigned looks = 0;
    for (bool ended = false;;) {
        if (receive_some(fan, &sum) > 0)
            continue;
        if (ended)
            break;
        ended = fan_ended(fan->shared, fan->lap);
        if (!ended)
            fan_wait(&looks);
    }
    fan_received(fan->shared, place, fan->lap, sum);
}

static void fan_in_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct fan *fan = state;
    send_all(fan, 0, operations / fan->others, samples);
}

static void fan_in_peer(void *state, uint64_t operations)
{
    receive_all(state, operations);
}

static void fan_in_end(void *state, unsigned end, uint64_t operations)
{
    struct fan *fan = state;
    if (sends(fan, end))
        send_all(fan, fan_place(end) * (operations / fan->others), operations / fan->others, NULL);
}

static void fan_out_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct fan *fan = state;
    fan->lap++;
    send_all(fan, 0, operations, samples);
    fan_sent(fan->shared, fan->name, fan->lap, operations, fan->others, BENCH_PAYLOAD_BYTES);
}

static void fan_out_peer(void *state, uint64_t operations)
{
    struct fan *fan = state;
    (void)operations;
    fan->lap++;
    receive_share(fan, 0);
}

static void fan_out_end(void *state, unsigned end, uint64_t operations)
{
    struct fan *fan = state;
    (void)operations;
    fan->lap++;
    if (receives(fan, end))
        receive_share(fan, fan_place(end));
}

static void broadcast_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    send_all(state, 0, operations, samples);
}

static void broadcast_peer(void *state, uint64_t operations)
{
    receive_all(state, operations);
}

static void broadcast_end(void *state, unsigned end, uint64_t operations)
{
    if (receives(state, end))
        receive_all(state, operations);
}

#define FAN(NAME, KIND, IN, OTHERS, FLAGS, ABOUT)                                                                               \
    static void *open_##NAME(void)                                                                                              \
    {                                                                                                                           \
        return fan_open(#NAME, IN, OTHERS, FLAGS);                                                                              \
    }                                                                                                                           \
    static const struct bench_variant NAME = {                                                                                  \
        .name = ABOUT, .open = open_##NAME, .close = fan_close, .join = fan_join, .leave = fan_leave, .lead = KIND##_lead,      \
        .peer = KIND##_peer, .end = KIND##_end,                                                                                 \
    };

FAN(fan_in_2, fan_in, true, 2, 0, "2 senders, 1 receiver")
FAN(fan_in_4, fan_in, true, 4, 0, "4 senders, 1 receiver")
FAN(fan_out_2, fan_out, false, 2, 0, "1 sender, 2 receivers")
FAN(fan_out_4, fan_out, false, 4, 0, "1 sender, 4 receivers")
FAN(broadcast_2, broadcast, false, 2, NUMAPOOL_BROADCAST, "1 sender, 2 receivers of all")

#define SAMPLE "mean of 512 messages at their first sender"
#define PARAMS(SENDERS, RECEIVERS)                                                                                              \
    "\"bytes\": 128, \"batch\": 8, \"ends\": \"processes\", \"senders\": " #SENDERS ", \"receivers\": " #RECEIVERS

static const struct bench_row in_2_rows[] = { { "fan_in_2", 0, 1, SAMPLE, PARAMS(2, 1), 0, 0, 0 } };
const struct bench_group bench_fan_in_2 = {
    .about = "2 senders that share a CPU, and 1 receiver.",
    .variants = { &fan_in_2, &floor_fan_in_2 }, .variant_count = 2, .rows = in_2_rows, .row_count = 1, .ends = 3,
};

static const struct bench_row in_4_rows[] = { { "fan_in_4", 0, 1, SAMPLE, PARAMS(4, 1), 0, 0, 0 } };
const struct bench_group bench_fan_in_4 = {
    .about = "4 senders that share a CPU, and 1 receiver.",
    .variants = { &fan_in_4, &floor_fan_in_4 }, .variant_count = 2, .rows = in_4_rows, .row_count = 1, .ends = 7,
};

static const struct bench_row out_2_rows[] = {
    { "fan_out_2", 0, 1, SAMPLE, PARAMS(1, 2), 0, 0, 0 },
    { "broadcast_2", 2, 3, SAMPLE, PARAMS(1, 2), 0, 0, 0 },
};
const struct bench_group bench_fan_out_2 = {
    .about = "1 sender, and 2 receivers that share a CPU: each gets some, or (broadcast) all.",
    .variants = { &fan_out_2, &floor_fan_out_2, &broadcast_2, &floor_broadcast_2 }, .variant_count = 4, .rows = out_2_rows,
    .row_count = 2, .ends = 4,
};

static const struct bench_row out_4_rows[] = { { "fan_out_4", 0, 1, SAMPLE, PARAMS(1, 4), 0, 0, 0 } };
const struct bench_group bench_fan_out_4 = {
    .about = "1 sender, and 4 receivers that share a CPU.",
    .variants = { &fan_out_4, &floor_fan_out_4 }, .variant_count = 2, .rows = out_4_rows, .row_count = 1, .ends = 8,
};
