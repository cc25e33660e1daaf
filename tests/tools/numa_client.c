/* SPDX-License-Identifier: MIT
 *
 * A client that takes and gives back slots on the CPUs that it is told, for numapoolctl numa to look at.
 *
 *   numa_client POOL STEP...
 *
 *   on CPU            its thread goes there
 *   open own|any|N    a magazine of so many slots is opened (the earlier one is closed)
 *   take N            N slots at once; it holds them from then on
 *   give N            gives back the N that it took last
 *   hop CPU CPU N     N times: to the other of both, 1,000 slots taken and given back
 *   hand CPU N        another thread, on that CPU, gives back N of what is held
 *   sender CHANNEL    opens a sender; through CHANNEL: one that takes slots out of the magazine; receiver CHANNEL: a receiver
 *   send N            loans and sends N messages; receive N: receives, keeps and gives back N
 *   threads CPU       another thread that sleeps there
 *   scribble          writes ones over all of its counters in the pool
 *   flush             flushes its magazine
 *   tell              prints what it has counted: "node 0: local 5 remote 0 ..."
 *   wait              prints "ready", and goes on when it gets a line, or ends with its input
 *   die               SIGKILL
 *
 * Exit status 1 and the library's sentence: a step failed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/pool.h"
#include "numapool.h"

enum { SLOTS_MAX = 1 << 16, HOP_SLOTS = 1000, NODES_MAX = 64 };

static struct numapool_client *client;
static struct numapool_pool *pool;
static struct numapool_magazine *magazine;
static struct numapool_sender *sender;
static struct numapool_receiver *receiver;
static void *held[SLOTS_MAX];
static unsigned count;

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "numa_client: %s: %s\n", what, numapool_errormsg());
    exit(1);
}

static void wrong(const char *what)
{
    fprintf(stderr, "numa_client: %s\n", what);
    exit(2);
}

static void go_to(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        wrong("there is no such CPU here");
}

static void open_magazine(const char *node)
{
    if (magazine)
        must(numapool_magazine_close(magazine), "close");
    int number = strcmp(node, "own") == 0 ? NUMAPOOL_OWN_NODE : strcmp(node, "any") == 0 ? NUMAPOOL_ANY_NODE : atoi(node);
    must(numapool_magazine_open(pool, number, 0, &magazine), "open");
}

static void take(unsigned n)
{
    if (count + n > SLOTS_MAX)
        wrong("so many slots cannot be held");
    must(numapool_get_bulk(magazine, held + count, n), "take");
    count += n;
}

static void give(unsigned n)
{
    if (n > count)
        wrong("so many slots are not held");
    count -= n;
    must(numapool_put_bulk(magazine, held + count, n), "give");
}

static void hop(int cpu, int other, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        go_to(i % 2 == 0 ? other : cpu);
        take(HOP_SLOTS);
        give(HOP_SLOTS);
    }
}

struct helper {
    int cpu;
    unsigned slots;
};

static void *give_back(void *argument)
{
    const struct helper *helper = argument;
    struct numapool_magazine *own;
    go_to(helper->cpu);
    must(numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 0, &own), "open of another thread");
    must(numapool_put_bulk(own, held + count, helper->slots), "give of another thread");
    must(numapool_magazine_close(own), "close of another thread");
    return NULL;
}

static void hand(int cpu, unsigned n)
{
    struct helper helper = { cpu, n };
    pthread_t thread;
    if (n > count)
        wrong("so many slots are not held");
    count -= n;
    if (pthread_create(&thread, NULL, give_back, &helper) != 0)
        wrong("no thread");
    pthread_join(thread, NULL);
}

static void *sleep_there(void *argument)
{
    go_to(*(const int *)argument);
    free(argument);
    for (;;)
        pause();
    return NULL;
}

static void start_sleeper(int cpu)
{
    int *argument = malloc(sizeof *argument);
    pthread_t thread;
    if (!argument || (*argument = cpu, pthread_create(&thread, NULL, sleep_there, argument)) != 0)
        wrong("no thread");
    pthread_detach(thread);
}

static void open_through(const char *channel)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.magazine = magazine;
    must(numapool_sender_open(pool, channel, &options, &sender), "sender");
}

static void send_messages(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct numapool_msg message = NUMAPOOL_MSG_INIT;
        must(numapool_loan_wait(sender, &message.data, NUMAPOOL_FOREVER), "loan");
        message.length = 8;
        must(numapool_send(sender, &message, NUMAPOOL_FOREVER), "send");
    }
}

static void receive_messages(unsigned n)
{
    struct numapool_msg message;
    for (unsigned i = 0; i < n; i++) {
        must(numapool_receive(receiver, &message, 1, NUMAPOOL_FOREVER), "receive");
        must(numapool_keep(receiver, &message), "keep");
        must(numapool_put(magazine, message.data), "put");
    }
}

static void scribble(void)
{
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        np_shm64 *counters = (np_shm64 *)(void *)pool->arenas[i].account;
        for (size_t c = 0; c < sizeof(struct np_account_row) / sizeof *counters; c++)
            np_store64(&counters[c], UINT64_MAX, memory_order_relaxed); /* relaxed: it is to be found odd, whenever */
    }
}

