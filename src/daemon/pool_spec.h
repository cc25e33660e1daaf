/* SPDX-License-Identifier: MIT
 * One pool's settings, for config.c: begin, set each, finish. */
#ifndef NP_DAEMON_POOL_SPEC_H
#define NP_DAEMON_POOL_SPEC_H

#include "daemon/config.h"

/* A new pool at the end of config->pools. -EINVAL: its name, or too many. */
int np_pool_spec_begin(struct np_config *config, const char *name, const char *where, struct np_config_pool **pool);

/* value NULL: the key stood alone. -EINVAL. */
int np_pool_spec_set(struct np_config_pool *pool, const char *key, const char *value, const char *where);

/* -EINVAL when something it needs is missing, or two things that exclude each other are there. */
int np_pool_spec_finish(struct np_config_pool *pool, const char *where);

#endif
