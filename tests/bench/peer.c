/* SPDX-License-Identifier: MIT
 *
 * The other process of a pair: it sleeps on a socket between laps, so that it disturbs nobody, and spins within them.
 */
#include "peer.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Shared by the two; a line for each writer. */
struct control {
    _Alignas(128) _Atomic uint32_t started; /* the peer's: number of the lap that it is ready for */
    _Atomic uint32_t finished;              /* number of the last lap that it has done */
    double idle;                            /* in that lap */
    _Alignas(128) _Atomic uint32_t go;      /* the lead's: number of the lap that it has begun */
};

struct command {
    uint32_t variant; /* STOP: none */
    uint64_t operations;
};

#define STOP UINT32_MAX

struct bench_peer {
    struct control *control;
    const struct bench_variant *const *variants;
    unsigned variant_count;
    void *const *states;
    int socket;
    pid_t pid;
    uint32_t lap;
};

/* A peer that dies leaves the lead spinning for ever, so its death ends the program from within the signal. */
static volatile pid_t watched_pid;

static void peer_died(int signal_number)
{
    static const char sentence[] = "bench: the peer process has ended in the middle of a benchmark\n";
    (void)signal_number;
    int status;
    if (waitpid(watched_pid, &status, WNOHANG) == watched_pid) {
        if (write(STDERR_FILENO, sentence, sizeof sentence - 1) < 0)
            _exit(2);
        _exit(1);
    }
}

static double idle_share(int64_t wall_ns, const struct timespec *from)
{
    struct timespec to;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    double used_ns = (double)(to.tv_sec - from->tv_sec) * 1e9 + (double)(to.tv_nsec - from->tv_nsec);
    double idle = wall_ns > 0 ? 1 - used_ns / (double)wall_ns : 0;
    return idle > 0 ? idle : 0;
}

static void send_whole(int socket, const void *bytes, size_t n)
{
    if (send(socket, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
        bench_fail("the other process of the pair is gone");
}

static bool receive_whole(int socket, void *bytes, size_t n)
{
    return recv(socket, bytes, n, MSG_WAITALL) == (ssize_t)n;
}

static _Noreturn void peer_main(struct bench_peer *peer, int cpu)
{
    struct command command;
    char joined = 1;
    bench_pin(cpu);
    for (unsigned i = 0; i < peer->variant_count; i++)
        if (peer->variants[i]->join)
            peer->variants[i]->join(peer->states[i], BENCH_PEER);
    send_whole(peer->socket, &joined, sizeof joined);
    while (receive_whole(peer->socket, &command, sizeof command) && command.variant != STOP) {
        struct timespec cpu_start;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu_start);
        int64_t start_ns = bench_now_ns();
        peer->lap++;
        atomic_store_explicit(&peer->control->started, peer->lap, memory_order_release); /* pairs with the lead's acquire */
        while (atomic_load_explicit(&peer->control->go, memory_order_acquire) != peer->lap)
            bench_pause();
        peer->variants[command.variant]->peer(peer->states[command.variant], command.operations);
        peer->control->idle = idle_share(bench_now_ns() - start_ns, &cpu_start);
        atomic_store_explicit(&peer->control->finished, peer->lap, memory_order_release); /* pairs with the lead's acquire */
    }
    for (unsigned i = 0; i < peer->variant_count; i++)
        if (peer->variants[i]->leave)
            peer->variants[i]->leave(peer->states[i], BENCH_PEER);
    send_whole(peer->socket, &joined, sizeof joined);
    _exit(0);
}

struct bench_peer *bench_peer_start(const struct bench_variant *const *variants, unsigned variant_count, void *const *states,
                                    const struct bench_options *options)
{
    int sockets[2];
    char joined;
    struct bench_peer *peer = calloc(1, sizeof *peer);
    if (!peer || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
        bench_fail("no socket pair for the peer process: %m");
    peer->control = bench_shared(sizeof *peer->control);
    peer->variants = variants;
    peer->variant_count = variant_count;
    peer->states = states;
    fflush(NULL);
    peer->pid = fork();
    if (peer->pid < 0)
        bench_fail("the peer process cannot be forked: %m");
    if (peer->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGCHLD, SIG_DFL);
        close(sockets[0]);
        peer->socket = sockets[1];
        peer_main(peer, options->cpus[1]);
    }
    watched_pid = peer->pid;
    signal(SIGCHLD, peer_died);
    close(sockets[1]);
    peer->socket = sockets[0];
    for (unsigned i = 0; i < variant_count; i++)
        if (variants[i]->join)
            variants[i]->join(states[i], BENCH_LEAD);
    if (!receive_whole(peer->socket, &joined, sizeof joined))
        bench_fail("the peer process did not get ready");
    return peer;
}

struct bench_lap bench_peer_run(struct bench_peer *peer, unsigned variant, uint64_t operations, struct bench_histogram *samples)
{
    struct command command = { .variant = variant, .operations = operations };
    struct control *control = peer->control;
    struct timespec cpu_start;
    send_whole(peer->socket, &command, sizeof command);
    peer->lap++;
    while (atomic_load_explicit(&control->started, memory_order_acquire) != peer->lap)
        bench_pause();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu_start);
    int64_t start_ns = bench_now_ns();
    atomic_store_explicit(&control->go, peer->lap, memory_order_release); /* pairs with the peer's acquire */
    peer->variants[variant]->lead(peer->states[variant], operations, samples);
    while (atomic_load_explicit(&control->finished, memory_order_acquire) != peer->lap)
        bench_pause();
    int64_t took_ns = bench_now_ns() - start_ns;
    double idle = idle_share(took_ns, &cpu_start);
    return (struct bench_lap){ .ns = (double)took_ns / (double)operations, .idle = idle > control->idle ? idle : control->idle };
}

void bench_peer_stop(struct bench_peer *peer)
{
    struct command command = { .variant = STOP };
    char left;
    signal(SIGCHLD, SIG_DFL); /* from here on it ends as it should */
    send_whole(peer->socket, &command, sizeof command);
    for (unsigned i = 0; i < peer->variant_count; i++)
        if (peer->variants[i]->leave)
            peer->variants[i]->leave(peer->states[i], BENCH_LEAD);
    if (!receive_whole(peer->socket, &left, sizeof left))
        bench_fail("the peer process did not end as it should");
    int status;
    waitpid(peer->pid, &status, 0);
    close(peer->socket);
    bench_unshare(peer->control, sizeof *peer->control);
    free(peer);
}
