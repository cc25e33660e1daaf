/* SPDX-License-Identifier: MIT
 *
 * Ten thousand operations in random order on each of the two loops, beside a simple account of what each may be told: what was sent on a
 * socket and not yet received, whether its other end is closed, what a counter stands at, what a file has in it. Every operation ends once,
 * with what the account says; what is due ends without anything more having to happen. The seed is printed; `--seed N` runs that one.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "loop_help.h"

#include <inttypes.h>
#include <linux/futex.h>
#include <sys/mman.h>

enum { SOCKETS = 24, EVENTS = 8, READERS = 8, ROUNDS = 10000, QUEUE = 8, BYTES = 32, FILE_BYTES = 4096 };

static uint64_t seed = 20261120, state;

static unsigned below(unsigned n)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(state >> 33) % n;
}

struct one {
    struct asked asked;
    unsigned started, ended, cancels;
    bool cancelled; /* since it was started */
};

static struct socket {
    struct one receive, polled, send;
    int ours, theirs; /* theirs -1: closed */
    unsigned sent[QUEUE], first, count; /* what has not been received, by its number */
    unsigned lost; /* sent to them, not looked at */
    char buffer[BYTES];
    unsigned asked_bytes;
    struct iovec part;
    struct msghdr message;
} sockets[SOCKETS];

static struct event {
    struct one polled;
    int fd;
    bool raised;
} events[EVENTS];

static struct reader {
    struct one read;
    unsigned at, bytes;
    char buffer[64];
} readers[READERS];

static struct one bell;
static np_shm32 *word;
static uint32_t rung; /* what the word stands at */
static uint32_t heard; /* what the bell was asked to wait at */
static int file;
static unsigned number, told_all, cancelled_all;

static char byte_of(unsigned of, unsigned i)
{
    return (char)(of * 7 + i * 13 + 1);
}

static unsigned length_of(unsigned of)
{
    return 1 + of % BYTES;
}

/* ---------------------------------------------------------------- what may be told */

static struct one *told(struct np_operation *operation, int result)
{
    struct one *one = operation->context;
    ck_assert(!operation->pending);
    one->ended++;
    told_all++;
    ck_assert_msg(one->ended == one->started, "ended %u times, started %u", one->ended, one->started);
    ck_assert_msg(result != -ECANCELED || one->cancelled, "nobody cancelled it");
    cancelled_all += result == -ECANCELED;
    return one;
}

static void received(struct np_operation *operation, int result)
{
    told(operation, result);
    struct socket *socket = (struct socket *)operation->context; /* its first member */
    if (result == -ECANCELED)
        return;
    if (result == -ECONNRESET) {
        ck_assert_msg(socket->theirs < 0 && socket->lost > 0, "a reset of one who has not gone, or has read everything");
        return;
    }
    if (result == 0) {
        ck_assert_msg(socket->theirs < 0 && socket->count == 0, "an end where there is none");
        return;
    }
    ck_assert_msg(socket->count > 0, "%d received and nothing sent", result);
    unsigned what = socket->sent[socket->first], length = length_of(what);
    ck_assert_int_eq(result, length < socket->asked_bytes ? length : socket->asked_bytes);
    for (unsigned i = 0; i < (unsigned)result; i++)
        ck_assert_int_eq(socket->buffer[i], byte_of(what, i));
    socket->first = (socket->first + 1) % QUEUE;
    socket->count--;
}

static void socket_polled(struct np_operation *operation, int result)
{
    told(operation, result);
    struct socket *socket = (struct socket *)((char *)operation->context - offsetof(struct socket, polled));
    if (result == -ECANCELED)
        return;
    ck_assert_msg(result > 0, "%d", result);
    /* What it was told of may have been received in the same turn. */
    ck_assert(!(result & POLLHUP) || socket->theirs < 0);
}

static void sent(struct np_operation *operation, int result)
{
    told(operation, result);
    struct socket *socket = (struct socket *)((char *)operation->context - offsetof(struct socket, send));
    ck_assert_msg(result == (int)socket->part.iov_len || result == -ECANCELED || (result == -EPIPE && socket->theirs < 0) ||
                  (result == -ECONNRESET && socket->theirs < 0), "%d", result);
    socket->lost += result > 0;
}

static void event_polled(struct np_operation *operation, int result)
{
    told(operation, result);
    ck_assert_msg(result == POLLIN || result == -ECANCELED, "%d", result);
}

