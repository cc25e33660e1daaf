/* SPDX-License-Identifier: MIT
 * Control groups: the daemon in one whose limit is too small, is lowered, or is used up by another; clients in small ones
 * of their own;
 * one that lets no thread and no process be started. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "limits.h"

/* Asked by the address sanitizer. What it keeps of freed memory would make a program of this test, and not the worker, the largest of its
 * group, whom the kernel kills. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8";
}

#define MIB (UINT64_C(1) << 20)
#define LARGE_POOL LIMITS_POOL ",size=128,count=512K" /* 64 MiB, and 4 of words */
#define PARTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

enum { HELD = 300, SENT = 20 };

static struct limits_group group;

static void enter(void *context)
{
    (void)context;
    if (!limits_group_enter(&group, getpid()))
        _exit(100);
}

static bool limit_memory(uint64_t bytes)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    return limits_group_set(&group, "memory.limit_in_bytes", text);
}

/* ---------------------------------------------------------------- the daemon's own */

struct growth {
    const struct harness_daemon *daemon;
    struct limits_answer *answer;
    uint64_t slots;
};

static int grow(void *context)
{
    struct growth *growth = context;
    struct numapool_client *client;
    if (numapool_connect(&client, growth->daemon->socket) < 0)
        return 1;
    limits_keep(growth->answer, numapool_admin_grow(client, LIMITS_POOL, NUMAPOOL_ANY_NODE, growth->slots));
    return numapool_disconnect(client) < 0;
}

static int live_a_session(void *context)
{
    return limits_session_run(context, NULL);
}

static void lower_the_limit(struct harness_daemon *daemon)
{
    static const char *const refused[] = { "lane", "and the limit ", "leaves", "raise the limit (MemoryMax=", NULL };
    struct limits_session session = { .daemon = daemon, .answer = limits_answer_new() };
    uint64_t usage = limits_group_get(&group, "memory.usage_in_bytes");
    /* Less than what the budget leaves alone, and more than the kernel needs for a client or two. */
    if (!limit_memory(usage + 3 * MIB / 2)) {
        limits_not_run("a memory limit that is lowered", "the kernel does not lower it");
        return;
    }
    harness_sleep_ns(100000000); /* small memory is weighed together, for 50 ms */
    pid_t asker = harness_fork(live_a_session, &session);
    bool came = limits_comes_to(session.answer, 1);
    unsigned step = (unsigned)GET(session.answer->number);
    harness_expect(came && step > 0, "under a limit that was lowered a client is refused something (%s)",
                   step > 0 ? limits_step_names[step - 1] : "nothing");
    if (limits_expect_sentence(session.answer, -ENOMEM, "a memory limit that is lowered", step == 2 ? refused + 1 : refused))
        limits_reached("a memory limit that is lowered");
    limit_memory(512 * MIB);
    SET(session.answer->go_on, 2);
    int status = harness_join(asker, LIMITS_LONG_NS);
    harness_expect(status == 0, "when it is raised the same call works (%x)", (unsigned)status);
}

static void memory_of_daemon(void)
{
    static const char *const too_large[] = { "--pool=" LIMITS_POOL ",size=128,count=8M", NULL }; /* 1 GiB */
    static const char *const fits[] = { "--pool=" LARGE_POOL, NULL };
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct growth growth = { &daemon, limits_answer_new(), 8 << 20 };
    harness_daemon_prepare(&daemon);
    limit_memory(512 * MIB);
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .options = too_large, .before = enter });
    limits_expect_refused(&daemon, status, EX_CONFIG, "a pool larger than the control group's limit",
                          PARTS("payload of pool '" LIMITS_POOL "'", "and the limit ", group.path, "leaves", "MemoryMax="));
    limits_reached("memory limit of a control group, at the start");
    status = limits_daemon_start(&daemon, &(struct limits_start){ .options = fits, .before = enter });
    if (harness_expect(status == 0, "one that fits starts (%x)", (unsigned)status) &&
        limits_bystanders_start(&bystanders, &daemon)) {
        pid_t worker = harness_daemon_worker(&daemon);
        harness_expect(limits_run(grow, &growth) == 0, "an admin is answered");
        if (limits_expect_sentence(growth.answer, -ENOMEM, "a growth beyond the limit",
                                   PARTS("and the limit ", group.path, "leaves", "raise")))
            limits_reached("memory limit of a control group, when a pool grows");
        limits_bystanders_expect(&bystanders, "a growth was refused");
        lower_the_limit(&daemon);
        growth.slots = 4096;
        harness_expect(limits_run(grow, &growth) == 0 && GET(growth.answer->result) == 0,
                       "with room the same growth works (\"%s\")",
                       growth.answer->sentence);
        harness_expect(harness_daemon_worker(&daemon) == worker, "the worker is the same");
        limits_bystanders_expect(&bystanders, "a limit that was lowered");
        limits_bystanders_end(&bystanders, &daemon);
    }
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- used up */

