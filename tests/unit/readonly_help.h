/* SPDX-License-Identifier: MIT
 * A daemon with a pool that some may only read, a sender in this process, and requests of a test's own making. */
#ifndef NP_TEST_READONLY_HELP_H
#define NP_TEST_READONLY_HELP_H

#include <errno.h>

#include "daemon_help.h"
#include "service/wire.h"

enum {
    SLOTS = 256,
    READER = 65534,  /* pay: readonly */
    MEMBER = 65533,  /* pay: readonly, by a group that it is in besides */
    WRITER = 65532,  /* pay: direct */
    STRANGER = 65531,
    GROUP = 65510
};

static const char *const daemon_arguments[] = { "--pool", "pay,size=128,count=256,readonly=65534:@65510,direct=65532",
                                                "--pool", "other,size=64,count=64", "--log", "error", NULL };

static inline void start(void)
{
    start_daemon_with(daemon_arguments);
}

/* ---------------------------------------------------------------- requests of one's own making */

static int session = -1;
static int got[NP_WIRE_FDS_MAX];
static struct np_wire_answer answer;

static inline int ask(struct np_wire_request *request)
{
    static uint64_t number;
    request->magic = NP_WIRE_MAGIC;
    request->number = ++number;
    works(np_wire_call(session, request, &answer, got, 10 * SECOND_NS));
    return answer.result;
}

static inline int ask_for(enum np_wire_operation operation, uint32_t first, uint32_t second)
{
    struct np_wire_request request = { .operation = (uint32_t)operation, .of.pool_memory = { first, second } };
    return ask(&request);
}

static inline void say_hello(void)
{
    struct np_wire_request request = { .operation = NP_WIRE_HELLO };
    request.of.hello.layout = np_wire_layout();
    session = np_wire_connect(socket_path);
    ck_assert_msg(session >= 0, "%s", numapool_errormsg());
    ck_assert_msg(ask(&request) == 0, "%s", answer.sentence);
}

static inline int ask_to_open(const char *pool, bool readonly)
{
    struct np_wire_request request = { .operation = NP_WIRE_POOL_OPEN };
    strcpy(request.of.pool_open.name, pool);
    request.of.pool_open.readonly = readonly;
    return ask(&request);
}

static inline int ask_to_join(uint32_t pool, enum np_role role, uint64_t tag)
{
    struct np_wire_request request = { .operation = NP_WIRE_ENDPOINT_OPEN,
                                       .of.endpoint_open = { .pool = pool, .role = (uint32_t)role, .tag = tag,
                                                             .channel = "c" } };
    return ask(&request);
}

static inline size_t size_of(int fd)
{
    struct stat status;
    ck_assert_int_eq(fstat(fd, &status), 0);
    return (size_t)status.st_size;
}

/* ---------------------------------------------------------------- a sender, in this process */

static struct numapool_client *client;
static struct numapool_pool *pool;
static struct numapool_sender *sender;

static inline void begin_sending(void)
{
    client = connected();
    pool = opened(client, "pay", 0);
    works(numapool_sender_open(pool, "c", NULL, &sender));
}

static inline void send_numbers(unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        void *slot;
        works(numapool_loan_wait(sender, &slot, 10 * SECOND_NS));
        memcpy(slot, &(uint32_t){ first + i }, sizeof(uint32_t));
        works(numapool_send(sender, &(struct numapool_msg){ .data = slot, .length = sizeof(uint32_t), .id = first + i },
                            10 * SECOND_NS));
    }
}

static inline void end_sending(void)
{
    struct numapool_magazine *magazine;
    ck_assert_int_eq(numapool_sender_close(sender, 10 * SECOND_NS), 0);
    works(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    works(numapool_flush(magazine)); /* what this process has cached */
    for (unsigned tries = 0; free_slots(pool) != SLOTS && tries < 1000; tries++)
        pause_ms(1); /* what receivers release is freed by the daemon where its sender has gone */
    ck_assert_uint_eq(free_slots(pool), SLOTS);
    works(numapool_magazine_close(magazine));
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}
#endif
