/* SPDX-License-Identifier: MIT
 * Where this process is: its capabilities, its container, /proc, and the place of the daemon's socket. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "doctor.h"
#include "numa/system_files.h"
#include "numa/topology.h"

void np_doctor_capabilities(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static const struct {
        unsigned number;
        const char *name, *without;
        enum np_doctor_state state, state_of_one_node;
    } wanted[] = {
        { CAP_SYS_NICE, "cap_sys_nice",
          "pages that something has moved to another node are reported and not moved back by the keeper", NP_DOCTOR_NOTE,
          NP_DOCTOR_OK },
        { CAP_SYS_PTRACE, "cap_sys_ptrace",
          "a client of another user that becomes another program (execve) is given back when its process ends, not before",
          NP_DOCTOR_OK, NP_DOCTOR_OK },
        { CAP_IPC_LOCK, "cap_ipc_lock", "RLIMIT_MEMLOCK holds for io_uring buffers", NP_DOCTOR_OK, NP_DOCTOR_OK },
    };
    enum { COUNT = sizeof wanted / sizeof wanted[0] };
    char text[64];
    if (!np_doctor_status(doctor, "CapEff", text, sizeof text)) {
        np_found(finding, "cannot be told: /proc/self/status does not say");
        np_means(finding, NP_DOCTOR_NOTE, "a daemon needs none to serve its own user");
        return;
    }
    bool several = np_topology_machine_nodes(doctor->root) > 1;
    for (unsigned i = 0; i < COUNT; i++)
        np_found(finding, "%s%s %s", i ? ", " : "", wanted[i].name,
                 np_doctor_capable(doctor, wanted[i].number) ? "yes" : "no");
    for (unsigned i = 0; i < COUNT; i++)
        if (!np_doctor_capable(doctor, wanted[i].number))
            np_means(finding, several ? wanted[i].state : wanted[i].state_of_one_node, "%s", wanted[i].without);
    if (finding->means[0] == '\0')
        np_means(finding, NP_DOCTOR_OK, "a daemon of this user may do all that it can do");
    if (finding->state != NP_DOCTOR_OK) {
        np_means(finding, NP_DOCTOR_OK, "in a service: AmbientCapabilities=CAP_SYS_NICE");
        np_mend(finding, "setcap cap_sys_nice+ep \"$(command -v numapoold)\"");
    }
}

/* ---------------------------------------------------------------- containers */

static bool says(const struct np_doctor *doctor, const char *path, const char *word)
{
    char text[NP_SYSTEM_TEXT_BYTES];
    int length = np_system_file_read(doctor->root, path, text, sizeof text);
    return length > 0 && memmem(text, (size_t)length, word, strlen(word)) != NULL;
}

static bool is_there(const struct np_doctor *doctor, const char *path)
{
    char whole[PATH_MAX];
    return snprintf(whole, sizeof whole, "%s%s", doctor->root, path) < (int)sizeof whole && access(whole, F_OK) == 0;
}

static const char *container_of(const struct np_doctor *doctor, char *text, size_t capacity)
{
    static const struct {
        const char *path, *word, *name;
    } signs[] = {
        { "/.dockerenv", NULL, "docker" },
        { "/run/.containerenv", NULL, "podman" },
        { "/proc/1/cgroup", "docker", "docker" },
        { "/proc/1/cgroup", "kubepods", "kubernetes" },
        { "/proc/1/cgroup", "lxc", "lxc" },
        { "/proc/1/environ", "container=lxc", "lxc" },
        { "/proc/1/environ", "container=systemd-nspawn", "systemd-nspawn" },
        { "/proc/1/environ", "container=podman", "podman" },
        { "/proc/1/environ", "container=", "container" },
    };
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (signs[i].word ? says(doctor, signs[i].path, signs[i].word) : is_there(doctor, signs[i].path)) {
            snprintf(text, capacity, "%s (%s)", signs[i].name, signs[i].path);
            return text;
        }
    if (np_doctor_line(doctor, "/run/systemd/container", text, capacity) && text[0])
        return text;
    return NULL;
}

void np_doctor_container(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    char text[128], mode[16] = "", filters[16] = "", bound[16] = "";
    const char *name = container_of(doctor, text, sizeof text);
    bool told = np_doctor_status(doctor, "Seccomp", mode, sizeof mode);
    bool filtered = told && strcmp(mode, "0") != 0;
    np_doctor_status(doctor, "Seccomp_filters", filters, sizeof filters);
    np_found(finding, "%s; ", name ? name : "no container");
    if (!told)
        np_found(finding, "seccomp cannot be told: /proc/self/status does not say");
    else if (filtered)
        np_found(finding, "seccomp mode %s, %s filter%s", mode, filters[0] ? filters : "some",
                 strcmp(filters, "1") == 0 ? "" : "s");
    else
        np_found(finding, "no seccomp filter");
    if (np_doctor_status(doctor, "NoNewPrivs", bound, sizeof bound) && strcmp(bound, "1") == 0)
        np_found(finding, "; no new privileges");
    if (filtered)
        np_means(finding, NP_DOCTOR_NOTE,
                 "what the filter refuses is said where it is wanted: io_uring, memory_policy, membarrier, futex, pidfd. "
                 "Docker's own refuses io_uring, move_pages, and without CAP_SYS_NICE mbind");
    else
        np_means(finding, name ? NP_DOCTOR_NOTE : NP_DOCTOR_OK,
                 name ? "no call is refused by a filter; memory and CPUs may be limited: cgroup_memory, cpuset"
                      : "no call is refused by a filter");
    if (filtered && name)
        np_mend(finding, "docker run --cap-add SYS_NICE --security-opt seccomp=unconfined IMAGE");
}

