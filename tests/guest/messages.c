/* SPDX-License-Identifier: MIT
 *
 * Messages from each node to each: payload is on the receiver's node, whether it was loaned for a message or simply
 * loaned; so is the lane; and what the receiver has released goes home. A sender with a magazine of its user's loans
 * from that one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../crash/harness.h"
#include "channel/lane.h"
#include "channel/receiver.h"
#include "look.h"

#define POOL "letters"

enum { SLOTS_A_NODE = 4096, SLOT_BYTES = 512, MESSAGES = 400, LANE_SLOTS = 64 };
enum way { WAY_LOAN, WAY_LOAN_FOR, WAY_MAGAZINE, WAYS };
static const char *const way_names[WAYS] = { "loaned", "loaned for the message",
                                             "loaned from a magazine of the sender's node" };

static struct machine machine;
static struct machine_pages lane_pages;
static uint64_t slots_looked_at;

/* Of a sender's process, in memory that it shares with the receiver's. */
struct sending {
    const char *socket;
    int node;
    enum way way;
    char channel[32];
    uint64_t foreign, unknown; /* slots in its caches that are on another node than their magazine */
    char sentence[256];
};

/* ---------------------------------------------------------------- the sender */

static int failed(struct sending *sending, const char *call)
{
    snprintf(sending->sentence, sizeof sending->sentence, "%s: %.200s", call, numapool_errormsg());
    return 1;
}

static int send_all(struct sending *sending, struct numapool_sender *sender)
{
    for (uint64_t number = 1; number <= MESSAGES; number++) {
        struct numapool_msg message = { .length = 8, .id = number };
        message.data = sending->way == WAY_LOAN_FOR ? numapool_loan_for(sender, &message) : numapool_loan(sender);
        if (!message.data)
            return failed(sending, "loan");
        memcpy(message.data, &number, sizeof number);
        if (numapool_send(sender, &message, INT64_C(10000000000)) < 0)
            return failed(sending, "send");
    }
    return numapool_sender_close(sender, INT64_C(10000000000)) == 0 ? 0 : failed(sending, "sender_close");
}

static void look_at_own(struct sending *sending, const struct numapool_pool *pool)
{
    struct look_claims *claims = calloc(1, look_claims_bytes(np_pool_arena_count(pool), SLOTS_A_NODE));
    struct look_caches caches = { 0 };
    look_claims_begin(claims, np_pool_arena_count(pool), SLOTS_A_NODE);
    look_at_caches(pool, claims, &caches);
    sending->foreign = caches.foreign;
    sending->unknown = caches.unknown;
    free(claims);
}

static int run_sender(void *context)
{
    struct sending *sending = context;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    machine_run_on_node(&machine, sending->node);
    options.lane_slots = LANE_SLOTS;
    if (numapool_connect(&client, sending->socket) < 0 || numapool_open(client, POOL, 0, &pool) < 0)
        return failed(sending, "open");
    if (sending->way == WAY_MAGAZINE && numapool_magazine_open(pool, sending->node, 0, &options.magazine) < 0)
        return failed(sending, "magazine_open");
    if (numapool_sender_open(pool, sending->channel, &options, &sender) < 0)
        return failed(sending, "sender_open");
    int result = send_all(sending, sender);
    look_at_own(sending, pool);
    if (result == 0 && options.magazine && numapool_magazine_close(options.magazine) < 0)
        result = failed(sending, "magazine_close");
    if (result == 0 && (numapool_close(pool) < 0 || numapool_disconnect(client) < 0))
        result = failed(sending, "close");
    return result;
}

/* ---------------------------------------------------------------- the receiver */

struct received {
    unsigned count, in_order;
    unsigned on[MACHINE_NODES_MAX];
    struct machine_pages lanes;
};

static void look_at_lanes(const struct numapool_receiver *receiver, int node, struct received *received)
{
    for (unsigned i = 0; i < receiver->lane_count; i++) {
        const struct np_receiver_lane *lane = &receiver->lanes[i];
        if (lane->shared)
            machine_pages_look(lane->shared, np_lane_bytes(lane->mask + 1, lane->kind), node, &received->lanes);
    }
}

