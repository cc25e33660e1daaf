/* SPDX-License-Identifier: MIT
 * io_uring, without liburing: may a ring be made and used here, and what can it wait for. */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "doctor.h"

enum {
    OP_FUTEX_WAIT = 51, /* IORING_OP_FUTEX_WAIT, which the headers of older systems lack */
    OPS_MAX = 256
};

static const char *const instead = "the daemon runs on epoll, with a thread for what epoll cannot wait for; I/O into slots "
                                   "by io_uring is not to be had "
                                   "(numapool_io(3)); --loop=io_uring does not start";

static void refused(const struct np_doctor *doctor, struct np_doctor_finding *finding, const char *call, int code)
{
    char value[16] = "";
    bool is_switch = np_doctor_line(doctor, "/proc/sys/kernel/io_uring_disabled", value, sizeof value) &&
                     strcmp(value, "0") != 0;
    np_found(finding, "%s is refused (%s)", call, strerror(code));
    np_means(finding, NP_DOCTOR_WARNING, "%s", instead);
    if (code == ENOSYS) {
        np_found(finding, ": this kernel was built without it, or a filter says so");
        np_mend(finding, "apt-get install linux-image-amd64");
    } else if (code == ENOMEM) {
        np_found(finding, ": not enough memory may be locked");
        np_mend(finding, "prlimit --pid $$ --memlock=unlimited:unlimited");
    } else if (code == EMFILE || code == ENFILE) {
        np_found(finding, ": too many open files");
        np_mend(finding, "prlimit --pid $$ --nofile=65536:65536");
    } else if (is_switch) {
        np_found(finding, ": kernel.io_uring_disabled is %s", value);
        np_mend(finding, "sysctl -w kernel.io_uring_disabled=0");
    } else {
        np_found(finding, ": by a seccomp filter or a security module");
        np_mend(finding, "docker run --security-opt seccomp=unconfined IMAGE");
    }
}

/* Whether the operation is there; false too where it cannot be asked. */
static bool has_operation(int ring, unsigned operation)
{
    struct io_uring_probe *probe = calloc(1, sizeof *probe + OPS_MAX * sizeof probe->ops[0]);
    bool has = probe && syscall(SYS_io_uring_register, ring, IORING_REGISTER_PROBE, probe, OPS_MAX) == 0 &&
               probe->ops_len > operation && (probe->ops[operation].flags & IO_URING_OP_SUPPORTED) != 0;
    free(probe);
    return has;
}

void np_doctor_io_uring(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    struct io_uring_params parameters = { 0 };
    char value[16] = "0";
    int ring = (int)syscall(SYS_io_uring_setup, 2, &parameters);
    if (ring < 0) {
        refused(doctor, finding, "io_uring_setup", errno);
        return;
    }
    /* A filter may let it be made and not be used. */
    if (syscall(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0) < 0) {
        refused(doctor, finding, "io_uring_enter", errno);
    } else if (has_operation(ring, OP_FUTEX_WAIT)) {
        np_found(finding, "allowed, waits for futexes");
        np_means(finding, NP_DOCTOR_OK, "the daemon runs on it, and sleeps until something is to be done");
    } else {
        np_found(finding, "allowed, without waiting for futexes (Linux 6.7)");
        np_means(finding, NP_DOCTOR_OK,
                 "the daemon runs on it, and looks at what the dead left on their lanes every 1 to 20 ms, as long as there "
                 "is any");
    }
    if (finding->state == NP_DOCTOR_OK &&
        np_doctor_line(doctor, "/proc/sys/kernel/io_uring_disabled", value, sizeof value) && strcmp(value, "1") == 0) {
        np_found(finding, ", to this user");
        np_means(finding, NP_DOCTOR_NOTE,
                 "kernel.io_uring_disabled is 1: users without privileges outside of kernel.io_uring_group get epoll");
        np_mend(finding, "sysctl -w kernel.io_uring_disabled=0");
    }
    close(ring);
}
