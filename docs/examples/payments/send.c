/* SPDX-License-Identifier: MIT
 * numapool-payments-send: sends the entries of payment files to a gateway over TCP, and reads the ledger's replies: exactly one for
 * each. A load to try the gateway with, and an example of its protocol. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"
#include "tcp.h"

enum { RECORDS_AT_ONCE = 64, OK = 0, FAILED = 1, USAGE = 2 };

struct options {
    const char *gateway, *replies;
    uint64_t repeats;
    uint64_t split;      /* bytes of each write; 0: whole records */
    uint64_t pause_ms;   /* after each write */
    uint64_t spoil;      /* every so manieth payment is damaged; 0: none */
    uint64_t leave;      /* bytes after which the connection is broken off; 0: it is not */
    uint64_t patience_s;
    char **files;
    int file_count;
};

struct sender {
    const struct options *options;
    int gateway, replies; /* replies -1: wants none */
    uint64_t session;
    int64_t created_ns;
    unsigned char buffer[RECORDS_AT_ONCE * STREAM_RECORD_BYTES];
    size_t buffered;
    uint64_t bytes;       /* written */
    uint64_t payments, spoiled;
    struct stream_totals totals;
    unsigned char *answered; /* one bit a payment */
    uint64_t answered_room;
    uint64_t replied, verdicts[STREAM_REFUSED + 1];
    unsigned char half[sizeof(struct stream_reply)];
    size_t half_bytes;
    bool has_left, is_wrong;
};

static int complain(const char *what)
{
    fprintf(stderr, "payments-send: %s: %s\n", what, strerror(errno));
    return -1;
}

/* ---------------------------------------------------------------- replies */

static void take_reply(struct sender *sender, const struct stream_reply *reply)
{
    const uint64_t bit = reply->number - 1;
    if (reply->number == 0 || reply->number > sender->payments || reply->verdict < STREAM_ACCEPTED || reply->verdict > STREAM_REFUSED ||
        (sender->answered[bit / 8] >> bit % 8 & 1) != 0) {
        if (!sender->is_wrong)
            fprintf(stderr, "payments-send: a reply to payment %" PRIu64 " of %" PRIu64 " (verdict %" PRIu32 "), which %s\n", reply->number,
                    sender->payments, reply->verdict,
                    reply->number >= 1 && reply->number <= sender->payments ? "has had one" : "there is not");
        sender->is_wrong = true;
        return;
    }
    sender->answered[bit / 8] |= (unsigned char)(1u << bit % 8);
    sender->replied++;
    sender->verdicts[reply->verdict]++;
}

