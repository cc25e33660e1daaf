/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "daemon/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* capget(2) and capset(2) without libcap: three words each, twice. */
struct words {
    struct __user_cap_data_struct of[_LINUX_CAPABILITY_U32S_3];
};

static bool get(struct words *words)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    return syscall(SYS_capget, &header, words->of) == 0;
}

static bool set(struct words *words)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    return syscall(SYS_capset, &header, words->of) == 0;
}

static struct __user_cap_data_struct *word_of(struct words *words)
{
    return &words->of[CAP_TO_INDEX(CAP_SYS_NICE)];
}

bool np_privileges_drop(void)
{
    const unsigned nice = CAP_TO_MASK(CAP_SYS_NICE);
    struct words words;
    (void)prctl(PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0);
    /* goes with the inheritable one anyway, from Linux 4.3 on */
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_SYS_NICE, 0, 0);
    if (!get(&words))
        return false;
    word_of(&words)->effective &= ~nice;
    word_of(&words)->permitted &= ~nice;
    word_of(&words)->inheritable &= ~nice;
    return set(&words) && get(&words) && ((word_of(&words)->permitted | word_of(&words)->inheritable) & nice) == 0;
}

bool np_privileges_may_move(void)
{
    struct words words;
    return get(&words) && (word_of(&words)->effective & CAP_TO_MASK(CAP_SYS_NICE)) != 0;
}
