/* SPDX-License-Identifier: MIT
 *
 * Pools of the daemon made, enlarged and destroyed. Memory takes its time, and the connection is shared by all threads of the
 * client: so the daemon answers at once, and is asked again until it is done. The same request, with the same tag, is asked
 * again whatever happens to the daemon's worker in between, and is done once.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "broker/options.h"
#include "core/error.h"
#include "numa/placement.h"
#include "service/session.h"

/* How long an answer is waited for while the daemon's worker is being replaced. */
#define ADMIN_PATIENCE_NS INT64_C(10000000000)
#define PAUSE_MIN_NS      INT64_C(200000)
#define PAUSE_MAX_NS      INT64_C(20000000)

/* A thirty-second of the time that it has taken so far: what is done soon is heard of soon, and what takes long is asked about
 * seldom. */
static void pause_since(int64_t begun_ns)
{
    int64_t pause_ns = (np_monotonic_ns() - begun_ns) / 32;
    if (pause_ns < PAUSE_MIN_NS)
        pause_ns = PAUSE_MIN_NS;
    const struct timespec pause = { .tv_nsec = pause_ns < PAUSE_MAX_NS ? pause_ns : PAUSE_MAX_NS };
    nanosleep(&pause, NULL);
}

static bool is_unanswered(int result)
{
    return result == -ENOTCONN || result == -ETIMEDOUT;
}

static int ask(struct numapool_client *client, struct np_wire_request *request)
{
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX], result;
    const int64_t begun_ns = np_monotonic_ns();
    int64_t heard_ns = begun_ns;
    for (;;) {
        result = np_session_call(client, request, &answer, fds, 0, NP_SESSION_PATIENT_NS);
        if (!is_unanswered(result))
            heard_ns = np_monotonic_ns();
        if (result != NP_WIRE_UNDER_WAY && !(is_unanswered(result) && np_monotonic_ns() - heard_ns < ADMIN_PATIENCE_NS))
            break;
        pause_since(begun_ns);
    }
    if (result > 0)
        return np_error(-EPROTO, "the daemon answers %d to a request about pools: use the library that came with it", result);
    return result;
}

static int take_name(char taken[NUMAPOOL_NAME_BYTES], const char *name)
{
    size_t length = name ? strnlen(name, NUMAPOOL_NAME_BYTES) : 0;
    if (length == 0 || length >= NUMAPOOL_NAME_BYTES)
        return np_error(-EINVAL, "a pool's name has 1 to %u bytes, '%.60s' has not", NUMAPOOL_NAME_BYTES - 1, name ? name : "");
    memcpy(taken, name, length + 1);
    return 0;
}

int numapool_admin_create(struct numapool_client *client, const struct numapool_options *options)
{
    struct numapool_options known;
    struct np_wire_request request = { .operation = NP_WIRE_POOL_CREATE };
    struct np_wire_pool *wanted = &request.of.pool_create;
    int result = np_client_check(client);
    if (result == 0)
        result = np_pool_options(&known, options);
    if (result == 0)
        result = take_name(wanted->name, known.name);
    if (result < 0)
        return result;
    if (known.flags & NUMAPOOL_MALLOC)
        return np_error(-EINVAL, "pool '%s': NUMAPOOL_MALLOC is for a pool inside one process (numapool_create)", known.name);
    if (known.access && strlen(known.access) >= sizeof wanted->access)
        return np_error(-EINVAL, "pool '%s': its access list has more than %zu bytes: give a group instead of its users", known.name,
                        sizeof wanted->access - 1);
    wanted->tag = np_session_new_tag();
    wanted->slot_bytes = known.slot_bytes;
    wanted->slots = known.slots;
    wanted->flags = known.flags;
    wanted->low_watermark = known.low_watermark;
    wanted->magazine_slots = known.magazine_slots;
    wanted->sharers = known.sharers;
    wanted->nodes = known.node_slots ? known.nodes : 0;
    for (uint32_t i = 0; i < wanted->nodes; i++)
        wanted->node_slots[i] = known.node_slots[i];
    wanted->policy = known.policy;
    wanted->own_node = np_node_of_this_thread();
    wanted->spill_slots = known.spill_slots;
    if (known.device)
        strcpy(wanted->device, known.device); /* np_pool_options has seen to its length */
    if (known.access)
        strcpy(wanted->access, known.access);
    return ask(client, &request);
}

int numapool_admin_grow(struct numapool_client *client, const char *pool, int node, uint64_t slots)
{
    struct np_wire_request request = { .operation = NP_WIRE_POOL_GROW };
    int result = np_client_check(client);
    if (result == 0)
        result = take_name(request.of.pool_grow.name, pool);
    if (result < 0)
        return result;
    request.of.pool_grow.tag = np_session_new_tag();
    request.of.pool_grow.node = node;
    request.of.pool_grow.slots = slots;
    return ask(client, &request);
}

int numapool_admin_destroy(struct numapool_client *client, const char *pool, unsigned flags)
{
    struct np_wire_request request = { .operation = NP_WIRE_POOL_DESTROY };
    int result = np_client_check(client);
    if (result == 0)
        result = take_name(request.of.pool_destroy.name, pool);
    if (result < 0)
        return result;
    request.of.pool_destroy.tag = np_session_new_tag();
    request.of.pool_destroy.flags = flags;
    return ask(client, &request);
}
