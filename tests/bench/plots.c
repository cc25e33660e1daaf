/* SPDX-License-Identifier: MIT
 *
 * Pictures of each group by gnuplot: the ratio slice by slice, and which share of the samples took longer than what. Scripts and
 * data are written in any case, so that they can be drawn elsewhere.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "report.h"

#define TITLE_CHARACTERS 120
#define RATIO_ROOM 1.25 /* beyond the highest of the 90 % quantiles */

extern char **environ;

static FILE *create(const char *directory, const char *name, const char *ending)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s%s", directory, name, ending);
    FILE *file = fopen(path, "we");
    if (!file)
        bench_fail("%s cannot be written: %s", path, strerror(errno));
    return file;
}

static void finish(FILE *file, const char *name, const char *ending)
{
    if (ferror(file) | fclose(file))
        bench_fail("%s%s cannot be written whole: %s", name, ending, strerror(errno));
}

/* gnuplot tells blocks of data by two empty lines, and counts them from 0. */
static void write_slices(FILE *file, const struct bench_result *result)
{
    fprintf(file, "# %s, %s: slice, %s, floor, ratio\n", result->name, result->cpus, result->unit);
    for (unsigned i = 0; i < result->slices; i++)
        fprintf(file, "%u %.6g %.6g %.6g\n", i + 1, result->slice_ns[i], result->slice_floor_ns[i], result->slice_ratio[i]);
    fputs("\n\n", file);
}

/* The last sample of all is above nothing, which has no logarithm: it is the end of the line before it. */
static void write_tail(FILE *file, const struct bench_histogram *histogram, const char *name, const char *unit)
{
    uint64_t above = histogram->count;
    fprintf(file, "# %s: %s, share of samples from there on\n", name, unit);
    for (unsigned i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++)
        if (histogram->buckets[i] > 0) {
            /* 0 has no logarithm either: half a step of the histogram */
            fprintf(file, "%.6g %.6g\n", i > 0 ? bench_histogram_bucket_ns(i) : bench_histogram_bucket_ns(1) / 2,
                    (double)above / (double)histogram->count);
            above -= histogram->buckets[i];
        }
    fputs("\n\n", file);
}

static bool has_slices(const struct bench_result *result)
{
    return result->slices > 0 && result->slice_ratio;
}

static bool has_samples(const struct bench_result *result)
{
    return result->samples && result->floor_samples && result->samples->count > 0 && result->floor_samples->count > 0;
}

/* In a gnuplot string between double quotes. */
static void write_quoted(FILE *file, const char *text)
{
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            fprintf(file, "\\%c", *text);
        else
            fputc(*text, file);
}

/* A title of more than one line is broken at a blank. */
static void write_title(FILE *script, const char *title)
{
    char line[TITLE_CHARACTERS + 1];
    while (strlen(title) > TITLE_CHARACTERS) {
        memcpy(line, title, TITLE_CHARACTERS);
        line[TITLE_CHARACTERS] = '\0';
        char *blank = strrchr(line, ' ');
        if (!blank)
            break;
        *blank = '\0';
        write_quoted(script, line);
        fputs("\\n", script);
        title += blank + 1 - line;
    }
    write_quoted(script, title);
}

static void write_head(FILE *script, const char *name, const char *which, const char *title)
{
    fprintf(script, "set output '%s-%s.svg'\nset title \"", name, which);
    write_title(script, title);
    fputs("\"\n", script);
}

/* But for outliers, which would leave no room for the others. */
static double highest_ratio(const struct bench_report *report, unsigned part)
{
    double highest = 1;
    for (unsigned i = report->parts[part].first; i < bench_report_part_end(report, part); i++) {
        highest = fmax(highest, report->entries[i].ratio_high);
        highest = fmax(highest, report->entries[i].ratio_max);
    }
    return highest;
}

static void write_ratio_part(const struct bench_report *report, unsigned part, const char *directory, FILE *script)
{
    const struct bench_report_part *it = &report->parts[part];
    FILE *data = create(directory, it->name, "-ratio.dat");
    unsigned blocks = 0;
    write_head(script, it->name, "ratio", it->about ? it->about : it->name);
    fputs("set xlabel 'slice that counts' offset 0,0.5\nset ylabel 'times its floor'\nunset logscale\nset xrange [0:*]\n", script);
    fprintf(script, "set yrange [0:%.3g]\n", highest_ratio(report, part) * RATIO_ROOM);
    for (unsigned i = it->first; i < bench_report_part_end(report, part); i++) {
        const struct bench_result *result = &report->entries[i];
        if (!has_slices(result))
            continue;
        write_slices(data, result);
        fprintf(script, "%s'%s-ratio.dat' index %u using 1:4 with points pointtype 7 pointsize 0.4 linecolor %u title \"",
                blocks > 0 ? ", \\\n    " : "plot ", it->name, blocks, i - it->first + 1);
        write_quoted(script, result->name);
        fprintf(script, ", %s: %.3g\"", result->cpus, result->ratio);
        if (result->ratio_max > 0)
            fprintf(script, ", \\\n    %.6g with lines linecolor %u dashtype 2 title 'to reach: %.2f'", result->ratio_max,
                    i - it->first + 1, result->ratio_max);
        blocks++;
    }
    fputc('\n', script);
    finish(data, it->name, "-ratio.dat");
}

