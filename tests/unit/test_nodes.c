/* SPDX-License-Identifier: MIT
 * The board says which nodes its pools are on, and a worker that knows others does not touch it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <sys/mman.h>

#include "daemon/worker.h"
#include "fake_root.h"
#include "numa/imagined.h"
#include "numa/topology.h"
#include "placement_help.h"

static struct np_worker worker;

static void make_board(void)
{
    struct np_board_limits limits = { 8, 8, 16, 32 };
    make_root();
    void *memory = calloc(1, np_board_bytes(&limits));
    np_board_format(memory, &limits);
    memset(&worker, 0, sizeof worker);
    ck_assert_int_eq(np_board_attach(&worker.board, memory, np_board_bytes(&limits)), 0);
}

static void drop_board(void)
{
    free(worker.board.header);
    remove_root();
}

static uint64_t on_board(void)
{
    return np_load64(&worker.board.header->topology, memory_order_relaxed);
}

static void imagine(const char *text)
{
    if (text)
        setenv("NUMAPOOL_TOPOLOGY", text, 1);
    else
        unsetenv("NUMAPOOL_TOPOLOGY");
    np_topology_reload();
}

/* It ran, and there may be pools. */
static void a_worker_was_here(void)
{
    np_add64(&worker.board.header->worker_starts, 1, memory_order_relaxed);
}

START_TEST(a_fresh_board_takes_what_the_first_worker_says)
{
    imagine("2x64M");
    ck_assert_int_eq(np_nodes_start(&worker), 0);
    ck_assert_uint_eq(on_board(), np_topology()->fingerprint);
    ck_assert_str_eq(worker.board.header->topology_name, "2x64M");
    imagine("3x64M"); /* the first one died before it was ready: nobody has heard of anything */
    ck_assert_int_eq(np_nodes_start(&worker), 0);
    ck_assert_str_eq(worker.board.header->topology_name, "3x64M");
    a_worker_was_here();
    ck_assert_int_eq(np_nodes_start(&worker), 0);
}
END_TEST

START_TEST(a_worker_that_imagines_otherwise_does_not_start)
{
    imagine("2x64M");
    ck_assert_int_eq(np_nodes_start(&worker), 0);
    a_worker_was_here();
    uint64_t before = on_board();
    imagine("4x64M");
    ck_assert_int_eq(np_nodes_start(&worker), -EPROTO);
    assert_sentence_has("pools that are here are imagined, NUMAPOOL_TOPOLOGY=2x64M, and those of this worker are imagined, "
                        "NUMAPOOL_TOPOLOGY=4x64M: start it with NUMAPOOL_TOPOLOGY=2x64M, or end the daemon");
    imagine(NULL);
    ck_assert_int_eq(np_nodes_start(&worker), -EPROTO);
    assert_sentence_has("NUMAPOOL_TOPOLOGY=2x64M, and those of this worker are the machine's own: start it with NUMAPOOL_TOPOLOGY=2x64M");
    ck_assert_uint_eq(on_board(), before);
    ck_assert_str_eq(worker.board.header->topology_name, "2x64M");
    imagine("1x64M+1x64M"); /* said otherwise, and something else; this is the same said otherwise */
    ck_assert_int_eq(np_nodes_start(&worker), -EPROTO);
    imagine("2x65536K");
    ck_assert_int_eq(np_nodes_start(&worker), 0);
}
END_TEST

START_TEST(nor_does_one_that_imagines_where_nothing_was)
{
    imagine(NULL);
    ck_assert_int_eq(np_nodes_start(&worker), 0);
    ck_assert_uint_eq(on_board(), 0);
    a_worker_was_here();
    imagine("2x64M");
    ck_assert_int_eq(np_nodes_start(&worker), -EPROTO);
    assert_sentence_has("are the machine's own, and those of this worker are imagined, NUMAPOOL_TOPOLOGY=2x64M: start it with no "
                        "NUMAPOOL_TOPOLOGY, or end");
    imagine(NULL);
    ck_assert_int_eq(np_nodes_start(&worker), 0);
}
END_TEST

START_TEST(the_same_file_may_have_changed)
{
    char path[128];
    put("/nodes", "node 0 memory=64M cpus=0\n");
    snprintf(path, sizeof path, "%s/nodes", root);
    imagine(path);
    ck_assert_int_eq(np_nodes_start(&worker), 0);
    a_worker_was_here();
    uint64_t before = on_board();
    put("/nodes", "node 0 memory=64M cpus=0\nnode 1 memory=64M\n");
    np_nodes_reload(&worker, true);
    ck_assert_uint_ne(on_board(), before);
    ck_assert_uint_eq(on_board(), np_topology()->fingerprint);
    put("/nodes", "node 0 memory=64M cpus=0\nnode 2 memory=64M\n");
    ck_assert_int_eq(np_topology_reload(), 1); /* who makes memory looks again, too, and tells nobody */
    np_nodes_reload(&worker, false);
    ck_assert_uint_eq(on_board(), np_topology()->fingerprint);
    put("/nodes", "node 0 memory=64M cpus=0\n");
    imagine(path);
    ck_assert_int_eq(np_nodes_start(&worker), 0);
    ck_assert_uint_eq(on_board(), before);
    put("/other", "node 0 memory=32M cpus=0\n");
    snprintf(path, sizeof path, "%s/other", root);
    imagine(path);
    ck_assert_int_eq(np_nodes_start(&worker), -EPROTO);
}
END_TEST

