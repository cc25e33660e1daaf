/* SPDX-License-Identifier: MIT */
#include "storm.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

enum {
    CALLS_MAX = 8,                /* of a life that ends by its own doom, after those that it joins by */
    MESSAGES_EACH_KILL = 60,      /* so that the load lasts as long as the act */
    NUMBERS_EACH_KILL = 40,       /* of each other channel */
    BROADCASTS_EACH_KILL = 12,
    LOOK_NS = 40000,              /* between two looks at the board while somebody is dead and not forgotten */
    REST_NS = 400000,
    DEED_EVERY = 6,               /* deaths, at most, between two deeds of the test itself */
    QUIET_NS = 20000000,          /* without a death there is one, too */
    STOPPED_NS_MAX = 3000000,
    LANES_CROWDED = 40, /* so many lanes, most of them of the dead, are drained before another is started */
    LANES_CROWDED_STOPPED = 1000
};
#define FORGOTTEN_WITHIN_NS INT64_C(10000000000)
#define FLOWS_WITHIN_NS     INT64_C(20000000000)

static const enum role casts[STORM_CASTS][CREW_PLACES] = {
    { ROLE_SENDER, ROLE_SENDER, ROLE_FORWARDER, ROLE_FORWARDER, ROLE_RECEIVER, ROLE_KEEPER, ROLE_GETTER, ROLE_THREADS },
    { ROLE_MAILER, ROLE_MAILER, ROLE_MAILBOX, ROLE_LOOKER, ROLE_SMALL_SENDER, ROLE_SMALL_SENDER, ROLE_SMALL_RECEIVER,
      ROLE_GETTER },
    { ROLE_BROADCASTER, ROLE_BROADCASTER, ROLE_READER, ROLE_READER, ROLE_ONLY_READER, ROLE_REQUESTER, ROLE_RESPONDER,
      ROLE_RESPONDER },
    { ROLE_SENDER, ROLE_FORWARDER, ROLE_RECEIVER, ROLE_MAILER, ROLE_LOOKER, ROLE_BROADCASTER, ROLE_READER, ROLE_THREADS },
    { ROLE_REQUESTER, ROLE_REQUESTER, ROLE_RESPONDER, ROLE_SENDER, ROLE_FORWARDER, ROLE_KEEPER, ROLE_SMALL_SENDER,
      ROLE_SMALL_RECEIVER },
};

bool storm_cast_has(unsigned act, enum role role)
{
    for (unsigned place = 0; place < CREW_PLACES; place++)
        if (casts[act % STORM_CASTS][place] == role)
            return true;
    return false;
}

/* Another for each life, and the same at each run. */
static uint64_t seed_of(const struct storm *storm, unsigned place, uint32_t life)
{
    uint64_t seed = storm->act_seed ^ (place + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15) ^
                    (life + UINT64_C(1)) * UINT64_C(0xbf58476d1ce4e5b9);
    seed |= 1;
    harness_random(&seed);
    return harness_random(&seed) | 1;
}

static void start(struct storm *storm, unsigned place)
{
    static const uint32_t lane_slots[] = { 8, 32, 128 };
    struct storm_place *vacant = &storm->places[place];
    uint64_t random = seed_of(storm, place, vacant->lives);
    struct role_start start = { .ledger = storm->ledger,
                                .socket = storm->daemon.socket,
                                .role = casts[storm->act % STORM_CASTS][place],
                                .incarnation = ++storm->incarnation,
                                .place = place,
                                .record = storm->record };
    start.lane_slots = lane_slots[harness_below(&random, 3)];
    doom_draw(&start.doom, &random, CALLS_MAX);
    start.seed = harness_random(&random);
    if (storm->is_calm)
        start.doom = (struct doom_plan){ 0 };
    SET(storm->record->addresses[place], 0);
    SET(storm->record->graves[place].killed_ns, 0);
    *vacant = (struct storm_place){ .pid = role_spawn(&start), .role = start.role, .lives = vacant->lives + 1 };
}

/* ---------------------------------------------------------------- the dead */

static void remember(struct storm *storm, uint32_t client, pid_t pid, int64_t killed_ns)
{
    const struct np_client_entry *entry = &storm->look.board.clients[client];
    if (killed_ns == 0 || client == 0 || client > storm->look.board.limits.clients ||
        storm->pending_count == STORM_PENDING_MAX)
        return;
    uint64_t cookie = entry->cookie;
    if (entry->pid != pid || np_entry_is(&entry->state, NP_NONE)) {
        histogram_add(&storm->recovery, (uint64_t)(harness_now_ns() - killed_ns)); /* forgotten before it was waited for */
        return;
    }
    storm->pending[storm->pending_count++] = (struct storm_pending){ client, cookie, killed_ns };
}

