/* SPDX-License-Identifier: MIT
 *
 * Where the system refuses io_uring the daemon serves on epoll, and nobody's death loses anything there either: under the sysctl, in a
 * container with Docker's default filter and capabilities, in one with CAP_SYS_NICE, and where other calls are refused that daemon and
 * clients can do without. What cannot be served is said in a sentence. And how long it takes until slots are free that a receiver
 * releases after their sender's death, with either loop.
 *
 * Environment: NUMAPOOL_TEST_SYSCTL=0   kernel.io_uring_disabled, which is the whole machine's, is left alone
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container.h"
#include "harness.h"
#include "ledger.h"
#include "numa/placement.h"
#include "roles.h"

#define SYSCTL "/proc/sys/kernel/io_uring_disabled"

enum { ROLES = 5, KILLS = 48, MESSAGES_EACH_KILL = 500, SENT = 8, ROUNDS = 24 };
static const enum role roles[ROLES] = { ROLE_SENDER, ROLE_FORWARDER, ROLE_RECEIVER, ROLE_KEEPER, ROLE_GETTER };

static uint64_t random_state;
static unsigned kills_done, worker_kills_done, places_done;

/* ---------------------------------------------------------------- what is refused */

static unsigned container;
static long refused_call = -1;
static int refused_code;

static void enter_container(void)
{
    if (container_enter(container))
        return;
    fprintf(stderr, "cannot enter a container: %s\n", strerror(errno));
    _exit(3);
}

static void refuse(void)
{
    if (!container_refuse(refused_call, refused_code))
        _exit(3);
}

static bool may_confine(void)
{
    pid_t child = fork();
    int status = -1;
    if (child == 0)
        _exit(container_enter(CONTAINER_PLAIN) ? 0 : 1);
    waitpid(child, &status, 0);
    return status == 0;
}

/* ---------------------------------------------------------------- a daemon at work */

struct site {
    struct harness_daemon daemon;
    struct harness_look look;
    struct ledger *ledger;
    pid_t pids[ROLES];
    uint32_t incarnation;
};

static uint32_t board_loop(const struct site *site)
{
    return np_load32(&site->look.board.header->loop, memory_order_relaxed); /* relaxed, all: looked at until it is so */
}

static uint32_t board_refusal(const struct site *site)
{
    return np_load32(&site->look.board.header->loop_refusal, memory_order_relaxed);
}

static unsigned lines_with(const struct site *site, const char *text)
{
    char line[1024];
    unsigned n = 0;
    FILE *file = fopen(site->daemon.log, "r");
    while (file && fgets(line, sizeof line, file))
        n += strstr(line, text) != NULL;
    if (file)
        fclose(file);
    return n;
}

static bool open_site(struct site *site, const char *where, const char *const *more)
{
    memset(site, 0, sizeof *site);
    harness_daemon_prepare(&site->daemon);
    return harness_expect(harness_daemon_start_with(&site->daemon, ROLES_POOL_SPEC, more), "%s: the daemon starts", where) &&
           harness_expect(harness_look_open(&site->look, site->daemon.socket), "and its board can be looked at");
}

