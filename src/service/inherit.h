/* SPDX-License-Identifier: MIT
 * Descriptors that a forked child inherits: its parent's sessions and tokens. The child finds its parent's handles wiped, so what to close stands here. */
#ifndef NP_SERVICE_INHERIT_H
#define NP_SERVICE_INHERIT_H

/* This process has opened fd for a session: a child may close its copy. One that finds no room is closed at the child's
 * end or exec, as it would be without this. */
void np_inherit_note(int fd);
/* It is going to be closed. */
void np_inherit_forget(int fd);

#endif
