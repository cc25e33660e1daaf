/* SPDX-License-Identifier: MIT
 * The ledger's replies to those who sent payments over TCP. A reply leaves the slot that it was written into without a copy
 * (SEND_ZC, where the kernel has it), and the slot is put back when the kernel says that it is done with it. */
#ifndef PAYMENTS_REPLIES_H
#define PAYMENTS_REPLIES_H

#include <stdbool.h>
#include <stdint.h>

#include "session.h"
#include "stream.h"

struct replies;

/* Listens on [ADDRESS:]PORT. Whoever connects says eight bytes, the session of his payments, and is sent eight bytes
 * back, the same, when he has been heard. `copies`: even where the kernel could do without. NULL, having said why. */
struct replies *replies_open(const struct session *session, const char *where, bool copies, uint16_t *port);
/* The connection of the gateway with this number has this name, which ends in '#' and its session. */
void replies_name(struct replies *replies, uint32_t file, const char *name);
/* Who has no connection here gets none. */
void replies_add(struct replies *replies, uint32_t file, const struct stream_reply *reply);
/* Sends what there is, and sees what has happened meanwhile. Does not wait. */
void replies_run(struct replies *replies);
/* Something is under way: to be run again soon. */
bool replies_are_busy(const struct replies *replies);
/* Sends the rest, waits for the kernel to let go of the slots, says how many replies there were. */
void replies_close(struct replies *replies);

#endif