static void was_read(struct np_operation *operation, int result)
{
    told(operation, result);
    struct reader *reader = (struct reader *)operation->context;
    if (result == -ECANCELED)
        return;
    unsigned left = reader->at < FILE_BYTES ? FILE_BYTES - reader->at : 0;
    ck_assert_int_eq(result, left < reader->bytes ? left : reader->bytes);
    for (unsigned i = 0; i < (unsigned)result; i++)
        ck_assert_int_eq(reader->buffer[i], byte_of(1, reader->at + i));
}

static void bell_heard(struct np_operation *operation, int result)
{
    told(operation, result);
    ck_assert_msg(result == -ECANCELED || ((result == 0 || result == -EAGAIN) && rung != heard), "%d", result);
}

/* ---------------------------------------------------------------- what is done */

static struct np_operation *start(struct one *one, void (*done)(struct np_operation *, int))
{
    one->asked.operation = (struct np_operation){ .done = done, .context = one };
    one->started++;
    one->cancelled = false;
    return &one->asked.operation;
}

static bool is_idle(const struct one *one)
{
    return !one->asked.operation.pending;
}

static void cancel(struct one *one)
{
    if (is_idle(one))
        return;
    one->cancelled = true;
    np_loop_cancel(loop, &one->asked.operation);
}

static void open_socket(struct socket *socket)
{
    int ends[2];
    pair(ends);
    socket->ours = ends[0];
    socket->theirs = ends[1];
    socket->first = socket->count = socket->lost = 0;
}

static void send_to(struct socket *socket)
{
    char bytes[BYTES];
    unsigned what = ++number, length = length_of(what);
    if (socket->theirs < 0 || socket->count == QUEUE)
        return;
    for (unsigned i = 0; i < length; i++)
        bytes[i] = byte_of(what, i);
    ck_assert_int_eq(send(socket->theirs, bytes, length, 0), length);
    socket->sent[(socket->first + socket->count++) % QUEUE] = what;
}

static void act_on_socket(struct socket *socket)
{
    switch (below(12)) {
    case 0 ... 2:
        if (!is_idle(&socket->receive))
            break;
        socket->asked_bytes = 1 + below(BYTES);
        np_loop_receive(loop, start(&socket->receive, received), socket->ours, socket->buffer, socket->asked_bytes);
        break;
    case 3:
        if (is_idle(&socket->polled))
            np_loop_poll(loop, start(&socket->polled, socket_polled), socket->ours, POLLIN);
        break;
    case 4:
        if (!is_idle(&socket->send) || socket->lost > 4)
            break;
        socket->part = (struct iovec){ socket->buffer, 1 + below(BYTES) };
        socket->message = (struct msghdr){ .msg_iov = &socket->part, .msg_iovlen = 1 };
        np_loop_send_message(loop, start(&socket->send, sent), socket->ours, &socket->message);
        break;
    case 5 ... 7:
        send_to(socket);
        break;
    case 8:
        cancel(&socket->receive);
        break;
    case 9:
        cancel(below(2) ? &socket->polled : &socket->send);
        break;
    case 10:
        /* The other end goes away, at times together with ours: whoever waits is told of it, not of who has the number next. */
        if (socket->theirs >= 0 && below(4) == 0) {
            close(socket->theirs);
            socket->theirs = -1;
        }
        break;
    default:
        if (socket->theirs < 0 && is_idle(&socket->receive) && is_idle(&socket->polled) && is_idle(&socket->send)) {
            close(socket->ours);
            open_socket(socket);
        }
        break;
    }
}

static void act_on_event(struct event *event)
{
    uint64_t count;
    switch (below(4)) {
    case 0:
        if (is_idle(&event->polled))
            np_loop_poll(loop, start(&event->polled, event_polled), event->fd, POLLIN);
        break;
    case 1:
        ck_assert_int_eq(eventfd_write(event->fd, 1), 0);
        event->raised = true;
        break;
    case 2:
        if (event->raised)
            ck_assert_int_eq(read(event->fd, &count, sizeof count), sizeof count);
        event->raised = false;
        break;
    default:
        cancel(&event->polled);
        break;
    }
}

static void act_on_reader(struct reader *reader)
{
    if (!is_idle(&reader->read)) {
        if (below(3) == 0)
            cancel(&reader->read);
        return;
    }
    reader->at = below(FILE_BYTES + 50);
    reader->bytes = 1 + below(sizeof reader->buffer);
    np_loop_read(loop, start(&reader->read, was_read), file, reader->buffer, reader->bytes, reader->at);
}

