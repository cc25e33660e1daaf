/* SPDX-License-Identifier: MIT
 *
 * The clients of the storm that are not of the relay (roles.h), and what they tell:
 *
 *   crew_mail.c     mailers --mail--> mailboxes and lookers (who may only read); some messages keyed, some for one receiver
 * alone small senders --small--> small receivers: messages that lie in the lanes crew_ask.c      requesters <--ask-->
 * responders, by a reply of their own or in place crew_fan.c      broadcasters --fan--> readers, some of whom may only read
 *   crew_threads.c  one client of several threads: each with its own magazine, one sends for the relay, one forwards for it
 *   crew_drain.c    one who comes last and takes what is left everywhere
 */
#ifndef NUMAPOOL_TESTS_CRASH_CREW_H
#define NUMAPOOL_TESTS_CRASH_CREW_H

#include "life.h"
#include "tally.h"

enum {
    CREW_PLACES = 8,
    CREW_BROADCASTERS_MAX = 4096, /* of one act */
    CREW_READER_UID = 65534
};

/* What a reader of broadcasts has seen. Its own while it lives; who lives to the end is compared with others. */
struct crew_seen {
    _Atomic uint32_t is_whole;                          /* it left in good order, having received all there was */
    _Atomic uint32_t joined[CREW_BROADCASTERS_MAX + 1]; /* number that the sender had begun when it joined, plus 1 */
    _Atomic uint32_t last[CREW_BROADCASTERS_MAX + 1];
};

struct crew_record {
    struct tally *mail, *small, *asked;
    struct doom_grave graves[CREW_PLACES + 1];
    _Atomic uint64_t addresses[CREW_PLACES + 1]; /* of receivers of mail; 0: none */
    _Atomic uint32_t readers_end;                /* no broadcaster is left: who has received all ends */
    _Atomic uint32_t small_requests;             /* requests of this act are small messages */
    _Atomic uint32_t broadcasters;               /* numbers given out */
    _Atomic uint32_t broadcast_allowance, broadcast_count;
    _Atomic uint32_t begun[CREW_BROADCASTERS_MAX + 1]; /* the number of its send that is under way, or of the last */
    _Atomic uint64_t broadcasts_seen, answers;
    struct crew_seen seen[CREW_PLACES + 1];
};

int crew_mailer(struct life *life);
int crew_mailbox(struct life *life); /* ROLE_MAILBOX, ROLE_LOOKER */
int crew_small_sender(struct life *life);
int crew_small_receiver(struct life *life);
int crew_requester(struct life *life);
int crew_responder(struct life *life);
int crew_broadcaster(struct life *life);
int crew_reader(struct life *life);
int crew_threads(struct life *life);
int crew_drainer(struct life *life);

/* The name of the service of this act. */
const char *crew_service(const struct life *life, struct numapool_channel_options *options);

#endif
