/* SPDX-License-Identifier: MIT */
#include "roles.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "crew.h"
#include "life.h"

/* Long batches, so that many are killed between the first store of one and its announcement. */
enum { BATCH = 128, KEPT = 12, BULK = 24, LEAVES_ONE_IN = 400, PAUSE_NS = 50000 };

const char *const role_names[ROLE_COUNT] = {
    [ROLE_SENDER] = "sender",
    [ROLE_FORWARDER] = "forwarder",
    [ROLE_RECEIVER] = "receiver",
    [ROLE_KEEPER] = "keeper",
    [ROLE_GETTER] = "getter",
    [ROLE_MAILER] = "mailer",
    [ROLE_MAILBOX] = "mailbox",
    [ROLE_LOOKER] = "looker",
    [ROLE_SMALL_SENDER] = "small sender",
    [ROLE_SMALL_RECEIVER] = "small receiver",
    [ROLE_REQUESTER] = "requester",
    [ROLE_RESPONDER] = "responder",
    [ROLE_BROADCASTER] = "broadcaster",
    [ROLE_READER] = "reader",
    [ROLE_ONLY_READER] = "readonly reader",
    [ROLE_THREADS] = "client of threads",
    [ROLE_DRAINER] = "drainer",
};

/* ---------------------------------------------------------------- sender */

static int send_some(struct life *life, struct numapool_sender *sender)
{
    struct numapool_msg messages[BATCH];
    unsigned n = 1 + harness_below(&life->random, harness_below(&life->random, 2) ? BATCH : 2);
    unsigned have = 0, sent = 0;
    memset(messages, 0, sizeof messages);
    doom_call(); /* the loans of a batch are one call */
    while (have < n && (messages[have].data = numapool_loan(sender)))
        have++;
    doom_return();
    uint32_t first = have > 0 ? ledger_numbers(life->ledger, life->start->incarnation, have) : 0;
    if (first == 0) {
        for (unsigned i = 0; i < have; i++)
            numapool_unloan(sender, messages[i].data);
        harness_sleep_ns(200000);
        return 0;
    }
    for (unsigned i = 0; i < have; i++) {
        messages[i].id = first + i;
        messages[i].length = LEDGER_PAYLOAD_BYTES;
        ledger_fill(messages[i].data, first + i);
        SET(life->ledger->messages[first + i].about_to_send, 1);
    }
    while (sent < have) {
        int result;
        if (have - sent == 1) {
            result = DOOMED(numapool_send(sender, &messages[sent], life_patience(life)));
            result = result == 0 ? 1 : result;
        } else {
            result = DOOMED(numapool_send_bulk(sender, messages + sent, have - sent, life_patience(life)));
        }
        if (result < 0 && !life_is_late(result))
            return life_failed(life, "send", result);
        for (int i = 0; i < result; i++)
            SET(life->ledger->messages[first + sent + (unsigned)i].sent, 1);
        sent += result > 0 ? (unsigned)result : 0;
        if (result < 0 && GET(life->ledger->drain))
            break; /* its loans go back with the process */
    }
    return 0;
}

