/* SPDX-License-Identifier: MIT */
#include "service/inherit.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "numapool.h"

enum { NOTED_MAX = 256, CLAIMED = -2 };

/* An entry is claimed by an exchange of `fd` (0: vacant; the number plus 1 else), and complete when fd is stored. No
 * lock: a child may have been forked at any moment. */
static struct noted {
    _Atomic int fd;
    pid_t pid;
    uint64_t device, inode; /* a program that closes all it has, and opens others, must not lose those */
} noted[NOTED_MAX];

void np_inherit_note(int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return;
    for (unsigned i = 0; i < NOTED_MAX; i++) {
        int vacant = 0;
        /* acquire, release: what the one before stored in the entry is over; both pair with each other */
        if (!atomic_compare_exchange_strong_explicit(&noted[i].fd, &vacant, CLAIMED, memory_order_acquire, memory_order_relaxed))
            continue;
        noted[i].pid = getpid();
        noted[i].device = status.st_dev;
        noted[i].inode = status.st_ino;
        atomic_store_explicit(&noted[i].fd, fd + 1, memory_order_release);
        return;
    }
}

void np_inherit_forget(int fd)
{
    for (unsigned i = 0; i < NOTED_MAX; i++) {
        int its = fd + 1;
        if (atomic_load_explicit(&noted[i].fd, memory_order_acquire) == its && noted[i].pid == getpid() &&
            atomic_compare_exchange_strong_explicit(&noted[i].fd, &its, 0, memory_order_acq_rel, memory_order_relaxed))
            return;
    }
}

int numapool_child(void)
{
    int closed = 0;
    for (unsigned i = 0; i < NOTED_MAX; i++) {
        int its = atomic_load_explicit(&noted[i].fd, memory_order_acquire); /* pairs with the store that completed it */
        struct stat status;
        if (its == CLAIMED && noted[i].pid != getpid())
            atomic_store_explicit(&noted[i].fd, 0, memory_order_release); /* of a thread that is not here: its descriptor is lost to us */
        if (its <= 0 || noted[i].pid == getpid())
            continue;
        if (fstat(its - 1, &status) == 0 && status.st_dev == noted[i].device && status.st_ino == noted[i].inode && close(its - 1) == 0)
            closed++;
        atomic_store_explicit(&noted[i].fd, 0, memory_order_release);
    }
    return closed;
}
