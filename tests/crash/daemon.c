/* SPDX-License-Identifier: MIT
 *
 * The end of the daemon: killed with or without its worker, told to end, started again, started twice. It ends no client, and leaves
 * nothing but a socket and a lock file, which the next start takes over.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define POOL "d"
#define POOL_SPEC POOL ",size=128,count=4096"

enum { CYCLES = 50, LANE_SLOTS = 64 };

/* What the two clients and the test tell each other. */
struct told {
    _Atomic uint64_t received;
    _Atomic uint32_t ready; /* how many clients are at work */
    _Atomic uint32_t ask;   /* the sender makes the slow calls once for each step of this */
    _Atomic uint32_t asked;
    _Atomic uint32_t wrong;
    int answers[4];
    char sentences[4][200];
};

struct context {
    const char *socket;
    struct told *told;
};

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define ADD(field) atomic_fetch_add_explicit(&(field), 1, memory_order_release)

static const char *const slow_calls[4] = { "sender_open", "receiver_open", "open of another pool", "connect" };

/* ---------------------------------------------------------------- two clients */

static int joined(const struct context *context, struct numapool_client **client, struct numapool_pool **pool)
{
    int result = numapool_connect(client, context->socket);
    return result < 0 ? result : numapool_open(*client, POOL, 0, pool);
}

static void make_slow_calls(struct context *context, struct numapool_client *client, struct numapool_pool *pool)
{
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_pool *other;
    struct numapool_client *another;
    for (unsigned i = 0; i < 4; i++) {
        int result = i == 0   ? numapool_sender_open(pool, "other", NULL, &sender)
                     : i == 1 ? numapool_receiver_open(pool, "other", NULL, &receiver)
                     : i == 2 ? numapool_open(client, "another", 0, &other)
                              : numapool_connect(&another, context->socket);
        context->told->answers[i] = result;
        snprintf(context->told->sentences[i], sizeof context->told->sentences[i], "%s", result < 0 ? numapool_errormsg() : "");
        if (i == 3 && result == 0)
            numapool_disconnect(another);
    }
    ADD(context->told->asked);
}

static int send_always(void *argument)
{
    struct context *context = argument;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    options.lane_slots = LANE_SLOTS;
    if (joined(context, &client, &pool) < 0 || numapool_sender_open(pool, "c", &options, &sender) < 0)
        return 1;
    ADD(context->told->ready);
    for (uint64_t number = 1;; number++) {
        struct numapool_msg message = { .length = 8, .id = number };
        while (!(message.data = numapool_loan(sender)))
            harness_sleep_ns(100000);
        memcpy(message.data, &number, 8);
        for (int result = -EAGAIN; result != 0;) {
            if (GET(context->told->ask) > GET(context->told->asked))
                make_slow_calls(context, client, pool);
            result = numapool_send(sender, &message, 10000000);
            if (result != 0 && result != -ETIMEDOUT)
                ADD(context->told->wrong);
        }
    }
}

static int receive_always(void *argument)
{
    struct context *context = argument;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[16];
    uint64_t expected = 1, number;
    if (joined(context, &client, &pool) < 0 || numapool_receiver_open(pool, "c", NULL, &receiver) < 0)
        return 1;
    ADD(context->told->ready);
    for (;;) {
        int got = numapool_receive(receiver, messages, 16, 10000000);
        if (got < 0 && got != -ETIMEDOUT)
            ADD(context->told->wrong);
        for (int i = 0; i < got; i++) {
            memcpy(&number, messages[i].data, 8);
            if (number != expected || messages[i].id != expected || numapool_release(receiver, &messages[i], 1) < 0)
                ADD(context->told->wrong);
            expected++;
            ADD(context->told->received);
        }
    }
}

struct pair {
    struct context context;
    pid_t sender, receiver;
};

struct progress {
    struct told *told;
    uint64_t wanted;
};

static bool has_progressed(void *context)
{
    const struct progress *progress = context;
    return GET(progress->told->received) >= progress->wanted;
}

/* Whether so many messages more are received, in order. */
static bool messages_flow(struct told *told, uint64_t more)
{
    struct progress progress = { told, GET(told->received) + more };
    return harness_wait_until(has_progressed, &progress, INT64_C(10000000000)) && GET(told->wrong) == 0;
}

static void start_pair(struct pair *pair, const struct harness_daemon *daemon, struct told *told)
{
    memset(told, 0, sizeof *told);
    pair->context = (struct context){ daemon->socket, told };
    pair->receiver = harness_fork(receive_always, &pair->context);
    pair->sender = harness_fork(send_always, &pair->context);
    harness_expect(messages_flow(told, 1000), "messages flow between two clients");
}

static void end_pair(struct pair *pair)
{
    harness_expect(harness_is_alive(pair->sender) && harness_is_alive(pair->receiver), "both clients live");
    harness_kill(pair->sender);
    harness_kill(pair->receiver);
}

