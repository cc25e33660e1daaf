/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "worker_trace.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define SLEEP_NS    INT64_C(20000)
#define PATIENCE_NS INT64_C(20000000000)

enum { YIELDS = 20 };

#define OPTIONS ((void *)(uintptr_t)(PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE))

static const uint64_t everything = UINT64_C(1); /* of debug register 7: the first breakpoint counts, for this thread */

/* ---------------------------------------------------------------- places */

static uint64_t hash_of(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return hash;
}

static bool load_modules(struct trace *trace)
{
    char path[40], line[4352];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)trace->pid);
    FILE *maps = fopen(path, "r");
    trace->module_count = 0;
    trace->code_at = trace->base = 0;
    while (maps && fgets(line, sizeof line, maps) && trace->module_count < TRACE_MODULES_MAX) {
        struct trace_module *module = &trace->modules[trace->module_count];
        char mode[8], file[4096] = "";
        unsigned long from, to, offset;
        if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %4095s", &from, &to, mode, &offset, file) < 4)
            continue;
        if (trace->base == 0)
            trace->base = from; /* the program itself is the first */
        if (mode[2] != 'x')
            continue;
        *module = (struct trace_module){ from, to, offset, hash_of(file) };
        trace->module_count++;
    }
    if (maps)
        fclose(maps);
    return trace->module_count > 0;
}

static const struct trace_module *module_at(const struct trace *trace, uint64_t address)
{
    for (unsigned i = 0; i < trace->module_count; i++)
        if (address >= trace->modules[i].from && address < trace->modules[i].to)
            return &trace->modules[i];
    return NULL;
}

static struct trace_count *count_of(struct trace *trace, uint64_t file, uint64_t offset)
{
    size_t at = (size_t)((file ^ offset) * UINT64_C(0x9e3779b97f4a7c15) >> 40) % TRACE_PLACES_MAX;
    for (unsigned tries = 0; tries < TRACE_PLACES_MAX; tries++, at = (at + 1) % TRACE_PLACES_MAX) {
        struct trace_count *count = &trace->counts[at];
        if (count->count == 0)
            *count = (struct trace_count){ file, offset, 0 };
        if (count->file == file && count->offset == offset)
            return count;
    }
    fprintf(stderr, "more than %d places in one trace\n", TRACE_PLACES_MAX);
    exit(2);
}

static uint64_t address_of(const struct trace *trace, const struct trace_place *place)
{
    for (unsigned i = 0; i < trace->module_count; i++) {
        const struct trace_module *module = &trace->modules[i];
        if (module->file == place->file && place->offset >= module->offset &&
            place->offset - module->offset < module->to - module->from)
            return module->from + (place->offset - module->offset);
    }
    return 0;
}

/* ---------------------------------------------------------------- stopping */

static uint64_t instruction(const struct trace *trace)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, trace->pid, (void *)offsetof(struct user, regs.rip), NULL);
}

/* A thread that the worker has made runs on by itself. */
static void let_thread_run(pid_t pid)
{
    unsigned long thread = 0;
    int status;
    if (ptrace(PTRACE_GETEVENTMSG, pid, NULL, &thread) == 0 && waitpid((pid_t)thread, &status, __WALL) == (pid_t)thread)
        ptrace(PTRACE_DETACH, (pid_t)thread, NULL, NULL);
}

static bool is_event(int status, int event)
{
    return status >> 8 == (SIGTRAP | event << 8);
}

/* What a stop was. A signal for the process itself is given to it by the next resumption. */
static bool take_stop(struct trace *trace, int status, int *signal)
{
    *signal = 0;
    if (!WIFSTOPPED(status)) {
        trace->ended = true;
        return false;
    }
    if (is_event(status, PTRACE_EVENT_CLONE))
        let_thread_run(trace->pid);
    else if (status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP)
        *signal = WSTOPSIG(status);
    return true;
}

