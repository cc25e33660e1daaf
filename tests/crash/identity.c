/* SPDX-License-Identifier: MIT
 *
 * Whose slots are whose when a process is not what it was: it becomes another program, it forks children that outlive it, it is stopped,
 * it closes the library's socket, it talks nonsense to the daemon.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "service/wire.h"

#define POOL_SPEC "i,size=128,count=4096"

enum { SLOTS = 4096, HELD = 500, SENT = 40, NONSENSE = 20000, LONG_NS = 1500000000 };

struct told {
    _Atomic uint32_t step;  /* of the client */
    _Atomic uint32_t go_on; /* for the client */
    _Atomic uint32_t wrong;
    _Atomic int32_t client, child;
    char sentence[240];
};

struct context {
    struct harness_daemon *daemon;
    struct harness_look *look;
    struct told *told;
    uint64_t seed;
};

struct holder {
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    void *slots[HELD];
    struct numapool_msg messages[SENT];
};

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

/* ---------------------------------------------------------------- a client that holds */

static int wrong(struct told *told, const char *what)
{
    if (atomic_fetch_add_explicit(&told->wrong, 1, memory_order_acq_rel) == 0)
        snprintf(told->sentence, sizeof told->sentence, "%s: %s", what, numapool_errormsg());
    return 1;
}

/* Holds HELD slots and has SENT messages on a lane to itself, half of them received. */
static int hold(struct context *context, struct holder *holder)
{
    memset(holder, 0, sizeof *holder);
    if (numapool_connect(&holder->client, context->daemon->socket) < 0 || numapool_open(holder->client, "i", 0, &holder->pool) < 0 ||
        numapool_magazine_open(holder->pool, NUMAPOOL_ANY_NODE, 0, &holder->magazine) < 0 ||
        numapool_sender_open(holder->pool, "own", NULL, &holder->sender) < 0 ||
        numapool_receiver_open(holder->pool, "own", NULL, &holder->receiver) < 0)
        return wrong(context->told, "opening");
    for (unsigned i = 0; i < HELD; i++) {
        holder->slots[i] = numapool_get(holder->magazine);
        if (!holder->slots[i])
            return wrong(context->told, "get");
        memset(holder->slots[i], (int)(i & 0xff), 128);
    }
    for (unsigned i = 0; i < SENT; i++) {
        struct numapool_msg message = { .data = numapool_loan(holder->sender), .length = 128, .id = i };
        if (!message.data)
            return wrong(context->told, "loan");
        memset(message.data, 0x80 | (int)i, 128);
        if (numapool_send(holder->sender, &message, 0) < 0)
            return wrong(context->told, "send");
    }
    if (numapool_receive(holder->receiver, holder->messages, SENT / 2, 0) != SENT / 2)
        return wrong(context->told, "receive");
    SET(context->told->client, numapool_client_id(holder->client));
    return 0;
}

static bool is_filled(const void *slot, int byte)
{
    const unsigned char *bytes = slot;
    for (unsigned i = 0; i < 128; i++)
        if (bytes[i] != byte)
            return false;
    return true;
}

/* All is as hold has left it, and can be given back. */
static int give_back(struct context *context, struct holder *holder)
{
    for (unsigned i = 0; i < HELD; i++)
        if (!is_filled(holder->slots[i], (int)(i & 0xff)))
            return wrong(context->told, "a slot that it held was written by somebody else");
    for (unsigned i = 0; i < SENT / 2; i++)
        if (!is_filled(holder->messages[i].data, 0x80 | (int)i))
            return wrong(context->told, "a message that it had received was written by somebody else");
    if (numapool_release(holder->receiver, holder->messages, SENT / 2) < 0 ||
        numapool_receive(holder->receiver, holder->messages, SENT, 1000000) != SENT / 2 ||
        numapool_release(holder->receiver, holder->messages, SENT / 2) < 0)
        return wrong(context->told, "going on with the lane");
    if (numapool_put_bulk(holder->magazine, holder->slots, HELD) < 0)
        return wrong(context->told, "put_bulk");
    if (numapool_receiver_close(holder->receiver) < 0 || numapool_sender_close(holder->sender, 0) < 0 ||
        numapool_magazine_close(holder->magazine) < 0 || numapool_close(holder->pool) < 0 || numapool_disconnect(holder->client) < 0)
        return wrong(context->told, "closing");
    return 0;
}

