/* SPDX-License-Identifier: MIT
 *
 * A trial leaves the daemon as it was: the heir takes all that is left, the peer closes its ends, pools that were made are destroyed. So the
 * same daemon and the same helpers serve thousands of them.
 */
#include "step_hand.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PATIENCE_NS INT64_C(60000000000) /* a busy kernel takes an io_uring of the dead apart when it comes to it */

/* relaxed: a system call lies between who writes and who reads */
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

enum { NICE = -10 };

void step_fail(struct step_hand *hand, const char *format, ...)
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
    hand->path = array(STEP_STEPS_MAX);
    hand->passed = array(STEP_STEPS_MAX);
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

void step_stop_worker(struct step_hand *hand)
{
    kill(hand->worker, SIGSTOP);
    while (state_of_worker(hand) != 'T' && state_of_worker(hand) != 0)
        sched_yield();
}

void step_continue_worker(struct step_hand *hand)
{
    kill(hand->worker, SIGCONT);
}

bool step_ask(struct step_hand *hand, struct step_helper *helper, enum step_wish wish, const char *what)
{
    struct step_question question = { .wish = wish, .operation = hand->operation };
    if (step_helper_ask(helper, &question))
        return true;
    step_fail(hand, "%s failed", what);
    return false;
}

/* ---------------------------------------------------------------- a trial */

bool step_trial_begin(struct step_hand *hand, bool (*asleep)(void *context))
{
    const struct step_operation *operation = hand->operation;
    const struct step_actor actor = { .ledger = hand->ledger, .socket = hand->daemon.socket, .incarnation = 1 };
    hand->has_met = false;
    step_ledger_clear(hand->ledger);
    if (operation->peer && hand->peer.pid == 0)
        step_helper_start(&hand->peer, hand->ledger, hand->daemon.socket);
    if (operation->peer && !step_ask(hand, &hand->peer, STEP_WISH_PEER, "the peer's part before"))
        return false;
    hand->traced = (struct step_traced){ .asleep = operation->flags & STEP_SLEEPS ? asleep : NULL, .context = hand };
    if (!step_begin(&hand->traced, operation, &actor, hand->stage)) {
        step_fail(hand, "the stepped process did not come to its operation");
        return false;
    }
    return !operation->peer_again || step_ask(hand, &hand->peer, STEP_WISH_AGAIN, "the peer's part after prepare");
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

/* What the dead had asked to be made is made, though nobody waits for it any more. */
static void wait_until_made(const struct np_pool_entry *entry)
{
    const int64_t until_ns = harness_now_ns() + PATIENCE_NS;
    while (np_entry_is(&entry->state, NP_FORMING) && harness_now_ns() < until_ns)
        harness_sleep_ns(100000);
}

static void destroy_other_pools(struct step_hand *hand)
{
    bool there_were = false;
    for (uint32_t pool = 1; pool < NP_POOLS_MAX; pool++) {
        const struct np_pool_entry *entry = &hand->memory.board.pools[pool];
        struct step_question question = { .wish = STEP_WISH_DESTROY, .operation = hand->operation };
        wait_until_made(entry);
        if (!np_entry_is(&entry->state, NP_ACTIVE))
            continue;
        memcpy(question.pool, entry->name, sizeof question.pool);
        if (!step_helper_ask(&hand->heir, &question))
            step_fail(hand, "the pool that it made cannot be destroyed");
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
        step_fail(hand, "the heir did not finish");
    else if (!hand->operation->only_judge)
        step_compare(&question.legacy, hand->operation->forwards, before, hand->ledger);
}

void step_trial_end(struct step_hand *hand)
{
    const struct step_operation *operation = hand->operation;
    step_kill(&hand->traced);
    step_end(&hand->traced);
    if (wait_until_gone(hand, true).clients > 0)
        step_fail(hand, "the dead client is not forgotten");
    if (operation->peer && operation->survive)
        step_ask(hand, &hand->peer, STEP_WISH_SURVIVE, "what has to reach the peer");
    if (operation->peer && operation->flags & STEP_FRESH_PEER)
        step_helper_end(&hand->peer);
    else if (operation->peer)
        step_ask(hand, &hand->peer, STEP_WISH_FINISH, "the peer's end");
    if (operation->flags & STEP_FRESH_PEER)
        wait_until_gone(hand, true);
    inherit(hand);
    destroy_other_pools(hand);
    struct left left = wait_until_gone(hand, false);
    if (left.clients + left.endpoints + left.lanes > 0 || !left.all_free)
        step_fail(hand, "left over in the living daemon: %u clients, %u endpoints, %u lanes; all slots are free: %s", left.clients, left.endpoints,
               left.lanes, left.all_free ? "yes" : "no");
    if (GET(hand->ledger->breaches) > 0)
        step_fail(hand, "killed: %s", hand->ledger->breach[0]);
}

bool step_daemon_for(struct step_hand *hand, const char *options)
{
    if (hand->is_running && (hand->is_void || strcmp(hand->options, options) != 0))
        stop_daemon(hand);
    hand->is_void = false;
    if (hand->is_running)
        return true;
    if (!start_daemon(hand, options))
        return false;
    inherit(hand); /* each slot has been somebody's: else the first trials would go other ways than all others */
    return true;
}

void step_trial_last(struct step_hand *hand)
{
    step_helper_end(&hand->peer);
    if (hand->heir.pid != 0 && wait_until_gone(hand, true).clients > 0)
        step_fail(hand, "the peer is not forgotten");
}
