/* SPDX-License-Identifier: MIT
 *
 * Senders: their lanes, what they take back, their beginning and end. send.c sends, loan.c loans. */
#include "channel/keys.h"

#include "channel/broadcast.h"
#include "channel/small.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/fault.h"
#include "core/wipe.h"

/* What is taken back and not loaned again beyond this goes into the magazine: a forwarder never loans. */
#define RECYCLE_MAX (4 * NP_TAKE_BACK_EVERY)

bool np_sender_refuse(void)
{
    np_error_static(-EINVAL, "this sender is closed, or belongs to the parent of this forked process: open one here");
    return false;
}

bool np_sender_admit(const struct numapool_sender *sender, const char *call, const void *return_address)
{
    if (!np_sender_is_open(sender))
        return np_sender_refuse();
    np_call_enter(call, return_address);
    return true;
}

/* ---------------------------------------------------------------- taking back */

/* Where every get and put is to be counted, checked or malloc's, what comes back goes through the magazine, and at once. */
static bool recycles(const struct numapool_sender *sender)
{
    return (sender->endpoint.pool->flags & (NUMAPOOL_EXACT_COUNTS | NUMAPOOL_CHECKS | NUMAPOOL_MALLOC)) == 0;
}


void np_sender_spill(struct numapool_sender *sender, struct np_sender_lane *lane, uint64_t keep)
{
    while (lane->sent && lane->released - lane->recycled > keep) {
        void *slot = np_sender_recycle(lane, sender->held);
        if (slot)
            np_magazine_return(sender->magazine, slot);
    }
}

/* After lanes have come, gone, moved or changed: where the next loan looks first (with further magazines not every lane will do: a
 * slow loan finds out), and the circle of those that are sent on in turn. */
static void lanes_changed(struct numapool_sender *sender)
{
    struct np_sender_lane *first = NULL;
    sender->loan_lane = sender->lane_count > 0 && !sender->has_away ? sender->lanes : NULL;
    sender->usual = NULL;
    for (unsigned i = 0; i < sender->lane_count && sender->live == NP_SENDER_LIVE && sender->kind == NP_LANE_SLOTS; i++) {
        struct np_sender_lane *lane = &sender->lanes[i];
        if (lane->state != NP_LANE_ACTIVE)
            continue;
        first = first ? first : lane;
        if (sender->usual)
            sender->usual->next = lane;
        lane->next = first;
        sender->usual = lane; /* the youngest comes first */
    }
    bool small = sender->lane_count == 1 && sender->live == NP_SENDER_LIVE && sender->kind == NP_LANE_SMALL;
    sender->small = small && sender->lanes->state == NP_LANE_ACTIVE ? sender->lanes : NULL;
}

/* Of lanes to which no slots come back. */
static unsigned take_back_other(struct numapool_sender *sender, struct np_sender_lane *lane)
{
    if (lane->kind == NP_LANE_SMALL)
        np_small_take_back(lane);
    if (lane->kind != NP_LANE_HOME) /* BROADCAST: its home takes back */
        return 0;
    unsigned took = np_broadcast_take_back(sender);
    lane->take_back_at = lane->head + (recycles(sender) ? NP_TAKE_BACK_EVERY : 1);
    np_sender_spill(sender, lane, recycles(sender) ? RECYCLE_MAX : 0);
    return took;
}

unsigned np_sender_take_back(struct numapool_sender *sender, struct np_sender_lane *lane)
{
    if (__builtin_expect(lane->kind != NP_LANE_SLOTS, 0))
        return take_back_other(sender, lane);
    uint64_t released = np_load64(&lane->shared->released, memory_order_acquire); /* pairs with the receiver's release store */
    lane->take_back_at = lane->head + (recycles(sender) ? NP_TAKE_BACK_EVERY : 1);
    np_sender_note_node(lane); /* beside `released` */
    if (__builtin_expect(sender->has_away, 0))
        sender->loan_lane = NULL; /* it may be one that keeps its slots from here on */
    if (released - lane->released > lane->head - lane->released)
        return 0; /* scribbled: nobody can release what was not sent */
    unsigned took = (unsigned)(released - lane->released);
    lane->released = released;
    np_sender_spill(sender, lane, recycles(sender) ? RECYCLE_MAX : 0);
    return took;
}

struct np_sender_lane *np_sender_find_lane(struct numapool_sender *sender, uint32_t id, uint32_t generation)
{
    for (unsigned i = 0; i < sender->lane_count; i++)
        if (sender->lanes[i].id == id && sender->lanes[i].generation == generation)
            return &sender->lanes[i];
    return NULL;
}

