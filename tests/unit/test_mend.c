/* SPDX-License-Identifier: MIT
 * What a worker can have the keeper do to stored memory: have its pages moved, and nothing else, whatever it says. And that
 * a worker cannot do it itself. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/mend.h"
#include "daemon/privileges.h"
#include "numa/pages.h"
#include "numa/placement.h"
#include "placement_help.h"

enum { RECORDS = 3000 };

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t next_random(void) /* xorshift64: the same numbers in each run */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct np_store_key key_of(enum np_store_kind kind, uint32_t a, uint32_t b)
{
    return (struct np_store_key){ (uint32_t)kind, a, b };
}

static int node;

/* Memory of a pool, filled, under this key. */
static unsigned char *store(struct np_store *store, struct np_store_key key, size_t bytes)
{
    struct np_memory memory;
    ck_assert_int_ge(np_nodes_with_memory(&node, 1), 1);
    ck_assert_msg(np_memory_create(&memory, "payload", bytes, node, NP_PAGES_MIXED, NP_SHARED) == 0, "%s",
                  np_error_sentence());
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)memory.address)[i] = (unsigned char)(i * 31 >> 4);
    ck_assert_int_eq(np_store_put(store, key, memory.fd), 0);
    return memory.address;
}

static int ask(const struct np_store *store, struct np_store_key key, uint64_t offset, uint32_t bytes, int where,
               struct np_mend *answer)
{
    const struct np_record record = { .verb = NP_RECORD_MEND,
                                      .key = key,
                                      .mend = { .offset = offset, .bytes = bytes, .node = where } };
    np_mend(store, &record, answer);
    return answer->result;
}

START_TEST(pages_that_are_at_home_need_nothing)
{
    struct np_store kept = { 0 };
    struct np_mend answer;
    store(&kept, key_of(NP_STORE_DATA, 3, 1), 3 * MIB);
    int result = ask(&kept, key_of(NP_STORE_DATA, 3, 1), 0, 3 * MIB, node, &answer);
    if (result == -EPERM || result == -ENOSYS) {
        not_run("pages_that_are_at_home_need_nothing", "move_pages is refused here");
    } else {
        ck_assert_int_eq(result, 0);
        ck_assert_uint_eq(answer.moved, 0);
        ck_assert_uint_eq(answer.bytes, 3 * MIB);
        ck_assert_int_eq(ask(&kept, key_of(NP_STORE_DATA, 3, 1), 2 * MIB, MIB, 900, &answer), -ENODEV);
    }
    np_store_clear(&kept);
}
END_TEST

START_TEST(only_words_payload_and_lanes_are_moved)
{
    struct np_store kept = { 0 };
    struct np_mend answer;
    for (unsigned kind = 0; kind < NP_STORE_KINDS + 2; kind++) {
        bool may = kind == NP_STORE_META || kind == NP_STORE_DATA || kind == NP_STORE_LANE;
        if (kind > 0 && kind < NP_STORE_KINDS)
            store(&kept, key_of((enum np_store_kind)kind, 1, 0), 64 * KIB);
        int result = ask(&kept, key_of((enum np_store_kind)kind, 1, 0), 0, 64 * KIB, 900, &answer);
        ck_assert_msg(may ? result != -ENOENT : result == -ENOENT, "kind %u: %d", kind, result);
    }
    ck_assert_int_eq(ask(&kept, key_of(NP_STORE_DATA, 2, 0), 0, 64 * KIB, node, &answer),
                     -ENOENT); /* that nobody has stored */
    np_store_clear(&kept);
}
END_TEST

/* Whatever a worker that somebody has taken over says: the memory's bytes stay, its size stays, and nothing of the keeper's
 * is left mapped. */
