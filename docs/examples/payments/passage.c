/* SPDX-License-Identifier: MIT
 * One passage of some files through gateway, validator and ledger. */
#include "passage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nacha.h"

#define STALL_S 60

volatile sig_atomic_t passage_stopping;

static void complain(const char *what, int error)
{
    fprintf(stderr, "payments-demo: %s: %s\n", what, strerror(error));
}

/* ---------------------------------------------------------------- the three programs */

static int start_validator(struct demo *demo, const struct passage *passage)
{
    char ready_number[16], byte;
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) {
        complain("cannot make a pipe", errno);
        return -1;
    }
    snprintf(ready_number, sizeof(ready_number), "%d", ready[1]);
    const char *const arguments[] = { "validator", "--lane-slots", passage->lane_slots, "--ready-fd", ready_number, NULL };
    const int inherited[] = { ready[1], -1 };
    demo->validator = launch_start(&(struct launch){ .path = demo->validator_path, .arguments = arguments,
                                                     .output = STDERR_FILENO, .inherited = inherited });
    close(ready[1]);
    /* A kill is to hit a client of the daemon, not a program that has only just been started. Its death ends the read. */
    while (demo->validator > 0 && read(ready[0], &byte, 1) < 0 && errno == EINTR && !passage_stopping)
        continue;
    close(ready[0]);
    return demo->validator > 0 ? 0 : -1;
}

static int start_ledger(struct demo *demo, const struct passage *passage)
{
    char control[16], document[16];
    const int inherited[] = { passage->ledger_control, passage->document, -1 };
    snprintf(control, sizeof(control), "%d", passage->ledger_control);
    snprintf(document, sizeof(document), "%d", passage->document);
    const char *arguments[10] = { "ledger", "--control-fd", control, "--json-fd", document };
    size_t count = 5;
    if (demo->listens) {
        arguments[count++] = "--reply";
        arguments[count++] = "127.0.0.1:0";
    }
    if (passage->halts[0] != '\0') {
        arguments[count++] = "--halt-at";
        arguments[count++] = passage->halts;
    }
    demo->ledger = launch_start(&(struct launch){ .path = demo->ledger_path, .arguments = arguments,
                                                  .output = passage->report, .inherited = inherited });
    return demo->ledger > 0 ? 0 : -1;
}

static int start_gateway(struct demo *demo, const struct passage *passage)
{
    char repeats[24];
    const char **arguments = calloc(passage->file_count + 7, sizeof(*arguments));
    size_t count = 0;
    if (arguments == NULL) {
        complain("cannot start the gateway", ENOMEM);
        return -1;
    }
    snprintf(repeats, sizeof(repeats), "%" PRIu64, passage->repeats);
    arguments[count++] = "gateway";
    arguments[count++] = "--repeat";
    arguments[count++] = repeats;
    arguments[count++] = "--lane-slots";
    arguments[count++] = passage->lane_slots;
    arguments[count++] = "--";
    for (size_t i = 0; i < passage->file_count; i++)
        arguments[count++] = passage->files[i];
    demo->gateway =
        launch_start(&(struct launch){ .path = demo->gateway_path, .arguments = arguments, .output = STDERR_FILENO });
    free(arguments);
    return demo->gateway > 0 ? 0 : -1;
}

/* The gateway listens, and one sender connects to it with all the files. */
static int start_listening(struct demo *demo, const struct passage *passage, char port[16])
{
    char ready_number[16];
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) {
        complain("cannot make a pipe", errno);
        return -1;
    }
    snprintf(ready_number, sizeof(ready_number), "%d", ready[1]);
    const char *const arguments[] = { "gateway", "--lane-slots", passage->lane_slots, "--listen", "127.0.0.1:0", "--connections", "1",
                                      "--ready-fd", ready_number, NULL };
    const int inherited[] = { ready[1], -1 };
    demo->gateway = launch_start(&(struct launch){ .path = demo->gateway_path, .arguments = arguments,
                                                   .output = STDERR_FILENO, .inherited = inherited });
    close(ready[1]);
    ssize_t got = -1;
    while (demo->gateway > 0 && (got = read(ready[0], port, 15)) < 0 && errno == EINTR && !passage_stopping)
        continue;
    close(ready[0]);
    if (got <= 0) {
        fprintf(stderr, "payments-demo: the gateway does not listen: see its message above\n");
        return -1;
    }
    port[got] = '\0';
    port[strcspn(port, "\n")] = '\0';
    return 0;
}