static void wait_go_on(struct context *context, uint32_t step)
{
    SET(context->told->step, step);
    while (GET(context->told->go_on) < step)
        harness_sleep_ns(1000000);
}

/* ---------------------------------------------------------------- the test's side */

struct wanted_step {
    struct told *told;
    uint32_t step;
};

static bool has_reached(void *argument)
{
    struct wanted_step *wanted = argument;
    return GET(wanted->told->step) >= wanted->step || GET(wanted->told->wrong) > 0;
}

static bool reached(struct context *context, uint32_t step)
{
    struct wanted_step wanted = { context->told, step };
    return harness_wait_until(has_reached, &wanted, INT64_C(20000000000)) && GET(context->told->wrong) == 0;
}

static uint64_t free_slots(struct context *context)
{
    struct np_check check = { 0 };
    return harness_look_check(context->look, &check) && check.wrong == 0 ? check.free_slots : UINT64_MAX;
}

static pid_t begin(struct context *context, int (*body)(void *argument), const char *what)
{
    memset(context->told, 0, sizeof *context->told);
    pid_t pid = harness_fork(body, context);
    harness_expect(reached(context, 1), "%s (%s)", what, context->told->sentence);
    return pid;
}

/* Another client takes what is on the lane of one that is gone, in order. */
static int drain(void *argument)
{
    struct context *context = argument;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg message;
    unsigned got = 0;
    if (numapool_connect(&client, context->daemon->socket) < 0 || numapool_open(client, "i", 0, &pool) < 0 ||
        numapool_receiver_open(pool, "own", NULL, &receiver) < 0)
        return 1;
    for (; numapool_receive(receiver, &message, 1, INT64_C(100000000)) == 1; got++)
        if (message.id != got || !is_filled(message.data, 0x80 | (int)got) || numapool_release(receiver, &message, 1) < 0)
            return 1;
    return got != SENT;
}

static void expect_all_back(struct context *context)
{
    int64_t took_ns;
    harness_expect(harness_join(harness_fork(drain, context), INT64_C(20000000000)) == 0, "what it had sent is received by another");
    harness_expect(harness_wait_all_free(context->look, INT64_C(2000000000), &took_ns) == SLOTS, "and all slots are free");
}

/* ---------------------------------------------------------------- execve */

static int become_another(void *argument)
{
    struct context *context = argument;
    struct holder holder;
    if (hold(context, &holder) != 0)
        return 1;
    wait_go_on(context, 1);
    execl("/proc/self/exe", "identity", "--sleep", (char *)NULL);
    return 1;
}

static void exec_trial(struct context *context)
{
    pid_t pid = begin(context, become_another, "a client holds slots, and is about to become another program");
    uint32_t client = (uint32_t)GET(context->told->client);
    uint64_t cookie = harness_look_cookie(context->look, client), before = free_slots(context);
    SET(context->told->go_on, 1);
    int64_t took_ns = harness_look_wait_gone(context->look, client, cookie, INT64_C(10000000000));
    harness_expect(before <= SLOTS - HELD - SENT && took_ns >= 0 && harness_is_alive(pid),
                   "execve: its slots come back (after %.0f ms) though the process lives", (double)took_ns / 1e6);
    expect_all_back(context);
    harness_expect(harness_is_alive(pid), "it lives on as the other program");
    harness_kill(pid);
}

/* ---------------------------------------------------------------- fork */

