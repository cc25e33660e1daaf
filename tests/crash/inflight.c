/* SPDX-License-Identifier: MIT
 *
 * Clients that die while the kernel does I/O into and out of their slots. A taker takes every slot that it can get, fills it with
 * a pattern and watches: no other byte may ever appear there, and none of the pattern in what the dead had sent. The same without the
 * token shows that the kernel does write there, and that the token is what keeps the slots away.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inflight_roles.h"
#include "numapool/uring.h"

/* ---------------------------------------------------------------- what is waited for */

static bool has_stepped(void *context)
{
    const struct trial *trial = context;
    return GET(trial->told->step) > 0 || GET(trial->told->wrong);
}

static bool reads_wait(void *context)
{
    const struct trial *trial = context;
    return GET(trial->slow.shared->waiting) == READS || GET(trial->told->wrong);
}

static bool has_taken_all(void *context)
{
    const struct trial *trial = context;
    return GET(trial->told->taken) == SLOTS;
}

/* All but what the dead had, `kept` of them. */
struct expected {
    struct trial *trial;
    int taken;
};

static bool has_taken(void *context)
{
    const struct expected *expected = context;
    return GET(expected->trial->told->taken) >= expected->taken;
}

static bool waits_for_kernel(const struct trial *trial)
{
    return np_entry_is(&trial->look.board.clients[trial->client].state, NP_DYING) &&
           trial->look.board.clients[trial->client].cookie == trial->cookie;
}

static bool is_waited_for(void *context)
{
    return waits_for_kernel(context);
}

static bool is_gone(struct trial *trial)
{
    return harness_look_wait_gone(&trial->look, trial->client, trial->cookie, SOON_NS) >= 0;
}

/* Starts the client and waits until its I/O is in flight. */
static bool start(struct trial *trial, enum deed deed, bool guarded)
{
    memset(trial->told, 0, sizeof *trial->told);
    trial->deed = deed;
    trial->guarded = guarded;
    trial->pid = harness_fork(inflight_client, trial);
    bool there = harness_wait_until(has_stepped, trial, SOON_NS) && !GET(trial->told->wrong);
    if (there && deed == READS_SLOWLY)
        there = harness_wait_until(reads_wait, trial, SOON_NS);
    trial->client = (uint32_t)GET(trial->told->client);
    trial->cookie = there ? harness_look_cookie(&trial->look, trial->client) : 0;
    return harness_expect(there, "a client's I/O is in flight%s%s", there ? "" : ": ", there ? "" : trial->told->sentence);
}

static void finish_taker(struct trial *trial, pid_t taker)
{
    SET(trial->told->take, 2);
    harness_expect(harness_join(taker, SOON_NS) == 0, "who took the slots puts them back%s", trial->told->sentence);
}

static bool all_is_free(struct trial *trial)
{
    int64_t took_ns;
    return harness_wait_all_free(&trial->look, SOON_NS, &took_ns) == SLOTS;
}

/* Looking asks the worker for memory, and so has to begin anew with each. False: there is none, though several were asked
 * for. */
static bool kill_worker(struct trial *trial)
{
    pid_t worker = harness_daemon_worker(&trial->daemon);
    kill(worker, SIGKILL);
    bool next = harness_daemon_next_worker(&trial->daemon, worker) != 0;
    harness_look_close(&trial->look);
    for (unsigned tries = 0; tries < 20; tries++) {
        if (harness_look_open(&trial->look, trial->daemon.socket))
            return next;
        harness_sleep_ns(50000000);
    }
    harness_expect(false, "there is a worker to be asked");
    exit(harness_end());
}

static void next_worker(struct trial *trial)
{
    harness_expect(kill_worker(trial), "the worker is killed meanwhile, and another comes");
    harness_wait_until(is_waited_for, trial, SOON_NS);
    harness_sleep_ns(50000000);
}

/* ---------------------------------------------------------------- trials */