/* Waits for a stop; where the process may sleep, until over(context). False: it was over, and has been stopped where it sleeps. */
static bool wait_for_stop(struct trace *trace, int *signal, bool may_sleep, bool (*over)(void *context), void *context)
{
    int status;
    if (!may_sleep) {
        if (waitpid(trace->pid, &status, __WALL) != trace->pid)
            trace->ended = true;
        else
            take_stop(trace, status, signal);
        return true;
    }
    int64_t until_ns = harness_now_ns() + PATIENCE_NS;
    bool was_over = false, interrupted = false;
    for (unsigned tries = 0;;) {
        pid_t got = waitpid(trace->pid, &status, __WALL | WNOHANG);
        if (got == trace->pid) {
            take_stop(trace, status, signal);
            return trace->ended || !(interrupted && status >> 16 == PTRACE_EVENT_STOP);
        }
        if (got < 0) {
            trace->ended = true;
            return true;
        }
        /* over must have been true for a while: what came just before it may be on its way to the process */
        if (!interrupted && was_over && harness_process_state(trace->pid) == 'S')
            interrupted = ptrace(PTRACE_INTERRUPT, trace->pid, NULL, NULL) == 0;
        if (tries++ < YIELDS) { /* most calls return at once */
            sched_yield();
            continue;
        }
        was_over = harness_now_ns() > until_ns || (over && over(context));
        harness_sleep_ns(SLEEP_NS);
    }
}

static bool begin(struct trace *trace)
{
    if (!trace->counts)
        trace->counts = calloc(TRACE_PLACES_MAX, sizeof *trace->counts);
    if (!trace->counts || !load_modules(trace)) {
        harness_note("nothing is known of where process %d is loaded", (int)trace->pid);
        return false;
    }
    memset(trace->counts, 0, TRACE_PLACES_MAX * sizeof *trace->counts);
    trace->steps = trace->calls = 0;
    trace->ended = false;
    trace->in_call = -1;
    return true;
}

bool trace_seize(struct trace *trace, pid_t pid)
{
    int status;
    trace->pid = pid;
    if (ptrace(PTRACE_SEIZE, pid, NULL, OPTIONS) != 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0 ||
        waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) {
        harness_note("process %d cannot be traced: %s", (int)pid, strerror(errno));
        return false;
    }
    if (!begin(trace))
        return false;
    /* one that was in a system call goes back into it by its next step */
    trace->in_call = ptrace(PTRACE_PEEKUSER, pid, (void *)offsetof(struct user, regs.orig_rax), NULL);
    return true;
}

bool trace_parent(pid_t parent)
{
    int status;
    void *options = (void *)(uintptr_t)(PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK);
    if (ptrace(PTRACE_SEIZE, parent, NULL, options) == 0 && ptrace(PTRACE_INTERRUPT, parent, NULL, NULL) == 0 &&
        waitpid(parent, &status, __WALL) == parent && ptrace(PTRACE_CONT, parent, NULL, NULL) == 0)
        return true;
    harness_note("process %d cannot be traced: %s", (int)parent, strerror(errno));
    return false;
}

/* Runs the child from one stop to the next until it has returned from that system call. */
static bool run_to_call(struct trace *trace, bool (*is_wanted)(long call))
{
    int status, signal = 0;
    struct user_regs_struct registers;
    if (waitpid(trace->pid, &status, __WALL) != trace->pid || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, trace->pid, NULL,
               (void *)(uintptr_t)(PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACESYSGOOD)) != 0)
        return false;
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, trace->pid, NULL, (void *)(uintptr_t)(unsigned)signal) != 0 ||
            waitpid(trace->pid, &status, __WALL) != trace->pid || !WIFSTOPPED(status))
            return false;
        signal = 0;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
            if (ptrace(PTRACE_GETREGS, trace->pid, NULL, &registers) == 0 && is_wanted((long)registers.orig_rax) &&
                (long)registers.rax != -ENOSYS) /* at its entry */
                return true;
        } else if (status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP) {
            signal = WSTOPSIG(status);
        }
    }
}

