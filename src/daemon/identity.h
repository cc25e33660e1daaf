/* SPDX-License-Identifier: MIT
 * Who is at the other end of a socket, by the kernel's word alone. */
#ifndef NP_DAEMON_IDENTITY_H
#define NP_DAEMON_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct np_identity {
    pid_t pid; /* 0: in a pid namespace that cannot be seen from here */
    uid_t uid;
    gid_t gid;
};

/* SO_PEERCRED. */
int np_identity_of_socket(int socket, struct np_identity *identity);

/* SO_PEERGROUPS: the groups that it had besides when it connected, ascending. How many, `room` at most; 0 also when the
 * kernel does not say. */
unsigned np_identity_groups_of_socket(int socket, gid_t *groups, unsigned room);

/* A pidfd of that very process: SO_PEERPIDFD where the kernel has it (6.5), else pidfd_open, looked at again by the start
 * time. A descriptor, close-on-exec; -ESRCH: it is gone. */
int np_identity_pidfd_of_socket(int socket, const struct np_identity *identity);

/* A pidfd of `pid` if it still is the process that was started at start_ticks; -ESRCH: it is gone. Other codes say nothing
 * of the process: -EMFILE, -ENOMEM; -EACCES: when it was started cannot be seen. */
int np_identity_pidfd_of_process(pid_t pid, uint64_t start_ticks);

/* /proc/PID/stat field 22, or 0. The other: of such a text, for tests. */
uint64_t np_identity_start_ticks(pid_t pid);
uint64_t np_identity_start_ticks_in(const char *text);

/* Whether the process of a pidfd is gone, all of its threads. */
bool np_identity_is_gone(int pidfd);

/* A line of /proc/PID/maps: its inode when it is a mapping of a memory file of numapool's, else 0. Never reads beyond
 * bytes. */
uint64_t np_identity_inode_in(const char *line, size_t bytes);

#endif
