/* SPDX-License-Identifier: MIT
 *
 * Three processes: A sends by 8, B forwards what it gets without touching the payload, C reads and releases. There are two CPUs, so that
 * two of the three share one, and yield (fan.h). Either A and C do: then both hops are from CPU to CPU, as they would be with three,
 * but the payload stays where it is. Or A and B do: then one hop and the payload cross.
 *
 * "70 % of one way, allowing for 2 CPUs" is: at most 1.43 times as long as the same chain of bare rings, on the same two CPUs in the
 * same way. What is to be allowed for is the bare chain by a bare ring one way, which is a row too; and so is forwarding by our own
 * one way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "ends.h"
#include "floor/chain.h"
#include "floor/index_ring.h"
#include "groups.h"
#include "polling.h"

struct forwarding {
    const char *name;
    enum chain_role roles[CHAIN_ROLES]; /* by end */
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
};

static void *forwarding_open(const char *name, const enum chain_role roles[CHAIN_ROLES])
{
    struct forwarding *forwarding = calloc(1, sizeof *forwarding);
    if (!forwarding)
        bench_fail("no memory for %s", name);
    bench_daemon_socket(); /* so that all processes know it */
    forwarding->name = name;
    memcpy(forwarding->roles, roles, sizeof forwarding->roles);
    return forwarding;
}

static void forwarding_join(void *state, unsigned end)
{
    struct forwarding *forwarding = state;
    const enum chain_role role = forwarding->roles[end];
    char in[NUMAPOOL_NAME_BYTES], out[NUMAPOOL_NAME_BYTES];
    struct numapool_pool *pool = bench_ends_pool(BENCH_POOL);
    snprintf(in, sizeof in, "%s-%d", forwarding->name, (int)role);
    snprintf(out, sizeof out, "%s-%d", forwarding->name, (int)role + 1);
    if ((role != CHAIN_FIRST && numapool_receiver_open(pool, in, NULL, &forwarding->receiver) < 0) ||
        (role != CHAIN_LAST && numapool_sender_open(pool, out, NULL, &forwarding->sender) < 0))
        bench_fail("%s: %s", forwarding->name, numapool_errormsg());
}

static void forwarding_leave(void *state, unsigned end)
{
    struct forwarding *forwarding = state;
    const enum chain_role role = forwarding->roles[end];
    if ((role != CHAIN_FIRST && numapool_receiver_close(forwarding->receiver) < 0) ||
        (role != CHAIN_LAST && numapool_sender_close(forwarding->sender, BENCH_TIMEOUT_NS) < 0))
        bench_fail("%s: %s", forwarding->name, numapool_errormsg());
    bench_ends_pool_done();
}

static void first(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct forwarding *forwarding = state;
    struct bench_marks marks = bench_marks_begin(samples);
    unsigned looks = 0;
    for (uint64_t number = 0; number < operations;) {
        polling_send(forwarding->sender, forwarding->name, number, &looks);
        number += FAN_BATCH;
        bench_marks_sent(&marks, number);
    }
}

static void middle(struct forwarding *forwarding, uint64_t operations)
{
    struct numapool_msg messages[FAN_BATCH];
    unsigned looks = 0;
    for (uint64_t number = 0; number < operations;) {
        unsigned count = polling_receive(forwarding->receiver, forwarding->name, messages, FAN_BATCH);
        if (count == 0)
            fan_wait(&looks);
        for (unsigned done = 0; done < count;) {
            int result = numapool_forward_bulk(forwarding->receiver, messages + done, count - done, forwarding->sender, 0);
            if (result > 0)
                done += (unsigned)result;
            else if (result == -EAGAIN)
                fan_wait(&looks);
            else
                bench_fail("%s: %s", forwarding->name, numapool_errormsg());
        }
        number += count;
    }
}

