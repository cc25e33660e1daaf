/* SPDX-License-Identifier: MIT
 *
 * Workers of other builds take over under load, back and forth, while old and new workers, the builds that are asked what they are, the
 * tool, clients and at last keepers are killed at random. Nothing is lost, no call fails, there is never more than one worker, and what
 * is refused changes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "ledger.h"
#include "roles.h"
#include "upgrade_builds.h"

enum {
    UPGRADES = 50,
    KILLS = 200,
    KEEPER_KILLS = 20,
    DEATHS_OF_NEW = 20,
    ROLES = 6,
    MESSAGES_EACH = 3000,
    CHILDREN_MAX = 8
};
#define SETTLED_NS INT64_C(20000000000)

enum target { TARGET_WORKER, TARGET_PROBE, TARGET_NEW_WORKER, TARGET_TOOL, TARGETS };
static const char *const target_names[TARGETS] = { "worker", "probe", "new worker", "tool" };

/* What processes of this test, but not those of the ledger, tell of themselves. */
struct told {
    _Atomic uint64_t rounds;     /* of the slow path */
    _Atomic uint64_t slowest_ns; /* of its calls */
    _Atomic uint64_t looks;      /* at the keeper's children */
    _Atomic uint32_t most_workers;
    _Atomic uint32_t stop;       /* the slow path, at the end of a round: else its last message would be left */
};

struct trial {
    struct harness_daemon daemon;
    struct harness_look look;
    struct builds builds;
    struct ledger *ledger;
    uint64_t random;
    pid_t pids[ROLES], slow_path, watcher;
    uint32_t incarnation;
    struct told *told;
    char version[32];  /* that should work now */
    unsigned upgrades, kills[TARGETS], rolled_back;
    int64_t took_ns[UPGRADES], longest_ns;
};

static const enum role roles[ROLES] = { ROLE_SENDER, ROLE_SENDER, ROLE_FORWARDER, ROLE_RECEIVER, ROLE_RECEIVER, ROLE_KEEPER };

static void start_role(struct trial *trial, unsigned place)
{
    struct role_start start = { .ledger = trial->ledger, .socket = trial->daemon.socket, .role = roles[place],
                                .incarnation = ++trial->incarnation, .place = place, .seed = harness_random(&trial->random),
                                .lane_slots = 128 };
    trial->pids[place] = role_spawn(&start);
}

static void allow(struct trial *trial, uint32_t more)
{
    atomic_fetch_add_explicit(&trial->ledger->allowance, more, memory_order_relaxed);
}

/* ---------------------------------------------------------------- processes that watch */

static const char *slow_round(struct trial *trial, uint64_t number)
{
    struct numapool_client *client;
    struct numapool_pool *pool;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg message = { .length = 8, .id = number };
    char channel[32]; /* of its own: a receiver whose goodbye a dying worker did not hear would be given the next one's message */
    snprintf(channel, sizeof channel, "slow%llu", (unsigned long long)number);
    if (numapool_connect(&client, trial->daemon.socket) < 0)
        return "connect";
    if (numapool_open(client, ROLES_POOL, 0, &pool) < 0)
        return "open";
    if (numapool_receiver_open(pool, channel, NULL, &receiver) < 0)
        return "receiver_open";
    if (numapool_sender_open(pool, channel, NULL, &sender) < 0)
        return "sender_open";
    if (!(message.data = numapool_loan(sender)))
        return "loan";
    if (numapool_send(sender, &message, INT64_C(5000000000)) < 0)
        return "send";
    if (numapool_receive(receiver, &message, 1, INT64_C(20000000000)) != 1 || message.id != number)
        return "receive";
    if (numapool_release(receiver, &message, 1) < 0)
        return "release";
    if (numapool_sender_close(sender, INT64_C(5000000000)) < 0)
        return "sender_close";
    if (numapool_receiver_close(receiver) < 0)
        return "receiver_close";
    if (numapool_close(pool) < 0)
        return "close";
    return numapool_disconnect(client) < 0 ? "disconnect" : NULL;
}

