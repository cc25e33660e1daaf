/* SPDX-License-Identifier: MIT */
#include "step_program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HANDS = 2 };

static const struct step_group *const groups[] = { &step_pool_group, &step_put_group, &step_nodes_group, &step_attach_group, &step_send_group,
                                                   &step_wait_group, &step_receive_group, &step_forward_group, &step_small_group,
                                                   &step_broadcast_group, &step_service_group, &step_ends_group, &step_meet_group };

const char *step_option(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return NULL;
}

bool step_has_option(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return false;
}

unsigned step_choose(struct step_program *program, const char *name, const struct step_plan *plan, unsigned row)
{
    unsigned before = program->count;
    for (unsigned g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (unsigned i = 0; i < groups[g]->count; i++) {
            const struct step_operation *operation = &groups[g]->operations[i];
            if (name && strcmp(name, operation->name) != 0 && strcmp(name, groups[g]->name) != 0)
                continue;
            if (program->count == STEP_TASKS_MAX) {
                fprintf(stderr, "more tasks than %d\n", STEP_TASKS_MAX);
                exit(2);
            }
            program->tasks[program->count++] = (struct step_task){ operation, *plan, row };
        }
    return program->count - before;
}

void step_sort(struct step_program *program)
{
    for (unsigned i = 1; i < program->count; i++) {
        const struct step_task task = program->tasks[i];
        unsigned at = i;
        for (unsigned before = i; before > 0; before--)
            if (strcmp(program->tasks[before - 1].operation->pool_options, task.operation->pool_options) == 0) {
                at = before;
                break;
            }
        memmove(&program->tasks[at + 1], &program->tasks[at], (i - at) * sizeof task);
        program->tasks[at] = task;
    }
}

static uint64_t hash_of(const char *name)
{
    uint64_t hash = 1;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return hash << 1;
}

static int work(void *context)
{
    struct step_program *program = context;
    struct step_hand *hand = NULL;
    for (;;) {
        unsigned i = atomic_fetch_add_explicit(program->next, 1, memory_order_relaxed); /* relaxed, here and below: only who does what */
        if (i >= program->count)
            break;
        struct step_task *task = &program->tasks[i];
        if (task->row > 0 && atomic_load_explicit(&program->found[task->row], memory_order_relaxed))
            continue;
        if (!hand)
            hand = step_hand_new(i);
        task->plan.seed = harness_seed() ^ hash_of(task->operation->name); /* the same whatever else is chosen */
        step_operate(hand, task->operation, &task->plan, &program->results[i]);
        if (task->row > 0 && program->results[i].failures > 0)
            atomic_store_explicit(&program->found[task->row], true, memory_order_relaxed);
    }
    if (hand)
        step_hand_end(hand);
    return 0;
}

static void *shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("memory for results");
        exit(2);
    }
    return memory;
}

bool step_run(struct step_program *program)
{
    pid_t hands[HANDS];
    bool all_came = true;
    program->results = shared(STEP_TASKS_MAX * sizeof *program->results);
    program->next = shared(sizeof *program->next);
    program->found = shared(STEP_ROWS_MAX * sizeof *program->found);
    for (unsigned i = 0; i < HANDS; i++)
        hands[i] = harness_fork(work, program);
    for (unsigned i = 0; i < HANDS; i++)
        all_came = harness_join(hands[i], INT64_C(900000000000)) == 0 && all_came;
    return all_came;
}
