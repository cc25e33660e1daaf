/* SPDX-License-Identifier: MIT
 *
 * Faults: misuse that a pool with checks has found. Who made the call, what is said of it, and to whom. Nothing here is reached from a
 * pool without checks.
 */
#ifndef NP_CORE_FAULT_H
#define NP_CORE_FAULT_H

#include <stdint.h>

#include "numapool.h"

struct numapool_pool;
struct np_pool_arena;

/* Notes that the calling thread is in the public call `name` (of static storage), made from `return_address`. Stands
 * until its next public call on a pool with checks. */
void np_call_enter(const char *name, const void *return_address);

/* In a public function. */
#define NP_CALL_ENTER() np_call_enter(__func__, __builtin_return_address(0))

/* Who did something, as it is kept in shared memory: process 32 bits, client 16, call 16. */
uint64_t np_call_who(const struct numapool_pool *pool);
/* Address of the instruction that called; 0 in a pool that keeps no sites. */
uint64_t np_call_site(const struct numapool_pool *pool);
const char *np_call_name(void);

enum { NP_DEED_BYTES = 160 };
/* "by numapool_put at prog(+0x11d3)", or "... of client 7 (pid 1234) at 0x55..." where it was another's. Returns text. */
const char *np_deed_text(char text[NP_DEED_BYTES], const struct numapool_pool *pool, uint64_t who, uint64_t site);

/* Counts the fault, logs it, calls who asked for faults, and returns -EINVAL with the sentence, which begins with the call.
 * pa: the slot's arena, with its index; NULL: no slot. */
__attribute__((format(printf, 6, 7))) int np_fault(struct numapool_pool *pool, const struct np_pool_arena *pa, uint64_t index,
                                                   const void *address, int kind, const char *format, ...);

#endif
