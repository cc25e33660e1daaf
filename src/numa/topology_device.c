/* SPDX-License-Identifier: MIT
 * On which node a device is. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "numa/system_files.h"
#include "numa/topology.h"

/* Where a device of that name would be, and the directories above it that may say where it is: a partition's disk, a namespace's
 * controller, a virtual disk's adapter are devices above devices. */
static const char *const places[] = { "/sys/class/net", "/sys/class/nvme", "/sys/class/block", "/sys/block", "/sys/bus/pci/devices" };

enum { LEVELS_MAX = 12 };

/* The first numa_node at or above `path`, below the root's /sys. -ENXIO: none that says a node; np_system_file_number knows no -1. */
static int node_above(const char *root, const char *path)
{
    char link[PATH_MAX], whole[PATH_MAX], sys[PATH_MAX];
    if (snprintf(link, sizeof link, "%s%s", root, path) >= (int)sizeof link || realpath(link, whole) == NULL)
        return -ENODEV;
    if (snprintf(link, sizeof link, "%s/sys", root) >= (int)sizeof link || realpath(link, sys) == NULL)
        return -ENODEV;
    size_t top = strlen(sys);
    for (int i = 0; i < LEVELS_MAX && strlen(whole) > top && strncmp(whole, sys, top) == 0; i++) {
        static const char *const files[] = { "numa_node", "device/numa_node" };
        for (unsigned k = 0; k < sizeof files / sizeof files[0]; k++) {
            char file[PATH_MAX];
            uint64_t node;
            if (snprintf(file, sizeof file, "%s/%s", whole, files[k]) < (int)sizeof file && np_system_file_number("", file, &node) &&
                node < NP_NODES_MAX)
                return (int)node;
        }
        *strrchr(whole, '/') = '\0';
    }
    return -ENXIO;
}

/* A path of /dev is as good as its last part: what people have at hand. A PCI address may lack its domain. */
static int find(const char *root, const char *device)
{
    static const char dev[] = "/dev/";
    const char *name = strncmp(device, dev, sizeof dev - 1) == 0 ? device + sizeof dev - 1 : device;
    if (*name == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -ENODEV;
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s/%s", places[i], name) >= (int)sizeof path)
            return -ENODEV;
        int node = node_above(root, path);
        if (node != -ENODEV)
            return node;
    }
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "/sys/bus/pci/devices/0000:%s", name) >= (int)sizeof path)
        return -ENODEV;
    return node_above(root, path);
}

int np_topology_device_node(const char *root, const char *device)
{
    int node = find(root, device);
    if (node >= 0)
        return node;
    if (node == -ENODEV)
        return np_error(-ENODEV,
                        "there is no device '%.64s' here: name a network interface, a block device or a PCI address, as in /sys/class/net, "
                        "/sys/class/block and /sys/bus/pci/devices",
                        device);
    struct np_topology topology;
    int result = np_topology_read(&topology, root);
    if (result < 0)
        return result;
    int only = topology.count == 1 ? topology.nodes[0].number : -1;
    np_topology_free(&topology);
    if (only >= 0)
        return only;
    return np_error(-ENXIO,
                    "this machine does not say on which node device '%.64s' is (its numa_node in /sys is -1 or missing): place the pool "
                    "explicitly, node by node",
                    device);
}
