/* SPDX-License-Identifier: MIT
 * numapool-payments-demo: runs payment files through gateway, validator and ledger on a daemon of its own, kills the
 * validator with SIGKILL on the way, and shows that every payment was posted exactly once all the same. */
#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"
#include "passage.h"
#include "stream.h"

#define REPEATS_MAX_TEXT  "1048576"
#define READY_TIMEOUT_MS  60000

enum verdict { EXACT = 0, FAILED = 1, USAGE = 2, INPUT_AT_FAULT = 3 };

static const char *const valid_names[] = { "ppd-10010-records.ach", "ppd-mixed-debit-credit.ach",
                                           "iat-mixed-debit-credit.ach" };
static const char invalid_name[] = "invalid-20110729A.ach";

struct options {
    uint64_t repeats;
    uint64_t kills;
    bool json;
    bool no_progress;
    bool listens;
    char **files;
    int file_count;
};

static void stop(int signal_number)
{
    (void)signal_number;
    passage_stopping = 1;
}

static void complain(const char *what, int error)
{
    fprintf(stderr, "payments-demo: %s: %s\n", what, strerror(error));
}

/* ---------------------------------------------------------------- the daemon */

static int wait_until_ready(struct demo *demo, int ready)
{
    struct pollfd poll_ready = { .fd = ready, .events = POLLIN };
    int status;
    char byte;
    for (int waited_ms = 0; waited_ms < READY_TIMEOUT_MS && !passage_stopping; waited_ms += 100) {
        if (poll(&poll_ready, 1, 100) > 0 && read(ready, &byte, 1) == 1)
            return 0;
        if (launch_has_ended(&demo->daemon, &status)) {
            fprintf(stderr, "payments-demo: numapoold has ended instead of getting ready: see its message above\n");
            return -1;
        }
    }
    if (!passage_stopping)
        fprintf(stderr, "payments-demo: numapoold did not get ready within a minute\n");
    return -1;
}

static int start_daemon(struct demo *demo)
{
    char ready_number[16];
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) {
        complain("cannot make a pipe", errno);
        return -1;
    }
    snprintf(ready_number, sizeof(ready_number), "%d", ready[1]);
    const char *const arguments[] = { "numapoold", "--socket", demo->socket, "--pool", STREAM_POOL ",size=128,count=64K",
                                      "--ready-fd", ready_number, "--log", demo->shows_progress ? "warn" : "info", NULL };
    const int inherited[] = { ready[1], -1 };
    /* Standard output may be a document that a program reads: what the daemon says goes to standard error. */
    demo->daemon = launch_start(&(struct launch){ .path = demo->daemon_path, .arguments = arguments,
                                                  .output = STDERR_FILENO, .inherited = inherited });
    close(ready[1]);
    int result = demo->daemon > 0 ? wait_until_ready(demo, ready[0]) : -1;
    close(ready[0]);
    return result;
}

static int run_tool(const struct demo *demo, const char *command)
{
    const char *const arguments[] = { "numapoolctl", command, NULL };
    int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t pid;
    if (demo->shows_report)
        printf("\n$ numapoolctl %s\n", command);
    pid = launch_start(&(struct launch){ .path = demo->tool_path, .arguments = arguments,
                                         .output = !demo->shows_report ? nothing : -1 });
    const int status = launch_wait(&pid);
    if (nothing >= 0)
        close(nothing);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    fprintf(stderr, "payments-demo: numapoolctl %s found something wrong\n", command);
    return -1;
}

/* ---------------------------------------------------------------- the whole */

/* Slots of the pool that its processes took on the node that they ran on, and elsewhere: null where it cannot be told. */
static json_t *nodes_of(const struct demo *demo)
{
    static const char *const arguments[] = { "numapoolctl", "--json", "numa", STREAM_POOL, NULL };
    int output = memfd_create("numa", MFD_CLOEXEC);
    pid_t pid = launch_start(&(struct launch){ .path = demo->tool_path, .arguments = arguments, .output = output });
    launch_wait(&pid);
    json_t *document = output >= 0 && lseek(output, 0, SEEK_SET) == 0 ? json_loadfd(output, 0, NULL) : NULL;
    const json_t *total = json_object_get(json_array_get(json_object_get(document, "pools"), 0), "total");
    json_t *nodes = json_pack("{s:O, s:O}", "local", json_object_get(total, "local"), "remote", json_object_get(total, "remote"));
    json_decref(document);
    if (output >= 0)
        close(output);
    return nodes != NULL ? nodes : json_null();
}

static int print_json(const struct demo *demo, struct passage *first, struct passage *second)
{
    json_t *files = json_object_get(first->result, "files");
    json_int_t redelivered = json_integer_value(json_object_get(first->result, "redelivered"));
    uint64_t killed = first->killed;
    if (second != NULL && second->result != NULL) {
        json_array_extend(files, json_object_get(second->result, "files"));
        redelivered += json_integer_value(json_object_get(second->result, "redelivered"));
        killed += second->killed;
    }
    json_t *document =
        json_pack("{s:O, s:I, s:I, s:O, s:o}", "files", files, "kills", (json_int_t)killed, "redelivered", redelivered,
                  "entries_per_second", json_object_get(first->result, "entries_per_second"), "slots_taken", nodes_of(demo));
    if (document == NULL)
        return -1;
    json_dumpf(document, stdout, JSON_INDENT(2));
    json_decref(document);
    putchar('\n');
    return fflush(stdout) == 0 ? 0 : -1;
}

