/* SPDX-License-Identifier: MIT
 *
 * Pools of the daemon that this process maps and serves itself from. Nothing that the daemon says about them is used before
 * it is checked: a daemon of another kind gives an error, not a wild pointer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/tell.h"
#include "core/wipe.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "numa/topology.h"
#include "service/session.h"

enum { META, DATA };

static const char remedy_sentence[] = "use the library that came with the daemon";

/* ---------------------------------------------------------------- what the daemon says */

static int check_pool(const struct np_wire_answer *answer, const char *name)
{
    uint32_t arenas = answer->of.pool_open.arenas;
    uint64_t slot_bytes = answer->of.pool_open.slot_bytes, flags = answer->of.pool_open.flags;
    if (answer->of.pool_open.pool >= NP_POOLS_MAX || arenas == 0 || arenas > NP_ARENAS_MAX || slot_bytes == 0 ||
        slot_bytes > NP_STRIDE_MAX || np_arena_stride_of(slot_bytes, flags) > NP_STRIDE_MAX || flags & NUMAPOOL_MALLOC)
        return np_error(-EBADMSG, "the daemon describes pool '%s' as number %u with %u arenas of slots of %llu bytes, flags %#llx: %s", name,
                        answer->of.pool_open.pool, arenas, (unsigned long long)slot_bytes, (unsigned long long)flags, remedy_sentence);
    return 0;
}

static int check_arena(const struct np_wire_answer *answer, const struct numapool_pool *pool, unsigned index)
{
    uint64_t slots = answer->of.pool_memory.slots, page_bytes = answer->of.pool_memory.page_bytes;
    uint64_t stride = pool->slot_bytes;
    int node = answer->of.pool_memory.node;
    bool fits = slots >= 1 && slots <= NP_SLOTS_MAX && slots * stride <= NP_ARENA_BYTES_MAX && /* at most 2^62 */
                slots * stride <= answer->of.pool_memory.data_bytes;
    if (!fits || page_bytes < NP_SMALL_PAGE_BYTES || (page_bytes & (page_bytes - 1)) != 0 || node < 0 || node >= NP_NODES_MAX)
        return np_error(-EBADMSG, "the daemon describes arena %u of pool '%s' as %llu slots of %llu bytes in %llu bytes on node %d, "
                        "pages of %llu: %s", index, pool->name, (unsigned long long)slots, (unsigned long long)stride,
                        (unsigned long long)answer->of.pool_memory.data_bytes, node, (unsigned long long)page_bytes, remedy_sentence);
    return 0;
}

/* ---------------------------------------------------------------- taking apart */

static void unmap_arena(struct np_direct_pool *direct, unsigned index)
{
    struct np_pool_arena *pa = &direct->pool.arenas[index];
    np_memory_unmap(direct->arena_memory[index][META], pa->meta_bytes);
    np_memory_unmap(direct->arena_memory[index][DATA], pa->data_map_bytes);
    direct->arena_memory[index][META] = direct->arena_memory[index][DATA] = NULL;
}

static void discard(struct np_direct_pool *direct)
{
    struct numapool_pool *pool = &direct->pool;
    for (unsigned i = 0; pool->arenas && i < NP_ARENAS_MAX; i++)
        unmap_arena(direct, i);
    np_memory_unmap(direct->account, NP_ACCOUNT_BYTES);
    free(pool->arenas);
    pthread_mutex_destroy(&direct->learning);
    np_wipe_free(direct, sizeof *direct);
}

/* A daemon that is gone has nothing to close, and one whose worker is just being replaced hears it later: as long as it
 * thinks that the pool is open here it cannot be destroyed. */
static void tell_closed(struct numapool_client *client, uint32_t pool)
{
    struct np_wire_request request = { .operation = NP_WIRE_POOL_CLOSE, .of.pool_close.pool = pool };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    if (np_session_call(client, &request, &answer, fds, 0, NP_SESSION_BRIEF_NS) < 0) {
        const struct np_session_debt debt = { .is_pool = true, .pool = pool };
        np_session_owe(client, &debt);
    }
}

