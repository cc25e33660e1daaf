/* SPDX-License-Identifier: MIT
 * Access lists: who is meant, what adds up, that a list survives being written and read again, and that each mistake is
 * named. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "daemon/access.h"
#include "daemon/config.h"

static struct np_access list[NP_ACCESS_MAX];

static void begin(void)
{
    memset(list, 0, sizeof list);
}

static unsigned rights_of(uid_t uid, gid_t gid)
{
    return np_access_rights(list, uid, gid, NULL, 0);
}

static void assert_refused(const char *lists, const char *part)
{
    ck_assert_int_eq(np_access_parse(list, lists, "here"), -EINVAL);
    ck_assert_msg(strstr(np_error_sentence(), part) != NULL, "'%s' is not in: %s", part, np_error_sentence());
    ck_assert_msg(strncmp(np_error_sentence(), "here: ", 6) == 0, "%s", np_error_sentence());
    ck_assert_uint_eq(list[0].rights, 0);
}

START_TEST(an_empty_list_gives_nobody_anything)
{
    ck_assert_int_eq(np_access_parse(list, "", "here"), 0);
    ck_assert_uint_eq(rights_of(0, 0), 0);
    ck_assert_int_eq(np_access_parse(list, NULL, "here"), 0);
    ck_assert_uint_eq(rights_of(65534, 65534), 0);
    ck_assert(!np_access_names_others(list, 7));
}
END_TEST

START_TEST(users_and_groups_are_told_apart)
{
    ck_assert_int_eq(np_access_parse(list, "direct=1000;readonly=@1000", "here"), 0);
    ck_assert_uint_eq(rights_of(1000, 5), NP_RIGHT_DIRECT);
    ck_assert_uint_eq(rights_of(5, 1000), NP_RIGHT_READONLY);
    ck_assert_uint_eq(rights_of(5, 5), 0);
}
END_TEST

START_TEST(rights_of_all_entries_add_up)
{
    const gid_t groups[] = { 30, 31 };
    ck_assert_int_eq(np_access_parse(list, "readonly=1000:@31;admin=@10;direct=1000", "here"), 0);
    ck_assert_uint_eq(rights_of(1000, 10), NP_RIGHT_DIRECT | NP_RIGHT_READONLY | NP_RIGHT_ADMIN);
    ck_assert_uint_eq(np_access_rights(list, 5, 5, groups, 2), NP_RIGHT_READONLY);
    ck_assert_uint_eq(np_access_rights(list, 5, 5, groups, 1), 0);
}
END_TEST

START_TEST(each_group_of_many_is_found_and_no_other)
{
    gid_t groups[9];
    for (unsigned count = 0; count <= 9; count++) {
        for (unsigned i = 0; i < count; i++)
            groups[i] = 2 * i + 1;
        for (unsigned wanted = 0; wanted <= 2 * count; wanted++) {
            char text[32];
            snprintf(text, sizeof text, "direct=@%u", wanted);
            ck_assert_int_eq(np_access_parse(list, text, "here"), 0);
            ck_assert_uint_eq(np_access_rights(list, 5, 1000, groups, count), wanted % 2 && wanted < 2 * count ? NP_RIGHT_DIRECT : 0);
        }
    }
}
END_TEST

START_TEST(names_are_looked_up)
{
    const struct passwd *root = getpwuid(0);
    const struct group *wheel = getgrgid(0);
    ck_assert(root != NULL && wheel != NULL);
    char text[200];
    snprintf(text, sizeof text, "direct=%s;admin=@%s", root->pw_name, wheel->gr_name);
    ck_assert_int_eq(np_access_parse(list, text, "here"), 0);
    ck_assert_uint_eq(rights_of(0, 5), NP_RIGHT_DIRECT);
    ck_assert_uint_eq(rights_of(5, 0), NP_RIGHT_ADMIN);
}
END_TEST

START_TEST(colons_commas_and_blanks_separate)
{
    ck_assert_int_eq(np_access_add(list, NP_RIGHT_DIRECT, " 1:2,3 4\t5 ", "here"), 0);
    for (uid_t uid = 1; uid <= 5; uid++)
        ck_assert_uint_eq(rights_of(uid, 0), NP_RIGHT_DIRECT);
    ck_assert_uint_eq(list[5].rights, 0);
}
END_TEST

START_TEST(each_mistake_is_named)
{
    assert_refused("direct=no-such-user-here", "'no-such-user-here' is no user");
    assert_refused("direct=@no-such-group-here", "'@no-such-group-here' is no group");
    assert_refused("direct=1;readonly=", "readonly names nobody");
    assert_refused("direct", "'direct' is no access list");
    assert_refused("write=1", "'write' is no access list");
    assert_refused("direct=4294967295", "'4294967295' is no user");
    assert_refused("direct=99999999999999999999999999", "is no user");
    assert_refused("direct=@", "'@' is no group");
    assert_refused("direct=-1", "'-1' is no user");
    assert_refused("direct=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                   "more than 63 bytes");
}
END_TEST

static void number_up(char *text, unsigned n)
{
    text[0] = '\0';
    for (unsigned i = 0; i < n; i++)
        sprintf(text + strlen(text), "%s%u", i ? ":" : "", 4294967294u - i);
}

START_TEST(a_list_is_bounded_and_keeps_what_it_had)
{
    char text[12 * (NP_ACCESS_MAX + 1)];
    number_up(text, NP_ACCESS_MAX);
    ck_assert_int_eq(np_access_add(list, NP_RIGHT_DIRECT, text, "here"), 0);
    ck_assert_uint_eq(rights_of(4294967294u - (NP_ACCESS_MAX - 1), 0), NP_RIGHT_DIRECT);
    /* a right more for somebody who is there takes no room; all or nothing */
    ck_assert_int_eq(np_access_add(list, NP_RIGHT_ADMIN, "4294967294:17", "here"), -EINVAL);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "'17' is one too many"));
    ck_assert_uint_eq(rights_of(4294967294u, 0), NP_RIGHT_DIRECT);
    ck_assert_int_eq(np_access_add(list, NP_RIGHT_ADMIN, "4294967294", "here"), 0);
    ck_assert_uint_eq(rights_of(4294967294u, 0), NP_RIGHT_DIRECT | NP_RIGHT_ADMIN);
}
END_TEST