static void last(struct forwarding *forwarding, uint64_t operations)
{
    struct numapool_msg messages[FAN_BATCH];
    uint64_t sum = 0;
    unsigned looks = 0;
    for (uint64_t number = 0; number < operations;) {
        unsigned count = polling_receive(forwarding->receiver, forwarding->name, messages, FAN_BATCH);
        if (count == 0)
            fan_wait(&looks);
        else
            sum += polling_read_and_release(forwarding->receiver, forwarding->name, messages, count);
        number += count;
    }
    bench_payload_check(forwarding->name, sum, operations);
}

static void end(void *state, unsigned number, uint64_t operations)
{
    struct forwarding *forwarding = state;
    (forwarding->roles[number] == CHAIN_MIDDLE ? middle : last)(forwarding, operations);
}

static void peer(void *state, uint64_t operations)
{
    end(state, BENCH_PEER, operations);
}

static void *open_across(void)
{
    return forwarding_open("forwarding-across", chain_across);
}

static void *open_beside(void)
{
    return forwarding_open("forwarding-beside", chain_beside);
}

static const struct bench_variant across = {
    .name = "forwarding, B on the other CPU", .open = open_across, .close = free, .join = forwarding_join,
    .leave = forwarding_leave, .lead = first, .peer = peer, .end = end,
};
static const struct bench_variant beside = {
    .name = "forwarding, C on the other CPU", .open = open_beside, .close = free, .join = forwarding_join,
    .leave = forwarding_leave, .lead = first, .peer = peer, .end = end,
};

/* ---------------------------------------------------------------- one way, with two ends */

static void *one_way_open(void)
{
    return bench_ends_open("forwarding-one-way", BENCH_TIMEOUT_NS);
}

static void one_way_join(void *state, unsigned end)
{
    if (end <= BENCH_PEER)
        bench_ends_join(state, end);
}

static void one_way_leave(void *state, unsigned end)
{
    if (end <= BENCH_PEER)
        bench_ends_leave(state, end);
}

static void one_way_lead(void *state, uint64_t operations, struct bench_histogram *samples)
{
    struct bench_marks marks = bench_marks_begin(samples);
    for (uint64_t number = 0; number < operations;) {
        bench_ends_send(state, number, FAN_BATCH);
        number += FAN_BATCH;
        bench_marks_sent(&marks, number);
    }
}

static void one_way_peer(void *state, uint64_t operations)
{
    struct bench_ends *ends = state;
    ends->sum = 0;
    for (uint64_t number = 0; number < operations;)
        number += bench_ends_receive(ends, FAN_BATCH);
    bench_payload_check(ends->name, ends->sum, operations);
}

static const struct bench_variant one_way = {
    .name = "one way by 8", .open = one_way_open, .close = bench_ends_close, .join = one_way_join, .leave = one_way_leave,
    .lead = one_way_lead, .peer = one_way_peer,
};

#define SAMPLE "mean of 512 messages at their sender"
#define PARAMS(ALONE) "\"bytes\": 128, \"batch\": 8, \"ends\": \"processes\", \"alone_on_its_cpu\": \"" ALONE "\""

static const struct bench_row rows[] = {
    { "forwarding_8", 0, 2, SAMPLE, PARAMS("forwarder"), 1.43, 0, 0 },
    { "forwarding_8_beside", 1, 3, SAMPLE, PARAMS("receiver"), 1.43, 0, 0 },
    { "forwarding_8_one_way", 0, 4, SAMPLE, PARAMS("forwarder"), 0, 0, 0 },
    { "forwarding_8_beside_one_way", 1, 4, SAMPLE, PARAMS("receiver"), 0, 0, 0 },
    { "forwarding_8_bare", 2, 5, SAMPLE, PARAMS("forwarder"), 0, 0, 0 },
    { "forwarding_8_beside_bare", 3, 5, SAMPLE, PARAMS("receiver"), 0, 0, 0 },
};
const struct bench_group bench_forwarding = {
    .about = "Forwarding through 3 processes on 2 CPUs: beside a chain of bare rings, and beside one way between two.",
    .variants = { &across, &beside, &floor_chain_across, &floor_chain_beside, &one_way, &floor_ring_way_128_8 },
    .variant_count = 6, .rows = rows, .row_count = 6, .ends = 3,
};
