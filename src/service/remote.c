/* SPDX-License-Identifier: MIT
 * The daemon as the authority of a pool's channels: endpoints and lanes by requests. */
#include <errno.h>

#include "core/error.h"
#include "core/tell.h"
#include "numa/placement.h"
#include "service/session.h"

static int call_for(struct numapool_pool *pool, struct np_wire_request *request, struct np_wire_answer *answer,
                    int fds[NP_WIRE_FDS_MAX], unsigned descriptors, int64_t patience_ns)
{
    int result = np_session_call(pool->maker, request, answer, fds, descriptors, patience_ns);
    if (result == -ESTALE)
        return np_error(-ESTALE, "the daemon that pool '%s' belonged to is gone, with its memory: close the pool, disconnect and "
                        "connect again", pool->name);
    return result;
}

/* The daemon may have done what was asked although no answer came. */
static bool is_unknown(int result)
{
    return result == -ENOTCONN || result == -ETIMEDOUT || result == -EPROTO;
}

static int endpoint_open(void *context, const struct np_endpoint_request *wanted, struct np_endpoint_grant *grant)
{
    struct numapool_pool *pool = context;
    struct np_wire_request request = { .operation = NP_WIRE_ENDPOINT_OPEN, .of.endpoint_open = *wanted };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    int result = call_for(pool, &request, &answer, fds, 0, NP_SESSION_PATIENT_NS);
    if (is_unknown(result)) {
        const struct np_session_debt debt = { .request = *wanted };
        np_session_owe(pool->maker, &debt);
    }
    if (result < 0)
        return result;
    *grant = answer.of.endpoint_open;
    return 0;
}

static int endpoint_close(void *context, uint32_t endpoint)
{
    struct numapool_pool *pool = context;
    struct np_wire_request request = { .operation = NP_WIRE_ENDPOINT_CLOSE, .of.endpoint_close.endpoint = endpoint };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    int result = call_for(pool, &request, &answer, fds, 0, NP_SESSION_BRIEF_NS);
    if (is_unknown(result)) {
        const struct np_session_debt debt = { .known = true, .endpoint = endpoint };
        np_session_owe(pool->maker, &debt);
        return 0;
    }
    return result == -ESTALE ? 0 : result; /* a daemon that is gone has no endpoints */
}

static int next_lane(void *context, uint32_t endpoint, uint64_t stamp, struct np_lane_grant *grant)
{
    struct numapool_pool *pool = context;
    struct np_wire_request request = { .operation = NP_WIRE_NEXT_LANE, .of.next_lane = { .stamp = stamp, .endpoint = endpoint } };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    int result = call_for(pool, &request, &answer, fds, 1, NP_SESSION_BRIEF_NS);
    if (result <= 0)
        return result;
    *grant = (struct np_lane_grant){ answer.of.next_lane.stamp, answer.of.next_lane.lane, answer.of.next_lane.generation,
                                     answer.of.next_lane.capacity, answer.of.next_lane.state, answer.of.next_lane.kind,
                                     answer.of.next_lane.home, answer.of.next_lane.peer, answer.of.next_lane.peer_generation, NULL };
    void *memory = NULL;
    /* stamps must rise, else who asks for all changes would ask for ever */
    if (grant->stamp <= stamp || grant->lane == 0 || grant->lane > NP_LANES_LIMIT || grant->capacity < NP_LANE_SLOTS_MIN ||
        np_lane_capacity(grant->capacity) != grant->capacity || grant->state < NP_LANE_ACTIVE || grant->state > NP_LANE_CLOSED || grant->kind > NP_LANE_HOME ||
        grant->home > NP_LANES_LIMIT)
        result = np_error(-EBADMSG, "the daemon described lane %u of pool '%s' wrongly (%u messages, state %u): use the library that "
                          "came with it", grant->lane, pool->name, grant->capacity, grant->state);
    else
        result = np_memory_map(&memory, fds[0], np_lane_bytes(grant->capacity, grant->kind), true, false, "a lane");
    np_session_close_descriptors(fds);
    if (result < 0)
        return result;
    result = np_lane_check(memory, grant->lane, grant->capacity, grant->kind);
    if (result < 0) {
        np_memory_unmap(memory, np_lane_bytes(grant->capacity, grant->kind));
        np_tell(NUMAPOOL_LOG_WARN, "lane %u of pool '%s' is left out, for whoever is at its other end scribbled over it: %s", grant->lane,
                pool->name, np_error_sentence());
        return 1; /* without memory: who has it mapped since before is told its state all the same */
    }
    grant->memory = memory;
    return 1;
}

static int leave_lane(void *context, uint32_t endpoint, uint32_t lane, uint32_t generation)
{
    struct np_wire_request request = { .operation = NP_WIRE_LEAVE_LANE, .of.leave_lane = { endpoint, lane, generation, 0 } };
    struct np_wire_answer answer;
    int fds[NP_WIRE_FDS_MAX];
    int result = call_for(context, &request, &answer, fds, 0, NP_SESSION_BRIEF_NS);
    return result < 0 ? result : 0;
}

static void unmap_lane(void *context, struct np_lane_shared *memory, uint32_t capacity, uint32_t kind)
{
    (void)context;
    np_memory_unmap(memory, np_lane_bytes(capacity, kind));
}

/* The number was read from a lane, which the other end can scribble over. */
static void ring(void *context, uint32_t bell)
{
    struct numapool_pool *pool = context;
    if (bell < pool->bell_count)
        np_bell_ring(&pool->bells[bell]);
}

const struct np_authority np_remote_authority = { endpoint_open, endpoint_close, next_lane, leave_lane, unmap_lane, ring };