int role_send(struct life *life)
{
    struct numapool_sender *sender;
    int result = DOOMED(numapool_sender_open(life->pool, "a", &life->options, &sender));
    if (result < 0)
        return life_failed(life, "sender_open", result);
    life_tell_phase(life, 2);
    while (!GET(life->ledger->drain)) {
        if (send_some(life, sender) != 0)
            return 1;
        if (harness_below(&life->random, LEAVES_ONE_IN) == 0 && !GET(life->ledger->stay)) { /* leaves, and joins again */
            result = DOOMED(numapool_sender_close(sender, life_patience(life)));
            if (result < 0)
                return life_failed(life, "sender_close", result);
            result = DOOMED(numapool_sender_open(life->pool, "a", &life->options, &sender));
            if (result < 0)
                return life_failed(life, "sender_open", result);
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- receiving roles */

static int forward_some(struct life *life, struct numapool_receiver *receiver, struct numapool_msg *messages, unsigned n,
                        struct numapool_sender *sender)
{
    unsigned done = 0;
    while (done < n) {
        int result;
        if (n - done == 1 || harness_below(&life->random, 3) == 0) {
            result = DOOMED(numapool_forward(receiver, &messages[done], sender, life_patience(life)));
            result = result == 0 ? 1 : result;
        } else {
            result = DOOMED(numapool_forward_bulk(receiver, messages + done, n - done, sender, life_patience(life)));
        }
        if (result < 0 && !life_is_late(result))
            return life_failed(life, "forward", result);
        for (; result > 0; result--)
            ledger_finish(&life->reader, &messages[done++]);
    }
    return 0;
}

struct kept {
    void *slot;
    uint64_t stamp;
};

static int put_back(struct life *life, struct numapool_magazine *magazine, struct kept *kept)
{
    if (!ledger_payload_is(kept->slot, kept->stamp))
        ledger_breach(life->ledger, "%s %u: a slot it held was written by somebody else", life->name,
                      life->start->incarnation);
    ledger_fill(kept->slot, 0); /* what is read from a slot that was given back must be wrong */
    int result = DOOMED(numapool_put(magazine, kept->slot));
    if (result < 0)
        return life_failed(life, "put", result);
    atomic_fetch_add_explicit(&life->ledger->puts, 1, memory_order_relaxed);
    kept->slot = NULL;
    return 0;
}

/* What its holder writes into a slot: no message's payload, and nobody else's stamp. */
static void stamp(struct life *life, struct kept *kept)
{
    kept->stamp = (uint64_t)life->start->incarnation << 32 | UINT64_C(1) << 63 | (uint32_t)harness_random(&life->random);
    ledger_fill(kept->slot, kept->stamp);
}

static int keep_some(struct life *life, struct numapool_receiver *receiver, const struct numapool_msg *messages, unsigned n,
                     struct numapool_magazine *magazine, struct kept kept[KEPT])
{
    for (unsigned i = 0; i < n; i++) {
        int result;
        if (harness_below(&life->random, 3) == 0) {
            result = DOOMED(numapool_release(receiver, &messages[i], 1));
            if (result < 0)
                return life_failed(life, "release", result);
            ledger_finish(&life->reader, &messages[i]);
            continue;
        }
        struct kept *place = &kept[harness_below(&life->random, KEPT)];
        if (place->slot && put_back(life, magazine, place) != 0)
            return 1;
        result = DOOMED(numapool_keep(receiver, &messages[i]));
        if (result < 0)
            return life_failed(life, "keep", result);
        ledger_finish(&life->reader, &messages[i]);
        place->slot = messages[i].data;
        stamp(life, place);
    }
    return 0;
}

static int release_some(struct life *life, struct numapool_receiver *receiver, const struct numapool_msg *messages,
                        unsigned n)
{
    unsigned at_once = harness_below(&life->random, 2) ? n : 1;
    for (unsigned done = 0; done < n; done += at_once) {
        unsigned some = n - done < at_once ? n - done : at_once;
        int result = DOOMED(numapool_release(receiver, messages + done, some));
        if (result < 0)
            return life_failed(life, "release", result);
        for (unsigned i = 0; i < some; i++)
            ledger_finish(&life->reader, &messages[done + i]);
    }
    return 0;
}

static int open_receiver(struct life *life, const char *channel, struct numapool_receiver **receiver)
{
    int result = DOOMED(numapool_receiver_open(life->pool, channel, &life->options, receiver));
    if (result < 0)
        return life_failed(life, "receiver_open", result);
    life->reader = (struct ledger_reader){ .ledger = life->ledger, .channel = channel[0] == 'a' ? LEDGER_A : LEDGER_B,
                                             .role = life->name, .incarnation = life->start->incarnation };
    return 0;
}

int role_receive(struct life *life)
{
    struct numapool_receiver *receiver;
    struct numapool_sender *sender = NULL;
    struct numapool_magazine *magazine = NULL;
    struct numapool_msg messages[BATCH];
    struct kept kept[KEPT] = { { NULL, 0 } };
    enum role role = life->start->role;
    const char *channel = role == ROLE_FORWARDER ? "a" : "b";
    int64_t last_ns = harness_now_ns();
    int result = 0;
    if (role == ROLE_FORWARDER && (result = DOOMED(numapool_sender_open(life->pool, "b", &life->options, &sender))) < 0)
        return life_failed(life, "sender_open", result);
    if (role == ROLE_KEEPER && (result = DOOMED(numapool_magazine_open(life->pool, NUMAPOOL_ANY_NODE, 0, &magazine))) < 0)
        return life_failed(life, "magazine_open", result);
    if (open_receiver(life, channel, &receiver) != 0)
        return 1;
    life_tell_phase(life, 2);
    for (;;) {
        int got = DOOMED(numapool_receive(receiver, messages, 1 + harness_below(&life->random, BATCH), life_patience(life)));
        if (got < 0 && !life_is_late(got))
            return life_failed(life, "receive", got);
        if (got < 0 && life->start->idle_end_ns > 0 && harness_now_ns() - last_ns > life->start->idle_end_ns)
            break;
        if (got < 0)
            continue;
        last_ns = harness_now_ns();
        for (int i = 0; i < got; i++) {
            uint64_t appearance = ledger_receive(&life->reader, receiver, &messages[i]);
            if (role == ROLE_FORWARDER)
                messages[i].key = appearance;
        }
        if (role == ROLE_FORWARDER)
            result = forward_some(life, receiver, messages, (unsigned)got, sender);
        else if (role == ROLE_KEEPER)
            result = keep_some(life, receiver, messages, (unsigned)got, magazine, kept);
        else
            result = release_some(life, receiver, messages, (unsigned)got);
        if (result != 0)
            return 1;
        if (harness_below(&life->random, LEAVES_ONE_IN) == 0 && !GET(life->ledger->stay)) { /* leaves, and joins again */
            if ((result = DOOMED(numapool_receiver_close(receiver))) < 0)
                return life_failed(life, "receiver_close", result);
            if (open_receiver(life, channel, &receiver) != 0)
                return 1;
        }
    }
    for (unsigned i = 0; i < KEPT; i++)
        if (kept[i].slot && put_back(life, magazine, &kept[i]) != 0)
            return 1;
    if ((result = DOOMED(numapool_receiver_close(receiver))) < 0)
        return life_failed(life, "receiver_close", result);
    if (sender && (result = DOOMED(numapool_sender_close(sender, 0))) < 0)
        return life_failed(life, "sender_close", result);
    if (magazine && (result = numapool_magazine_close(magazine)) < 0)
        return life_failed(life, "magazine_close", result);
    return 0;
}

/* ---------------------------------------------------------------- getter */

static int get_some(struct life *life, struct numapool_magazine *magazine, void **slots, unsigned n, unsigned *have)
{
    int result = 0;
    *have = 0;
    if (harness_below(&life->random, 2)) {
        result = DOOMED(numapool_get_bulk(magazine, slots, n));
        *have = result < 0 ? 0 : n;
        if (result < 0 && !life_is_late(result))
            return life_failed(life, "get_bulk", result);
    }
    for (; *have < n; (*have)++) {
        slots[*have] = DOOMED(numapool_get(magazine));
        if (slots[*have])
            continue;
        result = DOOMED(numapool_get_wait(magazine, &slots[*have], life_patience(life)));
        if (result < 0)
            return life_is_late(result) ? 0 : life_failed(life, "get_wait", result);
    }
    return 0;
}

int role_get_and_put(struct life *life)
{
    struct numapool_magazine *magazine;
    struct kept kept[BULK];
    void *slots[BULK];
    bool of_thread = harness_below(&life->random, 2) != 0;
    int result = 0;
    if (of_thread && (magazine = DOOMED(numapool_thread_magazine(life->pool))) == NULL)
        return life_failed(life, "thread_magazine", 0);
    if (!of_thread && (result = DOOMED(numapool_magazine_open(life->pool, NUMAPOOL_ANY_NODE, 0, &magazine))) < 0)
        return life_failed(life, "magazine_open", result);
    life_tell_phase(life, 2);
    while (!GET(life->ledger->drain)) {
        unsigned have;
        result = get_some(life, magazine, slots, 1 + harness_below(&life->random, BULK), &have);
        for (unsigned i = 0; i < have; i++) {
            kept[i].slot = slots[i];
            stamp(life, &kept[i]);
        }
        for (unsigned i = 0; i < have && result == 0; i++)
            result = put_back(life, magazine, &kept[i]);
        if (result != 0)
            return result;
        if (harness_below(&life->random, 16) == 0 && (result = DOOMED(numapool_flush(magazine))) < 0)
            return life_failed(life, "flush", result);
        if (harness_below(&life->random, 4) == 0)
            harness_sleep_ns(PAUSE_NS); /* one that is never doomed would take a processor from all others */
    }
    if (of_thread)
        return 0; /* it goes with its thread */
    result = DOOMED(numapool_magazine_close(magazine));
    return result < 0 ? life_failed(life, "magazine_close", result) : 0;
}

/* ---------------------------------------------------------------- each of them */

static int (*const works[ROLE_COUNT])(struct life *life) = {
    [ROLE_SENDER] = role_send,
    [ROLE_FORWARDER] = role_receive,
    [ROLE_RECEIVER] = role_receive,
    [ROLE_KEEPER] = role_receive,
    [ROLE_GETTER] = role_get_and_put,
    [ROLE_MAILER] = crew_mailer,
    [ROLE_MAILBOX] = crew_mailbox,
    [ROLE_LOOKER] = crew_mailbox,
    [ROLE_SMALL_SENDER] = crew_small_sender,
    [ROLE_SMALL_RECEIVER] = crew_small_receiver,
    [ROLE_REQUESTER] = crew_requester,
    [ROLE_RESPONDER] = crew_responder,
    [ROLE_BROADCASTER] = crew_broadcaster,
    [ROLE_READER] = crew_reader,
    [ROLE_ONLY_READER] = crew_reader,
    [ROLE_THREADS] = crew_threads,
    [ROLE_DRAINER] = crew_drainer,
};

/* Those who may only read are half of them of another user, who may do no more. */
static int become_user(struct life *life)
{
    if (geteuid() != 0 || harness_below(&life->random, 2) == 0)
        return 0;
    if (setgroups(0, NULL) != 0 || setresgid(CREW_READER_UID, CREW_READER_UID, CREW_READER_UID) != 0 ||
        setresuid(CREW_READER_UID, CREW_READER_UID, CREW_READER_UID) != 0)
        return -errno;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* forgotten with the user */
    return 0;
}

static int run(void *context)
{
    struct life life = { .start = context, .options = NUMAPOOL_CHANNEL_OPTIONS_INIT };
    const struct role_start *start = context;
    life.ledger = start->ledger;
    life.record = start->record;
    life.random = start->seed | 1;
    life.name = role_names[start->role];
    life.options.lane_slots = start->lane_slots;
    if (harness_below(&life.random, 4) > 0)
        life.options.spin_ns = -1; /* most go to sleep at once */
    bool only_reads = start->role == ROLE_LOOKER || start->role == ROLE_ONLY_READER;
    int result = only_reads ? become_user(&life) : 0;
    if (result == 0)
        result = doom_begin(&start->doom, start->record ? &start->record->graves[start->place] : NULL);
    if (result < 0)
        return life_failed(&life, "preparing", result);
    result = DOOMED(numapool_connect(&life.client, start->socket));
    if (result < 0)
        return life_failed(&life, "connect", result);
    SET(life.ledger->workers[start->place].client, numapool_client_id(life.client));
    life_tell_phase(&life, 1);
    result = DOOMED(numapool_open(life.client, ROLES_POOL, only_reads ? NUMAPOOL_READONLY : 0, &life.pool));
    return result < 0 ? life_failed(&life, "open", result) : works[start->role](&life);
}

pid_t role_spawn(const struct role_start *start)
{
    struct role_start own = *start;
    SET(start->ledger->workers[start->place].client, 0);
    SET(start->ledger->workers[start->place].phase, 0);
    return harness_fork(run, &own);
}

void roles_drain(struct ledger *ledger, const char *socket, uint32_t first_incarnation, bool forwarded)
{
    struct role_start start = { .ledger = ledger, .socket = socket, .role = ROLE_RECEIVER, .incarnation = first_incarnation,
                                .place = 0, .seed = first_incarnation, .idle_end_ns = 1000000000, .lane_slots = 64 };
    SET(ledger->drain, 1);
    pid_t receiver = role_spawn(&start);
    if (forwarded) {
        start.role = ROLE_FORWARDER;
        start.idle_end_ns = 400000000;
        start.incarnation++;
        start.place = 1;
        harness_expect(harness_join(role_spawn(&start), INT64_C(60000000000)) == 0, "a fresh forwarder drains channel a");
    }
    harness_expect(harness_join(receiver, INT64_C(60000000000)) == 0, "a fresh receiver drains channel b");
}
