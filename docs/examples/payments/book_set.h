/* SPDX-License-Identifier: MIT
 * A set of numbers up to 2^32, one bit each, in pieces that are made when they are first needed. */
#ifndef PAYMENTS_BOOK_SET_H
#define PAYMENTS_BOOK_SET_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BOOK_SET_PIECE_BITS UINT64_C(32768)

struct book_set {
    uint64_t **pieces;
    size_t piece_count;
};

/* 1: the number was not in it and now is; 0: it was; -ENOMEM; -ERANGE. */
static inline int book_set_add(struct book_set *set, uint64_t number)
{
    const uint64_t piece = number / BOOK_SET_PIECE_BITS, bit = number % BOOK_SET_PIECE_BITS;
    if (number > UINT32_MAX)
        return -ERANGE;
    if (piece >= set->piece_count) {
        size_t count = set->piece_count != 0 ? set->piece_count : 1;
        while (count <= piece)
            count *= 2;
        uint64_t **pieces = realloc(set->pieces, count * sizeof(*pieces));
        if (pieces == NULL)
            return -ENOMEM;
        memset(pieces + set->piece_count, 0, (count - set->piece_count) * sizeof(*pieces));
        set->pieces = pieces;
        set->piece_count = count;
    }
    if (set->pieces[piece] == NULL) {
        set->pieces[piece] = calloc(BOOK_SET_PIECE_BITS / 64, sizeof(uint64_t));
        if (set->pieces[piece] == NULL)
            return -ENOMEM;
    }
    uint64_t *word = &set->pieces[piece][bit / 64];
    const uint64_t mask = UINT64_C(1) << (bit % 64);
    if ((*word & mask) != 0)
        return 0;
    *word |= mask;
    return 1;
}

static inline void book_set_free(struct book_set *set)
{
    for (size_t i = 0; i < set->piece_count; i++)
        free(set->pieces[i]);
    free(set->pieces);
    *set = (struct book_set){ 0 };
}

#endif