static void drop_lane(struct numapool_sender *sender, unsigned which)
{
    struct np_sender_lane *lane = &sender->lanes[which];
    const struct np_authority *authority = sender->endpoint.pool->authority;
    np_sender_spill(sender, lane, 0);
    authority->unmap_lane(sender->endpoint.pool->authority_context, lane->shared, lane->mask + 1,
                          lane->kind);
    free(lane->sent);
    *lane = sender->lanes[--sender->lane_count];
    lanes_changed(sender);
}

unsigned np_sender_take_back_all(struct numapool_sender *sender)
{
    unsigned took = 0;
    for (unsigned i = sender->lane_count; i-- > 0;) {
        struct np_sender_lane *lane = &sender->lanes[i];
        took += np_sender_take_back(sender, lane);
        bool is_over = (lane->kind == NP_LANE_BROADCAST && lane->state == NP_LANE_CLOSED) || (lane->state == NP_LANE_DRAIN && lane->released == lane->head);
        if (is_over && np_endpoint_may_ask(&sender->endpoint)) {
            if (!NP_MUTANT(LEFT_WITH_WORDS))
                np_sender_spill(sender, lane, 0); /* who has left it may change no more words of it */
            struct numapool_pool *pool = sender->endpoint.pool;
            if (np_endpoint_asked(&sender->endpoint,
                                  pool->authority->leave_lane(pool->authority_context, sender->endpoint.id, lane->id,
                                                              lane->generation)) == 0)
                drop_lane(sender, i);
        }
    }
    return took;
}

static struct numapool_sender *of_reclaimer(struct np_reclaimer *self)
{
    return (struct numapool_sender *)((char *)self - offsetof(struct numapool_sender, reclaimer));
}

/* For a getter of the magazine: everything that this sender has. */
static unsigned reclaimer_take_back(struct np_reclaimer *self)
{
    struct numapool_sender *sender = of_reclaimer(self);
    unsigned took = 0;
    np_sender_take_back_all(sender);
    for (unsigned i = 0; i < sender->lane_count && !NP_MUTANT(GETTER_LEAVES_WORDS); i++) {
        took += (unsigned)(sender->lanes[i].released - sender->lanes[i].recycled);
        np_sender_spill(sender, &sender->lanes[i], 0);
    }
    for (unsigned i = 0; sender->has_away && i < NP_ARENAS_MAX; i++)
        if (sender->away[i])
            numapool_flush(sender->away[i]); /* nobody sleeps on slots that he caches himself */
    return took;
}

void np_sender_raise_flags(struct numapool_sender *sender, uint32_t bell, struct np_sleep *sleep)
{
    for (unsigned i = 0; i < sender->lane_count; i++) {
        struct np_lane_shared *shared = sender->lanes[i].shared;
        /* relaxed: after the acquire of the bell's ring, which the broker rings after it has changed this */
        bool foreign = np_load32(&shared->receiver_foreign, memory_order_relaxed) != 0;
        if (foreign)
            np_sleep_on(sleep, &shared->sender_ring);
        np_store32(&shared->sender_bell, bell, memory_order_relaxed); /* relaxed: before the flag, by its release */
        np_store32(&shared->sender_sleeps, foreign ? NP_SLEEPS_ON_LANE : NP_SLEEPS_ON_BELL, memory_order_release);
    }
}

void np_sender_lower_flags(struct numapool_sender *sender)
{
    for (unsigned i = 0; i < sender->lane_count; i++) /* relaxed: a flag up too long costs a vain ring */
        np_store32(&sender->lanes[i].shared->sender_sleeps, 0, memory_order_relaxed);
}

static void reclaimer_sleep_begin(struct np_reclaimer *self, uint32_t bell, struct np_sleep *sleep)
{
    np_sender_raise_flags(of_reclaimer(self), bell, sleep);
}

static void reclaimer_sleep_end(struct np_reclaimer *self)
{
    np_sender_lower_flags(of_reclaimer(self));
}

/* ---------------------------------------------------------------- lanes */

