/* SPDX-License-Identifier: MIT
 * Daemons in poor circumstances, processes that are refused something, and bystanders that are not to notice. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limits.h"

enum { OPTIONS_MAX = 24 };

void *limits_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return memory;
}

/* ---------------------------------------------------------------- daemons */

static void execute_daemon(const struct harness_daemon *daemon, const struct limits_start *start, int ready_end)
{
    static const char *const usual[] = { "--pool", LIMITS_POOL_SPEC, NULL };
    const char *socket = start->socket ? start->socket : daemon->socket;
    char path[PATH_MAX + 16], ready[16];
    const char *arguments[OPTIONS_MAX + 8] = { "numapoold", "--socket", socket, "--ready-fd", ready, "--log", "info" };
    unsigned count = 7;
    harness_program_path(path, sizeof path, "numapoold");
    for (const char *const *option = start->options ? start->options : usual; *option && count < OPTIONS_MAX; option++)
        arguments[count++] = *option;
    int log = start->log_fd > 0 ? start->log_fd : open(daemon->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int ready_fd = dup(ready_end);
    snprintf(ready, sizeof ready, "%d", ready_fd);
    dup2(log, STDERR_FILENO);
    int executable = open(path, O_RDONLY | O_CLOEXEC); /* who has no privilege may not find it any more */
    if (start->before)
        start->before(start->context);
    fexecve(executable, (char *const *)(uintptr_t)arguments, environ);
    perror(path);
    _exit(127);
}

int limits_daemon_start(struct harness_daemon *daemon, const struct limits_start *start)
{
    int ends[2], status;
    unlink(daemon->log);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        perror("pipe2");
        exit(2);
    }
    fflush(stdout);
    pid_t parent = getpid();
    daemon->keeper = fork();
    if (daemon->keeper == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(2);
        execute_daemon(daemon, start, ends[1]);
    }
    close(ends[1]);
    struct pollfd polled = { .fd = ends[0], .events = POLLIN };
    char byte = 0;
    int heard = poll(&polled, 1, 20000);
    bool ready = heard == 1 && read(ends[0], &byte, 1) == 1 && byte == '\n';
    close(ends[0]);
    if (ready)
        return 0;
    status = harness_join(daemon->keeper, heard == 1 ? LIMITS_LONG_NS : 0);
    daemon->keeper = 0;
    return status == 0 ? -1 : status;
}

bool limits_daemon_usual(struct harness_daemon *daemon)
{
    harness_daemon_prepare(daemon);
    int status = limits_daemon_start(daemon, &(struct limits_start){ 0 });
    if (harness_expect(status == 0, "the daemon starts"))
        return true;
    harness_daemon_remove(daemon);
    return false;
}

void limits_daemon_end(struct harness_daemon *daemon)
{
    int status = harness_daemon_stop(daemon);
    harness_expect(status == 0, "SIGTERM ends the daemon with status 0 (%x)", (unsigned)status);
    harness_daemon_remove(daemon);
}

static bool has_all(const char *text, const char *const *parts)
{
    for (; *parts; parts++)
        if (!strstr(text, *parts))
            return false;
    return true;
}

static bool find_line(const struct harness_daemon *daemon, const char *const *parts, char *line, int bytes)
{
    bool found = false;
    FILE *log = fopen(daemon->log, "re");
    while (log && !found && fgets(line, bytes, log))
        found = has_all(line, parts);
    if (log)
        fclose(log);
    if (!found)
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return found;
}

bool limits_log_has(const struct harness_daemon *daemon, const char *const *parts)
{
    char line[2048];
    return find_line(daemon, parts, line, sizeof line);
}

void limits_expect_refused(const struct harness_daemon *daemon, int status, int exit_status, const char *what,
                           const char *const *parts)
{
    char line[2048], last[2048] = "";
    bool said = find_line(daemon, parts, line, sizeof line);
    FILE *log = said ? NULL : fopen(daemon->log, "re");
    while (log && fgets(last, sizeof last, log))
        continue;
    if (log)
        fclose(log);
    harness_expect(said && status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == exit_status, "%s: status %x, \"%s\"",
                   what,
                   (unsigned)status, said ? line : last);
}

