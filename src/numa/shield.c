/* SPDX-License-Identifier: MIT
 *
 * The handler takes no lock: it may stand in the middle of any instruction, of a thread that is just changing the table
 * too. Entries lie in chunks that stay for ever; an entry counts from the store of its address (S1) until that is zero
 * again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numa/shield.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/error.h"

enum { CHUNK_ENTRIES = 256, CHUNKS_MAX = 1024 };

struct entry {
    _Atomic uintptr_t address; /* 0: free */
    size_t bytes, page_bytes;
    _Atomic unsigned lost; /* pages */
    _Atomic bool news;
    unsigned told;
    char what[sizeof((struct np_shield_loss *)0)->what];
};

static struct entry *_Atomic chunks[CHUNKS_MAX];
static _Atomic bool started, news;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of changes; never in the handler */

/* The i-th entry there is room for, or NULL. acquire: pairs with the store of the chunk, which is zeroed before. */
static struct entry *entry_at(unsigned i)
{
    struct entry *chunk = atomic_load_explicit(&chunks[i / CHUNK_ENTRIES], memory_order_acquire);
    return chunk ? &chunk[i % CHUNK_ENTRIES] : NULL;
}

/* Puts zeros where the address is. In the handler. */
static bool replace(uintptr_t fault)
{
    for (unsigned i = 0; i < CHUNK_ENTRIES * CHUNKS_MAX; i++) {
        struct entry *entry = entry_at(i);
        if (!entry)
            return false; /* chunks are made in order */
        uintptr_t begin = atomic_load_explicit(&entry->address, memory_order_acquire); /* pairs with S1 */
        if (begin == 0 || fault - begin >= entry->bytes)
            continue;
        unsigned lost = atomic_fetch_add_explicit(&entry->lost, 1, memory_order_relaxed) + 1; /* relaxed: a count */
        uintptr_t page = begin + (fault - begin) / entry->page_bytes * entry->page_bytes;
        size_t bytes = entry->page_bytes;
        if (lost >= NP_SHIELD_PAGES_MAX) {
            page = begin;
            bytes = entry->bytes;
        }
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
        if (mmap((void *)page, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
            return false;
        atomic_store_explicit(&entry->news, true, memory_order_release); /* pairs with np_shield_next_loss */
        atomic_store_explicit(&news, true, memory_order_release);
        return true;
    }
    return false;
}

static void handle(int number, siginfo_t *info, void *context)
{
    int code = errno;
    (void)context;
    /* si_code above 0: by the kernel, at an address. BUS_MCEERR_AR, memory that is broken, is a page that is gone too. */
    if (info->si_code <= 0 || !replace((uintptr_t)info->si_addr)) {
        signal(number, SIG_DFL);
        raise(number); /* blocked until this returns */
    }
    errno = code;
}

int np_shield_start(void)
{
    struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO };
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, NULL) != 0)
        return np_error(-errno, "cannot handle SIGBUS: %s", strerror(errno));
    atomic_store_explicit(&started, true, memory_order_release);
    return 0;
}

static struct entry *free_entry(void)
{
    for (unsigned i = 0; i < CHUNK_ENTRIES * CHUNKS_MAX; i++) {
        struct entry *entry = entry_at(i);
        if (!entry) {
            struct entry *chunk = calloc(CHUNK_ENTRIES, sizeof *chunk);
            atomic_store_explicit(&chunks[i / CHUNK_ENTRIES], chunk, memory_order_release); /* pairs with entry_at */
            return chunk;
        }
        if (atomic_load_explicit(&entry->address, memory_order_relaxed) == 0) /* relaxed: changed under the lock only */
            return entry;
    }
    return NULL;
}

void np_shield_put(void *address, size_t bytes, size_t page_bytes, const char *what)
{
    if (!atomic_load_explicit(&started, memory_order_acquire))
        return;
    pthread_mutex_lock(&lock);
    struct entry *entry = free_entry();
    if (entry) {
        entry->bytes = bytes;
        entry->page_bytes = page_bytes;
        entry->told = 0;
        atomic_store_explicit(&entry->lost, 0, memory_order_relaxed); /* relaxed, both: before the address, by its release */
        atomic_store_explicit(&entry->news, false, memory_order_relaxed);
        snprintf(entry->what, sizeof entry->what, "%s", what);
        atomic_store_explicit(&entry->address, (uintptr_t)address, memory_order_release); /* S1 */
    }
    pthread_mutex_unlock(&lock);
}

void np_shield_drop(const void *address)
{
    if (!atomic_load_explicit(&started, memory_order_acquire) || !address)
        return;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < CHUNK_ENTRIES * CHUNKS_MAX; i++) {
        struct entry *entry = entry_at(i);
        if (!entry)
            break;
        if (atomic_load_explicit(&entry->address, memory_order_relaxed) == (uintptr_t)address) { /* relaxed: as above */
            atomic_store_explicit(&entry->address, 0, memory_order_release);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

bool np_shield_next_loss(struct np_shield_loss *loss)
{
    bool found = false;
    /* cleared first: a page that is lost meanwhile is news again; acquire: pairs with the handler's stores */
    if (!atomic_exchange_explicit(&news, false, memory_order_acq_rel))
        return false;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < CHUNK_ENTRIES * CHUNKS_MAX; i++) {
        struct entry *entry = entry_at(i);
        if (!entry)
            break;
        if (atomic_load_explicit(&entry->address, memory_order_relaxed) == 0 || /* relaxed: as above */
            !atomic_exchange_explicit(&entry->news, false, memory_order_acq_rel))
            continue;
        unsigned pages = atomic_load_explicit(&entry->lost, memory_order_relaxed); /* relaxed: a count */
        uintptr_t address = atomic_load_explicit(&entry->address, memory_order_relaxed); /* relaxed: as above */
        *loss = (struct np_shield_loss){ (const void *)address, pages - entry->told, entry->told == 0, "" };
        memcpy(loss->what, entry->what, sizeof loss->what);
        entry->told = pages;
        atomic_store_explicit(&news, true, memory_order_release); /* there may be more */
        found = true;
        break;
    }
    pthread_mutex_unlock(&lock);
    return found;
}
