#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What the documents show is true: each example of the manual pages, of the README and of docs/*.md is taken out, compiled, run, and
# compared with the output that stands beside it. Needs the build tree of $NUMAPOOL_BUILD.
#
#   .\" example-begin NAME.KIND [daemon]     KIND: c (a C99 program), sh (a script), conf (for numapoold --config)
#   .\" example-end                          daemon: run beside a numapoold of its own, with a pool `pay`
#   .\" output-begin NAME.KIND               what it prints; without this that it succeeds is enough
#   .\" output-end
#
# In a Markdown file an example is the block after <!-- example:NAME -->; what it prints is the one after <!-- output:NAME -->.
set -euo pipefail

source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
build_directory=$(cd "${NUMAPOOL_BUILD:-$source_directory/build}" && pwd)
read -r -a compiler <<<"${CC:-cc}"
limit_s=30
scratch=$(mktemp -d)
daemon=
passed=0
failed=0

end_daemon() {
    [ -n "$daemon" ] || return 0
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
    daemon=
}
trap 'end_daemon; rm -rf "$scratch"' EXIT

try() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$scratch/log" 2>&1; then
        passed=$((passed + 1))
        printf 'PASS %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n' "$what"
        sed 's/^/    /' "$scratch/log"
    fi
}

# ---------------------------------------------------------------- taking out

# The lines between two marks of a manual page, as a reader sees them: without the macros around them and without escapes.
block_of_page() { # PAGE begin-mark end-mark
    awk -v begin=".\\\\\" $2" -v end=".\\\\\" $3" '
        $0 == begin || index($0, begin " ") == 1 { inside = 1; next }
        $0 == end { inside = 0 }
        inside' "$1" |
        sed -e '/^\.Bd /d' -e '/^\.Ed$/d' -e '/^\.nf$/d' -e '/^\.fi$/d' -e '/^\.EX$/d' -e '/^\.EE$/d' -e 's/^\\&//' \
            -e "s/\\\\(aq/'/g" -e 's/\\(ga/`/g' -e 's/\\(ha/^/g' -e 's/\\(ti/~/g' -e 's/\\-/-/g' -e 's/\\e/\\/g'
}

