/* SPDX-License-Identifier: MIT
 * Members of wait-sets: who may be in one, and when; what is refused, and why; what a forked child has. */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "waitset_scene.h"

START_TEST(a_receiver_is_in_one_set_and_leaves_it_before_it_is_closed)
{
    struct numapool_waitset *second = open_waitset();
    void *ready[1];
    ASSERT_REFUSED(numapool_waitset_add(waitset, receivers[0], NULL), -EEXIST, "wait-set already");
    ASSERT_REFUSED(numapool_waitset_add(second, receivers[0], NULL), -EEXIST, "wait-set already");
    ASSERT_REFUSED(numapool_receiver_close(receivers[0]), -EBUSY, "remove it there first");
    ASSERT_REFUSED(numapool_waitset_remove(second, receivers[0]), -ENOENT, "not in this wait-set");
    ck_assert_int_eq(numapool_waitset_remove(waitset, receivers[0]), 0);
    ASSERT_REFUSED(numapool_waitset_remove(waitset, receivers[0]), -ENOENT, "not in this wait-set");
    ck_assert_int_eq(numapool_waitset_add(second, receivers[0], &tags[0]), 0);
    send_id(senders[0], 1);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), -EAGAIN);
    ck_assert_int_eq(numapool_waitset_wait(second, ready, 1, 0), 1);
    receive_id(receivers[0], 1);
    ck_assert_int_eq(numapool_waitset_close(second), 0);
    ck_assert_int_eq(numapool_waitset_add(waitset, receivers[0], &tags[0]), 0);
}
END_TEST

START_TEST(a_pool_leaves_its_set_before_it_is_closed)
{
    struct numapool_pool *other = make_pool(64, 0);
    struct numapool_waitset *second = open_waitset();
    ck_assert_int_eq(numapool_waitset_add_pool(waitset, other, NULL), 0);
    ASSERT_REFUSED(numapool_waitset_add_pool(second, other, NULL), -EEXIST, "wait-set already");
    ASSERT_REFUSED(numapool_close(other), -EBUSY, "remove it there first");
    ASSERT_REFUSED(numapool_waitset_remove_pool(second, other), -ENOENT, "not in this wait-set");
    ck_assert_int_eq(numapool_waitset_remove_pool(waitset, other), 0);
    other->mode = NUMAPOOL_MODE_READONLY;
    ASSERT_REFUSED(numapool_waitset_add_pool(waitset, other, NULL), -EROFS, "read-only");
    other->mode = NUMAPOOL_MODE_EMBEDDED;
    close_pool(other);
    ck_assert_int_eq(numapool_waitset_close(second), 0);
}
END_TEST

START_TEST(a_member_that_is_removed_keeps_the_turn_of_the_others)
{
    void *ready[1];
    for (unsigned i = 0; i < CHANNELS; i++)
        send_id(senders[i], i);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), 1); /* a, b: c is next */
    ck_assert_int_eq(numapool_waitset_remove(waitset, receivers[_i]), 0);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), 1);
    ck_assert_ptr_eq(ready[0], _i == 2 ? &tags[0] : &tags[2]);
    for (unsigned i = 0; i < CHANNELS; i++)
        receive_id(receivers[i], i);
}
END_TEST

START_TEST(as_many_members_as_promised)
{
    struct numapool_receiver *many[NP_WAITSET_MEMBERS_MAX];
    struct numapool_waitset *full = open_waitset();
    void *ready[1];
    for (unsigned i = 0; i < NP_WAITSET_MEMBERS_MAX; i++) {
        many[i] = open_receiver(pool, "many");
        ck_assert_int_eq(numapool_waitset_add(full, many[i], many[i]), 0);
    }
    ck_assert_int_eq(numapool_waitset_remove(waitset, receivers[0]), 0);
    ASSERT_REFUSED(numapool_waitset_add(full, receivers[0], NULL), -ENOSPC, "120");
    ck_assert_int_eq(numapool_waitset_wait(full, ready, 1, 1000000), -ETIMEDOUT); /* really sleeps on all of them */
    ck_assert(!full->sleep.crowded);
    ck_assert_int_eq(numapool_waitset_close(full), 0);
    for (unsigned i = 0; i < NP_WAITSET_MEMBERS_MAX; i++)
        ck_assert_int_eq(numapool_receiver_close(many[i]), 0);
}
END_TEST

