/* SPDX-License-Identifier: MIT */
#include "core/sleep.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/probe.h"

#ifdef NUMAPOOL_HOOKS
int (*np_sleep_hook)(const struct np_sleep *sleep, int64_t deadline_ns);
#endif

int64_t np_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t np_deadline_ns(int64_t timeout_ns)
{
    return np_after_ns(np_monotonic_ns(), timeout_ns);
}

static void ring(np_shm32 *word, int private_flag)
{
    /* release: pairs with np_sleep_on's acquire by who wakes, so that it sees what it was rung for */
    uint32_t before = np_add32(word, 1, memory_order_release);
    NP_PROBE2(ring, word, before);
    syscall(SYS_futex, word, FUTEX_WAKE | private_flag, INT_MAX, NULL, NULL, 0);
}

void np_ring(np_shm32 *word)
{
    ring(word, 0);
}

void np_ring_own(np_shm32 *word)
{
    ring(word, FUTEX_PRIVATE_FLAG);
}

static void add(struct np_sleep *sleep, np_shm32 *word, uint32_t own)
{
    if (sleep->count == NP_SLEEP_WORDS_MAX) {
        sleep->crowded = true;
        return;
    }
    /* acquire: pairs with ring; what the sleeper reads after this is as new as what it sleeps on */
    sleep->words[sleep->count++] = (struct np_sleep_word){ word, np_load32(word, memory_order_acquire), own };
}

void np_sleep_on(struct np_sleep *sleep, np_shm32 *word)
{
    add(sleep, word, 0);
}

void np_sleep_on_own(struct np_sleep *sleep, np_shm32 *word)
{
    add(sleep, word, 1);
}

bool np_sleep_is_over(const struct np_sleep *sleep)
{
    for (unsigned i = 0; i < sleep->count; i++)
        if (np_load32(sleep->words[i].word, memory_order_acquire) != sleep->words[i].seen) /* pairs with ring */
            return true;
    return false;
}

/* Result of a futex call that came back with `result`. */
static int outcome(long result)
{
    return result < 0 && errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}

static int sleep_on_first(const struct np_sleep *sleep, int64_t deadline_ns)
{
    const struct np_sleep_word *word = &sleep->words[0];
    struct timespec until = { (time_t)(deadline_ns / 1000000000), (long)(deadline_ns % 1000000000) };
    /* FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time, FUTEX_WAIT a relative one */
    return outcome(syscall(SYS_futex, word->word, FUTEX_WAIT_BITSET | (word->own ? FUTEX_PRIVATE_FLAG : 0), word->seen,
                           deadline_ns == INT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY));
}

/* -ENOSYS: several cannot be slept on here. */
static int sleep_on_all(const struct np_sleep *sleep, int64_t deadline_ns)
{
    struct futex_waitv words[NP_SLEEP_WORDS_MAX];
    struct timespec until = { (time_t)(deadline_ns / 1000000000), (long)(deadline_ns % 1000000000) };
    for (unsigned i = 0; i < sleep->count; i++)
        words[i] = (struct futex_waitv){ .val = sleep->words[i].seen, .uaddr = (uintptr_t)sleep->words[i].word,
                                         .flags = FUTEX_32 | (sleep->words[i].own ? FUTEX_PRIVATE_FLAG : 0) };
    long result = syscall(SYS_futex_waitv, words, sleep->count, 0, deadline_ns == INT64_MAX ? NULL : &until, CLOCK_MONOTONIC);
    if (result < 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
        return -ENOSYS;
    return outcome(result);
}

int np_sleep_until(const struct np_sleep *sleep, int64_t deadline_ns)
{
#ifdef NUMAPOOL_HOOKS
    if (np_sleep_hook)
        return np_sleep_hook(sleep, deadline_ns);
#endif
    NP_PROBE2(sleep, sleep->words[0].word, sleep->words[0].seen);
    if (sleep->count > 1) {
        int64_t until_ns = sleep->crowded ? np_sooner_ns(deadline_ns, NP_SLEEP_BOUNDED_NS) : deadline_ns;
        int result = sleep_on_all(sleep, until_ns);
        if (result != -ENOSYS)
            return result == -ETIMEDOUT && until_ns == deadline_ns ? -ETIMEDOUT : 0;
    } else if (!sleep->crowded) {
        return sleep_on_first(sleep, deadline_ns);
    }
    int64_t until_ns = np_sooner_ns(deadline_ns, NP_SLEEP_BOUNDED_NS);
    int result = sleep_on_first(sleep, until_ns);
    return result == -ETIMEDOUT && until_ns == deadline_ns ? -ETIMEDOUT : 0;
}