START_TEST(the_longest_lists_survive_the_command_line)
{
    /* as the keeper gives them to its worker */
    static struct np_config first, second;
    char ids[12 * (NP_ACCESS_MAX + 1)], spec[NP_CONFIG_SPEC_BYTES], name[NUMAPOOL_NAME_BYTES];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    number_up(ids, NP_ACCESS_MAX);
    np_config_start(&first);
    np_config_start(&second);
    snprintf(spec, sizeof spec, "%s,size=1G,count=9,pages=thp,fallback,exact,magazine=65536,sharers=65534", name);
    ck_assert_int_eq(np_config_pool_add(&first, spec, "--pool"), 0);
    for (unsigned right = NP_RIGHT_DIRECT; right <= NP_RIGHT_ADMIN; right *= 2)
        ck_assert_int_eq(np_access_add(first.pools[0].access, right, ids, "here"), 0);
    np_config_pool_spec(&first.pools[0], spec);
    ck_assert_msg(np_config_pool_add(&second, spec, "--pool") == 0, "%s", np_error_sentence());
    ck_assert_mem_eq(first.pools[0].access, second.pools[0].access, sizeof first.pools[0].access);
    ck_assert_uint_eq(second.pools[0].access[NP_ACCESS_MAX - 1].rights,
                      NP_RIGHT_DIRECT | NP_RIGHT_READONLY | NP_RIGHT_ADMIN);
}
END_TEST