START_TEST(wrong_arguments_are_refused_with_a_sentence)
{
    void *ready[1];
    ASSERT_REFUSED(numapool_waitset_wait(waitset, ready, 0, 0), -EINVAL, "0 tags");
    ASSERT_REFUSED(numapool_waitset_wait(waitset, NULL, 1, 0), -EINVAL, "tags");
    ASSERT_REFUSED(numapool_waitset_wait(waitset, ready, 1, -1), -EINVAL, "timeout -1");
    ASSERT_REFUSED(numapool_waitset_wait(NULL, ready, 1, 0), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_waitset_add(waitset, NULL, NULL), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_waitset_add_pool(waitset, NULL, NULL), -EINVAL, "NULL");
    ASSERT_REFUSED(numapool_waitset_remove(waitset, NULL), -ENOENT, "not in");
    ASSERT_REFUSED(numapool_waitset_remove_pool(waitset, NULL), -ENOENT, "not in");
    ck_assert_int_eq(numapool_waitset_wake(NULL), -EINVAL);
    ASSERT_REFUSED(numapool_waitset_eventfd(NULL), -EINVAL, "closed");
    ASSERT_REFUSED(numapool_waitset_close(NULL), -EINVAL, "closed");
}
END_TEST

START_TEST(a_forked_child_has_no_wait_set)
{
    void *ready[1];
    ck_assert_int_ge(numapool_waitset_eventfd(waitset), 0);
    pid_t child = fork();
    if (child == 0) {
        bool refused = numapool_waitset_wait(waitset, ready, 1, 0) == -EINVAL && numapool_waitset_wake(waitset) == -EINVAL &&
                       numapool_waitset_add(waitset, receivers[0], NULL) == -EINVAL &&
                       numapool_waitset_remove(waitset, receivers[0]) == -EINVAL && numapool_waitset_eventfd(waitset) == -EINVAL &&
                       numapool_waitset_close(waitset) == -EINVAL;
        syscall(SYS_kill, getpid(), refused ? SIGKILL : SIGUSR2); /* an exit would have leak checkers report what the wiped pages pointed to */
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    send_id(senders[0], 1);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, 0), 1);
    receive_id(receivers[0], 1);
}
END_TEST

START_TEST(a_receiver_in_a_set_may_wait_alone)
{
    struct numapool_msg message;
    void *ready[1];
    ck_assert_int_eq(numapool_receive(receivers[1], &message, 1, 1000000), -ETIMEDOUT);
    send_id(senders[0], 1);
    ck_assert_int_eq(numapool_receive(receivers[1], &message, 1, 1000000), -ETIMEDOUT);
    ck_assert_int_eq(numapool_waitset_wait(waitset, ready, 1, NUMAPOOL_FOREVER), 1);
    ck_assert_ptr_eq(ready[0], &tags[0]);
    receive_id(receivers[0], 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("waitset_members");
    TCase *members = tcase_create("members");
    tcase_set_timeout(members, 10);
    tcase_add_checked_fixture(members, open_all, close_all);
    tcase_add_test(members, a_receiver_is_in_one_set_and_leaves_it_before_it_is_closed);
    tcase_add_test(members, a_pool_leaves_its_set_before_it_is_closed);
    tcase_add_loop_test(members, a_member_that_is_removed_keeps_the_turn_of_the_others, 0, 3);
    tcase_add_test(members, as_many_members_as_promised);
    tcase_add_test(members, wrong_arguments_are_refused_with_a_sentence);
    tcase_add_test(members, a_forked_child_has_no_wait_set);
    tcase_add_test(members, a_receiver_in_a_set_may_wait_alone);
    suite_add_tcase(suite, members);
    return run_suite(suite);
}
