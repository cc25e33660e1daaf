/* SPDX-License-Identifier: MIT */
#include "numa/imagined.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "numa/budget.h"
#include "numa/topology.h"

/* A piece of memory that this process has made on an imagined node. */
struct made {
    struct made *next;
    const void *address;
    size_t bytes;
    int node;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static struct made *first;
static uint64_t taken[NP_NODES_MAX]; /* by number of node: made, and being made */
static uint64_t kept[NP_NODES_MAX];
static _Atomic bool used;            /* false: there never was anything, and the lock need not be taken to find nothing */

/* A child has none of the memory: it is not inherited. */
static void in_child(void)
{
    while (first != NULL) {
        struct made *next = first->next;
        free(first);
        first = next;
    }
    memset(taken, 0, sizeof taken);
    memset(kept, 0, sizeof kept);
    pthread_mutex_unlock(&lock);
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void start(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
    atomic_store_explicit(&used, true, memory_order_relaxed); /* relaxed: who unmaps something was told of it since */
}

static bool is_used(void)
{
    return atomic_load_explicit(&used, memory_order_relaxed); /* relaxed: see start */
}

static const struct np_topology_node *imagined(int node)
{
    const struct np_topology *topology = node >= 0 && node < NP_NODES_MAX ? np_topology() : NULL;
    return topology != NULL && topology->emulated ? np_topology_find(topology, node) : NULL;
}

static uint64_t left_of(const struct np_topology_node *node)
{
    uint64_t gone = taken[node->number] + kept[node->number];
    return node->memory_bytes > gone ? node->memory_bytes - gone : 0;
}

int np_imagined_take(const char *what, int node, size_t bytes)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct np_topology_node *found = imagined(node);
    if (found == NULL)
        return 0;
    pthread_once(&once, start);
    pthread_mutex_lock(&lock);
    uint64_t left = left_of(found);
    if (bytes <= left)
        taken[node] += bytes;
    pthread_mutex_unlock(&lock);
    if (bytes <= left)
        return 0;
    char needed_text[NP_SIZE_TEXT_BYTES], left_text[NP_SIZE_TEXT_BYTES], size_text[NP_SIZE_TEXT_BYTES];
    return np_error(-ENOMEM,
                    "%s needs %s on node %d, which is imagined with %s (NUMAPOOL_TOPOLOGY=%s) and has %s left: make it smaller, place part "
                    "of it on another node, or imagine more",
                    what, np_size_text_up(needed_text, bytes), node, np_size_text_down(size_text, found->memory_bytes), np_topology()->name,
                    np_size_text_down(left_text, left));
}

void np_imagined_give(int node, size_t bytes)
{
    if (!is_used() || node < 0 || node >= NP_NODES_MAX)
        return;
    pthread_mutex_lock(&lock);
    taken[node] = taken[node] > bytes ? taken[node] - bytes : 0;
    pthread_mutex_unlock(&lock);
}

void np_imagined_made(const void *address, int node, size_t bytes)
{
    if (imagined(node) == NULL)
        return;
    struct made *made = malloc(sizeof *made);
    if (made == NULL) /* it stays taken: an imagined node is smaller than it could be */
        return;
    pthread_mutex_lock(&lock);
    *made = (struct made){ first, address, bytes, node };
    first = made;
    pthread_mutex_unlock(&lock);
}

static void end(const void *address, bool give)
{
    if (!is_used() || address == NULL)
        return;
    pthread_mutex_lock(&lock);
    struct made **at = &first, *found;
    while (*at != NULL && (*at)->address != address)
        at = &(*at)->next;
    found = *at;
    if (found != NULL)
        *at = found->next;
    if (found != NULL && give)
        taken[found->node] -= found->bytes;
    pthread_mutex_unlock(&lock);
    free(found);
}

void np_imagined_unmapped(const void *address)
{
    end(address, true);
}

void np_imagined_left(const void *address)
{
    end(address, false);
}

void np_imagined_keep(const uint64_t *bytes, unsigned count)
{
    const struct np_topology *topology = np_topology();
    if (topology == NULL || !topology->emulated)
        return;
    pthread_mutex_lock(&lock);
    memset(kept, 0, sizeof kept);
    for (unsigned i = 0; i < topology->count && i < count; i++)
        kept[topology->nodes[i].number] = bytes[i];
    pthread_mutex_unlock(&lock);
}

uint64_t np_imagined_bytes(int node)
{
    const struct np_topology_node *found = imagined(node);
    if (found == NULL)
        return UINT64_MAX;
    pthread_mutex_lock(&lock);
    uint64_t left = left_of(found);
    pthread_mutex_unlock(&lock);
    return left;
}
