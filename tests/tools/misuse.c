/* SPDX-License-Identifier: MIT
 *
 * misuse WHAT: a program with one mistake, or none, for tests/tools/checkers.sh to run under the checkers that users have.
 * Environment: MISUSE_MALLOC    a pool of blocks of malloc rather than one with checks
 *              NUMAPOOL_SOCKET  the pool `pay` of the daemon there, whatever it was made with
 */
#include <numapool.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOT_BYTES = 100 };

static struct numapool_pool *pool;
static struct numapool_magazine *magazine;
static struct numapool_sender *sender;
static struct numapool_receiver *receiver;
static volatile unsigned char sink;

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, numapool_errormsg());
    exit(3);
}

static void begin(void)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_client *client;
    options.name = "pay";
    options.slot_bytes = SLOT_BYTES;
    options.slots = 16;
    options.flags = getenv("MISUSE_MALLOC") ? NUMAPOOL_MALLOC : NUMAPOOL_CHECKS | NUMAPOOL_CHECK_SITES;
    if (getenv("NUMAPOOL_SOCKET")) {
        must(numapool_connect(&client, NULL), "connect");
        must(numapool_open(client, "pay", 0, &pool), "open");
    } else {
        must(numapool_create(&pool, &options), "create");
    }
    must(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine), "magazine");
    must(numapool_receiver_open(pool, "c", NULL, &receiver), "receiver");
    must(numapool_sender_open(pool, "c", NULL, &sender), "sender");
}

static char *get(void)
{
    char *slot = numapool_get(magazine);
    if (!slot)
        must(-1, "get");
    return slot;
}

static struct numapool_msg send_one(void)
{
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    message.data = numapool_loan(sender);
    if (!message.data)
        must(-1, "loan");
    memset(message.data, 7, SLOT_BYTES);
    message.length = SLOT_BYTES;
    must(numapool_send(sender, &message, 0), "send");
    return message;
}

static struct numapool_msg receive_one(void)
{
    struct numapool_msg message;
    must(numapool_receive(receiver, &message, 1, NUMAPOOL_FOREVER), "receive");
    return message;
}

static void *receiving_thread(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 50; i++) {
        struct numapool_msg message = receive_one();
        sink = *(unsigned char *)message.data;
        must(numapool_release(receiver, &message, 1), "release");
    }
    return NULL;
}

/* No mistake: slots come and go by every way there is, between threads too, and a child may use the addresses. */
static void fine(void)
{
    pthread_t thread;
    for (unsigned round = 0; round < 20; round++) {
        char *slot = get();
        memset(slot, 1, SLOT_BYTES);
        must(numapool_put(magazine, slot), "put");
        send_one();
        struct numapool_msg message = receive_one();
        sink = ((unsigned char *)message.data)[SLOT_BYTES - 1];
        if (round % 2) {
            must(numapool_keep(receiver, &message), "keep");
            memset(message.data, 2, SLOT_BYTES);
            must(numapool_put(magazine, message.data), "put");
        } else {
            must(numapool_forward(receiver, &message, sender, 0), "forward");
            message = receive_one();
            sink = *(unsigned char *)message.data;
            must(numapool_release(receiver, &message, 1), "release");
        }
    }
    if (pthread_create(&thread, NULL, receiving_thread, NULL) != 0)
        must(-1, "pthread_create");
    for (unsigned i = 0; i < 50; i++) {
        struct numapool_msg message = NUMAPOOL_MSG_INIT;
        must(numapool_loan_wait(sender, &message.data, NUMAPOOL_FOREVER), "loan_wait");
        memset(message.data, 3, message.length = SLOT_BYTES);
        must(numapool_send(sender, &message, NUMAPOOL_FOREVER), "send");
    }
    pthread_join(thread, NULL);
    char *slot = get();
    pid_t child = fork();
    if (child == 0) { /* the pool is not mapped here, and something else may be */
        char *page = (char *)((unsigned long)slot & ~4095ul);
        char *other = mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(other, 1, 4096);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        must(-1, "child");
    must(numapool_put(magazine, slot), "put");
    must(numapool_sender_close(sender, 0), "close");
    must(numapool_receiver_close(receiver), "close");
    must(numapool_magazine_close(magazine), "close");
    must(numapool_close(pool), "close");
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "fine";
    begin();
    if (strcmp(what, "fine") == 0) {
        fine();
    } else if (strcmp(what, "read-after-put") == 0) {
        char *slot = get();
        *slot = 1;
        numapool_put(magazine, slot);
        sink = (unsigned char)*slot;
    } else if (strcmp(what, "write-after-put") == 0) {
        char *slot = get();
        numapool_put(magazine, slot);
        slot[5] = 1;
    } else if (strcmp(what, "write-after-send") == 0) {
        ((char *)send_one().data)[5] = 1;
    } else if (strcmp(what, "read-after-release") == 0) {
        send_one();
        struct numapool_msg message = receive_one();
        numapool_release(receiver, &message, 1);
        sink = *(unsigned char *)message.data;
    } else if (strcmp(what, "overrun") == 0) {
        get()[SLOT_BYTES] = 1;
    } else if (strcmp(what, "undefined") == 0) {
        char *slot = get();
        if (slot[3] == 'x')
            puts("x");
        numapool_put(magazine, slot);
    } else if (strcmp(what, "leak") == 0) {
        static char *kept; /* the first of the pool's, where its payload begins, to which the library itself points */
        kept = get();
        get()[0] = 1;
        must(numapool_put(magazine, kept), "put");
        must(numapool_sender_close(sender, 0), "close");
        must(numapool_receiver_close(receiver), "close");
        must(numapool_magazine_close(magazine), "close");
        if (getenv("MISUSE_MALLOC"))
            must(numapool_close(pool), "close");
    } else {
        return 2;
    }
    puts("ended");
    return 0;
}
