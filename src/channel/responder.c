/* SPDX-License-Identifier: MIT
 * Responders: a receiver of requests, and a sender of replies. */
#include <errno.h>

#include "channel/receiver.h"
#include "channel/sender.h"
#include "channel/service.h"
#include "core/error.h"
#include "core/fault.h"
#include "core/wipe.h"

#define RESPONDER_LIVE UINT64_C(0x7265646e6f707365)

struct numapool_responder {
    uint64_t live; /* zero in a forked child */
    struct numapool_receiver *receiver;
    struct numapool_sender *sender;
};

static bool is_live(const struct numapool_responder *responder)
{
    if (__builtin_expect(responder != NULL && responder->live == RESPONDER_LIVE, 1))
        return true;
    np_error_static(-EINVAL, "this responder is closed, or belongs to the parent of this forked process: open one here");
    return false;
}

int numapool_responder_open(struct numapool_pool *pool, const char *service, const struct numapool_channel_options *options,
                            struct numapool_responder **result_responder)
{
    char reply[NUMAPOOL_NAME_BYTES];
    int result = np_service_reply_channel(reply, service, options);
    if (result < 0)
        return result;
    struct numapool_responder *responder = np_wipe_alloc(sizeof *responder);
    if (!responder)
        return -ENOMEM;
    result = numapool_sender_open(pool, reply, options, &responder->sender); /* before the first request comes */
    if (result == 0 && (result = numapool_receiver_open(pool, service, options, &responder->receiver)) < 0)
        numapool_sender_close(responder->sender, 0);
    if (result < 0) {
        np_wipe_free(responder, sizeof *responder);
        return result;
    }
    responder->sender->is_part = responder->receiver->is_part = true;
    responder->live = RESPONDER_LIVE;
    *result_responder = responder;
    return 0;
}

int numapool_responder_close(struct numapool_responder *responder, int64_t drain_ns)
{
    if (!is_live(responder))
        return -EINVAL;
    if (drain_ns < 0)
        return np_error_static(-EINVAL, "drain_ns is negative: 0 does not wait, NUMAPOOL_FOREVER waits for ever; the responder is still open");
    if (np_receiver_is_in_set(responder->receiver))
        return -EBUSY;
    responder->sender->is_part = responder->receiver->is_part = false;
    int result = numapool_receiver_close(responder->receiver); /* requests go to others while replies are waited for */
    int left = numapool_sender_close(responder->sender, drain_ns);
    np_wipe_free(responder, sizeof *responder);
    return left < 0 || result == 0 ? left : result;
}

struct numapool_receiver *numapool_responder_receiver(struct numapool_responder *responder)
{
    return is_live(responder) ? responder->receiver : NULL;
}

struct numapool_sender *numapool_responder_sender(struct numapool_responder *responder)
{
    return is_live(responder) ? responder->sender : NULL;
}

static int check(struct numapool_responder *responder, const struct numapool_msg *request, int64_t timeout_ns, const char *call,
                 const void *return_address)
{
    if (!is_live(responder))
        return -EINVAL;
    if (np_receiver_is_checked(responder->receiver))
        np_call_enter(call, return_address);
    if (timeout_ns < 0)
        return np_error_static(-EINVAL, "timeout_ns is negative: 0 means at once, NUMAPOOL_FOREVER for ever");
    if (!np_receiver_lane_of(responder->receiver, request))
        return np_receiver_bad_message(responder->receiver, request);
    if (request->key == 0)
        return np_error(-EINVAL, "message %llu of lane %u was sent by no requester: its key is 0, which is nobody's address",
                        (unsigned long long)request->lane_seq, request->lane);
    return 0;
}

/* In a pool with checks the first may find that its end was written over, which is told and mended; the request is to go
 * all the same. */
static void release(struct numapool_responder *responder, const struct numapool_msg *request)
{
    if (numapool_release(responder->receiver, request, 1) < 0)
        numapool_release(responder->receiver, request, 1);
}

int numapool_reply(struct numapool_responder *responder, const struct numapool_msg *request, const struct numapool_msg *reply,
                   int64_t timeout_ns)
{
    int result = check(responder, request, timeout_ns, __func__, __builtin_return_address(0));
    if (result < 0)
        return result;
    struct numapool_msg answer = *reply;
    answer.id = request->id;
    result = np_sender_send_to(responder->sender, request->key, &answer, NULL, timeout_ns);
    /* sent first: killed in between, the request goes to another responder, and is answered twice rather than never */
    if (result == 0 || result == -EHOSTUNREACH)
        release(responder, request);
    return result;
}

int numapool_reply_in_place(struct numapool_responder *responder, const struct numapool_msg *request, int64_t timeout_ns)
{
    int result = check(responder, request, timeout_ns, __func__, __builtin_return_address(0));
    if (result < 0)
        return result;
    if ((request->flags & NUMAPOOL_IN_CELL) != 0)
        return np_error_static(-EINVAL, "a small request has no slot to reply in: use numapool_reply");
    struct np_receiver_lane *lane = &responder->receiver->lanes[request->lane];
    const uint64_t claim = np_word_sent(lane->id, request->lane_seq, 0);
    result = np_sender_send_to(responder->sender, request->key, request, &claim, timeout_ns);
    if (result == -EHOSTUNREACH) {
        release(responder, request);
    } else if (result == 0) { /* the word says so before `released` does (L4) */
        np_receiver_finish(lane, request->lane_seq);
        np_receiver_publish(responder->receiver, lane);
    }
    return result;
}
