/* SPDX-License-Identifier: MIT
 * numapoolctl: looks at a daemon's pools, clients and channels, checks them, makes, enlarges and destroys pools, upgrades the daemon,
 * and looks at the machine. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "ctl.h"
#include "doctor.h"
#include "numa/shield.h"
#include "numa.h"
#include "numapool.h"
#include "pool.h"
#include "upgrade.h"

struct command {
    const char *name;
    int (*look)(struct np_view *view, const char *pool, json_t *document);
    void (*print)(const json_t *document);
};

static const struct command commands[] = {
    { "pools", np_ctl_pools, np_ctl_pools_print },
    { "stats", np_ctl_stats, np_ctl_stats_print },
    { "numa", np_ctl_numa, np_ctl_numa_print },
    { "clients", np_ctl_clients, np_ctl_clients_print },
    { "channels", np_ctl_channels, np_ctl_channels_print },
    { "check", np_ctl_check, np_ctl_check_print },
    { "verify", np_ctl_verify, np_ctl_verify_print },
};

struct arguments {
    const char *socket_path, *pool;
    const struct command *command;
    bool json;
    bool changes; /* pool create, grow, destroy */
    struct np_ctl_pool_order order;
    bool upgrades;
    struct np_ctl_upgrade_order upgrade;
    struct np_ctl_numa_order numa;
    bool doctors; /* looks at the machine, and needs no daemon */
};

static const struct argp_option options[] = {
    { "socket", 's', "PATH", 0,
      "The daemon's socket (default: $NUMAPOOL_SOCKET, else $XDG_RUNTIME_DIR/numapool.sock, else /run/numapool/numapool.sock)", 0 },
    { "json", 'j', NULL, 0, "One JSON document instead of tables", 0 },
    { 0 }
};

static const char documentation[] =
    "Looks at the pools of numapoold, and makes, enlarges and destroys them. Reading disturbs no client.\v"
    "Commands:\n"
    "  pools     the pools there are\n"
    "  stats     slots, water marks and counters, per node\n"
    "  numa      who takes slots from which node, and what to do about it;\n"
    "            --interval=SECONDS [--count=N]: what was counted in each interval\n"
    "  clients   the clients, and what each holds\n"
    "  channels  the channels, and their lanes\n"
    "  check     has every slot exactly one owner?\n"
    "  verify    is every page on its node?\n"
    "  pool create NAME --size=BYTES --count=SLOTS     makes a pool; returns when its memory is there and verified\n"
    "  pool grow NAME --count=SLOTS [--node=NODE]      gives it more slots\n"
    "  pool destroy NAME [--when-unused] [--discard]   destroys it\n"
    "  upgrade [--check] [--binary=PATH] [--wait=SECONDS]   has the worker of another build of numapoold take over\n"
    "  doctor    what this machine gives: one line each, with the command that mends it\n"
    "\n"
    "Exit status: 0 all is well; 1 check or verify found something wrong, doctor found worse than notes, or the other build was "
    "refused or rolled back; 2 there is no daemon, no such pool, it could "
    "not be asked, or it refused; 64 the command line is wrong.";

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->order;
        state->child_inputs[1] = &arguments->upgrade;
        state->child_inputs[2] = &arguments->numa;
        return 0;
    case 's':
        arguments->socket_path = argument;
        return 0;
    case 'j':
        arguments->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->changes) {
            np_ctl_pool_argument(state, &arguments->order, state->arg_num - 1, argument);
        } else if (state->arg_num == 0 && strcmp(argument, "pool") == 0) {
            arguments->changes = true;
        } else if (state->arg_num == 0 && strcmp(argument, "upgrade") == 0) {
            arguments->upgrades = true;
        } else if (state->arg_num == 0 && strcmp(argument, "doctor") == 0) {
            arguments->doctors = true;
        } else if (arguments->upgrades || arguments->doctors) {
            argp_error(state, "'%s' is one argument too many", argument);
        } else if (state->arg_num == 0) {
            for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
                if (strcmp(commands[i].name, argument) == 0)
                    arguments->command = &commands[i];
            if (!arguments->command)
                argp_error(state, "there is no command '%s'", argument);
        } else if (state->arg_num == 1) {
            arguments->pool = argument;
        } else {
            argp_error(state, "'%s' is one argument too many", argument);
        }
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "say which command");
        return 0;
    case ARGP_KEY_END:
        if (arguments->numa.given && (!arguments->command || arguments->command->look != np_ctl_numa))
            argp_error(state, "only numa takes --interval");
        if (arguments->numa.given)
            arguments->numa.count = np_ctl_pool_take_count(&arguments->order);
        if (arguments->changes)
            np_ctl_pool_check(state, &arguments->order);
        else if (arguments->order.given)
            argp_error(state, "only pool create, grow and destroy take such options");
        if (!arguments->upgrades && arguments->upgrade.given)
            argp_error(state, "only upgrade takes such options");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_version(FILE *stream, struct argp_state *state)
{
    (void)state;
    fprintf(stream, "numapoolctl (numapool) %s\n", numapool_version());
}

