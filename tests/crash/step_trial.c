/* SPDX-License-Identifier: MIT
 *
 * Stepping: the worker is stopped, so that nothing changes but by the stepped process; with STEP_TALKS it runs while that one is in a
 * system call. After each instruction shared memory is compared with what it was, and each state that was not seen before is judged.
 *
 * Killing: the way of the stepped process is known by then. A fresh process is taken to its k-th instruction by a breakpoint at the
 * nearest place before it that is easily come to, and a few steps; then it is killed, and the living daemon has to give all back.
 */
#include "step_trial.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "step_helper.h"
#include "step_image.h"
#include "step_judge.h"
#include "step_seen.h"
#include "step_trace.h"

#define PATIENCE_NS INT64_C(10000000000)

/* relaxed everywhere: a system call lies between who writes and who reads */
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

enum {
    STEPS_MAX = 400000,
    ALL_BELOW = 1000,   /* instructions: a process is killed at each of them */
    SAMPLE = 40,        /* otherwise: at so many of them, and at each that changed shared memory */
    CHANGES_MAX = 400,
    ROUNDS = 32,        /* of an instruction that repeats itself, that are stepped */
    PASSING_COST = 3,   /* of a breakpoint that is passed, in steps */
    TRIES_MAX = 3,
    NICE = -10,
    DEAR_COST = 500     /* places that take longer to come to are left out of the sample where there are others */
};

struct step_hand {
    struct harness_daemon daemon;
    char options[128];
    bool is_running;
    pid_t worker;
    int worker_stat; /* /proc/WORKER/stat */
    struct ledger *ledger;
    struct step_stage *stage;
    struct step_memory memory;
    struct step_helper peer, heir;
    struct step_seen states, images;
    uint64_t *path; /* [STEPS_MAX]: address of each instruction */
    uint64_t *passed; /* [STEPS_MAX]: how often it had been come to before */
    unsigned changes[CHANGES_MAX]; /* instructions before which there was a state that had not been there */
    unsigned change_count;

    const struct step_operation *operation;
    const struct step_plan *plan;
    struct step_result *result;
    struct step_traced traced;
    long step; /* the instruction that comes next */
    uint64_t random;
    unsigned accesses; /* of the last repair */
    bool has_ended; /* run did, when it was stepped */
    bool has_met; /* operation->between was done in this trial */
    bool is_void; /* the daemon is to be another one */
};

/* ---------------------------------------------------------------- telling */

__attribute__((format(printf, 2, 3))) static void failed(struct step_hand *hand, const char *format, ...)
{
    struct step_result *result = hand->result;
    va_list arguments;
    char sentence[400];
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    if (result->failures < STEP_FAILURES_MAX)
        snprintf(result->failure[result->failures], sizeof result->failure[0], "%s, instruction %ld: %s", hand->operation->name, hand->step,
                 sentence);
    result->failures++;
    hand->is_void = true;
}

static void *array(size_t count)
{
    void *memory = calloc(count, sizeof(uint64_t));
    if (!memory) {
        fprintf(stderr, "no memory\n");
        exit(2);
    }
    return memory;
}

/* ---------------------------------------------------------------- the daemon */

struct step_hand *step_hand_new(unsigned number)
{
    struct step_hand *hand = calloc(1, sizeof *hand);
    cpu_set_t may, one;
    unsigned at = 0;
    if (!hand)
        exit(2);
    sched_getaffinity(0, sizeof may, &may);
    CPU_ZERO(&one);
    for (unsigned i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &may) && at++ == number % (unsigned)CPU_COUNT(&may))
            CPU_SET(i, &one);
    sched_setaffinity(0, sizeof one, &one); /* and so everybody who is started from here */
    (void)setpriority(PRIO_PROCESS, 0, NICE); /* each step is a change of processes: not to wait for all others each time */
    hand->ledger = ledger_new(STEP_LEDGER_NUMBERS);
    hand->stage = step_stage_new();
    hand->states.places = array(STEP_SEEN_ROOM);
    hand->images.places = array(STEP_SEEN_ROOM);
    hand->path = array(STEPS_MAX);
    hand->passed = array(STEPS_MAX);
    return hand;
}

