/* SPDX-License-Identifier: MIT */
#include "core/checker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/error.h"

#ifdef HAVE_VALGRIND_MEMCHECK_H
#include <valgrind/memcheck.h>
#define UNDER_MEMCHECK (RUNNING_ON_VALGRIND != 0)
#else
#define UNDER_MEMCHECK 0
#define VALGRIND_CREATE_MEMPOOL(pool, redzone, zeroed) ((void)(pool))
#define VALGRIND_DESTROY_MEMPOOL(pool) ((void)(pool))
#define VALGRIND_MEMPOOL_ALLOC(pool, address, bytes) ((void)(pool), (void)(address), (void)(bytes))
#define VALGRIND_MEMPOOL_FREE(pool, address) ((void)(pool), (void)(address))
#define VALGRIND_MAKE_MEM_NOACCESS(address, bytes) ((void)(address), (void)(bytes))
#define VALGRIND_MAKE_MEM_DEFINED(address, bytes) ((void)(address), (void)(bytes))
#endif

/* There when the program was built with -fsanitize=address, whatever this library was built with. */
void __asan_poison_memory_region(const volatile void *address, size_t bytes) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void *address, size_t bytes) __attribute__((weak));

static bool with_asan(void)
{
    return __asan_poison_memory_region != NULL && __asan_unpoison_memory_region != NULL;
}

/* ---------------------------------------------------------------- forked children */

/* The memory is not inherited, what the sanitizer knows of its addresses is. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct np_checker *begun;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void in_child(void)
{
    for (; begun; begun = begun->next)
        if (with_asan())
            __asan_unpoison_memory_region(begun->data, begun->bytes);
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

/* ---------------------------------------------------------------- */

int np_checker_begin(struct np_checker *checker, char *data, uint64_t slots, size_t stride, size_t usable)
{
    *checker = (struct np_checker){ .data = data, .bytes = slots * stride, .stride = stride, .usable = usable };
    if (UNDER_MEMCHECK) {
        checker->chunks = calloc(slots, sizeof *checker->chunks);
        if (!checker->chunks)
            return np_error(-ENOMEM, "no memory to tell valgrind of %llu slots", (unsigned long long)slots);
        VALGRIND_CREATE_MEMPOOL(data, 0, 0);
        VALGRIND_MAKE_MEM_NOACCESS(data, checker->bytes);
    }
    if (with_asan()) {
        pthread_once(&once, watch_forks);
        __asan_poison_memory_region(data, checker->bytes);
    }
    pthread_mutex_lock(&lock);
    checker->next = begun;
    begun = checker;
    pthread_mutex_unlock(&lock);
    return 0;
}

void np_checker_end(struct np_checker *checker)
{
    pthread_mutex_lock(&lock);
    struct np_checker **link = &begun;
    while (*link && *link != checker)
        link = &(*link)->next;
    if (*link)
        *link = checker->next;
    pthread_mutex_unlock(&lock);
    if (UNDER_MEMCHECK) {
        VALGRIND_DESTROY_MEMPOOL(checker->data);
        VALGRIND_MAKE_MEM_DEFINED(checker->data, checker->bytes);
    }
    if (with_asan())
        __asan_unpoison_memory_region(checker->data, checker->bytes);
    free(checker->chunks);
    checker->chunks = NULL;
}

void np_checker_open(struct np_checker *checker, uint64_t index, bool filled)
{
    char *slot = checker->data + index * checker->stride;
    if (checker->chunks) {
        /* relaxed: who has the slot asks, others of its kind (a broadcast's) find it open */
        if (atomic_exchange_explicit(&checker->chunks[index], 1, memory_order_relaxed) == 0)
            VALGRIND_MEMPOOL_ALLOC(checker->data, slot, checker->usable);
        if (filled)
            VALGRIND_MAKE_MEM_DEFINED(slot, checker->usable);
        VALGRIND_MAKE_MEM_NOACCESS(slot + checker->usable, checker->stride - checker->usable);
    }
    if (with_asan()) {
        __asan_unpoison_memory_region(slot, checker->usable);
        __asan_poison_memory_region(slot + checker->usable, checker->stride - checker->usable);
    }
}

void np_checker_shut(struct np_checker *checker, uint64_t index)
{
    char *slot = checker->data + index * checker->stride;
    if (checker->chunks) {
        if (atomic_exchange_explicit(&checker->chunks[index], 0, memory_order_relaxed) == 1) /* relaxed: as above */
            VALGRIND_MEMPOOL_FREE(checker->data, slot);
        VALGRIND_MAKE_MEM_NOACCESS(slot, checker->stride);
    }
    if (with_asan())
        __asan_poison_memory_region(slot, checker->stride);
}

void np_checker_touch(struct np_checker *checker, uint64_t index)
{
    char *slot = checker->data + index * checker->stride;
    if (checker->chunks)
        VALGRIND_MAKE_MEM_DEFINED(slot, checker->stride);
    if (with_asan())
        __asan_unpoison_memory_region(slot, checker->stride);
}

void np_checker_look(struct np_checker *checker, uint64_t index)
{
    char *slot = checker->data + index * checker->stride;
    if (checker->chunks && atomic_load_explicit(&checker->chunks[index], memory_order_relaxed) == 0) /* relaxed: a hint */
        VALGRIND_MAKE_MEM_DEFINED(slot, checker->usable);
    if (with_asan())
        __asan_unpoison_memory_region(slot, checker->usable);
}
