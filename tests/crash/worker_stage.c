/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "worker_stage.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SCENE_POOL_SPEC SCENE_POOL ",size=64,count=256"
#define LOAD_POOL       "load"
#define LOAD_POOL_SPEC  "--pool=" LOAD_POOL ",size=64,count=1024"
#define PATIENCE_NS     INT64_C(10000000000)

enum { RESTARTS_MAX = 28, BURST = 16, BURST_PAUSE_NS = 300000 };

/* ---------------------------------------------------------------- load */

struct load {
    const char *socket;
    _Atomic uint64_t received;
    _Atomic uint32_t wrong;
    _Atomic uint32_t ends; /* the sender sees its messages off, and ends */
    pid_t sender, receiver;
};

static int send_load(void *context)
{
    struct load *load = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    if (numapool_connect(&client, load->socket) < 0 || numapool_open(client, LOAD_POOL, 0, &pool) < 0 ||
        numapool_sender_open(pool, "l", NULL, &sender) < 0)
        return 1;
    for (uint64_t number = 1; !atomic_load_explicit(&load->ends, memory_order_relaxed);) { /* relaxed: soon is enough */
        for (unsigned i = 0; i < BURST; i++) {
            struct numapool_msg message = { .length = 8, .id = number, .data = numapool_loan(sender) };
            if (message.data && numapool_send(sender, &message, 0) == 0)
                number++;
            else if (message.data)
                numapool_unloan(sender, message.data);
        }
        harness_sleep_ns(BURST_PAUSE_NS);
    }
    return numapool_sender_close(sender, PATIENCE_NS) < 0;
}

static int receive_load(void *context)
{
    struct load *load = context;
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_receiver *receiver;
    struct numapool_msg messages[BURST];
    if (numapool_connect(&client, load->socket) < 0 || numapool_open(client, LOAD_POOL, 0, &pool) < 0 ||
        numapool_receiver_open(pool, "l", NULL, &receiver) < 0)
        return 1;
    for (uint64_t expected = 1;;) {
        int got = numapool_receive(receiver, messages, BURST, 100000000);
        if (got < 0 && got != -ETIMEDOUT)
            atomic_fetch_add_explicit(&load->wrong, 1, memory_order_relaxed); /* relaxed, all: counted, and read at the end */
        for (int i = 0; i < got; i++)
            if (messages[i].id != expected++)
                atomic_fetch_add_explicit(&load->wrong, 1, memory_order_relaxed);
        if (got > 0 && numapool_release(receiver, messages, (unsigned)got) < 0)
            atomic_fetch_add_explicit(&load->wrong, 1, memory_order_relaxed);
        if (got > 0)
            atomic_fetch_add_explicit(&load->received, (uint64_t)got, memory_order_relaxed);
    }
}

uint64_t stage_load_received(const struct stage *stage)
{
    return stage->load ? atomic_load_explicit(&stage->load->received, memory_order_relaxed) : 0;
}

unsigned stage_load_wrong(const struct stage *stage)
{
    return stage->load ? atomic_load_explicit(&stage->load->wrong, memory_order_relaxed) : 0;
}

static bool has_load(void *context)
{
    return stage_load_received(context) > BURST;
}

static bool start_load(struct stage *stage)
{
    if (!stage->load)
        return true;
    stage->load->socket = stage->daemon.socket;
    atomic_store_explicit(&stage->load->received, 0, memory_order_relaxed); /* relaxed, both: before they are there */
    atomic_store_explicit(&stage->load->ends, 0, memory_order_relaxed);
    stage->load->receiver = harness_fork(receive_load, stage->load);
    stage->load->sender = harness_fork(send_load, stage->load);
    return harness_wait_until(has_load, stage, PATIENCE_NS);
}

static void end_load(struct stage *stage)
{
    if (!stage->load || stage->load->sender == 0)
        return;
    /* What is sent when nobody receives any more waits for the next receiver: nothing must be left here. */
    atomic_store_explicit(&stage->load->ends, 1, memory_order_relaxed); /* relaxed: soon is enough */
    harness_expect(harness_join(stage->load->sender, 2 * PATIENCE_NS) == 0, "who has sent all the while sees all of it received");
    harness_kill(stage->load->receiver);
    stage->load->sender = stage->load->receiver = 0;
}

/* ---------------------------------------------------------------- the daemon */

bool stage_look(struct stage *stage)
{
    return image_look(&stage->image, stage->daemon.keeper);
}

static unsigned judge_now(struct stage *stage, struct summary *found, const char *when)
{
    if (!stage_look(stage))
        return 1;
    image_copy(&stage->image);
    return image_judge(&stage->image, IMAGE_AS_IT_IS, &stage->cast, -1, false, found, when);
}

