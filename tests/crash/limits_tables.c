/* SPDX-License-Identifier: MIT
 * Tables that are full: the daemon's, and those of a process. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "limits.h"
#include "service/wire.h"

enum { CLIENTS = 5, CHANNELS = 3, ENDPOINTS = 8, LANES = 6, POOLS = 64, ARENAS = 64, THREADS = 24, SMALL_SLOTS = 512 };

static const char *const small_tables[] = {
    "--clients=5", "--channels=3", "--endpoints=8", "--lanes=6", "--pool=" LIMITS_POOL_SPEC, NULL,
};

/* One client that fills a table, is refused, makes room and is served. */
struct asker {
    const struct harness_daemon *daemon;
    struct limits_answer *full, *later;
    struct numapool_client *client;
    struct numapool_pool *pool;
};

#define PARTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static int join(struct asker *asker, uint64_t flags)
{
    int result = numapool_connect(&asker->client, asker->daemon->socket);
    return result < 0 ? result : numapool_open(asker->client, LIMITS_POOL, flags, &asker->pool);
}

static int leave(struct asker *asker)
{
    int result = numapool_close(asker->pool);
    return result < 0 ? result : numapool_disconnect(asker->client);
}

static void expect_refusal(struct asker *asker, int (*body)(void *context), const char *limit, int code,
                           const char *const *parts)
{
    memset(asker->full, 0, sizeof *asker->full);
    memset(asker->later, 0, sizeof *asker->later);
    SET(asker->later->result, -1);
    int status = limits_run(body, asker);
    if (limits_expect_sentence(asker->full, code, limit, parts))
        limits_reached(limit);
    harness_expect(status == 0 && GET(asker->later->result) >= 0,
                   "%s: with room again the same call works (status %d, %d \"%s\")", limit,
                   status, (int)GET(asker->later->result), asker->later->sentence);
}

/* ---------------------------------------------------------------- the daemon's tables */

static int fill_clients(void *context)
{
    struct asker *asker = context;
    struct numapool_client *clients[CLIENTS], *more;
    unsigned count = 0;
    int result;
    while (count < CLIENTS && (result = numapool_connect(&clients[count], asker->daemon->socket)) == 0)
        count++;
    limits_keep(asker->full, count == CLIENTS - 2 ? result : -1);
    if (count == 0 || numapool_disconnect(clients[--count]) < 0)
        return 1;
    if (limits_keep(asker->later, numapool_connect(&more, asker->daemon->socket)) == 0)
        numapool_disconnect(more);
    while (count > 0)
        numapool_disconnect(clients[--count]);
    return 0;
}

static int fill_channels(void *context)
{
    struct asker *asker = context;
    struct numapool_sender *senders[CHANNELS], *more;
    unsigned count = 0;
    char name[16];
    int result = join(asker, 0);
    while (result == 0 && count < CHANNELS) {
        snprintf(name, sizeof name, "c%u", count);
        if ((result = numapool_sender_open(asker->pool, name, NULL, &senders[count])) == 0)
            count++;
    }
    limits_keep(asker->full, result);
    if (count == 0 || numapool_sender_close(senders[--count], 0) < 0)
        return 1;
    if (limits_keep(asker->later, numapool_sender_open(asker->pool, "another", NULL, &more)) == 0)
        numapool_sender_close(more, 0);
    while (count > 0)
        numapool_sender_close(senders[--count], 0);
    return leave(asker) < 0;
}

/* The bystanders have two; receivers that nobody sends to need no lane. */
static int fill_endpoints(void *context)
{
    struct asker *asker = context;
    struct numapool_receiver *receivers[ENDPOINTS], *more;
    unsigned count = 0;
    int result = join(asker, 0);
    while (result == 0 && count < ENDPOINTS)
        if ((result = numapool_receiver_open(asker->pool, "r", NULL, &receivers[count])) == 0)
            count++;
    limits_keep(asker->full, result);
    if (count == 0 || numapool_receiver_close(receivers[--count]) < 0)
        return 1;
    if (limits_keep(asker->later, numapool_receiver_open(asker->pool, "r", NULL, &more)) == 0)
        numapool_receiver_close(more);
    while (count > 0)
        numapool_receiver_close(receivers[--count]);
    return leave(asker) < 0;
}

