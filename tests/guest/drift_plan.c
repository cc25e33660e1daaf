/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "drift.h"

enum { ROUNDS = 20 };

static void *share(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return memory;
}

static void begin_barrier(pthread_barrier_t *barrier, unsigned count)
{
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(barrier, &attributes, count);
    pthread_barrierattr_destroy(&attributes);
}

struct drift_plan *drift_plan_make(unsigned processes, unsigned steps)
{
    struct drift_plan *plan = share(sizeof *plan);
    machine_read(&plan->machine);
    const unsigned nodes = plan->machine.node_count;
    plan->processes = processes;
    plan->threads = plan->machine.cpu_count + 2 < DRIFT_THREADS_MAX ? plan->machine.cpu_count + 2 : DRIFT_THREADS_MAX;
    plan->rounds = ROUNDS;
    plan->steps = harness_scaled(steps, 200);
    plan->seed = harness_seed();
    plan->claims = share(look_claims_bytes(nodes, DRIFT_SLOTS_A_NODE));
    look_claims_begin(plan->claims, nodes, DRIFT_SLOTS_A_NODE);
    begin_barrier(&plan->stopped, processes * (plan->threads + 1));
    begin_barrier(&plan->judged, processes * (plan->threads + 1));
    begin_barrier(&plan->inspected, processes);
    return plan;
}

uint64_t drift_told(const _Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed); /* relaxed: all who wrote it have ended */
}

void drift_tell_run(const struct drift_plan *plan, const char *run)
{
    harness_note("figures: %s: %llu gets and %llu puts by %u threads of %u processes on %u nodes, %llu slots handed to "
                 "other threads, "
                 "%llu messages (%llu kept), %llu moves of threads",
                 run, (unsigned long long)drift_told(&plan->done.gets),
                 (unsigned long long)drift_told(&plan->done.puts), plan->threads * plan->processes, plan->processes,
                 plan->machine.node_count, (unsigned long long)drift_told(&plan->done.handed),
                 (unsigned long long)drift_told(&plan->done.sent), (unsigned long long)drift_told(&plan->done.kept),
                 (unsigned long long)drift_told(&plan->done.hops));
    harness_note("%llu looks at %llu cached slots and %llu words, %llu pages of 4 KiB; %llu gets found nothing",
                 (unsigned long long)drift_told(&plan->looks), (unsigned long long)drift_told(&plan->slots_looked_at),
                 (unsigned long long)plan->words_looked_at, (unsigned long long)drift_told(&plan->pages_looked_at),
                 (unsigned long long)drift_told(&plan->done.empty));
}

struct numapool_pool *drift_pool_create(const struct machine *machine, uint64_t slots, uint64_t slot_bytes,
                                        const char *name)
{
    static uint64_t node_slots[MACHINE_NODES_MAX];
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    for (unsigned i = 0; i < machine->node_count; i++)
        node_slots[machine->nodes[i].number] = slots;
    options.name = name;
    options.slot_bytes = slot_bytes;
    options.node_slots = node_slots;
    options.nodes = (uint32_t)machine->nodes[machine->node_count - 1].number + 1;
    options.policy = NUMAPOOL_EXPLICIT;
    if (numapool_create(&pool, &options) == 0)
        return pool;
    harness_expect(false, "a pool on each node: %s", numapool_errormsg());
    exit(harness_end());
}
