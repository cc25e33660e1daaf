/* SPDX-License-Identifier: MIT */
#include "crew.h"

#include <errno.h>
#include <pthread.h>

enum { THREADS = 3, JOINING_CALLS = 2 /* that the first thread has made before there are others */ };

struct strand {
    struct life life;
    struct role_start start;
    bool is_doomed;
    int (*work)(struct life *life);
};

static void *live(void *context)
{
    struct strand *strand = context;
    struct doom_plan plan = strand->start.doom;
    plan.call = plan.call > JOINING_CALLS ? plan.call - JOINING_CALLS : 1;
    if (strand->is_doomed &&
        doom_begin(&plan, strand->start.record ? &strand->start.record->graves[strand->start.place] : NULL) < 0)
        life_failed(&strand->life, "doom_begin", -errno);
    strand->work(&strand->life);
    return NULL;
}

/* One gets and puts with its own thread's magazine, one sends, one forwards; all by one client and one pool. One of them
 * dies, and with it all. */
int crew_threads(struct life *life)
{
    static const enum role roles[THREADS] = { ROLE_GETTER, ROLE_SENDER, ROLE_FORWARDER };
    static int (*const works[THREADS])(struct life *life) = { role_get_and_put, role_send, role_receive };
    static struct strand strands[THREADS];
    pthread_t threads[THREADS];
    unsigned doomed = harness_below(&life->random, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        struct strand *strand = &strands[i];
        *strand = (struct strand){ .life = *life, .start = *life->start, .is_doomed = i == doomed, .work = works[i] };
        strand->start.role = roles[i];
        strand->life.start = &strand->start;
        strand->life.random = harness_random(&life->random) | 1;
    }
    doom_forgive();
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, live, &strands[i]) != 0)
            return life_failed(life, "pthread_create", -errno);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
