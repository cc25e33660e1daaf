/* SPDX-License-Identifier: MIT
 * This process's topology, and how it changes.
 *
 * No lock, so that a forked child can never find one taken. Whoever reads a topology that no earlier one equals puts it in front of the
 * list, where it stays: there are as many as there have been different ones, and a machine that goes back and forth between two has two.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "numa/system_files.h"
#include "numa/topology.h"

struct known {
    struct np_topology topology;
    struct known *next;
};

static _Atomic(struct known *) first;   /* never shrinks */
static _Atomic(struct known *) current;

static bool near_enough(uint64_t one, uint64_t other, bool exactly)
{
    uint64_t more = one > other ? one : other, less = one > other ? other : one;
    if (exactly || less == 0)
        return one == other;
    return more - less < more / 8;
}

bool np_topology_same(const struct np_topology *one, const struct np_topology *other)
{
    if (one->count != other->count || one->cpu_limit != other->cpu_limit || one->emulated != other->emulated ||
        one->fingerprint != other->fingerprint || strcmp(one->name, other->name) != 0)
        return false;
    for (unsigned i = 0; i < one->count; i++) {
        const struct np_topology_node *a = &one->nodes[i], *b = &other->nodes[i];
        if (a->number != b->number || a->cpus != b->cpus || a->offline_cpus != b->offline_cpus || a->memory_allowed != b->memory_allowed ||
            a->cpus_allowed != b->cpus_allowed || a->physical != b->physical || !near_enough(a->memory_bytes, b->memory_bytes, one->emulated))
            return false;
    }
    return memcmp(one->distances, other->distances, (size_t)one->count * one->count) == 0 &&
           memcmp(one->cpu_nodes, other->cpu_nodes, one->cpu_limit * sizeof one->cpu_nodes[0]) == 0;
}

static int make(struct known **result_made)
{
    struct known *made = calloc(1, sizeof *made);
    if (made == NULL)
        return np_error(-ENOMEM, "no memory for what nodes there are (%zu bytes): free some", sizeof *made);
    /* Not of a program that runs with more rights than who started it. */
    const char *text = secure_getenv("NUMAPOOL_TOPOLOGY");
    int result = text != NULL && *text != '\0' ? np_topology_imagine(&made->topology, text)
                                               : np_topology_read(&made->topology, NP_SYSTEM_ROOT);
    if (result < 0)
        free(made);
    else
        *result_made = made;
    return result;
}

/* The one that says the same, if there has been one, or else `made` itself, which is in the list then. */
static struct known *enter(struct known *made)
{
    struct known *head = atomic_load_explicit(&first, memory_order_acquire); /* pairs with the exchange below */
    for (;;) {
        for (struct known *one = head; one != NULL; one = one->next)
            if (np_topology_same(&one->topology, &made->topology)) {
                np_topology_free(&made->topology);
                free(made);
                return one;
            }
        made->next = head;
        if (atomic_compare_exchange_weak_explicit(&first, &head, made, memory_order_acq_rel, memory_order_acquire))
            return made; /* pairs with the loads of the head */
    }
}

const struct np_topology *np_topology(void)
{
    struct known *one = atomic_load_explicit(&current, memory_order_acquire); /* pairs with who stored it, complete */
    if (one != NULL)
        return &one->topology;
    struct known *made;
    if (make(&made) < 0)
        return NULL;
    made = enter(made);
    if (atomic_compare_exchange_strong_explicit(&current, &one, made, memory_order_acq_rel, memory_order_acquire))
        return &made->topology; /* pairs with the load above */
    return &one->topology;
}

int np_topology_reload(void)
{
    struct known *made;
    int result = make(&made);
    if (result < 0)
        return result;
    made = enter(made);
    struct known *before = atomic_exchange_explicit(&current, made, memory_order_acq_rel); /* pairs with the loads of np_topology */
    return before != made && before != NULL ? 1 : 0;
}
