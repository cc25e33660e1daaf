/* SPDX-License-Identifier: MIT
 * A wait-set with three receivers of an embedded pool, each with a sender. */
#ifndef NP_TEST_WAITSET_SCENE_H
#define NP_TEST_WAITSET_SCENE_H

#include "waitset_help.h"

enum { CHANNELS = 3 };
static const char *const channel_names[CHANNELS] = { "a", "b", "c" };

static struct numapool_pool *pool;
static struct numapool_waitset *waitset;
static struct numapool_sender *senders[CHANNELS];
static struct numapool_receiver *receivers[CHANNELS];
static char tags[CHANNELS];

static void open_all(void)
{
    pool = make_pool(1024, 0);
    waitset = open_waitset();
    for (unsigned i = 0; i < CHANNELS; i++) {
        senders[i] = open_sender(pool, channel_names[i]);
        receivers[i] = open_receiver(pool, channel_names[i]);
        ck_assert_int_eq(numapool_waitset_add(waitset, receivers[i], &tags[i]), 0);
    }
}

static void close_all(void)
{
    np_sleep_hook = NULL;
    ck_assert_int_eq(numapool_waitset_close(waitset), 0);
    for (unsigned i = 0; i < CHANNELS; i++) {
        ck_assert_int_eq(numapool_receiver_close(receivers[i]), 0);
        ck_assert_int_eq(numapool_sender_close(senders[i], 0), 0);
    }
    close_pool(pool);
}

#endif
