/* SPDX-License-Identifier: MIT
 * I/O straight into slots: pieces of a pool, fixed buffers, slots that the kernel takes for what comes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "numapool/uring.h"
#include "pool_help.h"

enum { GROUP = 7, RING_ENTRIES = 64 };

static bool have_io_uring(void)
{
    struct io_uring ring;
    int result = io_uring_queue_init(4, &ring, 0);
    if (result < 0) {
        printf("left out: io_uring is not to be had here (%s): %s\n", strerror(-result), numapool_ring_refusal(result));
        return false;
    }
    io_uring_queue_exit(&ring);
    return true;
}

static void open_ring(struct io_uring *ring)
{
    int result = io_uring_queue_init(RING_ENTRIES, ring, 0);
    ck_assert_msg(result == 0, "%s: %s", strerror(-result), numapool_ring_refusal(result));
}

static struct io_uring_sqe *entry_of(struct io_uring *ring, uint64_t number)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    ck_assert_ptr_nonnull(entry);
    io_uring_sqe_set_data64(entry, number);
    return entry;
}

/* The next completion, which it counts as seen. */
static struct io_uring_cqe next_completion(struct io_uring *ring)
{
    struct io_uring_cqe *there, copy;
    ck_assert_int_ge(io_uring_submit_and_wait(ring, 1), 0);
    ck_assert_int_eq(io_uring_wait_cqe(ring, &there), 0);
    copy = *there;
    io_uring_cqe_seen(ring, there);
    return copy;
}

/* What is prepared in the entry is done, and its result. */
static int run_one(struct io_uring *ring)
{
    return next_completion(ring).res;
}

/* ---------------------------------------------------------------- pieces */

START_TEST(pieces_are_whole_slots_of_at_most_1_gib_and_new_arenas_come_last)
{
    /* Three arenas as large as no test has memory for: only their geometry is looked at. */
    static const uint64_t slots[] = { 3u << 20, 5, (1u << 20) - 1 };
    enum { STRIDE = 1088, ARENAS = 3 };
    const uint64_t each = (UINT64_C(1) << 30) / STRIDE;
    struct numapool_pool *pool = calloc(1, sizeof *pool);
    pool->arenas = aligned_alloc(64, (ARENAS * sizeof *pool->arenas + 63) / 64 * 64);
    memset(pool->arenas, 0, ARENAS * sizeof *pool->arenas);
    pool->live = NP_POOL_LIVE;
    pool->mode = NUMAPOOL_MODE_EMBEDDED;
    atomic_init(&pool->arena_count, ARENAS - 1);
    for (unsigned i = 0; i < ARENAS; i++) {
        struct np_arena *arena = &pool->arenas[i].arena;
        arena->data = (char *)((uintptr_t)(i + 1) << 40);
        arena->slots = slots[i];
        arena->stride = arena->slot_bytes = STRIDE;
        arena->stride_lines = STRIDE / 64;
        arena->stride_inverse = UINT64_MAX / arena->stride_lines + 1;
        arena->data_bytes = slots[i] * STRIDE;
    }
    struct iovec pieces[16];
    int before = numapool_pool_iovecs(pool, pieces, 16);
    ck_assert_int_eq(before, (int)((slots[0] + each - 1) / each) + 1);
    ck_assert_int_eq(numapool_pool_iovecs(pool, NULL, 0), before);
    atomic_store_explicit(&pool->arena_count, ARENAS, memory_order_release);
    struct iovec after[16];
    int count = numapool_pool_iovecs(pool, after, 16);
    ck_assert_int_eq(count, before + (int)((slots[2] + each - 1) / each));
    ck_assert_int_eq(memcmp(pieces, after, (size_t)before * sizeof *after), 0);
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++) {
        ck_assert_uint_le(after[i].iov_len, UINT64_C(1) << 30);
        ck_assert_uint_eq(after[i].iov_len % STRIDE, 0);
        bytes += after[i].iov_len;
        /* its first and its last slot, and no address between two */
        ck_assert_int_eq(numapool_buf_index(pool, after[i].iov_base), i);
        ck_assert_int_eq(numapool_buf_index(pool, (char *)after[i].iov_base + after[i].iov_len - STRIDE), i);
        ASSERT_REFUSED(numapool_buf_index(pool, (char *)after[i].iov_base + 64), -EINVAL, "not the beginning of a slot");
    }
    ck_assert_uint_eq(bytes, (slots[0] + slots[1] + slots[2]) * STRIDE);
    free(pool->arenas);
    free(pool);
}
END_TEST

