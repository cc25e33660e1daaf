/* SPDX-License-Identifier: MIT
 *
 * A daemon with the parties of a scene: prepared, its worker taken hold of, judged as it lies, and cleared away.
 */
#ifndef NUMAPOOL_TESTS_CRASH_WORKER_STAGE_H
#define NUMAPOOL_TESTS_CRASH_WORKER_STAGE_H

#include "harness.h"
#include "worker_image.h"
#include "worker_scenes.h"
#include "worker_trace.h"

struct stage {
    struct harness_daemon daemon;
    struct actor actors[PARTY_COUNT];
    struct image image;
    struct image_cast cast;
    struct trace trace;
    const struct scene *scene;
    int records;            /* the worker's side of what it and the keeper say to each other; -1 */
    uint64_t starts_before; /* of workers, at the scene's beginning */
    unsigned restarts;      /* of the worker, by this daemon */
    struct summary empty;   /* nobody there */
    struct load *load;      /* NULL: none */
};

/* Starts the daemon. With `load`, two clients besides that send and receive all the time, in a pool of their own. */
bool stage_open(struct stage *stage, bool load);
void stage_close(struct stage *stage);
/* Another daemon, when the keeper of this one has had to start so many workers in a row that it would begin to wait. */
bool stage_renew(struct stage *stage);

/* The parties stand ready. */
bool stage_prepare(struct stage *stage, const struct scene *scene);
/* Takes hold of the worker. Of a scene of kind START that is the next one, at its beginning, and the act is done. */
bool stage_begin(struct stage *stage);
/* The act is begun. */
void stage_act(struct stage *stage);
/* Whether all that the act gives a worker to do is done. */
bool stage_is_over(void *stage);
/* Waits for that; then what the calls have returned, and whether the memory itself, unrepaired, is right. False, with notes.
 * `expected`: what it is to be, or NULL. */
bool stage_finish(struct stage *stage, const char *when, const struct summary *expected, struct summary *found);
/* Who lives goes on as the scene says. */
bool stage_go_on(struct stage *stage, const char *when);
/* Ends all parties: nothing is left of them. */
bool stage_clear(struct stage *stage, const char *when);

/* Looks at what the keeper has now. */
bool stage_look(struct stage *stage);
/* Messages that the load has received, and how often something was wrong there. */
uint64_t stage_load_received(const struct stage *stage);
unsigned stage_load_wrong(const struct stage *stage);

#endif
