/* SPDX-License-Identifier: MIT
 *
 * The other ends of a group, as processes or threads: they sleep on sockets between laps, so that they disturb nobody, and
 * spin within them. Where more ends than CPUs wait for each other they yield as well.
 */
#include "peer.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPINS_BEFORE_YIELD 200u

/* What an end spent on a lap. */
struct spent {
    int64_t start_ns, end_ns; /* by the monotonic clock */
    double cpu_ns;
};

/* Shared by all; a line for each writer. */
struct control {
    _Alignas(128) _Atomic uint32_t go; /* the lead's: number of the lap that it has begun */
    struct {
        _Alignas(128) _Atomic uint32_t started; /* this end's: number of the lap that it is ready for */
        _Atomic uint32_t finished;              /* number of the last lap that it has done */
        struct spent spent;                     /* in that lap */
    } ends[BENCH_ENDS_MAX];
};

struct command {
    uint32_t variant; /* STOP: none */
    uint32_t lap;
    uint64_t operations;
};

#define STOP UINT32_MAX

struct end {
    struct bench_peers *peers;
    unsigned number;
    int lead_socket, own_socket; /* the two ends of one pair */
    pid_t pid;
    pthread_t thread;
};

struct bench_peers {
    const struct bench_group *group;
    struct control *control;
    const struct bench_variant *const *variants;
    unsigned variant_count;
    void *const *states;
    const int *cpus;
    struct end ends[BENCH_ENDS_MAX]; /* from 1 */
    uint32_t lap;
};

/* An end that dies leaves the lead spinning for ever, so its death ends the program from within the signal. */
static volatile pid_t watched_pids[BENCH_ENDS_MAX];

static void end_died(int signal_number)
{
    static const char sentence[] = "bench: the process of another end has ended in the middle of a benchmark\n";
    (void)signal_number;
    int status;
    for (unsigned i = 0; i < BENCH_ENDS_MAX; i++)
        if (watched_pids[i] > 0 && waitpid(watched_pids[i], &status, WNOHANG) == watched_pids[i]) {
            ssize_t written = write(STDERR_FILENO, sentence, sizeof sentence - 1);
            if (bench_on_abort)
                bench_on_abort();
            _exit(written < 0 ? 2 : 1);
        }
}

static double thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static struct spent spending_starts(void)
{
    double cpu_ns = thread_cpu_ns();
    return (struct spent){ .start_ns = bench_now_ns(), .cpu_ns = -cpu_ns };
}

static void spending_ends(struct spent *spent)
{
    spent->end_ns = bench_now_ns();
    spent->cpu_ns += thread_cpu_ns();
}

/* Until the counter, which another end writes, is `lap`. */
static void await_lap(const struct bench_peers *peers, _Atomic uint32_t *counter, uint32_t lap)
{
    const bool crowded = peers->group->ends > 2;
    for (unsigned spins = 0; atomic_load_explicit(counter, memory_order_acquire) != lap; spins++) { /* pairs with set_lap */
        if (crowded && spins >= SPINS_BEFORE_YIELD)
            sched_yield(); /* the one that is waited for may share this CPU */
        else
            bench_pause();
    }
}

static void set_lap(_Atomic uint32_t *counter, uint32_t lap)
{
    atomic_store_explicit(counter, lap, memory_order_release); /* pairs with await_lap */
}

