/* SPDX-License-Identifier: MIT
 * The daemon under test: started, killed, stopped, and its board looked at. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "numa/placement.h"
#include "service/wire.h"

/* ---------------------------------------------------------------- starting and ending */

void harness_program_path(char *path, size_t bytes, const char *program)
{
    const char *build = getenv("NUMAPOOL_BUILD");
    char own[PATH_MAX];
    if (!build) {
        ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
        own[length > 0 ? length : 0] = '\0';
        for (unsigned up = 0; up < 3; up++) {
            char *slash = strrchr(own, '/');
            if (slash)
                *slash = '\0';
        }
        build = own;
    }
    snprintf(path, bytes, "%s/%s", build, program);
}

void harness_daemon_prepare(struct harness_daemon *daemon)
{
    memset(daemon, 0, sizeof *daemon);
    snprintf(daemon->directory, sizeof daemon->directory, "/tmp/numapool-crash.XXXXXX");
    if (!mkdtemp(daemon->directory)) {
        perror(daemon->directory);
        exit(2);
    }
    snprintf(daemon->socket, sizeof daemon->socket, "%s/socket", daemon->directory);
    snprintf(daemon->lock, sizeof daemon->lock, "%s.lock", daemon->socket);
    snprintf(daemon->log, sizeof daemon->log, "%s/log", daemon->directory);
}

static void print_log(const struct harness_daemon *daemon)
{
    char line[512], *last[20] = { NULL };
    unsigned lines = 0;
    FILE *file = fopen(daemon->log, "r");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        free(last[lines % 20]);
        last[lines++ % 20] = strdup(line);
    }
    fclose(file);
    for (unsigned i = lines > 20 ? lines - 20 : 0; i < lines; i++)
        printf("     log: %s", last[i % 20]);
    for (unsigned i = 0; i < 20; i++)
        free(last[i]);
}

enum { MORE_MAX = 16 };

bool harness_daemon_start(struct harness_daemon *daemon, const char *pool_spec)
{
    static const char *const no_more[] = { NULL };
    return harness_daemon_start_with(daemon, pool_spec, no_more);
}

bool harness_daemon_start_with(struct harness_daemon *daemon, const char *pool_spec, const char *const *more)
{
    int ready;
    harness_daemon_launch(daemon, pool_spec, more, &ready);
    bool is_ready = harness_daemon_await(daemon, ready);
    close(ready);
    return is_ready;
}

void harness_daemon_launch(struct harness_daemon *daemon, const char *pool_spec, const char *const *more, int *ready)
{
    char path[PATH_MAX + 16], number[16];
    const char *argv[12 + MORE_MAX] = { "numapoold", "--socket", daemon->socket, "--pool", pool_spec, "--ready-fd", number, "--log", "info" };
    const char *loop = getenv("NUMAPOOL_TEST_LOOP");
    int ends[2];
    unsigned n = 9;
    if (loop && *loop) {
        argv[n++] = "--loop";
        argv[n++] = loop;
    }
    for (unsigned i = 0; i < MORE_MAX && more[i]; i++)
        argv[n++] = more[i];
    harness_program_path(path, sizeof path, "numapoold");
    if (pipe2(ends, O_CLOEXEC) < 0) {
        perror("pipe2");
        exit(2);
    }
    fflush(stdout);
    pid_t parent = getpid(), keeper = fork();
    if (keeper < 0) {
        perror("fork");
        exit(2);
    }
    if (keeper == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(2);
        int log = open(daemon->log, O_WRONLY | O_CREAT | O_APPEND, 0600), ready_fd = dup(ends[1]);
        dup2(log, 2);
        snprintf(number, sizeof number, "%d", ready_fd);
        if (harness_confine)
            harness_confine();
        execv(path, (char *const *)argv);
        perror(path);
        _exit(127);
    }
    close(ends[1]);
    *ready = ends[0];
    daemon->keeper = keeper; /* here alone: the memory may be shared with the child */
}

bool harness_daemon_await(struct harness_daemon *daemon, int ready)
{
    struct pollfd poll_fd = { .fd = ready, .events = POLLIN };
    char byte = 0;
    if (daemon->keeper > 0 && poll(&poll_fd, 1, 20000) == 1 && read(ready, &byte, 1) == 1 && byte == '\n')
        return true;
    printf("     numapoold did not say ready\n");
    print_log(daemon);
    harness_join(daemon->keeper, 1000000000);
    return false;
}