static int start_sender(struct demo *demo, const struct passage *passage)
{
    char port[16], replies[16], repeats[24];
    const char **arguments = calloc(passage->file_count + 7, sizeof(*arguments));
    size_t count = 0;
    if (arguments == NULL) {
        complain("cannot start the sender", ENOMEM);
        return -1;
    }
    if (start_listening(demo, passage, port) == 0) {
        snprintf(replies, sizeof(replies), "%u", passage->reply_port);
        snprintf(repeats, sizeof(repeats), "%" PRIu64, passage->repeats);
        const char *const options[] = { "payments-send", "--replies", replies, "--repeat", repeats, port };
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
            arguments[count++] = options[i];
        for (size_t i = 0; i < passage->file_count; i++)
            arguments[count++] = passage->files[i];
        demo->sender = launch_start(&(struct launch){ .path = demo->send_path, .arguments = arguments, .output = STDERR_FILENO });
    }
    free(arguments);
    return demo->sender > 0 ? 0 : -1;
}

/* ---------------------------------------------------------------- progress */

static void show_progress(const struct demo *demo, const struct passage *passage)
{
    char bar[31];
    if (!demo->shows_progress || passage->expected == 0)
        return;
    const uint64_t posted = passage->posted < passage->expected ? passage->posted : passage->expected;
    const size_t full = (size_t)(posted * (sizeof(bar) - 1) / passage->expected);
    memset(bar, '.', sizeof(bar) - 1);
    memset(bar, '#', full);
    bar[sizeof(bar) - 1] = '\0';
    fprintf(stderr, "\r[%s] %3" PRIu64 " %%  %" PRIu64 " of %" PRIu64 " posted, validator killed %" PRIu64 " times ", bar,
            posted * 100 / passage->expected, posted, passage->expected, passage->killed);
}

static void clear_progress(const struct demo *demo)
{
    if (demo->shows_progress)
        fprintf(stderr, "\r\033[K");
}

/* The ledger stands still, so the validator has messages in hand or blocks on a full lane. */
static int kill_validator(struct demo *demo, struct passage *passage)
{
    kill(demo->validator, SIGKILL);
    launch_wait(&demo->validator);
    passage->killed++;
    show_progress(demo, passage);
    if (start_validator(demo, passage) != 0)
        return -1;
    if (write(passage->control, "g", 1) != 1) {
        complain("the ledger cannot be told to go on", errno);
        return -1;
    }
    return 0;
}

/* One line of the ledger's. 0 or -1. */
static int obey(struct demo *demo, struct passage *passage, const char *line)
{
    char word[16];
    uint64_t posted;
    if (sscanf(line, "%15s %" SCNu64, word, &posted) != 2)
        return 0;
    if (strcmp(word, "reply") == 0) {
        passage->reply_port = (unsigned)posted;
        return 0;
    }
    passage->posted = posted;
    if (strcmp(word, "halt") == 0)
        return kill_validator(demo, passage);
    show_progress(demo, passage);
    return 0;
}

/* 1: something came; 0: nothing; -1: failed; -2: the ledger has closed its end. */
static int listen_to_ledger(struct demo *demo, struct passage *passage)
{
    static char text[4096];
    static size_t length;
    struct pollfd poll_control = { .fd = passage->control, .events = POLLIN };
    if (poll(&poll_control, 1, 100) <= 0)
        return 0;
    ssize_t got = read(passage->control, text + length, sizeof(text) - 1 - length);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got <= 0) {
        length = 0;
        return -2;
    }
    length += (size_t)got;
    text[length] = '\0';
    char *begin = text, *end;
    while ((end = strchr(begin, '\n')) != NULL) {
        *end = '\0';
        if (obey(demo, passage, begin) != 0)
            return -1;
        begin = end + 1;
    }
    length = (size_t)(text + length - begin);
    memmove(text, begin, length);
    return 1;
}