START_TEST(no_record_does_more_than_move_pages)
{
    static const uint64_t odd[] = {
        0,       1,        4095,     4096,       8192,       64 * 1024,         2 << 20,
        3 << 20, 16 << 20, 17 << 20, UINT32_MAX, UINT64_MAX, UINT64_MAX - 4095, (uint64_t)1 << 63
    };
    const size_t bytes = 3 * MIB;
    struct np_store kept = { 0 };
    struct np_mend answer;
    const struct np_store_key key = key_of(NP_STORE_META, 0, 0);
    unsigned char *memory = store(&kept, key, bytes);
    unsigned done = 0;
    for (unsigned i = 0; i < RECORDS; i++) {
        uint64_t offset = next_random() % 3 ? odd[next_random() % 14] : next_random() % (4 * MIB),
                 length = odd[next_random() % 14];
        struct np_store_key asked = { next_random() % 4 ? NP_STORE_META : (uint32_t)next_random(), next_random() % 8 == 0,
                                      next_random() % 8 == 0 };
        int where = next_random() % 2 ? node : (int)(next_random() % 2 ? next_random() : next_random() % 2048);
        done += ask(&kept, asked, offset, (uint32_t)length, where, &answer) == 0;
        ck_assert_int_le(answer.result, 0);
        ck_assert_uint_le(answer.moved, bytes / 4096);
    }
    ck_assert_uint_gt(done, 0);
    for (size_t i = 0; i < bytes; i++)
        if (memory[i] != (unsigned char)(i * 31 >> 4))
            ck_abort_msg("byte %zu is another", i);
    np_memory_unmap(memory, bytes);
    ck_assert_int_eq((int)lseek(np_store_get(&kept, key), 0, SEEK_END), (int)bytes);
    np_store_clear(&kept);
}
END_TEST

START_TEST(a_mend_crosses_the_socket_as_it_was_said)
{
    int pair[2], fd;
    struct np_record record;
    const struct np_mend mend = {
        .offset = UINT64_C(0x123456789000), .bytes = 1 << 24, .node = 7, .result = -EBUSY, .moved = 4096
    };
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(np_record_send_mend(pair[0], NP_RECORD_MENDED, key_of(NP_STORE_LANE, 9, 0), &mend), 0);
    ck_assert_int_eq(np_record_receive(pair[1], &record, &fd), 1);
    ck_assert_int_eq(fd, -1);
    ck_assert_uint_eq(record.verb, NP_RECORD_MENDED);
    ck_assert_uint_eq(record.key.a, 9);
    ck_assert_int_eq(memcmp(&record.mend, &mend, sizeof mend), 0);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

/* ---------------------------------------------------------------- the worker */

static void be_a_worker(void *argument)
{
    struct np_memory memory;
    (void)argument;
    bool had = np_privileges_may_move();
    if (!np_privileges_drop() || np_privileges_may_move())
        _exit(2);
    int pages_fd = memfd_create("others", MFD_CLOEXEC);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, pages_fd, 0);
    if (pages_fd < 0 || ftruncate(pages_fd, 4096) != 0 || page == MAP_FAILED)
        _exit(3);
    *(volatile char *)page = 1;
    int where = node, status = 0;
    if (move_pages(0, 1, &page, &where, &status, MPOL_MF_MOVE_ALL) == 0 || (errno != EPERM && errno != ENOSYS))
        _exit(4);
    /* Binding is not moving: whatever of it was allowed before is now. */
    if (np_memory_create(&memory, "payload", 64 * KIB, node, 0, NP_SHARED) < 0)
        _exit(5);
    _exit(had ? 0 : 77);
}

START_TEST(a_worker_can_bind_and_can_not_move_what_others_have)
{
    struct np_memory memory;
    ck_assert_int_ge(np_nodes_with_memory(&node, 1), 1);
    if (np_memory_create(&memory, "payload", 64 * KIB, node, 0, NP_SHARED) < 0) {
        not_run("a_worker_can_bind", "memory cannot be bound here");
        return;
    }
    np_memory_destroy(&memory);
    int status = status_of_child(be_a_worker, NULL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        not_run("a_worker_can_not_move_what_others_have", "this process has no CAP_SYS_NICE to give up");
    else
        ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mend");
    TCase *records = tcase_create("records");
    tcase_set_timeout(records, 60);
    tcase_add_test(records, pages_that_are_at_home_need_nothing);
    tcase_add_test(records, only_words_payload_and_lanes_are_moved);
    tcase_add_test(records, no_record_does_more_than_move_pages);
    tcase_add_test(records, a_mend_crosses_the_socket_as_it_was_said);
    tcase_add_test(records, a_worker_can_bind_and_can_not_move_what_others_have);
    suite_add_tcase(suite, records);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
