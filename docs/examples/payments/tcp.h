/* SPDX-License-Identifier: MIT
 * TCP by [ADDRESS:]PORT, as gateway, ledger and sender take it. */
#ifndef PAYMENTS_TCP_H
#define PAYMENTS_TCP_H

#include <stdint.h>

/* A listening socket, close-on-exec; *port is the one that it got (0 asks for any). Without an address: of this machine
 * alone. -1, having said why as `program`. */
int tcp_listen(const char *program, const char *where, uint16_t *port);
/* A connection, close-on-exec. -1, having said why. */
int tcp_connect(const char *program, const char *where);

#endif