static int lane_changed(void *self, const struct np_lane_grant *grant)
{
    struct numapool_sender *sender = self;
    struct numapool_pool *pool = sender->endpoint.pool;
    if (grant->kind != sender->kind && !(grant->kind == NP_LANE_HOME && sender->kind == NP_LANE_BROADCAST)) {
        pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity, grant->kind);
        return np_error(-EBADMSG, "the daemon gave lane %u of kind %u to a sender of kind %u", grant->lane, grant->kind, sender->kind);
    }
    struct np_sender_lane *known = np_sender_find_lane(sender, grant->lane, grant->generation);
    if (known) {
        pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity, grant->kind);
        known->state = grant->state;
        known->peer = np_peer_address(grant);
        np_sender_note_node(known);
        lanes_changed(sender);
        return 0;
    }
    if (!grant->memory) /* one that cannot be sent on, and is to be left once it should be: else it would count as one to leave for ever */
        return grant->state == NP_LANE_ACTIVE ? 0
                                              : pool->authority->leave_lane(pool->authority_context, sender->endpoint.id, grant->lane,
                                                                            grant->generation);
    if (sender->lane_count == sender->lane_room) {
        unsigned room = sender->lane_room ? sender->lane_room * 2 : 8;
        struct np_sender_lane *more = realloc(sender->lanes, room * sizeof *more);
        if (!more) {
            pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity, grant->kind);
            return np_error(-ENOMEM, "no memory for %u lanes of a sender", room);
        }
        sender->lanes = more;
        sender->lane_room = room;
        lanes_changed(sender); /* it pointed into what was moved */
    }
    bool takes_back = grant->kind == NP_LANE_SLOTS || grant->kind == NP_LANE_HOME;
    struct np_sent *sent = takes_back ? calloc(grant->capacity, sizeof *sent) : NULL;
    if (takes_back && !sent) {
        pool->authority->unmap_lane(pool->authority_context, grant->memory, grant->capacity, grant->kind);
        return np_error(-ENOMEM, "no memory for a lane of %u messages", grant->capacity);
    }
    sender->lanes[sender->lane_count++] = (struct np_sender_lane){
        .shared = grant->memory, .cells = np_lane_cells(grant->memory),
        .labels = np_lane_labels(grant->memory, grant->capacity), .sent = sent, .mask = grant->capacity - 1,
        .id = grant->lane, .word = grant->kind == NP_LANE_HOME ? np_word_shared(grant->lane, 0, 0) : np_word_sent(grant->lane, 0, 0), .generation = grant->generation, .state = grant->state, .kind = grant->kind,
        .take_back_at = recycles(sender) ? NP_TAKE_BACK_EVERY : 1,
        .peer = np_peer_address(grant),
    };
    np_sender_note_node(&sender->lanes[sender->lane_count - 1]);
    np_sender_note_room(&sender->lanes[sender->lane_count - 1]);
    if (grant->kind == NP_LANE_HOME) { /* np_broadcast_home looks for it there */
        struct np_sender_lane home = sender->lanes[sender->lane_count - 1];
        sender->lanes[sender->lane_count - 1] = sender->lanes[0];
        sender->lanes[0] = home;
    }
    lanes_changed(sender);
    /* relaxed: read by people, not by the protocol */
    np_store32(&grant->memory->sender_registered, sender->endpoint.registered, memory_order_relaxed);
    return 0;
}

int np_sender_sync(struct numapool_sender *sender)
{
    int result = np_endpoint_sync(&sender->endpoint, lane_changed, sender);
    np_sender_follow_receivers(sender);
    if (result == 0)
        np_sender_take_back_all(sender);
    return result;
}

/* ---------------------------------------------------------------- opening and closing */

