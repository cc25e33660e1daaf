/* SPDX-License-Identifier: MIT
 * ledger: posts what the validators send on, each payment once, and compares with what the files state. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "book.h"
#include "nacha.h"
#include "replies.h"
#include "report.h"
#include "session.h"
#include "stream.h"

#define HALTS_MAX            1000u
#define PROGRESS_INTERVAL_NS INT64_C(50000000)

enum { KEY_CONTROL_FD = 256, KEY_HALT_AT, KEY_JSON_FD, KEY_COPY_REPLIES };
#define REPLYING_WAIT_NS INT64_C(1000000) /* with replies under way */
#define LISTENING_WAIT_NS INT64_C(10000000)

struct options {
    bool json;
    const char *reply;     /* [ADDRESS:]PORT, or NULL */
    bool copies;           /* replies, even where the kernel could do without */
    uint64_t patience_s;
    uint64_t control;      /* descriptor, or UINT64_MAX */
    uint64_t json_fd;      /* likewise */
    uint64_t halts[HALTS_MAX];
    size_t halt_count;
};

struct ledger {
    struct session session;
    struct numapool_receiver *receiver;
    struct book *book;
    struct replies *replies;   /* NULL: nobody gets any */
    const struct options *options;
    size_t halts_done;
    int64_t first_ns, last_ns; /* of payments posted */
    int64_t reported_ns;
    int64_t arrived_ns;        /* the last message of any kind */
};

/* ---------------------------------------------------------------- progress */

static void tell(struct ledger *ledger, const char *what)
{
    char line[64];
    if (ledger->options->control == UINT64_MAX)
        return;
    int length = snprintf(line, sizeof(line), "%s %" PRIu64 "\n", what, book_posted(ledger->book));
    if (write((int)ledger->options->control, line, (size_t)length) != length)
        session_stopping = 1; /* whoever controls this program is gone */
}

/* At each halt the ledger posts nothing until it is told to go on. Meanwhile the lanes fill up behind it and the validator
 * is in the middle of its work, which is when it is killed. */
static void report_progress(struct ledger *ledger)
{
    const struct options *options = ledger->options;
    const uint64_t posted = book_posted(ledger->book);
    const int64_t now_ns = session_now_ns();
    while (ledger->halts_done < options->halt_count && posted >= options->halts[ledger->halts_done]) {
        char answer;
        ledger->halts_done++;
        tell(ledger, "halt");
        while (!session_stopping) {
            ssize_t got = read((int)options->control, &answer, 1);
            if (got == 1)
                break;
            if (got == 0 || errno != EINTR)
                session_stopping = 1;
        }
    }
    if (now_ns - ledger->reported_ns >= PROGRESS_INTERVAL_NS) {
        ledger->reported_ns = now_ns;
        tell(ledger, "posted");
    }
}

/* ---------------------------------------------------------------- posting */

static void reply(struct ledger *ledger, uint32_t file, uint64_t number, enum stream_verdict verdict, uint32_t objections)
{
    const struct stream_reply reply = { .number = number, .verdict = verdict, .objections = objections };
    if (ledger->replies != NULL)
        replies_add(ledger->replies, file, &reply);
}

static void refuse(struct ledger *ledger, const struct numapool_msg *message)
{
    book_damaged(ledger->book);
    reply(ledger, stream_id_file(message->id), stream_id_ordinal(message->id), STREAM_REFUSED, 0);
}

