/* SPDX-License-Identifier: MIT
 *
 * What ctl.sh needs beside numapoolctl: clients to look at, and a reader of its JSON.
 *
 *   ctl_help hold POOL KEPT SENT RELEASED  holds KEPT slots, sends SENT messages to itself and releases RELEASED of them
 *   ctl_help churn POOL                    gets, sends, receives, keeps, releases and puts, as fast as it can
 *   ctl_help scribble POOL SLOT            makes the word of a free slot name a client that there is not
 *   ctl_help query PATH                    prints what a JSON document on the standard input has at pools.0.total.held
 *
 * The first three write "ready" and go on until their standard input ends; scribble then makes the word free again.
 */
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/pool.h"
#include "numapool.h"

enum { SLOTS_MAX = 1024, BURST = 16, NO_CLIENT = 999 };

static struct numapool_client *client;
static struct numapool_pool *pool;
static struct numapool_magazine *magazine;
static struct numapool_sender *sender;
static struct numapool_receiver *receiver, *rude; /* whose channel's name is commands to a terminal, of seven and of eight bits */

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "ctl_help: %s: %s\n", what, numapool_errormsg());
    exit(1);
}

static void join(const char *name)
{
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    must(numapool_connect(&client, NULL), "connect");
    must(numapool_open(client, name, 0, &pool), "open");
    must(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine), "magazine");
    options.magazine = magazine;
    must(numapool_sender_open(pool, "ctl.test", &options, &sender), "sender");
    must(numapool_receiver_open(pool, "ctl.test", NULL, &receiver), "receiver");
}

static bool input_has_ended(int wait_ms)
{
    char byte;
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    return poll(&input, 1, wait_ms) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static void say_ready(void)
{
    puts("ready");
    fflush(stdout);
}

static void hold(unsigned kept, unsigned sent, unsigned released)
{
    static void *slots[SLOTS_MAX];
    static struct numapool_msg messages[SLOTS_MAX];
    if (kept > SLOTS_MAX || sent > SLOTS_MAX || released > sent)
        exit(2);
    for (unsigned i = 0; i < kept; i++)
        if (!(slots[i] = numapool_get(magazine)))
            must(-1, "get");
    for (unsigned i = 0; i < sent; i++) {
        struct numapool_msg message = { .data = numapool_loan(sender), .length = 8 };
        must(numapool_send(sender, &message, 0), "send");
    }
    for (unsigned got = 0; got < sent;) {
        int some = numapool_receive(receiver, messages + got, sent - got, INT64_C(1000000000));
        must(some, "receive");
        got += (unsigned)some;
    }
    if (released > 0)
        must(numapool_release(receiver, messages, released), "release");
    must(numapool_receiver_open(pool, "rude\033[2J\302\2332J", NULL, &rude), "rude receiver");
    say_ready();
    while (!input_has_ended(-1))
        ;
}

static void churn(void)
{
    struct numapool_msg messages[BURST];
    say_ready();
    while (!input_has_ended(0)) {
        for (unsigned i = 0; i < BURST; i++) {
            struct numapool_msg message = { .data = numapool_loan(sender), .length = 8 };
            if (!message.data || numapool_send(sender, &message, 0) < 0)
                break;
        }
        int got = numapool_receive(receiver, messages, BURST, 0);
        if (got <= 0)
            continue;
        must(numapool_keep(receiver, &messages[0]), "keep");
        must(numapool_put(magazine, messages[0].data), "put");
        if (got > 1)
            must(numapool_release(receiver, messages + 1, (unsigned)got - 1), "release");
        numapool_flush(magazine);
    }
}

static void scribble(uint64_t slot)
{
    struct np_arena *arena = &pool->arenas[0].arena;
    if (slot >= arena->slots)
        exit(2);
    uint64_t word = np_load64(&arena->words[slot], memory_order_acquire);
    if (np_word_state(word) != NP_WORD_FREE)
        exit(2);
    np_store64(&arena->words[slot], np_word_held(NO_CLIENT, np_word_gen(word)), memory_order_release);
    say_ready();
    while (!input_has_ended(-1))
        ;
    np_store64(&arena->words[slot], word, memory_order_release);
}

static int query(char *path)
{
    json_error_t error;
    json_t *document = json_loadf(stdin, 0, &error), *at = document;
    if (!document) {
        fprintf(stderr, "ctl_help: line %d: %s\n", error.line, error.text);
        return 1;
    }
    for (char *part = strtok(path, "."); part && at; part = strtok(NULL, "."))
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(part, NULL, 10)) : json_object_get(at, part);
    if (json_is_string(at))
        puts(json_string_value(at));
    else if (json_is_array(at))
        printf("%zu elements\n", json_array_size(at));
    else if (at)
        json_dumpf(at, stdout, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6)), putchar('\n');
    else
        puts("nothing");
    json_decref(document);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "query") == 0)
        return query(argv[2]);
    if (argc < 3)
        return 2;
    join(argv[2]);
    if (argc == 6 && strcmp(argv[1], "hold") == 0)
        hold((unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]), (unsigned)atoi(argv[5]));
    else if (argc == 3 && strcmp(argv[1], "churn") == 0)
        churn();
    else if (argc == 4 && strcmp(argv[1], "scribble") == 0)
        scribble(strtoull(argv[3], NULL, 10));
    else
        return 2;
    return 0; /* what is open ends with the process, as that of any client may */
}