/* The bystanders have one; a third sender wants two more lanes, and there is one. */
static int fill_lanes(void *context)
{
    struct asker *asker = context;
    struct numapool_receiver *receivers[2];
    struct numapool_sender *senders[3];
    int result = join(asker, 0);
    for (unsigned i = 0; result == 0 && i < 2; i++)
        result = numapool_receiver_open(asker->pool, "l", NULL, &receivers[i]);
    for (unsigned i = 0; result == 0 && i < 2; i++)
        result = numapool_sender_open(asker->pool, "l", NULL, &senders[i]);
    if (result < 0)
        return 1;
    limits_keep(asker->full, numapool_sender_open(asker->pool, "l", NULL, &senders[2]));
    struct numapool_msg message = { .data = numapool_loan(senders[0]), .length = 8 };
    if (!message.data || numapool_send(senders[0], &message, 0) < 0) /* who was there goes on */
        return 1;
    if (numapool_receive(receivers[0], &message, 1, 0) == 1)
        numapool_release(receivers[0], &message, 1);
    else if (numapool_receive(receivers[1], &message, 1, LIMITS_SECOND_NS) != 1 ||
             numapool_release(receivers[1], &message, 1) < 0)
        return 1;
    if (numapool_sender_close(senders[1], 0) != 0)
        return 1;
    for (unsigned i = 0; i < 2; i++) /* an orphan lane is its receiver's to leave */
        if (numapool_receive(receivers[i], &message, 1, 0) != -EAGAIN)
            return 1;
    if (limits_keep(asker->later, numapool_sender_open(asker->pool, "l", NULL, &senders[2])) == 0)
        numapool_sender_close(senders[2], 0);
    return numapool_sender_close(senders[0], 0) < 0 || numapool_receiver_close(receivers[0]) < 0 ||
           numapool_receiver_close(receivers[1]) < 0 || leave(asker) < 0;
}

/* Receivers come and go beside a sender that does nothing: lanes that it has to leave are bounded, and fill no table. */
static int come_and_go(void *context)
{
    struct asker *asker = context;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg message = { .length = 8 };
    int result = join(asker, 0);
    if (result == 0)
        result = numapool_sender_open(asker->pool, "draining", NULL, &sender);
    for (unsigned i = 0; result == 0 && i < 40; i++) {
        result = numapool_receiver_open(asker->pool, "draining", NULL, &receiver);
        if (result == 0)
            result = numapool_receiver_close(receiver);
    }
    limits_keep(asker->full, result);
    if (result == 0)
        result = numapool_receiver_open(asker->pool, "draining", NULL, &receiver);
    message.data = result == 0 ? numapool_loan(sender) : NULL;
    if (!message.data || (result = numapool_send(sender, &message, LIMITS_SECOND_NS)) < 0)
        return 1;
    result = numapool_receive(receiver, &message, 1, LIMITS_LONG_NS);
    limits_keep(asker->later, result == 1 ? numapool_release(receiver, &message, 1) : -1);
    return numapool_sender_close(sender, 0) < 0 || numapool_receiver_close(receiver) < 0 || leave(asker) < 0;
}

/* Connections that say nothing make room for those that do. */
static int connect_silently(void *context)
{
    struct asker *asker = context;
    enum { SILENT = CLIENTS + 64 + 20 };
    int sockets[SILENT];
    struct numapool_client *client;
    for (unsigned i = 0; i < SILENT; i++)
        if ((sockets[i] = np_wire_connect(asker->daemon->socket)) < 0)
            return 1;
    SET(asker->full->result, 0);
    limits_keep(asker->later, numapool_connect(&client, asker->daemon->socket));
    int result = GET(asker->later->result) < 0 ? -1 : numapool_disconnect(client);
    for (unsigned i = 0; i < SILENT; i++)
        close(sockets[i]);
    return result < 0;
}

static void full_tables(void)
{
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct asker asker = { &daemon, limits_answer_new(), limits_answer_new(), NULL, NULL };
    harness_daemon_prepare(&daemon);
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .options = small_tables });
    if (!harness_expect(status == 0, "a daemon of small tables starts (%x)", (unsigned)status))
        return;
    if (limits_bystanders_start(&bystanders, &daemon)) {
        expect_refusal(&asker, fill_clients, "table of clients full", -EUSERS,
                       PARTS("has 5 clients", "can have no more", "--clients"));
        expect_refusal(&asker, fill_channels, "table of channels full", -ENOSPC,
                       PARTS("are 3 channels", "can be no more", "--channels"));
        expect_refusal(&asker, fill_endpoints, "table of senders and receivers full", -ENOSPC,
                       PARTS("are 8 senders and receivers", "can be no more", "--endpoints"));
        expect_refusal(&asker, fill_lanes, "table of lanes full", -ENOSPC,
                       PARTS("are 6 lanes", "can be no more", "--lanes"));
        expect_refusal(&asker, come_and_go, "lanes that a sender has to leave, eight at most", 0, PARTS(""));
        expect_refusal(&asker, connect_silently, "all connections taken by who says nothing", 0, PARTS(""));
        limits_bystanders_expect(&bystanders, "full tables");
    }
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- pools and arenas */

