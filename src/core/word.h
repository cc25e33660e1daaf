/* SPDX-License-Identifier: MIT
 *
 * The slot word: 64 bits in shared memory that alone say whose a slot is.
 *
 *     63      60 59           44 43                        16 15             0
 *    +----------+---------------+----------------------------+----------------+
 *    | state  4 |   owner  16   |           seq  28          |     gen  16    |
 *    +----------+---------------+----------------------------+----------------+
 *
 * FREE   nobody's; owner and seq are 0. A zeroed word is FREE of generation 0.
 * HELD   owner is a client's number; in use by it or cached in one of its magazines.
 * SENT   owner is a lane's number, seq the low 28 bits of the message's position on that lane.
 * KEPT   a durable object of a persistent region.
 * SHARED owner is a home lane's number, seq the low 28 bits of a broadcast's position: many lanes carry it (broadcast.h).
 *
 * Legal changes, and by whom: docs/design.md, "The slot word".
 */
#ifndef NP_CORE_WORD_H
#define NP_CORE_WORD_H

#include <stdbool.h>
#include <stdint.h>

enum np_word_state { NP_WORD_FREE = 0, NP_WORD_HELD = 1, NP_WORD_SENT = 2, NP_WORD_KEPT = 3, NP_WORD_SHARED = 4 };

#define NP_WORD_SEQ_BITS 28
#define NP_WORD_SEQ_MASK ((UINT64_C(1) << NP_WORD_SEQ_BITS) - 1)
#define NP_WORD_GEN_MASK UINT64_C(0xffff)
/* HELD, of a pool with checks: some thread of its client is putting or sending it (guard.h). */
#define NP_WORD_PUTTING (UINT64_C(1) << 16)
#define NP_WORD_OWNER_MASK UINT64_C(0xffff)

static inline unsigned np_word_state(uint64_t word)
{
    return (unsigned)(word >> 60);
}

static inline unsigned np_word_owner(uint64_t word)
{
    return (unsigned)(word >> 44 & NP_WORD_OWNER_MASK);
}

static inline uint64_t np_word_seq(uint64_t word)
{
    return word >> 16 & NP_WORD_SEQ_MASK;
}

static inline unsigned np_word_gen(uint64_t word)
{
    return (unsigned)(word & NP_WORD_GEN_MASK);
}

static inline uint64_t np_word_free(unsigned gen)
{
    return gen & NP_WORD_GEN_MASK;
}

/* The FREE word that follows `word`: one generation on, so that handles of before are stale and a CAS of before fails. */
static inline uint64_t np_word_freed(uint64_t word)
{
    return (word + 1) & NP_WORD_GEN_MASK;
}

static inline uint64_t np_word_held(unsigned client, unsigned gen)
{
    return (uint64_t)NP_WORD_HELD << 60 | ((uint64_t)client & NP_WORD_OWNER_MASK) << 44 | (gen & NP_WORD_GEN_MASK);
}

static inline uint64_t np_word_sent(unsigned lane, uint64_t position, unsigned gen)
{
    return (uint64_t)NP_WORD_SENT << 60 | ((uint64_t)lane & NP_WORD_OWNER_MASK) << 44 |
           (position & NP_WORD_SEQ_MASK) << 16 | (gen & NP_WORD_GEN_MASK);
}

/* The same, by the word of the lane's message 0 of generation 0; gen is below 2^16. */
static inline uint64_t np_word_sent_on(uint64_t lane_word, uint64_t position, uint64_t gen)
{
    return lane_word | (position & NP_WORD_SEQ_MASK) << 16 | gen;
}

static inline uint64_t np_word_shared(unsigned home, uint64_t position, unsigned gen)
{
    return (uint64_t)NP_WORD_SHARED << 60 | ((uint64_t)home & NP_WORD_OWNER_MASK) << 44 |
           (position & NP_WORD_SEQ_MASK) << 16 | (gen & NP_WORD_GEN_MASK);
}

/* Everything but the generation: who has it, and which message it is. */
static inline uint64_t np_word_claim(uint64_t word)
{
    return word & ~NP_WORD_GEN_MASK;
}

static inline bool np_word_is_held_by(uint64_t word, unsigned client)
{
    return np_word_claim(word) == np_word_held(client, 0);
}

static inline bool np_word_is_sent_as(uint64_t word, unsigned lane, uint64_t position)
{
    return np_word_claim(word) == np_word_sent(lane, position, 0);
}

#endif