START_TEST(pools_without_payload_to_register_say_so)
{
    struct numapool_pool *pool = make_pool(16, 0);
    struct iovec piece;
    int mode = pool->mode;
    ASSERT_REFUSED(numapool_pool_iovecs(pool, NULL, 1), -EINVAL, "pieces is NULL");
    pool->mode = NUMAPOOL_MODE_READONLY;
    ASSERT_REFUSED(numapool_pool_iovecs(pool, &piece, 1), -EROFS, "READONLY");
    ASSERT_REFUSED(numapool_buf_index(pool, pool->arenas[0].arena.data), -EROFS, "READONLY");
    pool->mode = mode;
    pool->flags |= NUMAPOOL_MALLOC;
    ASSERT_REFUSED(numapool_pool_iovecs(pool, &piece, 1), -EOPNOTSUPP, "malloc");
    pool->flags &= ~(uint64_t)NUMAPOOL_MALLOC;
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- fixed buffers */

START_TEST(slots_go_to_a_file_and_come_back)
{
    struct numapool_pool *pool = make_pool_of_arenas(3, 64);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    struct io_uring ring;
    void *slots[3];
    int file = memfd_create("file", MFD_CLOEXEC);
    open_ring(&ring);
    ck_assert_int_eq(numapool_ring_buffers(pool, &ring, 8), 3);
    ck_assert_int_eq(numapool_ring_buffers(pool, &ring, 8), -EBUSY);
    ck_assert_int_eq(numapool_ring_buffers_grown(pool, &ring, 3), 3);
    ck_assert_int_eq(numapool_ring_buffers_grown(pool, &ring, 2), 3); /* pieces 3 .. again, over what is there */
    for (unsigned i = 0; i < 3; i++) { /* one of each arena */
        ck_assert_uint_eq(np_arena_take(&pool->arenas[i].arena, &slots[i], 1), 1);
        ck_assert_int_eq(numapool_buf_index(pool, slots[i]), (int)i);
        memset(slots[i], 'a' + (int)i, SLOT_BYTES);
        ck_assert_int_eq(numapool_prep_write(entry_of(&ring, i), pool, file, slots[i], 0, SLOT_BYTES, i * SLOT_BYTES), 0);
        ck_assert_int_eq(run_one(&ring), SLOT_BYTES);
    }
    for (unsigned i = 0; i < 3; i++) { /* the second half of the one before, into the first of this one */
        unsigned other = (i + 2) % 3;
        ck_assert_int_eq(numapool_prep_read(entry_of(&ring, i), pool, file, slots[i], 8, 64, other * SLOT_BYTES + 64), 0);
        ck_assert_int_eq(run_one(&ring), 64);
        ck_assert_int_eq(((char *)slots[i])[7], 'a' + (int)i);
        ck_assert_int_eq(((char *)slots[i])[8], 'a' + (int)other);
        ck_assert_int_eq(((char *)slots[i])[71], 'a' + (int)other);
        ck_assert_int_eq(((char *)slots[i])[72], 'a' + (int)i);
    }
    struct io_uring_sqe *unused = entry_of(&ring, 9);
    ck_assert_int_eq(numapool_prep_read(unused, pool, file, slots[0], 64, 65, 0), -EINVAL);
    ck_assert_int_eq(numapool_prep_write(unused, pool, file, slots[0], UINT32_MAX, 2, 0), -EINVAL);
    ASSERT_REFUSED(numapool_prep_send_zc(unused, pool, file, (char *)slots[0] + 1, 0, 1, 0), -EINVAL, "not the beginning of a slot");
    io_uring_queue_exit(&ring);
    for (unsigned i = 0; i < 3; i++)
        numapool_put(magazine, slots[i]);
    numapool_magazine_close(magazine);
    close(file);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- slots for whatever comes */

struct station {
    struct numapool_pool *pool;
    struct numapool_magazine *magazine;
    struct io_uring ring;
    struct numapool_bufring bufring;
    int ends[2]; /* what is written to 1 is received from 0 */
};

static void open_station(struct station *station, uint64_t slots, unsigned count, int type)
{
    station->pool = make_pool(slots, 0);
    station->magazine = open_magazine(station->pool, 0);
    open_ring(&station->ring);
    ck_assert_int_eq(numapool_bufring_open(&station->bufring, &station->ring, station->pool, station->magazine, count, GROUP, 0), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, station->ends), 0);
}

static void close_station(struct station *station)
{
    ck_assert_int_eq(numapool_bufring_close(&station->bufring), 0);
    ck_assert_int_eq(numapool_bufring_close(&station->bufring), 0); /* a closed one stays closed */
    io_uring_queue_exit(&station->ring);
    close(station->ends[0]);
    close(station->ends[1]);
    numapool_magazine_close(station->magazine);
    close_pool(station->pool);
}

START_TEST(each_message_comes_in_a_slot_of_its_own_and_goes_on_as_it_is)
{
    struct station station;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    void *seen[12];
    open_station(&station, 256, 8, SOCK_SEQPACKET);
    ck_assert_int_eq(numapool_sender_open(station.pool, "on", NULL, &sender), 0);
    ck_assert_int_eq(numapool_receiver_open(station.pool, "on", NULL, &receiver), 0);
    ck_assert_uint_eq(numapool_bufring_fill(&station.bufring), 8);
    numapool_prep_receive(entry_of(&station.ring, 1), &station.bufring, station.ends[0]);
    ck_assert_int_eq(io_uring_submit(&station.ring), 1);
    for (unsigned i = 0; i < 12; i++) { /* more than it has: the ids are used again */
        char text[16];
        int length = snprintf(text, sizeof text, "message %u", i);
        ck_assert_int_eq(write(station.ends[1], text, (size_t)length), length);
        struct io_uring_cqe completion = next_completion(&station.ring);
        ck_assert_int_eq(completion.res, length);
        ck_assert_msg(completion.flags & IORING_CQE_F_MORE, "the receive is still armed");
        void *slot = numapool_bufring_take(&station.bufring, &completion);
        ck_assert_ptr_nonnull(slot);
        ck_assert_int_eq(memcmp(slot, text, (size_t)length), 0);
        ck_assert_ptr_null(numapool_bufring_take(&station.bufring, &completion)); /* it is not there twice */
        struct numapool_msg message = { .data = slot, .length = (uint32_t)length, .id = i };
        ck_assert_int_eq(numapool_send(sender, &message, 0), 0);
        ck_assert_int_eq(numapool_receive(receiver, &message, 1, 0), 1);
        ck_assert_ptr_eq(message.data, slot);
        ck_assert_uint_eq(message.length, length);
        seen[i] = message.data;
        for (unsigned j = 0; j < i; j++)
            ck_assert_ptr_ne(seen[j], slot);
        if (i % 2 == 1)
            ck_assert_uint_eq(numapool_bufring_fill(&station.bufring), 8);
        ck_assert_int_eq(numapool_keep(receiver, &message), 0);
    }
    for (unsigned i = 0; i < 12; i++)
        ck_assert_int_eq(numapool_put(station.magazine, seen[i]), 0);
    io_uring_prep_cancel64(entry_of(&station.ring, 2), 1, 0);
    int canceled = 0, found = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct io_uring_cqe completion = next_completion(&station.ring);
        canceled += completion.user_data == 1 && completion.res == -ECANCELED;
        found += completion.user_data == 2 && completion.res == 0;
    }
    ck_assert_int_eq(canceled + found, 2);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    close_station(&station); /* which sees that every slot is free */
}
END_TEST