static pid_t parent_of(pid_t pid)
{
    char path[40], line[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    char *end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

/* By the kernel's list of children, where it is built to have one. */
static bool only_child_of(pid_t pid, pid_t *child)
{
    char path[64], line[64] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return harness_process_state(pid) == 0;
    *child = fgets(line, sizeof line, file) ? atoi(line) : 0;
    fclose(file);
    if (*child > 0 && !harness_is_alive(*child))
        *child = 0;
    return true;
}

pid_t harness_daemon_worker(const struct harness_daemon *daemon)
{
    pid_t only = 0;
    if (daemon->keeper <= 0 || only_child_of(daemon->keeper, &only))
        return only;
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    pid_t worker = 0;
    while (worker == 0 && (entry = readdir(processes)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') {
            pid_t pid = atoi(entry->d_name);
            if (parent_of(pid) == daemon->keeper && harness_is_alive(pid))
                worker = pid;
        }
    closedir(processes);
    return worker;
}

/* What the kernel says of a process that is waited for in vain. */
static void note_state(const char *who, pid_t pid)
{
    static const char *const files[] = { "stat", "wchan", "stack" };
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[64], line[400] = "";
        snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, files[i]);
        FILE *file = fopen(path, "re");
        size_t bytes = file ? fread(line, 1, sizeof line - 1, file) : 0;
        line[bytes] = '\0';
        if (file)
            fclose(file);
        harness_note("%s, %s: %s", who, path, line);
    }
}

pid_t harness_daemon_next_worker(const struct harness_daemon *daemon, pid_t old)
{
    int64_t until_ns = harness_now_ns() + INT64_C(30000000000); /* a kernel whose work queues are starved takes seconds to end a process */
    pid_t worker;
    while (((worker = harness_daemon_worker(daemon)) == 0 || worker == old) && harness_now_ns() < until_ns)
        harness_sleep_ns(200000);
    if (worker == 0 || worker == old) {
        note_state("the keeper", daemon->keeper);
        note_state("the worker that was to be replaced", old);
    }
    return worker == old ? 0 : worker;
}

int harness_daemon_stop(struct harness_daemon *daemon)
{
    if (daemon->keeper <= 0)
        return -1;
    kill(daemon->keeper, SIGTERM);
    int status = harness_join(daemon->keeper, INT64_C(10000000000));
    daemon->keeper = 0;
    return status;
}

void harness_daemon_kill(struct harness_daemon *daemon, bool keeper_first)
{
    pid_t worker = harness_daemon_worker(daemon);
    if (keeper_first)
        kill(daemon->keeper, SIGKILL);
    if (worker > 0)
        kill(worker, SIGKILL);
    kill(daemon->keeper, SIGKILL);
    waitpid(daemon->keeper, NULL, 0);
    while (worker > 0 && harness_is_alive(worker))
        harness_sleep_ns(100000);
    daemon->keeper = 0;
}

void harness_daemon_remove(struct harness_daemon *daemon)
{
    if (harness_failed() > 0)
        print_log(daemon);
    unlink(daemon->socket);
    unlink(daemon->lock);
    unlink(daemon->log);
    rmdir(daemon->directory);
}

bool harness_daemon_said(const struct harness_daemon *daemon, const char *text)
{
    char line[1024];
    bool said = false;
    FILE *file = fopen(daemon->log, "r");
    if (!file)
        return false;
    while (!said && fgets(line, sizeof line, file))
        said = strstr(line, text) != NULL;
    fclose(file);
    return said;
}

int harness_tool(const struct harness_daemon *daemon, const char *const *arguments)
{
    char path[PATH_MAX + 16];
    const char *argv[16] = { "numapoolctl", "--socket", daemon->socket };
    unsigned argc = 3;
    harness_program_path(path, sizeof path, "numapoolctl");
    while (*arguments && argc < 15)
        argv[argc++] = *arguments++;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execv(path, (char *const *)argv);
        perror(path);
        _exit(127);
    }
    int status = harness_join(pid, INT64_C(30000000000));
    return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---------------------------------------------------------------- looking */

static int ask(struct harness_look *look, struct np_wire_request *request, struct np_wire_answer *answer, int fds[NP_WIRE_FDS_MAX])
{
    static uint64_t number;
    request->magic = NP_WIRE_MAGIC;
    request->number = ++number;
    int result = np_wire_call(look->socket, request, answer, fds, INT64_C(10000000000));
    if (result < 0)
        return result;
    return answer->result;
}

bool harness_look_open(struct harness_look *look, const char *socket_path)
{
    struct np_wire_request request = { .operation = NP_WIRE_LOOK };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    memset(look, 0, sizeof *look);
    look->socket = np_wire_connect(socket_path);
    if (look->socket < 0)
        return false;
    request.of.hello.layout = np_wire_layout();
    int result = ask(look, &request, &answer, fds);
    if (result >= 0) {
        look->bytes = np_board_bytes(&answer.of.hello.limits);
        look->bytes = (look->bytes + 4095) / 4096 * 4096;
        result = np_memory_map(&look->memory, fds[0], look->bytes, false, false, "the board");
        close(fds[0]);
        close(fds[1]);
    }
    if (result >= 0)
        result = np_board_attach(&look->board, look->memory, look->bytes);
    if (result < 0)
        harness_note("cannot look at the board: %s", numapool_errormsg());
    return result >= 0;
}

void harness_look_close(struct harness_look *look)
{
    np_memory_unmap(look->memory, look->bytes);
    if (look->socket >= 0)
        close(look->socket);
    look->memory = NULL;
    look->socket = -1;
}

static struct np_lane_shared *look_at_lane(struct harness_look *look, uint32_t lane, size_t bytes)
{
    struct np_wire_request request = { .operation = NP_WIRE_LANE_MEMORY, .of.lane_memory.lane = lane };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    void *memory = NULL;
    if (ask(look, &request, &answer, fds) < 0 || fds[0] < 0)
        return NULL;
    if (np_memory_map(&memory, fds[0], bytes, false, false, "a lane") < 0)
        memory = NULL;
    close(fds[0]);
    return memory;
}

static bool look_at_arena(struct harness_look *look, unsigned number, struct np_arena *arena, void **meta, size_t *meta_bytes)
{
    struct np_pool_entry *pool = &look->board.pools[0];
    struct np_wire_request request = { .operation = NP_WIRE_POOL_MEMORY, .of.pool_memory = { 0, number } };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    if (ask(look, &request, &answer, fds) < 0 || fds[0] < 0)
        return false;
    *meta_bytes = answer.of.pool_memory.meta_bytes;
    int result = np_memory_map(meta, fds[0], *meta_bytes, false, false, "slot words");
    close(fds[0]);
    if (result == 0)
        result = np_arena_attach(arena, *meta, *meta_bytes, NULL, pool->arena[number].slots, pool->slot_bytes, number,
                                 pool->arena[number].node, 0, NULL, UINT32_MAX, pool->flags);
    if (result < 0)
        harness_note("cannot look at words: %s", numapool_errormsg());
    return result == 0;
}

static bool look_check(struct harness_look *look, struct np_check *check, bool tells)
{
    static struct np_arena arenas[NP_ARENAS_MAX];
    void *metas[NP_ARENAS_MAX] = { NULL };
    size_t meta_bytes[NP_ARENAS_MAX];
    struct np_finding findings[8];
    uint32_t lanes_max = look->board.limits.lanes;
    struct np_lane_shared **lanes = calloc(lanes_max + 1, sizeof *lanes);
    size_t *lane_bytes = calloc(lanes_max + 1, sizeof *lane_bytes);
    unsigned arena_count = np_pool_arenas(&look->board.pools[0]);
    bool done = lanes && lane_bytes && arena_count <= NP_ARENAS_MAX;
    for (unsigned i = 0; done && i < arena_count; i++)
        done = look_at_arena(look, i, &arenas[i], &metas[i], &meta_bytes[i]);
    for (uint32_t lane = 1; done && lane <= lanes_max; lane++)
        if (np_entry_is(&look->board.lanes[lane].state, NP_ACTIVE)) {
            lane_bytes[lane] = np_lane_bytes(look->board.lanes[lane].capacity, look->board.lanes[lane].kind);
            lanes[lane] = look_at_lane(look, lane, lane_bytes[lane]);
        }
    *check = (struct np_check){ .findings = findings, .findings_capacity = 8 };
    if (done)
        np_check_pool(check, &look->board, 0, arenas, arena_count, lanes, NULL, NULL);
    for (unsigned i = 0; tells && done && i < check->wrong && i < 8; i++)
        harness_note("check: %s", findings[i].sentence);
    check->findings = NULL;
    for (uint32_t lane = 1; lanes && lane <= lanes_max; lane++)
        if (lanes[lane])
            np_memory_unmap(lanes[lane], lane_bytes[lane]);
    for (unsigned i = 0; i < arena_count && i < NP_ARENAS_MAX; i++)
        if (metas[i])
            np_memory_unmap(metas[i], meta_bytes[i]);
    free(lanes);
    free(lane_bytes);
    return done;
}

bool harness_look_check(struct harness_look *look, struct np_check *check)
{
    return look_check(look, check, true);
}

struct harness_left harness_look_left(const struct harness_look *look)
{
    const struct np_board *board = &look->board;
    struct harness_left left = { 0, 0, 0, 0 };
    for (uint32_t i = 1; i <= board->limits.clients; i++)
        left.clients += !np_entry_is(&board->clients[i].state, NP_NONE);
    for (uint32_t i = 1; i <= board->limits.endpoints; i++)
        left.endpoints += !np_entry_is(&board->endpoints[i].state, NP_NONE);
    for (uint32_t i = 1; i <= board->limits.channels; i++)
        left.channels += !np_entry_is(&board->channels[i].state, NP_NONE);
    for (uint32_t i = 1; i <= board->limits.lanes; i++)
        left.lanes += !np_entry_is(&board->lanes[i].state, NP_NONE);
    return left;
}

uint64_t harness_look_cookie(const struct harness_look *look, uint32_t number)
{
    return number > 0 && number <= look->board.limits.clients ? look->board.clients[number].cookie : 0;
}

bool harness_look_is_gone(const struct harness_look *look, uint32_t number, uint64_t cookie)
{
    const struct np_client_entry *entry = &look->board.clients[number];
    return np_entry_is(&entry->state, NP_NONE) || *(const volatile uint64_t *)&entry->cookie != cookie;
}

int64_t harness_look_wait_gone(const struct harness_look *look, uint32_t number, uint64_t cookie, int64_t timeout_ns)
{
    int64_t begun_ns = harness_now_ns();
    while (!harness_look_is_gone(look, number, cookie)) {
        if (harness_now_ns() - begun_ns > timeout_ns)
            return -1;
        harness_sleep_ns(5000);
    }
    return harness_now_ns() - begun_ns;
}

uint64_t harness_wait_all_free(struct harness_look *look, int64_t timeout_ns, int64_t *took_ns)
{
    int64_t begun_ns = harness_now_ns();
    struct np_check check = { 0 };
    do {
        if (!look_check(look, &check, false))
            return 0;
        *took_ns = harness_now_ns() - begun_ns;
        if (check.free_slots == check.slots)
            break;
        harness_sleep_ns(1000000);
    } while (*took_ns < timeout_ns);
    return check.free_slots;
}

static bool is_empty(void *context)
{
    struct harness_left left = harness_look_left(context);
    return left.clients == 0 && left.endpoints == 0 && left.lanes == 0 && left.channels == 0;
}

void harness_expect_nothing_left(const struct harness_daemon *daemon)
{
    static const char *const check_arguments[] = { "check", NULL };
    struct harness_look look;
    struct np_check check = { 0 };
    int64_t took_ns = 0;
    if (!harness_expect(harness_look_open(&look, daemon->socket), "the daemon lives and can be looked at"))
        return;
    uint64_t free_slots = harness_wait_all_free(&look, INT64_C(2000000000), &took_ns);
    bool looked = harness_look_check(&look, &check);
    harness_expect(looked && check.slots > 0 && check.free_slots == check.slots,
                   "all slots are free within 2 s of the last death (%llu of %llu; %llu held, %llu in flight; %.1f ms)",
                   (unsigned long long)free_slots, (unsigned long long)check.slots, (unsigned long long)check.held,
                   (unsigned long long)check.in_flight, (double)took_ns / 1e6);
    harness_expect(looked && check.wrong == 0, "every slot has exactly one owner (%llu findings)", (unsigned long long)check.wrong);
    harness_wait_until(is_empty, &look, INT64_C(2000000000));
    struct harness_left left = harness_look_left(&look);
    harness_expect(is_empty(&look), "nothing is left on the board: %u clients, %u senders and receivers, %u channels, %u lanes",
                   left.clients, left.endpoints, left.channels, left.lanes);
    harness_look_close(&look);
    harness_expect(harness_tool(daemon, check_arguments) == 0, "numapoolctl check finds nothing wrong");
}