START_TEST(a_group_comes_back_as_a_group)
{
    char text[NP_ACCESS_TEXT_BYTES];
    ck_assert_int_eq(np_access_parse(list, "readonly=7:@7;direct=@9", "here"), 0);
    np_access_format(list, NP_RIGHT_READONLY, text, sizeof text);
    ck_assert_str_eq(text, "7:@7");
    np_access_format(list, NP_RIGHT_DIRECT, text, sizeof text);
    ck_assert_str_eq(text, "@9");
    np_access_format(list, NP_RIGHT_ADMIN, text, sizeof text);
    ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(the_own_user_and_root_need_no_list)
{
    ck_assert_int_eq(np_access_parse(list, "direct=0:7", "here"), 0);
    ck_assert(!np_access_names_others(list, 7));
    ck_assert(np_access_names_others(list, 8));
    ck_assert_int_eq(np_access_parse(list, "readonly=@0", "here"), 0);
    ck_assert(np_access_names_others(list, 7));
}
END_TEST

/* ---------------------------------------------------------------- in the configuration */

static struct np_config config;

static int parse(const char *text)
{
    return np_config_parse(&config, text, strlen(text), "x.ini");
}

START_TEST(a_file_gives_lists_to_pools_and_to_the_daemon)
{
    np_config_start(&config);
    static const char text[] = "[daemon]\nadmin = 5, @6\n"
                               "[pool p]\nsize = 1\ncount = 1\ndirect = 7 8\nreadonly = @9\nreadonly = 10\n";
    ck_assert_msg(parse(text) == 0, "%s", np_error_sentence());
    ck_assert_uint_eq(np_access_rights(config.admins, 5, 0, NULL, 0), NP_RIGHT_ADMIN);
    ck_assert_uint_eq(np_access_rights(config.admins, 7, 6, NULL, 0), NP_RIGHT_ADMIN);
    ck_assert_uint_eq(np_access_rights(config.pools[0].access, 8, 9, NULL, 0), NP_RIGHT_DIRECT | NP_RIGHT_READONLY);
    ck_assert_uint_eq(np_access_rights(config.pools[0].access, 10, 0, NULL, 0), NP_RIGHT_READONLY);
    ck_assert_uint_eq(np_access_rights(config.pools[0].access, 5, 6, NULL, 0), 0);
}
END_TEST

START_TEST(mistakes_in_a_file_are_named_where_they_are)
{
    np_config_start(&config);
    ck_assert_int_eq(parse("[pool p]\nsize = 1\ncount = 1\nreadonly = no-such-user-here\n"), -EINVAL);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "x.ini:4: readonly of pool 'p': 'no-such-user-here' is no user"));
    np_config_start(&config);
    ck_assert_int_eq(parse("[daemon]\nadmin = 1\nadmin = 2\n"), -EINVAL);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "x.ini:3: admin is given twice"));
    np_config_start(&config);
    ck_assert_int_eq(parse("[daemon]\ndirect = 1\n"), -EINVAL); /* of pools alone */
}
END_TEST

START_TEST(the_command_line_wins_over_the_files_admins)
{
    np_config_start(&config);
    ck_assert_int_eq(np_config_set(&config, "admin", "5:@6", "--admin", true), 0);
    ck_assert_int_eq(parse("[daemon]\nadmin = 7\n"), 0);
    ck_assert_uint_eq(np_access_rights(config.admins, 5, 0, NULL, 0), NP_RIGHT_ADMIN);
    ck_assert_uint_eq(np_access_rights(config.admins, 7, 0, NULL, 0), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("access");
    TCase *lists = tcase_create("lists");
    tcase_add_checked_fixture(lists, begin, NULL);
    tcase_add_test(lists, an_empty_list_gives_nobody_anything);
    tcase_add_test(lists, users_and_groups_are_told_apart);
    tcase_add_test(lists, rights_of_all_entries_add_up);
    tcase_add_test(lists, each_group_of_many_is_found_and_no_other);
    tcase_add_test(lists, names_are_looked_up);
    tcase_add_test(lists, colons_commas_and_blanks_separate);
    tcase_add_test(lists, each_mistake_is_named);
    tcase_add_test(lists, a_list_is_bounded_and_keeps_what_it_had);
    tcase_add_test(lists, the_longest_lists_survive_the_command_line);
    tcase_add_test(lists, a_group_comes_back_as_a_group);
    tcase_add_test(lists, the_own_user_and_root_need_no_list);
    tcase_add_test(lists, a_file_gives_lists_to_pools_and_to_the_daemon);
    tcase_add_test(lists, mistakes_in_a_file_are_named_where_they_are);
    tcase_add_test(lists, the_command_line_wins_over_the_files_admins);
    suite_add_tcase(suite, lists);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