static void close_site(struct site *site)
{
    harness_look_close(&site->look);
    harness_expect_nothing_left(&site->daemon);
    harness_expect(harness_daemon_stop(&site->daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&site->daemon);
}

static void start_role(struct site *site, unsigned place)
{
    struct role_start start = { .ledger = site->ledger, .socket = site->daemon.socket, .role = roles[place],
                                .incarnation = ++site->incarnation, .place = place, .seed = harness_random(&random_state), .lane_slots = 64 };
    site->pids[place] = role_spawn(&start);
}

static bool have_arrived(void *context)
{
    const struct ledger *ledger = context;
    return atomic_load_explicit(&ledger->received[LEDGER_B], memory_order_relaxed) >=
           atomic_load_explicit(&ledger->allowance, memory_order_relaxed) / 2;
}

/* Everybody works, and one after the other is killed, the worker among them. */
static void work(struct site *site, unsigned kills)
{
    site->ledger = ledger_new((kills + 2) * MESSAGES_EACH_KILL);
    for (unsigned place = 0; place < ROLES; place++)
        start_role(site, place);
    for (unsigned i = 0; i < kills; i++) {
        atomic_fetch_add_explicit(&site->ledger->allowance, MESSAGES_EACH_KILL, memory_order_relaxed); /* relaxed: a number */
        if (i == 0)
            harness_expect(harness_wait_until(have_arrived, site->ledger, INT64_C(20000000000)), "messages flow");
        harness_sleep_ns(harness_below(&random_state, 20000000));
        unsigned place = harness_below(&random_state, ROLES + 1);
        pid_t worker = place == ROLES ? harness_daemon_worker(&site->daemon) : 0;
        if (worker > 0) {
            kill(worker, SIGKILL);
            worker_kills_done += harness_daemon_next_worker(&site->daemon, worker) != 0;
        } else if (place < ROLES) {
            harness_kill(site->pids[place]);
            start_role(site, place);
        }
        kills_done++;
    }
    for (unsigned place = 0; place < ROLES; place++)
        harness_kill(site->pids[place]);
    roles_drain(site->ledger, site->daemon.socket, site->incarnation + 1, true);
    ledger_expect(site->ledger, true);
    ledger_delete(site->ledger);
}

/* ---------------------------------------------------------------- the sysctl */

static int read_sysctl(void)
{
    int value = -1;
    FILE *file = fopen(SYSCTL, "r");
    if (file && fscanf(file, "%d", &value) != 1)
        value = -1;
    if (file)
        fclose(file);
    return value;
}

static bool write_sysctl(int value)
{
    FILE *file = fopen(SYSCTL, "w");
    bool written = file && fprintf(file, "%d\n", value) > 0;
    return file && fclose(file) == 0 && written;
}

/* A process that sets it back when this one has ended, however. Its pipe. */
static int start_guardian(int before)
{
    int ends[2];
    char byte;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        return -1;
    if (child == 0) {
        setsid();
        close(ends[1]);
        while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
            ;
        if (read_sysctl() != before)
            write_sysctl(before);
        _exit(0);
    }
    close(ends[0]);
    return ends[1];
}

struct wanted {
    const struct site *site;
    uint32_t loop;
};

static bool runs_on(void *context)
{
    const struct wanted *wanted = context;
    return board_loop(wanted->site) == wanted->loop;
}

static bool next_worker_runs_on(struct site *site, uint32_t loop)
{
    struct wanted wanted = { site, loop };
    pid_t worker = harness_daemon_worker(&site->daemon);
    kill(worker, SIGKILL);
    return harness_daemon_next_worker(&site->daemon, worker) != 0 && harness_wait_until(runs_on, &wanted, INT64_C(10000000000));
}

static void under_sysctl(void)
{
    static const char *const nothing_more[] = { NULL }, *const insisting[] = { "--loop=io_uring", NULL };
    struct site site;
    struct harness_daemon refused;
    const char *wish = getenv("NUMAPOOL_TEST_SYSCTL");
    int before = read_sysctl();
    if ((wish && strcmp(wish, "0") == 0) || before != 0 || !write_sysctl(before)) {
        printf("\n*** NOT RUN: under the sysctl: kernel.io_uring_disabled is not 0, or not to be changed here ***\n\n");
        return;
    }
    int guardian = start_guardian(before);
    /* It is looked at when a worker starts, and set no longer than for that. */
    write_sysctl(2);
    bool started = guardian >= 0 && open_site(&site, "kernel.io_uring_disabled=2", nothing_more);
    harness_daemon_prepare(&refused);
    bool insisted = started && !harness_daemon_start_with(&refused, ROLES_POOL_SPEC, insisting);
    write_sysctl(before);
    if (started) {
        harness_expect(board_loop(&site) == NP_BOARD_LOOP_EPOLL && board_refusal(&site) == EPERM, "it runs on epoll, and says why");
        harness_expect(lines_with(&site, "there is no io_uring here (Operation not permitted)") == 1, "and so does its log");
        harness_expect(insisted && harness_daemon_said(&refused, "cannot make an io_uring (Operation not permitted)"),
                       "with --loop=io_uring it does not start, and says what is missing");
        harness_expect(next_worker_runs_on(&site, NP_BOARD_LOOP_IO_URING) && board_refusal(&site) == 0,
                       "where it is allowed again the next worker takes io_uring");
        write_sysctl(2);
        bool again = next_worker_runs_on(&site, NP_BOARD_LOOP_EPOLL);
        write_sysctl(before);
        harness_expect(again, "where it is refused later the next worker takes epoll");
        work(&site, harness_scaled(KILLS / 4, 3));
        close_site(&site);
        places_done++;
    }
    harness_daemon_remove(&refused);
    close(guardian);
}

/* ---------------------------------------------------------------- containers */

/* numapoolctl's exit status when it is asked where pages are; `named`: whether its complaint has this. */
static int verify_says(const struct site *site, const char *text, bool *named)
{
    static const char *const arguments[] = { "verify", NULL };
    char path[128], line[600];
    snprintf(path, sizeof path, "%s/verify", site->daemon.directory);
    fflush(stderr);
    int before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), told = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    dup2(told, STDERR_FILENO);
    int status = harness_tool(&site->daemon, arguments);
    dup2(before, STDERR_FILENO);
    close(before);
    close(told);
    FILE *file = fopen(path, "r");
    *named = false;
    while (file && fgets(line, sizeof line, file))
        *named |= strstr(line, text) != NULL;
    if (file)
        fclose(file);
    unlink(path);
    return status;
}

