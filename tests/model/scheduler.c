/* SPDX-License-Identifier: MIT
 *
 * The scheduler: which process makes the next access, which one dies before it.
 *
 * Two ways of choosing, by the run's seed. A random walk switches at each access with a fixed chance, higher after a
 * write, where others can see something new. By priorities (Burckhardt and others, "A randomized scheduler with
 * probabilistic guarantees of finding bugs", 2010) the process of highest priority runs until it blocks, and at a few random accesses the one that makes them
 * falls to the lowest: few switches, each of them anywhere, which finds what a walk with many switches does not.
 *
 * Time passes only here. The library's clock, sleeps and system calls are replaced by the simulated ones below.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "model.h"

#define STEP_NS 100
/* A wait that the library itself bounds, rather than its caller, ends before anybody calls a wake-up lost. */
#define BOUNDED_NS 20000000
#define BOUNDED_WAITS_MAX 100u /* of them in a run, or until somebody was ended */
/* One in so many of those ends before anybody else gets on. */
#define IMPATIENCE 4
#define NEVER_NS INT64_MAX

struct world world;
bool model_membarrier_reaches = true;
static jmp_buf run_end;
static void *stacks[PROCESSES_MAX];

uint64_t model_random(uint64_t below)
{
    /* xorshift64* (Vigna 2016) */
    world.random ^= world.random >> 12;
    world.random ^= world.random << 25;
    world.random ^= world.random >> 27;
    return (world.random * UINT64_C(0x2545f4914f6cdd1d) >> 33) % below;
}

void model_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world.failure, sizeof world.failure, format, arguments);
    va_end(arguments);
    world.failed = true;
    if (world.current) {
        world.current = NULL;
        setcontext(&world.scheduler);
    }
    longjmp(run_end, 1);
}

bool model_is_alive(const struct process *process)
{
    return process->state != PROCESS_NONE && process->state != PROCESS_DONE && process->state != PROCESS_DEAD;
}

/* ---------------------------------------------------------------- store buffers
 *
 * Memory holds what everybody sees. While a process runs, its buffered stores lie over it, so that it sees its own; when another
 * runs they are taken off again. */

static void poke(void *address, unsigned bytes, uint64_t value)
{
    if (bytes == 4)
        atomic_store_explicit((np_shm32 *)address, (uint32_t)value, memory_order_relaxed); /* relaxed: there is one thread */
    else
        atomic_store_explicit((np_shm64 *)address, value, memory_order_relaxed);
}

static uint64_t peek(void *address, unsigned bytes)
{
    if (bytes == 4)
        return atomic_load_explicit((np_shm32 *)address, memory_order_relaxed); /* relaxed: there is one thread */
    return atomic_load_explicit((np_shm64 *)address, memory_order_relaxed);
}

static void lay_over(struct process *p)
{
    for (unsigned i = 0; i < p->store_count; i++) {
        p->stores[i].beneath = peek(p->stores[i].address, p->stores[i].bytes);
        poke(p->stores[i].address, p->stores[i].bytes, p->stores[i].value);
    }
}

static void take_off(struct process *p)
{
    for (unsigned i = p->store_count; i-- > 0;)
        poke(p->stores[i].address, p->stores[i].bytes, p->stores[i].beneath);
}

/* The oldest n of a process that does not run become everybody's. */
static void publish_stores(struct process *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        poke(p->stores[i].address, p->stores[i].bytes, p->stores[i].value);
    p->store_count -= n;
    memmove(p->stores, p->stores + n, p->store_count * sizeof *p->stores);
}

static void publish_own_stores(struct process *p, unsigned n)
{
    if (n == 0)
        return;
    take_off(p);
    publish_stores(p, n);
    lay_over(p);
}

static void buffer_access(struct process *p, enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    if (kind == NP_SHM_STORE) {
        if (p->store_count == STORE_BUFFER_MAX)
            publish_own_stores(p, 1);
        void *target = (void *)(uintptr_t)address;
        p->stores[p->store_count++] = (struct buffered_store){ target, value, peek(target, bytes), bytes };
    } else if (kind != NP_SHM_LOAD && !(kind == NP_SHM_FENCE && value != 0)) {
        publish_own_stores(p, p->store_count); /* a locked instruction or a fence; not a compiler's barrier, which has value 1 */
    } else if (p->store_count > 0 && model_random(8) == 0) {
        publish_own_stores(p, 1);
    }
}