/* Comes, opens everything, sends itself a message, closes everything and goes, all the time: each step needs a worker. */
static int go_the_slow_path(void *context)
{
    struct trial *trial = context;
    for (uint64_t number = 1; !atomic_load_explicit(&trial->told->stop, memory_order_relaxed); number++) {
        int64_t begun_ns = harness_now_ns();
        const char *wrong = slow_round(trial, number);
        uint64_t took_ns = (uint64_t)(harness_now_ns() - begun_ns);
        if (wrong) {
            ledger_breach(trial->ledger, "slow path, round %llu: %s: %s", (unsigned long long)number, wrong, numapool_errormsg());
            return 1;
        }
        if (took_ns > atomic_load_explicit(&trial->told->slowest_ns, memory_order_relaxed))
            atomic_store_explicit(&trial->told->slowest_ns, took_ns, memory_order_relaxed);
        atomic_fetch_add_explicit(&trial->told->rounds, 1, memory_order_relaxed);
        harness_sleep_ns(1000000); /* others need the processors too */
    }
    return 0;
}

static unsigned children_of(pid_t keeper, pid_t children[CHILDREN_MAX])
{
    char path[64], text[256] = "";
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)keeper, (int)keeper);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    char *rest = text, *word;
    while ((word = strsep(&rest, " ")) != NULL && count < CHILDREN_MAX)
        if (*word)
            children[count++] = atoi(word);
    return count;
}

static bool says(pid_t pid, const char *option)
{
    char path[40], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 && memmem(text, (size_t)got, option, strlen(option)) != NULL;
}

/* One that has become a worker: before its exec it has the keeper's command line. */
static bool is_worker(pid_t pid)
{
    return says(pid, "--worker=");
}

static bool is_probe(pid_t pid)
{
    return says(pid, "--probe");
}

static pid_t child_that(const struct trial *trial, bool (*is)(pid_t pid), pid_t except)
{
    pid_t children[CHILDREN_MAX];
    unsigned count = children_of(trial->daemon.keeper, children);
    for (unsigned i = 0; i < count; i++)
        if (children[i] != except && is(children[i]))
            return children[i];
    return 0;
}

static int watch_workers(void *context)
{
    struct trial *trial = context;
    while (getppid() != 1) {
        pid_t children[CHILDREN_MAX];
        unsigned count = children_of(trial->daemon.keeper, children), workers = 0;
        for (unsigned i = 0; i < count; i++)
            workers += is_worker(children[i]);
        if (workers > atomic_load_explicit(&trial->told->most_workers, memory_order_relaxed))
            atomic_store_explicit(&trial->told->most_workers, workers, memory_order_relaxed);
        atomic_fetch_add_explicit(&trial->told->looks, 1, memory_order_relaxed);
        harness_sleep_ns(500000);
    }
    return 0;
}

/* ---------------------------------------------------------------- upgrades that come to their end */

static struct upgrade_said upgrade(struct trial *trial, const char *option, const char *name)
{
    return upgrade_end(upgrade_begin(&trial->daemon, option, name ? builds_path(&trial->builds, name) : NULL));
}

static const char *other_build(const struct trial *trial)
{
    return strcmp(trial->version, numapool_version()) == 0 ? "next" : "numapoold";
}

static const char *version_of(const char *build)
{
    return strcmp(build, "next") == 0 ? BUILDS_NEXT_VERSION : numapool_version();
}

static bool works(struct trial *trial, const char *version)
{
    char now[32];
    upgrade_working_version(&trial->daemon, now);
    return strcmp(now, version) == 0;
}

static uint64_t starts(const struct trial *trial)
{
    return np_load64(&trial->look.board.header->worker_starts, memory_order_relaxed);
}

