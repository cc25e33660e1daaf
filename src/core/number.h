/* SPDX-License-Identifier: MIT */
#ifndef NP_CORE_NUMBER_H
#define NP_CORE_NUMBER_H

#include <stdint.h>

/* A number with an optional K, M or G (2^10, 2^20, 2^30). -EINVAL: not one; -ERANGE: beyond 64 bits. No sentence. */
int np_number_parse(const char *text, uint64_t *number);

#endif
