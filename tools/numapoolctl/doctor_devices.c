/* SPDX-License-Identifier: MIT
 * Persistent memory, and what the project's own tests want. */
#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"
#include "numa/system_files.h"

/* ---------------------------------------------------------------- persistent memory */

enum { NAME_BYTES = 64, SHOWN_MAX = 8 };

struct pmem_search {
    const struct np_doctor *doctor;
    struct np_doctor_finding *finding;
    unsigned regions, raw, dax_devices, shown;
    char first_raw[NAME_BYTES], first_dax[NAME_BYTES];
};

/* Of names that a command line is made of: as the kernel gives them. */
static bool is_plain(const char *name)
{
    return strlen(name) < NAME_BYTES && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.")] == '\0';
}

static void show(struct pmem_search *search, const char *text)
{
    if (search->shown < SHOWN_MAX)
        np_found(search->finding, "%s%s", search->shown ? ", " : "", text);
    else if (search->shown == SHOWN_MAX)
        np_found(search->finding, ", and so on");
    search->shown++;
}

static void read_attribute(const struct np_doctor *doctor, const char *bus, const char *name, const char *attribute,
                           char *value, size_t capacity)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/sys/bus/%s/devices/%.80s/%s", bus, name, attribute);
    if (!np_doctor_line(doctor, path, value, capacity) || value[0] == '\0')
        snprintf(value, capacity, "?");
}

/* The kernel's names are older than those that its tools have. */
static const char *mode_name(const char *mode)
{
    return strcmp(mode, "memory") == 0 ? "fsdax"
           : strcmp(mode, "dax") == 0  ? "devdax"
           : strcmp(mode, "safe") == 0 ? "sector"
                                       : mode;
}

static void look_at_nd(void *argument, const char *name)
{
    struct pmem_search *search = argument;
    char node[16], mode[32], target[16], line[160];
    if (!is_plain(name))
        return;
    if (strncmp(name, "region", 6) == 0) {
        read_attribute(search->doctor, "nd", name, "numa_node", node, sizeof node);
        read_attribute(search->doctor, "nd", name, "target_node", target, sizeof target);
        snprintf(line, sizeof line, "%s near node %s (target node %s)", name, node, target);
        show(search, line);
        search->regions++;
    } else if (strncmp(name, "namespace", 9) == 0) {
        read_attribute(search->doctor, "nd", name, "mode", mode, sizeof mode);
        if (strcmp(mode, "?") == 0) /* a seed: what the next one would be made of */
            return;
        snprintf(line, sizeof line, "%s %s", name, mode_name(mode));
        show(search, line);
        if (strcmp(mode, "raw") == 0 && search->raw++ == 0)
            snprintf(search->first_raw, sizeof search->first_raw, "%s", name);
    }
}

/* The driver kmem has made ordinary memory of it. */
static bool is_memory(const struct np_doctor *doctor, const char *name)
{
    char path[PATH_MAX], driver[PATH_MAX];
    snprintf(path, sizeof path, "%s/sys/bus/dax/devices/%.80s/driver", doctor->root, name);
    ssize_t length = readlink(path, driver, sizeof driver - 1);
    if (length < 0)
        return false;
    driver[length] = '\0';
    const char *base = strrchr(driver, '/');
    return strcmp(base ? base + 1 : driver, "kmem") == 0;
}

static void look_at_dax(void *argument, const char *name)
{
    struct pmem_search *search = argument;
    char target[16], line[160];
    if (!is_plain(name) || strncmp(name, "dax", 3) != 0)
        return;
    bool memory = is_memory(search->doctor, name);
    read_attribute(search->doctor, "dax", name, "target_node", target, sizeof target);
    snprintf(line, sizeof line, memory ? "%s is memory of node %s" : "/dev/%s (target node %s)", name, target);
    show(search, line);
    if (!memory && search->dax_devices++ == 0)
        snprintf(search->first_dax, sizeof search->first_dax, "%s", name);
}

/* A word of a list of mount options. */
static bool has_option(const char *options, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = options; *at; at += *at == ',') {
        size_t bytes = strcspn(at, ",");
        if (bytes == length && strncmp(at, word, length) == 0)
            return true;
        at += bytes;
    }
    return false;
}

/* By the device's name, or by what its queue says. */
static bool is_on_pmem(const struct np_doctor *doctor, const char *device, const char *source)
{
    char path[PATH_MAX];
    uint64_t dax = 0;
    snprintf(path, sizeof path, "/sys/dev/block/%s/queue/dax", device);
    return strncmp(source, "/dev/pmem", 9) == 0 ||
           (strspn(device, "0123456789:") == strlen(device) && np_system_file_number(doctor->root, path, &dax) && dax == 1);
}