/* What is there; waits for more at most wait_ms. 1: some came; 0: none; -1: the ledger has ended them. */
static int read_replies(struct sender *sender, int wait_ms)
{
    unsigned char bytes[4096];
    struct pollfd polled = { .fd = sender->replies, .events = POLLIN };
    if (sender->replies < 0)
        return -1;
    if (poll(&polled, 1, wait_ms) <= 0)
        return 0;
    const ssize_t got = recv(sender->replies, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        return -1;
    for (ssize_t i = 0; i < got; i++) {
        sender->half[sender->half_bytes++] = bytes[i];
        if (sender->half_bytes == sizeof(sender->half)) {
            struct stream_reply reply;
            memcpy(&reply, sender->half, sizeof(reply));
            sender->half_bytes = 0;
            take_reply(sender, &reply);
        }
    }
    return 1;
}

/* ---------------------------------------------------------------- sending */

/* The gateway takes no more because the ledger does not get on, which may be because its replies are not read. */
static void wait_for_room(struct sender *sender)
{
    struct pollfd polled[2] = { { .fd = sender->gateway, .events = POLLOUT }, { .fd = sender->replies, .events = POLLIN } };
    if (poll(polled, 2, -1) > 0 && polled[1].revents != 0 && read_replies(sender, 0) < 0) {
        close(sender->replies); /* the ledger has ended them: who waits for them will say so */
        sender->replies = -1;
    }
    errno = EAGAIN;
}

static int write_all(struct sender *sender, const unsigned char *bytes, size_t count)
{
    while (count > 0) {
        size_t wanted = sender->options->split > 0 && sender->options->split < count ? sender->options->split : count;
        if (sender->options->leave > 0 && sender->bytes + wanted > sender->options->leave)
            wanted = sender->options->leave - sender->bytes;
        if (wanted == 0) {
            sender->has_left = true;
            return -1;
        }
        const ssize_t written = send(sender->gateway, bytes, wanted, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (written < 0 && errno == EAGAIN)
            wait_for_room(sender);
        if (written < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (written < 0)
            return complain("the gateway's connection");
        sender->bytes += (uint64_t)written;
        bytes += written;
        count -= (size_t)written;
        if (sender->options->pause_ms > 0)
            poll(NULL, 0, (int)sender->options->pause_ms);
    }
    return 0;
}

static int flush_records(struct sender *sender)
{
    const int result = write_all(sender, sender->buffer, sender->buffered);
    sender->buffered = 0;
    /* Replies are read as they come, or the ledger would have them all in its hands. */
    while (result == 0 && read_replies(sender, 0) == 1)
        continue;
    return result;
}

static void *next_record(struct sender *sender)
{
    if (sender->buffered == sizeof(sender->buffer) && flush_records(sender) != 0)
        return NULL;
    void *record = sender->buffer + sender->buffered;
    sender->buffered += STREAM_RECORD_BYTES;
    return record;
}

static int remember(struct sender *sender)
{
    if (sender->payments < sender->answered_room * 8) {
        sender->payments++;
        return 0;
    }
    const uint64_t room = sender->answered_room > 0 ? sender->answered_room * 2 : 4096;
    unsigned char *more = realloc(sender->answered, room);
    if (more == NULL)
        return complain("remembering payments");
    memset(more + sender->answered_room, 0, room - sender->answered_room);
    sender->answered = more;
    sender->answered_room = room;
    sender->payments++;
    return 0;
}

static int on_entry(void *context, const struct nacha_entry *entry)
{
    struct sender *sender = context;
    uint64_t bank = 0;
    struct nacha_entry alone = *entry;
    void *record = next_record(sender);
    if (record == NULL || remember(sender) != 0)
        return -1;
    alone.batch_ordinal = 0; /* a connection has totals of its own, and no batches */
    entry_write(record, &alone, sender->payments, sender->created_ns);
    if (sender->options->spoil > 0 && sender->payments % sender->options->spoil == 0) {
        ((unsigned char *)record)[100] ^= 1;
        sender->spoiled++;
        return 0;
    }
    nacha_number(entry->bank, 1, 8, &bank);
    sender->totals.entries_and_addenda++;
    sender->totals.entry_hash = (sender->totals.entry_hash + bank) % NACHA_HASH_MODULUS;
    *(entry->is_debit ? &sender->totals.debit_cents : &sender->totals.credit_cents) += entry->amount_cents;
    return 0;
}

static int on_batch(void *context, const struct nacha_batch *batch)
{
    (void)context, (void)batch;
    return 0;
}

static int on_file(void *context, const struct nacha_file *file)
{
    (void)context, (void)file;
    return 0;
}

static int on_finding(void *context, enum nacha_severity severity, uint64_t line, const char *sentence)
{
    (void)context;
    if (severity == NACHA_MALFORMED)
        fprintf(stderr, "payments-send: line %" PRIu64 ": %s\n", line, sentence);
    return 0;
}

static int say_hello(struct sender *sender)
{
    struct stream_hello *hello = next_record(sender);
    const char *last = strrchr(sender->options->files[0], '/');
    memset(hello, 0, sizeof(*hello));
    hello->session = sender->replies >= 0 ? sender->session : 0;
    snprintf(hello->name, sizeof(hello->name), "%s", last != NULL ? last + 1 : sender->options->files[0]);
    hello->kind = STREAM_KIND_HELLO;
    stream_seal(hello);
    return 0;
}

static int send_files(struct sender *sender)
{
    const struct nacha_sink sink = { .context = sender, .entry = on_entry, .batch = on_batch, .file = on_file, .finding = on_finding };
    for (uint64_t repeat = 0; repeat < sender->options->repeats; repeat++)
        for (int i = 0; i < sender->options->file_count; i++)
            if (nacha_read(sender->options->files[i], &sink) != 0)
                return -1;
    struct stream_closing *closing = next_record(sender);
    if (closing == NULL)
        return -1;
    memset(closing, 0, sizeof(*closing));
    closing->payments = sender->payments;
    closing->totals = sender->totals;
    closing->kind = STREAM_KIND_CLOSING;
    stream_seal(closing);
    return flush_records(sender);
}

/* ---------------------------------------------------------------- the whole */

/* The ledger says the session back when it has heard it: from then on replies find us. */
static int connect_for_replies(struct sender *sender)
{
    uint64_t echo = 0;
    do
        if (getrandom(&sender->session, sizeof(sender->session), 0) != (ssize_t)sizeof(sender->session))
            return complain("drawing a session");
    while (sender->session == 0);
    sender->replies = tcp_connect("payments-send", sender->options->replies);
    if (sender->replies < 0)
        return -1;
    if (send(sender->replies, &sender->session, sizeof(echo), MSG_NOSIGNAL) != (ssize_t)sizeof(echo) ||
        recv(sender->replies, &echo, sizeof(echo), MSG_WAITALL) != (ssize_t)sizeof(echo) || echo != sender->session) {
        fprintf(stderr, "payments-send: no ledger answers at '%s'\n", sender->options->replies);
        return -1;
    }
    return 0;
}

static int wait_for_replies(struct sender *sender)
{
    struct timespec began, now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    now = began;
    while (sender->replied < sender->payments && now.tv_sec - began.tv_sec <= (time_t)sender->options->patience_s) {
        const int came = read_replies(sender, 100);
        if (came < 0)
            break;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (came > 0)
            began = now;
    }
    return sender->replied == sender->payments && !sender->is_wrong ? 0 : -1;
}

static int run(const struct options *options)
{
    static struct sender sender;
    struct timespec now;
    sender = (struct sender){ .options = options, .gateway = -1, .replies = -1 };
    clock_gettime(CLOCK_REALTIME, &now);
    sender.created_ns = (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    if (options->replies != NULL && connect_for_replies(&sender) != 0)
        return FAILED;
    sender.gateway = tcp_connect("payments-send", options->gateway);
    if (sender.gateway < 0 || say_hello(&sender) != 0)
        return FAILED;
    int result = send_files(&sender);
    close(sender.gateway);
    if (sender.has_left) {
        printf("left after %" PRIu64 " bytes, as asked\n", sender.bytes);
        return OK;
    }
    if (result == 0 && options->replies != NULL)
        result = wait_for_replies(&sender);
    printf("%" PRIu64 " payments sent", sender.payments);
    if (options->replies != NULL)
        printf(", %" PRIu64 " replies: %" PRIu64 " accepted, %" PRIu64 " flagged, %" PRIu64 " refused", sender.replied,
               sender.verdicts[STREAM_ACCEPTED], sender.verdicts[STREAM_FLAGGED], sender.verdicts[STREAM_REFUSED]);
    printf("\n");
    if (result == 0 && options->replies != NULL && sender.verdicts[STREAM_REFUSED] < sender.spoiled)
        result = -1;
    if (result != 0)
        fprintf(stderr, "payments-send: not every payment has had its one reply\n");
    free(sender.answered);
    return result == 0 && fflush(stdout) == 0 ? OK : FAILED;
}

static uint64_t number(struct argp_state *state, const char *text)
{
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0)
        argp_error(state, "'%s' is not a number", text);
    return value;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'r':
        options->replies = argument;
        return 0;
    case 'n':
        options->repeats = number(state, argument);
        return 0;
    case 's':
        options->split = number(state, argument);
        return 0;
    case 'w':
        options->pause_ms = number(state, argument) % 60000;
        return 0;
    case 'd':
        options->spoil = number(state, argument);
        return 0;
    case 'l':
        options->leave = number(state, argument);
        return 0;
    case 'p':
        options->patience_s = number(state, argument);
        return 0;
    case ARGP_KEY_ARGS:
        if (state->argc - state->next < 2)
            argp_usage(state);
        options->gateway = state->argv[state->next];
        options->files = state->argv + state->next + 1;
        options->file_count = state->argc - state->next - 1;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "replies", 'r', "[ADDRESS:]PORT", 0, "Where the ledger replies; without it none are waited for", 0 },
        { "repeat", 'n', "N", 0, "Send every file N times (1)", 0 },
        { "patience", 'p', "SECONDS", 0, "Give up when no reply comes for so long (30)", 0 },
        { "split", 's', "BYTES", 0, "Write so many bytes at a time, to cut records", 0 },
        { "pause", 'w', "MS", 0, "Wait so many milliseconds after each write", 0 },
        { "spoil", 'd', "N", 0, "Damage every Nth payment, to have it refused", 0 },
        { "leave", 'l', "BYTES", 0, "Break off after so many bytes", 0 },
        { 0 }
    };
    static const struct argp argp = { table, parse, "[ADDRESS:]PORT FILE...",
                                      "Sends the entries of NACHA (ACH) payment files to a payments gateway that listens there.\v"
                                      "Exit status: 0 every payment had exactly one reply; 1 not; 2 usage.",
                                      NULL, NULL, NULL };
    struct options options = { .repeats = 1, .patience_s = 30 };
    argp_err_exit_status = USAGE;
    signal(SIGPIPE, SIG_IGN);
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return USAGE;
    return run(&options);
}
