/* SPDX-License-Identifier: MIT
 * Where the manager does not do what is wanted of it, or the next daemon is another. */
#include "fdstore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/depository.h"

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

enum { CLIENTS = 6, COST_ROUNDS = 200 };

struct scene {
    struct harness_daemon daemon;
    struct manager manager;
};

struct member {
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
};

static void begin(struct scene *scene)
{
    harness_daemon_prepare(&scene->daemon);
    manager_begin(&scene->manager, &scene->daemon, ROLES_POOL_SPEC);
}

static bool run(struct scene *scene)
{
    uint32_t before = GET(scene->manager.told->starts);
    manager_do(&scene->manager, MANAGER_START);
    return harness_expect(manager_wait(&scene->manager, before, FDSTORE_LONG_NS), "the manager starts the daemon (%s)",
                          scene->manager.told->status);
}

static void end(struct scene *scene)
{
    manager_do(&scene->manager, MANAGER_STOP);
    manager_end(&scene->manager);
    harness_daemon_remove(&scene->daemon);
}

static bool kill_and_wait(struct scene *scene)
{
    uint32_t before = GET(scene->manager.told->starts);
    kill(GET(scene->manager.told->keeper), SIGKILL);
    return manager_wait(&scene->manager, before, FDSTORE_LONG_NS);
}

static bool join(struct member *member, const struct scene *scene)
{
    memset(member, 0, sizeof *member);
    return numapool_connect(&member->client, scene->daemon.socket) == 0 && numapool_open(member->client, ROLES_POOL, 0, &member->pool) == 0;
}

static bool join_channel(struct member *member)
{
    return numapool_sender_open(member->pool, "c", NULL, &member->sender) == 0 &&
           numapool_receiver_open(member->pool, "c", NULL, &member->receiver) == 0;
}

static bool message_passes(struct member *member)
{
    struct numapool_msg message = { .length = 8, .data = numapool_loan(member->sender) };
    return message.data && numapool_send(member->sender, &message, FDSTORE_LONG_NS) == 0 &&
           numapool_receive(member->receiver, &message, 1, FDSTORE_LONG_NS) == 1 && numapool_release(member->receiver, &message, 1) == 0;
}

/* A call that needs the daemon: what it gives. */
static int slow_call(struct member *member)
{
    struct numapool_receiver *receiver;
    int result = numapool_receiver_open(member->pool, "other", NULL, &receiver);
    return result < 0 ? result : numapool_receiver_close(receiver);
}

/* A call that needs the daemon gives this. */
static void expect_of_slow_call(struct member *member, int wanted, const char *promise)
{
    int result = slow_call(member);
    harness_expect(result == wanted, "%s%s%s", promise, result < 0 ? ": " : "", result < 0 ? numapool_errormsg() : "");
}

static void leave(struct member *member)
{
    if (member->receiver)
        numapool_receiver_close(member->receiver);
    if (member->sender)
        numapool_sender_close(member->sender, 0);
    if (member->pool)
        numapool_close(member->pool);
    if (member->client)
        numapool_disconnect(member->client);
}

static unsigned times_said(const struct harness_daemon *daemon, const char *text)
{
    char line[1024];
    unsigned n = 0;
    FILE *log = fopen(daemon->log, "r");
    while (log && fgets(line, sizeof line, log))
        n += strstr(line, text) != NULL;
    if (log)
        fclose(log);
    return n;
}

static uint64_t depository_of(const struct scene *scene)
{
    struct harness_look look;
    if (!harness_look_open(&look, scene->daemon.socket))
        return UINT64_MAX;
    uint64_t state = np_load64(&look.board.header->depository, memory_order_relaxed);
    harness_look_close(&look);
    return state;
}

static bool has_forgotten_all(void *context)
{
    const struct scene *scene = context;
    return GET(scene->manager.told->kept) == 0;
}

/* ---------------------------------------------------------------- too little room */