void storm_bury(struct storm *storm, unsigned place)
{
    struct storm_place *dead = &storm->places[place];
    struct doom_grave *grave = &storm->record->graves[place];
    const struct ledger_worker *told = &storm->ledger->workers[place];
    int64_t own_ns = GET(grave->killed_ns);
    storm->kills++;
    storm->act_kills++;
    storm->kills_of[dead->role]++;
    storm->kills_by[dead->killed_ns == 0]++;
    storm->in_call += GET(grave->in_call) != 0;
    storm->joining += GET(told->phase) != 2;
    storm->stopped += dead->is_stopped;
    remember(storm, (uint32_t)GET(told->client), dead->pid, dead->killed_ns != 0 ? dead->killed_ns : own_ns);
    dead->pid = 0;
}

static void look_at_pending(struct storm *storm)
{
    int64_t now_ns = harness_now_ns();
    for (unsigned i = 0; i < storm->pending_count;) {
        struct storm_pending *pending = &storm->pending[i];
        if (harness_look_is_gone(&storm->look, pending->client, pending->cookie)) {
            histogram_add(&storm->recovery, (uint64_t)(now_ns - pending->killed_ns));
            *pending = storm->pending[--storm->pending_count];
            continue;
        }
        if (now_ns - pending->killed_ns > FORGOTTEN_WITHIN_NS) {
            ledger_breach(storm->ledger, "client %u is dead for 10 s and the daemon has not forgotten it", pending->client);
            storm->never_recovered++;
            *pending = storm->pending[--storm->pending_count];
            continue;
        }
        i++;
    }
}

/* Of those who were just waited for by their number. One that ended otherwise has written why. */
static void reap(struct storm *storm)
{
    for (unsigned place = 0; place < CREW_PLACES; place++) {
        int status;
        if (storm->places[place].pid == 0 || waitpid(storm->places[place].pid, &status, WNOHANG) != storm->places[place].pid)
            continue;
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            ledger_breach(storm->ledger, "a %s ended by itself (status %x)", role_names[storm->places[place].role],
                          (unsigned)status);
        storm_bury(storm, place);
    }
}

/* ---------------------------------------------------------------- deeds of the test */

static void kill_at(struct storm *storm, unsigned place)
{
    struct storm_place *victim = &storm->places[place];
    if (victim->pid == 0)
        return;
    victim->killed_ns = harness_now_ns();
    kill(victim->pid, SIGKILL);
    victim->stays_stopped = false;
}

static void continue_some(struct storm *storm, bool all)
{
    int64_t now_ns = harness_now_ns();
    for (unsigned place = 0; place < CREW_PLACES; place++) {
        struct storm_place *stopped = &storm->places[place];
        if (stopped->pid == 0 || !stopped->is_stopped ||
            (!all && (stopped->stays_stopped || now_ns < stopped->continue_at_ns)))
            continue;
        kill(stopped->pid, SIGCONT);
        stopped->is_stopped = stopped->stays_stopped = false;
    }
}

static bool is_at_work(const struct storm *storm, unsigned place)
{
    return storm->places[place].pid != 0 && GET(storm->ledger->workers[place].phase) == 2;
}

/* One is stopped, or killed, or one that is stopped is killed; nearly always one that has joined, else most would die
 * before. */
static void do_something(struct storm *storm)
{
    unsigned place = harness_below(&storm->random, CREW_PLACES), what = harness_below(&storm->random, 4);
    bool anybody = harness_below(&storm->random, 8) == 0;
    int64_t stopped_ns = 1 + harness_below(&storm->random, STOPPED_NS_MAX);
    struct storm_place *victim = &storm->places[place];
    if (victim->pid == 0 || victim->stays_stopped || (!anybody && !is_at_work(storm, place)))
        return;
    if (what < 2) {
        kill_at(storm, place);
    } else if (!victim->is_stopped) {
        kill(victim->pid, SIGSTOP);
        victim->is_stopped = true;
        victim->continue_at_ns = harness_now_ns() + stopped_ns;
        if (what == 2)
            return;
        harness_sleep_ns(LOOK_NS);
        kill_at(storm, place);
    }
}

/* ---------------------------------------------------------------- a stop that lasts */

struct flow {
    uint64_t counts[6];
};