/* Each is refused with this in its sentence, and neither the worker nor anything on the board is another afterwards. */
static void refuse_all(struct trial *trial)
{
    static const struct { const char *build, *says; } refused[] = {
        { "layout", "has memory layout 99, this daemon's is 5" },
        { "garbage", "is no program of this kind of machine" },
        { "elsewhere", "is no program of this kind of machine" },
        { "script", "it is a script" },
        { "no_program", "chmod +x" },
        { "writable", "may be written by others (mode 777)" },
        { "nosuch", "cannot be opened by the daemon: No such file" },
        { "", "is no file" },
        { "silent", "it says nothing" },
        { "says_other", "it says 'numapoold probe 2'" },
        { "says_part", "it does not say what its layout is" },
        { "fails", "ended with status 3" },
        { "crashes", "ended by signal 11" },
        { "talks", "says more than 2048 bytes" },
        { "hangs", "did not end within 5 s" },
    };
    pid_t worker = child_that(trial, is_worker, 0);
    uint64_t before = starts(trial);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        for (unsigned check = 0; check < (i + 1 < sizeof refused / sizeof refused[0] ? 2u : 1u); check++) {
            allow(trial, MESSAGES_EACH / 8);
            struct upgrade_said said = upgrade(trial, check ? "--check" : NULL, refused[i].build);
            bool is_so = said.status == 1 && strcmp(said.done, "refused") == 0 && strstr(said.why, refused[i].says);
            if (!is_so || !check)
                harness_expect(is_so, "%s is refused: %.60s%s", refused[i].build[0] ? refused[i].build : "a directory",
                               said.why[0] == '/' && strchr(said.why, ' ') ? strchr(said.why, ' ') + 1 : said.why,
                               strlen(said.why) > 60 ? "..." : "");
        }
    }
    harness_expect(child_that(trial, is_worker, 0) == worker && starts(trial) == before,
                   "after %zu refusals the worker is the one that it was", sizeof refused / sizeof refused[0]);
    harness_figure("upgrade.refused", "%zu kinds of files", sizeof refused / sizeof refused[0]);
}

/* They pass for good builds until they are to work. */
static void roll_back_all(struct trial *trial)
{
    static const struct { const char *build, *says; } failing[] = {
        { "worker_fails", "ended with status 3 before it was ready" },
        { "worker_ends", "ended with status 0 before it was ready" },
        { "worker_hangs", "was not ready within 1.2 s" },
    };
    for (size_t i = 0; i < sizeof failing / sizeof failing[0]; i++) {
        allow(trial, MESSAGES_EACH);
        struct upgrade_said said = upgrade(trial, NULL, failing[i].build);
        harness_expect(said.status == 1 && strcmp(said.done, "rolled back") == 0 && strstr(said.why, failing[i].says) && works(trial, trial->version),
                       "%s is rolled back, and %s works again: %.70s", failing[i].build, trial->version, said.why);
    }
    struct upgrade_said said = upgrade(trial, NULL, "leaves_child");
    harness_expect(said.status == 0 && strcmp(said.done, "took over") == 0, "a build that leaves a child behind when asked does not keep the keeper waiting");
    said = upgrade(trial, NULL, "numapoold");
    harness_expect(said.status == 0, "and from it back again");
}

