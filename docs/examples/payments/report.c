/* SPDX-License-Identifier: MIT
 * What the ledger has to say at the end, for people and for programs. */
#include "report.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "nacha.h"

#define BATCHES_SHOWN  40u
#define FINDINGS_SHOWN 20u

static void print_money(FILE *out, const char *what, uint64_t cents)
{
    fprintf(out, ", %s %" PRIu64 ".%02" PRIu64, what, cents / 100, cents % 100);
}

static void print_batches(const struct book_file *file, FILE *out)
{
    size_t passed_over = 0;
    if (file->batch_count <= 1)
        return;
    fprintf(out, "  %7s  %8s  %11s %18s %18s  %s\n", "batch", "entries", "entry hash", "debit", "credit", "control record");
    for (size_t i = 1; i < file->batch_count; i++) {
        const struct book_batch *batch = &file->batches[i];
        if (i > BATCHES_SHOWN && batch->agrees) {
            passed_over++;
            continue;
        }
        fprintf(out,
                "  %07" PRIu32 "  %8" PRIu64 "   %010" PRIu64 " %15" PRIu64 ".%02" PRIu64 " %15" PRIu64 ".%02" PRIu64
                "  %s\n",
                batch->number, batch->posted, batch->entry_hash, batch->debit_cents / 100, batch->debit_cents % 100,
                batch->credit_cents / 100, batch->credit_cents % 100,
                batch->agrees        ? "agrees"
                : batch->has_control ? "DISAGREES"
                                     : "missing");
    }
    if (passed_over > 0)
        fprintf(out, "  and %zu more batches that agree\n", passed_over);
    if (file->batches[0].posted > 0)
        fprintf(out, "  outside of any batch: %" PRIu64 " entries\n", file->batches[0].posted);
}

static void print_findings(const struct book_file *file, FILE *out)
{
    static const char *const severities[] = { "", "warning", "fault", "malformed" };
    for (size_t i = 0; i < file->findings_kept && i < FINDINGS_SHOWN; i++) {
        const struct book_finding *finding = &file->findings[i];
        fprintf(out, "  %s: ", severities[finding->severity & 3]);
        if (finding->line != 0)
            fprintf(out, "line %" PRIu64 ": ", finding->line);
        fprintf(out, "%s\n", finding->text);
    }
    if (file->findings_total > FINDINGS_SHOWN)
        fprintf(out, "  and %" PRIu64 " more findings (--json lists every malformed line)\n",
                file->findings_total - FINDINGS_SHOWN);
}

static void print_file(const struct book_file *file, const struct report *report, FILE *out)
{
    fprintf(out, "%s\n", file->name);
    print_batches(file, out);
    fprintf(out, "  file: %" PRIu64 " entries, entry hash %010" PRIu64, file->first_posted, file->first_hash);
    print_money(out, "debit", file->first_debit_cents);
    print_money(out, "credit", file->first_credit_cents);
    if (!file->has_control)
        fprintf(out, "; no file control record\n");
    else
        fprintf(out, "; its control records %s\n", file->control_agrees ? "agree" : "DISAGREE");
    if (report->repeats > 1) {
        fprintf(out, "  all %" PRIu32 " repeats: %" PRIu64 " entries, entry hash %010" PRIu64, report->repeats,
                file->posted, file->entry_hash);
        print_money(out, "debit", file->debit_cents);
        print_money(out, "credit", file->credit_cents);
        fprintf(out, "; %" PRIu64 " of them agree\n", file->passes_agreeing);
    }
    fprintf(out, "  posted exactly once: %s (missing %" PRIu64 ", doubled %" PRIu64 ", flagged %" PRIu64 ")\n",
            file->missing == 0 && file->doubled == 0 ? "every entry" : "NOT every entry", file->missing, file->doubled,
            file->objected);
    print_findings(file, out);
}

void report_print(const struct report *report, FILE *out)
{
    const struct book *book = report->book;
    for (size_t i = 0; i < book_files(book); i++)
        print_file(book_file(book, i), report, out);
    fprintf(out, "%" PRIu64 " entries posted, %" PRIu64 " entries/s; %" PRIu64 " were delivered again after a death\n",
            book_posted(book), report->entries_per_second, book_repeated(book) + book_recognised(book));
    if (!book_end_is_stated(book))
        fprintf(out, "the gateway's closing statement never came: what is missing cannot be known\n");
    if (book_damage(book) > 0)
        fprintf(out, "%" PRIu64 " messages arrived damaged and were not posted\n", book_damage(book));
    if (book_statements_missing(book) > 0)
        fprintf(out, "%" PRIu64 " statements about the files never came\n", book_statements_missing(book));
}

/* File names are bytes; JSON takes UTF-8 only. */
static json_t *json_name(const char *name)
{
    json_t *value = json_string(name);
    char readable[4097];
    if (value != NULL)
        return value;
    snprintf(readable, sizeof(readable), "%s", name);
    for (char *c = readable; *c != '\0'; c++)
        if ((*c & 0x80) != 0)
            *c = '?';
    return json_string(readable);
}

static json_t *json_file(const struct book_file *file)
{
    json_t *lines = json_array();
    for (size_t i = 0; i < file->malformed_count; i++)
        json_array_append_new(lines, json_integer((json_int_t)file->malformed_lines[i]));
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:o}", "file", json_name(file->name), "entries",
                     (json_int_t)file->posted, "entry_hash", (json_int_t)file->entry_hash, "debit_cents",
                     (json_int_t)file->debit_cents, "credit_cents", (json_int_t)file->credit_cents, "control_agrees",
                     (int)file->control_agrees, "missing", (json_int_t)file->missing, "duplicated",
                     (json_int_t)file->doubled, "malformed_lines", lines);
}

int report_print_json(const struct report *report, FILE *out)
{
    const struct book *book = report->book;
    json_t *files = json_array();
    for (size_t i = 0; i < book_files(book); i++)
        json_array_append_new(files, json_file(book_file(book, i)));
    json_t *document = json_pack("{s:o, s:I, s:I}", "files", files, "redelivered",
                                 (json_int_t)(book_repeated(book) + book_recognised(book)), "entries_per_second",
                                 (json_int_t)report->entries_per_second);
    if (document == NULL)
        return -1;
    const int result = json_dumpf(document, out, JSON_COMPACT);
    json_decref(document);
    fputc('\n', out);
    return result == 0 && fflush(out) == 0 ? 0 : -1;
}
