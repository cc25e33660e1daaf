/* SPDX-License-Identifier: MIT
 * Requesters: a sender of requests, and a receiver of replies. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "channel/receiver.h"
#include "channel/sender.h"
#include "channel/service.h"
#include "channel/small.h"
#include "core/error.h"
#include "core/wipe.h"

#define REQUESTER_LIVE UINT64_C(0x7265747365757165)

struct numapool_requester {
    uint64_t live; /* zero in a forked child */
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
};

int np_service_reply_channel(char reply[NUMAPOOL_NAME_BYTES], const char *service, const struct numapool_channel_options *options)
{
    if (options && options->size >= sizeof *options && (options->flags & NUMAPOOL_BROADCAST) != 0)
        return np_error_static(-EINVAL, "a request is one responder's, and its reply the requester's: a service cannot be BROADCAST");
    const size_t most = NUMAPOOL_NAME_BYTES - sizeof NP_SERVICE_REPLY;
    size_t length = service ? strlen(service) : 0;
    if (length == 0 || length > most)
        return np_error(-EINVAL, "a service's name has 1 to %zu bytes; '%.60s' has %zu", most, service ? service : "", length);
    snprintf(reply, NUMAPOOL_NAME_BYTES, "%s%s", service, NP_SERVICE_REPLY);
    return 0;
}

static bool is_live(const struct numapool_requester *requester)
{
    if (__builtin_expect(requester != NULL && requester->live == REQUESTER_LIVE, 1))
        return true;
    np_error_static(-EINVAL, "this requester is closed, or belongs to the parent of this forked process: open one here");
    return false;
}

int numapool_requester_open(struct numapool_pool *pool, const char *service, const struct numapool_channel_options *options,
                            struct numapool_requester **result_requester)
{
    char reply[NUMAPOOL_NAME_BYTES];
    int result = np_service_reply_channel(reply, service, options);
    if (result < 0)
        return result;
    struct numapool_requester *requester = np_wipe_alloc(sizeof *requester);
    if (!requester)
        return -ENOMEM;
    result = numapool_receiver_open(pool, reply, options, &requester->receiver);
    if (result == 0 && (result = numapool_sender_open(pool, service, options, &requester->sender)) < 0)
        numapool_receiver_close(requester->receiver);
    if (result < 0) {
        np_wipe_free(requester, sizeof *requester);
        return result;
    }
    requester->sender->is_part = requester->receiver->is_part = true;
    requester->live = REQUESTER_LIVE;
    *result_requester = requester;
    return 0;
}

int numapool_requester_close(struct numapool_requester *requester, int64_t drain_ns)
{
    if (!is_live(requester))
        return -EINVAL;
    if (drain_ns < 0)
        return np_error_static(-EINVAL, "drain_ns is negative: 0 does not wait, NUMAPOOL_FOREVER waits for ever; the requester is still open");
    if (np_receiver_is_in_set(requester->receiver))
        return -EBUSY;
    requester->sender->is_part = requester->receiver->is_part = false;
    int left = numapool_sender_close(requester->sender, drain_ns); /* requests first: replies may still come meanwhile */
    int result = numapool_receiver_close(requester->receiver);
    np_wipe_free(requester, sizeof *requester);
    return left < 0 || result == 0 ? left : result;
}

struct numapool_sender *numapool_requester_sender(struct numapool_requester *requester)
{
    return is_live(requester) ? requester->sender : NULL;
}

struct numapool_receiver *numapool_requester_receiver(struct numapool_requester *requester)
{
    return is_live(requester) ? requester->receiver : NULL;
}

int numapool_request(struct numapool_requester *requester, const struct numapool_msg *request, int64_t timeout_ns)
{
    if (!is_live(requester))
        return -EINVAL;
    struct numapool_msg addressed = *request;
    if (requester->sender->kind == NP_LANE_SMALL && request->length > NP_SMALL_KEY_BYTES)
        return np_error(-EINVAL, "a small request has at most %u bytes, beside the address of who asks; this one has %u", NP_SMALL_KEY_BYTES,
                        request->length);
    addressed.key = np_receiver_address(requester->receiver);
    return numapool_send(requester->sender, &addressed, timeout_ns);
}

int numapool_call(struct numapool_requester *requester, const struct numapool_msg *request, struct numapool_msg *reply,
                  int64_t timeout_ns, int *sent)
{
    int64_t deadline_ns = timeout_ns > 0 ? np_deadline_ns(timeout_ns) : 0;
    if (sent)
        *sent = 0;
    int result = numapool_request(requester, request, timeout_ns);
    if (result < 0)
        return result;
    if (sent)
        *sent = 1;
    for (;;) {
        int64_t left_ns = timeout_ns == 0 || deadline_ns == INT64_MAX ? timeout_ns : deadline_ns - np_monotonic_ns();
        /* once the time is over what is there is still looked at */
        result = numapool_receive(requester->receiver, reply, 1, left_ns > 0 ? left_ns : 0);
        if (result == 1 && reply->id == request->id)
            return 0;
        if (result == 1)
            result = numapool_release(requester->receiver, reply, 1); /* to an earlier request, or a second one */
        else if (result == -EAGAIN && timeout_ns > 0)
            return np_error_static(-ETIMEDOUT, "the request was sent, and no reply came in time: it may still come");
        if (result < 0 && result != -EBADMSG) /* a scribbled cell has been passed over, and need not have been the reply */
            return result;
    }
}