static void destroy(struct numapool_pool *pool)
{
    struct np_direct_pool *direct = (struct np_direct_pool *)pool;
    struct numapool_client *client = direct->client;
    uint32_t id = pool->id;
    pthread_mutex_lock(&client->opening);
    struct np_direct_pool **link = &client->pools;
    while (*link != direct)
        link = &(*link)->next;
    *link = direct->next;
    discard(direct);
    tell_closed(client, id);
    pthread_mutex_unlock(&client->opening);
}

/* ---------------------------------------------------------------- putting together */

static int map_arena(struct np_direct_pool *direct, unsigned index, bool prefault, int64_t patience_ns)
{
    struct numapool_pool *pool = &direct->pool;
    struct np_pool_arena *pa = &pool->arenas[index];
    struct np_wire_request request = { .operation = NP_WIRE_POOL_MEMORY, .of.pool_memory = { pool->id, index } };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    int result = np_session_call(direct->client, &request, &answer, fds, direct->readonly ? 1 : 2, patience_ns);
    if (result < 0)
        return result;
    result = check_arena(&answer, pool, index);
    if (result == 0) {
        pa->meta_bytes = answer.of.pool_memory.meta_bytes;
        pa->data_map_bytes = answer.of.pool_memory.data_bytes;
        pa->page_bytes = answer.of.pool_memory.page_bytes;
        pa->transparent = answer.of.pool_memory.transparent != 0;
        pa->tier = answer.of.pool_memory.tier != 0;
    }
    if (direct->readonly) {
        /* alone, and by a descriptor that was opened for reading */
        if (result == 0)
            result = np_memory_map(&direct->arena_memory[index][DATA], fds[0], pa->data_map_bytes, false, prefault, "a pool's payload");
        if (result == 0)
            np_arena_attach_readonly(&pa->arena, direct->arena_memory[index][DATA], answer.of.pool_memory.slots, direct->slot_bytes, index,
                                     answer.of.pool_memory.node, pool->client, pool->flags);
        np_session_close_descriptors(fds);
        return result;
    }
    if (result == 0)
        result = np_memory_map(&direct->arena_memory[index][META], fds[META], pa->meta_bytes, true, prefault, "a pool's slot words");
    if (result == 0)
        result = np_memory_map(&direct->arena_memory[index][DATA], fds[DATA], pa->data_map_bytes, true, prefault, "a pool's payload");
    np_session_close_descriptors(fds);
    if (result < 0)
        return result;
    pa->account = (struct np_account_row *)direct->account + index;
    return np_arena_attach(&pa->arena, direct->arena_memory[index][META], pa->meta_bytes, direct->arena_memory[index][DATA],
                           answer.of.pool_memory.slots, direct->slot_bytes, index, answer.of.pool_memory.node, pool->client,
                           pool->bells, pool->bell_count, pool->flags);
}

/* Its word decides how many there are, whatever a hint in memory that clients can write says. */
static int learn(struct numapool_pool *pool)
{
    struct np_direct_pool *direct = (struct np_direct_pool *)pool;
    int came = 0, result = 0;
    pthread_mutex_lock(&direct->learning);
    while (result == 0 && np_pool_arena_count(pool) < NP_ARENAS_MAX) {
        unsigned index = np_pool_arena_count(pool);
        result = map_arena(direct, index, direct->prefault, NP_SESSION_BRIEF_NS);
        if (result == 0)
            result = np_pool_add_arena(pool);
        if (result < 0)
            unmap_arena(direct, index);
        else
            came++;
    }
    unsigned count = np_pool_arena_count(pool);
    pthread_mutex_unlock(&direct->learning);
    if (came > 0)
        np_tell(NUMAPOOL_LOG_INFO, "pool '%s' has grown: it has %u arenas now", pool->name, count);
    else if (result < 0 && result != -ENXIO)
        np_tell(NUMAPOOL_LOG_WARN, "pool '%s' has grown or not: %s", pool->name, np_error_sentence());
    return came > 0 || result == -ENXIO ? came : result;
}