static void reads_that_end_after_death(struct trial *trial)
{
    struct expected all_but_his = { trial, SLOTS - READS - MESSAGES - 24 };
    SET(trial->slow.shared->go, 0);
    if (!start(trial, READS_SLOWLY, true))
        return;
    harness_kill(trial->pid);
    harness_expect(harness_wait_until(is_waited_for, trial, SOON_NS), "a client that dies over 32 reads is waited for");
    pid_t taker = harness_fork(inflight_taker, trial);
    harness_wait_until(has_taken, &all_but_his, SOON_NS);
    harness_sleep_ns(WATCH_NS);
    next_worker(trial);
    int taken = GET(trial->told->taken);
    harness_expect(waits_for_kernel(trial) && taken <= SLOTS - READS - MESSAGES && taken >= SLOTS - READS - MESSAGES - 24,
                   "its slots are nobody's: others have %d of %d", taken, SLOTS);
    harness_expect(GET(trial->told->quarantined) >= READS, "the statistics say so (%d)", GET(trial->told->quarantined));
    harness_expect(GET(trial->told->received) == 0, "what it had received is given to nobody");
    SET(trial->slow.shared->go, 1); /* now the kernel writes into 32 slots of a dead process */
    harness_expect(is_gone(trial), "when the kernel has ended the reads, it is gone");
    harness_expect(harness_wait_until(has_taken_all, trial, SOON_NS), "and its slots come back");
    harness_expect(GET(trial->told->received) == MESSAGES, "and what it had received is received (%d of %d)",
                   GET(trial->told->received), MESSAGES);
    harness_sleep_ns(WATCH_NS);
    harness_expect(GET(trial->told->foreign) == 0, "no byte of the kernel's was ever seen in a slot of another");
    harness_expect(GET(trial->told->quarantined) == 0, "and none waits any more");
    finish_taker(trial, taker);
    harness_expect(all_is_free(trial), "every slot is free");
}

/* The answer taken away. */
static void reads_without_the_token(struct trial *trial)
{
    SET(trial->slow.shared->go, 0);
    if (!start(trial, READS_SLOWLY, false))
        return;
    harness_kill(trial->pid);
    harness_expect(is_gone(trial), "without the token a client is gone as soon as its process is");
    pid_t taker = harness_fork(inflight_taker, trial);
    harness_wait_until(has_taken_all, trial, SOON_NS);
    harness_expect(GET(trial->told->foreign) == 0, "all its slots are another's now, who filled them");
    SET(trial->slow.shared->go, 1);
    harness_sleep_ns(WATCH_NS);
    harness_expect(GET(trial->told->foreign) != 0, "and the kernel writes into them: that is what the token is for");
    finish_taker(trial, taker);
    harness_expect(all_is_free(trial), "every slot is free");
}

/* A connection whose other end takes little, and reads when it is told to. */
static int connect_to_the_deaf(struct trial *trial)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int little = 4096, much = 4 * SENDS * SLOT_BYTES, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        return -1;
    trial->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(trial->socket, SOL_SOCKET, SO_SNDBUFFORCE, &much, sizeof much);
    if (connect(trial->socket, (struct sockaddr *)&address, sizeof address) != 0)
        return -1;
    int deaf = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    return deaf;
}