static bool has_asked(void *context)
{
    const struct told *told = context;
    return GET(told->asked) >= GET(told->ask);
}

/* All slow calls fail with one of two codes, and say why. */
static void expect_refusals(struct told *told, int session_code, int connect_code, const char *when)
{
    ADD(told->ask);
    harness_expect(harness_wait_until(has_asked, told, INT64_C(30000000000)), "slow calls return %s", when);
    for (unsigned i = 0; i < 4; i++) {
        int wanted = i < 3 ? session_code : connect_code;
        harness_expect(told->answers[i] == wanted && (wanted == 0 || told->sentences[i][0] != '\0'), "%s %s: %d \"%s\"", slow_calls[i],
                       when, told->answers[i], told->sentences[i]);
    }
}

/* ---------------------------------------------------------------- traces */

static unsigned shm_entries(void)
{
    DIR *directory = opendir("/dev/shm");
    unsigned n = 0;
    while (directory && readdir(directory))
        n++;
    if (directory)
        closedir(directory);
    return n;
}

/* Memory files of one daemon, by inode number. */
struct memory_files {
    ino_t inodes[512];
    unsigned count;
};

static void collect_memory_files(struct memory_files *files, pid_t keeper)
{
    char path[PATH_MAX], target[64];
    struct dirent *entry;
    struct stat status;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)keeper);
    DIR *descriptors = opendir(path);
    files->count = 0;
    while (descriptors && (entry = readdir(descriptors)) && files->count < 512) {
        snprintf(path, sizeof path, "/proc/%d/fd/%.20s", (int)keeper, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target);
        if (length > 7 && memcmp(target, "/memfd:", 7) == 0 && stat(path, &status) == 0)
            files->inodes[files->count++] = status.st_ino;
    }
    if (descriptors)
        closedir(descriptors);
}

static bool is_one_of(const struct memory_files *files, ino_t inode)
{
    for (unsigned i = 0; i < files->count; i++)
        if (files->inodes[i] == inode)
            return true;
    return false;
}

static unsigned held_by(const struct memory_files *files, const char *process)
{
    char path[PATH_MAX], line[512];
    struct dirent *entry;
    struct stat status;
    unsigned long inode;
    unsigned n = 0;
    snprintf(path, sizeof path, "/proc/%.20s/fd", process);
    DIR *descriptors = opendir(path);
    while (descriptors && (entry = readdir(descriptors))) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", process, entry->d_name);
        n += stat(path, &status) == 0 && is_one_of(files, status.st_ino);
    }
    if (descriptors)
        closedir(descriptors);
    snprintf(path, sizeof path, "/proc/%.20s/maps", process);
    FILE *maps = fopen(path, "r");
    while (maps && fgets(line, sizeof line, maps))
        n += strstr(line, "/memfd:") && sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1 && is_one_of(files, inode);
    if (maps)
        fclose(maps);
    return n;
}

/* How often any process has one of them open or mapped. */
static unsigned held_by_anybody(const struct memory_files *files)
{
    DIR *processes = opendir("/proc");
    struct dirent *process;
    unsigned n = 0;
    while (processes && (process = readdir(processes)))
        if (process->d_name[0] >= '1' && process->d_name[0] <= '9')
            n += held_by(files, process->d_name);
    if (processes)
        closedir(processes);
    return n;
}

static bool exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

/* ---------------------------------------------------------------- the trials */

static void killed_keeper(struct harness_daemon *daemon, struct told *told, bool both)
{
    struct pair pair;
    if (!harness_expect(harness_daemon_start(daemon, POOL_SPEC), "the daemon starts"))
        return;
    start_pair(&pair, daemon, told);
    pid_t worker = harness_daemon_worker(daemon);
    if (both) {
        harness_daemon_kill(daemon, harness_seed() % 2 == 0);
    } else {
        harness_kill(daemon->keeper);
        int64_t until_ns = harness_now_ns() + INT64_C(5000000000);
        while (harness_is_alive(worker) && harness_now_ns() < until_ns)
            harness_sleep_ns(1000000);
    }
    harness_expect(!harness_is_alive(worker), "%s: its worker is gone too", both ? "kill -9 of both" : "kill -9 of the keeper");
    harness_expect(messages_flow(told, 10000), "clients go on sending and receiving on the lanes that they have");
    expect_refusals(told, -ENOTCONN, -ECONNREFUSED, "without a daemon");
    harness_expect(messages_flow(told, 1000), "and go on");
    harness_expect(exists(daemon->socket) && exists(daemon->lock), "a socket and a lock file are left");
    harness_expect(harness_daemon_start(daemon, POOL_SPEC), "the next start takes them over");
    expect_refusals(told, -ESTALE, 0, "with the next daemon");
    harness_expect(messages_flow(told, 1000), "and go on on the memory of the last one");
    end_pair(&pair);
    harness_expect_nothing_left(daemon);
    harness_expect(harness_daemon_stop(daemon) == 0, "SIGTERM ends the daemon with status 0");
}

