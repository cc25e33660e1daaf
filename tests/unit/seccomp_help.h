/* SPDX-License-Identifier: MIT
 * System calls that this process is to be refused from here on, as by a container's filter or an older kernel. */
#ifndef NP_TEST_SECCOMP_HELP_H
#define NP_TEST_SECCOMP_HELP_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>

/* action: SECCOMP_RET_ERRNO | errno, SECCOMP_RET_KILL_PROCESS. False: there are no filters here. */
static inline bool refuse_call(uint32_t number, uint32_t action)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { sizeof program / sizeof program[0], program };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

#endif
