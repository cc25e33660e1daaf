#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# docs/reliability.md is true: each promise names tests that there are and figures that they print, no figure is left out, and what the tables
# say was printed once. Needs no build.
# shellcheck disable=SC2016 # backquotes are Markdown's
set -euo pipefail

source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
document=$source_directory/docs/reliability.md
passed=0
failed=0

verdict() { # WHAT FINDINGS
    if [ -z "$2" ]; then
        passed=$((passed + 1))
        printf 'PASS %s\n' "$1"
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n%s\n' "$1" "$(printf '%s\n' "$2" | sed 's/^/    /')"
    fi
}

# Paths in backquotes, a directory or a program with or without its suffix.
missing_files() {
    local path
    while IFS= read -r path; do
        [ -e "$source_directory/$path" ] || [ -e "$source_directory/$path.c" ] || [ -e "$source_directory/$path.sh" ] ||
            grep -q "^${path//\//_}_SOURCES" "$source_directory/Makefile.am" || printf 'there is no %s\n' "$path"
    done < <(grep -oE '`(tests|src|docs|include)/[A-Za-z0-9_./-]+`' "$document" | tr -d '`' | sort -u)
}

# A promise: | promise | tests | figures <!-- keys --> |
rows() { awk '/^\| promise/ { inside = 1; getline; next } !/^\|/ { inside = 0 } inside' "$document"; }

incomplete_rows() {
    rows | awk -F ' \\| ' '
        NF < 3 || $2 !~ /`tests\// { print "names no test: " $0 }
        $3 !~ /<!-- [a-z0-9_. ]+ -->/ { print "names no figure: " $0 }
        $3 ~ /^ *<!--/ { print "has no figure yet (tests/docs/put_figures.py): " $0 }'
}

keys_quoted() { grep -oE '<!-- [a-z0-9_. ]+ -->' "$document" | tr -d '<>!' | tr ' ' '\n' | grep -E '^[a-z0-9_.]+$' | grep -v '^--$' | sort -u; }
# By their literal names; a program that is built twice says NAME ".kills".
keys_printed() {
    grep -rhozE 'harness_figure\([[:space:]]*"[a-z0-9_.]+"' "$source_directory/tests" | tr '\0' '\n' | grep -oE '"[a-z0-9_.]+"' | tr -d '"'
    grep -rhozE 'harness_figure\([[:space:]]*NAME "\.[a-z0-9_.]+"' "$source_directory/tests/crash/storm.c" | tr '\0' '\n' | grep -oE '"\.[a-z0-9_.]+"' | tr -d '"' |
        sed 's/^/storm/'
}
is_printed() { # KEY
    grep -qxF "$1" <<<"$printed" && return 0
    case $1 in
    checked.*) grep -qxF "storm.${1#checked.}" <<<"$printed" ;;
    *.*) grep -qF "\"$1\"" "$source_directory/tests/crash/${1%%.*}.c" ;;
    *) return 1 ;;
    esac
}

unprinted_keys() {
    local key
    while IFS= read -r key; do
        case $key in
        *.*) is_printed "$key" || printf 'no test prints %s\n' "$key" ;;
        *) grep -qE "^tests_(crash|model)_${key}_SOURCES" "$source_directory/Makefile.am" || printf 'there is no program %s\n' "$key" ;;
        esac
    done < <(keys_quoted)
}

printed=$(keys_printed | sort -u)
verdict "every file that is named is there" "$(missing_files)"
verdict "every promise names its test and has its figures" "$(incomplete_rows)"
verdict "every figure that is quoted is printed by a test" "$(unprinted_keys)"
verdict "every figure that a test prints is quoted" "$(comm -13 <(keys_quoted) <(printf '%s\n' "$printed"))"
[ "$(rows | wc -l)" -ge 10 ] || verdict "there are promises" "$(rows | wc -l) rows"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
