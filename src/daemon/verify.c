/* SPDX-License-Identifier: MIT
 *
 * Where the pages of a pool are, for who looks. The worker has no page tables over payload, and building them takes a second
 * for each few gigabytes: so it maps, asks about and unmaps a slice at a time, and does its other work in between. Nothing is
 * read or written in a slice.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/worker.h"
#include "numa/placement.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum { SLICE_BYTES = 16 << 20 };

static void tell(struct np_worker *worker)
{
    const struct np_verify *verify = &worker->verify;
    const struct np_pool_entry *entry = &worker->board.pools[verify->pool];
    struct np_wire_answer *answer = &verify->connection->answer;
    answer->of.verify.node = entry->arena[verify->arena].node;
    answer->of.verify.misplaced = verify->misplaced[1];
    answer->of.verify.words_misplaced = verify->misplaced[0];
}

static void finish(struct np_worker *worker, int result)
{
    struct np_verify *verify = &worker->verify;
    struct np_connection *connection = verify->connection;
    verify->under_way = false;
    connection->awaits_verify = false;
    if (result == 0)
        tell(worker);
    verify->connection = NULL;
    np_connection_answer(connection, result);
}

static int look_at_slice(struct np_worker *worker, int fd, uint64_t bytes, uint64_t page_bytes, int node)
{
    struct np_verify *verify = &worker->verify;
    uint64_t slice = bytes - verify->offset < SLICE_BYTES ? bytes - verify->offset : SLICE_BYTES, misplaced;
    void *address = mmap(NULL, slice, PROT_READ, MAP_SHARED, fd, (off_t)verify->offset);
    if (address == MAP_FAILED)
        return np_error(-errno, "cannot map a slice of the pool to look at it: %s", strerror(errno));
    madvise(address, slice, MADV_DONTFORK);
    int result = madvise(address, slice, MADV_POPULATE_READ) == 0
                     ? np_memory_verify(address, slice, page_bytes, node, &misplaced)
                     : np_error(-errno, "cannot build page tables to look at the pool (%s)", strerror(errno));
    munmap(address, slice);
    if (result < 0)
        return result;
    verify->misplaced[verify->in_data] += misplaced;
    verify->offset += slice;
    return 0;
}

/* Goes on to what comes after the end of a piece. True: there is more. */
static bool next_piece(struct np_verify *verify, struct np_pool_entry *entry)
{
    verify->offset = 0;
    verify->in_data = !verify->in_data;
    if (verify->in_data)
        return true;
    entry->arena[verify->arena].misplaced_pages = verify->misplaced[1];
    entry->arena[verify->arena].words_misplaced = verify->misplaced[0];
    return false;
}

static void next_slice(struct np_timer *timer)
{
    struct np_worker *worker = timer->context;
    struct np_verify *verify = &worker->verify;
    struct np_pool_entry *entry = &worker->board.pools[verify->pool];
    struct np_store_key key = { verify->in_data ? NP_STORE_DATA : NP_STORE_META, verify->pool, verify->arena };
    uint64_t bytes = np_premises_bytes(worker, key);
    /* Of the words nothing says on which pages they are: they are asked for by small ones. */
    uint64_t page_bytes = verify->in_data ? entry->arena[verify->arena].page_bytes : 4096;
    int result = look_at_slice(worker, np_store_get(&worker->store, key), bytes, page_bytes, entry->arena[verify->arena].node);
    if (result < 0 || (verify->offset >= bytes && !next_piece(verify, entry)))
        finish(worker, result);
    else
        np_timer_set(timer, np_monotonic_ns());
}

void np_verify_start(struct np_worker *worker)
{
    worker->verify.next_slice = (struct np_timer){ .due = next_slice, .context = worker };
    np_loop_timer_add(worker->loop, &worker->verify.next_slice);
}

void np_verify_pool_gone(struct np_worker *worker, uint32_t pool)
{
    struct np_verify *verify = &worker->verify;
    if (!verify->under_way || verify->pool != pool)
        return;
    np_timer_set(&verify->next_slice, INT64_MAX);
    finish(worker, np_error(-ENOENT, "pool '%.47s' was destroyed while its pages were looked at", worker->board.pools[pool].name));
}

int np_verify_begin(struct np_connection *connection, uint32_t pool, uint32_t arena)
{
    struct np_verify *verify = &connection->worker->verify;
    if (verify->under_way)
        return np_error(-EAGAIN, "the daemon is just looking where another pool's pages are: try again");
    verify->under_way = true;
    verify->connection = connection;
    connection->awaits_verify = true;
    verify->pool = pool;
    verify->arena = arena;
    verify->in_data = false;
    verify->offset = 0;
    memset(verify->misplaced, 0, sizeof verify->misplaced);
    np_timer_set(&verify->next_slice, np_monotonic_ns());
    return 0;
}