static void stop_daemon(struct step_hand *hand)
{
    if (!hand->is_running)
        return;
    kill(hand->worker, SIGCONT);
    step_helper_end(&hand->peer);
    step_helper_end(&hand->heir);
    step_memory_close(&hand->memory);
    close(hand->worker_stat);
    harness_daemon_stop(&hand->daemon);
    harness_daemon_remove(&hand->daemon);
    hand->is_running = false;
}

void step_hand_end(struct step_hand *hand)
{
    stop_daemon(hand);
    ledger_delete(hand->ledger);
    free(hand->states.places);
    free(hand->images.places);
    free(hand->path);
    free(hand->passed);
    free(hand);
}

static bool start_daemon(struct step_hand *hand, const char *options)
{
    static const char *const limits[] = { "--clients", "6", "--channels", "8", "--endpoints", "16", "--lanes", "24", NULL };
    char spec[192], path[32];
    snprintf(hand->options, sizeof hand->options, "%s", options);
    snprintf(spec, sizeof spec, STEP_POOL ",%s", options);
    harness_daemon_prepare(&hand->daemon);
    if (!harness_daemon_start_with(&hand->daemon, spec, limits)) {
        harness_daemon_remove(&hand->daemon);
        return false;
    }
    hand->is_running = true;
    hand->worker = harness_daemon_worker(&hand->daemon);
    snprintf(path, sizeof path, "/proc/%d/stat", (int)hand->worker);
    hand->worker_stat = open(path, O_RDONLY | O_CLOEXEC);
    step_ledger_clear(hand->ledger);
    step_helper_start(&hand->heir, hand->ledger, hand->daemon.socket);
    return step_memory_open(&hand->memory, hand->worker, hand->ledger);
}

