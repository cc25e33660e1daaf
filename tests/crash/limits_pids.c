/* SPDX-License-Identifier: MIT
 * Process numbers that are used again: a client dies while no worker is there, and its number is given to a process that
 * has nothing to do
 * with it. The next worker must give back what the dead had, and neither end nor keep the innocent. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limits.h"

enum { HELD = 300, TRIES = 5 };

/* ---------------------------------------------------------------- the two processes */

static int hold(void *context)
{
    struct limits_session *session = context;
    limits_become(LIMITS_SOMEBODY);
    struct numapool_msg message = { .length = 8 };
    void *slots[HELD];
    int result = numapool_connect(&session->client, session->daemon->socket);
    SET(session->answer->number, result < 0 ? 0 : (uint64_t)numapool_client_id(session->client));
    limits_wait_go_on(session->answer, 1); /* its pidfd is with the keeper now, or is not */
    if (result < 0 || numapool_open(session->client, LIMITS_POOL, 0, &session->pool) < 0 ||
        numapool_magazine_open(session->pool, NUMAPOOL_ANY_NODE, 0, &session->magazine) < 0 ||
        numapool_sender_open(session->pool, "pids", NULL, &session->sender) < 0 ||
        numapool_receiver_open(session->pool, "pids", NULL, &session->receiver) < 0 ||
            numapool_get_bulk(session->magazine, slots, HELD) < 0)
        return 1;
    message.data = numapool_loan(session->sender);
    if (!message.data || numapool_send(session->sender, &message, 0) < 0)
        return 1;
    limits_wait_go_on(session->answer, 2);
    return numapool_put_bulk(session->magazine, slots, HELD) < 0; /* and ends with the rest open */
}

/* Has the number of the dead, and connects when it is told to. */
static int be_innocent(void *context)
{
    struct limits_session *session = context;
    limits_become(LIMITS_SOMEBODY);
    limits_wait_go_on(session->answer, 1);
    return limits_session_run(session, NULL);
}

/* A process with this number; 0: the number is somebody else's by now; -1: it cannot be had here. */
static pid_t fork_as(pid_t pid, int (*body)(void *context), void *context)
{
    pid_t wanted[1] = { pid }, parent = getpid();
    struct clone_args how = { .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)wanted, .set_tid_size = 1 };
    fflush(stdout);
    long made = syscall(SYS_clone3, &how, sizeof how);
    if (made < 0)
        return errno == EEXIST ? 0 : -1;
    if (made > 0)
        return (pid_t)made;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(2);
    _exit(body(context));
}

/* ---------------------------------------------------------------- the keeper's descriptors */

static bool keeper_lost_one(void *context)
{
    static const char *const parts[] = { "keeper", "a descriptor did not arrive", NULL };
    return limits_log_has(context, parts);
}

struct starving {
    pid_t keeper;
    bool starved;
};

/* By one of the keeper's own user. */
static int change_limit(void *context)
{
    const struct starving *starving = context;
    struct rlimit limit;
    limits_become(LIMITS_NOBODY);
    if (prlimit(starving->keeper, RLIMIT_NOFILE, NULL, &limit) != 0)
        return 1;
    limit.rlim_cur = starving->starved ? 3 : limit.rlim_max;
    return prlimit(starving->keeper, RLIMIT_NOFILE, &limit, NULL) != 0;
}

/* While it is in force the keeper has room for nothing. */
static void starve_keeper(pid_t keeper, bool starved)
{
    struct starving starving = { keeper, starved };
    limits_run(change_limit, &starving);
}

/* ---------------------------------------------------------------- trials */

struct trial {
    struct harness_daemon daemon;
    struct limits_bystanders bystanders;
    struct limits_session holder, innocent;
    bool with_pidfd;
};

/* A client that holds slots, whose pidfd the keeper has or has lost. */
static pid_t begin_holder(struct trial *trial)
{
    trial->holder = (struct limits_session){ .daemon = &trial->daemon, .answer = limits_answer_new() };
    if (!trial->with_pidfd)
        starve_keeper(trial->daemon.keeper, true);
    pid_t pid = harness_fork(hold, &trial->holder);
    bool came = limits_comes_to(trial->holder.answer, 1);
    if (!trial->with_pidfd) {
        came = came && harness_wait_until(keeper_lost_one, &trial->daemon, LIMITS_LONG_NS);
        starve_keeper(trial->daemon.keeper, false);
    }
    SET(trial->holder.answer->go_on, 1);
    came = came && limits_comes_to(trial->holder.answer, 2);
    harness_expect(came && GET(trial->holder.answer->number) > 0, "a client holds %d slots, and the keeper has%s its pidfd",
                   HELD,
                   trial->with_pidfd ? "" : " not");
    return pid;
}

