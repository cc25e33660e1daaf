/* SPDX-License-Identifier: MIT
 *
 * What a container takes away from a process: system calls, by the filter that Docker has by default since version 25 (moby,
 * profiles/seccomp/default.json: everything is refused but what it lists), and capabilities, but for those that Docker leaves to root.
 */
#ifndef NUMAPOOL_TESTS_CRASH_CONTAINER_H
#define NUMAPOOL_TESTS_CRASH_CONTAINER_H

#include <stdbool.h>

enum container {
    CONTAINER_PLAIN = 0,
    CONTAINER_SYS_NICE = 1, /* docker run --cap-add SYS_NICE */
    CONTAINER_IO_URING = 2, /* with the three calls of io_uring added to the profile */
    CONTAINER_MOVE_PAGES = 4
};

/* For ever, for this process and those that it starts. False: there are no filters here; errno says why. */
bool container_enter(unsigned which);
/* Refuses one call more, with this errno. */
bool container_refuse(long call, int code);

#endif
