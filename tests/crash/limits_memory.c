/* SPDX-License-Identifier: MIT
 * Memory: that may be locked, of huge pages, of a node, of a process's addresses. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "limits.h"
#include "numapool/uring.h"

#define HUGE_BYTES (UINT64_C(2) << 20)
#define PARTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* ---------------------------------------------------------------- locked memory */

static void lock_at_most(rlim_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        _exit(100);
    limit.rlim_cur = bytes;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        _exit(100);
}

static void be_nobody_who_locks_nothing(void *context)
{
    (void)context;
    lock_at_most(0);
    limits_become(LIMITS_NOBODY); /* root may lock as much as he likes */
}

static void be_nobody(void *context)
{
    (void)context;
    limits_become(LIMITS_NOBODY);
}

static void lock_all(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_MEMLOCK, &limit);
    }
}

static int live_without_locking(void *context)
{
    be_nobody_who_locks_nothing(NULL);
    return limits_session_run(context, NULL);
}

/* Registered buffers are the one thing that locks: the kernel counts their pages. */
static int register_buffers(void *context)
{
    struct limits_session *session = context;
    struct io_uring ring;
    lock_at_most(64 << 10); /* enough for a small ring, where that counts, and not for the payload */
    limits_become(LIMITS_SOMEBODY); /* the daemon is nobody here, and what he locks counts for all his processes */
    if (io_uring_queue_init(8, &ring, 0) < 0)
        return 101;
    if (numapool_connect(&session->client, session->daemon->socket) < 0 ||
        numapool_open(session->client, LIMITS_POOL, 0, &session->pool) < 0 ||
            numapool_ring_guard(session->client, &ring) < 0)
        return 1;
    int result = numapool_ring_buffers(session->pool, &ring, 0);
    snprintf(session->answer->sentence, sizeof session->answer->sentence, "%s",
             result < 0 ? numapool_ring_refusal(result) : "");
    SET(session->answer->result, result);
    lock_all();
    result = numapool_ring_buffers(session->pool, &ring, 0);
    io_uring_queue_exit(&ring);
    return result < 1 || numapool_close(session->pool) < 0 || numapool_disconnect(session->client) < 0;
}

static void locked_memory(void)
{
    static const char *const options[] = { "--pool=" LIMITS_POOL_SPEC ",direct=0:65533", NULL };
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    harness_daemon_prepare(&daemon);
    chmod(daemon.directory, 0777);
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .options = options,
                                                                      .before = be_nobody_who_locks_nothing });
    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 100) {
        limits_not_run("locked memory", "no other user can be had here");
        harness_daemon_remove(&daemon);
        return;
    }
    if (status != 0) { /* kernels differ in whether an io_uring counts */
        limits_expect_refused(&daemon, status, EX_CONFIG, "a daemon that may lock no memory",
                              PARTS("io_uring", "LimitMEMLOCK="));
        limits_reached("locked memory of the daemon's io_uring");
        status = limits_daemon_start(&daemon, &(struct limits_start){ .options = options, .before = be_nobody });
    }
    if (harness_expect(status == 0, "a daemon that may lock a little starts (%x)", (unsigned)status) &&
        limits_bystanders_start(&bystanders, &daemon)) {
        struct limits_session session = { .daemon = &daemon, .answer = limits_answer_new() };
        status = limits_run(live_without_locking, &session);
        if (harness_expect(status == 0 && GET(session.answer->number) == 0,
                           "a client that may lock none has all it wants (%d \"%s\")", status,
                           session.answer->sentence))
            limits_reached("locked memory of a client: none is needed");
        status = limits_run(register_buffers, &session);
        if (status == 101)
            limits_not_run("locked memory of registered buffers", "no io_uring here");
        else if (limits_expect_sentence(session.answer, -ENOMEM, "buffers of one who may lock no memory",
                                        PARTS("RLIMIT_MEMLOCK", "LimitMEMLOCK=")))
            limits_reached("locked memory of registered buffers");
        harness_expect(status == 0 || status == 101, "buffers of one who may lock some are registered (%d)", status);
        limits_bystanders_expect(&bystanders, "no memory to lock");
        limits_bystanders_end(&bystanders, &daemon);
    }
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- admins, for what follows */