static void send_whole(int socket, const void *bytes, size_t n)
{
    if (send(socket, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
        bench_fail("another end of the benchmark is gone");
}

static bool receive_whole(int socket, void *bytes, size_t n)
{
    return recv(socket, bytes, n, MSG_WAITALL) == (ssize_t)n;
}

static bool takes_part(const struct bench_variant *variant, unsigned end)
{
    return end <= BENCH_PEER || variant->end;
}

static void join_all(const struct bench_peers *peers, unsigned end)
{
    for (unsigned i = 0; i < peers->variant_count; i++)
        if (peers->variants[i]->join && takes_part(peers->variants[i], end))
            peers->variants[i]->join(peers->states[i], end);
}

static void leave_all(const struct bench_peers *peers, unsigned end)
{
    for (unsigned i = 0; i < peers->variant_count; i++)
        if (peers->variants[i]->leave && takes_part(peers->variants[i], end))
            peers->variants[i]->leave(peers->states[i], end);
}

static void run_lap(struct end *end, const struct command *command)
{
    struct bench_peers *peers = end->peers;
    const struct bench_variant *variant = peers->variants[command->variant];
    void *state = peers->states[command->variant];
    set_lap(&peers->control->ends[end->number].started, command->lap);
    await_lap(peers, &peers->control->go, command->lap);
    struct spent spent = spending_starts();
    if (end->number == BENCH_PEER)
        variant->peer(state, command->operations);
    else
        variant->end(state, end->number, command->operations);
    spending_ends(&spent);
    peers->control->ends[end->number].spent = spent;
    set_lap(&peers->control->ends[end->number].finished, command->lap);
}

static void *end_main(void *argument)
{
    struct end *end = argument;
    struct command command;
    char joined = 1;
    bench_pin(end->peers->cpus[end->number % 2]);
    join_all(end->peers, end->number);
    send_whole(end->own_socket, &joined, sizeof joined);
    while (receive_whole(end->own_socket, &command, sizeof command) && command.variant != STOP)
        run_lap(end, &command);
    leave_all(end->peers, end->number);
    send_whole(end->own_socket, &joined, sizeof joined);
    return NULL;
}

static void start_end(struct end *end)
{
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
        bench_fail("no socket pair for another end: %m");
    end->lead_socket = sockets[0];
    end->own_socket = sockets[1];
    if (end->peers->group->threads) {
        int error = pthread_create(&end->thread, NULL, end_main, end);
        if (error != 0)
            bench_fail("no thread for another end: %s", strerror(error));
        return;
    }
    fflush(NULL);
    end->pid = fork();
    if (end->pid < 0)
        bench_fail("another end cannot be forked: %m");
    if (end->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGCHLD, SIG_DFL);
        for (unsigned i = BENCH_PEER; i <= end->number; i++)
            close(end->peers->ends[i].lead_socket);
        end_main(end);
        _exit(0);
    }
    watched_pids[end->number] = end->pid;
    close(end->own_socket);
}

struct bench_peers *bench_peers_start(const struct bench_group *group, const struct bench_variant *const *variants,
                                      unsigned variant_count, void *const *states, const struct bench_options *options)
{
    char joined;
    struct bench_peers *peers = calloc(1, sizeof *peers);
    if (!peers)
        bench_fail("no memory for the other ends");
    *peers = (struct bench_peers){ .group = group, .control = bench_shared(sizeof *peers->control), .variants = variants,
                                   .variant_count = variant_count, .states = states, .cpus = options->cpus };
    signal(SIGCHLD, end_died);
    for (unsigned i = BENCH_PEER; i < group->ends; i++) {
        peers->ends[i].peers = peers;
        peers->ends[i].number = i;
        start_end(&peers->ends[i]);
    }
    join_all(peers, BENCH_LEAD);
    for (unsigned i = BENCH_PEER; i < group->ends; i++)
        if (!receive_whole(peers->ends[i].lead_socket, &joined, sizeof joined))
            bench_fail("end %u of the benchmark did not get ready", i);
    return peers;
}

/* One CPU's share of the lap in which it ran none of its ends. */
static double idle_share(const struct spent *spent, unsigned ends, unsigned cpu)
{
    int64_t from_ns = INT64_MAX, to_ns = 0;
    double cpu_ns = 0;
    for (unsigned i = cpu; i < ends; i += 2) {
        from_ns = spent[i].start_ns < from_ns ? spent[i].start_ns : from_ns;
        to_ns = spent[i].end_ns > to_ns ? spent[i].end_ns : to_ns;
        cpu_ns += spent[i].cpu_ns;
    }
    double idle = to_ns > from_ns ? 1 - cpu_ns / (double)(to_ns - from_ns) : 0;
    return idle > 0 ? idle : 0;
}

struct bench_lap bench_peers_run(struct bench_peers *peers, unsigned variant, uint64_t operations,
                                 struct bench_histogram *samples)
{
    const struct bench_variant *it = peers->variants[variant];
    const unsigned ends = it->end ? peers->group->ends : 2;
    const struct command command = { .variant = variant, .lap = ++peers->lap, .operations = operations };
    struct spent spent[BENCH_ENDS_MAX];
    struct bench_lap lap = { .ns = 0 };
    for (unsigned i = BENCH_PEER; i < ends; i++)
        send_whole(peers->ends[i].lead_socket, &command, sizeof command);
    for (unsigned i = BENCH_PEER; i < ends; i++)
        await_lap(peers, &peers->control->ends[i].started, command.lap);
    spent[BENCH_LEAD] = spending_starts();
    set_lap(&peers->control->go, command.lap);
    it->lead(peers->states[variant], operations, samples);
    spending_ends(&spent[BENCH_LEAD]);
    for (unsigned i = BENCH_PEER; i < ends; i++) {
        await_lap(peers, &peers->control->ends[i].finished, command.lap);
        spent[i] = peers->control->ends[i].spent;
    }
    int64_t end_ns = 0;
    for (unsigned i = 0; i < ends; i++) {
        end_ns = spent[i].end_ns > end_ns ? spent[i].end_ns : end_ns;
        lap.cpu_ns[i] = spent[i].cpu_ns / (double)operations;
    }
    lap.ns = (double)(end_ns - spent[BENCH_LEAD].start_ns) / (double)operations;
    double first = idle_share(spent, ends, 0), second = idle_share(spent, ends, 1);
    lap.idle = first > second ? first : second;
    return lap;
}

static void end_stopped(struct end *end)
{
    char left;
    int status;
    if (!receive_whole(end->lead_socket, &left, sizeof left))
        bench_fail("end %u of the benchmark did not end as it should", end->number);
    if (end->peers->group->threads) {
        pthread_join(end->thread, NULL);
        close(end->own_socket);
    } else {
        waitpid(end->pid, &status, 0);
    }
    close(end->lead_socket);
}

void bench_peers_stop(struct bench_peers *peers)
{
    const struct command command = { .variant = STOP };
    signal(SIGCHLD, SIG_DFL); /* from here on they end as they should */
    for (unsigned i = 0; i < BENCH_ENDS_MAX; i++)
        watched_pids[i] = 0;
    for (unsigned i = BENCH_PEER; i < peers->group->ends; i++)
        send_whole(peers->ends[i].lead_socket, &command, sizeof command);
    leave_all(peers, BENCH_LEAD);
    for (unsigned i = BENCH_PEER; i < peers->group->ends; i++)
        end_stopped(&peers->ends[i]);
    bench_unshare(peers->control, sizeof *peers->control);
    free(peers);
}