/* Takes memory of the group until whom it is after is dead. */
struct hog {
    pid_t victim;
    struct limits_answer *answer;
};

static int take_until_dead(void *context)
{
    struct hog *hog = context;
    enum { TAKEN_MAX = 4096 };
    enter(NULL);
    for (unsigned i = 0; i < TAKEN_MAX && harness_is_alive(hog->victim); i++) {
        char *taken = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (taken == MAP_FAILED)
            harness_sleep_ns(1000000);
        ADD(hog->answer->number);
    }
    return 0;
}

/* Sooner than anybody else. */
static bool be_victim(pid_t pid)
{
    char path[48];
    snprintf(path, sizeof path, "/proc/%ld/oom_score_adj", (long)pid);
    FILE *file = fopen(path, "we");
    bool done = file && fputs("1000", file) >= 0;
    return file && fclose(file) == 0 && done;
}

static void killed_worker(void)
{
    static const char *const fits[] = { "--pool=" LARGE_POOL, NULL };
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct hog hog = { 0, limits_answer_new() };
    harness_daemon_prepare(&daemon);
    limit_memory(512 * MIB);
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .options = fits, .before = enter });
    if (harness_expect(status == 0, "a daemon in a control group starts (%x)", (unsigned)status) &&
        limits_bystanders_start(&bystanders, &daemon)) {
        hog.victim = harness_daemon_worker(&daemon);
        limit_memory(limits_group_get(&group, "memory.usage_in_bytes") + 24 * MIB);
        bool chosen = be_victim(hog.victim);
        limits_run(take_until_dead, &hog);
        bool dead = !harness_is_alive(hog.victim);
        if (harness_expect(chosen && dead && limits_log_has(&daemon, PARTS("the worker was killed by signal 9")),
                           "another uses up the group's memory (%llu MiB): the kernel kills the worker",
                               (unsigned long long)GET(hog.answer->number)))
            limits_reached("the kernel kills the worker for want of memory");
        harness_expect(harness_daemon_next_worker(&daemon, hog.victim) > 0, "another worker takes over");
        limit_memory(512 * MIB);
        struct limits_session session = { .daemon = &daemon, .answer = limits_answer_new() };
        SET(session.answer->go_on, 2);
        status = limits_run(live_a_session, &session);
        harness_expect(status == 0 && GET(session.answer->number) == 0, "and serves (%d \"%s\")", status,
                       session.answer->sentence);
        limits_bystanders_expect(&bystanders, "the worker was killed for want of memory");
        limits_bystanders_end(&bystanders, &daemon);
    }
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- a client's own */

static int touch_all(void *context)
{
    struct limits_session *session = context;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    enum { SLOTS = 400000, BULK = 1000 };
    static void *slots[SLOTS];
    enter(NULL);
    if (numapool_connect(&session->client, session->daemon->socket) < 0 ||
        numapool_open(session->client, LIMITS_POOL, NUMAPOOL_PREFAULT, &pool) < 0 ||
        numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0)
        return limits_keep(session->answer, -1), 1;
    for (unsigned i = 0; i < SLOTS; i += BULK) {
        if (numapool_get_bulk(magazine, slots + i, BULK) < 0)
            return limits_keep(session->answer, -1), 1;
        for (unsigned k = 0; k < BULK; k++)
            memset(slots[i + k], 0x5a, 128);
    }
    SET(session->answer->number, limits_group_get(&group, "memory.usage_in_bytes"));
    for (unsigned i = 0; i < SLOTS; i += BULK)
        numapool_put_bulk(magazine, slots + i, BULK);
    return numapool_magazine_close(magazine) < 0 || numapool_close(pool) < 0 || numapool_disconnect(session->client) < 0;
}

