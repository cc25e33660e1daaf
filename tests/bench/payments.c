/* SPDX-License-Identifier: MIT
 *
 * The payments example (docs/examples/payments): entries of a bank file from gateway through validator to ledger, which posts each
 * exactly once; against one process that reads the same file as often, checks and adds up, and has nobody to lose anything to.
 * The gateway reads, so it does nearly all of the floor's work as well; the ratio says whether sharing the rest out among processes
 * costs or gains. Nobody is killed.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "floor/parse.h"
#include "groups.h"
#include "shots.h"

#define DATA_FILE "ppd-10010-records.ach"
#define PROGRAM "docs/examples/payments/numapool-payments-demo"
#define REPEATS 100u
#define REPEATS_TEXT "100"
#define SHOTS 7u

/* Of the build tree that this program is in. */
static void find_build(char directory[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", directory, PATH_MAX - 1);
    directory[length > 0 ? length : 0] = '\0';
    for (int up = 0; up < 3; up++) { /* tests/bench/bench */
        char *slash = strrchr(directory, '/');
        if (slash)
            *slash = '\0';
    }
}

/* False: it is not there. */
static bool find_data(const char *build, char path[PATH_MAX])
{
    const char *named = getenv("NUMAPOOL_DATA");
    int length = named ? snprintf(path, PATH_MAX, "%s/" DATA_FILE, named) : snprintf(path, PATH_MAX, "%s/../tests/data/" DATA_FILE, build);
    return length < PATH_MAX && access(path, R_OK) == 0;
}

static _Noreturn void become_demo(const char *build, const char *data, int output, int said)
{
    char program[PATH_MAX + sizeof PROGRAM];
    bench_unpin(); /* its programs share the CPUs as they come */
    snprintf(program, sizeof program, "%s/" PROGRAM, build);
    setenv("NUMAPOOL_BUILD", build, 1);
    dup2(output, STDOUT_FILENO);
    dup2(said, STDERR_FILENO);
    execl(program, program, "--json", "--no-progress", "--kills", "0", "--repeat", REPEATS_TEXT, data, (char *)NULL);
    fprintf(stderr, "bench: %s cannot be run: %s\n", program, strerror(errno));
    _exit(127);
}

static void repeat_what(int said)
{
    char text[4096];
    lseek(said, 0, SEEK_SET);
    for (ssize_t got; (got = read(said, text, sizeof text)) > 0;)
        fwrite(text, 1, (size_t)got, stderr);
}

/* Nanoseconds an entry, from the first one that was posted to the last. */
static double demo_ns(const char *build, const char *data)
{
    char document[65536];
    size_t length = 0;
    int output[2], status, said = memfd_create("said", MFD_CLOEXEC);
    if (pipe(output) != 0 || said < 0)
        bench_fail("no pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("no child process: %s", strerror(errno));
    if (pid == 0) {
        close(output[0]);
        become_demo(build, data, output[1], said);
    }
    close(output[1]);
    for (ssize_t got; length < sizeof document - 1 && (got = read(output[0], document + length, sizeof document - 1 - length)) > 0;)
        length += (size_t)got;
    document[length] = '\0';
    close(output[0]);
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        repeat_what(said);
        bench_fail("the payments did not all arrive; what the demonstration said stands above");
    }
    close(said);
    const char *key = strstr(document, "\"entries_per_second\"");
    const char *colon = key ? strchr(key, ':') : NULL;
    double entries_per_second = colon ? strtod(colon + 1, NULL) : 0;
    if (entries_per_second <= 0)
        bench_fail("the demonstration did not say how fast it was");
    return 1e9 / entries_per_second;
}

static double parse_ns(const char *data)
{
    const int64_t start_ns = bench_now_ns();
    const uint64_t entries = bench_parse(data, REPEATS);
    return (double)(bench_now_ns() - start_ns) / (double)entries;
}

static void measure(struct bench_report *report, const struct bench_options *options)
{
    char build[PATH_MAX], data[PATH_MAX], params[120];
    struct bench_shots shots = { .count = 0 };
    find_build(build);
    if (!find_data(build, data)) {
        fprintf(stderr, "bench: " DATA_FILE " is not in $NUMAPOOL_DATA, so payments is not measured\n");
        return;
    }
    bench_pin(options->cpus[0]);
    for (unsigned i = 0; i < SHOTS && i < options->slices; i++) {
        double floor_ns = i % 2 ? parse_ns(data) : 0; /* each comes first as often */
        double ns = demo_ns(build, data);
        bench_shots_add(&shots, ns, i % 2 ? floor_ns : parse_ns(data));
    }
    double median_ns[BENCH_SHOTS_MAX];
    memcpy(median_ns, shots.subject_ns, sizeof median_ns);
    snprintf(params, sizeof params, "\"file\": \"" DATA_FILE "\", \"repeats\": %u, \"entries_per_second\": %.0f", REPEATS,
             1e9 / bench_quantile(median_ns, shots.count, 0.5));
    struct bench_result result = { .name = "payments", .unit = "ns", .subject_name = "gateway, validator, ledger",
                                   .floor_name = "read, checked, added up in one process", .sample = "mean of one run's entries",
                                   .params = params };
    bench_shots_report(&shots, &result, report);
}

const struct bench_special bench_payments = { .name = "payments", .measure = measure };
