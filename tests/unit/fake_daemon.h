/* SPDX-License-Identifier: MIT
 * A daemon made of one thread, which answers as the real one does until a test tells it otherwise: `lie` changes an answer
 * before it goes out, `hang_ups` counts the requests of a kind that end the connection instead of being answered. Its pool has one
 * arena until `enlarge` adds some. */
#ifndef NP_TESTS_FAKE_DAEMON_H
#define NP_TESTS_FAKE_DAEMON_H

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"
#include "numa/placement.h"
#include "service/session.h"

enum { SLOTS = 4096, SLOT_BYTES = 100, STRIDE = 128, LANE_SLOTS = 16, CLIENT = 3, ENDPOINT = 5, LANE = 9, ARENAS = 4 };

static struct {
    char directory[64], path[96];
    int listening;
    pthread_t thread;
    _Atomic bool stopping;
    struct np_memory bells, meta, data, account, lane, more_meta[ARENAS], more_data[ARENAS]; /* more: from 1 */
    _Atomic unsigned arenas;
    uint8_t uuid[16];
    _Atomic unsigned asked[NP_WIRE_OPERATIONS];
    _Atomic unsigned hang_ups[NP_WIRE_OPERATIONS]; /* so many requests of that kind are not answered: the connection ends */
    _Atomic unsigned silences[NP_WIRE_OPERATIONS]; /* so many are not answered, and their connection stays, as a dead worker's may */
    int silent[8];
    unsigned silent_count;
    _Atomic unsigned connections;
    uint64_t tag;
    struct np_wire_request last; /* the last request; whoever reads it knows that none is under way */
    void (*lie)(struct np_wire_answer *answer);
} fake;

static const struct np_board_limits limits = NP_BOARD_LIMITS_DEFAULT;

static unsigned asked(enum np_wire_operation operation)
{
    return atomic_load_explicit(&fake.asked[operation], memory_order_acquire);
}

static void fill_arena(unsigned arena, struct np_wire_answer *answer, int fds[2])
{
    if (arena >= atomic_load_explicit(&fake.arenas, memory_order_acquire)) {
        answer->result = -ENXIO;
        strcpy(answer->sentence, "the pool has no such arena");
        return;
    }
    answer->of.pool_memory.slots = SLOTS;
    answer->of.pool_memory.meta_bytes = fake.meta.bytes;
    answer->of.pool_memory.data_bytes = fake.data.bytes;
    answer->of.pool_memory.page_bytes = 4096;
    answer->descriptors = 2;
    fds[0] = arena == 0 ? fake.meta.fd : fake.more_meta[arena].fd;
    fds[1] = arena == 0 ? fake.data.fd : fake.more_data[arena].fd;
}

static void fill_answer(const struct np_wire_request *request, struct np_wire_answer *answer, int fds[2])
{
    switch (request->operation) {
    case NP_WIRE_HELLO:
        if (request->of.hello.client != 0 && memcmp(request->of.hello.uuid, fake.uuid, sizeof fake.uuid) != 0) {
            answer->result = -ESTALE;
            strcpy(answer->sentence, "this daemon is another one");
            return;
        }
        memcpy(answer->of.hello.uuid, fake.uuid, sizeof fake.uuid);
        answer->of.hello.cookie = 77;
        answer->of.hello.client = CLIENT;
        answer->of.hello.bells = np_board_bells(&limits);
        answer->of.hello.limits = limits;
        answer->descriptors = 1;
        fds[0] = fake.bells.fd;
        return;
    case NP_WIRE_POOL_OPEN:
        answer->of.pool_open.arenas = 1;
        answer->of.pool_open.pool = 2;
        answer->of.pool_open.slot_bytes = SLOT_BYTES;
        answer->of.pool_open.sharers = 2;
        answer->descriptors = 1;
        fds[0] = fake.account.fd;
        return;
    case NP_WIRE_POOL_MEMORY:
        fill_arena(request->of.pool_memory.arena, answer, fds);
        return;
    case NP_WIRE_ENDPOINT_OPEN:
        fake.tag = request->of.endpoint_open.tag;
        answer->of.endpoint_open.endpoint = ENDPOINT;
        answer->of.endpoint_open.bell = limits.clients + ENDPOINT;
        return;
    case NP_WIRE_NEXT_LANE:
        if (request->of.next_lane.stamp >= 1)
            return;
        answer->result = 1;
        answer->of.next_lane.stamp = 1;
        answer->of.next_lane.lane = LANE;
        answer->of.next_lane.capacity = LANE_SLOTS;
        answer->of.next_lane.state = NP_LANE_ACTIVE;
        answer->descriptors = 1;
        fds[0] = fake.lane.fd;
        return;
    default:
        return;
    }
}

