/* SPDX-License-Identifier: MIT
 *
 * A service: requests on one channel, replies on another. A request's key is the address of its requester's receiver; its reply is
 * directed there and has its id. All else is what senders and receivers do anyway. */
#ifndef NP_CHANNEL_SERVICE_H
#define NP_CHANNEL_SERVICE_H

#include "numapool.h"

#define NP_SERVICE_REPLY "/reply"

/* The name of the channel for replies; -EINVAL with the sentence. */
int np_service_reply_channel(char reply[NUMAPOOL_NAME_BYTES], const char *service, const struct numapool_channel_options *options);

#endif