static struct flow flow_of(const struct storm *storm)
{
    const struct crew_record *record = storm->record;
    return (struct flow){ { GET(storm->ledger->received[LEDGER_A]), GET(storm->ledger->received[LEDGER_B]),
                            GET(record->mail->received), GET(record->small->received), GET(record->answers),
                            GET(record->broadcasts_seen) } };
}

/* Nobody waits for what these have: each channel has others who send to it. */
static bool may_be_stopped_long(const struct storm *storm, unsigned place)
{
    const enum role *cast = casts[storm->act % STORM_CASTS];
    unsigned twins = 0;
    for (unsigned other = 0; other < CREW_PLACES; other++)
        twins += cast[other] == cast[place];
    switch (cast[place]) {
    case ROLE_GETTER:
        return true;
    case ROLE_SENDER:
    case ROLE_MAILER:
    case ROLE_SMALL_SENDER:
    case ROLE_BROADCASTER:
    case ROLE_REQUESTER:
    case ROLE_FORWARDER:
        return twins > 1;
    default:
        return false;
    }
}

/* Tries until one that is at work was stopped. */
static bool stop_one_long(struct storm *storm, struct flow *flow)
{
    unsigned place = harness_below(&storm->random, CREW_PLACES);
    if (!may_be_stopped_long(storm, place) || !is_at_work(storm, place) || storm->places[place].is_stopped)
        return false;
    kill(storm->places[place].pid, SIGSTOP);
    storm->places[place].is_stopped = storm->places[place].stays_stopped = true;
    *flow = flow_of(storm);
    return true;
}

/* Whether something came on each channel of the cast; tells where nothing did. */
static bool has_flown(struct storm *storm, const struct flow *before, bool tells)
{
    static const struct {
        enum role role;
        const char *what;
    } channels[6] = { { ROLE_SENDER, "a" }, { ROLE_FORWARDER, "b" }, { ROLE_MAILER, "mail" }, { ROLE_SMALL_SENDER, "small" },
                      { ROLE_REQUESTER, "answers" }, { ROLE_BROADCASTER, "broadcasts" } };
    struct flow now = flow_of(storm);
    bool all = true;
    for (unsigned i = 0; i < 6; i++) {
        if (!storm_cast_has(storm->act, channels[i].role) || now.counts[i] > before->counts[i])
            continue;
        all = false;
        if (tells)
            ledger_breach(storm->ledger, "nothing came on %s while one client, for whom nobody need wait, was stopped",
                          channels[i].what);
    }
    return all;
}

/* ---------------------------------------------------------------- the act */

static void allow(struct storm *storm)
{
    uint32_t kills = (uint32_t)storm->act_kills + 4;
    SET(storm->ledger->allowance, kills * MESSAGES_EACH_KILL);
    SET(storm->record->mail->allowance, kills * NUMBERS_EACH_KILL);
    SET(storm->record->small->allowance, kills * NUMBERS_EACH_KILL);
    SET(storm->record->asked->allowance, kills * NUMBERS_EACH_KILL);
    SET(storm->record->broadcast_allowance, kills * BROADCASTS_EACH_KILL);
}

static void wait_for_death(const struct storm *storm)
{
    sigset_t child;
    const struct timespec most = { .tv_nsec = storm->pending_count > 0 ? LOOK_NS : REST_NS };
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigtimedwait(&child, NULL, &most);
}

/* One that is stopped for long keeps what was sent to it on lanes that nobody else may drain: those must not hold up the
 * others. */
static bool has_too_many_lanes(const struct storm *storm)
{
    unsigned lanes = 0, most = LANES_CROWDED;
    for (unsigned place = 0; place < CREW_PLACES; place++)
        if (storm->places[place].stays_stopped)
            most = LANES_CROWDED_STOPPED;
    for (uint32_t lane = 1; lane <= 2 * most; lane++) /* the lowest number that is free is given out */
        lanes += !np_entry_is(&storm->look.board.lanes[lane].state, NP_NONE);
    return lanes > most;
}

/* A receiver that comes asks for each lane, and one that dies over it leaves them all: where lanes of the dead are many
 * those who send wait until they are fewer. */
static bool may_start(const struct storm *storm, unsigned place)
{
    switch (casts[storm->act % STORM_CASTS][place]) {
    case ROLE_SENDER:
    case ROLE_MAILER:
    case ROLE_SMALL_SENDER:
    case ROLE_BROADCASTER:
        return !has_too_many_lanes(storm);
    default:
        return true;
    }
}

struct deeds {
    uint64_t next_at; /* deaths */
    int64_t quiet_until_ns;
};

