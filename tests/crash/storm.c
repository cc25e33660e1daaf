/* SPDX-License-Identifier: MIT
 *
 * Options besides --seed:  --kills N          how many are to die (100,000)
 *                          --replay FROM:TO   these acts of a run with the same seed and number of kills
 */
#include "storm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#ifdef CHECKED /* the same on a pool with checks, where no death may look like somebody's misuse */
#define NAME "checked"
#define POOL_SPEC ROLES_POOL_SPEC ",readonly=65534,checks=sites"
#else
#define NAME "storm"
#define POOL_SPEC ROLES_POOL_SPEC ",readonly=65534"
#endif

/* A sanitizer keeps what was freed for a while. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

enum {
#ifdef CHECKED
    KILLS = 3000,
    ACT_KILLS = 300,
#else
    KILLS = 100000,
    ACT_KILLS = 1000,
#endif
    KILLS_LEAST = 500,
    ACT_KILLS_LEAST = 100,
    NUMBERS_MAX = 400000,     /* of an act, on each channel */
    GROWTH_KIB_MAX = 512,     /* of the worker's own memory between the first act and the last */
    LOOKS_MAX = 500,          /* at its descriptors, 10 ms apart */
    SECOND_NS = 1000000000
};

struct options {
    uint64_t kills;
    unsigned act_kills, first, last;
};

static struct options options_of(int argc, char **argv)
{
    struct options options = { harness_scaled(KILLS, KILLS_LEAST), 0, 0, UINT32_MAX };
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--kills") == 0)
            options.kills = strtoull(argv[i + 1], NULL, 0);
        if (strcmp(argv[i], "--replay") == 0 && sscanf(argv[i + 1], "%u:%u", &options.first, &options.last) != 2)
            options.last = options.first;
    }
    options.act_kills = options.kills / STORM_CASTS < ACT_KILLS ? (unsigned)(options.kills / STORM_CASTS) : ACT_KILLS;
    options.act_kills = options.act_kills < ACT_KILLS_LEAST ? ACT_KILLS_LEAST : options.act_kills;
    unsigned acts = (unsigned)((options.kills + options.act_kills - 1) / options.act_kills);
    options.last = options.last < acts ? options.last : acts - 1;
    return options;
}

static void fault_told(void *context, const struct numapool_fault *fault)
{
    struct storm *storm = context;
    ledger_breach(storm->ledger, "a false alarm: %s", fault->sentence);
}

/* ---------------------------------------------------------------- acts */

static void prepare_act(struct storm *storm, unsigned act)
{
    struct crew_record *record = storm->record;
    struct tally *tallies[] = { record->mail, record->small, record->asked };
    if (storm->ledger)
        ledger_delete(storm->ledger);
    storm->ledger = ledger_new(NUMBERS_MAX);
    memset(record, 0, sizeof *record);
    record->mail = tallies[0];
    record->small = tallies[1];
    record->asked = tallies[2];
    for (unsigned i = 0; i < 3; i++)
        tally_clear(tallies[i]);
    storm->act = act;
    storm->act_seed = harness_seed() ^ (act + UINT64_C(1)) * UINT64_C(0x94d049bb133111eb);
    storm->random = storm->act_seed | 1;
    SET(record->small_requests, act / STORM_CASTS % 2);
}

static bool make_records(struct storm *storm)
{
    storm->record = mmap(NULL, sizeof *storm->record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (storm->record == MAP_FAILED)
        return false;
    storm->record->mail = tally_new("mail", NUMBERS_MAX);
    storm->record->small = tally_new("small message", NUMBERS_MAX);
    storm->record->asked = tally_new("request", NUMBERS_MAX);
    return true;
}

static void play_all(struct storm *storm, const struct options *options, pid_t worker, struct storm_memory before[2])
{
    for (unsigned act = options->first; act <= options->last && storm->acts_failed == 0; act++) {
        prepare_act(storm, act);
        bool is_whole = storm_play(storm, options->act_kills);
        is_whole = storm_checkpoint(storm) && is_whole;
        storm->acts_failed += !is_whole;
        if (!is_whole)
            harness_note("act %u failed: --seed %llu --kills %llu --replay %u:%u repeats it", act,
                         (unsigned long long)harness_seed(), (unsigned long long)options->kills, act, act);
        if (act < options->first + STORM_CASTS) /* each cast has been there */
            storm->acts_failed += !storm_memory_of(worker, &before[0]) || !storm_memory_of(storm->daemon.keeper, &before[1]);
    }
}

/* ---------------------------------------------------------------- report */

static void expect_no_leak(const struct storm *storm, pid_t worker, const struct storm_memory before[2])
{
    struct storm_memory after[2];
    bool seen = false;
    /* what the last who left had is let go of when the loop comes to it */
    for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
        seen = storm_memory_of(worker, &after[0]) && storm_memory_of(storm->daemon.keeper, &after[1]);
        if (!seen || (after[0].descriptors <= before[0].descriptors && after[1].descriptors <= before[1].descriptors))
            break;
        harness_sleep_ns(SECOND_NS / 100);
    }
    for (unsigned i = 0; i < 2 && seen; i++) {
        const char *whose = i == 0 ? "worker" : "keeper";
        harness_expect(after[i].descriptors <= before[i].descriptors,
                       "the %s has as many descriptors as after the first acts: %llu (%llu)", whose,
                       (unsigned long long)after[i].descriptors, (unsigned long long)before[i].descriptors);
        if (IS_SANITIZED) {
            harness_note("NOT RUN: memory of the %s (a sanitizer keeps what was freed)", whose);
            continue;
        }
        harness_expect(after[i].anonymous_kib <= before[i].anonymous_kib + GROWTH_KIB_MAX,
                       "and needs no more memory: %llu KiB (%llu)", (unsigned long long)after[i].anonymous_kib,
                       (unsigned long long)before[i].anonymous_kib);
    }
    if (harness_expect(seen, "memory and descriptors of the daemon can be seen"))
        harness_figure(NAME ".leaks",
                       "worker %llu descriptors and %llu KiB of its own after the first acts, %llu and %llu at the end; "
                       "keeper %llu and %llu, %llu and %llu",
                       (unsigned long long)before[0].descriptors, (unsigned long long)before[0].anonymous_kib,
                       (unsigned long long)after[0].descriptors, (unsigned long long)after[0].anonymous_kib,
                       (unsigned long long)before[1].descriptors, (unsigned long long)before[1].anonymous_kib,
                       (unsigned long long)after[1].descriptors, (unsigned long long)after[1].anonymous_kib);
}