static bool start_daemon(struct stage *stage)
{
    static const char *const options[] = { "--clients=8", "--channels=8", "--endpoints=16", "--lanes=24", LOAD_POOL_SPEC, NULL };
    stage->restarts = 0;
    stage->cast.pool = SCENE_POOL;
    stage->cast.busy = stage->load ? LOAD_POOL : NULL;
    stage->cast.count = 0;
    return harness_daemon_start_with(&stage->daemon, SCENE_POOL_SPEC, options) && judge_now(stage, &stage->empty, "at the start") == 0 &&
           start_load(stage);
}

bool stage_open(struct stage *stage, bool load)
{
    stage->records = -1;
    if (load)
        stage->load = mmap(NULL, sizeof *stage->load, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (stage->load == MAP_FAILED)
        return false;
    harness_daemon_prepare(&stage->daemon);
    return start_daemon(stage);
}

bool stage_renew(struct stage *stage)
{
    if (stage->restarts < RESTARTS_MAX)
        return true;
    end_load(stage);
    return harness_daemon_stop(&stage->daemon) == 0 && start_daemon(stage);
}

void stage_close(struct stage *stage)
{
    end_load(stage);
    harness_expect_nothing_left(&stage->daemon);
    harness_expect(harness_daemon_stop(&stage->daemon) == 0, "SIGTERM ends the daemon with status 0");
    image_forget(&stage->image);
    trace_free(&stage->trace);
    harness_daemon_remove(&stage->daemon);
}

/* ---------------------------------------------------------------- the scene */

struct gone {
    struct stage *stage;
    pid_t pid;
};

static bool is_gone(void *context)
{
    struct gone *gone = context;
    return !image_has_client(&gone->stage->image, gone->pid);
}

static bool make_step(struct stage *stage, const struct scene_step *step)
{
    struct actor *actor = &stage->actors[step->party];
    if (step->call == party_dies) {
        struct gone gone = { stage, actor->pid };
        stage->cast.members[step->party].dead = true;
        actor_end(actor);
        return harness_wait_until(is_gone, &gone, PATIENCE_NS);
    }
    actor_begin(actor, step->call);
    return actor_answer(actor, party_names[step->party]) >= 0;
}

bool stage_prepare(struct stage *stage, const struct scene *scene)
{
    stage->scene = scene;
    stage->cast.count = PARTY_COUNT;
    for (unsigned i = 0; i < PARTY_COUNT; i++) {
        actor_start(&stage->actors[i], stage->daemon.socket);
        stage->cast.members[i].pid = stage->actors[i].pid;
        stage->cast.members[i].name = party_names[i];
        stage->cast.members[i].dead = false;
    }
    for (unsigned i = 0; i < SCENE_STEPS_MAX && scene->before[i].call; i++)
        if (!make_step(stage, &scene->before[i])) {
            harness_note("%s: step %u of its preparation failed", scene->name, i + 1);
            return false;
        }
    if (scene->waits.call) {
        actor_begin(&stage->actors[scene->waits.party], scene->waits.call);
        harness_sleep_ns(2000000); /* until it sleeps; if it does not yet, it finds what it wanted at once */
    }
    return stage_look(stage);
}

static int records_of(pid_t worker)
{
    char path[40], line[512];
    int listening, records = -1;
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)worker);
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file)
        fclose(file);
    line[length] = '\0';
    for (const char *argument = line; argument < line + length; argument += strlen(argument) + 1)
        if (sscanf(argument, "--worker=%d,%d", &listening, &records) == 2)
            break;
    int pidfd = (int)syscall(SYS_pidfd_open, worker, 0);
    int copy = pidfd >= 0 && records >= 0 ? (int)syscall(SYS_pidfd_getfd, pidfd, records, 0) : -1;
    if (pidfd >= 0)
        close(pidfd);
    return copy;
}

static void kill_party(struct stage *stage, int party)
{
    stage->cast.members[party].dead = true;
    kill(stage->actors[party].pid, SIGKILL); /* reaped when the scene is cleared: its number stays its own */
}

/* Steps the party through its call until one more word says that its slot is sent. */
static bool stop_mid_send(struct stage *stage, struct trace *trace)
{
    const struct scene_step *act = &stage->scene->act;
    struct trace_place place;
    long call;
    unsigned before = image_sent(&stage->image);
    if (!trace_seize(trace, stage->actors[act->party].pid))
        return false;
    actor_begin(&stage->actors[act->party], act->call);
    while (!trace->ended && image_sent(&stage->image) == before)
        if (trace_step(trace, &place, &call, NULL, NULL) == TRACE_SLEEPS || actor_has_answered(&stage->actors[act->party]))
            return false;
    return !trace->ended;
}

