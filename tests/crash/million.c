/* SPDX-License-Identifier: MIT
 *
 * One client takes all of a pool of a million slots, most of them held and cached, some on lanes, and is killed: all come back.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

enum { SLOTS = 1 << 20, TIMES = 5, SENT = 600, RECEIVED = 200, RELEASED = 50, BULK = 1024 };

/* What the client tells before it is killed. */
struct told {
    _Atomic uint32_t ready;
    int client;
    unsigned taken;
};

struct context {
    const char *socket;
    struct told *told;
    unsigned sent, received, released;
};

/* Some are sent, of these some received, of these some released. */
static bool use_channel(struct numapool_pool *pool, const struct context *context)
{
    static struct numapool_msg messages[SENT];
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    if (numapool_sender_open(pool, "m", NULL, &sender) < 0 || numapool_receiver_open(pool, "m", NULL, &receiver) < 0)
        return false;
    for (unsigned i = 0; i < context->sent; i++) {
        messages[i] = (struct numapool_msg){ .data = numapool_loan(sender), .length = 8, .id = i + 1 };
        if (!messages[i].data)
            return false;
        memcpy(messages[i].data, &messages[i].id, 8);
        if (numapool_send(sender, &messages[i], 0) < 0)
            return false;
    }
    return numapool_receive(receiver, messages, context->received, 0) == (int)context->received &&
           numapool_release(receiver, messages, context->released) == 0;
}

static int take_all(void *argument)
{
    struct context *context = argument;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    void *slots[BULK];
    if (numapool_connect(&client, context->socket) < 0 || numapool_open(client, "million", 0, &pool) < 0 ||
        numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0 || !use_channel(pool, context)) {
        harness_note("the client: %s", numapool_errormsg());
        return 1;
    }
    while (numapool_get_bulk(magazine, slots, BULK) == 0)
        context->told->taken += BULK;
    while (numapool_get(magazine))
        context->told->taken++;
    context->told->client = numapool_client_id(client);
    atomic_store_explicit(&context->told->ready, 1, memory_order_release);
    for (;;)
        pause();
}

/* Takes what the dead one had sent and nobody had released; how many came in order. */
static int take_over(void *argument)
{
    struct context *context = argument;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg message;
    uint64_t expected = context->released, id;
    if (numapool_connect(&client, context->socket) < 0 || numapool_open(client, "million", 0, &pool) < 0 ||
        numapool_receiver_open(pool, "m", NULL, &receiver) < 0)
        return 1;
    while (numapool_receive(receiver, &message, 1, INT64_C(200000000)) == 1) {
        memcpy(&id, message.data, 8);
        expected++;
        if (id != expected || message.id != expected || numapool_release(receiver, &message, 1) < 0 ||
            (message.id <= context->received && !(message.flags & NUMAPOOL_REDELIVERED)))
            return 1;
    }
    return expected != context->sent || numapool_receiver_close(receiver) < 0 || numapool_close(pool) < 0 ||
           numapool_disconnect(client) < 0;
}

static bool is_ready(void *context)
{
    return atomic_load_explicit(&((struct told *)context)->ready, memory_order_acquire) != 0;
}

static double once(struct harness_daemon *daemon, struct harness_look *look, struct told *told)
{
    struct context context = { daemon->socket, told, SENT, RECEIVED, RELEASED };
    struct np_check check = { 0 };
    memset(told, 0, sizeof *told);
    pid_t pid = harness_fork(take_all, &context);
    if (!harness_expect(harness_wait_until(is_ready, told, INT64_C(20000000000)), "a client takes everything"))
        return 0;
    bool looked = harness_look_check(look, &check);
    harness_expect(looked && check.free_slots == 0 && check.wrong == 0,
                   "no slot is free: %llu held, %llu in flight", (unsigned long long)check.held, (unsigned long long)check.in_flight);
    uint64_t cookie = harness_look_cookie(look, (uint32_t)told->client);
    int64_t killed_ns = harness_now_ns();
    harness_kill(pid);
    int64_t reaped_ns = harness_now_ns();
    int64_t waited_ns = harness_look_wait_gone(look, (uint32_t)told->client, cookie, INT64_C(10000000000));
    int64_t gone_ns = harness_now_ns();
    harness_look_check(look, &check);
    harness_expect(waited_ns >= 0 && check.wrong == 0 && check.held == 0 && check.free_slots == SLOTS - (SENT - RELEASED) &&
                   check.in_flight == SENT - RELEASED, "all that it held is free: %llu, and %llu wait to be received",
                   (unsigned long long)check.free_slots, (unsigned long long)check.in_flight);
    harness_note("%.2f ms from the kill, %.2f ms from the end of the process", (double)(gone_ns - killed_ns) / 1e6,
                 (double)(gone_ns - reaped_ns) / 1e6);
    harness_expect(harness_join(harness_fork(take_over, &context), INT64_C(20000000000)) == 0,
                   "what it had sent is received in order, what it had seen itself is marked redelivered");
    int64_t took_ns;
    harness_expect(harness_wait_all_free(look, INT64_C(2000000000), &took_ns) == SLOTS, "then all %u are free", SLOTS);
    return (double)(gone_ns - killed_ns) / 1e6;
}

int main(int argc, char **argv)
{
    struct harness_daemon daemon;
    struct harness_look look;
    double longest_ms = 0;
    harness_begin("million", argc, argv);
    struct told *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&daemon);
    if (told == MAP_FAILED || !harness_expect(harness_daemon_start(&daemon, "million,size=128,count=1M"), "the daemon starts") ||
        !harness_expect(harness_look_open(&look, daemon.socket), "its board can be looked at"))
        return harness_end();
    for (unsigned i = 0; i < TIMES; i++) {
        double ms = once(&daemon, &look, told);
        longest_ms = ms > longest_ms ? ms : longest_ms;
    }
    harness_note("at most %.2f ms from the kill to the last of %u slots free", longest_ms, SLOTS);
    harness_look_close(&look);
    harness_expect_nothing_left(&daemon);
    harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&daemon);
    return harness_end();
}
