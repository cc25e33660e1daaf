/* SPDX-License-Identifier: MIT
 *
 * A descriptor that is kept for the time when there is none left: with it whoever connects can be taken, told why he is not
 * served, and
 * let go. Otherwise he would wait in the listening socket's queue without a word.
 *
 * Owned by the worker's one thread; nothing here waits.
 */
#ifndef NP_DAEMON_SPARE_H
#define NP_DAEMON_SPARE_H

struct np_spare {
    int fd; /* -1: none to be had, and nobody can be told */
};

void np_spare_start(struct np_spare *spare);

/* Refuses those who wait at the socket, at most a bounded number, with np_error's sentence of now and `code`. Who has not
 * asked yet is
 * let go without a word, and connects again. How many there were. */
unsigned np_spare_refuse(struct np_spare *spare, int listen_fd, int code);

#endif
