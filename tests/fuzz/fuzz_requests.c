/* SPDX-License-Identifier: MIT
 *
 * A running daemon and a hostile client of it: requests with every field at random, of every length, on connections in every state,
 * some broken off in the middle. The daemon answers each or closes that connection; another client, connected all the time, is not
 * disturbed, the worker does not die, and afterwards every slot has exactly one owner.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fuzz.h"
#include "numapool.h"
#include "service/wire.h"

static char directory[64], socket_path[96];
static pid_t daemon_pid;
static int hostile = -1;
static struct numapool_client *honest;
static struct numapool_pool *honest_pool;
static struct numapool_magazine *honest_magazine;
static uint64_t answered, refused, hung_up;

static const char *program(const char *name)
{
    static char path[512];
    const char *build = getenv("NUMAPOOL_BUILD");
    snprintf(path, sizeof path, "%s/%s", build ? build : ".", name);
    return path;
}

static void start_daemon(void)
{
    int ready[2];
    char number[16], byte;
    strcpy(directory, "/tmp/numapool-fuzz.XXXXXX");
    FUZZ_MUST(mkdtemp(directory) != NULL && pipe(ready) == 0);
    snprintf(socket_path, sizeof socket_path, "%s/s", directory);
    daemon_pid = fork();
    if (daemon_pid == 0) {
        close(ready[0]);
        snprintf(number, sizeof number, "%d", ready[1]);
        execl(program("numapoold"), "numapoold", "--socket", socket_path, "--pool", "pay,size=128,count=4K", "--log", "error", "--clients",
              "16", "--lanes", "64", "--endpoints", "32", "--channels", "16", "--ready-fd", number, (char *)NULL);
        _exit(127);
    }
    close(ready[1]);
    FUZZ_MUST(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
}

static void stop_daemon(void)
{
    int status = -1;
    kill(daemon_pid, SIGTERM);
    FUZZ_MUST(waitpid(daemon_pid, &status, 0) == daemon_pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    FUZZ_MUST(rmdir(directory) == 0); /* socket and lock file are gone */
}

/* One message and its answer, if one comes. */
static void exchange(const void *message, size_t bytes)
{
    struct np_wire_answer answer;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * NP_WIRE_FDS_MAX)];
    } control;
    struct iovec part = { &answer, sizeof answer };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    if (hostile < 0)
        hostile = np_wire_connect(socket_path);
    FUZZ_MUST(hostile >= 0);
    ssize_t result = send(hostile, message, bytes, MSG_NOSIGNAL);
    struct pollfd wait = { .fd = hostile, .events = POLLIN };
    if (result >= 0)
        FUZZ_MUST(poll(&wait, 1, 20000) == 1); /* an answer or the end, never silence */
    result = result < 0 ? -1 : recvmsg(hostile, &header, MSG_CMSG_CLOEXEC);
    if (result <= 0) {
        hung_up++;
        close(hostile);
        hostile = -1;
        return;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c))
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            close(fd);
        }
    FUZZ_MUST(result == (ssize_t)sizeof answer && answer.magic == NP_WIRE_MAGIC);
    FUZZ_MUST(answer.result >= 0 || answer.sentence[0] != 0);
    answered++;
    refused += answer.result < 0;
}

/* Pools of a few names and a few pages: most are made, met again, enlarged and destroyed, and none uses the machine's
 * memory up. The honest client's pool is left alone, or nobody could open it any more. */
static void tame(struct np_wire_request *request, uint8_t how)
{
    struct np_wire_pool *pool = &request->of.pool_create;
    static const char *const names[] = { "f0", "f1", "f2", "f3" };
    if (request->operation == NP_WIRE_POOL_DESTROY) {
        snprintf(request->of.pool_destroy.name, sizeof request->of.pool_destroy.name, "%s", names[how % 4]);
        return;
    }
    if (request->operation == NP_WIRE_UPGRADE) { /* a build is asked what it is, but does not take over: this worker is to live */
        request->of.upgrade.flags = how % 8 == 7 ? request->of.upgrade.flags | 2 : NP_UPGRADE_CHECK_ONLY;
        request->of.upgrade.binary[0] = how % 4 == 0 ? request->of.upgrade.binary[0] : how % 4 == 1 ? '/' : 0;
        return;
    }
    if (request->operation != NP_WIRE_POOL_CREATE && request->operation != NP_WIRE_POOL_GROW)
        return;
    pool->slots %= 128;
    pool->slot_bytes %= how % 8 == 0 ? 1u << 20 : 4096;
    for (unsigned i = 0; i < NP_ARENAS_MAX; i++)
        pool->node_slots[i] %= 128;
    if (how % 4 != 0) {
        snprintf(pool->name, sizeof pool->name, "%s", names[how / 4 % 4]);
        pool->flags %= 8;
        pool->nodes %= 2;
        pool->magazine_slots %= 1024;
        pool->sharers %= 1024;
        pool->node = -(int32_t)(how % 2);
        pool->access[how % 32] = 0;
        if (how % 16 != 1)
            pool->access[0] = 0;
    }
}