static bool is_refused(long result)
{
    return result == -EINVAL && numapool_errormsg()[0] != '\0';
}

/* Every call on what was the parent's. */
static int try_what_was_the_parents(struct context *context, struct holder *holder)
{
    struct numapool_msg message = holder->messages[0];
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_pool *pool;
    struct numapool_stats stats = { .size = sizeof stats };
    numapool_handle handle;
    void *slot;
    bool refused = numapool_get(holder->magazine) == NULL && is_refused(numapool_put(holder->magazine, holder->slots[0])) &&
                   is_refused(numapool_get_wait(holder->magazine, &slot, 1000)) &&
                   is_refused(numapool_get_bulk(holder->magazine, &slot, 1)) &&
                   is_refused(numapool_put_bulk(holder->magazine, holder->slots, 2)) && is_refused(numapool_flush(holder->magazine)) &&
                   numapool_loan(holder->sender) == NULL && is_refused(numapool_unloan(holder->sender, holder->slots[1])) &&
                   is_refused(numapool_send(holder->sender, &message, 0)) &&
                   is_refused(numapool_receive(holder->receiver, &message, 1, 0)) &&
                   is_refused(numapool_release(holder->receiver, &message, 1)) && is_refused(numapool_keep(holder->receiver, &message)) &&
                   is_refused(numapool_forward(holder->receiver, &message, holder->sender, 0)) &&
                   is_refused(numapool_handle_of(holder->pool, holder->slots[0], &handle)) &&
                   is_refused(numapool_slot_node(holder->pool, holder->slots[0])) &&
                   is_refused(numapool_stats_read(holder->pool, NUMAPOOL_ANY_NODE, &stats)) &&
                   is_refused(numapool_magazine_open(holder->pool, NUMAPOOL_ANY_NODE, 0, &magazine)) &&
                   is_refused(numapool_sender_open(holder->pool, "own", NULL, &sender)) &&
                   is_refused(numapool_receiver_open(holder->pool, "own", NULL, &receiver)) &&
                   is_refused(numapool_sender_close(holder->sender, 0)) && is_refused(numapool_receiver_close(holder->receiver)) &&
                   is_refused(numapool_magazine_close(holder->magazine)) && is_refused(numapool_close(holder->pool)) &&
                   is_refused(numapool_open(holder->client, "i", 0, &pool)) && is_refused(numapool_disconnect(holder->client)) &&
                   is_refused(numapool_client_id(holder->client));
    return refused ? 0 : wrong(context->told, "a call on the parent's handle was not refused in a forked child");
}

static int outlive(struct context *context, struct holder *holder)
{
    struct holder own;
    if (try_what_was_the_parents(context, holder) != 0)
        return 1;
    wait_go_on(context, 2); /* the parent is dead */
    if (try_what_was_the_parents(context, holder) != 0 || hold(context, &own) != 0 || give_back(context, &own) != 0)
        return 1;
    SET(context->told->step, 3);
    for (;;)
        pause();
}

static int have_children(void *argument)
{
    struct context *context = argument;
    struct holder holder;
    if (hold(context, &holder) != 0)
        return 1;
    SET(context->told->step, 1); /* before there is who takes the next step */
    pid_t child = fork();
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            SET(context->told->child, getpid());
            _exit(outlive(context, &holder));
        }
        for (;;)
            pause(); /* with all descriptors of the parent open */
    }
    for (;;)
        pause();
}

