/* SPDX-License-Identifier: MIT
 * What those can reach who may only read a pool: as users of their own, and with requests of their own making. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "channel/lane.h"
#include "core/bell.h"
#include "readonly_help.h"

/* ---------------------------------------------------------------- what there is to be had */

static void cannot_write(int fd, size_t bytes)
{
    char path[64], *mapped = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(mapped, MAP_FAILED);
    ck_assert_int_eq(mprotect(mapped, bytes, PROT_READ | PROT_WRITE), -1);
    ck_assert_int_eq(errno, EACCES);
    ck_assert_ptr_eq(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    ck_assert_int_eq(errno, EACCES);
    ck_assert_int_eq((int)pwrite(fd, "x", 1, 0), -1);
    ck_assert_int_eq(errno, EBADF);
    ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    ck_assert_int_eq(errno, EBADF);
    ck_assert_int_eq(ftruncate(fd, 0), -1);
    ck_assert_int_eq(fchmod(fd, 0666), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    ck_assert_int_eq(errno, EPERM);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reading = open(path, O_RDONLY); /* mode 0600: not even that */
    ck_assert_int_eq(reading, -1);
    ck_assert_int_eq(errno, EACCES);
    ck_assert_int_eq(open(path, O_RDWR), -1);
    ck_assert_int_eq(errno, EACCES);
    ck_assert_int_eq(open(path, O_WRONLY), -1);
    ck_assert_int_eq(errno, EACCES);
    /* the way by which a debugger writes to what is mapped read-only */
    int memory = open("/proc/self/mem", O_RDWR);
    ck_assert_int_ge(memory, 0);
    ck_assert_int_eq((int)pwrite(memory, "x", 1, (off_t)(uintptr_t)mapped), -1);
    close(memory);
    munmap(mapped, bytes);
}

static void take_what_there_is(void)
{
    say_hello();
    ck_assert_uint_eq(answer.descriptors, 1);
    ck_assert_uint_eq(answer.of.hello.bells, 0); /* not the table of all */
    ck_assert_uint_eq(size_of(got[0]), NP_PAGE_BYTES);
    ck_assert_int_eq(ask_to_open("pay", false), -EACCES);
    ck_assert_int_eq(ask_to_open("other", true), -EACCES);
    ck_assert_int_eq(ask_to_open("pay", true), 0);
    ck_assert_uint_eq(answer.descriptors, 1);
    ck_assert_uint_eq(size_of(got[0]), NP_PAGE_BYTES);
    uint32_t number = answer.of.pool_open.pool, arenas = answer.of.pool_open.arenas;
    for (uint32_t i = 0; i < arenas; i++) {
        ck_assert_int_eq(ask_for(NP_WIRE_POOL_MEMORY, number, i), 0);
        ck_assert_uint_eq(answer.descriptors, 1);
        ck_assert_uint_eq(size_of(got[0]), answer.of.pool_memory.data_bytes);
        cannot_write(got[0], size_of(got[0]));
    }
    ck_assert_int_lt(ask_for(NP_WIRE_POOL_MEMORY, number, arenas), 0);
    ck_assert_int_eq(ask_for(NP_WIRE_POOL_MEMORY, !number, 0), -EINVAL); /* of one that is not open */
    ck_assert_int_eq(ask_to_join(number, NP_ROLE_SENDER, 1), -EROFS);
    ck_assert_int_eq(ask_to_join(!number, NP_ROLE_RECEIVER, 2), -EINVAL);
    ck_assert_int_eq(ask_for(NP_WIRE_LANE_MEMORY, 1, 0), -EPERM);
    ck_assert_int_eq(ask_for(NP_WIRE_ACCOUNT_MEMORY, 1, number), -EPERM);
    ck_assert_int_eq(ask_for(NP_WIRE_VERIFY, number, 0), -EPERM);
    struct np_wire_request next = { .operation = NP_WIRE_NEXT_LANE, .of.next_lane.endpoint = 1 }; /* the sender's */
    ck_assert_int_eq(ask(&next), -EINVAL);
    close(session);
    struct np_wire_request look = { .operation = NP_WIRE_LOOK, .of.hello.layout = np_wire_layout() };
    session = np_wire_connect(socket_path);
    ck_assert_int_eq(ask(&look), -EACCES);
}

START_TEST(requests_give_no_more_than_payload_to_read)
{
    if (!may_change_user("requests_give_no_more_than_payload_to_read"))
        return;
    begin_sending();
    as(READER, take_what_there_is);
    end_sending();
}
END_TEST

static void look_at_what_is_mapped(void)
{
    struct numapool_receiver *receiver;
    char line[512];
    unsigned payload = 0, lanes = 0, bells = 0;
    client = connected();
    pool = opened(client, "pay", NUMAPOOL_READONLY);
    works(numapool_receiver_open(pool, "c", NULL, &receiver));
    FILE *maps = fopen("/proc/self/maps", "re");
    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof line, maps)) {
        if (!strstr(line, "/memfd:numapool"))
            continue;
        if (strstr(line, "payload of pool 'pay'") && strstr(line, " r--s "))
            payload++;
        else if (strstr(line, "numapool: lane ") && strstr(line, " rw-s "))
            lanes++;
        else if (strstr(line, "the bells of client ") && strstr(line, " rw-s "))
            bells++;
        else
            ck_abort_msg("there is more: %s", line);
    }
    fclose(maps);
    ck_assert_uint_ge(payload, 1);
    ck_assert_uint_eq(lanes, 1);
    ck_assert_uint_eq(bells, 1);
    DIR *descriptors = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(descriptors);
    for (const struct dirent *entry; (entry = readdir(descriptors)) != NULL;) {
        ssize_t length = readlinkat(dirfd(descriptors), entry->d_name, line, sizeof line - 1);
        line[length > 0 ? length : 0] = 0;
        ck_assert_msg(strncmp(line, "/memfd:", 7) != 0, "descriptor %s is %s", entry->d_name, line);
    }
    closedir(descriptors);
    works(numapool_receiver_close(receiver));
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}