static void report(const struct storm *storm, const struct options *options)
{
    char text[1024] = "";
    size_t used = 0;
    for (unsigned role = 0; role < ROLE_DRAINER; role++)
        if (used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%llu of a %s", role ? ", " : "",
                                     (unsigned long long)storm->kills_of[role], role_names[role]);
    double seconds = (double)(storm->act_ns + storm->check_ns) / SECOND_NS;
    harness_note("%s", text);
    harness_figure(
        NAME ".kills",
        "%llu in %.0f s (%.2f ms each, %u checkpoints and their %.1f s with them): %llu in a call, %llu while joining, "
        "%llu stopped; %llu chosen by the victim's own count of calls, %llu by the test",
        (unsigned long long)storm->kills, seconds, storm->kills ? seconds * 1000 / (double)storm->kills : 0,
        options->last - options->first + 1, (double)storm->check_ns / SECOND_NS, (unsigned long long)storm->in_call,
        (unsigned long long)storm->joining, (unsigned long long)storm->stopped, (unsigned long long)storm->kills_by[1],
        (unsigned long long)storm->kills_by[0]);
    harness_figure(NAME ".roles", "%s", text);
    harness_figure(NAME ".messages", "%llu sent, none lost; %llu of the relay came more than once, all marked",
                   (unsigned long long)storm->sent, (unsigned long long)storm->again);
    if (storm->recovery.count == 0)
        return;
    histogram_print(&storm->recovery, "from the kill to the last slot free, looked at every 40 us:");
    harness_figure(NAME ".recovery", "median %.0f us, p99 %.0f us, p99.9 %.0f us, longest %.0f us (%llu deaths)",
                   (double)histogram_quantile(&storm->recovery, 500) / 1000,
                   (double)histogram_quantile(&storm->recovery, 990) / 1000,
                   (double)histogram_quantile(&storm->recovery, 999) / 1000, (double)storm->recovery.most / 1000,
                   (unsigned long long)storm->recovery.count);
}

int main(int argc, char **argv)
{
    static struct storm storm;
    static struct storm_memory before[2];
    sigset_t child;
    harness_begin(NAME, argc, argv);
    const struct options options = options_of(argc, argv);
    harness_daemon_prepare(&storm.daemon);
    chmod(storm.daemon.directory, 0755); /* for readers of another user */
    if (!harness_expect(make_records(&storm) && harness_daemon_start(&storm.daemon, POOL_SPEC), "the daemon starts") ||
        !harness_expect(harness_look_open(&storm.look, storm.daemon.socket), "its board can be looked at"))
        return harness_end();
    numapool_fault_set(fault_told, &storm); /* in those that are forked */
    prctl(PR_SET_TIMERSLACK, 1);            /* so that looks at the board come when they should */
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    pid_t worker = harness_daemon_worker(&storm.daemon);
    play_all(&storm, &options, worker, before);
    harness_expect(storm.acts_failed == 0 && storm.kills >= (uint64_t)options.act_kills * (options.last - options.first + 1),
                   "%llu clients were killed, and after each of %u acts everything sent had arrived, in order, forwarded "
                   "once, and twice only "
                   "if marked; all slots were free and nothing was left",
                   (unsigned long long)storm.kills, options.last - options.first + 1);
    harness_expect(storm.never_recovered == 0, "what a killed process held came back each time");
    harness_expect(storm.long_stops > 0 || storm.acts_failed > 0,
                   "%llu clients were stopped for half an act, and all others went on",
                   (unsigned long long)storm.long_stops);
    harness_expect(harness_is_alive(storm.daemon.keeper) && harness_daemon_worker(&storm.daemon) == worker,
                   "the daemon lived through it, the same worker throughout");
    expect_no_leak(&storm, worker, before);
    report(&storm, &options);
    harness_look_close(&storm.look);
    harness_expect_nothing_left(&storm.daemon);
    harness_expect(harness_daemon_stop(&storm.daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&storm.daemon);
    return harness_end();
}
