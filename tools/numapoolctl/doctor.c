/* SPDX-License-Identifier: MIT
 * The table of doctor's findings, and how they are shown. */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "numa/system_files.h"

static const struct {
    const char *name;
    np_doctor_look_at *look;
} table[] = {
    { "kernel", np_doctor_kernel },
    { "proc", np_doctor_proc },
    { "container", np_doctor_container },
    { "capabilities", np_doctor_capabilities },
    { "memory_files", np_doctor_memory_files },
    { "populate", np_doctor_populate },
    { "pagemap_scan", np_doctor_pagemap_scan },
    { "pidfd", np_doctor_pidfd },
    { "futex", np_doctor_futex },
    { "membarrier", np_doctor_membarrier },
    { "io_uring", np_doctor_io_uring },
    { "clock", np_doctor_clock },
    { "nodes", np_doctor_nodes },
    { "emulated_topology", np_doctor_emulated },
    { "distances", np_doctor_distances },
    { "cpus", np_doctor_cpus },
    { "cpuset", np_doctor_cpuset },
    { "memory_policy", np_doctor_memory_policy },
    { "numa_balancing", np_doctor_numa_balancing },
    { "demotion", np_doctor_demotion },
    { "zone_reclaim", np_doctor_zone_reclaim },
    { "node_memory", np_doctor_node_memory },
    { "cgroup_memory", np_doctor_cgroup_memory },
    { "overcommit", np_doctor_overcommit },
    { "swap", np_doctor_swap },
    { "hugepages_2m", np_doctor_huge_2m },
    { "hugepages_1g", np_doctor_huge_1g },
    { "cgroup_hugetlb", np_doctor_cgroup_hugetlb },
    { "transparent_huge_pages", np_doctor_transparent },
    { "memlock", np_doctor_memlock },
    { "open_files", np_doctor_open_files },
    { "address_space", np_doctor_address_space },
    { "mappings", np_doctor_mappings },
    { "pmem", np_doctor_pmem },
    { "socket_directory", np_doctor_socket_directory },
    { "daemon", np_doctor_daemon },
    { "test_guest", np_doctor_test_guest },
};

enum { FINDINGS = sizeof table / sizeof table[0] };
_Static_assert((int)FINDINGS <= (int)NP_DOCTOR_FINDINGS_MAX, "room for every finding");

static const char *const state_names[NP_DOCTOR_STATES] = { "ok", "note", "warning", "error" };

unsigned np_doctor_look(const char *root, const char *socket_path, struct np_doctor_finding findings[NP_DOCTOR_FINDINGS_MAX])
{
    struct np_doctor doctor = { .root = root, .socket_path = socket_path };
    struct np_topology_node only = { .memory_bytes = 1, .memory_allowed = true };
    bool read = np_topology_read(&doctor.topology, root) == 0;
    if (!read) /* no memory for it: one node is what can be said */
        doctor.topology = (struct np_topology){ .count = 1, .nodes = &only, .distances = (uint8_t[]){ NP_DISTANCE_SELF } };
    for (unsigned i = 0; i < FINDINGS; i++) {
        findings[i] = (struct np_doctor_finding){ .name = table[i].name, .state = NP_DOCTOR_OK };
        table[i].look(&doctor, &findings[i]);
    }
    if (read)
        np_topology_free(&doctor.topology);
    return FINDINGS;
}

/* ---------------------------------------------------------------- showing */

