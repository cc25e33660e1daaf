/* SPDX-License-Identifier: MIT
 *
 * Where the calling thread runs, and how far it is from there: what magazines ask at each refill.
 *
 * The C library has every thread registered with the kernel, which keeps the number of the CPU in the thread's own memory (rseq(2),
 * glibc 2.35): one load, a tenth of what getcpu(2) costs. A number that is out of date when it is looked at is as good as one that is so
 * a moment later.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>

#include "numa/placement.h"
#include "numa/topology.h"

#if defined(__x86_64__) && defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
#include <sys/rseq.h>

/* -1: the thread is not registered (an old kernel, valgrind, glibc.pthread.rseq=0). */
static int registered_cpu(void)
{
    const char *thread;
    if (__rseq_size == 0)
        return -1;
    __asm__("movq %%fs:0, %0" : "=r"(thread)); /* __builtin_thread_pointer, which older compilers have not */
    return (int)*(const volatile uint32_t *)(thread + __rseq_offset + offsetof(struct rseq, cpu_id)); /* the kernel writes it */
}
#else
static int registered_cpu(void)
{
    return -1;
}
#endif

/* CPUs that no imagined node names are of the first one that has any; there is one. */
static int first_with_cpus(const struct np_topology *topology)
{
    unsigned first = 0;
    while (first + 1 < topology->count && topology->nodes[first].cpus == 0)
        first++;
    return topology->nodes[first].number;
}

/* -1: no node names it. */
static int node_of_cpu(const struct np_topology *topology, int cpu)
{
    return topology && cpu >= 0 && (unsigned)cpu < topology->cpu_limit ? topology->cpu_nodes[cpu] : -1;
}

/* Of a CPU that came online after the topology was read, too. A function of its own, so that the usual way needs no frame. */
static __attribute__((noinline)) int ask_kernel(void)
{
    const struct np_topology *topology = np_topology();
    unsigned cpu, machine_node;
    if (topology && topology->count == 1) /* nothing to ask: another node is known of after a reload */
        return topology->nodes[0].number;
    if (getcpu(&cpu, &machine_node) != 0)
        return 0;
    if (topology == NULL || !topology->emulated)
        return machine_node < NP_NODES_MAX ? (int)machine_node : 0;
    int node = node_of_cpu(topology, (int)cpu);
    return node >= 0 ? node : first_with_cpus(topology);
}

int np_node_of_this_thread(void)
{
    int node = node_of_cpu(np_topology(), registered_cpu());
    return __builtin_expect(node >= 0, 1) ? node : ask_kernel();
}

unsigned np_node_distance(int from, int to)
{
    const struct np_topology *topology = np_topology();
    return topology ? np_topology_distance(topology, from, to) : NP_DISTANCE_FAR;
}