static bool are_several_nodes(void)
{
    int nodes[2];
    return np_nodes_with_memory(nodes, 2) > 1;
}

/* Where memory could be on another node than it was asked for, and nobody could tell. */
static void expect_refusal(const char *where)
{
    struct harness_daemon daemon;
    harness_daemon_prepare(&daemon);
    harness_expect(!harness_daemon_start(&daemon, ROLES_POOL_SPEC) && harness_daemon_said(&daemon, "allow mbind(2), in a container by --cap-add SYS_NICE"),
                   "%s: on several nodes the daemon does not start, and says what it needs", where);
    harness_daemon_remove(&daemon);
}

static void in_container(const char *where, unsigned which, unsigned kills)
{
    static const char *const nothing_more[] = { NULL };
    struct site site;
    bool named;
    container = which;
    harness_confine = enter_container;
    if (!(which & CONTAINER_SYS_NICE) && are_several_nodes()) {
        expect_refusal(where);
    } else if (open_site(&site, where, nothing_more)) {
        bool ring = which & CONTAINER_IO_URING;
        harness_expect(board_loop(&site) == (ring ? NP_BOARD_LOOP_IO_URING : NP_BOARD_LOOP_EPOLL) && board_refusal(&site) == (ring ? 0 : EPERM),
                       "it runs on %s", ring ? "io_uring" : "epoll");
        work(&site, kills);
        harness_expect(lines_with(&site, "there is no io_uring here") == (ring ? 0 : 1), "its log says so once, however many workers there were");
        int status = verify_says(&site, "--cap-add SYS_NICE", &named);
        if (which & CONTAINER_SYS_NICE)
            harness_expect(status == 0, "where the pages are can be verified");
        else
            harness_expect(status != 0 && named, "where the pages are cannot be verified, and what is needed for that is said");
        close_site(&site);
        places_done++;
    }
    harness_confine = NULL;
}

