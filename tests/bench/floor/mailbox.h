/* SPDX-License-Identifier: MIT
 *
 * Floors: what an exchange of messages by copies costs at least. Each end writes its message in memory of its own, copies it into a
 * mailbox in each direction, and out of it into memory of its own, where it reads it.
 */
#ifndef NP_BENCH_FLOOR_MAILBOX_H
#define NP_BENCH_FLOOR_MAILBOX_H

#include "../bench.h"

extern const struct bench_variant floor_mailbox_16, floor_mailbox_128, floor_mailbox_1024, floor_mailbox_4096;

#endif
