/* SPDX-License-Identifier: MIT
 * A forked child has nothing of its parent's: every call says so, no access reaches it, and the child can begin anew. */
#include "pool_help.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a parent has open when it forks. */
struct parent {
    struct numapool_pool *pool;
    struct numapool_magazine *warm, *cold;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    struct numapool_msg received;
    void *slot;
};

static void open_all(struct parent *parent, uint64_t flags)
{
    parent->pool = make_pool(1024, flags);
    parent->warm = open_magazine(parent->pool, 16);
    parent->cold = open_magazine(parent->pool, 16);
    ck_assert_int_eq(numapool_sender_open(parent->pool, "c", NULL, &parent->sender), 0);
    ck_assert_int_eq(numapool_receiver_open(parent->pool, "c", NULL, &parent->receiver), 0);
    for (uint64_t id = 1; id <= 3; id++) {
        struct numapool_msg message = { .data = numapool_loan(parent->sender), .length = 8, .id = id };
        memcpy(message.data, &id, sizeof id);
        ck_assert_int_eq(numapool_send(parent->sender, &message, 0), 0);
    }
    ck_assert_int_eq(numapool_receive(parent->receiver, &parent->received, 1, 0), 1);
    ck_assert_ptr_nonnull(parent->slot = numapool_get(parent->warm));
    strcpy(parent->slot, "the parent's");
}

static void close_all(struct parent *parent)
{
    struct numapool_msg messages[4];
    ck_assert_str_eq(parent->slot, "the parent's");
    ck_assert_int_eq(numapool_put(parent->warm, parent->slot), 0);
    ck_assert_int_eq(numapool_release(parent->receiver, &parent->received, 1), 0);
    ck_assert_int_eq(numapool_receive(parent->receiver, messages, 4, 0), 2);
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t payload;
        memcpy(&payload, messages[i].data, sizeof payload);
        ck_assert_uint_eq(messages[i].id, i + 2);
        ck_assert_uint_eq(payload, i + 2);
        ck_assert_uint_eq(messages[i].flags, 0);
    }
    ck_assert_int_eq(numapool_release(parent->receiver, messages, 2), 0);
    ck_assert_int_eq(numapool_receiver_close(parent->receiver), 0);
    ck_assert_int_eq(numapool_sender_close(parent->sender, 0), 0);
    ck_assert_int_eq(numapool_magazine_close(parent->warm), 0);
    ck_assert_int_eq(numapool_magazine_close(parent->cold), 0);
    close_pool(parent->pool);
}

