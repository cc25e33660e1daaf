/* SPDX-License-Identifier: MIT
 * A directory that stands for /, with /proc and /sys of a machine that is not at hand. */
#ifndef NP_TEST_FAKE_ROOT_H
#define NP_TEST_FAKE_ROOT_H

#include <check.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static inline int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline void make_root(void)
{
    snprintf(root, sizeof root, "%s/numapool-root-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static inline void remove_root(void)
{
    nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A file of it, and the directories above. */
static inline void put_bytes(const char *path, const void *bytes, size_t count)
{
    char whole[PATH_MAX];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
    fclose(file);
}

static inline void put(const char *path, const char *text)
{
    put_bytes(path, text, strlen(text));
}

/* "/sys/.../node%d/..." */
static inline void put_of(const char *format, int number, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, format, number);
    put(path, text);
}

static inline void drop(const char *path)
{
    char whole[PATH_MAX];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    remove(whole);
}

/* A link within it, to `target` relative to the link's directory, which is made. */
static inline void put_link(const char *path, const char *target)
{
    char whole[PATH_MAX];
    put(path, "");
    snprintf(whole, sizeof whole, "%s%s", root, path);
    ck_assert_int_eq(remove(whole), 0);
    ck_assert_int_eq(symlink(target, whole), 0);
}

#endif