void fdstore_without_room(bool says_most)
{
    struct scene scene;
    struct member members[CLIENTS];
    unsigned joined = 0;
    begin(&scene);
    SET(scene.manager.told->most, 9);
    SET(scene.manager.told->says_most, says_most);
    if (!run(&scene))
        return;
    harness_expect(depository_of(&scene) == NP_DEPOSITORY_KEEPING && GET(scene.manager.told->kept) == 5, "a manager with room for 9 keeps the daemon's 5");
    while (joined < CLIENTS && join(&members[joined], &scene))
        joined++;
    harness_expect(joined == CLIENTS, "clients attach though there is no room for their descriptors (%u)", joined);
    harness_expect(depository_of(&scene) == NP_DEPOSITORY_LOST && times_said(&scene.daemon, "does not keep all descriptors any more") == 1,
                   "that the guarantee is gone is said once, and shown by numapoolctl stats (%s)", scene.manager.told->status);
    harness_expect(harness_wait_until(has_forgotten_all, &scene, FDSTORE_LONG_NS) && (says_most ? GET(scene.manager.told->refused) == 0 : true),
                   "the manager is told to keep nothing: half a store is none (%u were refused)", GET(scene.manager.told->refused));
    harness_expect(join_channel(&members[0]) && message_passes(&members[0]), "the daemon serves on");
    harness_expect(kill_and_wait(&scene), "killed, it starts anew");
    expect_of_slow_call(&members[0], -ESTALE, "and its clients are told so");
    harness_expect(message_passes(&members[0]), "what is mapped goes on working");
    for (unsigned i = 0; i < joined; i++)
        leave(&members[i]);
    harness_expect(depository_of(&scene) == NP_DEPOSITORY_KEEPING, "the new daemon's are kept again");
    end(&scene);
}

/* ---------------------------------------------------------------- another build; a stop */

static bool has_failed_twice(void *context)
{
    const struct scene *scene = context;
    return GET(scene->manager.told->failures) >= 3; /* the kill, and two starts */
}

void fdstore_other_version(void)
{
    struct scene scene;
    struct member member;
    begin(&scene);
    if (!run(&scene))
        return;
    harness_expect(join(&member, &scene) && join_channel(&member) && message_passes(&member), "a client works");
    uint32_t kept = GET(scene.manager.told->kept), before = GET(scene.manager.told->starts);
    SET(scene.manager.told->renames, 1);
    SET(scene.manager.told->pause_ns, 20000000);
    kill(GET(scene.manager.told->keeper), SIGKILL);
    bool failed = harness_wait_until(has_failed_twice, &scene, FDSTORE_LONG_NS);
    harness_expect(failed && harness_daemon_said(&scene.daemon, "memory of another version of numapool ('np1-1-dead-beef'"),
                   "a daemon whose memory is laid out otherwise refuses the store, and names what it found");
    harness_expect(GET(scene.manager.told->kept) == kept && message_passes(&member), "the manager keeps it (%u), and the client goes on", kept);
    SET(scene.manager.told->renames, 0);
    harness_expect(manager_wait(&scene.manager, before, FDSTORE_LONG_NS), "the right one takes over");
    expect_of_slow_call(&member, 0, "and answers");
    leave(&member);
    end(&scene);
}

void fdstore_stopped(void)
{
    struct scene scene;
    struct member member;
    begin(&scene);
    if (!run(&scene))
        return;
    harness_expect(join(&member, &scene) && join_channel(&member), "a client works");
    uint32_t before = GET(scene.manager.told->starts);
    manager_do(&scene.manager, MANAGER_RESTART);
    harness_expect(manager_wait(&scene.manager, before, FDSTORE_LONG_NS) && message_passes(&member), "a restart is nothing to a client");
    expect_of_slow_call(&member, 0, "whose calls are answered again");
    manager_do(&scene.manager, MANAGER_STOP);
    harness_expect(GET(scene.manager.told->kept) == 0 && message_passes(&member), "a stop gives the memory up, but for what is mapped");
    run(&scene);
    expect_of_slow_call(&member, -ESTALE, "the daemon that is started after it is another");
    leave(&member);
    end(&scene);
}

/* ---------------------------------------------------------------- a worker that does not end */

/* A description of its own of the keeper's board. */
static int open_board(pid_t keeper)
{
    char path[PATH_MAX], target[64];
    struct dirent *entry;
    int fd = -1;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)keeper);
    DIR *descriptors = opendir(path);
    while (fd < 0 && descriptors && (entry = readdir(descriptors))) {
        snprintf(path, sizeof path, "/proc/%d/fd/%.20s", (int)keeper, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        if (strstr(target, "the board"))
            fd = open(path, O_RDWR | O_CLOEXEC);
    }
    if (descriptors)
        closedir(descriptors);
    return fd;
}