static void do_what_is_due(struct storm *storm, struct deeds *deeds, uint64_t deaths_before)
{
    int64_t now_ns = harness_now_ns();
    if (storm->act_kills > deaths_before)
        deeds->quiet_until_ns = now_ns + QUIET_NS;
    if (storm->is_calm || (storm->act_kills < deeds->next_at && now_ns < deeds->quiet_until_ns))
        return;
    do_something(storm);
    deeds->next_at = storm->act_kills + 1 + harness_below(&storm->random, DEED_EVERY);
    deeds->quiet_until_ns = now_ns + QUIET_NS;
}

/* From a quarter of the act on, for half of it, and until something has come everywhere. Whoever starts after the half is not doomed
 * until it has: those who answer and die after a few calls may never come to the end of what the dead have asked. */
struct long_stop {
    enum { NOT_YET, STOPPED, CONTINUED } state;
    int64_t begun_ns;
    struct flow flow;
};

static void stop_long(struct storm *storm, struct long_stop *stop, uint64_t kills)
{
    if (stop->state == NOT_YET && storm->act_kills > kills / 4 && stop_one_long(storm, &stop->flow)) {
        stop->state = STOPPED;
        stop->begun_ns = harness_now_ns();
    }
    if (stop->state != STOPPED || storm->act_kills < kills * 3 / 4)
        return;
    bool too_long = harness_now_ns() - stop->begun_ns > FLOWS_WITHIN_NS;
    storm->is_calm = !has_flown(storm, &stop->flow, too_long) && !too_long;
    if (storm->is_calm)
        return;
    continue_some(storm, true);
    stop->state = CONTINUED;
    storm->long_stops++;
}

static void rage(struct storm *storm, uint64_t kills)
{
    struct long_stop stop = { .state = NOT_YET };
    struct deeds deeds = { 0, harness_now_ns() + QUIET_NS };
    while ((storm->act_kills < kills || stop.state == STOPPED) && GET(storm->ledger->breaches) == 0) {
        uint64_t before = storm->act_kills;
        allow(storm);
        wait_for_death(storm);
        look_at_pending(storm);
        reap(storm);
        continue_some(storm, false);
        for (unsigned place = 0; place < CREW_PLACES; place++)
            if (storm->places[place].pid == 0 && may_start(storm, place))
                start(storm, place);
        do_what_is_due(storm, &deeds, before);
        stop_long(storm, &stop, kills);
    }
}

bool storm_wait_scavenged(struct storm *storm, unsigned living)
{
    int64_t until_ns = harness_now_ns() + FORGOTTEN_WITHIN_NS;
    while (storm->pending_count > 0 || harness_look_left(&storm->look).clients > living) {
        if (harness_now_ns() > until_ns)
            return false;
        harness_sleep_ns(LOOK_NS);
        look_at_pending(storm);
    }
    return true;
}

static bool is_reader(enum role role)
{
    return role == ROLE_READER || role == ROLE_ONLY_READER;
}

/* Readers of broadcasts end by themselves, when they have received what the dead had sent. */
static bool end_readers(struct storm *storm)
{
    bool ended = true;
    SET(storm->record->readers_end, 1);
    for (unsigned place = 0; place < CREW_PLACES; place++) {
        pid_t pid = storm->places[place].pid;
        if (pid == 0)
            continue;
        int status = harness_join(pid, FORGOTTEN_WITHIN_NS);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && status != -1) {
            storm_bury(storm, place);
        } else if (status != 0) {
            ledger_breach(storm->ledger, "a %s does not end (status %x)", role_names[storm->places[place].role],
                          (unsigned)status);
            ended = false;
        }
        storm->places[place].pid = 0;
    }
    return ended;
}

bool storm_play(struct storm *storm, uint64_t kills)
{
    unsigned living = 0;
    int64_t begun_ns = harness_now_ns();
    storm->act_kills = 0;
    storm->is_calm = false;
    memset(storm->places, 0, sizeof storm->places);
    rage(storm, kills);
    SET(storm->ledger->drain, 1);
    continue_some(storm, true);
    for (unsigned place = 0; place < CREW_PLACES; place++) {
        struct storm_place *last = &storm->places[place];
        living += last->pid != 0 && is_reader(last->role);
        if (last->pid == 0 || is_reader(last->role))
            continue;
        kill_at(storm, place);
        waitpid(last->pid, NULL, 0);
        storm_bury(storm, place);
    }
    storm->act_ns += harness_now_ns() - begun_ns;
    return storm_wait_scavenged(storm, living) && end_readers(storm) && storm_wait_scavenged(storm, 0);
}