/* What a latency's line is of: several rows of a group may have the same subject or floor. */
struct line {
    unsigned variant;
    const char *cpus;
};

static bool is_drawn(const struct line *lines, unsigned n, const struct line *line)
{
    for (unsigned i = 0; i < n; i++)
        if (lines[i].variant == line->variant && strcmp(lines[i].cpus, line->cpus) == 0)
            return true;
    return false;
}

static void write_latency_part(const struct bench_report *report, unsigned part, const char *directory, FILE *script)
{
    const struct bench_report_part *it = &report->parts[part];
    const unsigned end = bench_report_part_end(report, part);
    struct line *lines = calloc(2 * (size_t)(end - it->first) + 1, sizeof *lines);
    FILE *data = create(directory, it->name, "-latency.dat");
    unsigned n = 0;
    if (!lines)
        bench_fail("no memory for a picture");
    write_head(script, it->name, "latency", it->about ? it->about : it->name);
    fputs("set xlabel 'ns' offset 0,0.5\nset ylabel 'share of samples that took as long or longer'\nset logscale xy\nset xrange [*:*]\nset yrange [*<0.1:1]\n", script);
    for (unsigned i = 2 * it->first; i < 2 * end; i++) {
        const struct bench_result *result = &report->entries[i / 2];
        const bool is_floor = i % 2;
        const struct line line = { .variant = is_floor ? result->floor_variant : result->subject, .cpus = result->cpus };
        if (!has_samples(result) || is_drawn(lines, n, &line))
            continue;
        write_tail(data, is_floor ? result->floor_samples : result->samples, result->name, result->unit);
        fprintf(script, "%s'%s-latency.dat' index %u using 1:2 with steps linewidth 1.5 linecolor %u dashtype %u title \"",
                n > 0 ? ", \\\n    " : "plot ", it->name, n, n + 1, is_floor ? 2u : 1u);
        write_quoted(script, is_floor ? result->floor_name : result->name);
        if (is_floor)
            fprintf(script, " (%s)", result->name); /* one of that name may be there for each of several sizes */
        fprintf(script, ", %s\"", line.cpus);
        lines[n++] = line;
    }
    fputc('\n', script);
    finish(data, it->name, "-latency.dat");
    free(lines);
}

static bool is_drawable(const struct bench_report *report, unsigned part)
{
    for (unsigned i = report->parts[part].first; i < bench_report_part_end(report, part); i++)
        if (has_slices(&report->entries[i]) && has_samples(&report->entries[i]))
            return true;
    return false;
}

/* Whether gnuplot is there; it ends the program where gnuplot is and does not understand the script. */
static bool draw(const char *directory, const char *name)
{
    char script[NAME_MAX], program[] = "gnuplot";
    pid_t child;
    int status = 0;
    snprintf(script, sizeof script, "%s.gnuplot", name);
    char *const arguments[] = { program, script, NULL };
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, directory);
    int error = posix_spawnp(&child, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        return false;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
        bench_fail("gnuplot was killed over %s/%s", directory, script);
    if (WEXITSTATUS(status) == 127) /* where posix_spawn does not tell (valgrind) */
        return false;
    if (WEXITSTATUS(status) != 0)
        bench_fail("gnuplot did not draw %s/%s; what it said stands above", directory, script);
    return true;
}

void bench_plots_write(const struct bench_report *report, const char *directory)
{
    bool drawn = true;
    unsigned parts = 0;
    for (unsigned part = 0; part < report->part_count; part++) {
        if (!is_drawable(report, part))
            continue;
        const char *name = report->parts[part].name;
        FILE *script = create(directory, name, ".gnuplot");
        fputs("# Draws two pictures beside this script: gnuplot THIS\n"
              "set terminal svg size 960,540 dynamic noenhanced background 'white' font 'sans-serif,12'\n"
              "set key outside below maxcols 3\nset grid\nset format xy '%g'\n", script);
        write_ratio_part(report, part, directory, script);
        write_latency_part(report, part, directory, script);
        finish(script, name, ".gnuplot");
        drawn = drawn && draw(directory, name);
        parts++;
    }
    if (parts == 0)
        printf("nothing of what was measured has slices to draw\n");
    else if (drawn)
        printf("pictures, scripts and data of %u groups are in %s\n", parts, directory);
    else
        printf("gnuplot (package gnuplot-nox) cannot be run here: scripts and data of %u groups are in %s, without pictures\n", parts,
               directory);
}