static int64_t now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec;
}

/* Looks after the children that should not end yet. 0, or -1: one failed. */
static int look_after(struct demo *demo, struct passage *passage)
{
    int status;
    if (launch_has_ended(&demo->gateway, &status)) {
        passage->gateway_done = true;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "payments-demo: the gateway failed: see its message above\n");
            return -1;
        }
    }
    if (launch_has_ended(&demo->sender, &status) && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
        fprintf(stderr, "payments-demo: the sender failed: see its message above\n");
        return -1;
    }
    if (launch_has_ended(&demo->validator, &status)) {
        fprintf(stderr, "payments-demo: the validator has ended by itself: see its message above\n");
        return -1;
    }
    return 0;
}

static int supervise(struct demo *demo, struct passage *passage)
{
    uint64_t posted = 0;
    int64_t moved_s = now_s();
    while (!passage_stopping) {
        int heard = listen_to_ledger(demo, passage);
        if (heard == -2)
            return 0;
        if (heard == -1 || look_after(demo, passage) != 0)
            return -1;
        if (passage->posted != posted || !passage->gateway_done) {
            posted = passage->posted;
            moved_s = now_s();
        } else if (now_s() - moved_s > STALL_S) {
            fprintf(stderr, "payments-demo: nothing was posted for %d s although the gateway has sent everything\n",
                    STALL_S);
            return -1;
        }
    }
    return -1;
}

/* ---------------------------------------------------------------- a passage */

struct count {
    const char *name;
    uint64_t entries;
};

static int count_entry(void *context, const struct nacha_entry *entry)
{
    struct count *count = context;
    count->entries = entry->ordinal;
    return passage_stopping;
}

static int ignore_batch(void *context, const struct nacha_batch *batch)
{
    (void)context;
    (void)batch;
    return 0;
}

static int ignore_file(void *context, const struct nacha_file *file)
{
    (void)context;
    (void)file;
    return 0;
}

/* What is wrong with the file as a whole is said at once; the rest is in the ledger's report. */
static int show_finding(void *context, enum nacha_severity severity, uint64_t line, const char *sentence)
{
    const struct count *count = context;
    if (line == 0 && severity != NACHA_NOTE)
        fprintf(stderr, "payments-demo: %s: %s\n", count->name, sentence);
    return passage_stopping;
}

/* How many entries will be posted, where the validator is to be killed, and how long the lanes may be: short enough that
 * the validator still has something before it at the last kill. */
static void plan(struct passage *passage)
{
    uint64_t entries = 0;
    size_t used = 0;
    for (size_t i = 0; i < passage->file_count; i++) {
        struct count count = { .name = passage->files[i] };
        const struct nacha_sink counter = { &count, count_entry, ignore_batch, ignore_file, show_finding };
        nacha_read(passage->files[i], &counter);
        entries += count.entries;
    }
    passage->expected = entries * passage->repeats;
    if (passage->expected == 0)
        passage->kills = 0;
    uint64_t lane_slots = 1024;
    if (passage->kills > 0 && passage->expected / (8 * (passage->kills + 1)) < lane_slots)
        lane_slots = passage->expected / (8 * (passage->kills + 1));
    snprintf(passage->lane_slots, sizeof(passage->lane_slots), "%" PRIu64, lane_slots < 16 ? UINT64_C(16) : lane_slots);
    passage->halts[0] = '\0';
    for (uint64_t i = 1; i <= passage->kills; i++) {
        uint64_t halt = passage->expected / (passage->kills + 1) * i;
        used += (size_t)snprintf(passage->halts + used, sizeof(passage->halts) - used, "%s%" PRIu64, i > 1 ? "," : "",
                                 halt > 0 ? halt : 1);
    }
}

static int prepare(struct passage *passage)
{
    int ends[2];
    passage->control = passage->ledger_control = -1;
    passage->report = memfd_create("payments-report", MFD_CLOEXEC);
    passage->document = memfd_create("payments-document", MFD_CLOEXEC);
    if (passage->report < 0 || passage->document < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        complain("cannot make what the ledger writes to", errno);
        return -1;
    }
    passage->control = ends[0];
    passage->ledger_control = ends[1];
    plan(passage);
    return passage_stopping ? -1 : 0;
}

