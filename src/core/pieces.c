/* SPDX-License-Identifier: MIT
 *
 * A pool's payload in pieces that can be registered with an io_uring: at most 1 GiB each, which is the kernel's limit for one
 * fixed buffer, each of whole slots, so that no slot's I/O crosses two. Arena by arena; a new arena comes last, and so the number of a
 * slot's piece stays as it is when the pool grows.
 */
#include <errno.h>
#include <sys/uio.h>

#include "core/error.h"
#include "core/pool.h"

#define PIECE_BYTES_MAX (UINT64_C(1) << 30)

static uint64_t slots_in_piece(const struct np_arena *arena)
{
    return PIECE_BYTES_MAX / arena->stride; /* a stride is at most that much */
}

static uint64_t pieces_of(const struct np_arena *arena)
{
    uint64_t each = slots_in_piece(arena);
    return (arena->slots + each - 1) / each;
}

static int check(const struct numapool_pool *pool)
{
    int result = np_pool_check(pool);
    if (result < 0)
        return result;
    if (pool->mode == NUMAPOOL_MODE_READONLY)
        return np_error(-EROFS, "pool '%s' was opened READONLY, and the kernel registers only memory that may be written: open it without",
                        pool->name);
    if (pool->flags & NUMAPOOL_MALLOC)
        return np_error(-EOPNOTSUPP, "each slot of pool '%s' is a block of malloc of its own (NUMAPOOL_MALLOC): there is no payload to register",
                        pool->name);
    return 0;
}

int numapool_pool_iovecs(const struct numapool_pool *pool, struct iovec *pieces, unsigned n)
{
    int result = check(pool);
    if (result < 0)
        return result;
    if (n > 0 && !pieces)
        return np_error_static(-EINVAL, "numapool_pool_iovecs: pieces is NULL and n is not 0");
    unsigned count = 0;
    for (unsigned i = 0; i < np_pool_arena_count(pool); i++) {
        const struct np_arena *arena = &pool->arenas[i].arena;
        uint64_t each = slots_in_piece(arena);
        for (uint64_t first = 0; first < arena->slots; first += each, count++) {
            uint64_t slots = arena->slots - first < each ? arena->slots - first : each;
            if (count < n)
                pieces[count] = (struct iovec){ np_arena_slot(arena, first), slots * arena->stride };
        }
    }
    return (int)count;
}

int numapool_buf_index(const struct numapool_pool *pool, const void *slot)
{
    uint64_t index, before = 0;
    int result = check(pool);
    if (result < 0)
        return result;
    const struct np_pool_arena *its = np_pool_locate(pool, slot, &index);
    if (!its)
        return np_error(-EINVAL, "%p is not the beginning of a slot of pool '%s'", slot, pool->name);
    for (unsigned i = 0; &pool->arenas[i] != its; i++)
        before += pieces_of(&pool->arenas[i].arena);
    return (int)(before + index / slots_in_piece(&its->arena));
}
