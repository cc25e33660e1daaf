/* SPDX-License-Identifier: MIT
 *
 * upgrade: asks until the daemon says what became of it. The worker that heard the order ends over it, so the same request, with the
 * same tag, is asked again of whichever worker there is; the keeper does it once and tells each of them.
 */
#include "upgrade.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "core/bell.h"
#include "core/error.h"
#include "ctl.h"

/* For all but the new worker's start: its --probe (5 s), the old worker's leave, the way back. */
#define PATIENCE_NS INT64_C(15000000000)
#define WAIT_DEFAULT_NS INT64_C(2000000000)
#define ANSWER_NS INT64_C(2000000000)

enum { WAIT_SECONDS_MAX = 600, PAUSE_FIRST_NS = 1000000, PAUSE_MOST_NS = 20000000 };
enum key { KEY_CHECK = 512, KEY_BINARY, KEY_WAIT };

static const struct argp_option upgrade_options[] = {
    { "check", KEY_CHECK, NULL, 0, "upgrade: only say whether its worker could take over", 3 },
    { "binary", KEY_BINARY, "PATH", 0, "upgrade: this file, as the daemon sees it (default: the one that the daemon was started from)", 3 },
    { "wait", KEY_WAIT, "SECONDS", 0, "upgrade: so long the new worker may take to be ready before the old build is back (default 1.2; "
      "calls of clients that need the daemon wait for it 2 s)", 3 },
    { 0 }
};

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct np_ctl_upgrade_order *order = state->input;
    char *end = text;
    switch (key) {
    case KEY_CHECK:
        order->check_only = true;
        break;
    case KEY_BINARY:
        order->binary = text;
        break;
    case KEY_WAIT: {
        double seconds = strtod(text, &end);
        if (end == text || *end != '\0' || !(seconds >= 0.001 && seconds <= WAIT_SECONDS_MAX))
            argp_error(state, "--wait: '%.40s' is no number of seconds up to %d", text, WAIT_SECONDS_MAX);
        order->wait_ms = (uint32_t)(seconds * 1000);
        break;
    }
    default:
        return ARGP_ERR_UNKNOWN;
    }
    order->given = true;
    return 0;
}

const struct argp np_ctl_upgrade_argp = { .options = upgrade_options, .parser = take_option };

/* ---------------------------------------------------------------- asking */

static int prepare(const struct np_ctl_upgrade_order *order, struct np_wire_upgrade *wanted)
{
    char directory[sizeof wanted->binary] = "";
    const char *binary = order->binary ? order->binary : "";
    if (order->binary && order->binary[0] != '/' && !getcwd(directory, sizeof directory))
        return np_error(-errno, "cannot tell the directory in which '%.100s' is (%s): give its whole path", binary, strerror(errno));
    int length = snprintf(wanted->binary, sizeof wanted->binary, "%s%s%s", directory, directory[0] ? "/" : "", binary);
    if (length < 0 || (size_t)length >= sizeof wanted->binary)
        return np_error(-ENAMETOOLONG, "--binary: the path has more than %zu bytes", sizeof wanted->binary - 1);
    if (order->binary && wanted->binary[0] != '/')
        return np_error(-EINVAL, "--binary: the path is empty");
    wanted->flags = order->check_only ? NP_UPGRADE_CHECK_ONLY : 0;
    wanted->wait_ms = order->wait_ms;
    while (wanted->tag == 0)
        if (getrandom(&wanted->tag, sizeof wanted->tag, GRND_NONBLOCK) != (ssize_t)sizeof wanted->tag)
            wanted->tag = (uint64_t)np_monotonic_ns() << 20 ^ (uint64_t)getpid(); /* refused, or too early in the machine's life */
    return 0;
}

/* No worker, or one that does not get to answering: there will be another, as long as there is a keeper. */
static bool is_unanswered(int result)
{
    return result == -EPIPE || result == -ECONNRESET || result == -ENOTCONN || result == -ETIMEDOUT;
}

