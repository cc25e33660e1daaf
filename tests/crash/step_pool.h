/* SPDX-License-Identifier: MIT
 * What operations on slots have in common. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_POOL_H
#define NUMAPOOL_TESTS_CRASH_STEP_POOL_H

#include "step.h"

/* Nothing is cached in it by anybody: every get is a CAS out of the arena, every put a store and an OR. */
#define STEP_TIGHT "size=128,count=32,sharers=32"
/* One process may cache half of it: magazines of 8, depots of 64. */
#define STEP_CACHING "size=128,count=256,sharers=1"
#define STEP_CHECKED "size=128,count=64,checks=sites"
#define STEP_EXACT "size=128,count=256,sharers=1,exact"

/* Connected, with a magazine. */
int step_open_magazine(struct step_actor *actor);
/* The same, with n slots of its own, and nothing in the magazine that it has not. */
int step_open_with(struct step_actor *actor, unsigned n);
/* n more slots. */
int step_get_more(struct step_actor *actor, unsigned n);
/* All there are. */
int step_get_rest(struct step_actor *actor);
/* Puts n of its slots. */
int step_put_some(struct step_actor *actor, unsigned n);

#endif