START_TEST(without_slots_receiving_ends_and_goes_on_after_a_fill)
{
    struct station station;
    char bytes[3 * SLOT_BYTES] = "a";
    void *held[2];
    open_station(&station, 4, 4, SOCK_STREAM);
    ck_assert_int_eq(numapool_get_bulk(station.magazine, held, 2), 0);
    ck_assert_uint_eq(numapool_bufring_fill(&station.bufring), 2); /* there are no more */
    numapool_prep_receive(entry_of(&station.ring, 1), &station.bufring, station.ends[0]);
    ck_assert_int_eq(write(station.ends[1], bytes, sizeof bytes), sizeof bytes);
    for (unsigned i = 0; i < 2; i++) { /* a stream is cut at the ends of slots */
        struct io_uring_cqe completion = next_completion(&station.ring);
        ck_assert_int_eq(completion.res, SLOT_BYTES);
        void *slot = numapool_bufring_take(&station.bufring, &completion);
        ck_assert_ptr_nonnull(slot);
        numapool_put(station.magazine, slot);
    }
    struct io_uring_cqe ended = next_completion(&station.ring);
    ck_assert_int_eq(ended.res, -ENOBUFS);
    ck_assert_uint_eq(ended.flags & IORING_CQE_F_MORE, 0);
    ck_assert_ptr_null(numapool_bufring_take(&station.bufring, &ended));
    numapool_put_bulk(station.magazine, held, 2);
    ck_assert_uint_eq(numapool_bufring_fill(&station.bufring), 4);
    numapool_prep_receive(entry_of(&station.ring, 2), &station.bufring, station.ends[0]);
    struct io_uring_cqe completion = next_completion(&station.ring);
    ck_assert_int_eq(completion.res, SLOT_BYTES);
    void *slot = numapool_bufring_take(&station.bufring, &completion);
    ck_assert_ptr_nonnull(slot);
    numapool_put(station.magazine, slot);
    shutdown(station.ends[1], SHUT_WR);
    completion = next_completion(&station.ring);
    ck_assert_int_eq(completion.res, 0); /* the end of the stream */
    ck_assert_ptr_null(numapool_bufring_take(&station.bufring, &completion));
    close_station(&station);
}
END_TEST