/* ---------------------------------------------------------------- choosing */

static bool rung(const struct np_sleep *sleep)
{
    for (unsigned i = 0; i < sleep->count; i++)
        if (atomic_load_explicit(sleep->words[i].word, memory_order_relaxed) != sleep->words[i].seen) /* relaxed: one thread */
            return true;
    return false;
}

static bool is_runnable(struct process *p)
{
    bool ready = p->state == PROCESS_RUNNABLE;
    switch (p->state) {
    case PROCESS_SLEEPING: ready = rung(p->sleep) || world.now_ns >= p->deadline_ns; break;
    case PROCESS_ASKING: ready = !p->question.pending; break;
    case PROCESS_NAPPING: ready = world.now_ns >= p->deadline_ns; break;
    case PROCESS_IDLE: ready = daemon_has_work(); break;
    default: break;
    }
    return ready;
}

static struct process *most_urgent(void)
{
    struct process *best = NULL;
    for (unsigned i = 0; i < world.process_count; i++) {
        struct process *p = &world.processes[i];
        if ((!best || p->priority > best->priority) && is_runnable(p))
            best = p;
    }
    return best;
}

static struct process *choose(void)
{
    if (world.by_priority)
        return most_urgent();
    struct process *ready[PROCESSES_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < world.process_count; i++)
        if (is_runnable(&world.processes[i]))
            ready[n++] = &world.processes[i];
    return n > 0 ? ready[model_random(n)] : NULL;
}

static void to_scheduler(struct process *p)
{
    world.current = NULL;
    swapcontext(&p->context, &world.scheduler);
}

static void maybe_switch(struct process *p)
{
    if (world.by_priority) {
        for (unsigned i = 0; i < world.change_count; i++)
            if (world.changes[i].process == p->index && world.changes[i].access == p->accesses)
                p->priority = world.lowest--;
        if (most_urgent() != p)
            to_scheduler(p);
    } else {
        unsigned chance = p->wrote_last ? (world.switch_one_in + 1) / 2 : world.switch_one_in;
        if (model_random(chance) == 0)
            to_scheduler(p);
    }
}

void model_block(struct process *self, enum process_state state)
{
    publish_own_stores(self, self->store_count); /* the kernel's locks are fences */
    self->state = state;
    if (!is_runnable(self) || model_random(2) == 0)
        to_scheduler(self);
    self->state = PROCESS_RUNNABLE;
}

/* ---------------------------------------------------------------- life and death */

static void enter(void)
{
    struct process *self = world.current;
    if (self->index == 0)
        daemon_body(self);
    else if (self->role == UINT32_MAX)
        drain_body(self);
    else
        world.run.scenario->roles[self->role].body(self);
    oracle_settle(self);
    publish_own_stores(self, self->store_count);
    self->state = PROCESS_DONE;
    self->death_due_step = world.step + model_random(world.death_delay);
    to_scheduler(self);
}

static void set_going(struct process *p)
{
    if (!stacks[p->index])
        stacks[p->index] = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    p->stack = stacks[p->index];
    getcontext(&p->context);
    p->context.uc_stack.ss_sp = p->stack;
    p->context.uc_stack.ss_size = STACK_BYTES;
    p->context.uc_link = NULL;
    makecontext(&p->context, enter, 0);
    p->state = PROCESS_RUNNABLE;
    p->store_count = 0;
    p->cas_address = NULL;
}

struct process *model_spawn(unsigned role, unsigned instance, unsigned respawns, const char *name)
{
    if (world.process_count == PROCESSES_MAX)
        model_fail("the scenario has more than %u processes", PROCESSES_MAX);
    struct process *p = &world.processes[world.process_count];
    memset(p, 0, sizeof *p);
    p->index = world.process_count++;
    p->role = role;
    p->instance = instance;
    p->respawns_left = respawns;
    snprintf(p->name, sizeof p->name, "%s", name);
    p->priority = 100 + (unsigned)model_random(1000);
    for (unsigned i = 0; i < world.run.kill_count && role != UINT32_MAX; i++)
        if (world.run.kills[i].process == p->index && p->index != 0)
            p->kill_at = world.run.kills[i].write;
    set_going(p);
    return p;
}