/* By which a worker makes its loop, the last before it takes over: it has its board by then. */
static bool makes_loop(long call)
{
    return call == SYS_io_uring_setup || call == SYS_epoll_create1;
}

static bool begin_start(struct stage *stage, pid_t worker)
{
    if (!trace_parent(stage->daemon.keeper))
        return false;
    kill_party(stage, stage->scene->act.party);
    kill(worker, SIGKILL);
    stage->restarts++;
    return trace_child(&stage->trace, stage->daemon.keeper, makes_loop);
}

bool stage_begin(struct stage *stage)
{
    static struct trace sender;
    const struct scene *scene = stage->scene;
    pid_t worker = harness_daemon_worker(&stage->daemon);
    bool begun = worker > 0;
    stage->starts_before = image_worker_starts(&stage->image);
    if (begun && scene->kind == SCENE_START) {
        begun = begin_start(stage, worker);
        worker = stage->trace.pid;
    } else {
        begun = begun && (scene->kind != SCENE_MID_SEND || stop_mid_send(stage, &sender)) && trace_seize(&stage->trace, worker);
    }
    if (stage->records >= 0)
        close(stage->records);
    stage->records = begun ? records_of(worker) : -1;
    if (!begun || stage->records < 0) {
        harness_note("%s: the worker cannot be taken hold of", scene->name);
        return false;
    }
    return true;
}

void stage_act(struct stage *stage)
{
    const struct scene *scene = stage->scene;
    if (scene->kind == SCENE_CALL)
        actor_begin(&stage->actors[scene->act.party], scene->act.call);
    else if (scene->kind != SCENE_START)
        kill_party(stage, scene->act.party);
}

bool stage_is_over(void *context)
{
    struct stage *stage = context;
    const struct scene *scene = stage->scene;
    if (scene->waits.call && !actor_has_answered(&stage->actors[scene->waits.party]))
        return false;
    if (scene->kind == SCENE_CALL)
        return actor_has_answered(&stage->actors[scene->act.party]);
    return !image_has_client(&stage->image, stage->cast.members[scene->act.party].pid) &&
           (scene->kind != SCENE_START || image_worker_starts(&stage->image) > stage->starts_before);
}

struct wanted {
    struct stage *stage;
    const struct summary *expected;
    struct summary *found;
};

static bool is_as_expected(void *context)
{
    struct wanted *wanted = context;
    return judge_now(wanted->stage, wanted->found, NULL) == 0 && (!wanted->expected || wanted->found->hash == wanted->expected->hash);
}

/* Waits until the memory, unrepaired, is right and as expected. */
static bool comes_to_be(struct stage *stage, const char *when, const struct summary *expected, struct summary *found)
{
    struct wanted wanted = { stage, expected, found };
    if (harness_wait_until(is_as_expected, &wanted, PATIENCE_NS))
        return true;
    judge_now(stage, found, when);
    harness_note("%s: it stays at \"%s\"", when, found->text);
    if (expected && expected->hash != found->hash)
        harness_note("%s: and should be \"%s\"", when, expected->text);
    return false;
}

bool stage_finish(struct stage *stage, const char *when, const struct summary *expected, struct summary *found)
{
    const struct scene *scene = stage->scene;
    if (!harness_wait_until(stage_is_over, stage, PATIENCE_NS)) {
        harness_note("%s: what was begun does not end", when);
        return false;
    }
    if (scene->kind == SCENE_CALL && actor_answer(&stage->actors[scene->act.party], when) < 0)
        return false;
    if (scene->waits.call && actor_answer(&stage->actors[scene->waits.party], when) < 0)
        return false;
    if (scene->owes) {
        actor_begin(&stage->actors[scene->act.party], party_asks);
        if (actor_answer(&stage->actors[scene->act.party], when) < 0)
            return false;
    }
    return comes_to_be(stage, when, expected, found);
}

bool stage_go_on(struct stage *stage, const char *when)
{
    const struct scene *scene = stage->scene;
    for (unsigned i = 0; i < SCENE_STEPS_MAX && scene->after[i].call; i++)
        if (!make_step(stage, &scene->after[i])) {
            harness_note("%s: step %u of going on failed", when, i + 1);
            return false;
        }
    return true;
}

bool stage_clear(struct stage *stage, const char *when)
{
    struct summary found;
    for (unsigned i = 0; i < PARTY_COUNT; i++)
        actor_end(&stage->actors[i]);
    stage->cast.count = 0;
    if (comes_to_be(stage, when, &stage->empty, &found))
        return true;
    stage->restarts = RESTARTS_MAX; /* what is left there shall not be in the way of the next */
    return false;
}