struct order {
    const struct harness_daemon *daemon;
    struct limits_answer *answer;
    const char *pool; /* NULL: the usual one is enlarged */
    uint64_t slots, slot_bytes, flags;
};

static int order_memory(void *context)
{
    struct order *order = context;
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_client *client;
    int result = numapool_connect(&client, order->daemon->socket);
    if (result < 0)
        return 1;
    options.name = order->pool;
    options.slot_bytes = order->slot_bytes;
    options.slots = order->slots;
    options.flags = order->flags;
    result = order->pool ? numapool_admin_create(client, &options) : numapool_admin_grow(client, LIMITS_POOL,
                                                                                         NUMAPOOL_ANY_NODE, order->slots);
    limits_keep(order->answer, result);
    if (result == 0 && order->pool)
        result = numapool_admin_destroy(client, order->pool, 0);
    return numapool_disconnect(client) < 0;
}

static void order_expect(struct order *order, int code, const char *limit, const char *const *parts)
{
    memset(order->answer, 0, sizeof *order->answer);
    SET(order->answer->result, -1);
    harness_expect(limits_run(order_memory, order) == 0, "%s: the admin is answered", limit);
    if (limits_expect_sentence(order->answer, code, limit, parts) && code != 0)
        limits_reached(limit);
}

/* Most that the process ever had in memory. */
static uint64_t most_kib(pid_t pid)
{
    char path[48], line[128];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    FILE *status = fopen(path, "re");
    while (status && fgets(line, sizeof line, status))
        (void)!sscanf(line, "VmHWM: %llu", &kib);
    if (status)
        fclose(status);
    return kib;
}

/* ---------------------------------------------------------------- a node's memory */

static void node_memory(void)
{
    static const char *const too_large[] = { "--pool=huge,size=1M,count=16M", NULL }; /* 16 TiB */
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct order order = { &daemon, limits_answer_new(), "another", 16 << 20, 1 << 20, 0 };
    harness_daemon_prepare(&daemon);
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .options = too_large });
    limits_expect_refused(&daemon, status, EX_CONFIG, "a pool larger than its node",
                          PARTS("payload of pool 'huge'", "TiB", "to spare", "make it smaller", "free memory"));
    limits_reached("a pool larger than its node, at the start");
    status = limits_daemon_start(&daemon, &(struct limits_start){ 0 });
    if (harness_expect(status == 0, "the daemon starts (%x)", (unsigned)status) &&
        limits_bystanders_start(&bystanders, &daemon)) {
        pid_t worker = harness_daemon_worker(&daemon);
        uint64_t before = most_kib(worker);
        order_expect(&order, -ENOMEM, "a pool larger than its node, while the daemon runs",
                     PARTS("payload of pool 'another'", "to spare", "make it smaller", "free memory"));
        order = (struct order){ &daemon, order.answer, NULL, UINT64_C(1) << 31, 0, 0 };
        order_expect(&order, -ENOMEM, "a growth larger than the node",
                     PARTS("payload of pool '" LIMITS_POOL "'", "to spare", "make it smaller"));
        uint64_t after = most_kib(worker);
        harness_expect(after - before < 16 << 10, "both are refused before anything is taken (%llu KiB more at most)",
                       (unsigned long long)(after - before));
        order.slots = 4096;
        order_expect(&order, 0, "a growth that the node has", PARTS(""));
        limits_bystanders_expect(&bystanders, "a node's memory");
        limits_bystanders_end(&bystanders, &daemon);
    }
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- a process's addresses */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static void addresses(void)
{
    limits_not_run("a process's addresses (RLIMIT_AS)", "the sanitizer wants terabytes of them");
}
#else
enum { ADDRESSES_STEP = 64 << 10, ADDRESSES_TRIES = 64 };

