/* SPDX-License-Identifier: MIT
 *
 * ptrace. The stepped process is a fork of the tracer, so all code lies at the same addresses in both, and the tracer need not
 * read the other's memory to know what it is going to execute.
 *
 * To come to the k-th instruction of a path that was stepped before, a breakpoint is set where it, or one shortly before it, is: thousands
 * of steps would take longer than all the rest of a trial.
 */
#include "step_trace.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS INT64_C(20000000000)

/* relaxed everywhere: a system call lies between who writes and who reads */
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

#if defined(__x86_64__)
#define BREAKPOINT_BYTES 1u
#define MARK(name) __asm__ volatile(".globl " name "\n" name ": int3" ::: "memory")
static uint64_t get_address(pid_t thread)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, thread, (void *)offsetof(struct user_regs_struct, rip), NULL);
}
static void set_address(pid_t thread, uint64_t address)
{
    ptrace(PTRACE_POKEUSER, thread, (void *)offsetof(struct user_regs_struct, rip), (void *)address);
}
static unsigned long with_breakpoint(unsigned long text)
{
    return (text & ~0xfful) | 0xcc;
}
bool step_is_system_call(uint64_t address)
{
    const unsigned char *code = (const unsigned char *)(uintptr_t)address;
    return code[0] == 0x0f && code[1] == 0x05;
}
unsigned step_repeats(uint64_t address)
{
    const unsigned char *code = (const unsigned char *)(uintptr_t)address;
    const unsigned at = code[1] == 0x48 ? 2 : 1; /* a prefix for eight bytes at once */
    const bool is_string = code[at] == 0xa4 || code[at] == 0xa5 || code[at] == 0xaa || code[at] == 0xab;
    return code[0] == 0xf3 && is_string ? at + 1 : 0;
}
#else /* the program says NOT RUN and comes nowhere near these */
#define BREAKPOINT_BYTES 0u
#define MARK(name) __asm__ volatile(".globl " name "\n" name ":" ::: "memory")
static uint64_t get_address(pid_t thread)
{
    return (uint64_t)thread;
}
static void set_address(pid_t thread, uint64_t address)
{
    (void)thread, (void)address;
}
static unsigned long with_breakpoint(unsigned long text)
{
    return text;
}
bool step_is_system_call(uint64_t address)
{
    return address == 0;
}
unsigned step_repeats(uint64_t address)
{
    return address == 0;
}
#endif

extern const char step_mark_end[];

#ifdef NUMAPOOL_HOOKS
enum np_mutant step_mutant_of_stepped;
#endif