START_TEST(a_client_is_let_in_by_what_it_imagines)
{
    imagine("2x64M");
    ck_assert_int_eq(np_nodes_check_client(np_topology()->fingerprint), 0);
    ck_assert_int_eq(np_nodes_check_client(0), -EPROTO);
    assert_sentence_has("has the machine's own: set NUMAPOOL_TOPOLOGY=2x64M");
    ck_assert_int_eq(np_nodes_check_client(np_topology()->fingerprint + 1), -EPROTO);
    assert_sentence_has("imagines others: set NUMAPOOL_TOPOLOGY=2x64M");
    imagine(NULL);
    ck_assert_int_eq(np_nodes_check_client(0), 0);
    ck_assert_int_eq(np_nodes_check_client(7), -EPROTO);
    assert_sentence_has("unset the variable");
}
END_TEST

/* ---------------------------------------------------------------- what the keeper keeps */

static void keep(enum np_store_kind kind, uint32_t a, uint32_t b, size_t bytes)
{
    int fd = memfd_create("kept", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    ck_assert_int_eq(np_store_put(&worker.store, (struct np_store_key){ (uint32_t)kind, a, b }, fd), 0);
}

uint64_t np_premises_bytes(const struct np_worker *its, struct np_store_key key)
{
    struct stat status;
    return fstat(np_store_get(&its->store, key), &status) == 0 ? (uint64_t)status.st_size : 0;
}

START_TEST(what_is_kept_is_added_up_by_the_board)
{
    imagine("3x64M");
    struct np_pool_entry *pool = &worker.board.pools[5];
    np_store32(&pool->state, NP_ACTIVE, memory_order_relaxed);
    np_store32(&pool->arenas, 2, memory_order_relaxed);
    pool->arena[0].node = 1;
    pool->arena[1].node = 2;
    pool->arena[2].node = 2; /* being made: it counts where it is made */
    keep(NP_STORE_DATA, 5, 0, 10 << 20);
    keep(NP_STORE_META, 5, 0, 1 << 20);
    keep(NP_STORE_DATA, 5, 1, 20 << 20);
    keep(NP_STORE_DATA, 5, 2, 40 << 20);
    keep(NP_STORE_DATA, 6, 0, 40 << 20); /* a pool that is not there */
    keep(NP_STORE_BOARD, 0, 0, 4 << 20); /* of no node */
    keep(NP_STORE_LANE, 3, 0, 2 << 20);
    keep(NP_STORE_LANE, 4, 0, 2 << 20);
    np_store32(&worker.board.lanes[3].state, NP_ACTIVE, memory_order_relaxed);
    worker.board.lanes[3].node = 1;
    np_store32(&worker.board.lanes[4].state, NP_ACTIVE, memory_order_relaxed);
    worker.board.lanes[4].node = -1;
    np_nodes_count(&worker);
    ck_assert_uint_eq(np_imagined_bytes(0), 64 << 20);
    ck_assert_uint_eq(np_imagined_bytes(1), 51 << 20);
    ck_assert_uint_eq(np_imagined_bytes(2), 44 << 20);
    np_store32(&worker.board.pools[5].state, NP_NONE, memory_order_relaxed);
    np_nodes_count(&worker);
    ck_assert_uint_eq(np_imagined_bytes(1), 62 << 20);
    ck_assert_uint_eq(np_imagined_bytes(2), 64 << 20);
    np_store_clear(&worker.store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nodes");
    TCase *boards = tcase_create("boards");
    tcase_add_checked_fixture(boards, make_board, drop_board);
    tcase_set_timeout(boards, 60);
    suite_add_tcase(suite, boards);
    tcase_add_test(boards, a_fresh_board_takes_what_the_first_worker_says);
    tcase_add_test(boards, a_worker_that_imagines_otherwise_does_not_start);
    tcase_add_test(boards, nor_does_one_that_imagines_where_nothing_was);
    tcase_add_test(boards, the_same_file_may_have_changed);
    tcase_add_test(boards, a_client_is_let_in_by_what_it_imagines);
    tcase_add_test(boards, what_is_kept_is_added_up_by_the_board);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