static uint64_t mapped_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * 4096;
}

static void have_addresses(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_AS, &limit);
    }
}

static int map_little(void *context)
{
    struct limits_session *session = context;
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0)
        return 100;
    limit.rlim_cur = mapped_bytes() + session->spare;
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return 100;
    return limits_session_run(session, have_addresses);
}

static void addresses(void)
{
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    unsigned refused[LIMITS_SESSION_STEPS] = { 0 }, tries = 0, wrong = 0, kinds = 0;
    bool is_short = true;
    if (!limits_daemon_usual(&daemon) || !limits_bystanders_start(&bystanders, &daemon))
        return;
    for (; is_short && tries < ADDRESSES_TRIES; tries++) {
        struct limits_session session = { .daemon = &daemon, .answer = limits_answer_new(),
                                          .spare = (uint64_t)tries * ADDRESSES_STEP };
        pid_t asker = harness_fork(map_little, &session);
        bool came = limits_comes_to(session.answer, 1);
        unsigned step = (unsigned)GET(session.answer->number);
        bool once = step != 1 || (limits_comes_to(session.answer, 2) && limits_come_to_be(&daemon, 3)); /* while it lives */
        SET(session.answer->go_on, 2);
        int status = harness_join(asker, LIMITS_LONG_NS);
        is_short = step > 0;
        bool says = !is_short || (GET(session.answer->result) == -ENOMEM && session.answer->sentence[0] != '\0');
        bool gone = came && once && limits_come_to_be(&daemon, 2);
        if (!says || status != 0 || !gone) {
            harness_note("%u KiB: %s: %d \"%s\", status %d, %s", tries * ADDRESSES_STEP / 1024,
                         is_short ? limits_step_names[step - 1] : "",
                         (int)GET(session.answer->result), session.answer->sentence, status,
                             gone ? "forgotten" : "not forgotten");
            wrong++;
        }
        if (is_short && refused[step - 1]++ == 0) {
            kinds++;
            harness_note("%u KiB: %s: %d \"%s\"", tries * ADDRESSES_STEP / 1024, limits_step_names[step - 1],
                         (int)GET(session.answer->result),
                         session.answer->sentence);
        }
    }
    if (harness_expect(wrong == 0 && kinds >= 2 && !is_short,
                       "a client short of addresses %u times, at %u steps: -ENOMEM and a sentence, forgotten, and the same call "
                       "works later",
                       tries - 1, kinds))
        limits_reached("a process's addresses (RLIMIT_AS)");
    limits_bystanders_expect(&bystanders, "a client short of addresses");
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}
#endif

/* ---------------------------------------------------------------- huge pages */

#define PAGES_FILE "/proc/sys/vm/nr_hugepages"
#define HUGE_POOL LIMITS_POOL ",size=128,count=16384,pages=2m" /* one page */