unsigned limits_log_lines(const struct harness_daemon *daemon)
{
    unsigned lines = 0;
    FILE *log = fopen(daemon->log, "re");
    for (int byte; log && (byte = fgetc(log)) != EOF;)
        lines += byte == '\n';
    if (log)
        fclose(log);
    return lines;
}

uint64_t limits_switches(pid_t pid)
{
    char path[48], line[128];
    unsigned long long own = 0, taken = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    FILE *status = fopen(path, "re");
    while (status && fgets(line, sizeof line, status)) {
        (void)!sscanf(line, "voluntary_ctxt_switches: %llu", &own);
        (void)!sscanf(line, "nonvoluntary_ctxt_switches: %llu", &taken);
    }
    if (status)
        fclose(status);
    return own + taken;
}

unsigned limits_descriptors(pid_t pid)
{
    char path[48];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%ld/fd", (long)pid);
    DIR *descriptors = opendir(path);
    while (descriptors && readdir(descriptors))
        count++;
    if (descriptors)
        closedir(descriptors);
    return count > 2 ? count - 2 : 0;
}

void limits_become(unsigned user)
{
    if (setgroups(0, NULL) != 0 || setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0)
        _exit(100);
}

/* ---------------------------------------------------------------- askers */

struct limits_answer *limits_answer_new(void)
{
    return limits_shared(sizeof(struct limits_answer));
}

int limits_keep(struct limits_answer *answer, int result)
{
    snprintf(answer->sentence, sizeof answer->sentence, "%s", result < 0 ? numapool_errormsg() : "");
    SET(answer->result, result);
    return result;
}

void limits_wait_go_on(struct limits_answer *answer, uint32_t step)
{
    SET(answer->step, step);
    while (GET(answer->go_on) < step)
        harness_sleep_ns(500000);
}

struct wanted {
    struct limits_answer *answer;
    uint32_t step;
};

static bool has_come(void *context)
{
    const struct wanted *wanted = context;
    return GET(wanted->answer->step) >= wanted->step;
}

bool limits_comes_to(struct limits_answer *answer, uint32_t step)
{
    struct wanted wanted = { answer, step };
    return harness_wait_until(has_come, &wanted, LIMITS_LONG_NS);
}

bool limits_expect_sentence(const struct limits_answer *answer, int code, const char *what, const char *const *parts)
{
    return harness_expect(GET(answer->result) == code && has_all(answer->sentence, parts), "%s: %d \"%s\"", what,
                          (int)GET(answer->result), answer->sentence);
}

int limits_run(int (*body)(void *context), void *context)
{
    int status = harness_join(harness_fork(body, context), 3 * LIMITS_LONG_NS);
    return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct crowd {
    const struct harness_daemon *daemon;
    unsigned clients;
};

static bool is_complete(void *context)
{
    const struct crowd *crowd = context;
    struct harness_look look;
    bool complete = false;
    if (harness_look_open(&look, crowd->daemon->socket)) {
        complete = harness_look_left(&look).clients == crowd->clients;
        harness_look_close(&look);
    }
    return complete;
}

bool limits_come_to_be(const struct harness_daemon *daemon, unsigned clients)
{
    struct crowd crowd = { daemon, clients };
    return harness_wait_until(is_complete, &crowd, LIMITS_LONG_NS / 4);
}

/* ---------------------------------------------------------------- bystanders */

struct bystander_count {
    const char *socket;
    _Atomic uint64_t received;
    _Atomic uint32_t wrong, done;
    char sentence[256];
};

static int went_wrong(struct bystander_count *count, const char *what)
{
    if (ADD(count->wrong) == 0)
        snprintf(count->sentence, sizeof count->sentence, "%s: %s", what, numapool_errormsg());
    return 1;
}

static int send_numbers(void *context)
{
    struct bystander_count *count = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_magazine *magazine;
    struct numapool_channel_options options = NUMAPOOL_CHANNEL_OPTIONS_INIT;
    options.lane_slots = 64;
    if (numapool_connect(&client, count->socket) < 0 || numapool_open(client, LIMITS_POOL, 0, &pool) < 0 ||
        numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine) < 0 ||
        numapool_sender_open(pool, "bystanders", &options, &sender) < 0)
        return went_wrong(count, "a bystander that sends joins");
    for (uint64_t number = 1; !GET(count->done); number++) {
        void *slot = numapool_get(magazine);
        if (!slot || numapool_put(magazine, slot) < 0)
            return went_wrong(count, "get and put");
        struct numapool_msg message = { .length = 8, .id = number };
        while (!(message.data = numapool_loan(sender)))
            if (GET(count->done))
                return 0;
        memcpy(message.data, &number, sizeof number);
        for (int result = -EAGAIN; result < 0 && !GET(count->done);) {
            result = numapool_send(sender, &message, 10000000);
            if (result < 0 && result != -ETIMEDOUT && result != -EAGAIN)
                return went_wrong(count, "send");
        }
        harness_sleep_ns(50000);
    }
    for (;;)
        pause(); /* so that what it has sent is received before it is killed */
}

