/* SPDX-License-Identifier: MIT
 * Clients that take memory away from everybody: the broker's repairs over words and lanes of which pages are gone, and the
 * daemon while holes are punched into all that a client is given. Other pools, and other clients' channels, go on. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "huge_help.h"
#include "numa/pages.h"
#include "numa/shield.h"
#include "world_help.h"
#include "readonly_help.h"

/* ---------------------------------------------------------------- the broker */

/* Puts a file under memory that is in use. What is taken away by making it shorter nobody can fill again. */
static int put_file_under(void *address, size_t bytes)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    bytes = (bytes + 4095) / 4096 * 4096;
    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    ck_assert_int_eq((int)pwrite(fd, address, bytes, 0), (int)bytes);
    ck_assert_ptr_eq(mmap(address, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), address);
    ck_assert_int_eq(np_shield_start(), 0);
    np_shield_put(address, bytes, NP_SMALL_PAGE_BYTES, "a test");
    return fd;
}

static bool something_was_lost(void)
{
    struct np_shield_loss loss;
    bool any = false;
    while (np_shield_next_loss(&loss))
        any = true;
    return any;
}

START_TEST(the_dead_are_swept_though_words_are_gone)
{
    make_world();
    struct member *dying = join_world(), *living = join_world();
    void *slots[WORLD_ARENAS][20], *kept[5];
    for (unsigned i = 0; i < WORLD_ARENAS; i++)
        ck_assert_uint_eq(np_arena_take(&dying->pool->arenas[i].arena, slots[i], 20), 20);
    ck_assert_uint_eq(np_arena_take(&living->pool->arenas[1].arena, kept, 5), 5);
    int fd = put_file_under(world.meta[0], world.meta_bytes);
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    struct np_scavenged what = bury(dying);
    ck_assert(something_was_lost());
    ck_assert_uint_eq(what.slots, 20); /* of the arena whose words are there */
    struct np_arena_census census;
    np_arena_census(&world.broker.pools[world.pool].arenas[1], &census);
    ck_assert_uint_eq(census.held, 5);
    ck_assert_uint_eq(census.free_slots, WORLD_SLOTS - 5);
    forget_member(living);
    np_broker_stop(&world.broker);
}
END_TEST

static void send_one(struct numapool_sender *by, uint64_t id)
{
    struct numapool_msg message = { .data = numapool_loan(by), .length = 8, .id = id };
    ck_assert_ptr_nonnull(message.data);
    ck_assert_int_eq(numapool_send(by, &message, 0), 0);
}

START_TEST(a_lane_that_is_gone_harms_its_own_ends_alone)
{
    struct numapool_sender *broken, *whole;
    struct numapool_receiver *broken_receiver, *whole_receiver;
    struct numapool_msg message;
    make_world();
    struct member *dying = join_world(), *reading = join_world();
    works(numapool_receiver_open(reading->pool, "broken", NULL, &broken_receiver));
    works(numapool_receiver_open(reading->pool, "whole", NULL, &whole_receiver));
    works(numapool_sender_open(dying->pool, "broken", NULL, &broken));
    works(numapool_sender_open(dying->pool, "whole", NULL, &whole));
    for (uint64_t id = 1; id <= 3; id++) {
        send_one(broken, id);
        send_one(whole, id);
    }
    struct np_lane_shared *lane = broken->lanes[0].shared;
    int fd = put_file_under(lane, np_lane_bytes(broken->lanes[0].mask + 1, NP_LANE_SLOTS));
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    forget_sender(broken);
    forget_sender(whole);
    struct np_scavenged what = bury(dying);
    ck_assert(something_was_lost());
    ck_assert_uint_ge(what.lanes, 2);
    for (uint64_t id = 1; id <= 3; id++) {
        ck_assert_int_eq(numapool_receive(whole_receiver, &message, 1, SECOND_NS), 1);
        ck_assert_uint_eq(message.id, id);
        works(numapool_release(whole_receiver, &message, 1));
    }
    forget_receiver(broken_receiver);
    forget_receiver(whole_receiver);
    bury(reading);
    np_broker_orphan_duty(&world.broker);
    assert_world(0, 0); /* the messages on the lane are lost, their slots are not */
    np_broker_stop(&world.broker);
}
END_TEST