static int make_pools(void *context)
{
    struct asker *asker = context;
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_client *client;
    char name[16];
    unsigned made = 0;
    int result = numapool_connect(&client, asker->daemon->socket);
    options.name = name;
    options.slot_bytes = 64;
    options.slots = 64;
    while (result == 0 && made < POOLS) {
        snprintf(name, sizeof name, "m%u", made);
        if ((result = numapool_admin_create(client, &options)) == 0)
            made++;
    }
    limits_keep(asker->full, result);
    if (made == 0 || numapool_admin_destroy(client, "m0", 0) < 0)
        return 1;
    limits_keep(asker->later, numapool_admin_create(client, &options));
    for (unsigned i = 1; i <= made; i++) { /* the name that was refused last is the one that was made last */
        snprintf(name, sizeof name, "m%u", i);
        if (numapool_admin_destroy(client, name, 0) < 0)
            return 1;
    }
    return numapool_disconnect(client) < 0;
}

static int grow_a_pool(void *context)
{
    struct asker *asker = context;
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_client *client;
    int result = numapool_connect(&client, asker->daemon->socket);
    options.name = "grows";
    options.slot_bytes = 64;
    options.slots = 64;
    if (result == 0)
        result = numapool_admin_create(client, &options);
    for (unsigned i = 0; result == 0 && i < ARENAS; i++)
        result = numapool_admin_grow(client, "grows", NUMAPOOL_ANY_NODE, 64);
    limits_keep(asker->full, result);
    options.name = "another";
    limits_keep(asker->later, numapool_admin_create(client, &options));
    return numapool_admin_destroy(client, "grows", 0) < 0 || numapool_admin_destroy(client, "another", 0) < 0 ||
           numapool_disconnect(client) < 0;
}

static int fill_page_of_bells(void *context)
{
    struct asker *asker = context;
    enum { MORE_THAN_BELLS = 300 };
    struct numapool_receiver *receivers[MORE_THAN_BELLS], *more;
    unsigned count = 0;
    int result = join(asker, NUMAPOOL_READONLY);
    while (result == 0 && count < MORE_THAN_BELLS)
        if ((result = numapool_receiver_open(asker->pool, "read", NULL, &receivers[count])) == 0)
            count++;
    limits_keep(asker->full, result);
    if (count == 0 || numapool_receiver_close(receivers[--count]) < 0)
        return 1;
    if (limits_keep(asker->later, numapool_receiver_open(asker->pool, "read", NULL, &more)) == 0)
        numapool_receiver_close(more);
    while (count > 0)
        numapool_receiver_close(receivers[--count]);
    return leave(asker) < 0;
}

static int fill_broadcast(void *context)
{
    struct asker *asker = context;
    struct numapool_receiver *receivers[65], *more;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    unsigned count = 0;
    options.flags = NUMAPOOL_BROADCAST;
    int result = join(asker, 0);
    while (result == 0 && count < 65)
        if ((result = numapool_receiver_open(asker->pool, "all", &options, &receivers[count])) == 0)
            count++;
    limits_keep(asker->full, result);
    if (count == 0 || numapool_receiver_close(receivers[--count]) < 0)
        return 1;
    if (limits_keep(asker->later, numapool_receiver_open(asker->pool, "all", &options, &more)) == 0)
        numapool_receiver_close(more);
    while (count > 0)
        numapool_receiver_close(receivers[--count]);
    return leave(asker) < 0;
}

static int fill_waitset(void *context)
{
    struct asker *asker = context;
    struct numapool_receiver *receivers[130];
    struct numapool_waitset *waitset;
    unsigned count = 0;
    int result = join(asker, 0);
    if (result == 0)
        result = numapool_waitset_open(&waitset);
    while (result == 0 && count < 130) {
        result = numapool_receiver_open(asker->pool, "w", NULL, &receivers[count]);
        if (result == 0)
            result = numapool_waitset_add(waitset, receivers[count++], NULL);
    }
    limits_keep(asker->full, result);
    if (count < 2 || numapool_waitset_remove(waitset, receivers[0]) < 0)
        return 1;
    limits_keep(asker->later, numapool_waitset_add(waitset, receivers[count - 1], NULL));
    for (unsigned i = 0; i < count; i++)
        if ((i > 0 && numapool_waitset_remove(waitset, receivers[i]) < 0) || numapool_receiver_close(receivers[i]) < 0)
            return 1;
    return numapool_waitset_close(waitset) < 0 || leave(asker) < 0;
}