/* The invalid file must be found to be so: its first record by its line, its payments nevertheless all posted. */
static bool findings_are_as_expected(const struct passage *passage)
{
    const json_t *file = json_array_get(json_object_get(passage->result, "files"), 0);
    const json_t *lines = json_object_get(file, "malformed_lines");
    return passage->verdict == INPUT_AT_FAULT && json_integer_value(json_array_get(lines, 0)) == 1 &&
           json_integer_value(json_object_get(file, "missing")) == 0 &&
           json_integer_value(json_object_get(file, "duplicated")) == 0;
}

static void say(const struct demo *demo, const char *sentence)
{
    if (demo->shows_report) {
        puts(sentence);
        fflush(stdout);
    }
}

static int run_files(struct demo *demo, const struct options *options, const char *const *files, size_t count,
                     const char *invalid)
{
    struct passage *first = passage_new(files, count, options->repeats, options->kills);
    struct passage *second = invalid != NULL ? passage_new(&invalid, 1, 1, 0) : NULL;
    int verdict = FAILED;
    if (first != NULL && passage_run(demo, first) == 0) {
        verdict = first->verdict;
        if (!options->json)
            printf("the validator was killed %" PRIu64 " times with SIGKILL\n", first->killed);
        if (second != NULL) {
            say(demo, "\nAnd a file that is at fault, with what is found in it:");
            if (passage_run(demo, second) != 0 || !findings_are_as_expected(second)) {
                fprintf(stderr, "payments-demo: the findings in %s are not those that are known to be in it\n", invalid);
                verdict = FAILED;
            }
        }
        if (run_tool(demo, "stats") != 0 || run_tool(demo, "numa") != 0 || run_tool(demo, "check") != 0)
            verdict = FAILED;
    }
    if (first != NULL && first->result != NULL && options->json && print_json(demo, first, second) != 0)
        verdict = FAILED;
    if (first != NULL)
        passage_free(first);
    if (second != NULL)
        passage_free(second);
    return verdict;
}

static bool has_data(const char *directory)
{
    char path[LAUNCH_PATH_BYTES];
    int length = snprintf(path, sizeof(path), "%s/%s", directory, invalid_name);
    return length > 0 && (size_t)length < sizeof(path) && access(path, R_OK) == 0;
}

/* Where the sample files are. 0 or -1, having said so. */
static int find_data(char directory[LAUNCH_PATH_BYTES])
{
    const char *named = getenv("NUMAPOOL_DATA");
    char here[LAUNCH_PATH_BYTES];
    if (named != NULL && *named != '\0') {
        snprintf(directory, LAUNCH_PATH_BYTES, "%s", named);
        if (has_data(directory))
            return 0;
    }
#ifdef PAYMENTS_DATA_DIRECTORY
    snprintf(directory, LAUNCH_PATH_BYTES, "%s", PAYMENTS_DATA_DIRECTORY);
    if (has_data(directory))
        return 0;
#endif
    if (launch_own_directory(here) == 0) {
        /* Beside this program as installed, and in the source tree when that is where it was built. */
        static const char *const from_here[] = { "/data", "/../../../tests/data", "/../../../../tests/data" };
        for (size_t i = 0; i < sizeof(from_here) / sizeof(from_here[0]); i++)
            if (snprintf(directory, LAUNCH_PATH_BYTES, "%.*s%s", LAUNCH_PATH_BYTES / 2, here, from_here[i]) > 0 &&
                has_data(directory))
                return 0;
    }
    fprintf(stderr, "payments-demo: the sample files are not found: name payment files, or their directory in "
                    "NUMAPOOL_DATA\n");
    return -1;
}

static int run_samples(struct demo *demo, const struct options *options)
{
    enum { VALID = sizeof(valid_names) / sizeof(valid_names[0]) };
    static char paths[VALID + 1][LAUNCH_PATH_BYTES + 64];
    const char *files[VALID];
    char directory[LAUNCH_PATH_BYTES];
    if (find_data(directory) != 0)
        return FAILED;
    for (size_t i = 0; i < VALID; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", directory, valid_names[i]);
        files[i] = paths[i];
    }
    snprintf(paths[VALID], sizeof(paths[VALID]), "%s/%s", directory, invalid_name);
    /* What a file states about itself does not travel over TCP, so there is nothing to be found at fault in it. */
    return run_files(demo, options, files, VALID, demo->listens ? NULL : paths[VALID]);
}

