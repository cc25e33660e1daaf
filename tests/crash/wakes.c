/* SPDX-License-Identifier: MIT
 *
 * A connection wakes one of those that wait to accept it, and a dead worker may still be one of them until the kernel has taken its
 * io_uring apart. Here a process that waits before each new worker and never accepts is woken in its place, for as long as it likes: every
 * client is served all the same.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

enum { WORKERS = 4, CLIENTS = 5, DESCRIPTORS_MAX = 64 };

struct trial {
    struct harness_daemon daemon;
    int listening;
    struct told {
        _Atomic uint32_t waits; /* it is about to wait, and has its place in the queue */
        _Atomic uint64_t woken;
    } *told;
};

/* The keeper's listening socket, as a dead worker's ring has it: -1 where the system does not allow to take it. */
static int take_listening_socket(pid_t keeper)
{
    int pidfd = (int)syscall(SYS_pidfd_open, keeper, 0);
    for (int fd = 3; pidfd >= 0 && fd < DESCRIPTORS_MAX; fd++) {
        int taken = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0), listens = 0;
        socklen_t bytes = sizeof listens;
        if (taken >= 0 && getsockopt(taken, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) == 0 && listens) {
            close(pidfd);
            return taken;
        }
        if (taken >= 0)
            close(taken);
    }
    if (pidfd >= 0)
        close(pidfd);
    return -1;
}

static int eat_wakes(void *context)
{
    struct trial *trial = context;
    struct epoll_event event = { .events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE };
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, trial->listening, &event) != 0)
        return 1;
    atomic_store_explicit(&trial->told->waits, 1, memory_order_relaxed);
    for (;;)
        if (epoll_wait(epoll, &event, 1, -1) == 1)
            atomic_fetch_add_explicit(&trial->told->woken, 1, memory_order_relaxed);
}

static bool is_waiting(void *context)
{
    struct trial *trial = context;
    return atomic_load_explicit(&trial->told->waits, memory_order_relaxed) != 0;
}

/* One connection after the other, so that none is heard of by the next one's. */
static unsigned connect_all(struct trial *trial)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct numapool_client *client;
        int result = numapool_connect(&client, trial->daemon.socket);
        if (result < 0)
            harness_note("client %u: %s", i, numapool_errormsg());
        failed += result < 0 || numapool_disconnect(client) < 0;
    }
    return failed;
}

int main(int argc, char **argv)
{
    static struct trial trial;
    harness_begin("wakes", argc, argv);
    trial.told = mmap(NULL, sizeof *trial.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&trial.daemon);
    if (trial.told == MAP_FAILED || !harness_expect(harness_daemon_start(&trial.daemon, "pay,size=128,count=1000"), "the daemon starts"))
        return harness_end();
    trial.listening = take_listening_socket(trial.daemon.keeper);
    if (trial.listening < 0) {
        printf("NOT RUN: wakes that are lost, for the system does not allow to take another process's descriptor (pidfd_getfd: %s)\n", strerror(errno));
    } else {
        pid_t eater = harness_fork(eat_wakes, &trial);
        harness_expect(harness_wait_until(is_waiting, &trial, INT64_C(10000000000)), "somebody waits who does not accept");
        unsigned failed = 0;
        for (unsigned i = 0; i < WORKERS; i++) {
            pid_t worker = harness_daemon_worker(&trial.daemon);
            kill(worker, SIGKILL);
            harness_expect(harness_daemon_next_worker(&trial.daemon, worker) != 0, "worker %u takes over, and waits behind him", i);
            failed += connect_all(&trial);
        }
        uint64_t woken = atomic_load_explicit(&trial.told->woken, memory_order_relaxed);
        harness_expect(failed == 0 && woken > 0, "of %u clients, for some of which another was woken %llu times, all are served", WORKERS * CLIENTS,
                       (unsigned long long)woken);
        harness_figure("wakes.lost", "another was woken for %llu of %u connections, and all were served", (unsigned long long)woken,
                       WORKERS * CLIENTS);
        harness_kill(eater);
        close(trial.listening);
    }
    harness_expect(harness_daemon_stop(&trial.daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&trial.daemon);
    return harness_end();
}