/* ---------------------------------------------------------------- a process's own */

static int use_up_thread_keys(void *context)
{
    struct asker *asker = context;
    pthread_key_t keys[2048];
    unsigned count = 0;
    int result = join(asker, 0);
    while (result == 0 && count < 2048 && pthread_key_create(&keys[count], NULL) == 0)
        count++;
    limits_keep(asker->full, result < 0 ? result : numapool_thread_magazine(asker->pool) ? 0 : -ENOMEM);
    if (GET(asker->full->result) < 0)
        snprintf(asker->full->sentence, sizeof asker->full->sentence, "%s", numapool_errormsg());
    while (count > 0)
        pthread_key_delete(keys[--count]);
    struct numapool_magazine *own = numapool_thread_magazine(asker->pool);
    void *slot = own ? numapool_get(own) : NULL;
    limits_keep(asker->later, slot ? numapool_put(own, slot) : -1);
    return leave(asker) < 0;
}

/* Each takes a slot while all the others hold one, and as many as it may cache. */
struct crowd {
    struct numapool_pool *pool;
    pthread_barrier_t all_hold;
    _Atomic uint32_t failed, empty;
};

static void *take_one(void *context)
{
    struct crowd *crowd = context;
    struct numapool_magazine *magazine;
    void *slot = NULL;
    if (numapool_magazine_open(crowd->pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0) {
        ADD(crowd->failed);
        pthread_barrier_wait(&crowd->all_hold);
        return NULL;
    }
    if (!(slot = numapool_get(magazine)))
        ADD(crowd->empty);
    pthread_barrier_wait(&crowd->all_hold);
    if ((slot && numapool_put(magazine, slot) < 0) || numapool_magazine_close(magazine) < 0)
        ADD(crowd->failed);
    return NULL;
}

/* As many threads as a small pool has slots: what the elder ones may cache must not starve the younger. */
static int crowd_a_pool(void *context)
{
    struct asker *asker = context;
    struct crowd crowd = { 0 };
    pthread_t threads[THREADS];
    int result = numapool_connect(&asker->client, asker->daemon->socket);
    if (result == 0)
        result = numapool_open(asker->client, "crowded", 0, &asker->pool);
    if (result < 0)
        return 1;
    crowd.pool = asker->pool;
    pthread_barrier_init(&crowd.all_hold, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, take_one, &crowd) != 0)
            return 1;
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&crowd.all_hold);
    limits_keep(asker->full, GET(crowd.empty) == 0 && GET(crowd.failed) == 0 ? 0 : -1);
    limits_keep(asker->later, 0);
    return leave(asker) < 0;
}

static void full_daemon(void)
{
    static const char *const options[] = { "--pool=" LIMITS_POOL_SPEC, "--pool=crowded,size=64,count=24", NULL };
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct asker asker = { &daemon, limits_answer_new(), limits_answer_new(), NULL, NULL };
    harness_daemon_prepare(&daemon);
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .options = options });
    if (!harness_expect(status == 0, "the daemon starts (%x)", (unsigned)status))
        return;
    if (limits_bystanders_start(&bystanders, &daemon)) {
        expect_refusal(&asker, make_pools, "table of pools full", -ENOSPC,
                       PARTS("no room for pool 'm62'", "there can be 64", "destroy"));
        expect_refusal(&asker, grow_a_pool, "arenas of a pool", -ENOSPC,
                       PARTS("pool 'grows'", "64 arenas", "make another pool"));
        expect_refusal(&asker, fill_page_of_bells, "receivers of one readonly client", -ENOSPC,
                       PARTS("receivers of pools that it opened read-only", "can have no more", "close one"));
        expect_refusal(&asker, fill_broadcast, "receivers of a broadcast", -ENOSPC,
                       PARTS("channel 'all'", "64 receivers", "send on"));
        expect_refusal(&asker, fill_waitset, "members of a wait-set", -ENOSPC,
                       PARTS("wait-set has", "can have no more", "a second one"));
        expect_refusal(&asker, use_up_thread_keys, "a process's thread keys", -ENOMEM, PARTS("PTHREAD_KEYS_MAX"));
        expect_refusal(&asker, crowd_a_pool, "a magazine for each of as many threads as there are slots", 0, PARTS(""));
        limits_bystanders_expect(&bystanders, "a daemon of full tables");
    }
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}

void limits_tables(void)
{
    full_tables();
    full_daemon();
}
