/* SPDX-License-Identifier: MIT */
#include "channel/keys.h"

#include <errno.h>

#include "core/error.h"
#include "core/wipe.h"

#define BUCKETS (1u << NP_KEY_BUCKETS_LOG2)

struct bucket {
    uint64_t until; /* one past the last position sent; 0: none yet */
    uint32_t lane, generation;
};

struct np_keys {
    struct bucket buckets[BUCKETS];
};

int np_keys_start(struct numapool_sender *sender)
{
    if (!sender->keys)
        sender->keys = np_wipe_alloc(sizeof *sender->keys); /* gone in a forked child, like the sender */
    return sender->keys ? 0 : -ENOMEM;
}

void np_keys_end(struct numapool_sender *sender)
{
    if (sender->keys)
        np_wipe_free(sender->keys, sizeof *sender->keys);
    sender->keys = NULL;
}

/* Keys are often numbers in a row: multiplied by 2^64 / golden ratio they spread over the high bits (Knuth 6.4). */
static struct bucket *bucket_of(struct numapool_sender *sender, uint64_t key)
{
    return &sender->keys->buckets[(key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - NP_KEY_BUCKETS_LOG2)];
}

/* The lane on which the bucket is busy, by what is known. */
static struct np_sender_lane *busy_lane(struct numapool_sender *sender, const struct bucket *bucket)
{
    if (bucket->until == 0)
        return NULL;
    struct np_sender_lane *lane = np_sender_find_lane(sender, bucket->lane, bucket->generation);
    return lane && bucket->until > lane->released ? lane : NULL;
}

struct np_sender_lane *np_keys_lane(struct numapool_sender *sender, uint64_t key)
{
    const struct bucket *bucket = bucket_of(sender, key);
    struct np_sender_lane *lane = busy_lane(sender, bucket);
    if (!lane)
        return NULL;
    np_sender_take_back(sender, lane);
    return bucket->until > lane->released && !NP_MUTANT(KEYS_LEAVE_THEIR_LANE) ? lane : NULL;
}

unsigned np_keys_run(struct numapool_sender *sender, const struct np_sender_lane *lane, const struct numapool_msg *messages, unsigned n)
{
    unsigned run = 1;
    for (; run < n && (messages[run].flags & NUMAPOOL_KEYED) != 0; run++) {
        const struct np_sender_lane *busy = busy_lane(sender, bucket_of(sender, messages[run].key));
        if (busy && busy != lane)
            break;
    }
    return run;
}

void np_keys_sent(struct numapool_sender *sender, const struct np_sender_lane *lane, const struct numapool_msg *messages, unsigned n,
                  uint64_t first)
{
    for (unsigned i = 0; i < n; i++)
        *bucket_of(sender, messages[i].key) = (struct bucket){ first + i + 1, lane->id, lane->generation };
}