static void copy_report(const struct passage *passage)
{
    char text[4096];
    ssize_t got;
    lseek(passage->report, 0, SEEK_SET);
    while ((got = read(passage->report, text, sizeof(text))) > 0)
        fwrite(text, 1, (size_t)got, stdout);
}

static int collect(struct demo *demo, struct passage *passage)
{
    json_error_t error;
    const int status = launch_wait(&demo->ledger);
    if (!WIFEXITED(status)) {
        fprintf(stderr, "payments-demo: the ledger died of signal %d\n", WTERMSIG(status));
        return -1;
    }
    passage->verdict = WEXITSTATUS(status);
    lseek(passage->document, 0, SEEK_SET);
    passage->result = json_loadfd(passage->document, 0, &error);
    if (passage->result == NULL) {
        fprintf(stderr, "payments-demo: the ledger gave no report (exit status %d)\n", passage->verdict);
        return -1;
    }
    return 0;
}

void passage_free(struct passage *passage)
{
    const int descriptors[] = { passage->control, passage->ledger_control, passage->report, passage->document };
    for (size_t i = 0; i < sizeof(descriptors) / sizeof(descriptors[0]); i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    json_decref(passage->result);
    free(passage);
}

struct passage *passage_new(const char *const *files, size_t file_count, uint64_t repeats, uint64_t kills)
{
    struct passage *passage = calloc(1, sizeof(*passage));
    if (passage == NULL) {
        complain("cannot begin", ENOMEM);
        return NULL;
    }
    *passage = (struct passage){ .files = files, .file_count = file_count, .repeats = repeats, .kills = kills,
                                 .control = -1, .ledger_control = -1, .report = -1, .document = -1 };
    return passage;
}

/* The ledger tells where it replies before it says ready. */
static int wait_for_reply_port(struct demo *demo, struct passage *passage)
{
    const int64_t begun_s = now_s();
    while (passage->reply_port == 0 && !passage_stopping && now_s() - begun_s < STALL_S)
        if (listen_to_ledger(demo, passage) < 0)
            break;
    if (passage->reply_port != 0)
        return 0;
    fprintf(stderr, "payments-demo: the ledger does not listen: see its message above\n");
    return -1;
}

static int start_payments(struct demo *demo, struct passage *passage)
{
    if (!demo->listens)
        return start_gateway(demo, passage);
    return wait_for_reply_port(demo, passage) == 0 ? start_sender(demo, passage) : -1;
}

/* The last replies are read after the ledger has posted the last payment. */
static int end_sender(struct demo *demo)
{
    const int status = launch_wait(&demo->sender);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    fprintf(stderr, "payments-demo: not every payment had its one reply: see above\n");
    return -1;
}

int passage_run(struct demo *demo, struct passage *passage)
{
    int result = -1;
    if (prepare(passage) != 0)
        return -1;
    if (start_ledger(demo, passage) == 0 && start_validator(demo, passage) == 0 && start_payments(demo, passage) == 0) {
        /* Only the ledger may keep its end open, or its death would not be seen. */
        close(passage->ledger_control);
        passage->ledger_control = -1;
        result = supervise(demo, passage);
    }
    clear_progress(demo);
    if (result != 0 && demo->ledger > 0)
        kill(demo->ledger, SIGTERM);
    if (result != 0 && passage_stopping) {
        launch_end(&demo->ledger, PASSAGE_END_PATIENCE_MS);
        return -1;
    }
    /* After a failure the ledger still says what is missing. */
    if (demo->ledger > 0 && collect(demo, passage) != 0)
        result = -1;
    if (result == 0 && end_sender(demo) != 0)
        result = -1;
    launch_end(&demo->sender, PASSAGE_END_PATIENCE_MS);
    launch_end(&demo->gateway, PASSAGE_END_PATIENCE_MS);
    launch_end(&demo->validator, PASSAGE_END_PATIENCE_MS);
    if (demo->shows_report)
        copy_report(passage);
    return result;
}