struct step_stage *step_stage_new(void)
{
    struct step_stage *stage = mmap(NULL, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (stage == MAP_FAILED) {
        perror("the stage");
        exit(2);
    }
    return stage;
}

/* ---------------------------------------------------------------- in the stepped process */

struct performance {
    const struct step_operation *operation;
    struct step_actor actor;
    struct step_stage *stage;
    int ready;
};

__attribute__((noinline)) static void mark_begin(void)
{
    MARK("step_mark_begin");
}

__attribute__((noinline)) static void mark_end(void)
{
    MARK("step_mark_end");
}

static void thread_ends(void *argument)
{
    (void)argument;
    mark_end();
}

/* One that comes after the library's own key, whose destructor is to be stepped. */
static void mark_end_of_thread(void)
{
    static pthread_key_t key;
    if (pthread_key_create(&key, thread_ends) != 0 || pthread_setspecific(key, &key) != 0)
        _exit(1);
}

static void present(const struct performance *performance)
{
    struct step_stage *stage = performance->stage;
    SET(stage->client, performance->actor.client ? numapool_client_id(performance->actor.client) : 0);
    SET(stage->thread, (int32_t)syscall(SYS_gettid));
    SET(stage->victim, getpid());
    if (write(performance->ready, "", 1) != 1)
        _exit(1);
    while (!GET(stage->is_traced))
        sched_yield();
    mark_begin();
}

static void *perform(void *context)
{
    struct performance *performance = context;
    const struct step_operation *operation = performance->operation;
    if (operation->prepare(&performance->actor) != 0)
        _exit(1);
    if (operation->flags & STEP_FORKED) {
        pid_t parent = getpid(), child = fork();
        if (child != 0)
            for (;;)
                pause();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    if (operation->flags & STEP_THREAD)
        mark_end_of_thread();
#ifdef NUMAPOOL_HOOKS
    np_mutant_now = step_mutant_of_stepped;
#endif
    present(performance);
    SET(performance->stage->result, operation->run(&performance->actor));
    if (!(operation->flags & STEP_THREAD))
        mark_end();
    return NULL;
}

static int stepped_process(void *context)
{
    struct performance *performance = context;
    pthread_t thread;
    if (performance->operation->flags & STEP_THREAD) {
        if (pthread_create(&thread, NULL, perform, performance) != 0)
            return 1;
        pthread_join(thread, NULL);
    } else {
        perform(performance);
    }
    return 1; /* the tracer kills it before */
}

/* ---------------------------------------------------------------- stops */

/* What a stop is. Signals other than steps and marks go on to the process. */
static bool is_stop(struct step_traced *traced, int status, enum step_stop *stop)
{
    if (!WIFSTOPPED(status)) {
        traced->has_ended = true;
        *stop = STEP_ENDED;
        return true;
    }
    if (WSTOPSIG(status) == SIGTRAP && status >> 16 == 0) {
        const uint64_t address = get_address(traced->thread);
        const uint64_t end = (uint64_t)(uintptr_t)step_mark_end;
        *stop = address == end || address == end + 1 ? STEP_AT_END : STEP_STOPPED;
        return true;
    }
    return false;
}

/* Whether the thread is asleep in a call that ends only when somebody wakes it: futex, futex_waitv, poll, epoll_wait, ... */
static bool is_asleep(pid_t thread)
{
    char path[48], text[64];
    if (harness_process_state(thread) != 'S')
        return false;
    snprintf(path, sizeof path, "/proc/%d/syscall", (int)thread);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    bool is_read = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    return is_read && (strncmp(text, "202 ", 4) == 0 || strncmp(text, "449 ", 4) == 0);
}

static enum step_stop wait_for_stop(struct step_traced *traced, int how)
{
    const int64_t until_ns = harness_now_ns() + PATIENCE_NS;
    for (unsigned looks = 0;; looks++) {
        enum step_stop stop;
        int status;
        pid_t waited = waitpid(traced->thread, &status, __WALL | (traced->asleep ? WNOHANG : 0));
        if (waited < 0 && errno != EINTR) {
            traced->has_ended = true;
            return STEP_ENDED;
        }
        if (waited == traced->thread) {
            if (is_stop(traced, status, &stop))
                return stop;
            ptrace(how, traced->thread, NULL, (void *)(uintptr_t)(status >> 16 == 0 ? WSTOPSIG(status) : 0));
            continue;
        }
        if (looks % 8 == 7 && !traced->was_asleep && is_asleep(traced->thread)) {
            traced->was_asleep = true;
            if (!traced->asleep(traced->context))
                return STEP_ASLEEP;
        }
        if (looks > 100) {
            if (harness_now_ns() > until_ns)
                return STEP_LOST;
            harness_sleep_ns(20000);
        }
        sched_yield();
    }
}

/* ---------------------------------------------------------------- stepping */

bool step_begin(struct step_traced *traced, const struct step_operation *operation, const struct step_actor *actor, struct step_stage *stage)
{
    int ends[2];
    char byte;
    traced->stage = stage;
    traced->has_ended = traced->was_asleep = false;
    memset(stage, 0, sizeof *stage);
    if (pipe(ends) < 0)
        return false;
    struct performance performance = { operation, *actor, stage, ends[1] };
    traced->child = harness_fork(stepped_process, &performance);
    close(ends[1]);
    bool is_ready = read(ends[0], &byte, 1) == 1;
    close(ends[0]);
    if (!is_ready) { /* prepare has failed, or was killed */
        harness_kill(traced->child);
        traced->child = 0;
        traced->has_ended = true;
        return false;
    }
    traced->victim = GET(stage->victim);
    traced->thread = GET(stage->thread);
    if (ptrace(PTRACE_SEIZE, traced->thread, NULL, (void *)PTRACE_O_EXITKILL) < 0) {
        perror("PTRACE_SEIZE");
        return false;
    }
    SET(stage->is_traced, 1);
    return wait_for_stop(traced, PTRACE_CONT) == STEP_STOPPED;
}

uint64_t step_address(const struct step_traced *traced)
{
    return get_address(traced->thread);
}

enum step_stop step_once(struct step_traced *traced)
{
    if (ptrace(PTRACE_SINGLESTEP, traced->thread, NULL, NULL) < 0)
        return STEP_LOST;
    return wait_for_stop(traced, PTRACE_SINGLESTEP);
}

enum step_stop step_to(struct step_traced *traced, uint64_t address, uint64_t passed)
{
    pid_t thread = traced->thread;
    errno = 0;
    unsigned long text = (unsigned long)ptrace(PTRACE_PEEKTEXT, thread, (void *)address, NULL);
    if (errno != 0)
        return STEP_LOST;
    for (uint64_t i = 0;; i++) {
        if (get_address(thread) == address) {
            if (i == passed)
                return STEP_STOPPED;
        } else {
            if (ptrace(PTRACE_POKETEXT, thread, (void *)address, (void *)with_breakpoint(text)) < 0 ||
                ptrace(PTRACE_CONT, thread, NULL, NULL) < 0)
                return STEP_LOST;
            enum step_stop stop = wait_for_stop(traced, PTRACE_CONT);
            if (stop == STEP_ENDED)
                return stop;
            ptrace(PTRACE_POKETEXT, thread, (void *)address, (void *)text);
            if (stop != STEP_STOPPED || get_address(thread) != address + BREAKPOINT_BYTES)
                return stop == STEP_STOPPED ? STEP_LOST : stop;
            set_address(thread, address);
            if (i == passed)
                return STEP_STOPPED;
        }
        enum step_stop stop = step_once(traced);
        if (stop != STEP_STOPPED)
            return stop;
    }
}

enum step_stop step_on(struct step_traced *traced)
{
    if (ptrace(PTRACE_CONT, traced->thread, NULL, NULL) < 0)
        return STEP_LOST;
    return wait_for_stop(traced, PTRACE_CONT);
}

/* ---------------------------------------------------------------- ending */

void step_kill(struct step_traced *traced)
{
    int status;
    if (!traced->has_ended && traced->victim > 0) { /* 0 would be all of us */
        kill(traced->victim, SIGKILL);
        while (waitpid(traced->thread, &status, __WALL) == traced->thread && WIFSTOPPED(status))
            ptrace(PTRACE_CONT, traced->thread, NULL, NULL);
        traced->has_ended = true;
    }
    if (traced->child > 0 && traced->victim == traced->child && traced->thread != traced->child)
        waitpid(traced->child, NULL, 0); /* the thread was waited for, the process was not */
}

void step_end(struct step_traced *traced)
{
    if (traced->child > 0 && traced->victim != traced->child) {
        kill(traced->child, SIGKILL);
        waitpid(traced->child, NULL, 0);
    }
    traced->child = 0;
}
