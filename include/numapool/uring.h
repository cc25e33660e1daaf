/* SPDX-License-Identifier: MIT
 *
 * numapool/uring.h - I/O by io_uring straight into and out of slots, for programs that use liburing (2.3 or later).
 *
 *   guard      tells the daemon, should this process die, when the kernel has let go of its slots
 *   buffers    the pool's payload as fixed buffers: READ_FIXED, WRITE_FIXED, SEND_ZC without a look at page tables each time
 *   bufring    slots that the kernel takes for whatever comes: a multishot receive puts each message into a slot of its own, which is then
 *              the caller's like one from numapool_get, to be read, sent on or put
 *
 * A slot belongs to the kernel from the submission of a request until its completion; with SEND_ZC until the completion that has
 * IORING_CQE_F_NOTIF, which is the second one and comes when the peer has acknowledged the data. Who puts, sends or releases it before
 * that gives away memory that the kernel still uses.
 *
 * Returns 0 or a count, or -errno: liburing's, or one of the library's with its sentence (numapool_errormsg). Threads: a ring, and what is
 * registered with it, one thread at a time. Linux 6.0; all but SEND_ZC 5.19. Inline only: link with -luring.
 * numapool_io(3) has the whole story, and a relay without a copy. Compiles as C99, C11 and C++11, with _GNU_SOURCE defined, which liburing.h
 * wants.
 */
#ifndef NUMAPOOL_URING_H
#define NUMAPOOL_URING_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE before the first #include: liburing.h, which numapool/uring.h includes, needs it"
#endif

#include <errno.h>
#include <liburing.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "numapool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- whether it can be had */

/* What to tell people when io_uring_queue_init returned -error, or another call of this file did. */
static inline const char *numapool_ring_refusal(int error)
{
    switch (error < 0 ? -error : error) {
    case EPERM:
    case EACCES:
        return "io_uring is forbidden here: set sysctl kernel.io_uring_disabled=0 (or join kernel.io_uring_group), and allow io_uring_setup, "
               "io_uring_enter and io_uring_register in the seccomp profile";
    case ENOSYS:
        return "this kernel has no io_uring: it needs Linux 5.19 or later with CONFIG_IO_URING, and a seccomp profile that allows it";
    case ENOMEM:
        return "not enough memory may be locked for the io_uring: raise RLIMIT_MEMLOCK (LimitMEMLOCK=)";
    case EMFILE:
    case ENFILE:
        return "no descriptor is left for the io_uring: raise RLIMIT_NOFILE";
    case EINVAL:
    case EOPNOTSUPP:
        return "this kernel's io_uring cannot do that: provided-buffer rings need Linux 5.19, multishot receive and SEND_ZC 6.0";
    case EBUSY:
    case EEXIST:
        return "something of that kind is registered with the io_uring already";
    default:
        return "the io_uring does not work";
    }
}

/* 1: the kernel knows this opcode (IORING_OP_SEND_ZC); 0: it does not. */
static inline int numapool_ring_can(struct io_uring *ring, int opcode)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    int can = probe != NULL && io_uring_opcode_supported(probe, opcode);
    io_uring_free_probe(probe);
    return can;
}

/* ---------------------------------------------------------------- guard */

/* Registers this client's I/O token as the ring's fixed file 0, before its first request on a slot. The ring then has a
 * table of one file. -EBUSY: it has a table already; give that a place for the token and use guard_at. A forked child has
 * the ring's memory no more (io_uring_ring_dontfork): mapped there, it would keep the ring alive after this process. */
static inline int numapool_ring_guard(struct numapool_client *client, struct io_uring *ring)
{
    int token = numapool_io_token(client);
    int done = token < 0 ? token : io_uring_ring_dontfork(ring);
    return done < 0 ? done : io_uring_register_files(ring, &token, 1);
}

/* The same at `index` of the table of fixed files that the ring has. 0, or -errno. The token must stay there as long as
 * the ring lives. */
static inline int numapool_ring_guard_at(struct numapool_client *client, struct io_uring *ring, unsigned index)
{
    int token = numapool_io_token(client);
    int done = token < 0 ? token : io_uring_ring_dontfork(ring);
    if (done == 0)
        done = io_uring_register_files_update(ring, index, &token, 1);
    return done < 0 ? done : done == 1 ? 0 : -EINVAL;
}

/* ---------------------------------------------------------------- fixed buffers */

/* Registers pieces first .. of the pool (numapool_pool_iovecs) at the same numbers of the ring's table. How many there
 * are now. */