/* The next worker finds the number in use by another. Whether that could be arranged. */
static bool number_used_again(struct trial *trial)
{
    struct harness_look look;
    int64_t took_ns;
    pid_t pid = begin_holder(trial), worker = harness_daemon_worker(&trial->daemon);
    uint32_t client = (uint32_t)GET(trial->holder.answer->number);
    if (!harness_look_open(&look, trial->daemon.socket))
        return false;
    uint64_t cookie = harness_look_cookie(&look, client);
    harness_sleep_ns(30000000); /* three ticks: who is started now has another start time */
    trial->innocent = (struct limits_session){ .daemon = &trial->daemon, .answer = limits_answer_new() };
    kill(trial->daemon.keeper, SIGSTOP);
    kill(worker, SIGKILL);
    harness_kill(pid);
    pid_t innocent = fork_as(pid, be_innocent, &trial->innocent);
    kill(trial->daemon.keeper, SIGCONT);
    harness_daemon_next_worker(&trial->daemon, worker);
    took_ns = harness_look_wait_gone(&look, client, cookie, LIMITS_LONG_NS);
    harness_look_close(&look);
    harness_expect(took_ns >= 0, "the next worker gives back what the dead had (after %.1f ms)", (double)took_ns / 1e6);
    if (innocent > 0) {
        harness_expect(innocent == pid && limits_comes_to(trial->innocent.answer, 1) && harness_is_alive(innocent),
                       "the process that has its number %d lives", (int)pid);
        limits_bystanders_expect(&trial->bystanders, "a number that is used again");
        SET(trial->innocent.answer->go_on, 1);
        int status = harness_join(innocent, LIMITS_LONG_NS);
        harness_expect(status == 0 && GET(trial->innocent.answer->number) == 0,
                       "it connects in its turn, and is served (%x \"%s\")",
                       (unsigned)status, trial->innocent.answer->sentence);
    } else if (innocent < 0) {
        limits_not_run("process numbers that are used again", "none can be chosen here (clone3 set_tid)");
        return true;
    }
    return innocent > 0;
}

/* A worker that has no pidfd of a living client finds it by number and start time, and does not take its slots away. */
static void number_found_again(struct trial *trial)
{
    struct harness_look look;
    pid_t pid = begin_holder(trial), worker = harness_daemon_worker(&trial->daemon);
    uint32_t client = (uint32_t)GET(trial->holder.answer->number);
    if (!harness_look_open(&look, trial->daemon.socket))
        return;
    uint64_t cookie = harness_look_cookie(&look, client);
    for (unsigned i = 0; i < 2; i++) {
        kill(worker, SIGKILL);
        worker = harness_daemon_next_worker(&trial->daemon, worker);
    }
    limits_bystanders_expect(&trial->bystanders, "workers were killed");
    harness_expect(!harness_look_is_gone(&look, client, cookie) && harness_is_alive(pid),
                   "after two workers it is a client as before");
    SET(trial->holder.answer->go_on, 2);
    int status = harness_join(pid, LIMITS_LONG_NS);
    int64_t took_ns = harness_look_wait_gone(&look, client, cookie, LIMITS_LONG_NS);
    harness_expect(status == 0 && took_ns >= 0, "it puts its slots, ends, and is forgotten (%x, %.1f ms)", (unsigned)status,
                   (double)took_ns / 1e6);
    harness_look_close(&look);
}

static int take_message(void *context)
{
    struct limits_session *session = context;
    struct numapool_msg message;
    if (numapool_connect(&session->client, session->daemon->socket) < 0 ||
        numapool_open(session->client, LIMITS_POOL, 0, &session->pool) < 0 ||
        numapool_receiver_open(session->pool, "pids", NULL, &session->receiver) < 0)
        return 1;
    while (numapool_receive(session->receiver, &message, 1, LIMITS_SECOND_NS / 10) == 1)
        numapool_release(session->receiver, &message, 1);
    return numapool_receiver_close(session->receiver) < 0 || numapool_close(session->pool) < 0 ||
           numapool_disconnect(session->client) < 0;
}

static void be_nobody(void *context)
{
    (void)context;
    limits_become(LIMITS_NOBODY);
}

/* Daemon and client are of different users, so the daemon cannot see what a process has mapped, which would tell it too. */
static void run_trial(bool with_pidfd, bool used_again)
{
    static const char *const options[] = { "--pool=" LIMITS_POOL_SPEC ",direct=0:65533", NULL };
    struct trial trial = { .with_pidfd = with_pidfd };
    harness_daemon_prepare(&trial.daemon);
    chmod(trial.daemon.directory, 0777);
    int status = limits_daemon_start(&trial.daemon, &(struct limits_start){ .options = options, .before = be_nobody });
    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 100) {
        limits_not_run("process numbers that are used again", "no other user can be had here");
        harness_daemon_remove(&trial.daemon);
        return;
    }
    if (!harness_expect(status == 0, "the daemon starts (%x)", (unsigned)status) ||
        !limits_bystanders_start(&trial.bystanders, &trial.daemon))
        return;
    if (used_again) {
        bool arranged = false;
        for (unsigned i = 0; i < TRIES && !arranged; i++)
            arranged = number_used_again(&trial);
        if (harness_expect(arranged, "a number is used again"))
            limits_reached(with_pidfd ? "a process number used again, known by its pidfd"
                                      : "a process number used again, known by its start time");
    } else {
        number_found_again(&trial);
        limits_reached("a client whose pidfd was lost");
    }
    trial.holder.answer = limits_answer_new();
    harness_expect(limits_run(take_message, &trial.holder) == 0, "what it had sent is received by another");
    limits_bystanders_end(&trial.bystanders, &trial.daemon);
    limits_daemon_end(&trial.daemon);
}

void limits_pids(void)
{
    run_trial(true, true);
    run_trial(false, true);
    run_trial(false, false);
}
