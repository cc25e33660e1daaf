#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# docs/performance.md is true: its commands are ones that there are, its benchmarks exist, the table of instructions is that of the pins.
# (Its example is compiled and run by examples.sh.) Needs the build tree of $NUMAPOOL_BUILD, with the benchmark.
# shellcheck disable=SC2016 # backquotes are Markdown's
set -euo pipefail

source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
document=$source_directory/docs/performance.md
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

between() { # MARK: the lines of the table that stands there
    awk -v from="<!-- table:$1 -->" -v to="<!-- end:$1 -->" '$0 == to { inside = 0 } inside; $0 == from { inside = 1 }' "$document"
}

bench=$(cd "${NUMAPOOL_BUILD:-$source_directory/build}" && pwd)/tests/bench/bench
if [ ! -x "$bench" ]; then
    printf 'FAIL there is no %s: make bench\n0 passed, 1 failed\n' "$bench"
    exit 1
fi
benchmarks=$("$bench" --list | awk '{ print $1 }')
options=$("$bench" --help | grep -oE -- '--[a-z]+' | sort -u)
operations=$(grep -v '^#' "$source_directory/tests/counts/pins.txt" | awk '{ print $1 }')

begins_one() { # NAMES PREFIX
    awk -v prefix="$2" 'index($0, prefix) == 1 { found = 1 } END { exit !found }' <<<"$1"
}

# Each line of the blocks that begins with tools/dev, and each such command in the text.
commands() {
    {
        awk '/^```/ { inside = !inside; next } inside' "$document" | sed 's/ *#.*//' | grep '^tools/dev'
        grep -oE '`tools/dev [^`]*`' "$document" | tr -d '`'
    } | sort -u
}

wrong_commands() {
    local line word words usage
    usage=$("$source_directory/tools/dev" help)
    while IFS= read -r line; do
        read -r -a words <<<"$line"
        if ! grep -qE "^tools/dev ${words[1]}( |\$)" <<<"$usage"; then
            printf '%s: tools/dev help does not have it\n' "$line"
            continue
        fi
        case ${words[1]} in
        bench)
            for word in "${words[@]:2}"; do
                case $word in
                --help) ;;
                --*) grep -qxF -e "$word" <<<"$options" || printf '%s: bench has no %s\n' "$line" "$word" ;;
                *.json | *.md | plots | [0-9]*) ;;
                *) begins_one "$benchmarks" "$word" || printf '%s: no benchmark begins with %s\n' "$line" "$word" ;;
                esac
            done
            ;;
        counts)
            for word in "${words[@]:2}"; do
                case $word in
                --*) grep -qF -e "$word" <<<"$usage" || printf '%s: counts has no %s\n' "$line" "$word" ;;
                *) grep -qxF -e "$word" <<<"$operations" || printf '%s: no operation %s\n' "$line" "$word" ;;
                esac
            done
            ;;
        check)
            for word in "${words[@]:2}"; do
                grep -qE "^ +.*\\b$word\\b" <<<"$usage" || printf '%s: there is no suite %s\n' "$line" "$word"
            done
            ;;
        esac
    done < <(commands)
}
verdict "its commands are ones that there are" "$(wrong_commands)"

lacking_benchmarks() {
    local name rows
    rows=$(between bench | sed -n 's/^| `\([a-z][a-z0-9_]*\)` |.*/\1/p')
    [ -n "$rows" ] || printf 'the table of the last run has no rows\n'
    for name in $rows; do
        grep -qxF -e "$name" <<<"$benchmarks" || printf '%s: no such benchmark\n' "$name"
    done
}
verdict "every row of the last run is a benchmark" "$(lacking_benchmarks)"

# In the text, too, what is called a row is one.
lacking_rows() {
    local name
    grep -oE 'rows? `[a-z0-9_]+`( and `[a-z0-9_]+`)?' "$document" | grep -oE '`[a-z0-9_]+`' | tr -d '`' | sort -u |
        while IFS= read -r name; do
            begins_one "$benchmarks" "$name" || printf '%s: no such benchmark\n' "$name"
        done
}
verdict "rows that the text names are benchmarks" "$(lacking_rows)"

# The README quotes the same run.
readme_differs() {
    local name ratio cpus
    sed -n 's/^| [^|`]* | `\([a-z0-9_]*\)` | [^|]* | \([^|]*\) |$/\1 \2/p' "$source_directory/README.md" |
        while read -r name ratio; do
            for cpus in one near far; do
                between bench | sed -n "s/^| \`${name}\` | ${cpus}[^|]*|[^|]*|[^|]*| \([0-9.]*\) |.*/$cpus \1/p"
            done | sed 's/^one //' | paste -sd, | sed 's/,/, /g' | grep -qxF -e "$ratio" ||
                printf 'README.md has another ratio of %s: tests/docs/put_table.py writes both\n' "$name"
        done
}
verdict "README.md quotes its ratios" "$(readme_differs)"

counts_differ() {
    diff <(sed -n 's/^| `\([a-z0-9_]*\)` | \([0-9.]*\) | \([a-z]*\) |$/\1 \2 \3/p' <<<"$(between counts)") \
        <(grep -v '^#' "$source_directory/tests/counts/pins.txt" | awk '{ print $1, $2, $3 }') ||
        printf 'tools/dev counts --pin writes both\n'
    grep -qF "Built by $(sed -n 's/^# build: //p' "$source_directory/tests/counts/pins.txt"):" "$document" ||
        printf 'the compiler is not that of the pins\n'
}
verdict "its table of instructions is that of the pins" "$(counts_differ)"

lacking_files() {
    local file
    grep -oE '\]\([^)#]+' "$document" | sed 's/^](//' | grep -v '^https\?:' | sort -u | while IFS= read -r file; do
        [ -e "$source_directory/docs/$file" ] || printf '%s is not there\n' "$file"
    done
    true
}
verdict "what it points to is there" "$(lacking_files)"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
