/* SPDX-License-Identifier: MIT
 * What another build says of itself is read strictly, whatever it is, and what differs is said by name. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/layout.h"
#include "daemon/probe.h"
#include "numapool.h"
#include "service/wire.h"

static size_t print_own(char text[NP_PROBE_TEXT_MAX])
{
    struct np_probe own;
    np_probe_own(&own);
    memset(text, 0, NP_PROBE_TEXT_MAX);
    FILE *stream = fmemopen(text, NP_PROBE_TEXT_MAX, "w");
    ck_assert_ptr_nonnull(stream);
    np_probe_print(&own, stream);
    fclose(stream);
    return strlen(text);
}

static int parse(const char *text)
{
    struct np_probe probe;
    return np_probe_parse(&probe, text, strlen(text));
}

START_TEST(what_is_printed_is_read_as_the_same)
{
    char text[NP_PROBE_TEXT_MAX];
    struct np_probe own, read;
    size_t bytes = print_own(text);
    np_probe_own(&own);
    ck_assert_int_eq(np_probe_parse(&read, text, bytes), 0);
    ck_assert_mem_eq(&own, &read, sizeof own);
    ck_assert_str_eq(own.version, numapool_version());
    ck_assert_uint_eq(own.layout, NP_LAYOUT_REVISION);
    ck_assert_uint_eq(own.shared, np_wire_layout());
    ck_assert_int_eq(np_probe_compare(&own, &read, "/x"), 0);
    for (unsigned i = 0; i < NP_PROBE_PARTS; i++)
        for (unsigned j = 0; j < i; j++)
            ck_assert_uint_ne(own.parts[i], own.parts[j]);
}
END_TEST

/* Each line taken away, doubled, and its value made something else. */
START_TEST(a_line_that_is_missing_twice_there_or_wrong_is_refused)
{
    char text[NP_PROBE_TEXT_MAX], other[2 * NP_PROBE_TEXT_MAX];
    print_own(text);
    unsigned lines = 0;
    for (char *line = text; *line; lines++) {
        char *end = strchr(line, '\n') + 1, *value = memchr(line, ' ', (size_t)(end - line));
        ck_assert_ptr_nonnull(value);
        snprintf(other, sizeof other, "%.*s%s", (int)(line - text), text, end);
        ck_assert_int_eq(parse(other), -EPROTO);
        if (line != text) {
            snprintf(other, sizeof other, "%s%.*s", text, (int)(end - line), line);
            ck_assert_int_eq(parse(other), -EPROTO);
            ck_assert_ptr_nonnull(strstr(np_error_sentence(), "twice"));
        }
        snprintf(other, sizeof other, "%.*s \n%s", (int)(value - text), text, end);
        ck_assert_int_eq(parse(other), -EPROTO);
        snprintf(other, sizeof other, "%.*s -1 \n%s", (int)(value - text), text, end);
        ck_assert_int_eq(parse(other), -EPROTO);
        snprintf(other, sizeof other, "%.*s 99999999999999999999999999999999999999\n%s", (int)(value - text), text, end);
        ck_assert_int_eq(parse(other), -EPROTO);
        line = end;
    }
    ck_assert_uint_eq(lines, 10);
}
END_TEST

START_TEST(what_a_later_build_says_more_does_not_harm)
{
    char text[NP_PROBE_TEXT_MAX], more[NP_PROBE_TEXT_MAX + 40];
    print_own(text);
    snprintf(more, sizeof more, "%scolour blue and green\n\n", text);
    ck_assert_int_eq(parse(more), 0);
}
END_TEST

START_TEST(what_is_no_probe_is_refused_in_a_sentence_that_can_be_read)
{
    struct np_probe probe;
    char noise[NP_PROBE_TEXT_MAX + 2];
    ck_assert_int_eq(parse(""), -EPROTO);
    ck_assert_int_eq(parse("Usage: true\n"), -EPROTO);
    ck_assert_int_eq(parse("numapoold probe 2\nversion 1\n"), -EPROTO);
    memset(noise, 'x', sizeof noise);
    ck_assert_int_eq(np_probe_parse(&probe, noise, sizeof noise), -EPROTO);
    srand(1);
    for (unsigned round = 0; round < 2000; round++) {
        size_t bytes = (size_t)rand() % NP_PROBE_TEXT_MAX;
        for (size_t i = 0; i < bytes; i++)
            noise[i] = (char)rand();
        ck_assert_int_eq(np_probe_parse(&probe, noise, bytes), -EPROTO);
        for (const char *at = np_error_sentence(); *at; at++)
            ck_assert(*at >= ' ' && *at <= '~');
    }
}
END_TEST

/* A byte of a good one changed: either it says the same, or something is seen to be different, or it is refused. */
START_TEST(no_changed_byte_passes_for_the_same)
{
    char text[NP_PROBE_TEXT_MAX];
    struct np_probe own, read;
    size_t bytes = print_own(text);
    np_probe_own(&own);
    for (size_t i = 0; i < bytes; i++) {
        char before = text[i];
        text[i] = before == '7' ? '8' : '7';
        if (np_probe_parse(&read, text, bytes) == 0 && strcmp(read.version, own.version) == 0)
            ck_assert_int_eq(np_probe_compare(&own, &read, "/x"), -EPROTO);
        text[i] = before;
    }
}
END_TEST

START_TEST(what_differs_is_said_by_name)
{
    struct np_probe own, other;
    np_probe_own(&own);
    other = own;
    strcpy(other.version, "0.9");
    other.layout = own.layout + 1;
    ck_assert_int_eq(np_probe_compare(&own, &other, "/usr/bin/numapoold"), -EPROTO);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "numapoold 0.9 at /usr/bin/numapoold has memory layout 6, this daemon's is 5"));
    other.layout = own.layout;
    other.shared ^= 1;
    other.parts[NP_PROBE_LANE] ^= 1;
    other.parts[NP_PROBE_WIRE] ^= 1;
    ck_assert_int_eq(np_probe_compare(&own, &other, "/x"), -EPROTO);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "(lanes, requests)"));
    other.parts[NP_PROBE_LANE] ^= 1;
    other.parts[NP_PROBE_WIRE] ^= 1;
    ck_assert_int_eq(np_probe_compare(&own, &other, "/x"), -EPROTO);
    other.shared ^= 1;
    other.keeper++;
    ck_assert_int_eq(np_probe_compare(&own, &other, "/x"), -EPROTO);
    ck_assert_ptr_nonnull(strstr(np_error_sentence(), "revision 3, this daemon's keeper in 2"));
    other.keeper--;
    ck_assert_int_eq(np_probe_compare(&own, &other, "/x"), 0); /* another version alone is no reason */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("probe");
    TCase *tests = tcase_create("probe");
    suite_add_tcase(suite, tests);
    tcase_add_test(tests, what_is_printed_is_read_as_the_same);
    tcase_add_test(tests, a_line_that_is_missing_twice_there_or_wrong_is_refused);
    tcase_add_test(tests, what_a_later_build_says_more_does_not_harm);
    tcase_add_test(tests, what_is_no_probe_is_refused_in_a_sentence_that_can_be_read);
    tcase_add_test(tests, no_changed_byte_passes_for_the_same);
    tcase_add_test(tests, what_differs_is_said_by_name);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
