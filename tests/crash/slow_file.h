/* SPDX-License-Identifier: MIT
 *
 * A file whose reads end when the test wants: served by a process of the test through /dev/fuse. Direct reads of it stay in flight in
 * the kernel, with the reader's memory pinned, until they are answered, whether the reader lives or not; then the kernel writes
 * into that memory. Needs root, /dev/fuse and a mount namespace of one's own.
 */
#ifndef NUMAPOOL_TESTS_CRASH_SLOW_FILE_H
#define NUMAPOOL_TESTS_CRASH_SLOW_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

enum { SLOW_FILE_BYTE = 0xd1, SLOW_FILE_WAITING_MAX = 256 };

struct slow_file {
    char directory[64];
    char path[80];
    struct slow_file_shared {
        _Atomic unsigned waiting; /* reads that are in flight */
        _Atomic unsigned answered;
        _Atomic int go;           /* 1: answer those that wait, and all that come */
    } *shared;
    pid_t server;
};

/* Mounts it and starts its server. NULL, or why it cannot be here. */
const char *slow_file_start(struct slow_file *file, const char *directory);
void slow_file_stop(struct slow_file *file);

#endif