static int describe(struct np_direct_pool *direct, const char *name, const struct np_wire_answer *answer)
{
    struct numapool_pool *pool = &direct->pool;
    struct numapool_client *client = direct->client;
    strcpy(pool->name, name);
    pool->mode = direct->readonly ? NUMAPOOL_MODE_READONLY : NUMAPOOL_MODE_DIRECT;
    pool->id = answer->of.pool_open.pool;
    pool->client = client->id;
    pool->flags = answer->of.pool_open.flags;
    direct->slot_bytes = answer->of.pool_open.slot_bytes;
    pool->slot_bytes = np_arena_stride_of(direct->slot_bytes, pool->flags);
    pool->magazine_slots = answer->of.pool_open.magazine_slots;
    pool->bells = direct->readonly ? client->page : client->bells;
    pool->bell_count = direct->readonly ? NP_PAGE_BELLS : client->bell_count;
    pool->own_node = np_node_of_this_thread;
    pool->distance = np_node_distance;
    pool->authority = &np_remote_authority;
    pool->authority_context = pool;
    pool->learn = learn;
    pool->destroy = destroy;
    pool->maker = client;
    pool->opens = 1;
    const size_t bytes = NP_ARENAS_MAX * sizeof *pool->arenas; /* whole lines, as aligned_alloc wants */
    pool->arenas = aligned_alloc(NP_CACHE_LINE, bytes);
    if (!pool->arenas)
        return np_error(-ENOMEM, "no memory for the table of arenas of pool '%s'", name);
    memset(pool->arenas, 0, bytes);
    return 0;
}

/* What came with the answer: of a pool to write to the account, and bells are needed; of the others the page of our own
 * bells. */
static int take_descriptor(struct np_direct_pool *direct, int fd)
{
    if (direct->readonly)
        return np_session_take_page(direct->client, fd);
    int result = np_memory_map(&direct->account, fd, NP_ACCOUNT_BYTES, true, false, "a client's account");
    return result < 0 || direct->client->bells ? result : np_session_want_bells(direct->client);
}

static int open_new(struct numapool_client *client, const char *name, uint64_t flags, struct np_direct_pool **result_direct)
{
    const bool prefault = (flags & NUMAPOOL_PREFAULT) != 0;
    struct np_wire_request request = { .operation = NP_WIRE_POOL_OPEN };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    struct np_direct_pool *direct = np_wipe_alloc(sizeof *direct);
    if (!direct)
        return -ENOMEM;
    direct->client = client;
    direct->prefault = prefault;
    direct->readonly = (flags & NUMAPOOL_READONLY) != 0;
    request.of.pool_open.readonly = direct->readonly;
    pthread_mutex_init(&direct->learning, NULL);
    strcpy(request.of.pool_open.name, name);
    int result = np_session_call(client, &request, &answer, fds, 1, NP_SESSION_PATIENT_NS);
    if (result < 0) {
        discard(direct);
        return result;
    }
    result = check_pool(&answer, name);
    if (result == 0)
        result = take_descriptor(direct, fds[0]);
    if (result == 0)
        result = describe(direct, name, &answer);
    np_session_close_descriptors(fds);
    const unsigned arenas = result == 0 ? answer.of.pool_open.arenas : 0;
    for (unsigned i = 0; result == 0 && i < arenas; i++)
        result = map_arena(direct, i, prefault, NP_SESSION_PATIENT_NS);
    atomic_store_explicit(&direct->pool.arena_count, arenas, memory_order_release); /* nobody else has it yet */
    if (result == 0)
        result = np_pool_start(&direct->pool, answer.of.pool_open.sharers);
    if (result < 0) {
        char why[320]; /* telling the daemon may fail too, with a sentence of its own */
        strncpy(why, np_error_sentence(), sizeof why - 1);
        why[sizeof why - 1] = 0;
        discard(direct);
        tell_closed(client, answer.of.pool_open.pool);
        return np_error(result == -EINVAL || result == -ENXIO ? -EBADMSG : result, "cannot open pool '%s': %s", name, why);
    }
    *result_direct = direct;
    return 0;
}

