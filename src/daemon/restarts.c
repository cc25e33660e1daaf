/* SPDX-License-Identifier: MIT */
#include "daemon/restarts.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

#define CREDIT_MOST_NS (NP_RESTARTS_AT_ONCE * NP_RESTARTS_EACH_NS)

void np_restarts_born(struct np_restarts *restarts)
{
    restarts->is_ready = false;
}

void np_restarts_ready(struct np_restarts *restarts)
{
    restarts->is_ready = restarts->may_have_clients = true;
    restarts->failed = 0;
}

/* Time earns, up to what a row of restarts at once costs. */
static void earn(struct np_restarts *restarts, int64_t now_ns)
{
    int64_t earned_ns = restarts->earned_at_ns == 0 ? CREDIT_MOST_NS : now_ns - restarts->earned_at_ns;
    if (earned_ns > CREDIT_MOST_NS - restarts->credit_ns)
        earned_ns = CREDIT_MOST_NS - restarts->credit_ns;
    restarts->credit_ns += earned_ns > 0 ? earned_ns : 0;
    restarts->earned_at_ns = now_ns;
}

int64_t np_restarts_after(struct np_restarts *restarts, int64_t now_ns)
{
    if (restarts->is_ready) {
        restarts->is_ready = false; /* one whose successor cannot even be started is not to count again */
        earn(restarts, now_ns);
        restarts->credit_ns -= NP_RESTARTS_EACH_NS;
        return restarts->credit_ns >= 0 ? 0 : -restarts->credit_ns;
    }
    restarts->failed++;
    if (!restarts->may_have_clients && restarts->failed >= NP_RESTARTS_TRIES_MAX)
        return -1;
    int64_t pause_ns = NP_RESTARTS_PAUSE_NS;
    for (unsigned i = 1; i < restarts->failed && pause_ns < NP_RESTARTS_PAUSE_MOST_NS; i++)
        pause_ns *= 2;
    return pause_ns < NP_RESTARTS_PAUSE_MOST_NS ? pause_ns : NP_RESTARTS_PAUSE_MOST_NS;
}

int np_restarts_give_up(const struct np_restarts *restarts, int how, char *sentence, size_t bytes)
{
    const char *again = "no worker became ready, in";
    if (how >= 0 && WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL) {
        snprintf(sentence, bytes, "%s %u tries; the last was killed (signal 9), as the kernel does when memory is short: make the pools "
                 "smaller, or give the daemon more memory (MemoryMax=, the node's free memory; dmesg says who was killed)",
                 again, restarts->failed);
        return EX_CONFIG;
    }
    if (how >= 0 && WIFSIGNALED(how) && WTERMSIG(how) == SIGSYS) {
        snprintf(sentence, bytes, "%s %u tries; the last was killed for a system call that a seccomp profile forbids: allow it "
                 "(SystemCallFilter=, the container's seccomp profile)", again, restarts->failed);
        return EX_CONFIG;
    }
    if (how >= 0 && WIFSIGNALED(how))
        snprintf(sentence, bytes, "%s %u tries; the last was ended by signal %d (%s): this is a fault of numapoold, please report it",
                 again, restarts->failed, WTERMSIG(how), strsignal(WTERMSIG(how)));
    else if (how >= 0)
        snprintf(sentence, bytes, "%s %u tries; the last ended with status %d and has said above why", again, restarts->failed,
                 WEXITSTATUS(how));
    else
        snprintf(sentence, bytes, "no worker could be started, in %u tries: the lines above say why", restarts->failed);
    return EX_SOFTWARE;
}
