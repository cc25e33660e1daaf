/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "figures.h"

static const char help[] =
    "bench [OPTION...] [NAME...]\n"
    "Measures numapool against floors: the fastest ways known to do the same with none of its promises. Each ratio is taken\n"
    "within short slices in which both run; those in which the two CPUs moved, or did something else, are dropped.\n"
    "    --json FILE      write everything there, as a list\n"
    "    --markdown FILE  write the tables of docs/performance.md there\n"
    "    --plots DIR      write gnuplot scripts, their data and, where gnuplot is installed, pictures (SVG) there\n"
    "    --histograms     print the histogram of each row and its floor beside each other\n"
    "    --baseline FILE  compare with a FILE that --json wrote: which ratios moved beyond both spreads\n"
    "    --seconds S      time of each group of benchmarks, without what is dropped (2)\n"
    "    --slices N       slices that it is cut into (200)\n"
    "    --cpus A,B       CPUs to run on (the first two that are allowed)\n"
    "    --list           names of the benchmarks, and the figures that they should reach\n"
    "    NAME             a benchmark; where none is called so, all whose names begin with it, as do those of NAME*\n";

/* Wrong use, as against a benchmark that went wrong. */
static _Noreturn void refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("; bench --help lists what can be asked for\n", stderr);
    va_end(arguments);
    exit(2);
}

/* ---------------------------------------------------------------- names */

typedef bool visitor(const char *name, const void *context);

/* Whether the visitor says yes to any name. */
static bool any_name(visitor *visit, const void *context)
{
    for (unsigned g = 0; g < bench_group_count; g++)
        for (unsigned i = 0; i < bench_groups[g]->row_count; i++)
            if (visit(bench_groups[g]->rows[i].name, context))
                return true;
    for (unsigned i = 0; i < bench_special_count; i++)
        if (visit(bench_specials[i]->name, context))
            return true;
    return false;
}

static bool is_called(const char *name, const void *asked)
{
    return strcmp(name, asked) == 0;
}

static bool begins(const char *name, const void *asked)
{
    size_t n = strlen(asked);
    if (n > 0 && ((const char *)asked)[n - 1] == '*')
        n--;
    return strncmp(name, asked, n) == 0;
}

bool bench_is_selected(const struct bench_command *command, const char *name)
{
    for (int i = 0; i < command->name_count; i++) {
        const char *asked = command->names[i];
        if (any_name(is_called, asked) ? is_called(name, asked) : begins(name, asked))
            return true;
    }
    return command->name_count == 0;
}

void bench_list(void)
{
    for (unsigned g = 0; g < bench_group_count; g++)
        for (unsigned i = 0; i < bench_groups[g]->row_count; i++) {
            const struct bench_row *row = &bench_groups[g]->rows[i];
            struct bench_figure figures[BENCH_FIGURES_MAX];
            const unsigned n = bench_figures_of_row(bench_groups[g], i, figures);
            printf("%-32s by %s", row->name, bench_groups[g]->variants[row->floor]->name);
            for (unsigned k = 0; k < n; k++) {
                char text[48];
                bench_figure_write(&figures[k], text, sizeof text);
                printf("%s%s", k > 0 ? ", " : "; to reach: ", text);
            }
            putchar('\n');
        }
    for (unsigned i = 0; i < bench_special_count; i++)
        printf("%-32s measures by itself\n", bench_specials[i]->name);
}

/* ---------------------------------------------------------------- values */

/* The first two CPUs that this process may run on; -1 for the second where there is no other. */
static void default_cpus(int cpus[2])
{
    cpu_set_t set;
    int found = 0;
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        bench_fail("which CPUs there are cannot be read: %s", strerror(errno));
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpus[found++] = cpu;
    if (found < 2)
        cpus[1] = -1;
}

static void parse_cpus(const char *text, int cpus[2])
{
    cpu_set_t set;
    char more;
    if (sscanf(text, "%d,%d%c", &cpus[0], &cpus[1], &more) != 2 || cpus[0] == cpus[1])
        refuse("--cpus %s is not two different CPUs, as in --cpus 0,1", text);
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        bench_fail("which CPUs there are cannot be read: %s", strerror(errno));
    for (int i = 0; i < 2; i++)
        if (cpus[i] < 0 || cpus[i] >= CPU_SETSIZE || !CPU_ISSET(cpus[i], &set))
            refuse("--cpus %s: this process may not run on CPU %d", text, cpus[i]);
}

static double parse_number(const char *option, const char *text, double least, double most)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !(number >= least && number <= most))
        refuse("%s %s is not a number from %g to %g", option, text, least, most);
    return number;
}

/* So that hours of measuring do not end in a file that cannot be written. */
static const char *parse_output(const char *option, const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0)
        refuse("%s %s cannot be written: %s", option, path, strerror(errno));
    close(file);
    return path;
}

static const char *parse_directory(const char *path)
{
    struct stat status;
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        refuse("--plots %s cannot be made: %s", path, strerror(errno));
    if (stat(path, &status) < 0 || !S_ISDIR(status.st_mode) || access(path, W_OK) < 0)
        refuse("--plots %s is not a directory that can be written to", path);
    return path;
}

static const char *parse_baseline(const char *path)
{
    if (access(path, R_OK) < 0)
        refuse("--baseline %s cannot be read: %s", path, strerror(errno));
    return path;
}

void bench_command_parse(struct bench_command *command, int argc, char **argv)
{
    static const struct option long_options[] = {
        { "json", required_argument, NULL, 'j' },     { "markdown", required_argument, NULL, 'm' },
        { "plots", required_argument, NULL, 'p' },    { "histograms", no_argument, NULL, 'g' },
        { "baseline", required_argument, NULL, 'b' }, { "seconds", required_argument, NULL, 's' },
        { "slices", required_argument, NULL, 'n' },   { "cpus", required_argument, NULL, 'c' },
        { "list", no_argument, NULL, 'l' },           { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    *command = (struct bench_command){ .options = { .seconds = 2, .slices = 200 } };
    default_cpus(command->options.cpus);
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, ":", long_options, NULL)) != -1;)
        switch (option) {
        case 'j':
            command->json = parse_output("--json", optarg);
            break;
        case 'm':
            command->markdown = parse_output("--markdown", optarg);
            break;
        case 'p':
            command->plots = parse_directory(optarg);
            break;
        case 'g':
            command->histograms = true;
            break;
        case 'b':
            command->baseline = parse_baseline(optarg);
            break;
        case 's':
            command->options.seconds = parse_number("--seconds", optarg, 0.01, 3600);
            break;
        case 'n':
            command->options.slices = (unsigned)parse_number("--slices", optarg, 1, BENCH_SLICES_MAX);
            break;
        case 'c':
            parse_cpus(optarg, command->options.cpus);
            break;
        case 'l':
            command->list = true;
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        case ':':
            refuse("%s needs a value", argv[optind - 1]);
        default:
            refuse("there is no option %s", argv[optind - 1]);
        }
    command->names = argv + optind;
    command->name_count = argc - optind;
    for (int i = 0; i < command->name_count; i++)
        if (!any_name(begins, command->names[i]))
            refuse("no benchmark's name begins with '%s'; bench --list names them", command->names[i]);
}