/* ---------------------------------------------------------------- the daemon */

static void punch(int fd)
{
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size_of(fd));
}

/* Opens everything that there is to open, and punches holes into all of it again and again for a third of a second. */
static void punch_everything(void)
{
    int held[16];
    unsigned count = 0;
    say_hello(); /* the bells of all */
    ck_assert_int_eq(ask_to_open("pay", false), 0);
    held[count++] = got[0]; /* its account */
    uint32_t number = answer.of.pool_open.pool, arenas = answer.of.pool_open.arenas;
    for (uint32_t i = 0; i < arenas && count < 12; i++) {
        ck_assert_int_eq(ask_for(NP_WIRE_POOL_MEMORY, number, i), 0);
        held[count++] = got[0];
        held[count++] = got[1];
    }
    ck_assert_int_eq(ask_to_join(number, NP_ROLE_RECEIVER, 1), 0);
    struct np_wire_request next = { .operation = NP_WIRE_NEXT_LANE,
                                    .of.next_lane.endpoint = answer.of.endpoint_open.endpoint };
    if (ask(&next) == 1)
        held[count++] = got[0];
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < count; i++)
            punch(held[i]);
        pause_ms(3);
    }
    raise(SIGKILL);
}

static void hold_some(void)
{
    struct numapool_magazine *magazine;
    struct numapool_pool *pay, *other;
    void *slots[8];
    client = connected();
    pay = opened(client, "pay", 0);
    other = opened(client, "other", 0);
    works(numapool_magazine_open(other, NUMAPOOL_ANY_NODE, 0, &magazine));
    works(numapool_get_bulk(magazine, slots, 8));
    works(numapool_magazine_open(pay, NUMAPOOL_ANY_NODE, 0, &magazine));
    numapool_get_bulk(magazine, slots, 8); /* whatever comes of it */
    raise(SIGKILL);
}

START_TEST(the_daemon_goes_on_while_holes_are_punched)
{
    struct numapool_pool *other;
    int status;
    begin_sending(); /* so that there is a lane */
    send_numbers(0, 10);
    struct numapool_client *first = client;
    client = connected();
    other = opened(client, "other", 0);
    pid_t before = worker(), puncher = start_as(getuid(), punch_everything);
    while (waitpid(puncher, &status, WNOHANG) == 0) {
        pid_t holder = start_as(getuid(), hold_some);
        ck_assert_int_eq(waitpid(holder, &status, 0), holder);
        for (unsigned tries = 0; free_slots(other) != 64 && tries < 5000; tries++)
            pause_ms(1);
        ck_assert_uint_eq(free_slots(other), 64);
    }
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child ended with %#x", status);
    ck_assert_int_eq(worker(), before);
    works(numapool_close(other));
    works(numapool_disconnect(client));
    say_hello();
    struct np_wire_request look = { .operation = NP_WIRE_LOOK, .of.hello.layout = np_wire_layout() };
    close(session);
    session = np_wire_connect(socket_path);
    ck_assert_int_eq(ask(&look), 0);
    ck_assert_int_eq(ask_for(NP_WIRE_VERIFY, 0, 0), 0); /* it looks through payload with holes */
    numapool_sender_close(sender, 0); /* whatever comes of it, where words are gone */
    numapool_close(pool);
    numapool_disconnect(first);
    kill_worker(); /* and the next one takes over what is left */
    client = connected();
    works(numapool_close(opened(client, "other", 0)));
    works(numapool_disconnect(client));
}
END_TEST

/* ---------------------------------------------------------------- descriptors that cannot be had */

static bool has_file(pid_t process, rlim_t number)
{
    char path[64], to[8];
    snprintf(path, sizeof path, "/proc/%d/fd/%llu", (int)process, (unsigned long long)number);
    return readlink(path, to, sizeof to) >= 0;
}