/* A child that is content kills itself: an exit would have leak checkers report what only the wiped pages pointed to. */
static bool is_content(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static int status_of_child(void (*body)(struct parent *), struct parent *parent)
{
    fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        body(parent);
        raise(SIGKILL);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

/* In a child: the call fails with -EINVAL and a sentence. */
#define CHILD_IS_REFUSED(call)                                                      \
    do {                                                                            \
        np_error_static(0, "");                                                     \
        long long result = (long long)(call);                                       \
        if (result != -EINVAL || strstr(numapool_errormsg(), "fork") == NULL) {     \
            fprintf(stderr, "%s: %lld \"%s\"\n", #call, result, numapool_errormsg()); \
            _exit(1);                                                               \
        }                                                                           \
    } while (0)

#define CHILD_GETS_NOTHING(call) CHILD_IS_REFUSED((call) == NULL ? -EINVAL : 0)

static void call_everything(struct parent *parent)
{
    struct numapool_msg *message = &parent->received;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    struct numapool_receiver *receiver;
    numapool_handle handle = { UINT64_C(1) << 56 };
    void *slot = parent->slot, *slots[2];
    for (unsigned i = 0; i < 2; i++) {
        struct numapool_magazine *its = i ? parent->warm : parent->cold;
        CHILD_GETS_NOTHING(numapool_get(its));
        CHILD_GETS_NOTHING(numapool_get_call(its));
        CHILD_IS_REFUSED(numapool_put(its, parent->slot));
        CHILD_IS_REFUSED(numapool_put_call(its, parent->slot));
        CHILD_IS_REFUSED(numapool_get_wait(its, &slot, NUMAPOOL_FOREVER));
        CHILD_IS_REFUSED(numapool_get_bulk(its, slots, 2));
        CHILD_IS_REFUSED(numapool_put_bulk(its, &parent->slot, 1));
        CHILD_IS_REFUSED(numapool_flush(its));
        CHILD_IS_REFUSED(numapool_magazine_close(its));
    }
    CHILD_IS_REFUSED(numapool_pool_mode(parent->pool));
    CHILD_IS_REFUSED(numapool_slot_bytes(parent->pool) == 0 ? -EINVAL : 0);
    CHILD_IS_REFUSED(numapool_slot_node(parent->pool, parent->slot));
    CHILD_IS_REFUSED(numapool_handle_of(parent->pool, parent->slot, &handle));
    CHILD_IS_REFUSED(numapool_resolve(parent->pool, handle, &slot));
    CHILD_IS_REFUSED(numapool_magazine_open(parent->pool, NUMAPOOL_ANY_NODE, 0, &magazine));
    CHILD_IS_REFUSED(numapool_sender_open(parent->pool, "c", NULL, &sender));
    CHILD_IS_REFUSED(numapool_receiver_open(parent->pool, "c", NULL, &receiver));
    CHILD_GETS_NOTHING(numapool_loan(parent->sender));
    CHILD_IS_REFUSED(numapool_unloan(parent->sender, parent->slot));
    CHILD_IS_REFUSED(numapool_send(parent->sender, message, 0));
    CHILD_IS_REFUSED(numapool_send(parent->sender, message, NUMAPOOL_FOREVER));
    CHILD_IS_REFUSED(numapool_send_bulk(parent->sender, message, 1, 0));
    CHILD_IS_REFUSED(numapool_sender_close(parent->sender, NUMAPOOL_FOREVER));
    CHILD_IS_REFUSED(numapool_receive(parent->receiver, message, 1, NUMAPOOL_FOREVER));
    CHILD_IS_REFUSED(numapool_release(parent->receiver, message, 1));
    CHILD_IS_REFUSED(numapool_keep(parent->receiver, message));
    CHILD_IS_REFUSED(numapool_forward(parent->receiver, message, parent->sender, 0));
    CHILD_IS_REFUSED(numapool_forward_bulk(parent->receiver, message, 1, parent->sender, 0));
    CHILD_IS_REFUSED(numapool_receiver_close(parent->receiver));
    CHILD_IS_REFUSED(numapool_close(parent->pool));
}

START_TEST(every_call_of_a_child_is_refused_and_the_parent_goes_on)
{
    struct parent parent;
    open_all(&parent, _i ? NUMAPOOL_EXACT_COUNTS : 0);
    ck_assert(is_content(status_of_child(call_everything, &parent)));
    close_all(&parent);
}
END_TEST

static void read_payload(struct parent *parent)
{
    _exit(*(volatile char *)parent->slot == 't' ? 1 : 2);
}

static void write_payload(struct parent *parent)
{
    *(volatile char *)parent->slot = 'X';
    _exit(1);
}

static void *volatile words_of_parent;

static void write_word(struct parent *parent)
{
    (void)parent;
    *(volatile uint64_t *)words_of_parent = 0;
    _exit(1);
}

START_TEST(what_is_shared_is_not_there_in_a_child)
{
    static void (*const reaches[])(struct parent *) = { read_payload, write_payload, write_word };
    struct parent parent;
    open_all(&parent, 0);
    words_of_parent = (void *)parent.pool->arenas[0].arena.words;
    for (unsigned i = 0; i < 3; i++) {
        int status = status_of_child(reaches[i], &parent);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        ck_assert(WIFSIGNALED(status) || (WEXITSTATUS(status) != 1 && WEXITSTATUS(status) != 2));
#else
        ck_assert(WIFSIGNALED(status));
        ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
#endif
    }
    close_all(&parent);
}
END_TEST

static void begin_anew(struct parent *parent)
{
    struct parent own;
    call_everything(parent);
    open_all(&own, 0);
    strcpy(own.slot, "the parent's"); /* of this child's own pool */
    call_everything(parent);
    close_all(&own);
}

START_TEST(a_child_can_make_a_pool_of_its_own)
{
    struct parent parent;
    open_all(&parent, 0);
    ck_assert(is_content(status_of_child(begin_anew, &parent)));
    close_all(&parent);
}
END_TEST

static void fork_again(struct parent *parent)
{
    pid_t grandchild = fork();
    if (grandchild == 0) {
        call_everything(parent);
        raise(SIGKILL);
    }
    int status = 0;
    if (waitpid(grandchild, &status, 0) != grandchild || !is_content(status))
        _exit(1);
    call_everything(parent);
}

START_TEST(a_grandchild_has_nothing_either)
{
    struct parent parent;
    open_all(&parent, 0);
    ck_assert(is_content(status_of_child(fork_again, &parent)));
    close_all(&parent);
}
END_TEST

static void dies_at_once(struct parent *parent)
{
    (void)parent;
}

START_TEST(children_come_and_go_without_a_trace)
{
    struct parent parent;
    open_all(&parent, 0);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert(is_content(status_of_child(dies_at_once, &parent)));
        void *slot = numapool_get(parent.cold);
        ck_assert_ptr_nonnull(slot);
        ck_assert_int_eq(numapool_put(parent.cold, slot), 0);
    }
    close_all(&parent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fork");
    TCase *children = tcase_create("children");
    tcase_set_timeout(children, 60);
    tcase_add_loop_test(children, every_call_of_a_child_is_refused_and_the_parent_goes_on, 0, 2);
    tcase_add_test(children, what_is_shared_is_not_there_in_a_child);
    tcase_add_test(children, a_child_can_make_a_pool_of_its_own);
    tcase_add_test(children, a_grandchild_has_nothing_either);
    tcase_add_test(children, children_come_and_go_without_a_trace);
    suite_add_tcase(suite, children);
    return run_suite(suite);
}