static void receive_all(struct numapool_pool *pool, struct numapool_receiver *receiver, int node,
                        struct received *received)
{
    struct numapool_msg messages[16];
    while (received->count < MESSAGES) {
        int got = numapool_receive(receiver, messages, 16, INT64_C(10000000000));
        if (got < 0)
            break;
        if (received->count == 0)
            look_at_lanes(receiver, node, received);
        for (int i = 0; i < got; i++) {
            uint64_t number;
            memcpy(&number, messages[i].data, sizeof number);
            received->in_order += number == ++received->count && messages[i].id == number;
            received->on[numapool_slot_node(pool, messages[i].data)]++;
        }
        numapool_release(receiver, messages, (unsigned)got);
    }
    slots_looked_at += received->count;
}

static void from_to(struct numapool_pool *pool, struct sending *sending, int from, int to, enum way way)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_receiver *receiver;
    struct received received = { 0 };
    const int expected = way == WAY_MAGAZINE ? from : to;
    snprintf(sending->channel, sizeof sending->channel, "%d-%d-%d", from, to, way);
    sending->node = from;
    sending->way = way;
    sending->sentence[0] = '\0';
    options.lane_slots = LANE_SLOTS;
    machine_run_on_node(&machine, to);
    if (numapool_receiver_open(pool, sending->channel, &options, &receiver) < 0) {
        harness_expect(false, "a receiver on node %d: %s", to, numapool_errormsg());
        return;
    }
    pid_t pid = harness_fork(run_sender, sending);
    receive_all(pool, receiver, to, &received);
    int ended = harness_join(pid, INT64_C(20000000000));
    harness_expect(
        ended == 0 && received.in_order == MESSAGES && received.on[expected] == MESSAGES &&
            sending->foreign + sending->unknown == 0,
        "from node %d to node %d, %s: %u of %u messages on node %d (%u on the sender's), the sender ended with %d %s",
        from, to, way_names[way], received.on[expected], received.count, expected, received.on[from], ended,
        sending->sentence);
    harness_expect(received.lanes.looked_at > 0 && received.lanes.elsewhere + received.lanes.not_there == 0,
                   "and the lane's %llu pages on node %d (%llu are not)", (unsigned long long)received.lanes.looked_at,
                   to, (unsigned long long)received.lanes.elsewhere);
    lane_pages.looked_at += received.lanes.looked_at;
    numapool_receiver_close(receiver);
}

int main(int argc, char **argv)
{
    struct harness_daemon daemon;
    struct numapool_client *client;
    struct numapool_pool *pool;
    char spec[96];
    harness_begin("messages", argc, argv);
    machine_read(&machine);
    machine_tell(&machine);
    struct sending *sending = mmap(NULL, sizeof *sending, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&daemon);
    snprintf(spec, sizeof spec, POOL ",size=%d,count=%u", SLOT_BYTES, SLOTS_A_NODE * machine_nodes_with_cpus(&machine));
    if (sending == MAP_FAILED || !harness_expect(harness_daemon_start(&daemon, spec), "the daemon starts"))
        return harness_end();
    sending->socket = daemon.socket;
    if (harness_expect(numapool_connect(&client, daemon.socket) == 0 && numapool_open(client, POOL, 0, &pool) == 0,
                       "the receiver's process joins")) {
        for (unsigned from = 0; from < machine.node_count; from++)
            for (unsigned to = 0; to < machine.node_count; to++)
                for (enum way way = WAY_LOAN; way < WAYS; way++)
                    if (machine.nodes[from].cpu_count > 0 && machine.nodes[to].cpu_count > 0)
                        from_to(pool, sending, machine.nodes[from].number, machine.nodes[to].number, way);
        harness_expect(numapool_close(pool) == 0 && numapool_disconnect(client) == 0, "it leaves");
        harness_note("figures: %llu messages looked at, %llu pages of lanes", (unsigned long long)slots_looked_at,
                     (unsigned long long)lane_pages.looked_at);
    }
    harness_expect_nothing_left(&daemon);
    harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&daemon);
    return harness_end();
}