static void fork_trial(struct context *context)
{
    pid_t pid = begin(context, have_children, "a client holds slots, and has a child and a grandchild");
    harness_expect(reached(context, 2), "every call of the grandchild on its grandparent's handles is refused with a sentence (%s)",
                   context->told->sentence);
    uint32_t client = (uint32_t)GET(context->told->client);
    uint64_t cookie = harness_look_cookie(context->look, client), before = free_slots(context);
    harness_kill(pid);
    int64_t took_ns = harness_look_wait_gone(context->look, client, cookie, INT64_C(5000000000));
    harness_expect(before <= SLOTS - HELD - SENT && took_ns >= 0 && harness_is_alive(GET(context->told->child)),
                   "its slots come back (after %.1f ms) though its children live", (double)took_ns / 1e6);
    expect_all_back(context);
    SET(context->told->go_on, 2);
    harness_expect(reached(context, 3), "the grandchild connects anew and works; the old handles are refused as before (%s)",
                   context->told->sentence);
    int64_t wait_ns;
    harness_expect(harness_wait_all_free(context->look, INT64_C(2000000000), &wait_ns) == SLOTS, "its own end is as any client's");
    pid_t grandchild = GET(context->told->child);
    char path[40];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)grandchild);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%*d %*s %*c %d", &parent) == 1 && parent > 1)
        kill(parent, SIGKILL);
    if (file)
        fclose(file);
    kill(grandchild, SIGKILL);
}

/* ---------------------------------------------------------------- SIGSTOP */

static int hold_and_give_back(void *argument)
{
    struct context *context = argument;
    struct holder holder;
    if (hold(context, &holder) != 0)
        return 1;
    wait_go_on(context, 1);
    return give_back(context, &holder);
}

/* Takes everything that there is, and gives it back. */
static int use_the_rest(void *argument)
{
    struct context *context = argument;
    static void *slots[SLOTS];
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    unsigned have = 0;
    if (numapool_connect(&client, context->daemon->socket) < 0 || numapool_open(client, "i", 0, &pool) < 0 ||
        numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0)
        return 1;
    while (have < SLOTS && (slots[have] = numapool_get(magazine))) {
        memset(slots[have], 0xee, 128);
        have++;
    }
    return have < SLOTS / 2 || have > SLOTS - HELD - SENT || numapool_put_bulk(magazine, slots, have) < 0;
}

static void stop_trial(struct context *context)
{
    pid_t pid = begin(context, hold_and_give_back, "a client holds slots");
    uint64_t cookie = harness_look_cookie(context->look, (uint32_t)GET(context->told->client));
    kill(pid, SIGSTOP);
    harness_sleep_ns(LONG_NS);
    harness_expect(harness_process_state(pid) == 'T' &&
                   !harness_look_is_gone(context->look, (uint32_t)GET(context->told->client), cookie),
                   "SIGSTOP: it counts as alive");
    harness_expect(harness_join(harness_fork(use_the_rest, context), INT64_C(20000000000)) == 0, "others get all slots but its own");
    kill(pid, SIGCONT);
    SET(context->told->go_on, 1);
    int status = harness_join(pid, INT64_C(20000000000));
    harness_expect(status == 0, "SIGCONT: it finds its slots and its lane as they were, and goes on (%s)", context->told->sentence);
}

/* ---------------------------------------------------------------- the socket */

static int lose_socket(void *argument)
{
    struct context *context = argument;
    struct holder holder;
    struct numapool_sender *another;
    if (hold(context, &holder) != 0)
        return 1;
    for (unsigned way = 0; way < 3; way++) {
        char path[40], target[40];
        for (int fd = 3; fd < 200; fd++) {
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            ssize_t length = readlink(path, target, sizeof target);
            if (length < 7 || memcmp(target, "socket:", 7) != 0)
                continue;
            if (way == 0)
                close(fd);
            else if (way == 1)
                shutdown(fd, SHUT_RDWR);
            else
                dup2(STDIN_FILENO, fd); /* its number is somebody else's now */
        }
        wait_go_on(context, way + 1);
        if (numapool_sender_open(holder.pool, "another", NULL, &another) < 0 || numapool_sender_close(another, 0) < 0)
            return wrong(context->told, "a slow call after its socket was closed");
    }
    SET(context->told->step, 4);
    return give_back(context, &holder);
}

