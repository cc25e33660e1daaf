/* SPDX-License-Identifier: MIT
 *
 * A process of the daemon under ptrace: taken hold of while it runs, stepped instruction by instruction, or let run to a place that
 * an earlier trace has passed, and killed there.
 *
 * A place is an instruction by its file and its offset there, which is the same in the next worker, wherever that is loaded, and how
 * often it has been executed since the trace began.
 */
#ifndef NUMAPOOL_TESTS_CRASH_WORKER_TRACE_H
#define NUMAPOOL_TESTS_CRASH_WORKER_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { TRACE_MODULES_MAX = 64, TRACE_PLACES_MAX = 1 << 15, TRACE_CODE_BYTES = 4096 };

struct trace_place {
    uint64_t file; /* hash of its path */
    uint64_t offset;
    uint32_t nth; /* 1 and up */
};

struct trace {
    pid_t pid;
    bool ended;
    long in_call; /* the system call in which it was stopped; -1: in none */
    struct trace_module { uint64_t from, to, offset, file; } modules[TRACE_MODULES_MAX];
    unsigned module_count;
    struct trace_count { uint64_t file, offset; uint32_t count; } *counts; /* open addressing, by place */
    uint64_t base; /* where the program is loaded */
    uint64_t code_at; /* page of the worker's code that is in `code`; 0: none */
    uint8_t code[TRACE_CODE_BYTES];
    uint64_t steps, calls;
    uint64_t skipped; /* address of a function that is run through at once, as one step; 0: none */
};

enum trace_stop {
    TRACE_STEPPED, /* one instruction was executed that is no system call */
    TRACE_CALLED,  /* one that is; `call` says which */
    TRACE_SLEEPS,  /* it is in a system call, and over(context) said that nothing more is expected: it is stopped in it */
    TRACE_ENDED    /* the process has ended */
};

/* Takes hold of it: it is stopped. False, with a note: it cannot be traced. */
bool trace_seize(struct trace *trace, pid_t pid);
/* Takes hold of the next child that `parent` forks, once it has made a system call that is_wanted. The caller makes the
 * parent fork between the two. */
bool trace_parent(pid_t parent);
bool trace_child(struct trace *trace, pid_t parent, bool (*is_wanted)(long call));
/* One instruction. *place: which it was. *call: its number, before it is made, for a system call. */
enum trace_stop trace_step(struct trace *trace, struct trace_place *place, long *call, bool (*over)(void *context), void *context);
/* Calls of this function of the program are run through at once. Nothing happens where the program has no symbols. */
void trace_skip(struct trace *trace, const char *function);
/* The number of the system call that the next instruction is; -1: it is none. */
long trace_next_call(struct trace *trace);
/* Runs until the place has been executed, at most timeout_ns, or over(context) says that it will not be. Whether it was: it is
 * stopped then. */
bool trace_run_to(struct trace *trace, const struct trace_place *place, bool (*over)(void *context), void *context,
                  int64_t timeout_ns);
/* Lets go of it: it runs on. */
void trace_release(struct trace *trace);
/* SIGKILL, wherever it is. Returns when it is dead and, being another's child, nobody's to wait for but its parent's. */
void trace_kill(struct trace *trace);
void trace_free(struct trace *trace);

#endif