START_TEST(the_library_maps_payload_to_read_its_lanes_and_its_bells)
{
    if (!may_change_user("the_library_maps_payload_to_read_its_lanes_and_its_bells"))
        return;
    begin_sending();
    as(READER, look_at_what_is_mapped);
    end_sending();
}
END_TEST

static void reach_for(pid_t process)
{
    char path[64], byte;
    struct iovec here = { &byte, 1 }, there = { (void *)(uintptr_t)4096, 1 };
    static const char *const files[] = { "mem", "maps", "environ", "fd/0", "map_files" };
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", (int)process, files[i]);
        int fd = open(path, O_RDONLY);
        ck_assert_msg(fd < 0 && (errno == EACCES || errno == EPERM), "%s: %d %s", path, fd, strerror(errno));
    }
    ck_assert_int_eq((int)ptrace(PTRACE_SEIZE, process, NULL, NULL), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq((int)process_vm_readv(process, &here, 1, &there, 1, 0), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(kill(process, SIGBUS), -1);
    ck_assert_int_eq(errno, EPERM);
    int pidfd = (int)syscall(SYS_pidfd_open, process, 0);
    if (pidfd >= 0)
        ck_assert_int_eq((int)syscall(SYS_pidfd_getfd, pidfd, 3, 0), -1);
}

static pid_t the_worker;

static void reach_for_the_daemon(void)
{
    reach_for(keeper);
    reach_for(the_worker);
}

START_TEST(the_daemon_itself_is_out_of_reach)
{
    if (!may_change_user("the_daemon_itself_is_out_of_reach"))
        return;
    the_worker = worker();
    ck_assert_int_gt(the_worker, 0);
    as(READER, reach_for_the_daemon);
}
END_TEST

START_TEST(bells_of_ones_own_are_many_and_bounded)
{
    say_hello();
    ck_assert_int_eq(ask_to_open("pay", true), 0);
    uint32_t number = answer.of.pool_open.pool;
    uint64_t seen[NP_PAGE_BELLS / 64] = { 0 };
    uint32_t first = 0;
    for (unsigned i = 0; i < NP_PAGE_BELLS; i++) {
        ck_assert_int_eq(ask_to_join(number, NP_ROLE_RECEIVER, i + 1), 0);
        uint32_t bell = answer.of.endpoint_open.bell;
        ck_assert_uint_lt(bell, NP_PAGE_BELLS);
        ck_assert(!(seen[bell / 64] >> bell % 64 & 1));
        seen[bell / 64] |= UINT64_C(1) << bell % 64;
        first = i == 0 ? answer.of.endpoint_open.endpoint : first;
    }
    ck_assert_int_eq(ask_to_join(number, NP_ROLE_RECEIVER, NP_PAGE_BELLS + 1), -ENOSPC);
    ck_assert_int_eq(ask_to_join(number, NP_ROLE_RECEIVER, 1), 0); /* asked again: the same */
    ck_assert_uint_eq(answer.of.endpoint_open.endpoint, first);
    ck_assert_int_eq(ask_for(NP_WIRE_ENDPOINT_CLOSE, first, 0), 0);
    ck_assert_int_eq(ask_to_join(number, NP_ROLE_RECEIVER, NP_PAGE_BELLS + 2), 0);
    close(session);
}
END_TEST

/* ---------------------------------------------------------------- scribbling */

static uint64_t random_state = 88172645463325252u;

static uint64_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Everything that a readonly receiver can write, at random, for half a second; then it dies. */
static void scribble(void)
{
    say_hello();
    np_shm64 *page = mmap(NULL, NP_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, got[0], 0);
    ck_assert_ptr_ne(page, MAP_FAILED);
    ck_assert_int_eq(ask_to_open("pay", true), 0);
    uint32_t number = answer.of.pool_open.pool;
    ck_assert_int_eq(ask_to_join(number, NP_ROLE_RECEIVER, 1), 0);
    struct np_wire_request next = { .operation = NP_WIRE_NEXT_LANE,
                                    .of.next_lane.endpoint = answer.of.endpoint_open.endpoint };
    ck_assert_int_eq(ask(&next), 1);
    size_t bytes = size_of(got[0]), words = bytes / 8;
    np_shm64 *lane = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, got[0], 0);
    ck_assert_ptr_ne(lane, MAP_FAILED);
    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    do {
        for (unsigned i = 0; i < 1000; i++) {
            uint64_t value = random_number();
            const uint64_t kinds[] = { random_number(), random_number() % 64, UINT64_MAX, 0 }, wild = kinds[value % 4];
            size_t at = value >> 8 & 1 ? (value >> 9) % 96 : (value >> 9) % words; /* the header as often as all cells */
            np_store64(&lane[at], wild, memory_order_relaxed);
            np_store64(&page[(value >> 40) % (NP_PAGE_BYTES / 8)], wild, memory_order_relaxed);
        }
        if (random_number() % 8 == 0)
            fallocate(got[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(random_number() % bytes / 4096 * 4096),
                      4096);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begun.tv_sec) * SECOND_NS + now.tv_nsec - begun.tv_nsec < SECOND_NS / 2);
    raise(SIGKILL);
}