static int receive_numbers(void *context)
{
    struct bystander_count *count = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[16];
    uint64_t expected = 1, number;
    if (numapool_connect(&client, count->socket) < 0 || numapool_open(client, LIMITS_POOL, 0, &pool) < 0 ||
        numapool_receiver_open(pool, "bystanders", NULL, &receiver) < 0)
        return went_wrong(count, "a bystander that receives joins");
    for (;;) {
        int got = numapool_receive(receiver, messages, 16, 5000000);
        if (got < 0 && got != -ETIMEDOUT)
            return went_wrong(count, "receive");
        for (int i = 0; i < got; i++, expected++) {
            memcpy(&number, messages[i].data, sizeof number);
            if (number != expected || messages[i].id != expected)
                return went_wrong(count, "a bystander's message is out of its turn");
            if (numapool_release(receiver, &messages[i], 1) < 0)
                return went_wrong(count, "release");
            ADD(count->received);
        }
    }
}

struct progress {
    struct bystander_count *count;
    uint64_t wanted;
};

static bool has_progressed(void *context)
{
    const struct progress *progress = context;
    return GET(progress->count->received) >= progress->wanted || GET(progress->count->wrong) > 0;
}

static bool go_on(struct bystander_count *count)
{
    struct progress progress = { count, GET(count->received) + 200 };
    return harness_wait_until(has_progressed, &progress, LIMITS_LONG_NS) && GET(count->wrong) == 0;
}

bool limits_bystanders_start(struct limits_bystanders *bystanders, const struct harness_daemon *daemon)
{
    bystanders->count = limits_shared(sizeof *bystanders->count);
    bystanders->count->socket = daemon->socket;
    bystanders->receiver = harness_fork(receive_numbers, bystanders->count);
    bystanders->sender = harness_fork(send_numbers, bystanders->count);
    return harness_expect(go_on(bystanders->count), "two bystanders exchange messages (%s)", bystanders->count->sentence);
}

void limits_bystanders_expect(struct limits_bystanders *bystanders, const char *when)
{
    bool all = go_on(bystanders->count) && harness_is_alive(bystanders->sender) && harness_is_alive(bystanders->receiver);
    harness_expect(all, "%s: bystanders go on (%s)", when, bystanders->count->sentence);
}

static uint64_t exchanged; /* by all bystanders so far */

uint64_t limits_bystanders_total(void)
{
    return exchanged;
}

void limits_bystanders_end(struct limits_bystanders *bystanders, const struct harness_daemon *daemon)
{
    SET(bystanders->count->done, 1);
    for (uint64_t before = UINT64_MAX; before != GET(bystanders->count->received);) {
        before = GET(bystanders->count->received);
        harness_sleep_ns(50000000);
    }
    exchanged += GET(bystanders->count->received);
    harness_kill(bystanders->sender);
    harness_kill(bystanders->receiver);
    harness_expect_nothing_left(daemon);
}