bool trace_child(struct trace *trace, pid_t parent, bool (*is_wanted)(long call))
{
    unsigned long child = 0;
    int status;
    for (;;) {
        if (waitpid(parent, &status, __WALL) != parent || !WIFSTOPPED(status))
            return false;
        if (is_event(status, PTRACE_EVENT_FORK))
            break;
        int signal = status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP ? WSTOPSIG(status) : 0;
        ptrace(PTRACE_CONT, parent, NULL, (void *)(uintptr_t)(unsigned)signal);
    }
    if (ptrace(PTRACE_GETEVENTMSG, parent, NULL, &child) != 0)
        return false;
    trace->pid = (pid_t)child;
    ptrace(PTRACE_DETACH, parent, NULL, NULL);
    return run_to_call(trace, is_wanted) && begin(trace);
}

/* ---------------------------------------------------------------- going on */

long trace_next_call(struct trace *trace)
{
    uint64_t address = instruction(trace), page = address / TRACE_CODE_BYTES * TRACE_CODE_BYTES;
    uint8_t bytes[2];
    if (page != trace->code_at) {
        struct iovec to = { trace->code, TRACE_CODE_BYTES }, from = { (void *)(uintptr_t)page, TRACE_CODE_BYTES };
        trace->code_at = process_vm_readv(trace->pid, &to, 1, &from, 1, 0) == TRACE_CODE_BYTES ? page : 0;
    }
    if (trace->code_at == 0 || address + 1 - page >= TRACE_CODE_BYTES)
        return -1;
    memcpy(bytes, trace->code + (address - page), 2);
    bool is_call = bytes[0] == 0x0f && bytes[1] == 0x05;
    return is_call ? ptrace(PTRACE_PEEKUSER, trace->pid, (void *)offsetof(struct user, regs.rax), NULL) : -1;
}

/* ---------------------------------------------------------------- functions that are run through */

/* The function's address in a file that is not relocated, by its table of symbols; 0: it has none, or not this one. */
static uint64_t symbol_in(const uint8_t *file, size_t bytes, const char *name)
{
    const Elf64_Ehdr *header = (const void *)file;
    if (bytes < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_shoff + (uint64_t)header->e_shnum * sizeof(Elf64_Shdr) > bytes)
        return 0;
    const Elf64_Shdr *sections = (const void *)(file + header->e_shoff);
    for (unsigned i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB || sections[i].sh_link >= header->e_shnum)
            continue;
        const Elf64_Sym *symbols = (const void *)(file + sections[i].sh_offset);
        const char *names = (const char *)file + sections[sections[i].sh_link].sh_offset;
        for (uint64_t s = 0; s < sections[i].sh_size / sizeof *symbols; s++)
            if (ELF64_ST_TYPE(symbols[s].st_info) == STT_FUNC && strcmp(names + symbols[s].st_name, name) == 0)
                return symbols[s].st_value;
    }
    return 0;
}

void trace_skip(struct trace *trace, const char *function)
{
    char path[40];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%d/exe", (int)trace->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *file = fd >= 0 && fstat(fd, &status) == 0 ? mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (fd >= 0)
        close(fd);
    trace->skipped = 0;
    if (file == MAP_FAILED)
        return;
    uint64_t address = symbol_in(file, (size_t)status.st_size, function);
    bool moves = ((const Elf64_Ehdr *)file)->e_type == ET_DYN;
    munmap(file, (size_t)status.st_size);
    if (address != 0)
        trace->skipped = moves ? trace->base + address : address;
}

static bool set_breakpoint(const struct trace *trace, uint64_t address)
{
    return ptrace(PTRACE_POKEUSER, trace->pid, (void *)offsetof(struct user, u_debugreg[0]), (void *)(uintptr_t)address) == 0 &&
           ptrace(PTRACE_POKEUSER, trace->pid, (void *)offsetof(struct user, u_debugreg[7]),
                  (void *)(uintptr_t)(address ? everything : 0)) == 0;
}

