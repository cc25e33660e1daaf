/* SPDX-License-Identifier: MIT
 *
 * The keeper: the parent, small enough not to fail. It holds the listening socket, the lock file and every descriptor that
 * must outlive a worker, and sees to it that there is one worker, never two. It reads no client's message and maps no memory.
 */
#ifndef NP_DAEMON_KEEPER_H
#define NP_DAEMON_KEEPER_H

#include <stdbool.h>

#include "daemon/config.h"

/* Runs until it is told to end. program: argv[0], for people. ready_fd: gets a newline at the first readiness, or -1.
 * Returns the exit status. */
int np_keeper_run(const struct np_config *config, const char *program, int ready_fd);

/* listener.c: the socket's path, and who may use it. */
struct np_listener {
    const char *path;
    char lock_path[sizeof ((struct np_config *)0)->socket_path + 8];
    int lock_fd, socket_fd;
    bool socket_was_given;
    char made_directory[sizeof ((struct np_config *)0)->socket_path]; /* "": it was there */
};

/* Takes the lock file, then the path, over from a dead daemon if need be. given_fd: a socket that listens there already, made by
 * who started us, or -1. -EADDRINUSE: another daemon has it; -errno. */
int np_listener_open(struct np_listener *listener, const char *path, int given_fd);
/* Removes both files; a socket that was given stays. */
void np_listener_close(struct np_listener *listener);

#endif
