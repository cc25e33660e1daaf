/* SPDX-License-Identifier: MIT
 * Private memory that a forked child finds zeroed (MADV_WIPEONFORK), where zero means closed. */
#ifndef NP_CORE_WIPE_H
#define NP_CORE_WIPE_H

#include <stddef.h>

/* Zeroed pages, at least `bytes`; NULL with the sentence set. Everything that a fast path reads first lies in such pages. */
void *np_wipe_alloc(size_t bytes);
void np_wipe_free(void *address, size_t bytes);

#endif