static char state_of_worker(const struct step_hand *hand)
{
    char text[256];
    ssize_t length = pread(hand->worker_stat, text, sizeof text - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    const char *end = strrchr(text, ')');
    return end && end[1] == ' ' ? end[2] : 0;
}

static void stop_worker(struct step_hand *hand)
{
    kill(hand->worker, SIGSTOP);
    while (state_of_worker(hand) != 'T' && state_of_worker(hand) != 0)
        sched_yield();
}

static void continue_worker(struct step_hand *hand)
{
    kill(hand->worker, SIGCONT);
}

static bool ask(struct step_hand *hand, struct step_helper *helper, enum step_wish wish, const char *what)
{
    struct step_question question = { .wish = wish, .operation = hand->operation };
    if (step_helper_ask(helper, &question))
        return true;
    failed(hand, "%s failed", what);
    return false;
}

/* ---------------------------------------------------------------- a trial */

static bool begin_trial(struct step_hand *hand, bool (*asleep)(void *context))
{
    const struct step_operation *operation = hand->operation;
    const struct step_actor actor = { .ledger = hand->ledger, .socket = hand->daemon.socket, .incarnation = 1 };
    hand->has_met = false;
    step_ledger_clear(hand->ledger);
    if (operation->peer && hand->peer.pid == 0)
        step_helper_start(&hand->peer, hand->ledger, hand->daemon.socket);
    if (operation->peer && !ask(hand, &hand->peer, STEP_WISH_PEER, "the peer's part before"))
        return false;
    hand->traced = (struct step_traced){ .asleep = operation->flags & STEP_SLEEPS ? asleep : NULL, .context = hand };
    if (!step_begin(&hand->traced, operation, &actor, hand->stage)) {
        failed(hand, "the stepped process did not come to its operation");
        return false;
    }
    return !operation->peer_again || ask(hand, &hand->peer, STEP_WISH_AGAIN, "the peer's part after prepare");
}

struct left {
    unsigned clients, endpoints, lanes;
    bool all_free;
};

static struct left look(struct step_hand *hand)
{
    const struct np_board *board = &hand->memory.board;
    struct left left = { .all_free = step_memory_all_free(&hand->memory) };
    for (uint32_t i = 1; i <= board->limits.clients; i++)
        left.clients += !np_entry_is(&board->clients[i].state, NP_NONE) && board->clients[i].pid != hand->peer.pid &&
                        board->clients[i].pid != hand->heir.pid;
    for (uint32_t i = 1; i <= board->limits.endpoints; i++)
        left.endpoints += !np_entry_is(&board->endpoints[i].state, NP_NONE);
    for (uint32_t i = 1; i <= board->limits.lanes; i++)
        left.lanes += !np_entry_is(&board->lanes[i].state, NP_NONE);
    return left;
}

/* Until nothing is left but the helpers, or (only_clients) until the dead are forgotten. */
static struct left wait_until_gone(struct step_hand *hand, bool only_clients)
{
    const int64_t until_ns = harness_now_ns() + PATIENCE_NS;
    struct left left;
    for (unsigned looks = 0;; looks++) {
        left = look(hand);
        if (left.clients == 0 && (only_clients || (left.endpoints + left.lanes == 0 && left.all_free)))
            return left;
        if (harness_now_ns() > until_ns)
            return left;
        if (looks > 1000)
            harness_sleep_ns(100000);
        sched_yield();
    }
}

static void destroy_other_pools(struct step_hand *hand)
{
    bool there_were = false;
    for (uint32_t pool = 1; pool < NP_POOLS_MAX; pool++) {
        const struct np_pool_entry *entry = &hand->memory.board.pools[pool];
        struct step_question question = { .wish = STEP_WISH_DESTROY, .operation = hand->operation };
        if (!np_entry_is(&entry->state, NP_ACTIVE))
            continue;
        memcpy(question.pool, entry->name, sizeof question.pool);
        if (!step_helper_ask(&hand->heir, &question))
            failed(hand, "the pool that it made cannot be destroyed");
        there_were = true;
    }
    if (there_were)
        step_memory_scan(&hand->memory);
}

/* All that is left goes to the heir. */
static void inherit(struct step_hand *hand)
{
    struct step_question question = { .wish = STEP_WISH_INHERIT, .operation = hand->operation,
                                      .legacy = step_legacy_of(&hand->memory.board, 0) };
    struct ledger *before = hand->memory.ledger_image;
    memcpy(before, hand->ledger, step_ledger_bytes());
    if (!step_helper_ask(&hand->heir, &question))
        failed(hand, "the heir did not finish");
    else if (!hand->operation->only_judge)
        step_compare(&question.legacy, hand->operation->forwards, before, hand->ledger);
}

/* The process is killed where it is, and the living see to what it leaves. */
static void end_trial(struct step_hand *hand)
{
    const struct step_operation *operation = hand->operation;
    step_kill(&hand->traced);
    step_end(&hand->traced);
    if (wait_until_gone(hand, true).clients > 0)
        failed(hand, "the dead client is not forgotten");
    if (operation->peer && operation->survive)
        ask(hand, &hand->peer, STEP_WISH_SURVIVE, "what has to reach the peer");
    if (operation->peer && operation->flags & STEP_FRESH_PEER)
        step_helper_end(&hand->peer);
    else if (operation->peer)
        ask(hand, &hand->peer, STEP_WISH_FINISH, "the peer's end");
    if (operation->flags & STEP_FRESH_PEER)
        wait_until_gone(hand, true);
    inherit(hand);
    destroy_other_pools(hand);
    struct left left = wait_until_gone(hand, false);
    if (left.clients + left.endpoints + left.lanes > 0 || !left.all_free)
        failed(hand, "left over in the living daemon: %u clients, %u endpoints, %u lanes; all slots are free: %s", left.clients, left.endpoints,
               left.lanes, left.all_free ? "yes" : "no");
    if (GET(hand->ledger->breaches) > 0)
        failed(hand, "killed: %s", hand->ledger->breach[0]);
}

/* ---------------------------------------------------------------- stepping */

static void judge(struct step_hand *hand, bool worker_dead, unsigned cut)
{
    char sentence[320];
    struct step_case of = { .operation = hand->operation, .victim = hand->traced.victim, .worker_dead = worker_dead, .cut = cut };
    if (!step_judge(&hand->memory, &of, sentence))
        failed(hand, "%s (accesses of the repair: %u): %s", worker_dead ? "it and the worker dead" : "dead", cut, sentence);
    if (cut == 0)
        hand->accesses = of.accesses;
    else
        hand->result->cuts++;
}

static void look_and_judge(struct step_hand *hand, bool with_board)
{
    char sentence[200];
    bool told, changed = step_memory_changed(&hand->memory, with_board, &told, sentence, sizeof sentence);
    if (sentence[0] != '\0')
        failed(hand, "%s", sentence);
    if (!changed && !told && hand->states.count > 0)
        return;
    const uint64_t hash = step_memory_hash(&hand->memory);
    if (step_see(&hand->states, hash) && hand->change_count < CHANGES_MAX)
        hand->changes[hand->change_count++] = (unsigned)hand->step;
    if (!step_see(&hand->images, hash ^ hand->memory.ledger_hash) || hand->result->failures >= STEP_FAILURES_MAX)
        return;
    hand->result->judged++;
    judge(hand, true, 0);
    if (!(hand->operation->flags & STEP_TALKS)) /* otherwise the worker may be in the middle of something */
        judge(hand, false, 0);
    for (unsigned i = 0; i < hand->plan->cuts; i++)
        judge(hand, i % 2 == 0, 1 + harness_below(&hand->random, hand->accesses));
}

static bool asleep_when_stepped(void *context)
{
    struct step_hand *hand = context;
    stop_worker(hand);
    look_and_judge(hand, true);
    continue_worker(hand);
    ask(hand, &hand->peer, STEP_WISH_MEANWHILE, "what ends the sleep");
    return true;
}

/* A fill or copy that has gone round some times and goes on: what it does to shared memory after that is seen at its end. */
static bool is_tedious(const struct step_hand *hand)
{
    const uint64_t address = hand->path[hand->step];
    return hand->step >= ROUNDS && hand->path[hand->step - ROUNDS] == address && step_repeats(address) > 0;
}

static enum step_stop step_and_look(struct step_hand *hand)
{
    const uint64_t address = step_address(&hand->traced);
    const bool calls = step_is_system_call(address);
    const bool worker_runs = calls && hand->operation->flags & (STEP_TALKS | STEP_SLEEPS);
    hand->path[hand->step] = address;
    if (worker_runs)
        continue_worker(hand);
    enum step_stop stop = is_tedious(hand) ? step_to(&hand->traced, address + step_repeats(address), 0) : step_once(&hand->traced);
    if (worker_runs) {
        stop_worker(hand);
        step_memory_scan(&hand->memory);
    }
    hand->step++;
    look_and_judge(hand, worker_runs);
    return stop;
}

static void step_through(struct step_hand *hand)
{
    const unsigned flags = hand->operation->flags;
    enum step_stop stop = STEP_STOPPED;
    hand->step = 0;
    hand->change_count = 0;
    stop_worker(hand);
    step_memory_scan(&hand->memory);
    look_and_judge(hand, true);
    while (stop == STEP_STOPPED && hand->step < STEPS_MAX && hand->result->failures < STEP_FAILURES_MAX)
        stop = step_and_look(hand);
    continue_worker(hand);
    hand->has_ended = stop == STEP_AT_END;
    hand->result->instructions = (unsigned)hand->step;
    hand->result->states = hand->states.count;
    if (hand->result->failures >= STEP_FAILURES_MAX)
        return;
    if (stop != (flags & STEP_EXITS ? STEP_ENDED : STEP_AT_END))
        failed(hand, "the operation did not come to its end (%d)", (int)stop);
    else if (stop == STEP_AT_END && GET(hand->stage->result) != 0)
        failed(hand, "the operation says that it failed");
    if (flags & STEP_NOTHING && hand->states.count > 1)
        failed(hand, "it has changed shared memory: %u states", hand->states.count);
}

/* ---------------------------------------------------------------- killing */

/* How often each instruction of the path had been come to before. */
static void count_passed(struct step_hand *hand)
{
    const unsigned n = hand->result->instructions;
    uint64_t *keys = hand->images.places, room = STEP_SEEN_ROOM / 2, *counts = keys + room;
    step_forget(&hand->images);
    for (unsigned i = 0; i < n; i++) {
        uint64_t place = hand->path[i] * UINT64_C(0x9e3779b97f4a7c15) % room;
        while (keys[place] != 0 && keys[place] != hand->path[i])
            place = (place + 1) % room;
        keys[place] = hand->path[i];
        hand->passed[i] = counts[place]++;
    }
    step_forget(&hand->images);
}

static bool asleep_when_killed(void *context)
{
    struct step_hand *hand = context;
    return hand->has_met || ask(hand, &hand->peer, STEP_WISH_MEANWHILE, "what ends the sleep");
}

/* From where the way to step k goes on in single steps; *cost of the whole way. */
static unsigned anchor_of(const struct step_hand *hand, unsigned k, uint64_t *cost)
{
    unsigned best = 0;
    *cost = k;
    for (unsigned j = k; j > 0 && k - j < *cost; j--) {
        uint64_t its_cost = PASSING_COST * (hand->passed[j] + 1) + (k - j);
        if (its_cost < *cost) {
            *cost = its_cost;
            best = j;
        }
    }
    return best;
}

/* The peer acts where the stepped process is. */
static void meet(struct step_hand *hand)
{
    enum { AFTER = 200 };
    enum step_stop stop = STEP_STOPPED;
    hand->has_met = true;
    hand->result->meetings++;
    if (!ask(hand, &hand->peer, STEP_WISH_BETWEEN, "what the peer does between"))
        return;
    if (harness_below(&hand->random, 3) == 0) { /* and is killed soon after it */
        for (unsigned left = harness_below(&hand->random, AFTER); left > 0 && stop == STEP_STOPPED; left--)
            stop = step_once(&hand->traced);
        return;
    }
    stop = step_on(&hand->traced);
    if (stop != STEP_AT_END || GET(hand->stage->result) != 0)
        failed(hand, "after the peer's part in between it did not come to a good end (%d)", (int)stop);
}

static void kill_at(struct step_hand *hand, unsigned k)
{
    const unsigned n = hand->result->instructions;
    hand->step = k;
    if (!begin_trial(hand, asleep_when_killed))
        return;
    enum step_stop stop = STEP_STOPPED;
    uint64_t cost;
    unsigned at = k < n ? anchor_of(hand, k, &cost) : n;
    if (k < n) {
        if (at > 0)
            stop = step_to(&hand->traced, hand->path[at], hand->passed[at]);
        for (; stop == STEP_STOPPED && at < k; at++)
            stop = step_once(&hand->traced);
        stop = stop == STEP_STOPPED && step_address(&hand->traced) != hand->path[k] ? STEP_LOST : stop;
    }
    hand->result->kills++;
    hand->result->others += stop != STEP_STOPPED;
    if (hand->operation->between && stop == STEP_STOPPED && k < n)
        meet(hand);
    end_trial(hand);
}

/* One of [from, end), and one that is come to in short time where there is one. */
static unsigned draw(struct step_hand *hand, unsigned from, unsigned end)
{
    unsigned drawn = from;
    uint64_t cost = UINT64_MAX;
    for (unsigned tries = 0; tries < 8 && cost > DEAR_COST; tries++) {
        drawn = from + harness_below(&hand->random, end - from);
        if (drawn >= hand->result->instructions)
            break;
        anchor_of(hand, drawn, &cost);
    }
    return drawn;
}

/* At so many instructions, or all, drawn from equal parts of the way. */
static void kill_at_sample(struct step_hand *hand, unsigned wanted)
{
    const uint64_t places = hand->result->instructions + 1;
    const unsigned chosen = harness_scaled(wanted, 4);
    for (unsigned i = 0; i < chosen && hand->result->failures == 0; i++) {
        unsigned from = (unsigned)(places * i / chosen), end = (unsigned)(places * (i + 1) / chosen);
        kill_at(hand, end > from + 1 ? draw(hand, from, end) : from);
    }
}

static void kill_all(struct step_hand *hand)
{
    const unsigned n = hand->result->instructions;
    count_passed(hand);
    if (hand->plan->only >= 0) {
        kill_at(hand, (unsigned)hand->plan->only);
        return;
    }
    if (n < ALL_BELOW && !(hand->operation->flags & STEP_LONG)) {
        kill_at_sample(hand, n + 1);
        return;
    }
    kill_at_sample(hand, SAMPLE);
    const unsigned chosen = harness_scaled(hand->change_count, 1);
    for (unsigned i = 0; i < chosen && hand->result->failures == 0; i++)
        kill_at(hand, hand->changes[(uint64_t)hand->change_count * i / chosen]);
}

/* ---------------------------------------------------------------- the whole */

/* False: to be tried again. For who is stepped time flies a thousand times as fast, or more where others want the processor, and a call
 * that waits no longer than so and so much may come to nothing; that says nothing of deaths. */
static bool step_one_through(struct step_hand *hand)
{
    step_forget(&hand->states);
    step_forget(&hand->images);
    *hand->result = (struct step_result){ .judged = hand->result->judged, .kills = hand->result->kills + 1, .cuts = hand->result->cuts };
    if (begin_trial(hand, asleep_when_stepped))
        step_through(hand);
    const bool is_late = hand->result->failures == 1 && hand->has_ended && GET(hand->stage->result) != 0;
    end_trial(hand);
    return !is_late;
}

void step_operate(struct step_hand *hand, const struct step_operation *operation, const struct step_plan *plan, struct step_result *result)
{
    int64_t begun_ns = harness_now_ns();
    hand->operation = operation;
    hand->plan = plan;
    hand->result = result;
    hand->random = plan->seed | 1;
#ifdef NUMAPOOL_HOOKS
    step_mutant_of_stepped = (enum np_mutant)plan->mutant_of_stepped;
    step_mutant_of_repair = (enum np_mutant)plan->mutant_of_repair;
#endif
    hand->step = -1;
    if (hand->is_running && (hand->is_void || strcmp(hand->options, operation->pool_options) != 0))
        stop_daemon(hand);
    hand->is_void = false;
    if (!hand->is_running && !start_daemon(hand, operation->pool_options)) {
        failed(hand, "no daemon with a pool '%s'", operation->pool_options);
        return;
    }
    for (unsigned tries = 0; tries < TRIES_MAX && !step_one_through(hand); tries++)
        continue;
    result->stepping_ns = harness_now_ns() - begun_ns;
    if (result->failures == 0 && !plan->is_stepped_only)
        kill_all(hand);
    step_helper_end(&hand->peer);
    if (hand->heir.pid != 0 && wait_until_gone(hand, true).clients > 0)
        failed(hand, "the peer is not forgotten");
    result->killing_ns = harness_now_ns() - begun_ns - result->stepping_ns;
    result->is_done = true;
}