static int make_directory(struct demo *demo)
{
    const char *temporary = getenv("TMPDIR");
    if (temporary == NULL || *temporary == '\0' || strlen(temporary) > 60) /* a socket's path is at most 107 bytes */
        temporary = "/tmp";
    snprintf(demo->directory, sizeof(demo->directory), "%s/payments-demo.XXXXXX", temporary);
    if (mkdtemp(demo->directory) == NULL) {
        fprintf(stderr, "payments-demo: cannot make a directory in %s: %s\n", temporary, strerror(errno));
        demo->directory[0] = '\0';
        return -1;
    }
    snprintf(demo->socket, sizeof(demo->socket), "%.100s/numapool.sock", demo->directory);
    return setenv("NUMAPOOL_SOCKET", demo->socket, 1);
}

/* Whatever happened, nothing stays behind. */
static int clean_up(struct demo *demo)
{
    int status, result = 0;
    launch_end(&demo->sender, PASSAGE_END_PATIENCE_MS);
    launch_end(&demo->gateway, PASSAGE_END_PATIENCE_MS);
    launch_end(&demo->validator, PASSAGE_END_PATIENCE_MS);
    launch_end(&demo->ledger, PASSAGE_END_PATIENCE_MS);
    if (demo->daemon > 0) {
        status = launch_end(&demo->daemon, PASSAGE_END_PATIENCE_MS);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "payments-demo: numapoold did not end cleanly on SIGTERM\n");
            result = -1;
        }
    }
    if (demo->directory[0] == '\0')
        return result;
    DIR *directory = opendir(demo->directory);
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL)
        unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory != NULL)
        closedir(directory);
    rmdir(demo->directory);
    return result;
}

static int run(const struct options *options)
{
    static struct demo demo;
    const struct sigaction action = { .sa_handler = stop }, ignore = { .sa_handler = SIG_IGN };
    const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    int verdict = FAILED;
    demo.listens = options->listens;
    demo.shows_report = !options->json;
    demo.shows_progress = !options->no_progress && isatty(STDERR_FILENO);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        sigaction(ends[i], &action, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    if (launch_find("numapoold", demo.daemon_path) != 0 || launch_find("numapoolctl", demo.tool_path) != 0 ||
        launch_find("numapool-payments-gateway", demo.gateway_path) != 0 ||
        launch_find("numapool-payments-validator", demo.validator_path) != 0 ||
        launch_find("numapool-payments-ledger", demo.ledger_path) != 0 ||
        (demo.listens && launch_find("numapool-payments-send", demo.send_path) != 0))
        return FAILED;
    if (make_directory(&demo) == 0 && start_daemon(&demo) == 0)
        verdict = options->file_count > 0 ? run_files(&demo, options, (const char *const *)(uintptr_t)options->files,
                                                      (size_t)options->file_count, NULL)
                                          : run_samples(&demo, options);
    if (clean_up(&demo) != 0 && verdict == EXACT)
        verdict = FAILED;
    if (passage_stopping)
        fprintf(stderr, "payments-demo: stopped before the end\n");
    else if (verdict == EXACT)
        say(&demo, "\nEvery entry was posted exactly once, and all totals are those that the files state.");
    else if (verdict == INPUT_AT_FAULT)
        say(&demo, "\nEvery entry that can be read was posted exactly once; the files themselves are at fault as listed.");
    return passage_stopping ? FAILED : verdict;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    char *end;
    switch (key) {
    case 'r':
        options->repeats = strtoull(argument, &end, 10);
        if (*argument < '0' || *argument > '9' || *end != '\0' || options->repeats < 1 ||
            options->repeats > STREAM_REPEATS_MAX)
            argp_error(state, "--repeat takes a number from 1 to " REPEATS_MAX_TEXT ", not '%s'", argument);
        return 0;
    case 'k':
        options->kills = strtoull(argument, &end, 10);
        if (*argument < '0' || *argument > '9' || *end != '\0' || options->kills > PASSAGE_KILLS_MAX)
            argp_error(state, "--kills takes a number from 0 to %u, not '%s'", PASSAGE_KILLS_MAX, argument);
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'n':
        options->no_progress = true;
        return 0;
    case 'L':
        options->listens = true;
        return 0;
    case ARGP_KEY_ARGS:
        options->files = state->argv + state->next;
        options->file_count = state->argc - state->next;
        if (options->file_count > (int)STREAM_FILES_MAX)
            argp_error(state, "at most %u files", STREAM_FILES_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "repeat", 'r', "N", 0, "Send every file N times (1)", 0 },
        { "kills", 'k', "N", 0, "Kill the validator N times on the way (5)", 0 },
        { "json", 'j', NULL, 0, "Print one JSON document and nothing else to standard output", 0 },
        { "listen", 'L', NULL, 0, "Over TCP: a sender, a gateway that listens, and a reply to each payment", 0 },
        { "no-progress", 'n', NULL, 0, "No progress bar, not even on a terminal", 0 },
        { 0 }
    };
    static const struct argp argp = {
        table,
        parse,
        "[FILE...]",
        "Runs payment files through three processes while one of them is being killed. Without "
        "a file: the samples, among them one that is at fault.\vExit status: 0 every entry was "
        "posted once and all totals agree; 1 lost, doubled or failed; 2 usage; 3 the files "
        "themselves are at fault.",
        NULL,
        NULL,
        NULL
    };
    struct options options = { .repeats = 1, .kills = 5 };
    argp_err_exit_status = USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return USAGE;
    return run(&options);
}