static int look(const struct arguments *arguments, const char *path, json_t *document)
{
    struct np_view view;
    int result = np_view_open(&view, path);
    if (result < 0)
        return result;
    result = arguments->numa.given ? np_ctl_numa_watch(&view, &arguments->numa, arguments->pool, arguments->json)
                                   : arguments->command->look(&view, arguments->pool, document);
    np_view_close(&view);
    return result;
}

static int run(const struct arguments *arguments, const char *path)
{
    json_t *document = np_json_object();
    int result = arguments->doctors    ? np_ctl_doctor(path, document)
                 : arguments->upgrades ? np_ctl_upgrade(&arguments->upgrade, path, document)
                 : arguments->changes  ? np_ctl_pool(&arguments->order, path, document)
                                       : look(arguments, path, document);
    if (result >= 0 && arguments->numa.given) {
        /* it has told all by itself */
    } else if (result >= 0 && arguments->json) {
        if (json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) != 0)
            result = np_error(-EIO, "cannot write the answer");
        putchar('\n');
    } else if (result >= 0) {
        (arguments->doctors    ? np_ctl_doctor_print
         : arguments->upgrades ? np_ctl_upgrade_print
         : arguments->changes  ? np_ctl_pool_print
                               : arguments->command->print)(document);
    }
    json_decref(document);
    return result;
}

int main(int argc, char **argv)
{
    static const struct argp_child children[] = { { &np_ctl_pool_argp, 0, "Pools that are made, enlarged or destroyed:", 2 },
                                                  { &np_ctl_upgrade_argp, 0, "Another build of numapoold:", 3 },
                                                  { &np_ctl_numa_argp, 0, "Again and again:", 4 },
                                                  { 0 } };
    static const struct argp parser = { options, parse, "COMMAND [POOL]\npool create|grow|destroy NAME\nupgrade\ndoctor", documentation, children, NULL, NULL };
    struct arguments arguments = { .order = NP_CTL_POOL_ORDER_INIT };
    char path[512];
    argp_program_version_hook = print_version;
    argp_parse(&parser, argc, argv, 0, NULL, &arguments); /* ends the program itself on errors, with EX_USAGE */
    int result = 0;
    if (!arguments.socket_path) {
        result = np_wire_default_path(path, sizeof path);
        arguments.socket_path = path;
    }
    if (result == 0)
        result = np_shield_start(); /* what clients can write they can take away */
    if (result == 0)
        result = run(&arguments, arguments.socket_path);
    struct np_shield_loss loss;
    while (np_shield_next_loss(&loss))
        fprintf(stderr, "numapoolctl: warning: memory of %s is gone, and was read as zeros\n", loss.what);
    if (fflush(stdout) != 0 && result >= 0)
        result = np_error(-EIO, "cannot write the answer: %s", strerror(errno));
    if (result >= 0)
        return result;
    fprintf(stderr, "numapoolctl: %s\n", np_error_sentence());
    return NP_CTL_TROUBLE;
}
