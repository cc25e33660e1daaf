/* SPDX-License-Identifier: MIT
 * Two who put or send the same slot at once, the second at the very access by which the first takes it: by the hooks of src/core/shm.h. */
#include "check_help.h"

static struct {
    np_shm64 *word;
    int (*meanwhile)(void);
    int result;
    bool armed;
    struct numapool_magazine *magazine;
    struct numapool_sender *sender;
    void *slot;
} race;

/* Before the first write to the slot's word. */
static void hook(enum np_shm_kind kind, const volatile void *address, unsigned bytes, uint64_t value)
{
    (void)bytes, (void)value;
    if (!race.armed || address != race.word || kind == NP_SHM_LOAD)
        return;
    race.armed = false;
    race.result = race.meanwhile();
}

static int put(void)
{
    return numapool_put_call(race.magazine, race.slot);
}

static int send(void)
{
    struct numapool_msg message = NUMAPOOL_MSG_INIT;
    message.data = race.slot;
    return numapool_send(race.sender, &message, 0);
}

static int (*const deeds[2])(void) = { put, send };

START_TEST(of_two_at_once_the_first_succeeds_and_the_second_is_told)
{
    listen();
    struct numapool_pool *pool = make_pool(64, NUMAPOOL_CHECKS);
    struct numapool_magazine *magazine = open_magazine(pool, 0);
    struct numapool_receiver *receiver;
    struct numapool_sender *sender;
    struct numapool_msg message;
    ck_assert_int_eq(numapool_receiver_open(pool, "c", NULL, &receiver), 0);
    ck_assert_int_eq(numapool_sender_open(pool, "c", NULL, &sender), 0);
    race.magazine = magazine;
    race.sender = sender;
    race.slot = numapool_get(magazine);
    race.word = &pool->arenas[0].arena.words[0];
    race.meanwhile = deeds[_i % 2];
    race.armed = true;
    np_shm_hook = hook;
    ck_assert_int_eq(deeds[_i / 2](), -EINVAL);
    np_shm_hook = NULL;
    ck_assert(!race.armed);
    ck_assert_int_eq(race.result, 0);
    assert_told(NUMAPOOL_FAULT_DOUBLE_PUT, 0, race.slot, _i % 2 ? "numapool_send" : "numapool_put_call");
    if (numapool_receive(receiver, &message, 1, 0) == 1)
        ck_assert_int_eq(numapool_release(receiver, &message, 1), 0);
    ck_assert_int_eq(numapool_sender_close(sender, 0), 0);
    ck_assert_int_eq(numapool_receiver_close(receiver), 0);
    ck_assert_int_eq(numapool_magazine_close(magazine), 0);
    close_pool(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("races of checks");
    TCase *tcase = tcase_create("races");
    tcase_add_loop_test(tcase, of_two_at_once_the_first_succeeds_and_the_second_is_told, 0, 4);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
