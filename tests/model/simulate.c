/* SPDX-License-Identifier: MIT
 *
 * simulate [--seconds N] [--from SEED] [--scenario NAME] [--mutant NAME] [--list]
 * simulate --seed N --scenario NAME [--mutant NAME] [--kill PROCESS:WRITE]... [--buffered|--plain] [--trace]
 *
 * Without arguments: every scenario with the code as it is, first a death at each write of each process under one fixed
 * schedule after another, then random schedules with up to three deaths, which all must pass; then every mutant, which
 * some scenario must find. NUMAPOOL_TEST_PERCENT (1 to 100) scales the time; --from takes other seeds than from 1 on.
 * With --seed: that one run again, as a failure prints it. A process is named by its number in the order of the
 * scenario's roles, from 1 on; 0 is the daemon.
 *
 * A death before a load leaves the same memory as one after the write before it, so deaths are counted in writes.
 * A third of the runs have store buffers. Batches run in child processes, since what the dead had allocated stays allocated.
 */
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/bell.h"
#include "model.h"

#define RUNS_A_BATCH 800u
/* The run by which a scenario is measured. */
#define USUAL_SEED 1
#define USUAL_STEPS 2000
/* What the search for mutants may take at least, however little time there is: a mutant that is not found is a failure. */
#define MUTANTS_SECONDS_MIN 24

/* Not the library's: the simulated membarrier reaches nobody. */
#define MUTANT_NO_MEMBARRIER NP_MUTANT_COUNT

/* Of each mutant: its name, and the scenarios that should find it, the likeliest first; NULL ends the list. An answer
 * that another one makes good names that one: nothing must be found then, else the reason given here is wrong. */
struct mutant {
    enum np_mutant number;
    const char *name, *made_good_by;
    const char *scenarios[4];
};

#define MUTANT(name, ...) { NP_MUTANT_##name, #name, NULL, { __VA_ARGS__ } }
#define MADE_GOOD(name, by, ...) { NP_MUTANT_##name, #name, by, { __VA_ARGS__ } }
static const struct mutant mutants[] = {
    MUTANT(SUMMARY_NO_RELOAD, "groups"),
    MUTANT(GIVE_NO_WAKE, "stayers", "getters"),
    MUTANT(EMPTY_NO_SCAN, "groups", "getters", "bulk"),
    MADE_GOOD(TAKE_EXCHANGES, "the scan of all words before a pool is called empty", "bulk", "groups"),
    MUTANT(GET_WAIT_POOL_ONLY, "pipe", "parked"),
    MUTANT(SWEEP_NO_WAKE, "last", "getters"),
    MUTANT(NO_ROLL_FORWARD, "pipe", "batches"),
    MUTANT(ANNOUNCEMENTS_STAY, "batches"),
    MUTANT(NO_SKIP, "keep", "chain", "spares"),
    MUTANT(NO_ORPHAN_DUTY, "orphan", "pipe"),
    MADE_GOOD(NO_LANE_RING, "np_broker_lane_changed, which rings both ends, and the sweep, which rings the pool's sleepers",
              "pipe", "orphan"),
    MADE_GOOD(RECEIVERS_FIRST, "the broker, which tells nobody of a lane before it has dealt with the whole of a death",
              "chain", "relay"),
    MUTANT(ROOM_BY_RELEASED, "fan", "pipe", "keep"),
    MUTANT(ROOM_UNTIL_RELEASED, "fan", "pipe", "batches"),
    MADE_GOOD(CLOSED_WITH_WORDS, "the broker, which has freed what was released before it answers a close", "pipe", "keep"),
    MUTANT(LEFT_WITH_WORDS, "fan", "spares"),
    MUTANT(GETTER_LEAVES_WORDS, "parked", "pipe"),
    MUTANT(SLEEP_NO_SECOND_LOOK, "pipe", "getters"),
    MUTANT(SETTLED_SLEEPS_UNBOUNDED, "pipe", "fan"),
    MUTANT(RELEASE_BEFORE_KEEP, "keep", "chain"),
    MUTANT(WORD_BEFORE_CELL, "pipe", "batches"),
    MUTANT(ID_REUSED_EARLY, "last", "getters", "pipe"),
    MUTANT(FREE_KEEPS_GENERATION, "getters"),
    MUTANT(KEYS_LEAVE_THEIR_LANE, "keys", "keybatches"),
    MUTANT(KEYS_LEAVE_LANES_TO_DRAIN, "keys", "keybatches"),
    MUTANT(FOREIGN_RINGS_BELL, "foreign", "adopted"),
    MUTANT(GETTERS_NOT_RUNG, "adopted", "foreign"),
    MUTANT(SMALL_ROOM_IGNORED, "small"),
    MUTANT(SMALL_NO_REDELIVERED, "small"),
    MUTANT(BROADCAST_WORD_LAST, "broadcast", "fanout"),
    MUTANT(BROADCAST_NO_ROLL_FORWARD, "broadcast", "fanout"),
    MUTANT(BROADCAST_TAKES_EARLY, "broadcast"),
    MUTANT(BROADCAST_FREES_EARLY, "broadcast"),
    MUTANT(CLOSED_KEEPS, "dearth"),
    MUTANT(SHARED_SWEPT_EARLY, "broadcast"),
    { MUTANT_NO_MEMBARRIER, "NO_MEMBARRIER", NULL, { "pipe", "fan" } },
};