/* Holds slots, has messages under way, and takes more memory than its group allows. */
static int hold_and_take(void *context)
{
    struct limits_session *session = context;
    struct numapool_msg message = { .length = 8 };
    void *slots[HELD];
    enter(NULL);
    if (numapool_connect(&session->client, session->daemon->socket) < 0 ||
        numapool_open(session->client, LIMITS_POOL, 0, &session->pool) < 0 ||
        numapool_magazine_open(session->pool, NUMAPOOL_ANY_NODE, 0, &session->magazine) < 0 ||
        numapool_sender_open(session->pool, "oom", NULL, &session->sender) < 0 ||
        numapool_receiver_open(session->pool, "oom", NULL, &session->receiver) < 0 ||
            numapool_get_bulk(session->magazine, slots, HELD) < 0)
        return 1;
    for (unsigned i = 0; i < SENT; i++)
        if (!(message.data = numapool_loan(session->sender)) || numapool_send(session->sender, &message, 0) < 0)
            return 1;
    if (numapool_receive(session->receiver, &message, 1, LIMITS_SECOND_NS) != 1)
        return 1;
    SET(session->answer->number, 1);
    for (;;)
        if (mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
            harness_sleep_ns(1000000);
}

/* What it had sent is received by another, in order. */
static int take_what_is_left(void *context)
{
    struct limits_session *session = context;
    struct numapool_msg message;
    unsigned got = 0;
    if (numapool_connect(&session->client, session->daemon->socket) < 0 ||
        numapool_open(session->client, LIMITS_POOL, 0, &session->pool) < 0 ||
        numapool_receiver_open(session->pool, "oom", NULL, &session->receiver) < 0)
        return 1;
    for (; numapool_receive(session->receiver, &message, 1, LIMITS_SECOND_NS / 5) == 1; got++)
        numapool_release(session->receiver, &message, 1);
    return got != SENT || numapool_receiver_close(session->receiver) < 0 || numapool_close(session->pool) < 0 ||
           numapool_disconnect(session->client) < 0;
}

static void memory_of_clients(void)
{
    static const char *const fits[] = { "--pool=" LARGE_POOL, NULL };
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct limits_session session = { .daemon = &daemon, .answer = limits_answer_new() };
    harness_daemon_prepare(&daemon);
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .options = fits });
    if (!harness_expect(status == 0, "the daemon starts (%x)", (unsigned)status) ||
        !limits_bystanders_start(&bystanders, &daemon))
        return;
    limit_memory(32 * MIB);
    status = limits_run(touch_all, &session);
    if (harness_expect(status == 0 && GET(session.answer->number) < 32 * MIB,
                       "a client in a group of 32 MiB writes to 49 MiB of payload: the daemon is charged, the group has %llu KiB "
                       "(%d \"%s\")",
                       (unsigned long long)GET(session.answer->number) / 1024, status, session.answer->sentence))
        limits_reached("payload beyond the limit of a client's control group");
    memset(session.answer, 0, sizeof *session.answer);
    status = harness_join(harness_fork(hold_and_take, &session), LIMITS_LONG_NS);
    if (harness_expect(GET(session.answer->number) == 1 && status >= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                       "a client with slots and messages takes more than its group has: the kernel kills it (%x)",
                           (unsigned)status))
        limits_reached("the kernel kills a client for want of memory");
    harness_expect(limits_run(take_what_is_left, &session) == 0, "all that it had sent is received by another");
    limits_bystanders_expect(&bystanders, "a client was killed for want of memory");
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- tasks */

static bool may_have_tasks(const char *text)
{
    return limits_group_set(&group, "pids.max", text);
}

static int make_a_pool(void *context)
{
    struct growth *growth = context;
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_client *client;
    if (numapool_connect(&client, growth->daemon->socket) < 0)
        return 1;
    options.name = "threaded";
    options.slot_bytes = 64;
    options.slots = 64;
    int result = limits_keep(growth->answer, numapool_admin_create(client, &options));
    if (result == 0)
        result = numapool_admin_destroy(client, "threaded", 0);
    return numapool_disconnect(client) < 0;
}

static void no_tasks(void)
{
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct growth growth = { &daemon, limits_answer_new(), 0 };
    harness_daemon_prepare(&daemon);
    may_have_tasks("max");
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .before = enter });
    if (!harness_expect(status == 0, "a daemon in a control group of tasks starts (%x)", (unsigned)status) ||
        !limits_bystanders_start(&bystanders, &daemon))
        return;
    pid_t worker = harness_daemon_worker(&daemon);
    may_have_tasks("2");
    harness_expect(limits_run(make_a_pool, &growth) == 0, "an admin is answered");
    if (limits_expect_sentence(growth.answer, -EAGAIN, "no thread to make memory",
                               PARTS("cannot start a thread", "TasksMax=")))
        limits_reached("no thread may be started");
    may_have_tasks("1");
    unsigned lines = limits_log_lines(&daemon);
    kill(worker, SIGKILL);
    harness_sleep_ns(LIMITS_SECOND_NS / 2);
    lines = limits_log_lines(&daemon) - lines;
    if (harness_expect(limits_log_has(&daemon, PARTS("cannot start a worker (fork:", "TasksMax=")) && lines < 60,
                       "no process may be started for a worker: it is said, and tried again (%u lines)", lines))
        limits_reached("no process may be started");
    limits_bystanders_expect(&bystanders, "no worker can be started");
    may_have_tasks("max");
    harness_expect(harness_daemon_next_worker(&daemon, worker) > 0, "as soon as it may there is a worker again");
    memset(growth.answer, 0, sizeof *growth.answer);
    harness_expect(limits_run(make_a_pool, &growth) == 0 && GET(growth.answer->result) == 0,
                   "and the same call works (\"%s\")",
                   growth.answer->sentence);
    limits_bystanders_expect(&bystanders, "there is a worker again");
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}

void limits_groups(void)
{
    if (limits_group_make(&group, "memory")) {
        memory_of_daemon();
        killed_worker();
        memory_of_clients();
    } else {
        limits_not_run("memory of control groups", "none may be made here");
    }
    limits_restore_all();
    if (limits_group_make(&group, "pids"))
        no_tasks();
    else
        limits_not_run("tasks of control groups", "none may be made here");
}
