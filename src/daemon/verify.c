/* SPDX-License-Identifier: MIT
 *
 * Where the pages of an arena are, for who asks, now. Who asks waits in a queue; those who were in it for the same arena
 * when a look began share its answer.
 */
#include <errno.h>
#include <stdio.h>

#include "core/bell.h"
#include "core/error.h"
#include "daemon/patrol.h"
#include "daemon/worker.h"

static void answer(struct np_worker *worker, struct np_connection *connection, const struct np_look *look, int result)
{
    struct np_wire_answer *answer = &connection->answer;
    connection->awaits_verify = false;
    if (result == 0) {
        answer->of.verify.node = worker->board.pools[look->pool].arena[look->arena].node;
        answer->of.verify.pages = look->where[NP_LOOK_PAYLOAD].pages;
        answer->of.verify.misplaced = look->where[NP_LOOK_PAYLOAD].elsewhere;
        answer->of.verify.split_pages = look->where[NP_LOOK_PAYLOAD].split;
        answer->of.verify.words_pages = look->where[NP_LOOK_WORDS].pages;
        answer->of.verify.words_misplaced = look->where[NP_LOOK_WORDS].elsewhere;
        answer->of.verify.lanes = look->lanes;
        answer->of.verify.lanes_misplaced = look->where[NP_LOOK_LANES].elsewhere;
        answer->of.verify.where_count = np_look_list(look, answer->of.verify.where, NP_WIRE_WHERE_MAX);
    }
    np_connection_answer(connection, result);
}

/* Answers those in the queue for whom `is_for` holds; the others stay, in their order. np_error's sentence may be changed by
 * an answer. */
static void answer_those(struct np_worker *worker, int result,
                         bool (*is_for)(const struct np_connection *connection, const struct np_look *look))
{
    struct np_verify *verify = &worker->verify;
    struct np_connection *rest = verify->first, **end = &verify->first;
    char sentence[NP_WIRE_SENTENCE_BYTES];
    snprintf(sentence, sizeof sentence, "%s", np_error_sentence());
    verify->first = NULL;
    while (rest) {
        struct np_connection *connection = rest;
        rest = connection->next_verify;
        connection->next_verify = NULL;
        if (!is_for(connection, &verify->look)) {
            *end = connection;
            end = &connection->next_verify;
            continue;
        }
        answer(worker, connection, &verify->look, result < 0 ? np_error(result, "%s", sentence) : 0);
    }
}

static bool was_there(const struct np_connection *connection, const struct np_look *look)
{
    (void)look;
    return connection->verify_begun;
}

static bool is_of_pool(const struct np_connection *connection, const struct np_look *look)
{
    return connection->verify_pool == look->pool;
}

/* The first in the queue, and all who want to know the same. */
static void begin_next(struct np_worker *worker)
{
    struct np_verify *verify = &worker->verify;
    const struct np_connection *first = verify->first;
    verify->under_way = first != NULL;
    if (!first)
        return;
    np_look_begin(&verify->look, first->verify_pool, first->verify_arena);
    for (struct np_connection *connection = verify->first; connection; connection = connection->next_verify)
        if (connection->verify_pool == first->verify_pool && connection->verify_arena == first->verify_arena)
            connection->verify_begun = true;
    np_timer_set(&verify->next_slice, np_monotonic_ns());
}

static void next_slice(struct np_timer *timer)
{
    struct np_worker *worker = timer->context;
    struct np_verify *verify = &worker->verify;
    int result = np_look_next(worker, &verify->look);
    if (result == NP_LOOK_GOES_ON) {
        np_timer_set(timer, np_monotonic_ns());
        return;
    }
    if (result == NP_LOOK_FINISHED) {
        np_look_publish(worker, &verify->look);
        np_patrol_verified(worker, &verify->look);
    }
    answer_those(worker, result, was_there);
    begin_next(worker);
}

void np_verify_start(struct np_worker *worker)
{
    worker->verify.next_slice = (struct np_timer){ .due = next_slice, .context = worker };
    np_loop_timer_add(worker->loop, &worker->verify.next_slice);
}

void np_verify_pool_gone(struct np_worker *worker, uint32_t pool)
{
    struct np_verify *verify = &worker->verify;
    struct np_look under_way = verify->look;
    if (!verify->under_way)
        return;
    verify->look.pool = pool;
    int result = np_error(-ENOENT, "pool '%.47s' was destroyed while its pages were looked at", worker->board.pools[pool].name);
    answer_those(worker, result, is_of_pool);
    verify->look = under_way;
    if (under_way.pool != pool)
        return;
    np_timer_set(&verify->next_slice, INT64_MAX);
    begin_next(worker);
}

void np_verify_begin(struct np_connection *connection, uint32_t pool, uint32_t arena)
{
    struct np_verify *verify = &connection->worker->verify;
    struct np_connection **end = &verify->first;
    while (*end)
        end = &(*end)->next_verify;
    *end = connection;
    connection->next_verify = NULL;
    connection->awaits_verify = true;
    connection->verify_begun = false;
    connection->verify_pool = pool;
    connection->verify_arena = arena;
    if (!verify->under_way)
        begin_next(connection->worker);
}