/* What a child tells. */
struct report {
    uint64_t runs, deaths_enumerated, schedules;
    uint64_t seed; /* of the run that goes on or has failed */
    struct kill kills[KILLS_MAX];
    unsigned kill_count;
    bool buffered, failed, complete;
    char failure[400];
};

struct task {
    const struct scenario *scenario;
    enum np_mutant mutant;
    uint64_t seed, runs;
    uint64_t position; /* of the enumeration of single deaths, or UINT64_MAX: random runs */
    double until;
};

struct lengths {
    uint64_t writes[PROCESSES_MAX], steps;
    unsigned processes;
};

static struct report *report;

static double now(void)
{
    struct timeval real;
    gettimeofday(&real, NULL);
    return (double)real.tv_sec + (double)real.tv_usec / 1e6;
}

static bool run_one(const struct run *run, uint64_t steps)
{
    report->seed = run->seed;
    memcpy(report->kills, run->kills, sizeof report->kills);
    report->kill_count = run->kill_count;
    report->buffered = run->buffered;
    report->runs++;
    bool good = model_run(run, steps);
    if (!good) {
        report->failed = true;
        memcpy(report->failure, world.failure, sizeof report->failure);
    }
    return good;
}

/* How long the processes live in a run: what deaths are placed by. */
static bool measure(const struct run *run, uint64_t steps, struct lengths *lengths)
{
    memset(lengths, 0, sizeof *lengths);
    bool good = run_one(run, steps);
    lengths->steps = world.step;
    lengths->processes = world.process_count - (world.draining ? 1 : 0);
    for (unsigned i = 1; i < lengths->processes; i++)
        lengths->writes[i] = world.processes[i].writes;
    lengths->writes[0] = world.daemon_writes;
    return good;
}

static bool measure_usual(const struct scenario *scenario, struct lengths *lengths)
{
    const struct run usual = { .scenario = scenario, .seed = USUAL_SEED };
    return measure(&usual, USUAL_STEPS, lengths);
}

