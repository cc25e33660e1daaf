/* SPDX-License-Identifier: MIT
 * Open files: the daemon's, a client's, the system's. Each is short by one descriptor more each time, so that every step
 * that
 * wants one meets the limit. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "container.h"
#include "limits.h"
#include "service/wire.h"

enum { STEPS = LIMITS_SESSION_STEPS, SHORT_MAX = 24 };

/* ---------------------------------------------------------------- of the daemon */

/* The limit with which so many numbers are free: descriptors that are open above it stay open. */
static rlim_t limit_for(pid_t pid, unsigned spare)
{
    enum { NUMBERS = 4096 };
    static bool is_open[NUMBERS];
    char path[48];
    unsigned number = 0;
    struct dirent *entry;
    memset(is_open, 0, sizeof is_open);
    snprintf(path, sizeof path, "/proc/%ld/fd", (long)pid);
    DIR *descriptors = opendir(path);
    while (descriptors && (entry = readdir(descriptors)))
        if (entry->d_name[0] != '.' && atoi(entry->d_name) < NUMBERS)
            is_open[atoi(entry->d_name)] = true;
    if (descriptors)
        closedir(descriptors);
    for (; number < NUMBERS && (is_open[number] || spare > 0); number++)
        spare -= !is_open[number];
    return number;
}

static bool allow_descriptors(pid_t pid, rlim_t number)
{
    struct rlimit limit;
    if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit) != 0)
        return false;
    limit.rlim_cur = number < limit.rlim_max ? number : limit.rlim_max;
    return prlimit(pid, RLIMIT_NOFILE, &limit, NULL) == 0;
}

static int ask_daemon(void *context)
{
    return limits_session_run(context, NULL);
}

/* The worker has closed what belonged to who has gone: `descriptors` are what it has with the bystanders alone. */
struct settling {
    pid_t worker;
    unsigned descriptors;
};

static bool is_settled(void *context)
{
    const struct settling *settling = context;
    return limits_descriptors(settling->worker) == settling->descriptors;
}

static struct settling settle(pid_t worker)
{
    enum { LOOKS = 20 };
    struct settling settling = { worker, limits_descriptors(worker) };
    for (unsigned same = 0; same < LOOKS; same++) {
        harness_sleep_ns(2000000);
        if (!is_settled(&settling)) {
            settling.descriptors = limits_descriptors(worker);
            same = 0;
        }
    }
    return settling;
}