/* How many bytes came, and how many that the dead had not sent. */
static void hear(int deaf, int *heard, int *others)
{
    static unsigned char bytes[65536];
    ssize_t got;
    *heard = *others = 0;
    struct timeval patience = { .tv_sec = 5 };
    setsockopt(deaf, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while ((got = recv(deaf, bytes, sizeof bytes, 0)) > 0) {
        *heard += (int)got;
        for (ssize_t i = 0; i < got; i++)
            *others += bytes[i] != SENT_BYTE;
    }
    close(deaf);
}

static void sends_that_nobody_hears(struct trial *trial, bool guarded)
{
    int deaf = connect_to_the_deaf(trial), heard, others;
    if (!harness_expect(deaf >= 0, "a connection whose peer does not read") || !start(trial, SENDS_TO_THE_DEAF, guarded))
        return;
    close(trial->socket);
    harness_kill(trial->pid);
    if (guarded) {
        harness_expect(harness_wait_until(is_waited_for, trial, SOON_NS), "a client that dies over 64 sends without a copy is waited for");
        harness_sleep_ns(WATCH_NS);
        harness_expect(waits_for_kernel(trial), "as long as its peer has not read");
    } else {
        harness_expect(is_gone(trial), "without the token a client is gone as soon as its process is");
    }
    pid_t taker = harness_fork(inflight_taker, trial);
    harness_sleep_ns(WATCH_NS);
    hear(deaf, &heard, &others);
    harness_expect(heard == SENDS * SLOT_BYTES, "the peer gets all that was sent (%d bytes)", heard);
    if (guarded)
        harness_expect(others == 0, "and not a byte of what others have in their slots");
    else
        harness_expect(others > 0, "and %d bytes of what others have in their slots: that is what the token is for", others);
    harness_expect(is_gone(trial), "then the client is gone");
    harness_wait_until(has_taken_all, trial, SOON_NS);
    finish_taker(trial, taker);
    harness_expect(all_is_free(trial), "every slot is free");
}

static int feed(void *context)
{
    static char bytes[SLOT_BYTES * 8];
    const struct trial *trial = context;
    memset(bytes, SENT_BYTE, sizeof bytes);
    while (send(trial->socket, bytes, sizeof bytes, MSG_NOSIGNAL) > 0)
        continue;
    return 0;
}

/* Multishot receives into slots under traffic, killed at any instant. */
static void receives_killed_at_random(struct trial *trial)
{
    int foreign = 0, not_gone = 0, lost = 0;
    for (unsigned i = 0; i < harness_scaled(ROUNDS, 3); i++) {
        int ends[2];
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
        trial->socket = ends[1];
        pid_t feeder = harness_fork(feed, trial);
        trial->socket = ends[0];
        memset(trial->told, 0, sizeof *trial->told);
        trial->deed = RECEIVES;
        trial->guarded = true;
        trial->pid = harness_fork(inflight_client, trial);
        close(ends[1]);
        harness_wait_until(has_stepped, trial, SOON_NS);
        trial->client = (uint32_t)GET(trial->told->client);
        trial->cookie = harness_look_cookie(&trial->look, trial->client);
        pid_t taker = harness_fork(inflight_taker, trial);
        harness_sleep_ns(harness_below(&trial->random, 20000000));
        harness_kill(trial->pid);
        if (i % 3 == 2)
            kill_worker(trial);
        close(ends[0]);
        not_gone += !is_gone(trial);
        lost += !harness_wait_until(has_taken_all, trial, SOON_NS);
        harness_kill(feeder);
        harness_sleep_ns(20000000);
        foreign += GET(trial->told->foreign) != 0;
        SET(trial->told->take, 2);
        lost += harness_join(taker, SOON_NS) != 0;
        lost += !all_is_free(trial);
    }
    harness_expect(not_gone == 0, "clients killed over a multishot receive are gone at once (%d were not)", not_gone);
    harness_expect(foreign == 0, "nothing was received into a slot of another");
    harness_expect(lost == 0, "and no slot is lost");
}

/* As a debugger does, or whoever it was passed to. (Newer kernels refuse to pass one on a socket.) */
static int take_ring(pid_t pid, int number)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), ring = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    close(pidfd);
    return ring;
}

/* It is gone, and all that it had, what it had received too, comes to others. */
static bool comes_back(struct trial *trial)
{
    if (!is_gone(trial))
        return false;
    pid_t taker = harness_fork(inflight_taker, trial);
    bool back = harness_wait_until(has_taken_all, trial, SOON_NS);
    SET(trial->told->take, 2);
    return harness_join(taker, SOON_NS) == 0 && back && all_is_free(trial);
}

static void expect_kept_away(struct trial *trial, const char *who)
{
    harness_expect(harness_wait_until(is_waited_for, trial, SOON_NS), "%s: it is waited for", who);
    harness_sleep_ns(WATCH_NS);
    int64_t took_ns, free_slots = (int64_t)harness_wait_all_free(&trial->look, 0, &took_ns);
    harness_expect(waits_for_kernel(trial) && free_slots <= SLOTS - READS, "%s: its slots are kept away (%lld free)", who, (long long)free_slots);
}