static inline int numapool_ring_buffers_from(struct numapool_pool *pool, struct io_uring *ring, int first)
{
    int count = numapool_pool_iovecs(pool, NULL, 0), done = 0;
    struct iovec *pieces;
    if (count <= first)
        return count;
    pieces = (struct iovec *)calloc((size_t)count, sizeof(*pieces));
    if (pieces == NULL)
        return -ENOMEM;
    count = numapool_pool_iovecs(pool, pieces, (unsigned)count) < count ? -EINVAL : count; /* it only grows */
    if (count > first)
        done = io_uring_register_buffers_update_tag(ring, (unsigned)first, pieces + first, NULL, (unsigned)(count - first));
    free(pieces);
    return done < 0 ? done : count;
}

/* Registers the whole payload of the pool as fixed buffers; what is asked of the table is then numapool_buf_index.
 * `room`: entries of the table, 0: as many as there are pieces; more leaves room for numapool_ring_buffers_grown. The
 * pages stay pinned as long as the ring has them (RLIMIT_MEMLOCK, where the user is not root). How many pieces were
 * registered. */
static inline int numapool_ring_buffers(struct numapool_pool *pool, struct io_uring *ring, unsigned room)
{
    int count = numapool_pool_iovecs(pool, NULL, 0), done;
    if (count < 0)
        return count;
    done = io_uring_register_buffers_sparse(ring, room > (unsigned)count ? room : (unsigned)count);
    if (done < 0)
        return done;
    done = numapool_ring_buffers_from(pool, ring, 0);
    if (done < 0)
        io_uring_unregister_buffers(ring);
    return done;
}

/* After the pool has grown: registers the pieces that have come since `registered` were there. How many there are now;
 * -EINVAL: more than the table has room for. */
static inline int numapool_ring_buffers_grown(struct numapool_pool *pool, struct io_uring *ring, int registered)
{
    return numapool_ring_buffers_from(pool, ring, registered);
}

/* Reads up to `bytes` from file offset `offset` (-1: the file's own position, as for a socket or pipe) into the slot,
 * beginning `at` bytes into it. -EINVAL: not a slot of the pool, or beyond its end. */
static inline int numapool_prep_read(struct io_uring_sqe *sqe, const struct numapool_pool *pool, int fd, void *slot, unsigned at,
                                     unsigned bytes, int64_t offset)
{
    int piece = numapool_buf_index(pool, slot);
    if (piece < 0)
        return piece;
    if ((uint64_t)at + bytes > numapool_slot_bytes(pool))
        return -EINVAL;
    io_uring_prep_read_fixed(sqe, fd, (char *)slot + at, bytes, (uint64_t)offset, piece);
    return 0;
}

static inline int numapool_prep_write(struct io_uring_sqe *sqe, const struct numapool_pool *pool, int fd, const void *slot, unsigned at,
                                      unsigned bytes, int64_t offset)
{
    int piece = numapool_buf_index(pool, slot);
    if (piece < 0)
        return piece;
    if ((uint64_t)at + bytes > numapool_slot_bytes(pool))
        return -EINVAL;
    io_uring_prep_write_fixed(sqe, fd, (const char *)slot + at, bytes, (uint64_t)offset, piece);
    return 0;
}

/* Sends `bytes` out of the slot on a socket without a copy. Two completions: the result (IORING_CQE_F_MORE tells that
 * another follows), and, when the slot is the caller's again, the one with IORING_CQE_F_NOTIF. */
static inline int numapool_prep_send_zc(struct io_uring_sqe *sqe, const struct numapool_pool *pool, int socket, const void *slot,
                                        unsigned at, unsigned bytes, int msg_flags)
{
    int piece = numapool_buf_index(pool, slot);
    if (piece < 0)
        return piece;
    if ((uint64_t)at + bytes > numapool_slot_bytes(pool))
        return -EINVAL;
    io_uring_prep_send_zc_fixed(sqe, socket, (const char *)slot + at, bytes, msg_flags, 0, (unsigned)piece);
    return 0;
}

/* ---------------------------------------------------------------- slots for whatever comes */

/* A ring of slots that the kernel takes from (IORING_REGISTER_PBUF_RING). The slots are this client's, and come from a
 * magazine of the caller's thread and go back there. */
struct numapool_bufring {
    struct io_uring *ring;
    struct numapool_magazine *magazine;
    struct io_uring_buf_ring *shared; /* with the kernel */
    void **slots;                     /* by buffer id; NULL: the id is vacant */
    uint16_t *vacant;                 /* ids without a slot */
    unsigned vacant_count;
    unsigned count;
    unsigned bytes;
    uint16_t group;
};

/* Makes one, empty: numapool_bufring_fill gives it slots.
 *   count  slots that the kernel may have at once, a power of two, 1..32768
 *   group  the number that requests name it by (sqe->buf_group), chosen by the caller
 *   bytes  offered of each slot; 0: all of it. A message that is longer goes on in the next slot
 * 0; -EINVAL, also: a kernel before 5.19; -EEXIST: the group is there; -ENOMEM. */