static uint64_t mix(uint64_t *state)
{
    /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* The run that a seed stands for. Successors of the killed may be killed too. */
static struct run run_of_seed(const struct scenario *scenario, uint64_t seed, const struct lengths *lengths)
{
    struct run run = { .scenario = scenario, .seed = seed };
    uint64_t state = seed;
    run.buffered = mix(&state) % 3 == 0;
    run.kill_count = (unsigned)(mix(&state) % 4);
    for (unsigned i = 0; i < run.kill_count; i++) {
        unsigned process = (unsigned)(mix(&state) % (lengths->processes + 2));
        uint64_t length = lengths->writes[process < lengths->processes ? process : 1 + process % (lengths->processes - 1)];
        run.kills[i] = (struct kill){ process, 1 + (unsigned)(mix(&state) % (length + 4)) };
    }
    return run;
}

/* One death at each write of each process in turn, schedule by schedule. In every other schedule a client dies besides,
 * somewhere, so that the daemon dies at each write of dealing with a death, and others at each write beside one. */
static void enumerate(const struct task *task)
{
    struct lengths usual, lengths;
    uint64_t position = 0, state = task->seed;
    if (!measure_usual(task->scenario, &usual))
        return;
    struct run run = { .scenario = task->scenario, .seed = task->seed,
                       .buffered = task->seed % 3 == 0 || !model_membarrier_reaches };
    if (task->seed % 2 == 0) {
        unsigned process = 1 + (unsigned)(mix(&state) % (usual.processes - 1));
        run.kills[run.kill_count++] = (struct kill){ process, 1 + (unsigned)(mix(&state) % (usual.writes[process] + 1)) };
    }
    if (!measure(&run, usual.steps, &lengths))
        return;
    unsigned besides = run.kill_count++;
    for (unsigned process = 0; process < lengths.processes; process++)
        for (unsigned write = 1; write <= lengths.writes[process] + 1; write++, position++) {
            if (position < task->position)
                continue;
            if (position - task->position >= RUNS_A_BATCH || now() > task->until)
                return;
            run.kills[besides] = (struct kill){ process, write };
            if (!run_one(&run, usual.steps))
                return;
            report->deaths_enumerated = position + 1;
        }
    report->complete = true;
}

static void wander(const struct task *task)
{
    struct lengths lengths;
    if (!measure_usual(task->scenario, &lengths))
        return;
    for (uint64_t i = 0; i < task->runs && i < RUNS_A_BATCH && now() < task->until; i++) {
        struct run run = run_of_seed(task->scenario, task->seed + i, &lengths);
        run.buffered |= !model_membarrier_reaches;
        if (!run_one(&run, lengths.steps))
            return;
    }
}

static void set_mutant(enum np_mutant mutant)
{
    np_mutant_now = mutant;
    model_membarrier_reaches = mutant != MUTANT_NO_MEMBARRIER;
}

/* In a child, so that memory comes back and a crash is a finding. */
static void run_task(const struct task *task)
{
    report->failed = report->complete = false;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        set_mutant(task->mutant);
        np_bell_register();
        if (task->position == UINT64_MAX)
            wander(task);
        else
            enumerate(task);
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("fork");
        exit(1);
    }
    if (status != 0) {
        report->failed = true;
        snprintf(report->failure, sizeof report->failure, "it crashed: %s %d", WIFSIGNALED(status) ? "signal" : "exit status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}

static void print_replay(const struct task *task)
{
    printf("    %s\n    again: simulate --scenario %s --seed %llu", report->failure, task->scenario->name,
           (unsigned long long)report->seed);
    if (report->buffered)
        printf(" --buffered");
    else
        printf(" --plain");
    if (report->kill_count == 0)
        printf(" --kill 1:0");
    for (unsigned i = 0; i < report->kill_count; i++)
        printf(" --kill %u:%u", report->kills[i].process, report->kills[i].write);
    for (unsigned i = 0; i < sizeof mutants / sizeof mutants[0]; i++)
        if (mutants[i].number == task->mutant)
            printf(" --mutant %s", mutants[i].name);
    printf(" --trace\n");
}

static uint64_t first_seed = 1;

/* Until something is found or the time is over. True: nothing was found. */
static bool try_scenario(const struct scenario *scenario, enum np_mutant mutant, double seconds, struct task *last)
{
    double start = now(), half = start + seconds * 0.5, end = start + seconds;
    memset(report, 0, sizeof *report);
    struct task task = { .scenario = scenario, .mutant = mutant, .seed = first_seed, .until = half };
    while (now() < half && !report->failed) {
        run_task(&task);
        task.position = report->deaths_enumerated;
        if (report->complete) {
            report->schedules++;
            report->deaths_enumerated = task.position = 0;
            task.seed++;
        }
    }
    if (!report->failed)
        task = (struct task){ .scenario = scenario, .mutant = mutant, .seed = first_seed * 1000003, .runs = UINT64_MAX,
                              .position = UINT64_MAX, .until = end };
    while (now() < end && !report->failed) {
        run_task(&task);
        task.seed += RUNS_A_BATCH;
    }
    *last = task;
    return !report->failed;
}

static const struct scenario *scenario_named(const char *name)
{
    for (unsigned i = 0; i < scenario_count; i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    fprintf(stderr, "there is no scenario '%s': simulate --list names them\n", name);
    exit(2);
}

static bool check_scenario(const struct scenario *scenario, double seconds)
{
    struct task last;
    bool good = try_scenario(scenario, NP_MUTANT_NONE, seconds, &last);
    printf("%s %s: %llu runs, a death at every write under %llu schedules and at %llu of the next\n", good ? "PASS" : "FAIL",
           scenario->name, (unsigned long long)report->runs, (unsigned long long)report->schedules,
           (unsigned long long)report->deaths_enumerated);
    if (!good)
        print_replay(&last);
    return good;
}

static bool check_mutant(const struct mutant *mutant, double seconds)
{
    uint64_t runs = 0;
    unsigned n = 0;
    while (n < sizeof mutant->scenarios / sizeof mutant->scenarios[0] && mutant->scenarios[n])
        n++;
    for (unsigned i = 0; i < n; i++) {
        struct task last;
        bool found = !try_scenario(scenario_named(mutant->scenarios[i]), mutant->number, seconds / n, &last);
        runs += report->runs;
        if (found) {
            printf("%s mutant %s is found by %s after %llu runs\n", mutant->made_good_by ? "FAIL" : "PASS", mutant->name,
                   mutant->scenarios[i], (unsigned long long)runs);
            print_replay(&last);
            return !mutant->made_good_by;
        }
    }
    if (mutant->made_good_by)
        printf("PASS mutant %s changes nothing in %llu runs: made good by %s\n", mutant->name, (unsigned long long)runs,
               mutant->made_good_by);
    else
        printf("FAIL mutant %s is not found in %llu runs\n", mutant->name, (unsigned long long)runs);
    return mutant->made_good_by != NULL;
}

/* ---------------------------------------------------------------- command line */

struct arguments {
    double seconds;
    uint64_t seed;
    bool has_seed, trace, buffered, plain;
    const struct scenario *scenario;
    const struct mutant *mutant;
    struct kill kills[KILLS_MAX];
    unsigned kill_count;
};

static void list(void)
{
    for (unsigned i = 0; i < scenario_count; i++)
        printf("scenario %s\n", scenarios[i].name);
    for (unsigned i = 0; i < sizeof mutants / sizeof mutants[0]; i++)
        printf("mutant %s\n", mutants[i].name);
}

static const struct mutant *mutant_named(const char *name)
{
    for (unsigned i = 0; i < sizeof mutants / sizeof mutants[0]; i++)
        if (strcmp(mutants[i].name, name) == 0)
            return &mutants[i];
    fprintf(stderr, "there is no mutant '%s': simulate --list names them\n", name);
    exit(2);
}

static void add_kill(struct arguments *arguments, const char *text)
{
    struct kill *kill = &arguments->kills[arguments->kill_count];
    if (arguments->kill_count == KILLS_MAX || sscanf(text, "%u:%u", &kill->process, &kill->write) != 2) {
        fprintf(stderr, "--kill wants PROCESS:WRITE, at most %u times; '%s' is not that\n", KILLS_MAX, text);
        exit(2);
    }
    arguments->kill_count++;
}

static void parse(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {
        { "seconds", required_argument, NULL, 's' },  { "seed", required_argument, NULL, 'e' },
        { "scenario", required_argument, NULL, 'c' }, { "mutant", required_argument, NULL, 'm' },
        { "kill", required_argument, NULL, 'k' },     { "from", required_argument, NULL, 'f' },
        { "trace", no_argument, NULL, 't' },          { "buffered", no_argument, NULL, 'b' },
        { "plain", no_argument, NULL, 'p' },          { "list", no_argument, NULL, 'l' },
        { NULL, 0, NULL, 0 },
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 's': arguments->seconds = strtod(optarg, NULL); break;
        case 'e':
            arguments->seed = strtoull(optarg, NULL, 10);
            arguments->has_seed = true;
            break;
        case 'c': arguments->scenario = scenario_named(optarg); break;
        case 'm': arguments->mutant = mutant_named(optarg); break;
        case 'k': add_kill(arguments, optarg); break;
        case 't': arguments->trace = true; break;
        case 'b': arguments->buffered = true; break;
        case 'p': arguments->plain = true; break;
        case 'f': first_seed = strtoull(optarg, NULL, 10); break;
        case 'l': list(); exit(0);
        default: exit(2);
        }
}

static int replay(const struct arguments *arguments)
{
    struct lengths lengths;
    np_mutant_now = NP_MUTANT_NONE;
    np_bell_register();
    if (!arguments->scenario) {
        fprintf(stderr, "--seed wants a --scenario to run\n");
        return 2;
    }
    measure_usual(arguments->scenario, &lengths);
    struct run run = run_of_seed(arguments->scenario, arguments->seed, &lengths);
    if (arguments->kill_count > 0) {
        memcpy(run.kills, arguments->kills, sizeof run.kills);
        run.kill_count = arguments->kill_count;
    }
    run.buffered = (run.buffered || arguments->buffered) && !arguments->plain;
    run.trace = arguments->trace;
    set_mutant(arguments->mutant ? arguments->mutant->number : NP_MUTANT_NONE);
    report->failed = false;
    if (run_one(&run, lengths.steps)) {
        printf("PASS %s\n1 passed, 0 failed\n", arguments->scenario->name);
        return 0;
    }
    printf("FAIL %s: %s\n0 passed, 1 failed\n", arguments->scenario->name, world.failure);
    return 1;
}

/* The part of all checks that is process `place` of `places`'s, each with the same time as if one made them all. */
static void check_part(const struct arguments *arguments, unsigned place, unsigned places, unsigned counts[2])
{
    const unsigned mutant_count = sizeof mutants / sizeof mutants[0];
    bool one = arguments->mutant || arguments->scenario;
    double seconds = one ? arguments->seconds : arguments->seconds * 0.55 / scenario_count;
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    for (unsigned i = place; i < scenario_count && !arguments->mutant; i += places)
        if (!arguments->scenario || arguments->scenario == &scenarios[i])
            counts[!check_scenario(&scenarios[i], seconds)]++;
    /* Most are found at once, which leaves the time to the others. */
    double left = (arguments->seconds * 0.45 < MUTANTS_SECONDS_MIN ? MUTANTS_SECONDS_MIN : arguments->seconds * 0.45) / places;
    for (unsigned i = place; i < mutant_count && !(arguments->scenario && !arguments->mutant); i += places) {
        if (arguments->mutant && arguments->mutant != &mutants[i])
            continue;
        double start = now(), share = mutants[i].made_good_by ? left * places / mutant_count : left / 3;
        counts[!check_mutant(&mutants[i], one ? arguments->seconds : share)]++;
        left -= now() - start;
    }
}

/* Every part a process of its own: passed and failed checks. */
static void check_all(const struct arguments *arguments, unsigned counts[2])
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned places = processors > 1 ? (unsigned)processors : 1;
    unsigned (*of)[2] = mmap(NULL, places * sizeof *of, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (of == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    for (unsigned place = 0; place < places; place++) {
        pid_t child = fork();
        if (child == 0) {
            check_part(arguments, place, places, of[place]);
            exit(0);
        }
        if (child < 0) {
            perror("fork");
            exit(1);
        }
    }
    int status;
    while (wait(&status) > 0)
        counts[1] += status != 0; /* a part that did not come to its end */
    for (unsigned place = 0; place < places; place++)
        for (unsigned i = 0; i < 2; i++)
            counts[i] += of[place][i];
    munmap(of, places * sizeof *of);
}

int main(int argc, char **argv)
{
    struct arguments arguments = { .seconds = 80 };
    unsigned counts[2] = { 0, 0 };
    const char *percent = getenv("NUMAPOOL_TEST_PERCENT");
    setvbuf(stdout, NULL, _IOLBF, 0); /* lines of several processes */
    mallopt(M_MMAP_THRESHOLD, 1 << 20); /* a run's memory is used again by the next, without the kernel */
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    if (percent && atoi(percent) >= 1 && atoi(percent) <= 100)
        arguments.seconds *= atoi(percent) / 100.0;
    parse(argc, argv, &arguments);
    if (arguments.has_seed) {
        report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        return report == MAP_FAILED ? 1 : replay(&arguments);
    }
    if (arguments.mutant || arguments.scenario)
        check_part(&arguments, 0, 1, counts);
    else
        check_all(&arguments, counts);
    printf("%u passed, %u failed\n", counts[0], counts[1]);
    return counts[1] == 0 ? 0 : 1;
}