static int post(struct ledger *ledger, const struct numapool_msg *message)
{
    const struct numapool_payment *payment = message->data;
    const uint32_t flags = numapool_payment_get_flags(payment);
    const uint32_t problems = numapool_payment_problems(payment);
    const uint32_t unreadable = NUMAPOOL_PAYMENT_BAD_CHECKSUM | NUMAPOOL_PAYMENT_BAD_VERSION;
    size_t length_bytes;
    uint64_t bank;
    const bool is_debit = (flags & NUMAPOOL_PAYMENT_COLLECTION) != 0;
    const char *account = is_debit ? numapool_payment_get_debit_account(payment, &length_bytes)
                                   : numapool_payment_get_credit_account(payment, &length_bytes);
    if ((problems & unreadable) != 0 || payment->amount_minor < 0 || length_bytes < 8 ||
        !nacha_number(account, 1, 8, &bank) || message->id != numapool_payment_get_id(payment)) {
        refuse(ledger, message);
        return 0;
    }
    const struct book_payment entry = {
        .payment_id = message->id, .line = message->key, .trace_number = numapool_payment_get_reference(payment),
        .amount_cents = (uint64_t)numapool_payment_get_amount_minor(payment), .bank = (uint32_t)bank,
        .batch = numapool_payment_get_batch(payment), .code = numapool_payment_get_code(payment), .is_debit = is_debit,
        .redelivered = (message->flags & NUMAPOOL_REDELIVERED) != 0,
        .repeated = (flags & NUMAPOOL_PAYMENT_POSSIBLE_REPEAT) != 0, .objections = flags & STREAM_OBJECTIONS
    };
    int outcome = book_post(ledger->book, &entry);
    if (outcome == BOOK_REFUSED)
        refuse(ledger, message);
    else if (outcome == BOOK_POSTED)
        reply(ledger, stream_id_file(message->id), stream_id_ordinal(message->id), entry.objections != 0 ? STREAM_FLAGGED : STREAM_ACCEPTED,
              entry.objections);
    return outcome < 0 ? outcome : 0;
}

/* Names of connections are short: one piece, which ends with the session. */
static void hear_name(struct ledger *ledger, const struct stream_name *name)
{
    char text[sizeof(name->text) + 1];
    if (name->offset != 0 || name->length >= sizeof(name->text))
        return;
    memcpy(text, name->text, sizeof(name->text));
    text[name->length] = '\0';
    replies_name(ledger->replies, name->file, text);
}

/* A record that the gateway refused. Whoever sent files has no connection here. */
static void hear_finding(struct ledger *ledger, const struct stream_finding *finding)
{
    if (finding->severity == NACHA_MALFORMED)
        reply(ledger, finding->file, finding->line, STREAM_REFUSED, 0);
}

static int take(struct ledger *ledger, const struct numapool_msg *message)
{
    struct book *book = ledger->book;
    int result = -EBADMSG;
    if (message->length != NUMAPOOL_PAYMENT_BYTES || message->type == STREAM_PAYMENT_DAMAGED) {
        refuse(ledger, message);
        return 0;
    }
    if (message->type == STREAM_PAYMENT)
        return post(ledger, message);
    if (stream_is_sound(message->data)) {
        switch (message->type) {
        case STREAM_NAME:
            result = book_name(book, message->id, message->data);
            if (ledger->replies != NULL)
                hear_name(ledger, message->data);
            break;
        case STREAM_BATCH:
            result = book_batch_stated(book, message->id, message->data);
            break;
        case STREAM_FILE:
            result = book_file_stated(book, message->id, message->data);
            break;
        case STREAM_FINDING:
            result = book_found(book, message->id, message->data);
            if (result == 0)
                hear_finding(ledger, message->data);
            break;
        case STREAM_END:
            result = book_ended(book, message->id, message->data);
            break;
        default:
            break;
        }
    }
    if (result != -EBADMSG)
        return result < 0 ? result : 0;
    fprintf(stderr, "ledger: statement %" PRIu64 " of type %u makes no sense\n", message->id, message->type);
    book_damaged(book);
    return 0;
}

