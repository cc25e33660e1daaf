/* SPDX-License-Identifier: MIT
 *
 * What somebody may take for a numapoold and is none, or is one that fails: it does what its file's name says. Those whose names begin
 * with "worker_" are good builds (the numapoold beside them) until they are to work.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* Once: the file beside it says after how many microseconds it is to die. */
static void arm_death(const char *directory)
{
    char path[PATH_MAX], text[16] = "";
    snprintf(path, sizeof path, "%.4000s/death_us", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0 || unlink(path) != 0)
        return;
    close(fd);
    long after_us = atol(text);
    const struct itimerval once = { .it_value = { .tv_sec = after_us / 1000000, .tv_usec = after_us % 1000000 } };
    setitimer(ITIMER_REAL, &once, NULL); /* goes on in the program that is executed */
}

static int work(const char *name, const char *directory, char **argv)
{
    char real[PATH_MAX];
    if (strcmp(name, "worker_fails") == 0)
        return 3;
    if (strcmp(name, "worker_ends") == 0)
        return 0;
    if (strcmp(name, "worker_hangs") == 0)
        for (;;)
            pause();
    if (strcmp(name, "worker_dies") == 0)
        arm_death(directory);
    snprintf(real, sizeof real, "%.4000s/numapoold", directory);
    execv(real, argv);
    perror(real);
    return 127;
}

int main(int argc, char **argv)
{
    char own[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    own[length > 0 ? length : 0] = '\0';
    char *name = strrchr(own, '/');
    if (!name)
        return 2;
    *name++ = '\0';
    bool is_probe = argc > 1 && strcmp(argv[1], "--probe") == 0;
    if (strncmp(name, "worker_", 7) == 0)
        return work(is_probe ? "" : name, own, argv);
    if (strcmp(name, "hangs") == 0)
        for (;;)
            pause();
    if (strcmp(name, "crashes") == 0) {
        signal(SIGSEGV, SIG_DFL); /* sanitizers make an exit of it */
        raise(SIGSEGV);
    }
    if (strcmp(name, "talks") == 0)
        while (puts("numapoold probe 1") >= 0)
            continue;
    if (strcmp(name, "says_other") == 0)
        puts("numapoold probe 2\nversion 1");
    if (strcmp(name, "says_part") == 0)
        puts("numapoold probe 1\nversion 1");
    if (strcmp(name, "fails") == 0)
        return 3;
    if (strcmp(name, "lingers") == 0) { /* long enough to be killed over it */
        if (is_probe)
            usleep(30000);
        return work("", own, argv);
    }
    if (strcmp(name, "leaves_child") == 0) { /* which has its pipe, and is not to keep the keeper waiting */
        if (is_probe && fork() == 0)
            for (;;)
                pause();
        return work("", own, argv);
    }
    return 0; /* "silent" */
}
