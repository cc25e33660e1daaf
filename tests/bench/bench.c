/* SPDX-License-Identifier: MIT
 *
 * Measures the library against floors: bench --help.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "options.h"
#include "report.h"

static struct bench_command command;

static bool is_wanted(const char *name)
{
    return bench_is_selected(&command, name);
}

static void interrupted(int signal_number)
{
    if (bench_on_abort)
        bench_on_abort();
    _exit(128 + signal_number);
}

static void measure(struct bench_report *report)
{
    for (unsigned g = 0; g < bench_group_count; g++)
        bench_run_group(bench_groups[g], &command.options, report, is_wanted);
    for (unsigned i = 0; i < bench_special_count; i++)
        if (is_wanted(bench_specials[i]->name)) {
            bench_report_group(report, bench_specials[i]->name, NULL);
            bench_specials[i]->measure(report, &command.options);
        }
    bench_report_end(report);
}

int main(int argc, char **argv)
{
    bench_command_parse(&command, argc, argv);
    if (command.list) {
        bench_list();
        return 0;
    }
    signal(SIGINT, interrupted);
    signal(SIGTERM, interrupted);
#ifndef __OPTIMIZE__
    fputs("bench: compiled without optimisation, so the figures say nothing\n", stderr);
#endif
    json_t *baseline = command.baseline ? bench_baseline_read(command.baseline) : NULL;
    struct bench_report *report = bench_report_open(&command.options);
    measure(report);
    if (command.histograms)
        bench_histograms_print(report);
    if (command.baseline)
        bench_baseline_compare(report, baseline, command.baseline);
    json_decref(baseline);
    if (command.json)
        bench_json_write(report, command.json);
    if (command.markdown)
        bench_markdown_write(report, command.markdown);
    if (command.plots)
        bench_plots_write(report, command.plots);
    putchar('\n');
    bench_report_summary(report);
    bench_report_close(report);
    return 0;
}
