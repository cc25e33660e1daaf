/* SPDX-License-Identifier: MIT
 *
 * The benchmark harness.
 *
 * A group is several variants of the same thing: subjects, and their floors, which are the fastest ways known to do it with none
 * of our promises. In each slice every variant of the group runs for a moment, in rotating order, so that whatever the
 * machine does meanwhile it does to all of them. A row is a subject and a floor of one group: its ratio is taken within each
 * slice, and the median of those ratios is quoted.
 *
 * A local variant runs in this process on the first CPU. One with several ends runs here and in as many other processes (or threads)
 * on the CPUs in turn; since virtual CPUs wander over the host, a bare cache line is bounced between the first two before and after
 * each slice, and the slice counts as near or far by that, or is dropped when the two probes disagree.
 *
 * What cannot be cut into slices is a special: it measures as it must, and reports by itself.
 */
#ifndef NP_BENCH_BENCH_H
#define NP_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "statistics.h"

#define BENCH_VARIANTS_MAX 16u
#define BENCH_ENDS_MAX 8u
#define BENCH_SLICES_MAX 4096u
#define BENCH_PAYLOAD_BYTES 128u
#define BENCH_ONE_WAY_SAMPLE 512u /* messages whose mean is one sample of a one-way benchmark */

/* Ends are numbered: 0 leads, 1 is its peer, and groups with `ends` above 2 have more. End i runs on CPU number i modulo 2 of
 * the two. */
enum bench_end { BENCH_LEAD, BENCH_PEER };

struct bench_variant {
    const char *name; /* as a report calls it: "bare pop and push" */

    /* Before the peer is forked: what both ends share. */
    void *(*open)(void);
    void (*close)(void *state);

    /* Local: `operations` of them, timed together as one sample. before and after are called around each chunk and are not in
     * the time; NULL: nothing. */
    void (*chunk)(void *state);
    void (*before)(void *state);
    void (*after)(void *state);
    unsigned operations;

    /* Several ends: `operations` of them, by all ends at once; the lead adds samples. end: ends 2 and up; NULL: this variant has two
     * ends in a group that has more. */
    void (*join)(void *state, unsigned end); /* in each end, in its own process or thread, all at once, before the first lap; may be
                                                NULL */
    void (*leave)(void *state, unsigned end);
    void (*lead)(void *state, uint64_t operations, struct bench_histogram *samples);
    void (*peer)(void *state, uint64_t operations);
    void (*end)(void *state, unsigned end, uint64_t operations);
};

struct bench_row {
    const char *name;
    unsigned subject, floor; /* variants of the group */
    const char *sample;      /* what one sample of p99 and p99.9 is */
    const char *params;      /* more, as the inside of a JSON object: "\"bytes\": 128"; NULL: nothing */
    double ratio_max;        /* the figure to reach; 0: none was set */
    double p99_ratio_max;    /* the same for the subject's p99 by the floor's; 0: none */
    double p999_ratio_max;   /* and p99.9 */
};

struct bench_group {
    const char *about; /* a sentence for who reads the report */
    const struct bench_variant *variants[BENCH_VARIANTS_MAX];
    unsigned variant_count;
    const struct bench_row *rows;
    unsigned row_count;
    unsigned ends;       /* 0 or 1: local; 2 to BENCH_ENDS_MAX */
    bool threads;        /* the ends are threads of one process, else processes */
    bool sleeps;         /* its ends give the CPU away by themselves: that they were off it says nothing, and what CPU time each end used
                            for an operation is reported beside */
    unsigned slices_max; /* operations so long that a lap is one chunk (or `operations` of several ends), and this many slices are
                            enough; 0: as the options say */
    uint64_t needs_bytes; /* of memory that must be to be had; 0: little */
    const double *median_max; /* figures to reach in ns, one for each row, 0: none; NULL: none at all */
};

struct bench_report;
struct bench_options;

/* A measurement of its own: it adds its results by bench_report_add. */
struct bench_special {
    const char *name;
    void (*measure)(struct bench_report *report, const struct bench_options *options);
};

struct bench_options {
    double seconds;  /* a group's measuring time */
    unsigned slices; /* a group's slices */
    int cpus[2];
};