/* Runs until it is about to execute the instruction there for the nth time from now on. */
static bool run_to_address(struct trace *trace, uint64_t address, uint32_t wanted, bool (*over)(void *context), void *context,
                           int64_t timeout_ns)
{
    int64_t begun_ns = harness_now_ns();
    int signal = 0;
    uint32_t nth = 0;
    if (!set_breakpoint(trace, address))
        return false;
    while (nth < wanted && harness_now_ns() - begun_ns < timeout_ns) {
        if (ptrace(PTRACE_CONT, trace->pid, NULL, (void *)(uintptr_t)(unsigned)signal) != 0 ||
            !wait_for_stop(trace, &signal, true, over, context) || trace->ended)
            break;
        nth += instruction(trace) == address;
    }
    if (!trace->ended)
        set_breakpoint(trace, 0);
    return nth == wanted;
}

enum trace_stop trace_step(struct trace *trace, struct trace_place *place, long *call, bool (*over)(void *context), void *context)
{
    uint64_t address = instruction(trace);
    const struct trace_module *module = module_at(trace, address);
    int signal = 0;
    *call = trace->in_call >= 0 ? trace->in_call : trace_next_call(trace);
    trace->in_call = -1;
    *place = (struct trace_place){ 0 };
    if (module) {
        uint64_t offset = address - module->from + module->offset;
        *place = (struct trace_place){ module->file, offset, ++count_of(trace, module->file, offset)->count };
    }
    trace->steps++;
    trace->calls += *call >= 0;
    if (address == trace->skipped && address != 0) {
        uint64_t back = (uint64_t)ptrace(PTRACE_PEEKDATA, trace->pid,
                                         (void *)ptrace(PTRACE_PEEKUSER, trace->pid, (void *)offsetof(struct user, regs.rsp), NULL), NULL);
        run_to_address(trace, back, 1, NULL, NULL, INT64_MAX);
        return trace->ended ? TRACE_ENDED : TRACE_STEPPED;
    }
    do {
        if (ptrace(PTRACE_SINGLESTEP, trace->pid, NULL, (void *)(uintptr_t)(unsigned)signal) != 0) {
            trace->ended = true;
            return TRACE_ENDED;
        }
        if (!wait_for_stop(trace, &signal, *call >= 0, over, context))
            return TRACE_SLEEPS;
    } while (!trace->ended && signal != 0);
    return trace->ended ? TRACE_ENDED : *call >= 0 ? TRACE_CALLED : TRACE_STEPPED;
}

bool trace_run_to(struct trace *trace, const struct trace_place *place, bool (*over)(void *context), void *context,
                  int64_t timeout_ns)
{
    uint64_t address = address_of(trace, place);
    struct trace_place ignored;
    long call;
    if (address == 0)
        return false;
    uint32_t already = instruction(trace) == address && trace->in_call < 0;
    trace->in_call = -1;
    if (place->nth > already && !run_to_address(trace, address, place->nth - already, over, context, timeout_ns))
        return false;
    if (!trace->ended)
        trace_step(trace, &ignored, &call, over, context); /* executed, and not only reached */
    return true;
}

/* The trap of a step that a stop of another kind came before is still to come, and would kill who is let go. */
static bool has_trap_pending(pid_t pid)
{
    char path[40], line[128];
    unsigned long long pending = 0, one;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "SigPnd: %llx", &one) == 1 || sscanf(line, "ShdPnd: %llx", &one) == 1)
            pending |= one;
    if (file)
        fclose(file);
    return pending >> (SIGTRAP - 1) & 1;
}

void trace_release(struct trace *trace)
{
    int status;
    while (!trace->ended && has_trap_pending(trace->pid))
        if (ptrace(PTRACE_CONT, trace->pid, NULL, NULL) != 0 || waitpid(trace->pid, &status, __WALL) != trace->pid || !WIFSTOPPED(status))
            trace->ended = true;
    if (!trace->ended)
        ptrace(PTRACE_DETACH, trace->pid, NULL, NULL);
    trace->ended = true;
}

void trace_kill(struct trace *trace)
{
    int status;
    kill(trace->pid, SIGKILL);
    while (!trace->ended && waitpid(trace->pid, &status, __WALL) == trace->pid && WIFSTOPPED(status))
        continue;
    trace->ended = true;
}

void trace_free(struct trace *trace)
{
    free(trace->counts);
    trace->counts = NULL;
}