START_TEST(scribbling_harms_the_own_lane_alone)
{
    struct numapool_sender *good_sender;
    struct numapool_receiver *good_receiver;
    struct numapool_msg message;
    int status = 0;
    begin_sending();
    works(numapool_sender_open(pool, "good", NULL, &good_sender));
    works(numapool_receiver_open(pool, "good", NULL, &good_receiver));
    pid_t before = worker(), reader = start_as(geteuid() == 0 ? READER : getuid(), scribble);
    uint64_t good = 0;
    while (waitpid(reader, &status, WNOHANG) == 0) {
        void *slot = numapool_loan(sender);
        if (slot && numapool_send(sender, &(struct numapool_msg){ .data = slot, .length = 4, .id = 1 }, 1000000) < 0)
            works(numapool_unloan(sender, slot));
        void *good_slot = numapool_loan(good_sender);
        if (!good_slot)
            continue; /* all are on the lane that is scribbled over, or cached beside it */
        memcpy(good_slot, &good, sizeof good);
        works(numapool_send(good_sender, &(struct numapool_msg){ .data = good_slot, .length = 8, .id = good },
                            10 * SECOND_NS));
        ck_assert_int_eq(numapool_receive(good_receiver, &message, 1, 10 * SECOND_NS), 1);
        ck_assert_uint_eq(message.id, good);
        ck_assert_mem_eq(message.data, &good, sizeof good);
        works(numapool_release(good_receiver, &message, 1));
        good++;
    }
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child ended with %#x", status);
    ck_assert_uint_gt(good, 0);
    ck_assert_int_eq(worker(), before); /* nor did the daemon mind */
    works(numapool_sender_close(good_sender, 10 * SECOND_NS));
    works(numapool_receiver_close(good_receiver));
    /* The lane is handed over, with whatever stands in it; what cannot be a message is passed over. */
    struct numapool_receiver *receiver;
    works(numapool_receiver_open(pool, "c", NULL, &receiver));
    int result;
    while ((result = numapool_receive(receiver, &message, 1, SECOND_NS / 20)) == 1 || result == -EBADMSG)
        if (result == 1)
            numapool_release(receiver, &message, 1);
    works(numapool_sender_close(sender, 0));
    works(numapool_receiver_close(receiver));
    works(numapool_close(pool));
    works(numapool_disconnect(client));
    /* no slot is lost, and none has two owners: all can be had, each once */
    client = connected();
    pool = opened(client, "pay", 0);
    struct numapool_magazine *magazine;
    void *slots[SLOTS];
    works(numapool_magazine_open(pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    for (unsigned tries = 0; free_slots(pool) != SLOTS && tries < 500; tries++)
        pause_ms(1);
    works(numapool_get_bulk(magazine, slots, SLOTS));
    for (uint32_t i = 0; i < SLOTS; i++)
        memcpy(slots[i], &i, sizeof i);
    for (uint32_t i = 0; i < SLOTS; i++)
        ck_assert_mem_eq(slots[i], &i, sizeof i);
    works(numapool_put_bulk(magazine, slots, SLOTS));
    works(numapool_magazine_close(magazine));
    works(numapool_close(pool));
    works(numapool_disconnect(client));
}
END_TEST

START_TEST(a_readers_wish_makes_no_lanes_longer)
{
    struct np_wire_request join = { .operation = NP_WIRE_ENDPOINT_OPEN,
                                    .of.endpoint_open = { .role = NP_ROLE_RECEIVER, .tag = 1, .channel = "wish",
                                                          .flags = NUMAPOOL_SMALL, .lane_slots = NP_LANE_SLOTS_MAX } };
    say_hello();
    ck_assert_int_eq(ask_to_open("pay", true), 0);
    join.of.endpoint_open.pool = answer.of.pool_open.pool;
    ck_assert_int_eq(ask(&join), 0);
    int reader = session;
    say_hello();
    ck_assert_int_eq(ask_to_open("pay", false), 0);
    join.of.endpoint_open.role = NP_ROLE_SENDER;
    join.of.endpoint_open.lane_slots = 0;
    ck_assert_int_eq(ask(&join), 0);
    struct np_wire_request next = { .operation = NP_WIRE_NEXT_LANE, .of.next_lane.endpoint = answer.of.endpoint_open.endpoint };
    ck_assert_int_eq(ask(&next), 1);
    ck_assert_uint_eq(answer.of.next_lane.capacity, NP_LANE_SLOTS_DEFAULT);
    close(reader);
    close(session);
}
END_TEST

/* ---------------------------------------------------------------- users of many groups */

enum { POOLS = 40, CONNECTIONS = 200, MANY_GROUPS = 65536 };

/* Any user can be in as many groups as his range of subordinate ones has. */
static void connect_with_many_groups(void)
{
    gid_t *groups = malloc(MANY_GROUPS * sizeof *groups);
    ck_assert_ptr_nonnull(groups);
    for (unsigned i = 0; i < MANY_GROUPS; i++)
        groups[i] = 100000 + i;
    ck_assert_int_eq(setgroups(MANY_GROUPS, groups), 0);
    ck_assert_int_eq(setresgid(STRANGER, STRANGER, STRANGER), 0);
    ck_assert_int_eq(setresuid(STRANGER, STRANGER, STRANGER), 0);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        close(np_wire_connect(socket_path));
    free(groups);
}

START_TEST(a_stranger_of_many_groups_does_not_keep_others_waiting)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    char name[16];
    if (!may_change_user("a_stranger_of_many_groups_does_not_keep_others_waiting"))
        return;
    client = connected();
    options.name = name;
    options.slot_bytes = options.slots = 64;
    options.access = "readonly=@1:@2:@3:@4:@5:@6:@7:@8";
    for (unsigned i = 0; i < POOLS; i++) {
        snprintf(name, sizeof name, "groups-%u", i);
        works(numapool_admin_create(client, &options));
    }
    as(getuid(), connect_with_many_groups);
    works(numapool_disconnect(connected())); /* who comes after all of them, and would have waited ten seconds at most */
    works(numapool_disconnect(client));
}
END_TEST

int main(void)
{
    if (!find_program()) {
        fprintf(stderr, "numapoold is not built: set NUMAPOOL_BUILD to where it is\n");
        return 77;
    }
    Suite *suite = suite_create("reach");
    TCase *limits = tcase_create("limits");
    tcase_add_checked_fixture(limits, start, end_daemon);
    tcase_set_timeout(limits, 60);
    tcase_add_test(limits, requests_give_no_more_than_payload_to_read);
    tcase_add_test(limits, the_library_maps_payload_to_read_its_lanes_and_its_bells);
    tcase_add_test(limits, the_daemon_itself_is_out_of_reach);
    tcase_add_test(limits, bells_of_ones_own_are_many_and_bounded);
    tcase_add_test(limits, a_readers_wish_makes_no_lanes_longer);
    suite_add_tcase(suite, limits);
    TCase *scribbling = tcase_create("scribbling");
    tcase_add_checked_fixture(scribbling, start, end_daemon);
    tcase_set_timeout(scribbling, 60);
    tcase_add_test(scribbling, scribbling_harms_the_own_lane_alone);
    suite_add_tcase(suite, scribbling);
    TCase *groups = tcase_create("groups");
    tcase_add_checked_fixture(groups, start, end_daemon);
    tcase_set_timeout(groups, 60);
    tcase_add_test(groups, a_stranger_of_many_groups_does_not_keep_others_waiting);
    suite_add_tcase(suite, groups);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