static void act_on_bell(void)
{
    switch (below(3)) {
    case 0:
        if (!np_loop_has_futex(loop) || !is_idle(&bell))
            break;
        heard = rung - (below(4) == 0);
        np_loop_futex_wait(loop, start(&bell, bell_heard), word, heard);
        break;
    case 1:
        np_store32(word, ++rung, memory_order_release); /* pairs with nothing: this thread looks at it alone */
        syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
        break;
    default:
        cancel(&bell);
        break;
    }
}

static void act(void)
{
    switch (below(8)) {
    case 0 ... 4:
        act_on_socket(&sockets[below(SOCKETS)]);
        break;
    case 5:
        act_on_event(&events[below(EVENTS)]);
        break;
    case 6:
        act_on_reader(&readers[below(READERS)]);
        break;
    default:
        act_on_bell();
        break;
    }
}

/* ---------------------------------------------------------------- what is due */

static bool is_due(const struct one *one, bool there)
{
    return !is_idle(one) && (there || one->cancelled);
}

static bool anything_is_due(void)
{
    bool due = is_due(&bell, rung != heard);
    for (unsigned i = 0; i < SOCKETS; i++) {
        const struct socket *socket = &sockets[i];
        bool there = socket->count > 0 || socket->theirs < 0;
        due |= is_due(&socket->receive, there) || is_due(&socket->polled, there) || is_due(&socket->send, true);
    }
    for (unsigned i = 0; i < EVENTS; i++)
        due |= is_due(&events[i].polled, events[i].raised);
    for (unsigned i = 0; i < READERS; i++)
        due |= is_due(&readers[i].read, true);
    return due;
}

static void settle(void)
{
    while (anything_is_due())
        turn();
}

static void cancel_all(void)
{
    cancel(&bell);
    for (unsigned i = 0; i < SOCKETS; i++) {
        cancel(&sockets[i].receive);
        cancel(&sockets[i].polled);
        cancel(&sockets[i].send);
    }
    for (unsigned i = 0; i < EVENTS; i++)
        cancel(&events[i].polled);
    for (unsigned i = 0; i < READERS; i++)
        cancel(&readers[i].read);
}

START_TEST(whatever_is_asked_is_answered_once_and_rightly)
{
    unsigned asked = 0;
    if (!open_loop(_i))
        return;
    state = seed;
    word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    rung = heard = 0;
    file = memfd_create("random", MFD_CLOEXEC);
    for (unsigned i = 0; i < FILE_BYTES; i++)
        ck_assert_int_eq(write(file, &(char){ byte_of(1, i) }, 1), 1);
    for (unsigned i = 0; i < SOCKETS; i++)
        open_socket(&sockets[i]);
    for (unsigned i = 0; i < EVENTS; i++)
        events[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (unsigned round = 0; told_all < ROUNDS; round++) {
        for (unsigned n = below(30); n > 0; n--)
            act();
        if (below(3) == 0)
            settle();
        else if (anything_is_due())
            turn();
        if (below(200) == 0) {
            cancel_all();
            settle();
        }
    }
    cancel_all();
    settle();
    asked = bell.started;
    for (unsigned i = 0; i < SOCKETS; i++) {
        asked += sockets[i].receive.started + sockets[i].polled.started + sockets[i].send.started;
        close(sockets[i].ours);
        if (sockets[i].theirs >= 0)
            close(sockets[i].theirs);
    }
    for (unsigned i = 0; i < EVENTS; i++) {
        asked += events[i].polled.started;
        close(events[i].fd);
    }
    for (unsigned i = 0; i < READERS; i++)
        asked += readers[i].read.started;
    printf("seed %" PRIu64 ", on %s: %u operations, %u of them cancelled\n", seed, choices[_i] == NP_LOOP_EPOLL ? "epoll" : "io_uring", asked,
           cancelled_all);
    fflush(stdout);
    ck_assert_uint_eq(asked, told_all);
    ck_assert_msg(cancelled_all > ROUNDS / 100, "cancellations are part of it");
    close(file);
    np_loop_stop(loop);
    munmap(word, 4096);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--seed") == 0)
        seed = strtoull(argv[2], NULL, 10);
    Suite *suite = suite_create("loop_random");
    TCase *tests = tcase_create("loop_random");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, whatever_is_asked_is_answered_once_and_rightly, 0, LOOPS);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? 0 : 1;
}
