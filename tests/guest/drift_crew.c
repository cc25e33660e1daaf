/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "drift.h"

void drift_wrong(struct drift_plan *plan, const char *format, ...)
{
    if (atomic_fetch_add_explicit(&plan->errors, 1, memory_order_relaxed) >
        0) /* relaxed: who raised it from 0 writes, read when all have ended */
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(plan->first_error, sizeof plan->first_error, format, arguments);
    va_end(arguments);
}

#define ADD(sum, what, from)                                                                                           \
    atomic_fetch_add_explicit(&(sum).what, atomic_exchange_explicit(&(from).what, 0, memory_order_relaxed),            \
                              memory_order_relaxed)

static void add_up(struct drift_plan *plan, struct drift_thread *thread)
{
    ADD(plan->done, gets, thread->done); /* relaxed, all of them: figures, read after a barrier */
    ADD(plan->done, puts, thread->done);
    ADD(plan->done, bulks, thread->done);
    ADD(plan->done, handed, thread->done);
    ADD(plan->done, sent, thread->done);
    ADD(plan->done, received, thread->done);
    ADD(plan->done, kept, thread->done);
    ADD(plan->done, hops, thread->done);
    ADD(plan->done, empty, thread->done);
}

static void *work(void *argument)
{
    struct drift_thread *thread = argument;
    struct drift_plan *plan = thread->crew->plan;
    drift_thread_open(thread);
    for (unsigned round = 0; round < plan->rounds; round++) {
        drift_thread_round(thread);
        add_up(plan, thread);
        pthread_barrier_wait(&plan->stopped);
        pthread_barrier_wait(&plan->judged);
    }
    drift_thread_end(thread);
    return NULL;
}

/* Every slot that this process has, in whatever place. */
static void inspect(struct drift_crew *crew, unsigned round)
{
    struct drift_plan *plan = crew->plan;
    struct look_caches caches = { 0 };
    look_at_caches(crew->pool, plan->claims, &caches);
    for (unsigned i = 0; i < plan->threads; i++) {
        const struct drift_thread *thread = &crew->threads[i];
        for (unsigned s = 0; s < thread->in_hand; s++)
            caches.unknown += !look_claim(plan->claims, crew->pool, thread->hand[s]);
        for (unsigned s = 0; s < thread->queue.count; s++)
            caches.unknown += !look_claim(plan->claims, crew->pool, thread->queue.slots[s]);
    }
    atomic_fetch_add_explicit(&plan->looks, 1, memory_order_relaxed); /* relaxed, all: barriers order them */
    atomic_fetch_add_explicit(&plan->slots_looked_at, caches.looked_at, memory_order_relaxed);
    atomic_fetch_add_explicit(&plan->foreign, caches.foreign, memory_order_relaxed);
    atomic_fetch_add_explicit(&plan->unknown, caches.unknown, memory_order_relaxed);
    atomic_fetch_add_explicit(&plan->foreign_in_round[round], caches.foreign, memory_order_relaxed);
}

static void judge(struct drift_crew *crew, unsigned round)
{
    struct drift_plan *plan = crew->plan;
    struct look_words words = { 0 };
    look_at_words(crew->pool, plan->claims, &words);
    plan->words_looked_at += words.looked_at;
    plan->lost += words.lost;
    plan->lost_in_round[round] = words.lost;
    plan->twice += words.twice;
    look_claims_begin(plan->claims, plan->claims->arenas, plan->claims->slots);
}

void drift_crew_run(struct drift_crew *crew)
{
    struct drift_plan *plan = crew->plan;
    pthread_t ids[DRIFT_THREADS_MAX];
    for (unsigned i = 0; i < plan->threads; i++) {
        struct drift_thread *thread = &crew->threads[i];
        memset(thread, 0, sizeof *thread);
        thread->crew = crew;
        thread->number = i;
        thread->stamp = (uint64_t)crew->process << 8 | (i + 1);
        thread->random = plan->seed * UINT64_C(0x9e3779b97f4a7c15) + thread->stamp;
        thread->hops = i >= plan->machine.cpu_count || i % 3 == 2;
        pthread_mutex_init(&thread->queue.lock, NULL);
    }
    for (unsigned i = 0; i < plan->threads; i++) { /* they hand slots to each other from the start */
        if (pthread_create(&ids[i], NULL, work, &crew->threads[i]) != 0) {
            perror("pthread_create");
            _exit(2); /* others would wait for it for ever */
        }
    }
    for (unsigned round = 0; round < plan->rounds; round++) {
        pthread_barrier_wait(&plan->stopped);
        inspect(crew, round);
        pthread_barrier_wait(&plan->inspected);
        if (crew->process == 0)
            judge(crew, round);
        pthread_barrier_wait(&plan->judged);
    }
    for (unsigned i = 0; i < plan->threads; i++)
        pthread_join(ids[i], NULL);
}