static void socket_trial(struct context *context)
{
    static const char *const ways[] = { "closes the library's socket", "shuts it down", "puts another file in its place" };
    pid_t pid = begin(context, lose_socket, "a client holds slots");
    uint32_t client = (uint32_t)GET(context->told->client);
    uint64_t cookie = harness_look_cookie(context->look, client);
    for (uint32_t way = 0; way < 3; way++) {
        harness_expect(reached(context, way + 1), "a client %s (%s)", ways[way], context->told->sentence);
        harness_sleep_ns(LONG_NS);
        harness_expect(!harness_look_is_gone(context->look, client, cookie) && free_slots(context) <= SLOTS - HELD - SENT,
                       "its slots are not taken from it");
        SET(context->told->go_on, way + 1);
        harness_expect(reached(context, way + 2), "and its next slow call connects by itself (%s)", context->told->sentence);
    }
    harness_expect(harness_join(pid, INT64_C(20000000000)) == 0, "it goes on with all it had (%s)", context->told->sentence);
}

/* ---------------------------------------------------------------- nonsense */

/* Something like a request: its header may be right and its numbers are drawn. */
static size_t compose(uint64_t *random, struct np_wire_request *request)
{
    uint64_t *words = (uint64_t *)request;
    for (unsigned i = 0; i < sizeof *request / 8; i++)
        words[i] = harness_below(random, 3) == 0 ? harness_below(random, 3000) : harness_random(random);
    if (harness_below(random, 8) > 0)
        request->magic = NP_WIRE_MAGIC;
    if (harness_below(random, 8) > 0)
        request->operation = 1 + harness_below(random, NP_WIRE_OPERATIONS);
    if (request->operation == NP_WIRE_GOODBYE && harness_below(random, 4) > 0)
        request->operation = NP_WIRE_NEXT_LANE;
    if (harness_below(random, 4) == 0)
        memcpy(request->of.room, "i", 2); /* a pool's name, or part of a number */
    return harness_below(random, 6) == 0 ? 1 + harness_below(random, sizeof *request - 1) : sizeof *request;
}

/* With descriptors that nobody asked for. */
static void send_with_descriptors(int fd, const struct np_wire_request *request, size_t bytes)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec part = { (void *)(uintptr_t)request, bytes };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    memset(&control, 0, sizeof control);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(&control.header), (int[2]){ 0, 2 }, 2 * sizeof(int));
    (void)sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void swallow(int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct np_wire_answer answer;
    struct iovec part = { &answer, sizeof answer };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    while (recvmsg(fd, &message, MSG_DONTWAIT) > 0) {
        for (struct cmsghdr *part_of = CMSG_FIRSTHDR(&message); part_of; part_of = CMSG_NXTHDR(&message, part_of))
            for (unsigned i = 0; part_of->cmsg_type == SCM_RIGHTS && CMSG_LEN((i + 1) * sizeof(int)) <= part_of->cmsg_len; i++) {
                int taken;
                memcpy(&taken, CMSG_DATA(part_of) + i * sizeof taken, sizeof taken);
                close(taken);
            }
        message.msg_controllen = sizeof control;
    }
}

static int say_hello(int fd)
{
    struct np_wire_request request = { .magic = NP_WIRE_MAGIC, .operation = NP_WIRE_HELLO, .number = 1 };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    request.of.hello.layout = np_wire_layout();
    int result = np_wire_call(fd, &request, &answer, fds, INT64_C(5000000000));
    if (result == 0 && fds[0] >= 0)
        close(fds[0]);
    return result;
}

