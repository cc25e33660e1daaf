/* SPDX-License-Identifier: MIT
 * Whether words change as they may (docs/design.md, section 2). */
#ifndef NUMAPOOL_TESTS_CRASH_STEP_WORDS_H
#define NUMAPOOL_TESTS_CRASH_STEP_WORDS_H

#include "step_image.h"

/* One instruction of one process has made `image` into what is live. False, with what is wrong. */
bool step_words_are_right(const struct step_region *meta, char *sentence, size_t bytes);

#endif