/* A worker of a good build is killed by its own timer, from before it has read anything until after it is ready. */
static void die_while_taking_over(struct trial *trial)
{
    unsigned rolled_back = 0, wrong = 0, deaths = harness_scaled(DEATHS_OF_NEW, 4);
    for (unsigned i = 0; i < deaths; i++) {
        allow(trial, MESSAGES_EACH / 4);
        builds_arm_death(&trial->builds, 200 + harness_below(&trial->random, 6000));
        struct upgrade_said said = upgrade(trial, NULL, "worker_dies");
        bool back = said.status == 1 && strcmp(said.done, "rolled back") == 0 && strstr(said.why, "was killed by signal 14");
        rolled_back += back;
        wrong += !back && said.status != 0;
        if (said.status == 0 && upgrade(trial, NULL, "numapoold").status != 0)
            wrong++;
    }
    trial->kills[TARGET_NEW_WORKER] += deaths;
    trial->rolled_back += rolled_back;
    harness_expect(wrong == 0 && rolled_back > 0, "%u of %u workers died while they took over, and the old build was back each time",
                   rolled_back, deaths);
    harness_expect(works(trial, trial->version), "and %s works", trial->version);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void back_and_forth(struct trial *trial)
{
    unsigned wanted = harness_scaled(UPGRADES, 6), wrong = 0;
    for (unsigned i = 0; i < wanted; i++) {
        const char *build = other_build(trial);
        allow(trial, MESSAGES_EACH);
        int64_t begun_ns = harness_now_ns();
        struct upgrade_said said = upgrade(trial, NULL, build);
        bool is_so = said.status == 0 && strcmp(said.done, "took over") == 0 && strcmp(said.version_before, trial->version) == 0 &&
                     strcmp(said.version_after, version_of(build)) == 0 && said.worker_after == child_that(trial, is_worker, 0);
        if (!is_so) {
            harness_note("upgrade %u to %s: status %d, %s: %s", i, build, said.status, said.done, said.why);
            wrong++;
            continue;
        }
        if (harness_now_ns() - begun_ns > trial->longest_ns)
            trial->longest_ns = harness_now_ns() - begun_ns;
        snprintf(trial->version, sizeof trial->version, "%s", said.version_after);
        trial->took_ns[trial->upgrades++] = said.took_ns;
        if (i % 4 == 0) { /* and a death of the new build's worker is followed by one of the same */
            kill(child_that(trial, is_worker, 0), SIGKILL);
            wrong += harness_daemon_next_worker(&trial->daemon, said.worker_after) == 0 || !works(trial, trial->version);
        }
    }
    harness_expect(wrong == 0 && trial->upgrades == wanted && works(trial, trial->version), "%u upgrades under load, back and forth",
                   trial->upgrades);
    qsort(trial->took_ns, trial->upgrades, sizeof trial->took_ns[0], by_size);
    if (trial->upgrades > 0)
        harness_figure("upgrade.upgrades", "%u under load; without a worker for %.1f ms (median), %.1f ms (longest)", trial->upgrades,
                       (double)trial->took_ns[trial->upgrades / 2] / 1e6, (double)trial->took_ns[trial->upgrades - 1] / 1e6);
}

/* The file from which the daemon was started is replaced, as a package does it. */
static void installed(struct trial *trial)
{
    builds_install(&trial->builds, "next");
    struct upgrade_said said = upgrade(trial, "--check", NULL);
    harness_expect(said.status == 0 && strcmp(said.done, "could take over") == 0 && strcmp(said.version_after, BUILDS_NEXT_VERSION) == 0 &&
                       works(trial, trial->version), "what was installed since the start could take over, and does not yet");
    said = upgrade(trial, NULL, NULL);
    harness_expect(said.status == 0 && works(trial, BUILDS_NEXT_VERSION), "and takes over");
    builds_install(&trial->builds, "numapoold");
    said = upgrade(trial, NULL, NULL);
    harness_expect(said.status == 0 && strcmp(said.version_before, BUILDS_NEXT_VERSION) == 0 && works(trial, numapool_version()),
                   "and what is installed after that");
}

/* ---------------------------------------------------------------- upgrades that are killed */

/* Nothing is under way any more: what the daemon says works is what works. */
static bool settle(struct trial *trial)
{
    int64_t until_ns = harness_now_ns() + SETTLED_NS;
    struct upgrade_said said;
    do
        said = upgrade(trial, "--check", "numapoold");
    while (said.status != 0 && harness_now_ns() < until_ns);
    snprintf(trial->version, sizeof trial->version, "%s", said.version_before);
    if (said.status != 0 || !works(trial, trial->version)) {
        harness_note("not settled: status %d, %s, %s: %s", said.status, said.done, said.version_before, said.why);
        return false;
    }
    return true;
}

/* Whom to kill now, waited for if need be for as long as the tool runs. */
static pid_t victim(struct trial *trial, enum target target, pid_t old_worker, pid_t tool)
{
    int64_t until_ns = harness_now_ns() + INT64_C(200000000);
    pid_t found = 0;
    switch (target) {
    case TARGET_WORKER:
        return child_that(trial, is_worker, 0);
    case TARGET_TOOL:
        return tool;
    default:
        while (found == 0 && harness_now_ns() < until_ns)
            found = target == TARGET_PROBE ? child_that(trial, is_probe, 0) : child_that(trial, is_worker, old_worker);
        return found;
    }
}

/* One upgrade, and one kill in it. False: what came of it is not as it should be. */
static bool kill_once(struct trial *trial, unsigned most_delay_ns)
{
    enum target target = (enum target)harness_below(&trial->random, TARGETS);
    const char *build = target == TARGET_PROBE ? "lingers" : other_build(trial);
    pid_t old_worker = child_that(trial, is_worker, 0);
    char before[32];
    strcpy(before, trial->version);
    allow(trial, MESSAGES_EACH);
    struct upgrade_tool tool = upgrade_begin(&trial->daemon, NULL, builds_path(&trial->builds, build));
    harness_sleep_ns(harness_below(&trial->random, target == TARGET_WORKER || target == TARGET_TOOL ? most_delay_ns : 1));
    pid_t pid = victim(trial, target, old_worker, tool.pid);
    if (target == TARGET_NEW_WORKER || target == TARGET_PROBE)
        harness_sleep_ns(harness_below(&trial->random, most_delay_ns / 2));
    if (pid > 0 && kill(pid, SIGKILL) == 0)
        trial->kills[target]++;
    unsigned place = harness_below(&trial->random, ROLES * 4);
    if (place < ROLES) { /* and a client dies besides */
        harness_kill(trial->pids[place]);
        start_role(trial, place);
    }
    struct upgrade_said said = upgrade_end(tool);
    if (!settle(trial))
        return false;
    trial->rolled_back += strcmp(said.done, "rolled back") == 0;
    bool is_so = target == TARGET_TOOL                     ? said.status == -1 || said.status == 0
                 : strcmp(said.done, "took over") == 0     ? strcmp(trial->version, version_of(build)) == 0
                 : strcmp(said.done, "rolled back") == 0   ? target != TARGET_PROBE && strcmp(trial->version, before) == 0
                 : strcmp(said.done, "refused") == 0       ? target == TARGET_PROBE && strcmp(trial->version, before) == 0
                                                           : false;
    if (!is_so)
        harness_note("%s killed in an upgrade from %s to %s: status %d, %s: %s; %s works", target_names[target], before, build, said.status,
                     said.done, said.why, trial->version);
    return is_so;
}

static void kill_often(struct trial *trial)
{
    unsigned kills = harness_scaled(KILLS, 8), wrong = 0, longest_ns = (unsigned)(trial->longest_ns < 1000000000 ? trial->longest_ns : 1000000000);
    for (unsigned i = 0; i < kills && wrong < 3; i++)
        wrong += !kill_once(trial, longest_ns + 1);
    harness_expect(wrong == 0, "killed in the middle of upgrades %u times, each ends in the one build or the other and says so", kills);
}

static void kill_keepers(struct trial *trial)
{
    unsigned kills = harness_scaled(KEEPER_KILLS, 3), left_behind = 0, not_started = 0, strange = 0;
    for (unsigned i = 0; i < kills && not_started == 0; i++) {
        pid_t children[CHILDREN_MAX];
        struct upgrade_tool tool = upgrade_begin(&trial->daemon, NULL, builds_path(&trial->builds, "next"));
        harness_sleep_ns(harness_below(&trial->random, (unsigned)(trial->longest_ns < 100000000 ? trial->longest_ns : 100000000) + 1));
        kill(trial->daemon.keeper, SIGSTOP); /* so that its children are those that it has when it dies */
        unsigned count = children_of(trial->daemon.keeper, children);
        kill(trial->daemon.keeper, SIGKILL);
        waitpid(trial->daemon.keeper, NULL, 0);
        int64_t until_ns = harness_now_ns() + INT64_C(10000000000);
        for (unsigned child = 0; child < count; child++) {
            while (harness_is_alive(children[child]) && harness_now_ns() < until_ns)
                harness_sleep_ns(200000);
            left_behind += harness_is_alive(children[child]);
        }
        struct upgrade_said said = upgrade_end(tool);
        if (said.status != 0 && said.status != 2 && strange++ < 3)
            harness_note("the tool: status %d, %s: %s", said.status, said.done, said.why);
        not_started += !harness_daemon_start(&trial->daemon, ROLES_POOL_SPEC);
    }
    harness_expect(left_behind == 0 && not_started == 0 && strange == 0,
                   "%u keepers killed in the middle of upgrades: no child outlives them (%u did), the tool ends and says so (%u did not), and another "
                   "starts (%u did not)", kills, left_behind, strange, not_started);
    harness_figure("upgrade.keeper_kills", "%u", kills);
}

/* ---------------------------------------------------------------- all of it */

static void end_load(struct trial *trial)
{
    atomic_store_explicit(&trial->told->stop, 1, memory_order_relaxed);
    harness_expect(harness_join(trial->slow_path, INT64_C(60000000000)) == 0, "who comes and goes all the time has seen no failure in %llu rounds, the slowest %.0f ms",
                   (unsigned long long)atomic_load_explicit(&trial->told->rounds, memory_order_relaxed),
                   (double)atomic_load_explicit(&trial->told->slowest_ns, memory_order_relaxed) / 1e6);
    uint32_t most = atomic_load_explicit(&trial->told->most_workers, memory_order_relaxed);
    harness_expect(most == 1, "at most one worker at a time, in %llu looks",
                   (unsigned long long)atomic_load_explicit(&trial->told->looks, memory_order_relaxed));
    harness_kill(trial->watcher);
    for (unsigned place = 0; place < ROLES; place++)
        harness_kill(trial->pids[place]);
    roles_drain(trial->ledger, trial->daemon.socket, trial->incarnation + 1, true);
    ledger_expect(trial->ledger, true);
    harness_note("%llu starts of a worker", (unsigned long long)starts(trial));
    harness_look_close(&trial->look);
    harness_expect_nothing_left(&trial->daemon);
}

int main(int argc, char **argv)
{
    static struct trial trial;
    harness_begin("upgrade", argc, argv);
    trial.random = harness_seed();
    trial.told = mmap(NULL, sizeof *trial.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    trial.ledger = ledger_new((UPGRADES + KILLS + DEATHS_OF_NEW + 40) * MESSAGES_EACH);
    atomic_store_explicit(&trial.ledger->allowance, 5000, memory_order_relaxed);
    builds_make(&trial.builds);
    harness_daemon_prepare(&trial.daemon);
    snprintf(trial.version, sizeof trial.version, "%s", numapool_version());
    if (trial.told == MAP_FAILED || !harness_expect(harness_daemon_start(&trial.daemon, ROLES_POOL_SPEC), "the daemon starts") ||
        !harness_expect(harness_look_open(&trial.look, trial.daemon.socket), "its board can be looked at"))
        return harness_end();
    for (unsigned place = 0; place < ROLES; place++)
        start_role(&trial, place);
    trial.slow_path = harness_fork(go_the_slow_path, &trial);
    trial.watcher = harness_fork(watch_workers, &trial);
    refuse_all(&trial);
    roll_back_all(&trial);
    back_and_forth(&trial);
    while (trial.upgrades > 0 && strcmp(trial.version, numapool_version()) != 0 && settle(&trial) &&
           upgrade(&trial, NULL, "numapoold").status == 0)
        snprintf(trial.version, sizeof trial.version, "%s", numapool_version());
    die_while_taking_over(&trial);
    installed(&trial);
    kill_often(&trial);
    end_load(&trial);
    kill_keepers(&trial);
    harness_figure("upgrade.kills", "%u of old or new workers, %u of new ones, %u of builds that are asked, %u of the tool; %u rolled back",
                   trial.kills[TARGET_WORKER], trial.kills[TARGET_NEW_WORKER], trial.kills[TARGET_PROBE], trial.kills[TARGET_TOOL],
                   trial.rolled_back);
    harness_expect(harness_daemon_stop(&trial.daemon) == 0, "SIGTERM ends the daemon with status 0");
    harness_daemon_remove(&trial.daemon);
    builds_remove(&trial.builds);
    ledger_delete(trial.ledger);
    return harness_end();
}
