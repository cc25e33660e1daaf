/* SPDX-License-Identifier: MIT
 * Magazines that belong to their thread (numapool_thread_magazine). */
#ifndef NP_CORE_THREAD_MAGAZINE_H
#define NP_CORE_THREAD_MAGAZINE_H

#include "core/pool.h"

/* The calling thread's magazine of the pool, or NULL. */
struct np_magazine *np_thread_magazine_of(const struct numapool_pool *pool);

/* It is going to be closed: takes it off the calling thread's list. */
void np_thread_magazine_forget(const struct np_magazine *magazine);

#endif
