/* SPDX-License-Identifier: MIT
 *
 * The daemon's worker is killed at each of its own steps. First each scene is played under ptrace: after every instruction of the worker
 * that changed shared memory, and every system call, a copy of all of it is taken over by a broker of the test's own, as the next worker
 * would take it over, with all clients alive or with one dead besides. What comes of it must be what the memory was before the request that
 * the worker was serving, or after it, and nothing between. Then the scene is played again and again with the worker really killed at such
 * a place, under load: the keeper starts another, and all clients go on by themselves with the result as if nothing had been.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <linux/unistd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker_stage.h"

enum {
    EVENTS_MAX = 1 << 17, /* steps of one scene that are remembered */
    SEEN_MAX = 64,
    STATES_MAX = 1 << 16,
    KILLS_EACH = 28,      /* of each scene, where something was changed or called; all, if there are fewer */
    KILLS_ELSEWHERE = 8,
    FAILURES_MAX = 20,
    ALL_LIVE = 0,         /* variants: 0, or 1 + the party that has died besides */
    VARIANTS = 1 + PARTY_COUNT
};

/* A step of the worker. */
struct event {
    struct trace_place place;
    bool marked; /* changed something, or was a system call */
};

struct seen {
    uint64_t hash;
    unsigned variant;
    uint64_t step;
    char text[SUMMARY_BYTES];
};

struct steps {
    struct stage stage;
    struct event *events;
    unsigned event_count, marked_count;
    uint64_t *states; /* hashes, open addressing; 0: vacant */
    struct summary begun[VARIANTS];
    struct seen seen[SEEN_MAX]; /* what copies of this turn came to */
    unsigned seen_count;
    struct summary end; /* of the scene, where nobody died besides */
    unsigned failures;
    bool held; /* who makes the scene's call is stopped */
    uint64_t random;
    uint64_t all_steps, all_states, all_marked, all_judged, kills, missed, copies;
};

static unsigned variant_of(const struct steps *steps, unsigned n)
{
    unsigned party = n % PARTY_COUNT;
    return steps->stage.cast.members[party].dead ? ALL_LIVE : 1 + party;
}

static void take_over_copy(struct steps *steps, unsigned variant, struct summary *summary)
{
    char when[200];
    snprintf(when, sizeof when, "%s, step %llu, %s", steps->stage.scene->name, (unsigned long long)steps->stage.trace.steps,
             variant == ALL_LIVE ? "all alive" : party_names[variant - 1]);
    image_copy(&steps->stage.image);
    steps->failures += image_judge(&steps->stage.image, IMAGE_TAKEN_OVER, &steps->stage.cast, (int)variant - 1, true, summary,
                                   steps->failures < FAILURES_MAX ? when : NULL) > 0;
    steps->copies++;
}

/* ---------------------------------------------------------------- turns: from one wait of the worker to the next */

static void begin_turn(struct steps *steps)
{
    for (unsigned variant = 0; variant < VARIANTS; variant++)
        if (variant == ALL_LIVE || !steps->stage.cast.members[variant - 1].dead)
            take_over_copy(steps, variant, &steps->begun[variant]);
    steps->seen_count = 0;
}

static void end_turn(struct steps *steps)
{
    static struct summary ended[VARIANTS];
    for (unsigned variant = 0; variant < VARIANTS; variant++)
        if (variant == ALL_LIVE || !steps->stage.cast.members[variant - 1].dead)
            take_over_copy(steps, variant, &ended[variant]);
    for (unsigned i = 0; i < steps->seen_count; i++) {
        const struct seen *seen = &steps->seen[i];
        const struct summary *before = &steps->begun[seen->variant], *after = &ended[seen->variant];
        if (seen->hash == before->hash || seen->hash == after->hash)
            continue;
        if (steps->failures++ >= FAILURES_MAX)
            continue;
        harness_note("%s, step %llu, %s: taken over there it is \"%s\"", steps->stage.scene->name, (unsigned long long)seen->step,
                     seen->variant == ALL_LIVE ? "all alive" : party_names[seen->variant - 1], seen->text);
        harness_note("    before: \"%s\"", before->text);
        harness_note("    after:  \"%s\"", after->text);
    }
    steps->seen_count = 0;
}

static void judge_here(struct steps *steps, unsigned variant)
{
    static struct summary summary;
    take_over_copy(steps, variant, &summary);
    steps->all_judged++;
    for (unsigned i = 0; i < steps->seen_count; i++)
        if (steps->seen[i].hash == summary.hash && steps->seen[i].variant == variant)
            return;
    if (steps->seen_count == SEEN_MAX)
        return;
    struct seen *seen = &steps->seen[steps->seen_count++];
    *seen = (struct seen){ .hash = summary.hash, .variant = variant, .step = steps->stage.trace.steps };
    memcpy(seen->text, summary.text, sizeof seen->text);
}