/* False: the connection is over. */
static bool serve(int connection, bool *is_silent)
{
    struct np_wire_request request;
    struct np_wire_answer answer = { .magic = NP_WIRE_MAGIC };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control = { 0 };
    int fds[2] = { -1, -1 };
    if (recv(connection, &request, sizeof request, 0) != (ssize_t)sizeof request)
        return false;
    if (request.operation >= NP_WIRE_OPERATIONS)
        return false;
    fake.last = request;
    atomic_fetch_add_explicit(&fake.asked[request.operation], 1, memory_order_release);
    if (atomic_load_explicit(&fake.hang_ups[request.operation], memory_order_acquire) > 0) {
        atomic_fetch_sub_explicit(&fake.hang_ups[request.operation], 1, memory_order_release);
        return false;
    }
    if (atomic_load_explicit(&fake.silences[request.operation], memory_order_acquire) > 0) {
        atomic_fetch_sub_explicit(&fake.silences[request.operation], 1, memory_order_release);
        *is_silent = true;
        return false;
    }
    answer.number = request.number;
    answer.operation = request.operation;
    fill_answer(&request, &answer, fds);
    if (fake.lie)
        fake.lie(&answer);
    struct iovec part = { &answer, sizeof answer };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    unsigned count = (fds[0] >= 0) + (fds[1] >= 0);
    if (count > 0 && answer.result >= 0) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        *rights = (struct cmsghdr){ CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
    }
    return sendmsg(connection, &header, MSG_NOSIGNAL) == (ssize_t)sizeof answer;
}

/* One connection at a time: a session has one. */
static void *daemon_thread(void *argument)
{
    (void)argument;
    int connection = -1;
    while (!atomic_load_explicit(&fake.stopping, memory_order_acquire)) {
        struct pollfd wait = { .fd = connection >= 0 ? connection : fake.listening, .events = POLLIN };
        if (poll(&wait, 1, 5) <= 0)
            continue;
        if (connection < 0) {
            connection = accept4(fake.listening, NULL, NULL, SOCK_CLOEXEC);
            atomic_fetch_add_explicit(&fake.connections, 1, memory_order_release);
            continue;
        }
        bool is_silent = false;
        if (serve(connection, &is_silent))
            continue;
        if (is_silent && fake.silent_count < sizeof fake.silent / sizeof fake.silent[0])
            fake.silent[fake.silent_count++] = connection;
        else
            close(connection);
        connection = -1;
    }
    if (connection >= 0)
        close(connection);
    while (fake.silent_count > 0)
        close(fake.silent[--fake.silent_count]);
    return NULL;
}

static void listen_again(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(address.sun_path, fake.path);
    fake.listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fake.listening, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(fake.listening, 8), 0);
    atomic_store_explicit(&fake.stopping, false, memory_order_release);
    ck_assert_int_eq(pthread_create(&fake.thread, NULL, daemon_thread, NULL), 0);
}

static void stop_daemon(void)
{
    atomic_store_explicit(&fake.stopping, true, memory_order_release);
    pthread_join(fake.thread, NULL);
    close(fake.listening);
    unlink(fake.path);
}

static void make_memory(struct np_memory *memory, size_t bytes)
{
    ck_assert_msg(np_memory_create(memory, "memory of a test", bytes, -1, 0, NP_SHARED) == 0, "%s", np_error_sentence());
}

static void start(void)
{
    memset(&fake, 0, sizeof fake);
    strcpy(fake.directory, "/tmp/numapool-session-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fake.directory));
    snprintf(fake.path, sizeof fake.path, "%s/socket", fake.directory);
    memset(fake.uuid, 1, sizeof fake.uuid);
    make_memory(&fake.bells, np_board_bells(&limits) * sizeof(struct np_bell));
    make_memory(&fake.meta, np_arena_meta_bytes(SLOTS, limits.clients + 1, 0));
    make_memory(&fake.data, SLOTS * STRIDE);
    make_memory(&fake.account, NP_ACCOUNT_BYTES);
    make_memory(&fake.lane, np_lane_bytes(LANE_SLOTS, NP_LANE_SLOTS));
    np_arena_format(fake.meta.address, SLOTS, SLOT_BYTES, 2, 0, 0, limits.clients + 1, 0);
    np_lane_format(fake.lane.address, LANE, LANE_SLOTS, NP_LANE_SLOTS, 0, 2, 1);
    atomic_store_explicit(&fake.arenas, 1, memory_order_release);
    listen_again();
}

/* One more arena, which nobody is told of. */
static inline void enlarge(void)
{
    unsigned arena = atomic_load_explicit(&fake.arenas, memory_order_relaxed);
    make_memory(&fake.more_meta[arena], fake.meta.bytes);
    make_memory(&fake.more_data[arena], SLOTS * STRIDE);
    np_arena_format(fake.more_meta[arena].address, SLOTS, SLOT_BYTES, 2, arena, 0, limits.clients + 1, 0);
    atomic_store_explicit(&fake.arenas, arena + 1, memory_order_release);
}

static void end(void)
{
    stop_daemon();
    rmdir(fake.directory);
}

#endif