/* It can have so many descriptors more, by its soft limit: that can be raised again. */
static void leave_files(pid_t process, unsigned more)
{
    struct rlimit limit;
    rlim_t most = 0;
    pause_ms(50); /* for what is on its way to it */
    for (unsigned vacant = 0; vacant <= more; most++)
        vacant += !has_file(process, most);
    ck_assert_int_eq(prlimit(process, RLIMIT_NOFILE, NULL, &limit), 0);
    limit.rlim_cur = most - 1;
    ck_assert_int_eq(prlimit(process, RLIMIT_NOFILE, &limit, NULL), 0);
}

static void leave_all_files(pid_t process)
{
    struct rlimit limit;
    ck_assert_int_eq(prlimit(process, RLIMIT_NOFILE, NULL, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(prlimit(process, RLIMIT_NOFILE, &limit, NULL), 0);
}

START_TEST(a_pool_that_the_keeper_could_not_keep_is_lost_alone)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    options.name = "late";
    options.slot_bytes = 64;
    options.slots = 64;
    client = connected();
    leave_files(keeper, 1); /* the payload, and not the words */
    works(numapool_admin_create(client, &options));
    leave_all_files(keeper);
    kill_worker();
    works(numapool_close(opened(client, "other", 0)));
    works(numapool_admin_destroy(client, "late", 0));
    works(numapool_admin_create(client, &options));
    works(numapool_close(opened(client, "late", 0)));
    works(numapool_disconnect(client));
}
END_TEST

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Where it has not, looking into /proc for the process takes the last descriptor before the page would. */
static bool kernel_has_peer_pidfds(void)
{
    int ends[2], pidfd;
    socklen_t bytes = sizeof pidfd;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    bool has = getsockopt(ends[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) == 0;
    if (has)
        close(pidfd);
    close(ends[0]);
    close(ends[1]);
    return has;
}

static void connect_often(void)
{
    struct numapool_client *none;
    for (unsigned i = 0; i < 10; i++)
        fails(numapool_connect(&none, socket_path), -EMFILE, "the bells of client");
}

/* A reader is admitted, and then there is no descriptor for a page of his own. */
START_TEST(who_gets_no_bells_has_no_number_either)
{
    static const char *const arguments[] = { "--pool", "pay,size=128,count=256,readonly=65534", "--clients", "4", "--log", "error", NULL };
    if (!may_change_user("who_gets_no_bells_has_no_number_either"))
        return;
    if (!kernel_has_peer_pidfds()) {
        fprintf(stderr, "\n*** NOT RUN: who_gets_no_bells_has_no_number_either: Linux 6.5 or later ***\n\n");
        return;
    }
    start_daemon_with(arguments);
    leave_files(worker(), 2); /* the connection and the process */
    as(READER, connect_often);
    leave_all_files(worker());
    works(numapool_disconnect(connected()));
    end_daemon();
}
END_TEST

/* ---------------------------------------------------------------- huge pages */

static void set_huge_pages(int number)
{
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "we");
    if (!file)
        return;
    fprintf(file, "%d\n", number);
    fclose(file);
}

static int huge_pages(const char *which)
{
    char path[128];
    int number = -1;
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", which);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%d", &number) != 1)
        number = -1;
    if (file)
        fclose(file);
    return number;
}

/* They stay taken until the other end of the pipe is closed, by the process that started this one. */
static int hold_on[2];

static void take_free_pages(void)
{
    int fd = memfd_create("user of the rest", MFD_HUGETLB | MFD_CLOEXEC);
    off_t used = 0;
    while (huge_pages("free_hugepages") > 0 && fallocate(fd, 0, used, NP_HUGE_PAGE_BYTES) == 0)
        used += (off_t)NP_HUGE_PAGE_BYTES;
    if (fork() == 0) { /* which has the descriptor, and lives longer */
        char byte;
        close(hold_on[1]);
        _exit(read(hold_on[0], &byte, 1) == 0 ? 0 : 1);
    }
}