static void shortage_of_daemon(void)
{
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    unsigned refused[STEPS] = { 0 }, spare = 0;
    if (!limits_daemon_usual(&daemon))
        return;
    pid_t worker = harness_daemon_worker(&daemon);
    if (!limits_bystanders_start(&bystanders, &daemon))
        return;
    struct settling settling = settle(worker);
    for (bool short_of_some = true; short_of_some && spare < SHORT_MAX; spare++) {
        struct limits_session session = { .daemon = &daemon, .answer = limits_answer_new() };
        harness_expect(harness_wait_until(is_settled, &settling, LIMITS_LONG_NS), "%u descriptors: nobody else has any",
                       spare);
        unsigned lines = limits_log_lines(&daemon);
        allow_descriptors(worker, limit_for(worker, spare));
        pid_t asker = harness_fork(ask_daemon, &session);
        bool came = limits_comes_to(session.answer, 1);
        unsigned step = (unsigned)GET(session.answer->number);
        short_of_some = step > 0;
        if (short_of_some) {
            const char *sentence = session.answer->sentence;
            uint64_t turns = limits_switches(worker);
            harness_sleep_ns(LIMITS_SECOND_NS / 5);
            turns = limits_switches(worker) - turns;
            refused[step - 1]++;
            harness_expect(came && GET(session.answer->result) == -EMFILE && strstr(sentence, "LimitNOFILE="),
                           "%u descriptors: %s is refused: %d \"%s\"", spare, limits_step_names[step - 1],
                               (int)GET(session.answer->result),
                           sentence);
            harness_expect(turns < 1000 && limits_log_lines(&daemon) - lines < 40,
                           "%u descriptors: nothing spins (%llu switches), %u lines of log",
                           spare, (unsigned long long)turns, limits_log_lines(&daemon) - lines);
        }
        allow_descriptors(worker, RLIM_INFINITY);
        SET(session.answer->go_on, 2);
        int status = harness_join(asker, LIMITS_LONG_NS);
        harness_expect(came && status == 0, "%u descriptors: the same call works when there are more (%x)", spare,
                       (unsigned)status);
    }
    char steps[200] = "";
    unsigned kinds = 0;
    for (unsigned step = 0; step < STEPS; step++)
        if (refused[step] > 0) {
            kinds++;
            snprintf(steps + strlen(steps), sizeof steps - strlen(steps), " %s %u", limits_step_names[step], refused[step]);
        }
    if (harness_expect(kinds >= 3 && spare < SHORT_MAX, "the daemon is short of descriptors at each step:%s", steps))
        limits_reached("open files of the daemon");
    limits_bystanders_expect(&bystanders, "a daemon short of descriptors");
    harness_expect(harness_daemon_worker(&daemon) == worker, "the worker is the same");
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- of a client */

static struct limits_session *asking; /* in the asker */

static void wait_and_have_descriptors(void)
{
    if (GET(asking->answer->number) > 1)
        limits_wait_go_on(asking->answer, 1);
    allow_descriptors(0, RLIM_INFINITY); /* who could not connect does so at once,
    so that it maps something before it is looked for */
}

static int ask_with_few(void *context)
{
    struct limits_session *session = context;
    int lowest = open("/dev/null", O_RDONLY); /* what is open already does not count */
    close(lowest);
    allow_descriptors(0, (rlim_t)lowest + session->spare);
    asking = session;
    return limits_session_run(session, wait_and_have_descriptors);
}

static void shortage_of_client(void)
{
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    unsigned refused[STEPS] = { 0 }, spare = 0;
    if (!limits_daemon_usual(&daemon) || !limits_bystanders_start(&bystanders, &daemon))
        return;
    struct settling settling = settle(harness_daemon_worker(&daemon));
    for (bool short_of_some = true; short_of_some && spare < SHORT_MAX; spare++) {
        struct limits_session session = { .daemon = &daemon, .answer = limits_answer_new(), .spare = spare };
        pid_t asker = harness_fork(ask_with_few, &session);
        bool came = limits_comes_to(session.answer, 1);
        unsigned step = (unsigned)GET(session.answer->number);
        short_of_some = step > 0;
        if (short_of_some) {
            const char *sentence = session.answer->sentence;
            if (step == 1) /* it has tried again, and lives on */
                harness_expect(limits_comes_to(session.answer, 2) && limits_come_to_be(&daemon, 3),
                               "%u descriptors of its own: one who could not connect, and then could, is one client", spare);
            refused[step - 1]++;
            harness_expect(GET(session.answer->result) == -EMFILE && strstr(sentence, "limit of open files"),
                           "%u descriptors of its own: %s fails: %d \"%s\"", spare, limits_step_names[step - 1],
                               (int)GET(session.answer->result),
                           sentence);
        }
        SET(session.answer->go_on, 2);
        int status = harness_join(asker, LIMITS_LONG_NS);
        harness_expect(came && status == 0, "%u descriptors of its own: the same call works when there are more (%d)", spare,
                       status);
        harness_expect(harness_wait_until(is_settled, &settling, LIMITS_LONG_NS),
                       "%u descriptors of its own: the daemon has forgotten it", spare);
    }
    unsigned kinds = 0;
    for (unsigned step = 0; step < STEPS; step++)
        kinds += refused[step] > 0;
    if (harness_expect(kinds >= 2 && spare < SHORT_MAX, "a client is short of descriptors at %u steps", kinds))
        limits_reached("open files of a client");
    limits_bystanders_expect(&bystanders, "a client short of descriptors");
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- nobody can be accepted any more */

enum { FEW = 44 };

static void allow_few(void *context)
{
    const struct rlimit limit = { FEW, FEW };
    (void)context;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        _exit(100);
}

/* Asks until it is served; keeps the first refusal. */
static int ask_to_be_accepted(void *context)
{
    struct limits_session *session = context;
    limits_wait_go_on(session->answer, 1);
    int result = numapool_connect(&session->client, session->daemon->socket);
    limits_keep(session->answer, result);
    limits_wait_go_on(session->answer, 2);
    if (result < 0)
        result = limits_keep(session->answer, numapool_connect(&session->client, session->daemon->socket));
    return result < 0 || numapool_disconnect(session->client) < 0;
}

static void none_left(void)
{
    static const char *const usual[] = { "--pool=" LIMITS_POOL_SPEC, NULL };
    static const char *const refused[] = { "cannot accept a connection", "Too many open files", "LimitNOFILE=", NULL };
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    int silent[FEW];
    unsigned count = 0;
    harness_daemon_prepare(&daemon);
    int status = limits_daemon_start(&daemon, &(struct limits_start){ .options = usual, .before = allow_few });
    if (!harness_expect(status == 0, "a daemon that may have %d open files starts (%x)", FEW, (unsigned)status) ||
        !limits_bystanders_start(&bystanders, &daemon))
        return;
    pid_t worker = harness_daemon_worker(&daemon);
    struct limits_session session = { .daemon = &daemon, .answer = limits_answer_new() };
    pid_t asker = harness_fork(ask_to_be_accepted, &session); /* before what it would inherit */
    while (count < FEW && (silent[count] = np_wire_connect(daemon.socket)) >= 0)
        count++;
    struct settling full = settle(worker);
    harness_expect(limit_for(worker, 0) >= FEW, "its worker has all %u that it may have", full.descriptors);
    unsigned lines = limits_log_lines(&daemon);
    uint64_t turns = limits_switches(worker);
    SET(session.answer->go_on, 1);
    harness_expect(limits_comes_to(session.answer, 2), "who connects is answered");
    if (limits_expect_sentence(session.answer, -EMFILE, "nobody can be accepted", refused))
        limits_reached("no descriptor to accept a connection");
    turns = limits_switches(worker) - turns;
    lines = limits_log_lines(&daemon) - lines;
    harness_expect(turns < 2000 && lines <= 20 && limits_log_has(&daemon, refused),
                   "nothing spins (%llu switches), %u lines of log",
                   (unsigned long long)turns, lines);
    limits_bystanders_expect(&bystanders, "nobody can be accepted");
    while (count > 0)
        close(silent[--count]);
    settle(worker);
    SET(session.answer->go_on, 2);
    status = harness_join(asker, LIMITS_LONG_NS);
    harness_expect(status == 0, "when others have left the same call works (%x \"%s\")", (unsigned)status,
                   session.answer->sentence);
    limits_bystanders_end(&bystanders, &daemon);
    limits_daemon_end(&daemon);
}

/* ---------------------------------------------------------------- of the system */

/* fs.file-max is everybody's: whoever may not administer the system would be short as well meanwhile. So the kernel's answer
 * is a filter's, for one thread. */
static void *ask_without_files(void *context)
{
    struct limits_session *session = context;
    bool refused = container_refuse(SYS_socket, ENFILE);
    limits_keep(session->answer, refused ? numapool_connect(&session->client, session->daemon->socket) : -ENOSYS);
    return NULL;
}

static int ask_with_and_without(void *context)
{
    struct limits_session *session = context;
    pthread_t thread;
    if (pthread_create(&thread, NULL, ask_without_files, session) != 0 || pthread_join(thread, NULL) != 0)
        return 3;
    limits_wait_go_on(session->answer, 1);
    int result = numapool_connect(&session->client, session->daemon->socket);
    return result < 0 || numapool_disconnect(session->client) < 0;
}

static void none_in_the_system(void)
{
    static const char *const refused[] = { "Too many open files in system", "fs.file-max", NULL };
    struct harness_daemon daemon;
    struct limits_session session = { .daemon = &daemon, .answer = limits_answer_new() };
    if (!limits_daemon_usual(&daemon))
        return;
    pid_t asker = harness_fork(ask_with_and_without, &session);
    bool came = limits_comes_to(session.answer, 1);
    if (came && GET(session.answer->result) == -ENOSYS) {
        limits_not_run("open files of the system", "there are no seccomp filters here");
        harness_kill(asker);
    } else {
        if (limits_expect_sentence(session.answer, -ENFILE, "the system has no file left", refused) && came)
            limits_reached("open files of the system");
        SET(session.answer->go_on, 1);
        int status = harness_join(asker, LIMITS_LONG_NS);
        harness_expect(status == 0, "when the system has some the same call works (%x)", (unsigned)status);
        harness_expect_nothing_left(&daemon);
    }
    limits_daemon_end(&daemon);
}

void limits_files(void)
{
    shortage_of_daemon();
    none_left();
    none_in_the_system();
    shortage_of_client();
}