void fdstore_locked_board(void)
{
    struct scene scene;
    struct member member;
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    begin(&scene);
    if (!run(&scene))
        return;
    int board = open_board(scene.daemon.keeper);
    uint32_t before = GET(scene.manager.told->starts);
    harness_expect(board >= 0 && fcntl(board, F_OFD_SETLK, &whole) != 0, "a worker has the board locked");
    harness_expect(join(&member, &scene), "a client attaches");
    SET(scene.manager.told->pause_ns, 100000000);
    kill(scene.daemon.keeper, SIGKILL);
    while (fcntl(board, F_OFD_SETLK, &whole) != 0 && GET(scene.manager.told->starts) == before)
        harness_sleep_ns(200000);
    harness_expect(GET(scene.manager.told->starts) == before, "its death unlocks it");
    harness_expect(!manager_wait(&scene.manager, before, INT64_C(500000000)), "while another has it locked no worker touches it");
    close(board);
    harness_expect(manager_wait(&scene.manager, before, FDSTORE_LONG_NS), "then the next takes over");
    expect_of_slow_call(&member, 0, "and answers");
    leave(&member);
    end(&scene);
}

/* ---------------------------------------------------------------- a socket unit */

void fdstore_activated(void)
{
    struct scene scene;
    struct member member;
    struct stat status;
    begin(&scene);
    SET(scene.manager.told->activates, 1);
    if (!run(&scene))
        return;
    harness_expect(join(&member, &scene), "a client attaches by a socket that the manager has made");
    harness_expect(kill_and_wait(&scene), "keeper and worker die");
    expect_of_slow_call(&member, 0, "it goes on");
    manager_do(&scene.manager, MANAGER_STOP);
    harness_expect(stat(scene.daemon.socket, &status) == 0, "the socket stays the manager's when the daemon is stopped");
    leave(&member);
    if (run(&scene)) {
        harness_expect(join(&member, &scene), "the next daemon has it too");
        leave(&member);
    }
    end(&scene);
}

/* ---------------------------------------------------------------- a manager that hears nothing for a while */

void fdstore_deaf_manager(void)
{
    struct scene scene;
    struct member members[64], looker;
    unsigned joined = 0;
    begin(&scene);
    if (!run(&scene))
        return;
    harness_expect(join(&looker, &scene) && join_channel(&looker), "a client works");
    SET(scene.manager.told->deaf, 1);
    harness_sleep_ns(5000000);
    while (joined < 64 && join(&members[joined], &scene))
        joined++;
    int64_t asked_ns = harness_now_ns();
    harness_expect(joined < 64 && depository_of(&scene) == NP_DEPOSITORY_KEEPING, "nobody new attaches while the manager hears nothing: %s",
                   numapool_errormsg());
    harness_expect(message_passes(&looker), "who is there works on");
    harness_note("looking at the daemon took %.0f ms meanwhile", (double)(harness_now_ns() - asked_ns) / 1e6);
    if (joined < 64 && members[joined].client)
        numapool_disconnect(members[joined].client);
    SET(scene.manager.told->deaf, 0);
    struct member late;
    harness_expect(join(&late, &scene), "when it hears again they do");
    harness_expect(kill_and_wait(&scene), "and it has everything");
    expect_of_slow_call(&looker, 0, "of who was there");
    expect_of_slow_call(&late, 0, "and of who came late");
    leave(&late);
    for (unsigned i = 0; i < joined; i++)
        leave(&members[i]);
    leave(&looker);
    harness_expect_nothing_left(&scene.daemon);
    end(&scene);
}

/* One that has much else to do, as systemd while a machine starts: each descriptor takes it longer than a request may. */
void fdstore_slow_manager(void)
{
    struct scene scene;
    struct member member;
    begin(&scene);
    SET(scene.manager.told->slow_ns, 150000000);
    if (!run(&scene))
        return;
    harness_expect(depository_of(&scene) == NP_DEPOSITORY_KEEPING && GET(scene.manager.told->failures) == 0,
                   "the daemon starts however long the manager takes to keep its descriptors");
    SET(scene.manager.told->slow_ns, 0);
    harness_expect(join(&member, &scene), "clients attach");
    harness_expect(kill_and_wait(&scene), "keeper and worker die");
    expect_of_slow_call(&member, 0, "and the manager has everything");
    leave(&member);
    end(&scene);
}