START_TEST(a_ring_of_slots_that_cannot_be_is_refused)
{
    struct station station;
    struct numapool_bufring other;
    open_station(&station, 16, 4, SOCK_STREAM);
    ck_assert_int_eq(numapool_bufring_open(&other, &station.ring, station.pool, station.magazine, 4, GROUP, 0), -EEXIST);
    ck_assert_int_eq(numapool_bufring_open(&other, &station.ring, station.pool, station.magazine, 3, 1, 0), -EINVAL);
    ck_assert_int_eq(numapool_bufring_open(&other, &station.ring, station.pool, station.magazine, 0, 1, 0), -EINVAL);
    ck_assert_int_eq(numapool_bufring_open(&other, &station.ring, station.pool, station.magazine, 65536, 1, 0), -EINVAL);
    ck_assert_int_eq(numapool_bufring_open(&other, &station.ring, station.pool, station.magazine, 4, 1, SLOT_BYTES + 1), -EINVAL);
    ck_assert_int_eq(numapool_bufring_close(&other), 0);
    close_station(&station);
}
END_TEST

/* ---------------------------------------------------------------- sending without a copy */

static void connect_tcp(int ends[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(ends[0], (struct sockaddr *)&address, sizeof address), 0);
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(ends[1], 0);
    close(listener);
}

START_TEST(a_slot_that_was_sent_without_a_copy_is_told_when_it_is_free)
{
    struct numapool_pool *pool = make_pool(64, 0);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    struct io_uring ring;
    int ends[2];
    char got[SLOT_BYTES];
    void *slot = numapool_get(magazine);
    open_ring(&ring);
    if (!numapool_ring_can(&ring, IORING_OP_SEND_ZC)) {
        printf("left out: this kernel has no SEND_ZC\n");
    } else {
        connect_tcp(ends);
        ck_assert_int_eq(numapool_ring_buffers(pool, &ring, 0), 1);
        memset(slot, 'z', SLOT_BYTES);
        ck_assert_int_eq(numapool_prep_send_zc(entry_of(&ring, 5), pool, ends[0], slot, 28, 100, 0), 0);
        struct io_uring_cqe sent = next_completion(&ring);
        ck_assert_int_eq(sent.res, 100);
        ck_assert_msg(sent.flags & IORING_CQE_F_MORE, "another completion follows");
        ck_assert_int_eq(recv(ends[1], got, sizeof got, 0), 100);
        struct io_uring_cqe told = next_completion(&ring);
        ck_assert_uint_eq(told.user_data, 5);
        ck_assert_msg(told.flags & IORING_CQE_F_NOTIF, "which is the notification");
        ck_assert_int_eq(got[99], 'z');
        close(ends[0]);
        close(ends[1]);
    }
    io_uring_queue_exit(&ring);
    numapool_put(magazine, slot);
    numapool_magazine_close(magazine);
    close_pool(pool);
}
END_TEST

/* ---------------------------------------------------------------- refused */

static int forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof code[0], code };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ? 0 : -1;
}

START_TEST(where_io_uring_is_forbidden_the_remedy_is_named)
{
    pid_t child = fork();
    if (child == 0) {
        struct io_uring ring;
        if (forbid_io_uring() != 0)
            _exit(2);
        int result = io_uring_queue_init(4, &ring, 0);
        const char *sentence = numapool_ring_refusal(result);
        _exit(result == -EPERM && strstr(sentence, "io_uring_disabled") && strstr(sentence, "seccomp") ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status), "it was killed");
    if (WEXITSTATUS(status) == 2)
        printf("left out: seccomp filters are not to be had here\n");
    else
        ck_assert_int_eq(WEXITSTATUS(status), 0);
    static const int others[] = { -ENOSYS, -ENOMEM, -EMFILE, -EINVAL, -EBUSY, -EIO };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(numapool_ring_refusal(others[i]), numapool_ring_refusal(others[j]));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uring");
    TCase *tests = tcase_create("uring");
    tcase_add_test(tests, pieces_are_whole_slots_of_at_most_1_gib_and_new_arenas_come_last);
    tcase_add_test(tests, pools_without_payload_to_register_say_so);
    tcase_add_test(tests, where_io_uring_is_forbidden_the_remedy_is_named);
    if (have_io_uring()) {
        tcase_add_test(tests, slots_go_to_a_file_and_come_back);
        tcase_add_test(tests, each_message_comes_in_a_slot_of_its_own_and_goes_on_as_it_is);
        tcase_add_test(tests, without_slots_receiving_ends_and_goes_on_after_a_fill);
        tcase_add_test(tests, a_ring_of_slots_that_cannot_be_is_refused);
        tcase_add_test(tests, a_slot_that_was_sent_without_a_copy_is_told_when_it_is_free);
    }
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
