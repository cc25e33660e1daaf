/* SPDX-License-Identifier: MIT
 *
 * Pages that were moved away, from outside or by the kernel, brought back by the keeper: it has every descriptor, and alone
 * of the two halves keeps CAP_SYS_NICE, without which nobody moves pages that others have mapped. The worker, which reads
 * what clients write, has none.
 *
 * For the length of one MEND the keeper maps one slice of what it keeps, for reading, and touches no byte of it; nothing
 * that a worker says makes it do more than that: move pages of stored memory, within its size, onto a node.
 */
#ifndef NP_DAEMON_MEND_H
#define NP_DAEMON_MEND_H

#include "daemon/store.h"

/* Does what a MEND asks for; *answer is what to say as MENDED. Takes as long as copying a slice (a page of 1 GiB: a
 * second). */
void np_mend(const struct np_store *store, const struct np_record *asked, struct np_mend *answer);

#endif