static void a_ring_in_another_process(struct trial *trial)
{
    if (!start(trial, SHARES_ITS_RING, true))
        return;
    int ring = take_ring(trial->pid, GET(trial->told->child));
    if (ring < 0)
        harness_note("left out: a ring in another process (pidfd_getfd: %s)", strerror(errno));
    if (ring < 0) {
        harness_kill(trial->pid);
        comes_back(trial);
        return;
    }
    harness_kill(trial->pid);
    expect_kept_away(trial, "a dead client's ring lives in another process");
    harness_sleep_ns(1100000000);
    harness_expect(harness_daemon_said(&trial->daemon, "still wait for the kernel"), "after a second the daemon says so");
    for (unsigned i = 0; i < 3; i++)
        next_worker(trial);
    harness_expect(waits_for_kernel(trial), "three workers later it still is");
    close(ring);
    harness_expect(comes_back(trial), "when the ring has ended, so has it, and every slot is free");
}

static void children(struct trial *trial)
{
    if (!start(trial, FORKS, true))
        return;
    harness_kill(trial->pid);
    expect_kept_away(trial, "a dead client's child has all its descriptors");
    kill(GET(trial->told->child), SIGKILL);
    harness_expect(comes_back(trial), "when the child has ended, it is gone");
    if (!start(trial, FORKS_CLEANLY, true))
        return;
    harness_kill(trial->pid);
    harness_expect(comes_back(trial), "a child that called numapool_child and closed the ring keeps nothing away");
    kill(GET(trial->told->child), SIGKILL);
}

static void one_who_leaves(struct trial *trial)
{
    if (!start(trial, LEAVES, true))
        return;
    expect_kept_away(trial, "a client that left while its ring lives");
    SET(trial->told->go_on, 1);
    harness_expect(comes_back(trial), "when the ring has ended, so has it");
    harness_kill(trial->pid);
}

/* Its ring and its token are closed by the exec, which waits for the requests to be cancelled. */
static void another_program(struct trial *trial)
{
    if (!start(trial, BECOMES_ANOTHER, true))
        return;
    harness_expect(comes_back(trial), "a client that became another program is gone, and every slot is free");
    harness_expect(harness_is_alive(trial->pid), "while that program runs");
    harness_kill(trial->pid);
}

int main(int argc, char **argv)
{
    static struct trial trial;
    struct io_uring ring;
    harness_begin("inflight", argc, argv);
    trial.random = harness_seed();
    int refused = io_uring_queue_init(4, &ring, 0);
    if (refused < 0) {
        harness_expect(true, "left out: %s", numapool_ring_refusal(refused));
        return harness_end();
    }
    bool can_send = numapool_ring_can(&ring, IORING_OP_SEND_ZC);
    io_uring_queue_exit(&ring);
    trial.told = mmap(NULL, sizeof *trial.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&trial.daemon);
    const char *lacking = slow_file_start(&trial.slow, trial.daemon.directory);
    if (trial.told == MAP_FAILED || !harness_expect(harness_daemon_start(&trial.daemon, POOL_SPEC), "the daemon starts") ||
        !harness_expect(harness_look_open(&trial.look, trial.daemon.socket), "its board can be looked at"))
        return harness_end();
    harness_expect(harness_join(harness_fork(inflight_token, &trial), SOON_NS) == 0, "a client's I/O token is one and stays it%s", trial.told->sentence);
    kill_worker(&trial);
    if (lacking) {
        harness_note("left out: reads that end after the reader's death: %s", lacking);
    } else {
        reads_that_end_after_death(&trial);
        reads_without_the_token(&trial);
    }
    if (can_send) {
        sends_that_nobody_hears(&trial, true);
        sends_that_nobody_hears(&trial, false);
    } else {
        harness_note("left out: sends without a copy: this kernel has none");
    }
    receives_killed_at_random(&trial);
    a_ring_in_another_process(&trial);
    children(&trial);
    one_who_leaves(&trial);
    another_program(&trial);
    harness_note("%llu deaths after which slots had to wait for the kernel",
                 (unsigned long long)np_load64(&trial.look.board.header->io_waits, memory_order_relaxed));
    slow_file_stop(&trial.slow);
    harness_look_close(&trial.look);
    harness_expect_nothing_left(&trial.daemon);
    harness_expect(harness_daemon_stop(&trial.daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&trial.daemon);
    return harness_end();
}
