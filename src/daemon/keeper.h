/* SPDX-License-Identifier: MIT
 *
 * The keeper: the parent, small enough not to fail. It holds the listening socket, the lock file and every descriptor that
 * must outlive a worker, and sees to it that there is one worker, never two. It reads no client's message. It maps memory only to
 * have pages moved (mend.h), and touches none of it.
 */
#ifndef NP_DAEMON_KEEPER_H
#define NP_DAEMON_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/config.h"

/* Runs until it is told to end. program: argv[0], for people. ready_fd: gets a newline at the first readiness, or -1.
 * Returns the exit status. */
int np_keeper_run(const struct np_config *config, const char *program, int ready_fd);

/* listener.c: the socket's path, and who may use it. */
struct np_listener {
    const char *path;
    char lock_path[sizeof ((struct np_config *)0)->socket_path + 8];
    int lock_fd, socket_fd;
    bool socket_is_others;
    char made_directory[sizeof ((struct np_config *)0)->socket_path]; /* "": it was there */
};

/* Takes the lock file, then the path, over from a dead daemon if need be. given_fd: a socket that may be used, or -1: made by who
 * started us, whose it stays (given_inode 0), or by a keeper before us at a path of that inode, if the path still is.
 * -EADDRINUSE: another daemon has it; -errno. */
int np_listener_open(struct np_listener *listener, const char *path, int given_fd, uint64_t given_inode);
/* Of the path. 0: it cannot be told. */
uint64_t np_listener_inode(const struct np_listener *listener);
/* Removes both files; the socket's not if it is somebody else's, or is to listen on for the next keeper. */
void np_listener_close(struct np_listener *listener, bool socket_stays);

#endif