static inline int numapool_bufring_open(struct numapool_bufring *bufring, struct io_uring *ring, const struct numapool_pool *pool,
                                        struct numapool_magazine *magazine, unsigned count, uint16_t group, unsigned bytes)
{
    struct io_uring_buf_reg registration;
    uint64_t slot_bytes = numapool_slot_bytes(pool);
    size_t length = count * sizeof(struct io_uring_buf);
    void *shared;
    int result;
    unsigned i;
    memset(bufring, 0, sizeof(*bufring));
    if (count == 0 || count > 32768 || (count & (count - 1)) != 0 || slot_bytes == 0 || bytes > slot_bytes)
        return -EINVAL;
    shared = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return -ENOMEM;
    (void)madvise(shared, length, MADV_DONTFORK);
    bufring->slots = (void **)calloc(count, sizeof(*bufring->slots));
    bufring->vacant = (uint16_t *)calloc(count, sizeof(*bufring->vacant));
    memset(&registration, 0, sizeof(registration));
    registration.ring_addr = (uint64_t)(uintptr_t)shared;
    registration.ring_entries = count;
    registration.bgid = group;
    result = bufring->slots != NULL && bufring->vacant != NULL ? io_uring_register_buf_ring(ring, &registration, 0) : -ENOMEM;
    if (result < 0) {
        free(bufring->slots);
        free(bufring->vacant);
        munmap(shared, length);
        memset(bufring, 0, sizeof(*bufring));
        return result;
    }
    bufring->ring = ring;
    bufring->magazine = magazine;
    bufring->shared = (struct io_uring_buf_ring *)shared;
    io_uring_buf_ring_init(bufring->shared);
    for (i = 0; i < count; i++)
        bufring->vacant[bufring->vacant_count++] = (uint16_t)(count - 1 - i);
    bufring->count = count;
    bufring->bytes = bytes != 0 ? bytes : slot_bytes > UINT32_MAX ? UINT32_MAX : (unsigned)slot_bytes;
    bufring->group = group;
    return 0;
}

/* Takes slots from the magazine and gives them to the kernel until it has `count`, or the pool is empty. How many it has
 * now. A request that finds none completes with -ENOBUFS and is to be armed again after the next fill. */
static inline unsigned numapool_bufring_fill(struct numapool_bufring *bufring)
{
    int added = 0;
    while (bufring->vacant_count > 0) {
        void *slot = numapool_get(bufring->magazine);
        uint16_t id;
        if (slot == NULL)
            break;
        id = bufring->vacant[--bufring->vacant_count];
        bufring->slots[id] = slot;
        io_uring_buf_ring_add(bufring->shared, slot, bufring->bytes, id, io_uring_buf_ring_mask(bufring->count), added++);
    }
    if (added > 0)
        io_uring_buf_ring_advance(bufring->shared, added);
    return bufring->count - bufring->vacant_count;
}

/* A multishot receive from a socket into these slots, one completion each; armed again when a completion comes without
 * IORING_CQE_F_MORE. user_data is the caller's to set, afterwards. */
static inline void numapool_prep_receive(struct io_uring_sqe *sqe, const struct numapool_bufring *bufring, int socket)
{
    io_uring_prep_recv_multishot(sqe, socket, NULL, 0, 0);
    sqe->flags = (uint8_t)(sqe->flags | IOSQE_BUFFER_SELECT);
    sqe->buf_group = bufring->group;
}

/* The slot that a completion of such a request has filled, cqe->res bytes from its beginning. From now on it is the
 * caller's; without this call nobody ever uses it. NULL: the completion has none (the end of the stream, an error). */
static inline void *numapool_bufring_take(struct numapool_bufring *bufring, const struct io_uring_cqe *cqe)
{
    unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    void *slot;
    if ((cqe->flags & IORING_CQE_F_BUFFER) == 0 || id >= bufring->count || bufring->slots[id] == NULL)
        return NULL;
    slot = bufring->slots[id];
    bufring->slots[id] = NULL;
    bufring->vacant[bufring->vacant_count++] = (uint16_t)id;
    return slot;
}

/* Takes the slots that the kernel has back from it and puts them into the magazine. Before it cancel the requests that
 * name this group, and take what their completions bring: this gives back every slot that was not taken. 0, or -errno:
 * then the kernel may still have them, and they stay away until the process ends. */
static inline int numapool_bufring_close(struct numapool_bufring *bufring)
{
    unsigned i;
    int result;
    if (bufring->shared == NULL)
        return 0;
    result = io_uring_unregister_buf_ring(bufring->ring, bufring->group);
    if (result < 0)
        return result;
    for (i = 0; i < bufring->count; i++)
        if (bufring->slots[i] != NULL)
            numapool_put(bufring->magazine, bufring->slots[i]);
    munmap(bufring->shared, bufring->count * sizeof(struct io_uring_buf));
    free(bufring->slots);
    free(bufring->vacant);
    memset(bufring, 0, sizeof(*bufring));
    return 0;
}

#ifdef __cplusplus
}
#endif
#endif