static void take_payload_away(void)
{
    struct numapool_magazine *magazine;
    client = connected();
    pool = opened(client, "pay", 0);
    works(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    char *slot = numapool_get(magazine);
    ck_assert_ptr_nonnull(slot);
    say_hello();
    ck_assert_int_eq(ask_to_open("pay", false), 0);
    ck_assert_int_eq(ask_for(NP_WIRE_POOL_MEMORY, answer.of.pool_open.pool, 0), 0);
    ck_assert_uint_eq(answer.of.pool_memory.page_bytes, NP_HUGE_PAGE_BYTES);
    punch(got[1]);
    take_free_pages();
    signal(SIGBUS, SIG_DFL); /* a sanitizer would tell of it and end in its own way */
    *(volatile char *)slot = 1; /* SIGBUS: nobody shields clients */
}

static int pages_before = -1;

static void reserve_three(void)
{
    pages_before = huge_pages("nr_hugepages");
    if (pages_before >= 0 && geteuid() == 0)
        set_huge_pages(pages_before + 3);
}

static void give_back(void)
{
    if (pages_before >= 0 && geteuid() == 0)
        set_huge_pages(pages_before);
}

START_TEST(huge_pages_that_are_gone_kill_clients_and_not_the_daemon)
{
    static const char *const arguments[] = { "--pool", "pay,size=128,count=1000,pages=2m", "--pool",
                                             "other,size=64,count=64", "--log",
                                             "error", NULL };
    int status;
    if (geteuid() != 0 || huge_pages("free_hugepages") < 3) {
        fprintf(stderr,
                "\n*** NOT RUN: huge_pages_that_are_gone_kill_clients_and_not_the_daemon: 3 huge pages could not be reserved "
                "(root, vm.nr_hugepages) ***\n\n");
        return;
    }
    start_daemon_with(arguments);
    ck_assert_int_eq(pipe(hold_on), 0);
    pid_t its_worker = worker(), child = start_as(getuid(), take_payload_away);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "the child ended with %#x", status);
    struct np_wire_request look = { .operation = NP_WIRE_LOOK, .of.hello.layout = np_wire_layout() };
    session = np_wire_connect(socket_path);
    ck_assert_int_eq(ask(&look), 0);
    ck_assert_int_lt(ask_for(NP_WIRE_VERIFY, 0, 0), 0); /* an error, and no end */
    ck_assert_int_eq(worker(), its_worker);
    close(hold_on[1]); /* there are pages again */
    close(hold_on[0]);
    for (unsigned tries = 0; huge_pages("free_hugepages") == 0 && tries < 5000; tries++)
        pause_ms(1);
    client = connected();
    struct numapool_pool *it = opened(client, "pay", 0);
    for (unsigned tries = 0; free_slots(it) != 1000 && tries < 5000; tries++)
        pause_ms(1);
    ck_assert_uint_eq(free_slots(it), 1000); /* words are not on huge pages, and the dead are swept */
    works(numapool_close(it));
    works(numapool_disconnect(client));
    end_daemon();
}
END_TEST

int main(void)
{
    have_huge_pages_alone();
    if (!find_program()) {
        fprintf(stderr, "numapoold is not built: set NUMAPOOL_BUILD to where it is\n");
        return 77;
    }
    Suite *suite = suite_create("holes");
    TCase *broker = tcase_create("broker"), *whole = tcase_create("daemon"), *huge = tcase_create("huge pages"), *files = tcase_create("descriptors");
    tcase_add_test(broker, the_dead_are_swept_though_words_are_gone);
    tcase_add_test(broker, a_lane_that_is_gone_harms_its_own_ends_alone);
    tcase_add_checked_fixture(whole, start, end_daemon);
    tcase_set_timeout(whole, 60);
    tcase_add_test(whole, the_daemon_goes_on_while_holes_are_punched);
    tcase_add_test(whole, a_pool_that_the_keeper_could_not_keep_is_lost_alone);
    tcase_add_test(files, who_gets_no_bells_has_no_number_either);
    tcase_set_timeout(huge, 60);
    tcase_add_unchecked_fixture(huge, reserve_three, give_back);
    tcase_add_test(huge, huge_pages_that_are_gone_kill_clients_and_not_the_daemon);
    suite_add_tcase(suite, broker);
    suite_add_tcase(suite, whole);
    suite_add_tcase(suite, huge);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