static int talk_nonsense(void *argument)
{
    struct context *context = argument;
    uint64_t random = context->seed;
    unsigned messages = harness_scaled(NONSENSE, 500);
    SET(context->told->step, 1);
    for (unsigned sent = 0; sent < messages;) {
        int fd = np_wire_connect(context->daemon->socket);
        if (fd < 0)
            return wrong(context->told, "connecting");
        if (harness_below(&random, 3) > 0 && say_hello(fd) < 0)
            return wrong(context->told, "HELLO");
        unsigned in_this = harness_below(&random, 60);
        for (unsigned i = 0; i < in_this; i++, sent++) {
            struct np_wire_request request;
            size_t bytes = compose(&random, &request);
            if (harness_below(&random, 10) == 0)
                send_with_descriptors(fd, &request, bytes);
            else
                (void)send(fd, &request, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (harness_below(&random, 3) > 0)
                harness_sleep_ns(20000);
            swallow(fd);
        }
        sent++;
        close(fd);
    }
    return 0;
}

static unsigned descriptors_of(pid_t pid)
{
    char path[40];
    unsigned n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    while (directory && readdir(directory))
        n++;
    if (directory)
        closedir(directory);
    return n;
}

struct daemon_descriptors {
    pid_t keeper, worker;
    unsigned of_keeper, of_worker;
};

static bool have_no_more(void *argument)
{
    struct daemon_descriptors *before = argument;
    return descriptors_of(before->keeper) <= before->of_keeper && descriptors_of(before->worker) <= before->of_worker;
}

static void nonsense_trial(struct context *context)
{
    struct told *told = context->told, *own = told + 1;
    struct context talker = { context->daemon, context->look, own, context->seed };
    pid_t worker = harness_daemon_worker(context->daemon);
    struct daemon_descriptors before = { context->daemon->keeper, worker, descriptors_of(context->daemon->keeper),
                                         descriptors_of(worker) };
    pid_t holder = begin(context, hold_and_give_back, "a client holds slots");
    memset(own, 0, sizeof *own);
    pid_t pid = harness_fork(talk_nonsense, &talker);
    unsigned calls = 0;
    int64_t longest_ns = 0;
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        struct numapool_client *client;
        int64_t begun_ns = harness_now_ns();
        if (numapool_connect(&client, context->daemon->socket) < 0 || numapool_disconnect(client) < 0)
            break;
        int64_t took_ns = harness_now_ns() - begun_ns;
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
        calls++;
        harness_sleep_ns(2000000);
    }
    harness_expect(GET(own->wrong) == 0 && waitpid(pid, NULL, 0) < 0 && calls > 0,
                   "a process talks nonsense, others are served meanwhile (%u connections, the slowest in %.1f ms) (%s)", calls,
                   (double)longest_ns / 1e6, own->sentence);
    harness_expect(harness_daemon_worker(context->daemon) == worker, "the worker lives");
    SET(told->go_on, 1);
    harness_expect(harness_join(holder, INT64_C(20000000000)) == 0, "who held slots finds them as they were (%s)", told->sentence);
    bool no_more = harness_wait_until(have_no_more, &before, INT64_C(5000000000));
    harness_expect(no_more, "the daemon has no more descriptors than before: keeper %u then, %u now; worker %u then, %u now",
                   before.of_keeper, descriptors_of(before.keeper), before.of_worker, descriptors_of(worker));
}

int main(int argc, char **argv)
{
    struct harness_daemon daemon;
    struct harness_look look;
    if (argc == 2 && strcmp(argv[1], "--sleep") == 0)
        for (;;)
            pause();
    harness_begin("identity", argc, argv);
    struct told *told = mmap(NULL, 2 * sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    harness_daemon_prepare(&daemon);
    if (told == MAP_FAILED || !harness_expect(harness_daemon_start(&daemon, POOL_SPEC), "the daemon starts") ||
        !harness_expect(harness_look_open(&look, daemon.socket), "its board can be looked at"))
        return harness_end();
    struct context context = { &daemon, &look, told, harness_seed() };
    exec_trial(&context);
    fork_trial(&context);
    stop_trial(&context);
    socket_trial(&context);
    nonsense_trial(&context);
    harness_look_close(&look);
    harness_expect_nothing_left(&daemon);
    harness_expect(harness_daemon_stop(&daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&daemon);
    return harness_end();
}