/* 0: went well or nothing came; -1. */
static int take_some(struct ledger *ledger)
{
    struct numapool_msg messages[STREAM_BATCH_MESSAGES];
    const int64_t wait_ns = ledger->replies == NULL ? SESSION_WAIT_NS
                            : replies_are_busy(ledger->replies) ? REPLYING_WAIT_NS : LISTENING_WAIT_NS;
    int count = numapool_receive(ledger->receiver, messages, STREAM_BATCH_MESSAGES, wait_ns);
    if (ledger->replies != NULL)
        replies_run(ledger->replies);
    if (count == -EAGAIN || count == -ETIMEDOUT || count == -EINTR)
        return 0;
    if (count == -EBADMSG) {
        session_complain(&ledger->session, "a message was passed over");
        return 0;
    }
    if (count < 0) {
        session_complain(&ledger->session, "receiving");
        return -1;
    }
    const uint64_t posted_before = book_posted(ledger->book);
    const int64_t now_ns = session_now_ns();
    for (int i = 0; i < count; i++) {
        int error = take(ledger, &messages[i]);
        if (error != 0) {
            fprintf(stderr, "ledger: posting: %s\n", strerror(-error));
            return -1;
        }
    }
    if (numapool_release(ledger->receiver, messages, (unsigned)count) != 0) {
        session_complain(&ledger->session, "releasing");
        return -1;
    }
    ledger->arrived_ns = now_ns;
    if (book_posted(ledger->book) > posted_before) {
        if (ledger->first_ns == 0)
            ledger->first_ns = now_ns;
        ledger->last_ns = session_now_ns();
    }
    return 0;
}

static int work(struct ledger *ledger)
{
    const int64_t patience_ns = (int64_t)ledger->options->patience_s * INT64_C(1000000000);
    while (!session_stopping && !book_is_complete(ledger->book)) {
        if (take_some(ledger) != 0)
            return -1;
        report_progress(ledger);
        /* Lanes are not ordered among each other, so the closing statement may come before the last payments; but then
         * something goes on coming. */
        if (book_end_is_stated(ledger->book) && session_now_ns() - ledger->arrived_ns > patience_ns)
            break;
    }
    /* One more look: whatever came twice is there by now. */
    return session_stopping ? 0 : take_some(ledger);
}

/* ---------------------------------------------------------------- the end */

static int settle(struct ledger *ledger)
{
    struct report report = { .book = ledger->book, .repeats = book_repeats(ledger->book) };
    const int64_t elapsed_ns = ledger->last_ns - ledger->first_ns;
    int error = book_settle(ledger->book, &report.verdict);
    if (error != 0) {
        fprintf(stderr, "ledger: settling: %s\n", strerror(-error));
        return SESSION_FAILED;
    }
    if (elapsed_ns > 0)
        report.entries_per_second = (uint64_t)((double)book_posted(ledger->book) * 1e9 / (double)elapsed_ns);
    tell(ledger, "posted");
    if (ledger->options->json)
        error = report_print_json(&report, stdout);
    else
        report_print(&report, stdout);
    if (ledger->options->json_fd != UINT64_MAX) {
        FILE *document = fdopen((int)ledger->options->json_fd, "w");
        if (document == NULL || report_print_json(&report, document) != 0)
            error = -1;
        if (document != NULL && fclose(document) != 0)
            error = -1;
    }
    if (fflush(stdout) != 0 || error != 0) {
        fprintf(stderr, "ledger: the report could not be written\n");
        return SESSION_FAILED;
    }
    return (int)report.verdict;
}

static int open_replies(struct ledger *ledger)
{
    char line[32];
    uint16_t port;
    ledger->replies = replies_open(&ledger->session, ledger->options->reply, ledger->options->copies, &port);
    if (ledger->replies == NULL)
        return -1;
    const int length = snprintf(line, sizeof(line), "reply %u\n", port);
    if (ledger->options->control != UINT64_MAX && write((int)ledger->options->control, line, (size_t)length) != length)
        session_stopping = 1;
    return 0;
}

