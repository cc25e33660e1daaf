/* SPDX-License-Identifier: MIT
 *
 * A file that may be another build of numapoold: opened, looked at, and asked what it is (--probe) by a child with a limit of time.
 * Nothing waits: whoever asks looks again when the child has ended, has said something, or its time is over.
 *
 * The file is opened once, and what was asked is what is run later: a path may lead elsewhere by then.
 */
#ifndef NP_DAEMON_CANDIDATE_H
#define NP_DAEMON_CANDIDATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/probe.h"

struct np_candidate {
    const char *path;
    int fd;     /* O_PATH; -1: none */
    pid_t pid;  /* of its --probe; 0: none runs */
    int said_fd;
    int64_t deadline_ns; /* INT64_MAX: none runs, or it has been killed */
    bool late;
    int how;    /* wait status */
    size_t bytes;
    char said[NP_PROBE_TEXT_MAX + 1];
};

/* Opens it: a regular file of root's or of this user, that no others may write. `path` must live as long. 0; -errno with the
 * sentence, and nothing is open. */
int np_candidate_open(struct np_candidate *candidate, const char *path);
/* Starts its --probe. 0; -errno with the sentence. */
int np_candidate_ask(struct np_candidate *candidate);
/* 1: *probe is what it says of itself. 0: it has not ended yet. -EPROTO, -ETIMEDOUT, -ENOEXEC with the sentence: it is no numapoold
 * that can be asked. */
int np_candidate_look(struct np_candidate *candidate, struct np_probe *probe);
/* Ends what runs. Its fd is the caller's if he has taken it (-1 then). */
void np_candidate_close(struct np_candidate *candidate);

#endif