static void bury(struct process *p)
{
    p->state = PROCESS_DEAD;
    world.killed_any = true;
    if (p->index == 0) {
        world.daemon_starts++;
        daemon_died();
        set_going(p);
        return;
    }
    p->death_due_step = world.step + model_random(world.death_delay);
    if (p->respawns_left > 0 && !world.draining)
        model_spawn(p->role, p->instance, p->respawns_left - 1, p->name);
}

static void die(struct process *p)
{
    if (world.run.trace)
        printf("%6llu %s dies before its write %llu\n", (unsigned long long)world.step, p->name, (unsigned long long)p->writes);
    publish_own_stores(p, p->store_count); /* what has been executed reaches memory, whoever dies */
    bury(p);
    world.current = NULL;
    setcontext(&world.scheduler);
}

static bool is_fatal(struct process *p)
{
    if (world.draining)
        return false;
    if (p->index != 0)
        return p->kill_at != 0 && p->writes == p->kill_at;
    for (unsigned i = 0; i < world.run.kill_count; i++)
        if (world.run.kills[i].process == 0 && world.run.kills[i].write == world.daemon_writes)
            return true;
    return false;
}

/* ---------------------------------------------------------------- the hook */

static void access_hook(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    struct process *p = world.current;
    if (!p)
        return;
    bool shared = address == NULL || is_shared(address), write = kind != NP_SHM_LOAD && kind != NP_SHM_FENCE;
    if (!shared && !is_board(address))
        return; /* an account's row, or another process's own memory */
    oracle_settle(p);
    world.step++;
    world.now_ns += STEP_NS;
    p->accesses++;
    if (write) {
        p->writes++;
        world.daemon_writes += p->index == 0;
        if (is_fatal(p))
            die(p);
    }
    if (world.step > STEPS_MAX)
        model_fail("it does not end: %u accesses", STEPS_MAX);
    if (shared)
        maybe_switch(p);
    if (world.run.trace)
        printf("%6llu %-12s %5llu %-8s %s %llx\n", (unsigned long long)world.step, p->name, (unsigned long long)p->writes,
               name_of_kind(kind), name_of_address(address), (unsigned long long)value);
    if (shared && address)
        oracle_access(p, kind, address, value);
    if (world.run.buffered)
        buffer_access(p, kind, address, bytes, value);
    p->wrote_last = write;
}

static int wait_hook(const struct np_sleep *sleep, int64_t deadline_ns)
{
    struct process *self = world.current;
    oracle_settle(self);
    self->sleep = sleep;
    self->deadline_ns = deadline_ns;
    if (world.run.trace)
        for (unsigned i = 0; i < sleep->count; i++)
            printf("%6llu %s sleeps on %s at %u\n", (unsigned long long)world.step, self->name, name_of_address(sleep->words[i].word),
                   sleep->words[i].seen);
    /* Whatever is between a bounded sleep and what follows it goes on while others are in the middle of theirs: they are slow. */
    if (deadline_ns <= world.now_ns + BOUNDED_NS && model_random(IMPATIENCE) == 0) {
        publish_own_stores(self, self->store_count);
        world.now_ns = deadline_ns > world.now_ns ? deadline_ns : world.now_ns;
        return rung(sleep) ? 0 : -ETIMEDOUT;
    }
    model_block(self, PROCESS_SLEEPING);
    return !rung(sleep) && world.now_ns >= deadline_ns ? -ETIMEDOUT : 0;
}

/* ---------------------------------------------------------------- the system under the library, simulated */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    if (world.running) {
        *now = (struct timespec){ world.now_ns / 1000000000, world.now_ns % 1000000000 };
    } else {
        struct timeval real;
        gettimeofday(&real, NULL);
        *now = (struct timespec){ real.tv_sec, real.tv_usec * 1000 };
    }
    return 0;
}

int nanosleep(const struct timespec *pause, struct timespec *left)
{
    struct process *self = world.current;
    (void)left;
    if (self) {
        self->deadline_ns = world.now_ns + pause->tv_sec * INT64_C(1000000000) + pause->tv_nsec;
        model_block(self, PROCESS_NAPPING);
    }
    return 0;
}

/* membarrier reaches all; a futex's sleepers are looked after above. */
long syscall(long number, ...)
{
    if (number == SYS_futex)
        return 0;
    if (number == SYS_membarrier) {
        for (unsigned i = 0; i < world.process_count && model_membarrier_reaches; i++)
            if (&world.processes[i] != world.current)
                publish_stores(&world.processes[i], world.processes[i].store_count);
        return 0;
    }
    errno = ENOSYS;
    return -1;
}

