/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/maker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon/access.h"
#include "daemon/log.h"
#include "daemon/worker.h"
#include "numa/imagined.h"

/* ---------------------------------------------------------------- making */

static int make_piece(struct np_memory *memory, const struct np_maker_work *work, const struct np_maker_arena *arena, const char *kind,
                      size_t bytes, uint64_t page_flags)
{
    char what[96];
    snprintf(what, sizeof what, "%s of pool '%s' on node %d", kind, work->pool_name, arena->node);
    return np_memory_create(memory, what, bytes, arena->node, page_flags, NP_SHARED);
}

static void discard(struct np_memory *memory)
{
    if (memory->address == NULL)
        np_imagined_give(memory->node, memory->bytes);
    np_memory_unmap(memory->address, memory->bytes);
    if (memory->fd >= 0)
        close(memory->fd);
    *memory = (struct np_memory){ .fd = -1 };
}

static void discard_arena(struct np_maker_arena *arena)
{
    discard(&arena->data);
    discard(&arena->meta);
    arena->node = -1;
}

/* The pool has no arena before this one there. */
static bool is_first_of_node(const struct np_maker_work *work, unsigned i)
{
    for (unsigned before = 0; before < work->first; before++)
        if (work->nodes_before[before] == work->arenas[i].node)
            return false;
    for (unsigned before = 0; before < i; before++)
        if (work->arenas[before].node == work->arenas[i].node)
            return false;
    return true;
}

static int make_arena_on(struct np_maker_work *work, unsigned i, int node)
{
    struct np_maker_arena *arena = &work->arenas[i];
    const uint64_t slots = work->plan.arenas[i].slots;
    arena->node = node;
    int result = make_piece(&arena->data, work, arena, "payload", slots * np_arena_stride_of(work->slot_bytes, work->flags), work->flags);
    if (result < 0)
        return result;
    np_imagined_left(arena->data.address); /* it stays, and counts until the keeper's count has it or it is discarded */
    np_memory_unmap(arena->data.address, arena->data.bytes);
    arena->data.address = NULL;
    result = make_piece(&arena->meta, work, arena, "slot words", np_arena_meta_bytes(slots, work->sleepers_max, work->flags), NP_PAGES_MIXED);
    if (result < 0)
        return result;
    np_arena_format(arena->meta.address, slots, work->slot_bytes, work->pool, work->first + i, node, work->sleepers_max, work->flags);
    np_arena_set_low_watermark(arena->meta.address, work->low_watermark, is_first_of_node(work, i));
    return 0;
}

/* Where the node has no room for it after all, the next nodes are tried, if they will do. */
static int make_arena(struct np_maker_work *work, unsigned i)
{
    const struct np_plan_arena *planned = &work->plan.arenas[i];
    char why[NP_WIRE_SENTENCE_BYTES];
    int node, result = 0;
    for (unsigned attempt = 0; (node = np_plan_node_to_try(np_topology(), &work->plan, i, attempt)) >= 0; attempt++) {
        result = make_arena_on(work, i, node);
        if (result == 0 && attempt > 0)
            snprintf(work->moved, sizeof work->moved, "%llu slots that were to be on node %d are on node %d: %.160s",
                     (unsigned long long)planned->slots, planned->node, node, why);
        if (result != -ENOMEM && result != -ENOSPC)
            return result;
        discard_arena(&work->arenas[i]);
        if (attempt == 0)
            snprintf(why, sizeof why, "%s", np_error_sentence());
    }
    return planned->movable ? np_error(result, "%s; and no other node has room for it", why) : np_error(result, "%s", why);
}

int np_maker_make(struct np_maker_work *work)
{
    work->result = 0;
    for (unsigned i = 0; i < work->plan.count; i++)
        work->arenas[i] = (struct np_maker_arena){ .node = -1, .data = { .fd = -1 }, .meta = { .fd = -1 } };
    if (work->access_text[0] != '\0')
        work->result = np_access_parse(work->access, work->access_text, "the access list");
    for (unsigned i = 0; work->result == 0 && i < work->plan.count; i++)
        work->result = make_arena(work, i);
    if (work->result < 0) {
        snprintf(work->sentence, sizeof work->sentence, "%s", np_error_sentence());
        np_maker_discard(work);
    }
    return work->result;
}

void np_maker_discard(struct np_maker_work *work)
{
    for (unsigned i = 0; i < work->plan.count; i++)
        discard_arena(&work->arenas[i]);
}

/* ---------------------------------------------------------------- the thread */

static void *make_aside(void *argument)
{
    struct np_maker *maker = argument;
    const uint64_t one = 1;
    np_maker_make(maker->work);
    atomic_store_explicit(&maker->finished, 1, memory_order_release); /* pairs with `heard` */
    while (write(maker->event_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    return NULL;
}

static void await(struct np_maker *maker)
{
    np_loop_poll(maker->loop, &maker->heard, maker->event_fd, POLLIN);
}

static void heard(struct np_operation *operation, int result)
{
    struct np_maker *maker = operation->context;
    uint64_t count;
    (void)result; /* whatever woke us, the flag says whether it is finished */
    if (!atomic_load_explicit(&maker->finished, memory_order_acquire)) { /* pairs with the thread's release */
        await(maker);
        return;
    }
    if (read(maker->event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        np_log(NP_LOG_WARN, "the maker's eventfd cannot be read: %s", strerror(errno));
    struct np_maker_work *work = maker->work;
    maker->work = NULL;
    maker->done(maker->context, work);
}

int np_maker_start(struct np_maker *maker, struct np_loop *loop, void (*done)(void *context, struct np_maker_work *work), void *context)
{
    *maker = (struct np_maker){ .loop = loop, .done = done, .context = context };
    maker->heard = (struct np_operation){ .done = heard, .context = maker };
    maker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return maker->event_fd < 0 ? np_error(-errno, "cannot make an eventfd: %s", strerror(errno)) : 0;
}

/* The thread handles no signals but those that its own instructions raise. */
static int start_thread(struct np_maker *maker)
{
    static const int own[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP };
    sigset_t blocked, before;
    pthread_attr_t attributes;
    pthread_t thread;
    sigfillset(&blocked);
    for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++)
        sigdelset(&blocked, own[i]);
    int code = pthread_attr_init(&attributes);
    if (code != 0)
        return -code;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED); /* nobody waits for it at the worker's end */
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    code = pthread_create(&thread, &attributes, make_aside, maker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -code;
}

int np_maker_begin(struct np_maker *maker, struct np_maker_work *work)
{
    if (maker->work)
        return np_error(-EAGAIN, "memory of pool '%s' is just being made: ask again when it is there", maker->work->pool_name);
    maker->work = work;
    atomic_store_explicit(&maker->finished, 0, memory_order_relaxed); /* relaxed: before the thread exists */
    int result = start_thread(maker);
    if (result < 0) {
        maker->work = NULL;
        return np_error(-EAGAIN, "cannot start a thread to make the memory of pool '%s' (%s): raise TasksMax= or free memory",
                        work->pool_name, strerror(-result));
    }
    await(maker);
    return 0;
}