/* File systems on persistent memory: with DAX, and the first one without. */
static unsigned look_at_mounts(struct pmem_search *search, char *without, size_t capacity, char *device,
                               size_t device_capacity)
{
    char text[4 * NP_SYSTEM_TEXT_BYTES];
    unsigned with_dax = 0;
    without[0] = '\0';
    if (np_system_file_read(search->doctor->root, "/proc/self/mountinfo", text, sizeof text) <= 0)
        return 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char number[32], point[256], source[128], options[512], shown[320];
        const char *tail = strstr(line, " - ");
        if (!tail || sscanf(line, "%*s %*s %31s %*s %255s", number, point) != 2 ||
            sscanf(tail + 3, "%*s %127s %511s", source, options) != 2 || !is_on_pmem(search->doctor, number, source))
            continue;
        np_system_unescape(point);
        bool dax = has_option(options, "dax") || has_option(options, "dax=always") || has_option(options, "dax=inode");
        snprintf(shown, sizeof shown, "%.120s on %.120s %s DAX", point, source, dax ? "with" : "without");
        show(search, shown);
        with_dax += dax;
        if (!dax && without[0] == '\0') {
            snprintf(without, capacity, "%s", point);
            snprintf(device, device_capacity, "%s", source);
        }
    }
    return with_dax;
}

void np_doctor_pmem(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    struct pmem_search search = { .doctor = doctor, .finding = finding };
    char without[256], device[128], quoted[PATH_MAX], quoted_device[PATH_MAX];
    bool bus = np_doctor_each_entry(doctor, "/sys/bus/nd/devices", look_at_nd, &search);
    np_doctor_each_entry(doctor, "/sys/bus/dax/devices", look_at_dax, &search);
    unsigned with_dax = look_at_mounts(&search, without, sizeof without, device, sizeof device);
    if (search.shown == 0) {
        np_found(finding, "%s", bus ? "no persistent memory" : "no persistent memory (this kernel has no such bus)");
        np_means(finding, NP_DOCTOR_OK, "pools are in ordinary memory, and end with the machine");
        return;
    }
    np_means(finding, NP_DOCTOR_OK,
             "pools do not use it as long as it is no node; a device that is given to the kernel as memory (daxctl) becomes "
             "a memory-only node, which pools can be on or spill to");
    if (with_dax > 0)
        np_means(finding, NP_DOCTOR_OK, "files on it are mapped without page cache");
    if (search.first_dax[0]) {
        np_means(finding, NP_DOCTOR_NOTE, "%s could be such a node; what is stored on it would be lost", search.first_dax);
        np_mend(finding, "daxctl reconfigure-device --mode=system-ram %s", search.first_dax);
    } else if (without[0]) {
        np_means(finding, NP_DOCTOR_NOTE, "%s goes through the page cache", without);
        np_doctor_quote(quoted, sizeof quoted, without);
        np_mend(finding, "umount %s && mount -o dax %s %s", quoted,
                np_doctor_quote(quoted_device, sizeof quoted_device, device), quoted);
    } else if (search.first_raw[0]) {
        np_means(finding, NP_DOCTOR_NOTE, "%s is raw, which knows no DAX; making it another overwrites what is stored there",
                 search.first_raw);
        np_mend(finding, "ndctl create-namespace --force --reconfig=%s --mode=fsdax", search.first_raw);
    }
}

/* ---------------------------------------------------------------- for the project's own tests */

static bool in_path(const char *program)
{
    const char *path = getenv("PATH");
    char whole[PATH_MAX];
    for (const char *at = path ? path : ""; *at; at += *at == ':') {
        size_t bytes = strcspn(at, ":");
        if (snprintf(whole, sizeof whole, "%.*s/%s", (int)bytes, at, program) < (int)sizeof whole &&
            access(whole, X_OK) == 0)
            return true;
        at += bytes;
    }
    return false;
}

void np_doctor_test_guest(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    static const struct {
        const char *program, *package;
    } wanted[] = { { "qemu-system-x86_64", "qemu-system-x86" }, { "busybox", "busybox-static" } };
    char packages[128] = "";
    (void)doctor;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        bool there = in_path(wanted[i].program);
        np_found(finding, "%s%s %s", i ? ", " : "", wanted[i].program, there ? "there" : "not there");
        if (!there) {
            strncat(packages, " ", sizeof packages - strlen(packages) - 1);
            strncat(packages, wanted[i].package, sizeof packages - strlen(packages) - 1);
        }
    }
    np_means(finding, packages[0] ? NP_DOCTOR_NOTE : NP_DOCTOR_OK,
             "wanted by tools/dev check guest alone, which tests on machines of several nodes and brings their kernels "
             "itself; numapool itself needs "
             "neither");
    if (packages[0])
        np_mend(finding, "apt-get install --no-install-recommends%s", packages);
}
