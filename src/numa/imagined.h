/* SPDX-License-Identifier: MIT
 *
 * What imagined nodes (NUMAPOOL_TOPOLOGY) have left: their size less what this process has made on them and not given back. On the
 * machine's own nodes all of this is nothing: the kernel knows what they have.
 *
 * Counted is memory that is bound to a node: payload and slot words of pools, lanes on their receiver's node. Two parts:
 *   made   np_memory_create adds, np_memory_destroy and np_memory_unmap of it subtract; by its address
 *   kept   what a daemon's keeper keeps: the worker, which has it mapped or not, adds all of it up anew before it asks for more
 */
#ifndef NP_NUMA_IMAGINED_H
#define NP_NUMA_IMAGINED_H

#include <stddef.h>
#include <stdint.h>

/* Takes that much of the node's, if there is an imagined one and it has as much left: 0, or -ENOMEM with the sentence. All of these: any
 * thread. */
int np_imagined_take(const char *what, int node, size_t bytes);
/* Undoes it. */
void np_imagined_give(int node, size_t bytes);
/* What was taken is the memory at this address from now on... */
void np_imagined_made(const void *address, int node, size_t bytes);
/* ... until it is unmapped, when it is given back; or left: somebody else keeps it, who is asked (np_imagined_keep), or np_imagined_give
 * ends it. */
void np_imagined_unmapped(const void *address);
void np_imagined_left(const void *address);

/* What others keep, of each of the topology's nodes by its place; replaces what was said before. */
void np_imagined_keep(const uint64_t *bytes, unsigned count);

/* What the node has left; UINT64_MAX: it is no imagined one. */
uint64_t np_imagined_bytes(int node);

#endif