static int ask(struct np_view *view, const struct np_wire_upgrade *wanted, struct np_wire_answer *answer)
{
    struct np_wire_request request = { .operation = NP_WIRE_UPGRADE, .of.upgrade = *wanted };
    int fds[NP_WIRE_FDS_MAX];
    const int64_t wait_ns = wanted->wait_ms ? (int64_t)wanted->wait_ms * 1000000 : WAIT_DEFAULT_NS;
    const int64_t until_ns = np_monotonic_ns() + PATIENCE_NS + wait_ns;
    struct timespec pause = { .tv_nsec = PAUSE_FIRST_NS };
    for (;;) {
        int result = np_view_call(view, &request, answer, fds, 0, ANSWER_NS);
        if (result == -ETIMEDOUT && view->socket >= 0) {
            close(view->socket); /* its answer may still come, and would be taken for another's */
            view->socket = -1;
        }
        if (result != NP_WIRE_UNDER_WAY && !is_unanswered(result))
            return result;
        if (np_monotonic_ns() >= until_ns)
            return result < 0 ? np_error_within(result, "what became of the upgrade is not known")
                              : np_error(-ETIMEDOUT, "the upgrade is still under way: the daemon's log will say what became of it");
        nanosleep(&pause, NULL);
        pause.tv_nsec = pause.tv_nsec * 2 < PAUSE_MOST_NS ? pause.tv_nsec * 2 : PAUSE_MOST_NS;
    }
}

static void describe(const struct np_wire_answer *answer, json_t *document)
{
    static const char *const states[] = { "none", "under way", "could take over", "took over", "refused", "rolled back" };
    const struct np_wire_upgrade_answer *said = &answer->of.upgrade;
    const struct { const char *key, *text; } versions[] = { { "version_before", said->version_before },
                                                            { "version_after", said->version_after },
                                                            { "keeper_version", said->keeper_version } };
    np_json_set_text(document, "done", said->state < sizeof states / sizeof states[0] ? states[said->state] : "unknown");
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        char text[sizeof said->version_before + 1] = "";
        memcpy(text, versions[i].text, sizeof said->version_before);
        np_json_set_text(document, versions[i].key, text);
    }
    np_json_set(document, "worker_before", json_integer(said->worker_before));
    np_json_set(document, "worker_after", json_integer(said->worker_after));
    np_json_set_count(document, "took_ns", said->took_ns > 0 ? (uint64_t)said->took_ns : 0);
    np_json_set_count(document, "clients", said->clients);
    char sentence[sizeof answer->sentence + 1] = "";
    memcpy(sentence, answer->sentence, sizeof answer->sentence);
    np_json_set_text(document, "why", sentence);
}

int np_ctl_upgrade(const struct np_ctl_upgrade_order *order, const char *socket_path, json_t *document)
{
    struct np_wire_upgrade wanted = { 0 };
    struct np_wire_answer answer;
    struct np_view view;
    int result = prepare(order, &wanted);
    if (result < 0)
        return result;
    result = np_view_open(&view, socket_path);
    if (result == -EPROTO)
        return np_error_within(result, "this numapoolctl cannot speak with that daemon (if it came with the build to upgrade to, that one could "
                               "not take over either)");
    if (result == 0) {
        result = ask(&view, &wanted, &answer);
        np_view_close(&view);
    }
    if (result < 0)
        return result;
    describe(&answer, document);
    return answer.of.upgrade.state == NP_UPGRADE_DONE || answer.of.upgrade.state == NP_UPGRADE_CHECKED ? NP_CTL_FINE : NP_CTL_WRONG;
}

void np_ctl_upgrade_print(const json_t *document)
{
    const char *done = json_string_value(json_object_get(document, "done")), *why = json_string_value(json_object_get(document, "why"));
    const char *before = json_string_value(json_object_get(document, "version_before"));
    const char *after = json_string_value(json_object_get(document, "version_after"));
    if (strcmp(done, "took over") == 0)
        printf("numapoold %s (worker %lld) took over from %s (worker %lld) in %.1f ms; %lld clients\n", after,
               (long long)json_integer_value(json_object_get(document, "worker_after")), before,
               (long long)json_integer_value(json_object_get(document, "worker_before")),
               (double)json_integer_value(json_object_get(document, "took_ns")) / 1e6,
               (long long)json_integer_value(json_object_get(document, "clients")));
    else if (strcmp(done, "could take over") == 0)
        printf("numapoold %s could take over from %s\n", after, before);
    else if (strcmp(done, "rolled back") == 0)
        printf("rolled back, numapoold %s goes on: %s\n", before, why);
    else
        printf("refused, nothing was changed: %s\n", why);
}