/* ---------------------------------------------------------------- a run */

static void choose_strategy(uint64_t steps)
{
    static const unsigned one_in[] = { 2, 3, 5, 9, 17, 40 };
    const struct role *roles = world.run.scenario->roles;
    unsigned processes = 0;
    for (unsigned i = 0; i < sizeof world.run.scenario->roles / sizeof *roles; i++)
        processes += roles[i].count;
    world.by_priority = model_random(2) == 0;
    world.switch_one_in = one_in[model_random(sizeof one_in / sizeof one_in[0])];
    world.change_count = (unsigned)model_random(5);
    world.lowest = 99;
    for (unsigned i = 0; i < world.change_count; i++) {
        world.changes[i].process = (unsigned)model_random(processes + 1);
        world.changes[i].access = 1 + model_random(world.changes[i].process == 0 ? steps : 2 * steps / (processes + 1) + 20);
    }
    static const unsigned delays[] = { 1, 20, 200, 1000 };
    world.death_delay = delays[model_random(4)];
}

static void kill_all(void)
{
    world.bounded_waits = 0;
    for (unsigned i = 1; i < world.process_count; i++)
        if (model_is_alive(&world.processes[i])) {
            world.processes[i].respawns_left = 0;
            bury(&world.processes[i]);
            world.processes[i].death_due_step = world.step;
        }
}

/* Nobody can run. True: now somebody can. */
static bool go_on(void)
{
    int64_t next_ns = NEVER_NS;
    bool alive = false, unreaped = false;
    for (unsigned i = 1; i < world.process_count; i++) {
        struct process *p = &world.processes[i];
        if ((p->state == PROCESS_SLEEPING || p->state == PROCESS_NAPPING) && p->deadline_ns < next_ns)
            next_ns = p->deadline_ns;
        alive |= model_is_alive(p);
        if (!model_is_alive(p) && !p->reaped && p->death_due_step > world.step) {
            p->death_due_step = world.step;
            unreaped = true;
        }
    }
    if (unreaped)
        return true;
    if (next_ns <= world.now_ns + BOUNDED_NS && world.bounded_waits++ < BOUNDED_WAITS_MAX) {
        world.now_ns = next_ns;
        return true;
    }
    oracle_quiescent();
    if (next_ns != NEVER_NS && next_ns > world.now_ns + BOUNDED_NS)
        world.now_ns = next_ns;
    else if (alive)
        kill_all(); /* who waits for what will never come */
    else if (!world.draining) {
        world.draining = true;
        model_spawn(UINT32_MAX, 0, 0, "drain");
    } else {
        oracle_end();
        return false;
    }
    return true;
}

static void run_all(void)
{
    for (bool more = true; more;) {
        struct process *p = choose();
        if (!p) {
            more = go_on();
            continue;
        }
        if (world.run.buffered && model_random(4) == 0) {
            struct process *other = &world.processes[model_random(world.process_count)];
            publish_stores(other, other->store_count > 0);
        }
        p->state = PROCESS_RUNNABLE;
        lay_over(p);
        world.current = p;
        swapcontext(&world.scheduler, &p->context);
        if (world.failed)
            return;
        take_off(p);
    }
}

bool model_run(const struct run *run, uint64_t steps)
{
    const struct scenario *scenario = run->scenario;
    world_make(scenario);
    world.run = *run;
    world.random = (run->seed + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (unsigned i = 0; i < 8; i++)
        model_random(2);
    choose_strategy(steps);
    oracle_start();
    np_shm_hook = access_hook;
    np_sleep_hook = wait_hook;
    world.running = true;
    if (setjmp(run_end) == 0) {
        model_spawn(0, 0, 0, "daemon");
        for (unsigned role = 0; role < sizeof scenario->roles / sizeof scenario->roles[0]; role++)
            for (unsigned i = 0; i < scenario->roles[role].count; i++) {
                char name[24];
                snprintf(name, sizeof name, "%.12s%u", scenario->roles[role].name, i);
                model_spawn(role, i, scenario->roles[role].respawns, name);
            }
        run_all();
    }
    world.current = NULL;
    world.running = false;
    np_shm_hook = NULL;
    world_unmake();
    return !world.failed;
}
