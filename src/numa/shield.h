/* SPDX-License-Identifier: MIT
 *
 * Going on when memory is taken away. Who may write to a memory file may punch holes into it, sealed as it is, and use up
 * what would fill them again; then whoever touches the hole gets a SIGBUS. A process that must not die of it (the daemon's
 * worker, numapoolctl) starts the shield: private zeros are put where the page was, and it goes on, with numbers that it
 * believes as little as any that clients can write.
 *
 * A fault outside of what is registered, and a SIGBUS that somebody sent, end the process as ever.
 */
#ifndef NP_NUMA_SHIELD_H
#define NP_NUMA_SHIELD_H

#include <stdbool.h>
#include <stddef.h>

/* After so many pages of one mapping all of it is replaced: each page makes the kernel's list of mappings longer, which is
 * bounded. */
#define NP_SHIELD_PAGES_MAX 64u

/* Registers, from now on, every memory file that is mapped here (np_memory_map, np_memory_create). 0 or -errno. Not in a
 * library. */
int np_shield_start(void);

/* By those who map and unmap; nothing before np_shield_start. Not registered for want of memory: it faults as ever. Any
 * thread. */
void np_shield_put(void *address, size_t bytes, size_t page_bytes, const char *what);
void np_shield_drop(const void *address);

/* A mapping from which pages are gone since this was last asked; false: none. Any one thread. */
struct np_shield_loss {
    const void *address;
    unsigned pages; /* since then */
    bool first;     /* nothing was gone from it before */
    char what[64];
};
bool np_shield_next_loss(struct np_shield_loss *loss);

#endif