static void tell(void)
{
    for (int node = 0; node < NODES_MAX; node++) {
        struct numapool_stats stats = { .size = sizeof stats };
        if (numapool_stats_read(pool, node, &stats) < 0)
            continue;
        printf("node %d: local %llu remote %llu foreign %llu spilled %llu homeless %llu home_returns %llu followed %llu emulated %llu\n", node,
               (unsigned long long)stats.local, (unsigned long long)stats.remote, (unsigned long long)stats.foreign,
               (unsigned long long)stats.spilled, (unsigned long long)stats.homeless, (unsigned long long)stats.home_returns,
               (unsigned long long)stats.followed, (unsigned long long)stats.emulated);
    }
    fflush(stdout);
}

static void wait_for_word(void)
{
    char line[64];
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(0);
}

static struct {
    const char *name;
    int arguments;
} const steps[] = { { "on", 1 }, { "open", 1 }, { "take", 1 }, { "give", 1 }, { "hop", 3 }, { "hand", 2 }, { "sender", 1 }, { "through", 1 },
                    { "receiver", 1 }, { "send", 1 }, { "receive", 1 }, { "threads", 1 }, { "scribble", 0 }, { "flush", 0 },
                    { "tell", 0 }, { "wait", 0 }, { "die", 0 } };

static void step(const char *name, char **arguments)
{
    if (strcmp(name, "on") == 0)
        go_to(atoi(arguments[0]));
    else if (strcmp(name, "open") == 0)
        open_magazine(arguments[0]);
    else if (strcmp(name, "take") == 0)
        take((unsigned)atoi(arguments[0]));
    else if (strcmp(name, "give") == 0)
        give((unsigned)atoi(arguments[0]));
    else if (strcmp(name, "hop") == 0)
        hop(atoi(arguments[0]), atoi(arguments[1]), (unsigned)atoi(arguments[2]));
    else if (strcmp(name, "hand") == 0)
        hand(atoi(arguments[0]), (unsigned)atoi(arguments[1]));
    else if (strcmp(name, "sender") == 0)
        must(numapool_sender_open(pool, arguments[0], NULL, &sender), "sender");
    else if (strcmp(name, "through") == 0)
        open_through(arguments[0]);
    else if (strcmp(name, "receiver") == 0)
        must(numapool_receiver_open(pool, arguments[0], NULL, &receiver), "receiver");
    else if (strcmp(name, "send") == 0)
        send_messages((unsigned)atoi(arguments[0]));
    else if (strcmp(name, "receive") == 0)
        receive_messages((unsigned)atoi(arguments[0]));
    else if (strcmp(name, "threads") == 0)
        start_sleeper(atoi(arguments[0]));
    else if (strcmp(name, "scribble") == 0)
        scribble();
    else if (strcmp(name, "flush") == 0)
        must(numapool_flush(magazine), "flush");
    else if (strcmp(name, "tell") == 0)
        tell();
    else if (strcmp(name, "wait") == 0)
        wait_for_word();
    else
        raise(SIGKILL);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        wrong("which pool?");
    must(numapool_connect(&client, NULL), "connect");
    must(numapool_open(client, argv[1], 0, &pool), "open");
    for (int i = 2; i < argc;) {
        size_t which = 0;
        while (which < sizeof steps / sizeof steps[0] && strcmp(steps[which].name, argv[i]) != 0)
            which++;
        if (which == sizeof steps / sizeof steps[0] || i + steps[which].arguments >= argc)
            wrong(argv[i]);
        step(argv[i], argv + i + 1);
        i += 1 + steps[which].arguments;
    }
    return 0; /* what is open ends with the process */
}