static void told_to_end(struct harness_daemon *daemon, struct told *told)
{
    struct pair pair;
    if (!harness_expect(harness_daemon_start(daemon, POOL_SPEC), "the daemon starts"))
        return;
    start_pair(&pair, daemon, told);
    pid_t worker = harness_daemon_worker(daemon);
    int status = harness_daemon_stop(daemon);
    harness_expect(status == 0, "SIGTERM under load ends it with status 0 (%x)", (unsigned)status);
    harness_expect(!harness_is_alive(worker), "its worker is gone");
    harness_expect(!exists(daemon->socket) && !exists(daemon->lock), "socket and lock file are gone");
    harness_expect(messages_flow(told, 10000), "clients go on unharmed");
    end_pair(&pair);
}

static void second_daemon(struct harness_daemon *daemon)
{
    struct harness_daemon second = *daemon;
    struct numapool_client *client;
    if (!harness_expect(harness_daemon_start(daemon, POOL_SPEC), "the daemon starts"))
        return;
    snprintf(second.log, sizeof second.log, "%s/log2", daemon->directory);
    pid_t first = daemon->keeper;
    harness_expect(!harness_daemon_start(&second, POOL_SPEC), "a second daemon on the same socket does not start");
    harness_expect(harness_daemon_said(&second, daemon->socket), "and says on which socket another is");
    unlink(second.log);
    harness_expect(harness_is_alive(first) && numapool_connect(&client, daemon->socket) == 0 && numapool_disconnect(client) == 0,
                   "the first one goes on");
    harness_expect(harness_daemon_stop(daemon) == 0, "SIGTERM ends it with status 0");
}

/* A client at some point of its life when everything is killed. */
static int live_a_little(void *argument)
{
    struct context *context = argument;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    if (joined(context, &client, &pool) < 0 || numapool_sender_open(pool, "c", NULL, &sender) < 0 ||
        numapool_receiver_open(pool, "c", NULL, &receiver) < 0)
        return 1;
    for (;;) { /* until it is killed; on a busy machine its turn to receive may come late */
        struct numapool_msg message = { .length = 8, .data = numapool_loan(sender) };
        if (message.data && numapool_send(sender, &message, 0) < 0)
            numapool_unloan(sender, message.data);
        int got = numapool_receive(receiver, &message, 1, 1000000);
        if (got == 1 && numapool_release(receiver, &message, 1) == 0)
            ADD(context->told->received);
        else if (got != -ETIMEDOUT)
            return 1;
    }
}

static void kill_everything_often(struct harness_daemon *daemon, struct told *told)
{
    static struct memory_files files;
    unsigned held_while_alive = 0, held_after = 0;
    uint64_t random = harness_seed();
    unsigned cycles = harness_scaled(CYCLES, 3), started = 0, worked = 0;
    for (unsigned i = 0; i < cycles; i++) {
        struct context context = { daemon->socket, told };
        memset(told, 0, sizeof *told);
        if (!harness_daemon_start(daemon, POOL_SPEC))
            break;
        started++;
        pid_t clients[3];
        for (unsigned c = 0; c < 3; c++)
            clients[c] = harness_fork(live_a_little, &context);
        struct progress progress = { told, 1 + harness_below(&random, 2000) };
        worked += harness_wait_until(has_progressed, &progress, INT64_C(10000000000));
        if (i % 10 == 0) {
            collect_memory_files(&files, daemon->keeper);
            held_while_alive += held_by_anybody(&files);
        }
        unsigned before = harness_below(&random, 4);
        for (unsigned c = 0; c < before && c < 3; c++)
            harness_kill(clients[c]);
        harness_sleep_ns(harness_below(&random, 500000));
        harness_daemon_kill(daemon, harness_below(&random, 2));
        for (unsigned c = before; c < 3; c++)
            harness_kill(clients[c]);
        if (i % 10 == 0)
            held_after += held_by_anybody(&files);
    }
    harness_expect(held_while_alive > 0 && held_after == 0,
                   "no memory of theirs is held by anybody afterwards (%u times while they lived, %u after)", held_while_alive,
                   held_after);
    harness_expect(started == cycles && worked == cycles, "%u of %u starts after kill -9 of everything, %u with clients at work", started,
                   cycles, worked);
}

int main(int argc, char **argv)
{
    struct harness_daemon daemon;
    harness_begin("daemon", argc, argv);
    struct told *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED)
        return 2;
    unsigned shm_before = shm_entries();
    harness_daemon_prepare(&daemon);
    killed_keeper(&daemon, told, false);
    killed_keeper(&daemon, told, true);
    told_to_end(&daemon, told);
    second_daemon(&daemon);
    kill_everything_often(&daemon, told);
    harness_expect(shm_entries() <= shm_before, "nothing is left in /dev/shm");
    harness_expect(harness_daemon_start(&daemon, POOL_SPEC), "and the next start finds its socket");
    harness_expect_nothing_left(&daemon);
    harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&daemon);
    return harness_end();
}