static uint64_t pages_free(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
    if (file && fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages;
}

/* Promises itself all pages that there are, and lets them go, again and again: between the daemon's look and its own. */
static int steal_pages(void *context)
{
    struct limits_answer *answer = context;
    while (!GET(answer->go_on)) {
        for (uint64_t pages = pages_free(); pages > 0; pages--) {
            void *stolen = mmap(NULL, pages * HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
                                -1, 0);
            if (stolen != MAP_FAILED) {
                ADD(answer->number);
                harness_sleep_ns(100000);
                munmap(stolen, pages * HUGE_BYTES);
                break;
            }
        }
        harness_sleep_ns(100000);
    }
    return 0;
}

static void stolen_pages(struct order *order)
{
    struct limits_answer *answer = limits_answer_new();
    unsigned made = 0, refused = 0, wrong = 0;
    pid_t thief = harness_fork(steal_pages, answer);
    for (unsigned i = 0; i < harness_scaled(60, 10); i++) {
        memset(order->answer, 0, sizeof *order->answer);
        limits_run(order_memory, order);
        made += GET(order->answer->result) == 0;
        refused += GET(order->answer->result) == -ENOSPC && order->answer->sentence[0] != '\0';
        wrong += GET(order->answer->result) != 0 && GET(order->answer->result) != -ENOSPC;
    }
    SET(answer->go_on, 1);
    harness_join(thief, LIMITS_LONG_NS);
    harness_expect(wrong == 0 && GET(answer->number) > 0,
                   "huge pages that another takes meanwhile (%llu times): %u pools made, %u refused, nothing else",
                       (unsigned long long)GET(answer->number),
                   made, refused);
}

static void pages_of_daemon(struct harness_daemon *daemon)
{
    static const char *const too_large[] = { "--pool=" LIMITS_POOL ",size=128,count=128K,pages=2m", NULL };
    static const char *const falls_back[] = { "--pool=" LIMITS_POOL ",size=128,count=128K,pages=2m,fallback", NULL };
    static const char *const fits[] = { "--pool=" HUGE_POOL, NULL };
    static const char *const refused[] = { "needs 8 pages of 2 MiB", "free", "nr_hugepages", "or allow other pages", NULL };
    struct limits_bystanders bystanders;
    struct order order = { daemon, limits_answer_new(), NULL, 128 << 10, 0, 0 };
    int status = limits_daemon_start(daemon, &(struct limits_start){ .options = too_large });
    limits_expect_refused(daemon, status, EX_CONFIG, "more huge pages than there are", refused);
    status = limits_daemon_start(daemon, &(struct limits_start){ .options = falls_back });
    if (harness_expect(status == 0, "with fallback the same daemon starts (%x)", (unsigned)status))
        harness_daemon_stop(daemon);
    limits_reached("huge pages, at the start");
    status = limits_daemon_start(daemon, &(struct limits_start){ .options = fits });
    if (!harness_expect(status == 0, "with as many as there are it starts (%x)", (unsigned)status) ||
        !limits_bystanders_start(&bystanders, daemon))
        return;
    pid_t worker = harness_daemon_worker(daemon);
    order_expect(&order, -ENOSPC, "huge pages, when a pool grows", refused);
    order = (struct order){ daemon, order.answer, "another", 128 << 10, 128, NUMAPOOL_HUGE_2M };
    order_expect(&order, -ENOSPC, "huge pages, for another pool", refused);
    order.flags |= NUMAPOOL_PAGES_FALLBACK;
    order_expect(&order, 0, "the same with fallback", PARTS(""));
    order.flags = NUMAPOOL_HUGE_2M;
    order.slots = 16 << 10;
    stolen_pages(&order);
    order.slots = 128 << 10;
    limits_bystanders_expect(&bystanders, "no huge pages");
    if (limits_change(PAGES_FILE, "24") && pages_free() >= 16) {
        order_expect(&order, 0, "when there are more the same pool is made", PARTS(""));
        order.pool = NULL;
        order_expect(&order, 0, "when there are more the same pool grows", PARTS(""));
    }
    harness_expect(harness_daemon_worker(daemon) == worker, "the worker is the same: no SIGBUS");
    limits_bystanders_expect(&bystanders, "huge pages");
    limits_bystanders_end(&bystanders, daemon);
    harness_daemon_stop(daemon);
}

static void huge_pages(void)
{
    struct harness_daemon daemon;
    /* Unit tests that reserve huge pages take this lock as well. */
    int alone = open("/sys/kernel/mm/hugepages", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (alone < 0 || flock(alone, LOCK_EX) != 0 || !limits_change(PAGES_FILE, "4") || pages_free() != 4) {
        limits_not_run("huge pages", "they cannot be reserved here");
    } else {
        harness_daemon_prepare(&daemon);
        pages_of_daemon(&daemon);
        harness_daemon_remove(&daemon);
    }
    limits_restore_all();
    if (alone >= 0)
        close(alone);
}

void limits_memory(void)
{
    locked_memory();
    node_memory();
    addresses();
    huge_pages();
}