/* ---------------------------------------------------------------- /proc */

/* Of the mount at /proc: what its super block says after hidepid=; "": nothing. */
static void read_hidepid(const struct np_doctor *doctor, char *value, size_t capacity)
{
    char text[4 * NP_SYSTEM_TEXT_BYTES];
    value[0] = '\0';
    if (np_system_file_read(doctor->root, "/proc/self/mountinfo", text, sizeof text) <= 0)
        return;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        const char *option = strstr(line, "hidepid=");
        if (!strstr(line, " /proc ") || !strstr(line, " - proc ") || !option)
            continue;
        option += strlen("hidepid=");
        snprintf(value, capacity, "%.*s", (int)strcspn(option, ", "), option);
    }
}

void np_doctor_proc(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    char text[64], hidden[16];
    if (!np_doctor_status(doctor, "Pid", text, sizeof text) && !np_doctor_status(doctor, "Name", text, sizeof text)) {
        np_found(finding, "no /proc, or it cannot be read");
        np_means(finding, NP_DOCTOR_ERROR,
                 "the keeper cannot start a worker, and clients cannot be told from others with the same number");
        np_mend(finding, "mount -t proc proc /proc");
        return;
    }
    read_hidepid(doctor, hidden, sizeof hidden);
    if (hidden[0] == '\0' || strcmp(hidden, "0") == 0 || strcmp(hidden, "off") == 0) {
        np_found(finding, "mounted");
        np_means(finding, NP_DOCTOR_OK, "processes of others can be seen");
        return;
    }
    np_found(finding, "mounted with hidepid=%s", hidden);
    if (np_doctor_capable(doctor, CAP_SYS_PTRACE)) {
        np_means(finding, NP_DOCTOR_OK, "CAP_SYS_PTRACE sees all processes all the same");
        return;
    }
    np_means(finding, NP_DOCTOR_NOTE,
             "a daemon of this user does not see other users' processes, and does not admit them as clients where pidfds "
             "are not handed over (pidfd)");
    np_mend(finding, "mount -o remount,hidepid=0 /proc");
}

/* ---------------------------------------------------------------- the socket's place */

void np_doctor_socket_directory(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    enum { PATH_BYTES_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };
    char path[PATH_MAX], quoted[PATH_MAX + 64], inside[PATH_MAX + 4];
    if (strlen(doctor->socket_path) > PATH_BYTES_MAX) {
        np_found(finding, "the socket's path has %zu bytes", strlen(doctor->socket_path));
        np_means(finding, NP_DOCTOR_ERROR, "the kernel takes no more than %d: no daemon can listen there",
                 (int)PATH_BYTES_MAX);
        np_mend(finding, "export NUMAPOOL_SOCKET=/run/numapool/numapool.sock");
        return;
    }
    snprintf(path, sizeof path, "%s", doctor->socket_path);
    const char *directory = dirname(path);
    np_doctor_quote(quoted, sizeof quoted, directory);
    np_found(finding, "%.300s for %.300s ", directory, doctor->socket_path);
    snprintf(inside, sizeof inside, "%s/.", directory); /* so that a file is no directory */
    if (faccessat(AT_FDCWD, inside, W_OK | X_OK, AT_EACCESS) == 0) {
        np_found(finding, "can be written");
        np_means(finding, NP_DOCTOR_OK, "a daemon of this user can listen there");
        return;
    }
    int code = errno;
    np_found(finding, "%s",
             code == ENOENT    ? "is not there"
             : code == ENOTDIR ? "is no directory"
             : code == EROFS   ? "is read-only"
                               : "may not be written by this user");
    np_means(finding, NP_DOCTOR_NOTE,
             "a daemon of this user cannot listen there; one that a service manager starts has a directory made "
             "(RuntimeDirectory=), or give --socket");
    if (code == ENOENT)
        np_mend(finding, "install -d -m 0755 %s", quoted);
    else if (code == EACCES)
        np_mend(finding, "export XDG_RUNTIME_DIR=/run/user/%u", (unsigned)geteuid());
    else
        np_mend(finding, "export NUMAPOOL_SOCKET=/run/numapool/numapool.sock");
}
