/* SPDX-License-Identifier: MIT
 * What a repair must have done besides giving slots back: hints, counts, generations, and bells of who sleeps. */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_HINTS_H
#define NUMAPOOL_TESTS_CRASH_STEP_HINTS_H

#include "broker/broker.h"
#include "step_image.h"

/* Compares the repaired copy with the image that it was made from. swept: bit p, pool p was. False, with what is wrong. */
bool step_hints_are_right(const struct np_broker *broker, struct step_memory *memory, uint64_t swept, char *sentence, size_t bytes);

#endif