static int run(const struct options *options)
{
    struct ledger ledger = { .options = options };
    int result = SESSION_FAILED;
    if (session_open(&ledger.session, "ledger") != 0)
        return SESSION_FAILED;
    ledger.book = book_open();
    if (ledger.book == NULL)
        fprintf(stderr, "ledger: no memory for the book\n");
    else if (numapool_receiver_open(ledger.session.pool, STREAM_TO_LEDGER, NULL, &ledger.receiver) != 0)
        session_complain(&ledger.session, "joining channel '" STREAM_TO_LEDGER "'");
    else if (options->reply == NULL || open_replies(&ledger) == 0) {
        tell(&ledger, "ready");
        if (work(&ledger) == 0)
            result = settle(&ledger);
    }
    if (ledger.replies != NULL)
        replies_close(ledger.replies);
    if (ledger.receiver != NULL)
        numapool_receiver_close(ledger.receiver);
    book_close(ledger.book);
    session_close(&ledger.session);
    return result;
}

static void parse_halts(struct argp_state *state, struct options *options, char *list)
{
    char *rest = NULL;
    for (char *one = strtok_r(list, ",", &rest); one != NULL; one = strtok_r(NULL, ",", &rest)) {
        const uint64_t least = options->halt_count > 0 ? options->halts[options->halt_count - 1] : 1;
        if (options->halt_count == HALTS_MAX ||
            session_number(one, least, UINT64_MAX, &options->halts[options->halt_count]) != 0)
            argp_error(state, "--halt-at takes at most %u ascending numbers, not '%s'", HALTS_MAX, one);
        options->halt_count++;
    }
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'j':
        options->json = true;
        return 0;
    case 'r':
        options->reply = argument;
        return 0;
    case KEY_COPY_REPLIES:
        options->copies = true;
        return 0;
    case 'p':
        if (session_number(argument, 1, 86400, &options->patience_s) != 0)
            argp_error(state, "--patience takes seconds from 1 to 86400, not '%s'", argument);
        return 0;
    case KEY_CONTROL_FD:
        if (session_number(argument, 0, INT32_MAX, &options->control) != 0)
            argp_error(state, "--control-fd takes a descriptor, not '%s'", argument);
        return 0;
    case KEY_JSON_FD:
        if (session_number(argument, 0, INT32_MAX, &options->json_fd) != 0)
            argp_error(state, "--json-fd takes a descriptor, not '%s'", argument);
        return 0;
    case KEY_HALT_AT:
        parse_halts(state, options, argument);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "it takes no '%s'", argument);
        return 0;
    case ARGP_KEY_END:
        if (options->halt_count > 0 && options->control == UINT64_MAX)
            argp_error(state, "--halt-at needs --control-fd, or nobody could let it go on");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "json", 'j', NULL, 0, "Print the report as one JSON document", 0 },
        { "json-fd", KEY_JSON_FD, "FD", 0, "Write that document there, and the readable report to standard output", 0 },
        { "reply", 'r', "[ADDRESS:]PORT", 0, "Reply there to each payment that came over TCP (port 0: any, told by --control-fd)", 0 },
        { "copy-replies", KEY_COPY_REPLIES, NULL, 0, "Send them by copying, as on kernels without SEND_ZC (before Linux 6.0)", 0 },
        { "patience", 'p', "SECONDS", 0, "After the closing statement, wait so long for what is missing (30)", 0 },
        { "control-fd", KEY_CONTROL_FD, "FD", 0,
          "Write progress there ('posted N', 'halt N'); after a halt read one byte to go on", 0 },
        { "halt-at", KEY_HALT_AT, "N,N,...", 0, "Halt when so many entries are posted", 0 },
        { 0 }
    };
    static const struct argp argp = {
        table,
        parse,
        NULL,
        "Posts the payments of pool '" STREAM_POOL "', each once, and compares them with what "
        "their files state.\vExit status: 0 exact; 1 lost, doubled or failed; 3 the files are at "
        "fault.",
        NULL,
        NULL,
        NULL
    };
    struct options options = { .patience_s = 30, .control = UINT64_MAX, .json_fd = UINT64_MAX };
    argp_err_exit_status = SESSION_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return SESSION_USAGE;
    return run(&options);
}