/* ---------------------------------------------------------------- I/O in flight */

struct told_token {
    const char *socket;
    _Atomic int fd;
    _Atomic uint32_t client;
};

static int hold_token(void *context)
{
    struct told_token *told = context;
    struct scene scene;
    struct member member;
    snprintf(scene.daemon.socket, sizeof scene.daemon.socket, "%s", told->socket);
    if (!join(&member, &scene) || numapool_sender_open(member.pool, "c", NULL, &member.sender) < 0 || !numapool_loan(member.sender))
        return 1;
    int fd = numapool_io_token(member.client);
    SET(told->client, numapool_client_id(member.client));
    SET(told->fd, fd);
    for (;;)
        pause();
}

static bool has_token(void *context)
{
    const struct told_token *told = context;
    return GET(told->fd) != 0;
}

/* Stands for a ring that outlives its process: another write end of the token's pipe. */
void fdstore_token(void)
{
    struct scene scene;
    struct harness_look look;
    char path[64];
    int64_t took_ns;
    struct told_token *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    begin(&scene);
    if (told == MAP_FAILED || !run(&scene) || !harness_look_open(&look, scene.daemon.socket))
        return;
    told->socket = scene.daemon.socket;
    pid_t holder = harness_fork(hold_token, told);
    harness_expect(harness_wait_until(has_token, told, FDSTORE_LONG_NS) && GET(told->fd) > 0, "a client has an I/O token and slots");
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)holder, GET(told->fd));
    int ring = open(path, O_WRONLY | O_CLOEXEC);
    uint64_t cookie = harness_look_cookie(&look, GET(told->client));
    uint32_t before = GET(scene.manager.told->starts);
    SET(scene.manager.told->pause_ns, 100000000);
    kill(scene.daemon.keeper, SIGKILL);
    harness_kill(holder);
    bool absent = GET(scene.manager.told->starts) == before;
    harness_expect(ring >= 0 && absent && manager_wait(&scene.manager, before, FDSTORE_LONG_NS), "it dies while there is neither keeper nor worker");
    SET(scene.manager.told->pause_ns, 0);
    harness_expect(kill_and_wait(&scene), "and keeper and worker once more");
    harness_expect(np_entry_is(&look.board.clients[GET(told->client)].state, NP_DYING), "its slots wait for the kernel all the same");
    close(ring);
    bool gone = harness_look_wait_gone(&look, GET(told->client), cookie, FDSTORE_LONG_NS) >= 0;
    harness_look_close(&look); /* its connection was the first daemon's */
    harness_expect(gone && harness_look_open(&look, scene.daemon.socket) && harness_wait_all_free(&look, FDSTORE_LONG_NS, &took_ns) == 4096,
                   "and come back when it has let go");
    harness_look_close(&look);
    munmap(told, sizeof *told);
    end(&scene);
}

/* ---------------------------------------------------------------- what it costs */

static double attach_us(const struct harness_daemon *daemon, bool *good)
{
    struct scene scene = { .daemon = *daemon };
    struct member member;
    int64_t begun_ns = harness_now_ns();
    unsigned rounds = harness_scaled(COST_ROUNDS, 20);
    for (unsigned i = 0; i < rounds; i++) {
        *good = *good && join(&member, &scene);
        leave(&member);
    }
    return (double)(harness_now_ns() - begun_ns) / 1e3 / rounds;
}

void fdstore_cost(void)
{
    struct scene scene;
    struct harness_daemon plain;
    bool good = true;
    begin(&scene);
    harness_daemon_prepare(&plain);
    if (!run(&scene) || !harness_expect(harness_daemon_start(&plain, ROLES_POOL_SPEC), "and another without a manager"))
        return;
    double with_us = attach_us(&scene.daemon, &good), without_us = attach_us(&plain, &good);
    harness_expect(good, "clients attach to both");
    harness_figure("fdstore.cost", "connecting, opening a pool and leaving again takes %.0f us, and %.0f us without a manager", with_us, without_us);
    harness_daemon_stop(&plain);
    harness_daemon_remove(&plain);
    end(&scene);
}