/* Calls that containers, older kernels or systemd's filters refuse, and that daemon and clients do without. */
static const struct {
    const char *name;
    long call;
    int code;
} spared[] = {
    { "membarrier", SYS_membarrier, EPERM },
    { "membarrier of a kernel without", SYS_membarrier, ENOSYS },
#ifdef SYS_futex_waitv
    { "futex_waitv", SYS_futex_waitv, EPERM },
#endif
    { "mbind", SYS_mbind, EPERM },
    { "move_pages", SYS_move_pages, EPERM },
    { "get_mempolicy", SYS_get_mempolicy, EPERM },
    { "set_mempolicy", SYS_set_mempolicy, EPERM },
    { "rseq", SYS_rseq, EPERM },
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* sanitizers end where they cannot ask for limits */
    { "prlimit64", SYS_prlimit64, EPERM },
#endif
    { "sched_getaffinity", SYS_sched_getaffinity, EPERM },
};

static void without_calls(void)
{
    static const char *const nothing_more[] = { NULL };
    harness_confine = refuse;
    for (size_t i = 0; i < sizeof spared / sizeof *spared; i++) {
        struct site site;
        char where[80];
        refused_call = spared[i].call;
        refused_code = spared[i].code;
        snprintf(where, sizeof where, "without %s", spared[i].name);
        if (refused_call == SYS_mbind && are_several_nodes()) {
            expect_refusal(where);
            continue;
        }
        if (!open_site(&site, where, nothing_more))
            continue;
        work(&site, harness_scaled(6, 2));
        close_site(&site);
        places_done++;
    }
    harness_confine = NULL;
}

/* ---------------------------------------------------------------- room that a dead sender leaves */

struct room {
    const char *socket;
    _Atomic uint32_t ready, received, go, done; /* rounds */
    _Atomic int64_t client;
    _Atomic uint64_t took_ns[ROUNDS];
    char sentence[200];
};

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), value, memory_order_release)

static bool wait_past(_Atomic uint32_t *counter, uint32_t round)
{
    int64_t until_ns = harness_now_ns() + INT64_C(10000000000);
    while (GET(*counter) <= round && harness_now_ns() < until_ns)
        harness_sleep_ns(20000);
    return GET(*counter) > round;
}

static int fail(struct room *room, const char *what)
{
    snprintf(room->sentence, sizeof room->sentence, "%s: %.150s", what, numapool_errormsg());
    return 1;
}

static int send_and_stay(void *context)
{
    struct room *room = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    if (numapool_connect(&client, room->socket) < 0 || numapool_open(client, ROLES_POOL, 0, &pool) < 0 ||
        numapool_sender_open(pool, "room", NULL, &sender) < 0)
        return fail(room, "a sender");
    for (unsigned i = 0; i < SENT; i++) {
        struct numapool_msg message = { .length = 8, .data = numapool_loan(sender) };
        if (!message.data || numapool_send(sender, &message, 0) < 0)
            return fail(room, "sending");
    }
    for (;;)
        pause();
}

static uint64_t free_now(struct numapool_pool *pool)
{
    struct numapool_stats stats = { .size = sizeof stats };
    return numapool_stats_read(pool, NUMAPOOL_ANY_NODE, &stats) == 0 ? stats.free_slots : 0;
}

static int release_and_look(void *context)
{
    struct room *room = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[SENT];
    if (numapool_connect(&client, room->socket) < 0 || numapool_open(client, ROLES_POOL, 0, &pool) < 0 ||
        numapool_receiver_open(pool, "room", NULL, &receiver) < 0)
        return fail(room, "the receiver");
    SET(room->ready, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (int got = 0, more; got < SENT; got += more)
            if ((more = numapool_receive(receiver, messages + got, (unsigned)(SENT - got), INT64_C(10000000000))) < 0)
                return fail(room, "receiving");
        SET(room->received, round + 1);
        if (!wait_past(&room->go, round))
            return fail(room, "nobody died");
        uint64_t before = free_now(pool);
        int64_t begun_ns = harness_now_ns(), now_ns = begun_ns;
        if (numapool_release(receiver, messages, SENT) < 0)
            return fail(room, "releasing");
        while (free_now(pool) < before + SENT && (now_ns = harness_now_ns()) - begun_ns < INT64_C(10000000000))
            ;
        atomic_store_explicit(&room->took_ns[round], (uint64_t)(now_ns - begun_ns), memory_order_relaxed); /* relaxed: by `done` */
        SET(room->done, round + 1);
        /* So that the daemon's look at orphans is not the one that a release before it has called for. */
        harness_sleep_ns(30000000);
    }
    return 0;
}

