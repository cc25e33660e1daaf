/* SPDX-License-Identifier: MIT
 *
 * What a memory checker that the user runs (AddressSanitizer in his program, or valgrind's memcheck around it) is told of the slots of a pool
 * with checks: which of them this process may touch. Everything is shut but the slots that are in this process's hands, so that use after
 * put, send or release is found at the instruction that does it, with the checker's own stacks. Without a checker these calls do nothing
 * but a test. Private to the process; what other processes may touch is their checkers' affair.
 */
#ifndef NP_CORE_CHECKER_H
#define NP_CORE_CHECKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The payload of one arena. */
struct np_checker {
    char *data;
    size_t bytes;
    size_t stride;
    size_t usable;
    _Atomic uint8_t *chunks; /* by slot: memcheck has it as a block of the pool; NULL: no memcheck */
    struct np_checker *next; /* of all that are begun */
};

/* Shuts all of it. 0, -ENOMEM. */
int np_checker_begin(struct np_checker *checker, char *data, uint64_t slots, size_t stride, size_t usable);
/* Opens all of it, before it is unmapped: other memory will be at that address. */
void np_checker_end(struct np_checker *checker);

/* The slot is in this process's hands: its usable bytes, not what lies behind. filled: another has written it (a
 * message). May be said of one that is open. */
void np_checker_open(struct np_checker *checker, uint64_t index, bool filled);
/* Nobody here may touch it. May be said of one that is shut. */
void np_checker_shut(struct np_checker *checker, uint64_t index);
/* It may be another's, and is only to be looked at. */
void np_checker_look(struct np_checker *checker, uint64_t index);
/* The library itself is going to read or write all of it, guard included; np_checker_open or _shut follows. */
void np_checker_touch(struct np_checker *checker, uint64_t index);

#endif