/* Most inputs get a good head, so that the requests behind it are reached. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint64_t number;
    struct np_wire_request request;
    uint8_t how = bytes > 0 ? data[0] : 0;
    if (how % 16 == 0 || bytes < 2) {
        exchange(data, bytes > 4096 ? 4096 : bytes ? bytes : 1);
    } else {
        memset(&request, 0, sizeof request);
        memcpy(&request.of, data + 2, bytes - 2 < sizeof request.of ? bytes - 2 : sizeof request.of);
        request.magic = NP_WIRE_MAGIC;
        request.operation = data[1] % (NP_WIRE_OPERATIONS + 1);
        request.number = number;
        if (request.operation == NP_WIRE_HELLO || request.operation == NP_WIRE_LOOK)
            request.of.hello.layout = how % 16 == 1 ? request.of.hello.layout : np_wire_layout();
        if (request.operation == NP_WIRE_POOL_OPEN && how % 4 != 0)
            strcpy(request.of.pool_open.name, "pay");
        if (request.operation == NP_WIRE_POOL_OPEN)
            request.of.pool_open.readonly = how / 4 % 2;
        if (request.operation == NP_WIRE_ENDPOINT_OPEN && how % 4 != 0) {
            request.of.endpoint_open.pool %= 2;
            request.of.endpoint_open.role = request.of.endpoint_open.role % 2 + 1;
            request.of.endpoint_open.lane_slots %= 64;
            request.of.endpoint_open.channel[7] = 0;
        }
        tame(&request, how);
        exchange(&request, sizeof request);
    }
    if (how % 64 == 63 && hostile >= 0) { /* broken off */
        close(hostile);
        hostile = -1;
    }
    if (++number % 64 == 0) {
        void *slot = numapool_get(honest_magazine);
        FUZZ_MUST(slot != NULL && numapool_put(honest_magazine, slot) == 0);
        struct numapool_sender *sender;
        int result = numapool_sender_open(honest_pool, "honest", NULL, &sender);
        FUZZ_MUST(result == 0 || result == -ENOSPC); /* the hostile one may have filled the tables, and is told so too */
        if (result == 0)
            FUZZ_MUST(numapool_sender_close(sender, 0) == 0);
    }
    return 0;
}

static uint64_t worker_starts(void)
{
    struct np_wire_request look = { .magic = NP_WIRE_MAGIC, .operation = NP_WIRE_LOOK, .number = 1 };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX], socket = np_wire_connect(socket_path);
    look.of.hello.layout = np_wire_layout();
    FUZZ_MUST(socket >= 0 && np_wire_call(socket, &look, &answer, fds, NUMAPOOL_FOREVER) == 0 && answer.result == 0);
    struct np_board_header header;
    FUZZ_MUST(pread(fds[0], &header, sizeof header, 0) == (ssize_t)sizeof header);
    close(fds[0]);
    close(fds[1]);
    close(socket);
    return np_load64(&header.worker_starts, memory_order_relaxed);
}

int main(int argc, char **argv)
{
    static uint8_t noise[NP_WIRE_OPERATIONS + 1][130];
    struct fuzz_seed_input seeds[NP_WIRE_OPERATIONS + 1];
    struct fuzz_random random = { 7 };
    for (unsigned i = 0; i <= NP_WIRE_OPERATIONS; i++) {
        for (unsigned j = 0; j < sizeof noise[i]; j++)
            noise[i][j] = j < 10 ? (uint8_t)fuzz_next(&random) : (uint8_t)fuzz_below(&random, 4);
        noise[i][0] |= 2;
        noise[i][1] = (uint8_t)i;
        memset(noise[i] + 10, i % 3 == 0 ? 'c' : 1, 40);
        seeds[i] = (struct fuzz_seed_input){ noise[i], sizeof noise[i] };
    }
    start_daemon();
    FUZZ_MUST(numapool_connect(&honest, socket_path) == 0 && numapool_open(honest, "pay", 0, &honest_pool) == 0);
    FUZZ_MUST(numapool_magazine_open(honest_pool, NUMAPOOL_ANY_NODE, 0, &honest_magazine) == 0);
    int status = fuzz_main(argc, argv, seeds, NP_WIRE_OPERATIONS + 1, 40000);
    printf("%" PRIu64 " answered, %" PRIu64 " of them refused, %" PRIu64 " hung up\n", answered, refused, hung_up);
    FUZZ_MUST(answered > refused && refused > 0 && hung_up > 0); /* all ways were gone */
    FUZZ_MUST(worker_starts() == 1);
    char command[700];
    snprintf(command, sizeof command, "%s --socket %s check >&2", program("numapoolctl"), socket_path);
    FUZZ_MUST(system(command) == 0);
    numapool_magazine_close(honest_magazine);
    FUZZ_MUST(numapool_close(honest_pool) == 0 && numapool_disconnect(honest) == 0);
    stop_daemon();
    return status;
}