/* One line of the result. */
struct bench_result {
    const char *name, *unit, *subject_name, *floor_name, *sample, *params;
    const char *cpus;   /* "one", "near", "far" */
    double median, p99, p999, floor, ratio;
    double floor_p99, floor_p999;
    double ratio_max, p99_ratio_max, p999_ratio_max, median_max; /* figures to reach; 0: none */
    double ratio_low, ratio_high; /* spread over the slices: 10 % and 90 %; 0: it has none */
    double line_ns;     /* several ends: median round trip of the bare line */
    double cpu_ns[BENCH_ENDS_MAX], floor_cpu_ns[BENCH_ENDS_MAX]; /* groups that sleep: CPU time of each end for an operation */
    unsigned ends;      /* that have one; 0: none */
    unsigned slices;    /* that count */
    unsigned mixed, disturbed; /* dropped */
    bool busy;          /* too few undisturbed slices: the least disturbed ones count */
    const double *slice_ns, *slice_floor_ns, *slice_ratio; /* of each slice that counts; NULL: it has none */
    const struct bench_histogram *samples, *floor_samples; /* NULL: it has none */
    unsigned subject, floor_variant; /* of the group; for rows with one of them in common */
};

/* The groups and specials, in the order of the report: groups.c. */
extern const struct bench_group *const bench_groups[];
extern const unsigned bench_group_count;
extern const struct bench_special *const bench_specials[];
extern const unsigned bench_special_count;

/* Measures a group and reports the rows that `wanted` says yes to. */
void bench_run_group(const struct bench_group *group, const struct bench_options *options, struct bench_report *report,
                     bool (*wanted)(const char *name));

/* report.c. The options outlive it. */
struct bench_report *bench_report_open(const struct bench_options *options);
/* What follows belongs together under that name; `about` may be NULL. */
void bench_report_group(struct bench_report *report, const char *name, const char *about);
void bench_report_add(struct bench_report *report, const struct bench_result *result);
/* Nothing follows; then what became of the figures, for people. */
void bench_report_end(struct bench_report *report);
void bench_report_summary(const struct bench_report *report);
void bench_report_close(struct bench_report *report);

/* Whether so much memory is to be had now; false: it has been said that the row is not measured. */
bool bench_has_memory(uint64_t bytes, const char *name);

/* Ends the program with a sentence: a benchmark that goes wrong has no figure. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What is to be undone when a signal ends the program, from within its handler; NULL: nothing. */
extern void (*volatile bench_on_abort)(void);
void bench_pin(int cpu);
/* Zeroed memory that a forked peer shares, of whole pages, present. */
void *bench_shared(size_t bytes);
void bench_unshare(void *memory, size_t bytes);

static inline int64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* What reading the clock once costs, to be taken off a sample. */
int64_t bench_clock_cost_ns(void);

/* Subject and floor alike: the compiler knows nothing of the pointer behind this, nor of memory after it. */
static inline void *bench_opaque(void *pointer)
{
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

/* Before a loop of few instructions, subject and floor alike: by where in a cache line such a loop begins alone, it takes up
 * to 1.7 times as long, which would be luck of the linker and nothing of either. */
static inline __attribute__((always_inline)) void bench_align_loop(void)
{
#if defined(__x86_64__)
    __asm__ volatile(".p2align 6");
#endif
}

static inline void bench_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Does `trip` so many times; of each 64 one is a sample. Inlined with its trip, so that both are one loop. */
static inline __attribute__((always_inline)) void bench_trips(void *state, uint64_t operations, struct bench_histogram *samples,
                                                              void (*trip)(void *state, uint64_t number))
{
    const int64_t clock_cost_ns = bench_clock_cost_ns();
    uint64_t number = 0;
    while (number < operations) {
        uint64_t stop = operations - number > 63 ? number + 63 : operations;
        for (; number < stop; number++)
            trip(state, number);
        if (number < operations) {
            int64_t start_ns = bench_now_ns();
            trip(state, number++);
            int64_t took_ns = bench_now_ns() - start_ns - clock_cost_ns;
            bench_histogram_add(samples, took_ns > 0 ? (double)took_ns : 0);
        }
    }
}

/* Payload: written whole and read whole; the sum shows that it came as it went. */
static inline void bench_payload_write(void *payload, uint64_t number)
{
    uint64_t *words = bench_opaque(payload);
    for (unsigned i = 0; i < BENCH_PAYLOAD_BYTES / sizeof *words; i++)
        words[i] = number + i;
    bench_opaque(words);
}

static inline uint64_t bench_payload_read(const void *payload)
{
    const uint64_t *words = bench_opaque((void *)(uintptr_t)payload);
    uint64_t sum = 0;
    for (unsigned i = 0; i < BENCH_PAYLOAD_BYTES / sizeof *words; i++)
        sum += words[i];
    return sum;
}

/* Fails unless `sum` is what messages 0 .. operations - 1 add up to. */
void bench_payload_check(const char *variant, uint64_t sum, uint64_t operations);

#endif