/* ---------------------------------------------------------------- public */

static int check_open(const char *name, uint64_t flags)
{
    size_t length = name ? strnlen(name, NUMAPOOL_NAME_BYTES) : 0;
    if (length == 0 || length >= NUMAPOOL_NAME_BYTES)
        return np_error(-EINVAL, "a pool's name has 1 to %u bytes, '%.60s' has not", NUMAPOOL_NAME_BYTES - 1, name ? name : "");
    if (flags & ~(uint64_t)(NUMAPOOL_PREFAULT | NUMAPOOL_READONLY))
        return np_error(-EINVAL, "cannot open pool '%s' with flags %#llx: NUMAPOOL_PREFAULT and NUMAPOOL_READONLY are known here, the others "
                        "are the daemon's to set",
                        name, (unsigned long long)flags);
    return 0;
}

/* One more open of a pool; false: somebody is closing it. Pairs with numapool_close, which takes opens from 1 to 0 first. */
static bool open_once_more(struct numapool_pool *pool)
{
    unsigned opens = atomic_load_explicit(&pool->opens, memory_order_relaxed); /* relaxed: the exchange decides */
    while (opens > 0)
        if (atomic_compare_exchange_weak_explicit(&pool->opens, &opens, opens + 1, memory_order_acq_rel, memory_order_relaxed))
            return true;
    return false;
}

static int prefault_open(struct np_direct_pool *direct)
{
    for (unsigned i = 0; i < np_pool_arena_count(&direct->pool); i++) {
        const struct np_pool_arena *pa = &direct->pool.arenas[i];
        int result = direct->readonly ? 0 : np_pages_prefault(direct->arena_memory[i][META], pa->meta_bytes, NP_SMALL_PAGE_BYTES, true);
        if (result == 0)
            result = np_pages_prefault(direct->arena_memory[i][DATA], pa->data_map_bytes, pa->page_bytes, !direct->readonly);
        if (result < 0)
            return np_error(-ENOMEM, "cannot build the page tables of pool '%s' (%s): free memory or raise the memory limit of this "
                            "process's cgroup", direct->pool.name, strerror(-result));
    }
    return 0;
}

static int open_by_name(struct numapool_client *client, const char *name, uint64_t flags, struct numapool_pool **pool)
{
    struct np_direct_pool *direct;
    int result = np_client_check(client);
    if (result == 0)
        result = check_open(name, flags);
    if (result < 0)
        return result;
    bool prefault = (flags & NUMAPOOL_PREFAULT) != 0, found = false;
    for (;;) {
        pthread_mutex_lock(&client->opening); /* while it is held no pool of this client is unmapped */
        for (direct = client->pools; direct && strcmp(direct->pool.name, name) != 0; direct = direct->next)
            ;
        if (direct) {
            result = np_session_check(client);
            if (result == 0 && direct->readonly != ((flags & NUMAPOOL_READONLY) != 0))
                result = np_error(-EBUSY, "pool '%s' is open here %s: close it first, or open it on another connection", name,
                                  direct->readonly ? "read-only" : "to be written to");
            if (result == 0 && prefault)
                result = prefault_open(direct);
            found = result == 0 && open_once_more(&direct->pool);
        }
        if (!direct || found || result < 0)
            break;
        /* Its last closer waits for `opening`, or finds that it is in use and gives up: soon, either way. */
        pthread_mutex_unlock(&client->opening);
        const struct timespec pause = { .tv_nsec = 100000 };
        nanosleep(&pause, NULL);
    }
    if (!direct) {
        result = open_new(client, name, flags, &direct);
        if (result == 0) {
            direct->next = client->pools;
            client->pools = direct;
        }
    }
    pthread_mutex_unlock(&client->opening);
    if (result == 0)
        *pool = &direct->pool;
    return result;
}

int numapool_open(struct numapool_client *client, const char *name, uint64_t flags, struct numapool_pool **pool)
{
    int cancel = np_cancel_defer();
    int result = open_by_name(client, name, flags, pool);
    np_cancel_restore(cancel);
    return result;
}
