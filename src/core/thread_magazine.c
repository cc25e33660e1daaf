/* SPDX-License-Identifier: MIT
 *
 * A thread's own magazine of each pool that it uses: opened at the first call, closed when the thread ends, however it ends.
 *
 * A pool cannot be closed while another thread has a magazine of it, so a thread's list names open magazines of open pools alone; but after a
 * fork, in whose child the magazines are found zeroed. (The library is never unloaded, so the key's destructor stays where it is.) Pools are told apart by the number that np_pool_start gives each, for
 * another pool may lie at the address of one that was closed.
 */
#include "core/thread_magazine.h"

#include <errno.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/magazine.h"

struct entry {
    struct entry *next;
    uint64_t born; /* pool->born */
    struct np_magazine *magazine;
};

/* A thread's list, the one used last first. */
struct list {
    struct entry *first;
};

/* The key plus 1, made at the first call for which the process has one to spare; 0: not yet. Set once, by a CAS and not under a lock, which
 * a forked child could find locked for ever. */
static _Atomic uint32_t key_made;

/* The thread has ended. What a sender still uses is closed with the last such sender, by whoever has it now. */
static void end_thread(void *argument)
{
    struct list *list = argument;
    while (list->first) {
        struct entry *entry = list->first;
        list->first = entry->next;
        if (entry->magazine->live == NP_MAGAZINE_LIVE)
            np_magazine_let_go(entry->magazine);
        free(entry);
    }
    free(list);
}

/* acquire: pairs with make_key's release, so that the key is one here too */
static uint32_t key_of_process(void)
{
    return atomic_load_explicit(&key_made, memory_order_acquire);
}

static bool make_key(void)
{
    uint32_t none = 0;
    pthread_key_t key;
    if (key_of_process() != 0)
        return true;
    if (pthread_key_create(&key, end_thread) != 0)
        return false;
    /* release: pairs with key_of_process; relaxed: it is looked at anew */
    if (!atomic_compare_exchange_strong_explicit(&key_made, &none, (uint32_t)key + 1, memory_order_release, memory_order_relaxed))
        pthread_key_delete(key); /* another thread was first */
    return true;
}

static struct list *list_of_thread(void)
{
    uint32_t made = key_of_process();
    return made != 0 ? pthread_getspecific((pthread_key_t)(made - 1)) : NULL;
}

static struct list *make_list(void)
{
    struct list *list = calloc(1, sizeof *list);
    if (list && make_key() && pthread_setspecific((pthread_key_t)(key_of_process() - 1), list) == 0)
        return list;
    free(list);
    np_error(-ENOMEM, "no memory, or none of the process's thread keys (PTHREAD_KEYS_MAX), for a thread's own magazines");
    return NULL;
}

/* The link to the entry of the pool; NULL: there is none. */
static struct entry **find(struct list *list, uint64_t born)
{
    for (struct entry **link = &list->first; *link; link = &(*link)->next)
        if ((*link)->born == born && (*link)->magazine->live == NP_MAGAZINE_LIVE)
            return link;
    return NULL;
}

static void move_to_front(struct list *list, struct entry **link)
{
    struct entry *entry = *link;
    *link = entry->next;
    entry->next = list->first;
    list->first = entry;
}

struct numapool_magazine *numapool_thread_magazine(struct numapool_pool *pool)
{
    if (np_pool_check(pool) < 0)
        return NULL;
    struct list *list = list_of_thread();
    if (list && list->first && list->first->born == pool->born && list->first->magazine->live == NP_MAGAZINE_LIVE)
        return &list->first->magazine->fast;
    if (!list && !(list = make_list()))
        return NULL;
    struct entry **link = find(list, pool->born);
    if (!link) {
        struct numapool_magazine *magazine;
        struct entry *entry = calloc(1, sizeof *entry);
        if (!entry) {
            np_error(-ENOMEM, "no memory for a thread's own magazine");
            return NULL;
        }
        if (numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 0, &magazine) < 0) {
            free(entry);
            return NULL;
        }
        *entry = (struct entry){ list->first, pool->born, (struct np_magazine *)magazine };
        list->first = entry;
        pthread_mutex_lock(&pool->lock);
        entry->magazine->of_thread = true;
        pool->thread_magazine_count++;
        pthread_mutex_unlock(&pool->lock);
    } else {
        move_to_front(list, link);
    }
    return &list->first->magazine->fast;
}

struct np_magazine *np_thread_magazine_of(const struct numapool_pool *pool)
{
    struct list *list = list_of_thread();
    struct entry **link = list ? find(list, pool->born) : NULL;
    return link ? (*link)->magazine : NULL;
}

void np_thread_magazine_forget(const struct np_magazine *magazine)
{
    struct list *list = list_of_thread();
    struct entry **link = list ? find(list, magazine->pool->born) : NULL;
    if (!link || (*link)->magazine != magazine)
        return;
    struct entry *entry = *link;
    *link = entry->next;
    free(entry);
}

int numapool_thread_magazine_close(struct numapool_pool *pool)
{
    int result = np_pool_check(pool);
    if (result < 0)
        return result;
    struct np_magazine *magazine = np_thread_magazine_of(pool);
    return magazine ? numapool_magazine_close(&magazine->fast) : 0;
}