int np_ctl_doctor(const char *socket_path, json_t *document)
{
    /* For the tests, which make true what this machine is not; numapoolctl(1) says no more of it. */
    const char *root = getenv("NUMAPOOL_DOCTOR_ROOT");
    static struct np_doctor_finding findings[NP_DOCTOR_FINDINGS_MAX];
    unsigned count = np_doctor_look(root ? root : NP_SYSTEM_ROOT, socket_path, findings);
    enum np_doctor_state worst = NP_DOCTOR_OK;
    json_t *rows = np_json_array();
    for (unsigned i = 0; i < count; i++) {
        json_t *row = np_json_object();
        np_json_set_text(row, "name", findings[i].name);
        np_json_set_text(row, "state", state_names[findings[i].state]);
        np_json_set_text(row, "found", findings[i].found);
        np_json_set_text(row, "means", findings[i].means);
        if (findings[i].remedy[0])
            np_json_set_text(row, "remedy", findings[i].remedy);
        else
            np_json_set(row, "remedy", json_null());
        np_json_append(rows, row);
        worst = findings[i].state > worst ? findings[i].state : worst;
    }
    np_json_set(document, "findings", rows);
    np_json_set_text(document, "worst", state_names[worst]);
    if (root)
        np_json_set_text(document, "root", root);
    return worst > NP_DOCTOR_NOTE ? NP_CTL_WRONG : NP_CTL_FINE;
}

void np_ctl_doctor_print(const json_t *document)
{
    size_t i;
    const json_t *row;
    unsigned counts[NP_DOCTOR_STATES] = { 0 };
    json_array_foreach (json_object_get(document, "findings"), i, row) {
        const char *state = json_string_value(json_object_get(row, "state"));
        const char *remedy = json_string_value(json_object_get(row, "remedy"));
        printf("%-8s%s: %s; %s\n", state, json_string_value(json_object_get(row, "name")),
               json_string_value(json_object_get(row, "found")), json_string_value(json_object_get(row, "means")));
        if (remedy)
            printf("        # %s\n", remedy);
        for (unsigned s = 0; s < NP_DOCTOR_STATES; s++)
            counts[s] += strcmp(state, state_names[s]) == 0;
    }
    printf("%u ok, %u notes, %u warnings, %u errors\n", counts[NP_DOCTOR_OK], counts[NP_DOCTOR_NOTE],
           counts[NP_DOCTOR_WARNING], counts[NP_DOCTOR_ERROR]);
}

/* ---------------------------------------------------------------- saying */

/* What files say goes to a terminal and into JSON. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static void append(char text[NP_DOCTOR_TEXT_BYTES], const char *format, va_list arguments)
{
    size_t used = strlen(text);
    (void)vsnprintf(text + used, NP_DOCTOR_TEXT_BYTES - used, format, arguments);
    make_printable(text + used);
}

void np_found(struct np_doctor_finding *finding, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    append(finding->found, format, arguments);
    va_end(arguments);
}

void np_means(struct np_doctor_finding *finding, enum np_doctor_state at_least, const char *format, ...)
{
    va_list arguments;
    finding->state = at_least > finding->state ? at_least : finding->state;
    if (finding->means[0])
        strncat(finding->means, "; ", sizeof finding->means - strlen(finding->means) - 1);
    va_start(arguments, format);
    append(finding->means, format, arguments);
    va_end(arguments);
}

static bool is_printable(const char *text)
{
    while (*text >= ' ' && *text <= '~')
        text++;
    return *text == '\0';
}

/* A command that is cut off, or has other letters in it, is another command: it is left out. */
void np_mend(struct np_doctor_finding *finding, const char *format, ...)
{
    char command[NP_DOCTOR_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    size_t used = strlen(finding->remedy);
    const char *joint = used > 0 ? " && " : "";
    if (wanted < 0 || (size_t)wanted >= sizeof command || !is_printable(command) ||
        used + strlen(joint) + (size_t)wanted >= sizeof finding->remedy)
        return;
    snprintf(finding->remedy + used, sizeof finding->remedy - used, "%s%s", joint, command);
}

const char *np_doctor_quote(char *quoted, size_t capacity, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+:,=@";
    size_t used = 0;
    if (text[0] != '\0' && text[strspn(text, plain)] == '\0') {
        snprintf(quoted, capacity, "%s", text);
        return quoted;
    }
    quoted[used++] = '\'';
    for (; *text && used + 6 < capacity; text++) {
        if (*text == '\'')
            used += (size_t)snprintf(quoted + used, capacity - used, "'\\''");
        else
            quoted[used++] = *text;
    }
    quoted[used++] = '\'';
    quoted[used] = '\0';
    return quoted;
}