static int by_size(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return one < other ? -1 : one > other;
}

static void orphans_room(const char *key, const char *what, const char *loop)
{
    const char *const more[] = { "--loop", loop, NULL };
    struct site site;
    struct room *room = mmap(NULL, sizeof *room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned rounds = harness_scaled(ROUNDS, 4), done = 0;
    uint64_t took_ns[ROUNDS];
    if (room == MAP_FAILED || !open_site(&site, what, more))
        return;
    room->socket = site.daemon.socket;
    pid_t receiver = harness_fork(release_and_look, room);
    bool ready = wait_past(&room->ready, 0);
    for (; ready && done < rounds; done++) {
        pid_t sender = harness_fork(send_and_stay, room);
        bool received = wait_past(&room->received, done);
        uint64_t died = np_load64(&site.look.board.header->clients_died, memory_order_relaxed); /* relaxed, both: looked at until */
        harness_kill(sender);
        int64_t until_ns = harness_now_ns() + INT64_C(5000000000);
        while (np_load64(&site.look.board.header->clients_died, memory_order_relaxed) == died && harness_now_ns() < until_ns)
            harness_sleep_ns(100000);
        harness_sleep_ns(2000000);
        SET(room->go, done + 1);
        if (!received || !wait_past(&room->done, done))
            break;
        took_ns[done] = atomic_load_explicit(&room->took_ns[done], memory_order_relaxed); /* relaxed: after `done` */
    }
    harness_expect(done == rounds, "%s: %u times slots are free again that a receiver releases after their sender's death (%s)", what, done,
                   room->sentence);
    harness_kill(receiver);
    if (done > 0) {
        qsort(took_ns, done, sizeof *took_ns, by_size);
        harness_figure(key, "from release to free %.3f ms in the middle, %.3f ms at most of %u", (double)took_ns[done / 2] / 1e6,
                       (double)took_ns[done - 1] / 1e6, done);
    }
    munmap(room, sizeof *room);
    close_site(&site);
}

static void without_waitv(void)
{
#ifdef SYS_futex_waitv
    refused_call = SYS_futex_waitv;
    refused_code = EPERM;
    harness_confine = refuse;
    orphans_room("noring.room.epoll_by_time", "on epoll without futex_waitv, by time", "epoll");
    harness_confine = NULL;
#endif
}

int main(int argc, char **argv)
{
    harness_begin("noring", argc, argv);
    random_state = harness_seed();
    unsetenv("NUMAPOOL_TEST_LOOP");
    bool ring = access("/proc/sys/kernel/io_uring_disabled", F_OK) != 0 || read_sysctl() == 0;
    under_sysctl();
    if (may_confine()) {
        in_container("Docker's defaults", CONTAINER_PLAIN, harness_scaled(KILLS, 6));
        in_container("Docker's defaults and CAP_SYS_NICE", CONTAINER_SYS_NICE, harness_scaled(KILLS / 4, 3));
        if (ring)
            in_container("Docker's defaults, CAP_SYS_NICE and io_uring", CONTAINER_SYS_NICE | CONTAINER_IO_URING, harness_scaled(KILLS / 4, 3));
        without_calls();
        without_waitv();
    } else {
        printf("\n*** NOT RUN: containers: there are no seccomp filters here ***\n\n");
    }
    orphans_room("noring.room.epoll", "on epoll", "epoll");
    if (ring)
        orphans_room("noring.room.io_uring", "on io_uring", "io_uring");
    harness_figure("noring.kills", "%u kills, %u of them of the worker, in %u places where something is refused; nothing lost", kills_done,
                   worker_kills_done, places_done);
    return harness_end();
}