static bool is_new_state(struct steps *steps)
{
    uint64_t hash = image_hash(&steps->stage.image) | 1;
    size_t at = (size_t)(hash >> 20) % STATES_MAX;
    for (unsigned tries = 0; tries < STATES_MAX; tries++, at = (at + 1) % STATES_MAX) {
        if (steps->states[at] == hash)
            return false;
        if (steps->states[at] == 0) {
            steps->states[at] = hash;
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- in place */

static void one_cpu(pid_t pid, bool only)
{
    static cpu_set_t all;
    cpu_set_t one;
    if (CPU_COUNT(&all) == 0)
        sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    sched_setaffinity(pid, sizeof one, only ? &one : &all);
}

/* In which the worker waits for something to do: on either kind of loop. */
static bool is_wait(long call)
{
    return call == SYS_io_uring_enter || call == SYS_epoll_wait || call == SYS_epoll_pwait || call == SYS_epoll_pwait2;
}

/* What others may notice of. Reading how much memory is left comes and goes, and changes nothing. */
static bool is_heard_of(long call)
{
    return call >= 0 && call != SYS_read && call != SYS_pread64 && call != SYS_openat && call != SYS_close && call != SYS_fstat &&
           call != SYS_newfstatat && call != SYS_lseek;
}

static void look_again(struct steps *steps)
{
    if (!image_settle(&steps->stage.image, steps->stage.records) || !stage_look(&steps->stage))
        steps->failures++;
}

/* A call waits 50 ms for some answers, in which a worker that is stepped does not get far: its time stands still meanwhile. */
static void hold_caller(struct steps *steps, bool hold)
{
    const struct scene *scene = steps->stage.scene;
    if (scene->kind == SCENE_CALL && hold != steps->held)
        kill(steps->stage.actors[scene->act.party].pid, hold ? SIGSTOP : SIGCONT);
    steps->held = hold;
}

/* While the worker is in a system call; an answer is out when it sleeps. */
static bool is_over(void *context)
{
    struct steps *steps = context;
    if (steps->held && harness_process_state(steps->stage.trace.pid) == 'S')
        hold_caller(steps, false);
    return !steps->held && stage_is_over(&steps->stage);
}

/* All steps of the worker until what the scene asks of it is done. */
static void trace_turns(struct steps *steps)
{
    struct stage *stage = &steps->stage;
    unsigned turn = 0;
    trace_skip(&stage->trace, "np_budget_now"); /* a hundred thousand instructions that read the system's files and write nothing */
    begin_turn(steps);
    stage_act(stage);
    for (;;) {
        struct event event;
        long call;
        if (stage->trace.in_call < 0 && is_wait(trace_next_call(&stage->trace)))
            end_turn(steps);
        enum trace_stop stop = trace_step(&stage->trace, &event.place, &call, is_over, steps);
        if (stop == TRACE_SLEEPS || stop == TRACE_ENDED)
            break;
        if (call == SYS_sendmsg || is_wait(call))
            look_again(steps);
        bool changed = image_changed(&stage->image);
        event.marked = changed || is_heard_of(call);
        if (steps->event_count < EVENTS_MAX)
            steps->events[steps->event_count++] = event;
        steps->marked_count += event.marked;
        if (is_wait(call)) {
            hold_caller(steps, true);
            begin_turn(steps);
        } else if (changed || call == SYS_sendmsg) {
            if (changed && is_new_state(steps))
                steps->all_states++;
            judge_here(steps, ALL_LIVE);
            judge_here(steps, variant_of(steps, turn++));
        }
    }
    hold_caller(steps, false);
}

static bool play_in_place(struct steps *steps, const struct scene *scene)
{
    struct stage *stage = &steps->stage;
    unsigned failures = steps->failures;
    steps->event_count = steps->marked_count = 0;
    if (!stage_renew(stage) || !stage_prepare(stage, scene) || !stage_begin(stage))
        return false;
    look_again(steps);
    image_changed(&stage->image);
    one_cpu(0, true);
    one_cpu(stage->trace.pid, true);
    trace_turns(steps);
    one_cpu(stage->trace.pid, false);
    one_cpu(0, false);
    uint64_t stepped = stage->trace.steps;
    bool lives = !stage->trace.ended;
    trace_release(&stage->trace);
    steps->all_steps += stepped;
    steps->all_marked += steps->marked_count;
    bool right = lives && stage_finish(stage, scene->name, NULL, &steps->end) && stage_go_on(stage, scene->name);
    right = stage_clear(stage, scene->name) && right && failures == steps->failures;
    return harness_expect(right && steps->marked_count > 0, "%s: %llu steps of the worker, %u changed memory or were "
                          "system calls: each copy is what was before or after", scene->name, (unsigned long long)stepped, steps->marked_count);
}

/* ---------------------------------------------------------------- really killed */

static bool play_and_kill(struct steps *steps, const struct scene *scene, const struct trace_place *place)
{
    struct stage *stage = &steps->stage;
    struct summary found;
    char when[160];
    snprintf(when, sizeof when, "%s, killed at %llx, time %u", scene->name, (unsigned long long)place->offset, place->nth);
    if (!stage_renew(stage) || !stage_prepare(stage, scene) || !stage_begin(stage))
        return false;
    stage_act(stage);
    bool reached = trace_run_to(&stage->trace, place, stage_is_over, stage, INT64_C(5000000000));
    steps->missed += !reached;
    steps->kills += !stage->trace.ended;
    trace_kill(&stage->trace);
    stage->restarts++;
    uint64_t received = stage_load_received(stage);
    bool right = stage_finish(stage, when, &steps->end, &found) && stage_go_on(stage, when);
    right = stage_clear(stage, when) && right;
    for (unsigned i = 0; i < 20000 && stage_load_received(stage) == received; i++)
        harness_sleep_ns(500000);
    if (stage_load_wrong(stage) > 0 || stage_load_received(stage) == received) {
        harness_note("%s: other clients do not go on sending and receiving in order", when);
        return false;
    }
    return right;
}

/* Marked events, or others, drawn without looking whether they were drawn before. */
static const struct event *drawn(struct steps *steps, bool marked)
{
    for (unsigned tries = 0; tries < 100000; tries++) {
        const struct event *event = &steps->events[harness_below(&steps->random, steps->event_count)];
        if (event->marked == marked && event->place.nth > 0)
            return event;
    }
    return NULL;
}

static void play_and_kill_often(struct steps *steps, struct steps *live, const struct scene *scene)
{
    unsigned wanted = harness_scaled(KILLS_EACH, 3), elsewhere = harness_scaled(KILLS_ELSEWHERE, 1), wrong = 0;
    uint64_t kills_before = live->kills, missed_before = live->missed;
    live->end = steps->end;
    bool all = steps->marked_count <= wanted;
    for (unsigned i = 0; i < steps->event_count && all; i++)
        if (steps->events[i].marked && steps->events[i].place.nth > 0)
            wrong += !play_and_kill(live, scene, &steps->events[i].place);
    for (unsigned i = 0; i < wanted && !all && wrong < 3; i++) {
        const struct event *event = drawn(steps, true);
        wrong += !event || !play_and_kill(live, scene, &event->place);
    }
    for (unsigned i = 0; i < elsewhere && wrong < 3; i++) {
        const struct event *event = drawn(steps, false);
        wrong += !event || !play_and_kill(live, scene, &event->place);
    }
    harness_expect(wrong == 0, "%s: %llu workers killed there, %llu of them later than meant: all go on by themselves", scene->name,
                   (unsigned long long)(live->kills - kills_before), (unsigned long long)(live->missed - missed_before));
}

int main(int argc, char **argv)
{
    static struct steps steps, live;
    const char *only = NULL;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--scene") == 0)
            only = argv[i + 1];
    harness_begin("worker_steps", argc, argv);
    steps.random = harness_seed();
    steps.events = calloc(EVENTS_MAX, sizeof *steps.events);
    steps.states = calloc(STATES_MAX, sizeof *steps.states);
    if (!steps.events || !steps.states ||
        !harness_expect(stage_open(&steps.stage, false) && stage_open(&live.stage, true), "two daemons start"))
        return harness_end();
    unsigned played = 0, every = 100 / harness_scaled(100, 1);
    for (unsigned i = 0; i < scene_count; i++) {
        if (only ? strstr(scenes[i].name, only) == NULL : (i + harness_seed()) % every != 0)
            continue;
        played++;
        if (play_in_place(&steps, &scenes[i]))
            play_and_kill_often(&steps, &live, &scenes[i]);
    }
    harness_expect(live.missed * 5 <= live.kills || live.kills < 20, "most workers are killed where they were meant to be (%llu of %llu were not)",
                   (unsigned long long)live.missed, (unsigned long long)live.kills);
    harness_figure("worker_steps.scenes", "%u", played);
    harness_figure("worker_steps.steps", "%llu", (unsigned long long)steps.all_steps);
    harness_figure("worker_steps.states", "%llu distinct; %llu instructions that changed memory or were system calls; %llu copies taken over",
                   (unsigned long long)steps.all_states, (unsigned long long)steps.all_marked, (unsigned long long)steps.copies);
    harness_figure("worker_steps.kills", "%llu", (unsigned long long)live.kills);
    stage_close(&steps.stage);
    stage_close(&live.stage);
    return harness_end();
}