int numapool_sender_open(struct numapool_pool *pool, const char *channel, const struct numapool_channel_options *options,
                         struct numapool_sender **result_sender)
{
    struct numapool_channel_options known;
    int result = np_pool_check_writable(pool, "numapool_sender_open");
    if (result == 0)
        result = np_channel_options(&known, options);
    if (result < 0)
        return result;
    struct numapool_sender *sender = np_wipe_alloc(sizeof *sender);
    if (!sender)
        return -ENOMEM;
    struct numapool_magazine *magazine = known.magazine;
    if (!magazine) {
        result = numapool_magazine_open(pool, NUMAPOOL_OWN_NODE, 0, &magazine);
        sender->owns_magazine = true;
    } else if (((struct np_magazine *)magazine)->live != NP_MAGAZINE_LIVE || ((struct np_magazine *)magazine)->pool != pool) {
        result = np_error(-EINVAL, "channel '%s': options.magazine is not an open magazine of pool '%s'", channel, pool->name);
    }
    if (result < 0) {
        np_wipe_free(sender, sizeof *sender);
        return result;
    }
    result = np_endpoint_open(&sender->endpoint, pool, NP_ROLE_SENDER, channel, &known);
    if (result < 0) {
        if (sender->owns_magazine)
            numapool_magazine_close(magazine);
        np_wipe_free(sender, sizeof *sender);
        return result;
    }
    sender->magazine = (struct np_magazine *)magazine;
    sender->held = np_word_held(pool->client, 0);
    np_sender_set_home(sender, &pool->arenas[sender->magazine->arena].arena);
    sender->kind = np_channel_kind(known.flags);
    sender->has_away = (pool->flags & NUMAPOOL_STRICT) != 0;
    sender->receivers_node = -1;
    sender->loans_specially = sender->has_away || sender->kind == NP_LANE_SMALL;
    sender->reclaimer = (struct np_reclaimer){ NULL, reclaimer_take_back, reclaimer_sleep_begin, reclaimer_sleep_end };
    np_magazine_add_reclaimer(sender->magazine, &sender->reclaimer);
    sender->live = pool->checks ? NP_SENDER_CHECKED : NP_SENDER_LIVE;
    pthread_mutex_lock(&pool->lock);
    pool->sender_count++;
    pthread_mutex_unlock(&pool->lock);
    result = np_endpoint_first_sync(&sender->endpoint, lane_changed, sender);
    if (result == 0 && sender->kind == NP_LANE_BROADCAST && (sender->lane_count == 0 || sender->lanes[0].kind != NP_LANE_HOME))
        result = np_error(-EBADMSG, "the daemon gave no home to a sender that broadcasts");
    np_sender_follow_receivers(sender);
    if (result < 0) {
        numapool_sender_close(sender, 0);
        return result;
    }
    *result_sender = sender;
    return 0;
}

static uint64_t unreleased(struct numapool_sender *sender)
{
    uint64_t left = 0;
    np_sender_take_back_all(sender);
    for (unsigned i = 0; i < sender->lane_count; i++)
        if (sender->lanes[i].kind != NP_LANE_BROADCAST) /* whose home counts */
            left += sender->lanes[i].head - sender->lanes[i].released;
    return left;
}

static void wait_until_released(struct numapool_sender *sender, int64_t timeout_ns)
{
    struct np_waiting waiting;
    np_waiting_begin(&waiting, sender->endpoint.spin_ns, timeout_ns);
    while (unreleased(sender) > 0) {
        if (np_endpoint_has_news(&sender->endpoint) || sender->endpoint.asked_in_vain)
            np_sender_sync(sender);
        if (np_waiting_spins(&waiting)) {
            np_pause();
            continue;
        }
        np_waiting_arm(&sender->endpoint);
        np_sender_raise_flags(sender, sender->endpoint.bell_id, &sender->endpoint.sleep);
        np_waiting_fence(&waiting, &sender->endpoint.sleep);
        int result = unreleased(sender) > 0 ? np_waiting_sleep(&waiting, &sender->endpoint) : 0;
        np_sender_lower_flags(sender);
        if (result == -ETIMEDOUT)
            return;
    }
}

int numapool_sender_close(struct numapool_sender *sender, int64_t drain_ns)
{
    if (!np_sender_is_live(sender))
        return -EINVAL;
    if (drain_ns < 0)
        return np_error_static(-EINVAL, "drain_ns is negative: 0 does not wait, NUMAPOOL_FOREVER waits for ever; the sender is still open");
    if (sender->is_part)
        return np_error_static(-EBUSY, "this sender is an end of a requester or responder: close that; it is still open");
    struct numapool_pool *pool = sender->endpoint.pool;
    if (drain_ns > 0)
        wait_until_released(sender, drain_ns);
    uint64_t left = unreleased(sender);
    for (unsigned i = 0; i < sender->lane_count && !NP_MUTANT(CLOSED_WITH_WORDS); i++)
        np_sender_spill(sender, &sender->lanes[i], 0); /* from the close on the broker is the sender, and these words are its */
    int result = pool->authority->endpoint_close(pool->authority_context, sender->endpoint.id);
    while (sender->lane_count > 0)
        drop_lane(sender, sender->lane_count - 1);
    free(sender->lanes);
    np_keys_end(sender);
    for (unsigned i = 0; sender->has_away && i < NP_ARENAS_MAX; i++)
        if (sender->away[i])
            numapool_magazine_close(sender->away[i]);
    np_magazine_drop_reclaimer(sender->magazine, &sender->reclaimer);
    if (sender->owns_magazine)
        numapool_magazine_close(&sender->magazine->fast);
    pthread_mutex_lock(&pool->lock);
    pool->sender_count--;
    pthread_mutex_unlock(&pool->lock);
    np_wipe_free(sender, sizeof *sender);
    if (result < 0)
        return result;
    return left > INT32_MAX ? INT32_MAX : (int)left;
}