block_of_markdown() { # FILE example:NAME or output:NAME
    awk -v mark="<!-- $2 -->" '
        $0 == mark { found = 1; next }
        found && /^```/ { if (inside) exit; inside = 1; next }
        inside' "$1"
}

# ---------------------------------------------------------------- running

library_options=()
if [ -e "$build_directory/.libs/libnumapool.so" ]; then
    library_options=("-L$build_directory/.libs" "-Wl,-rpath,$build_directory/.libs" -lnumapool -luring)
else
    library_options=("$build_directory/.libs/libnumapool.a" -lnuma -luring -pthread)
fi

# Waits for its readiness, which the daemon tells by a line or, when it fails, by closing its end.
start_daemon() { # ARGUMENT...
    rm -f "$scratch/ready"
    mkfifo "$scratch/ready"
    "$build_directory/numapoold" --socket="$NUMAPOOL_SOCKET" --log=warn --ready-fd=3 "$@" 3>"$scratch/ready" </dev/null &
    daemon=$!
    local line=none
    IFS= read -r line <"$scratch/ready" && [ -z "$line" ]
}

ends_in_order() {
    local status=0
    kill "$daemon"
    wait "$daemon" || status=$?
    daemon=
    [ "$status" -eq 0 ]
}

compile() { # FILE.c
    "${compiler[@]}" -std=c99 -Wall -Wextra -Werror "-I$source_directory/include" -o "${1%.c}" "$1" "${library_options[@]}"
}

run() { # DIRECTORY COMMAND...: its output goes to DIRECTORY/output; where there is an `expected`, they agree
    local directory=$1
    shift
    (cd "$directory" && timeout -k 5 "$limit_s" "$@" >output 2>errors </dev/null) || {
        cat "$directory/output" "$directory/errors"
        return 1
    }
    cat "$directory/output"
    [ ! -s "$directory/expected" ] || diff "$directory/expected" "$directory/output"
}

one() { # DIRECTORY FILE daemon-or-nothing
    local directory=$1 file=$2 status=0
    export NUMAPOOL_SOCKET=$directory/socket
    [ -s "$directory/$file" ] || {
        printf 'nothing was found between its marks\n'
        return 1
    }
    case $file in
    *.c) compile "$directory/$file" || return 1 ;;
    *.conf)
        start_daemon --config="$directory/$file" || return 1
        ends_in_order
        return
        ;;
    esac
    if [ "$3" = daemon ]; then
        start_daemon --pool=pay,size=128,count=64K || return 1
    fi
    case $file in
    *.c) run "$directory" "./${file%.c}" || status=1 ;;
    *.sh) PATH=$build_directory:$PATH run "$directory" bash -eu "./$file" || status=1 ;;
    *)
        printf 'unknown kind of example\n'
        status=1
        ;;
    esac
    [ -z "$daemon" ] || ends_in_order || status=1
    return "$status"
}

prepared() { # FILE: a directory of its own
    local directory=$scratch/${1//./-}
    mkdir "$directory"
    printf '%s' "$directory"
}

# ---------------------------------------------------------------- all of them

for page in "$source_directory"/docs/man/*.[0-9]; do
    while read -r _ _ file environment; do
        directory=$(prepared "$file")
        block_of_page "$page" "example-begin $file" example-end >"$directory/$file"
        block_of_page "$page" "output-begin $file" output-end >"$directory/expected"
        try "${page##*/}: $file" one "$directory" "$file" "${environment:-}"
        end_daemon
    done < <(grep '^\.\\" example-begin ' "$page" || true)
done

for page in "$source_directory"/README.md "$source_directory"/docs/*.md; do
    while read -r name; do
        directory=$(prepared "${page##*/}-$name.c")
        block_of_markdown "$page" "example:$name" >"$directory/$name.c"
        block_of_markdown "$page" "output:$name" >"$directory/expected"
        try "${page##*/}: $name" one "$directory" "$name.c" ""
    done < <(sed -n 's/^<!-- example:\([a-z0-9-]*\) -->$/\1/p' "$page")
done

# ---------------------------------------------------------------- the pages themselves

well_formed() { # PAGE
    local findings
    if command -v mandoc >/dev/null; then
        findings=$(mandoc -T lint -W warning "$1" || true)
    else
        findings=$(man --warnings -E UTF-8 -l -Tutf8 -Z "$1" 2>&1 >/dev/null || true)
    fi
    printf '%s\n' "$findings"
    [ -z "$findings" ]
}
if command -v mandoc >/dev/null || command -v man >/dev/null; then
    for page in "$source_directory"/docs/man/*.[0-9]; do
        try "${page##*/} is well formed" well_formed "$page"
    done
else
    printf 'left out: the form of manual pages (neither mandoc nor man is installed)\n'
fi

# Every function of the header has its manual page.
documented() {
    local name lacking=
    for name in $(grep -v '^#' "$source_directory/include/numapool.h" | tr '\n' ' ' |
        grep -oE 'NUMAPOOL_API [^();]*\(' | sed -E 's/.*[ *]([a-z0-9_]+)\($/\1/' | sort -u); do
        grep -qE "^\.(Nm|Fn) ${name%_abi}( |\$)" "$source_directory"/docs/man/*.3 || lacking="$lacking $name"
    done
    [ -z "$lacking" ] || printf 'without a manual page:%s\n' "$lacking"
    [ -z "$lacking" ]
}
try "every function of numapool.h has a manual page" documented

# A block after <!-- file:PATH --> is that file.
quoted() { # PAGE PATH
    diff <(block_of_markdown "$1" "file:$2") "$source_directory/$2"
}
for page in "$source_directory"/docs/*.md; do
    while read -r path; do
        try "${page##*/} quotes $path as it is" quoted "$page" "$path"
    done < <(sed -n 's/^<!-- file:\([A-Za-z0-9._/-]*\) -->$/\1/p' "$page")
done

# What systemd would say of the unit.
verified() {
    sed "s#/usr/local/bin/numapoold#$build_directory/numapoold#" "$source_directory/docs/examples/systemd/numapoold.service" >"$scratch/numapoold.service"
    local findings
    findings=$(systemd-analyze verify --man=no "$scratch/numapoold.service" 2>&1) || findings="$findings (failed)"
    printf '%s\n' "$findings"
    [ -z "$findings" ]
}
if command -v systemd-analyze >/dev/null && systemd-analyze --version >/dev/null 2>&1; then
    try "systemd finds nothing wrong with numapoold.service" verified
else
    printf 'NOT RUN: what systemd says of numapoold.service (no systemd-analyze)\n'
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
