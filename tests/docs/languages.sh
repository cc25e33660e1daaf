#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The examples in C++ and Python, beside a daemon of their own: each language alone, each with the other, with a worker killed, with errors.
# Needs the build tree of $NUMAPOOL_BUILD.
set -euo pipefail

source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
build_directory=$(cd "${NUMAPOOL_BUILD:-$source_directory/build}" && pwd)
scratch=$(mktemp -d)
daemon=
passed=0
failed=0
end() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$daemon" ] || wait "$daemon" 2>/dev/null || true
    rm -rf "$scratch"
}
trap end EXIT

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

if [ ! -e "$build_directory/.libs/libnumapool.so" ] || ldd "$build_directory/.libs/libnumapool.so" | grep -qE 'lib(a|t|ub)san'; then
    printf 'NOT RUN: examples in other languages need the shared library, without sanitizers\n0 passed, 0 failed\n'
    exit 0
fi
export NUMAPOOL_LIBRARY=$build_directory/.libs/libnumapool.so NUMAPOOL_SOCKET=$scratch/socket PYTHONDONTWRITEBYTECODE=1
mkfifo "$scratch/ready"
"$build_directory/numapoold" --socket="$NUMAPOOL_SOCKET" --log=warn --ready-fd=3 --pool=pay,size=128,count=8K \
    3>"$scratch/ready" </dev/null 2>"$scratch/daemon.log" &
daemon=$!
read -r _ <"$scratch/ready" || true

languages=()
if command -v "${CXX:-g++}" >/dev/null; then
    try "the C++ example compiles as C++11 without a warning" "${CXX:-g++}" -std=c++11 -O1 -Wall -Wextra -Werror "-I$source_directory/include" \
        -o "$scratch/work_queue" "$source_directory/docs/examples/cpp/work_queue.cc" "-L$build_directory/.libs" \
        "-Wl,-rpath,$build_directory/.libs" -lnumapool
    languages+=("$scratch/work_queue")
else
    printf 'NOT RUN: the C++ example (no C++ compiler)\n'
fi
if command -v python3 >/dev/null; then
    languages+=("$source_directory/docs/examples/python/work_queue.py")
else
    printf 'NOT RUN: the Python example (no python3)\n'
fi

# Jobs 1 .. 3000, sent while the worker waits for them and when it does not yet.
queue() { # GIVER WORKER CHANNEL
    timeout 30 "$1" give "$3" 1 1000
    timeout 60 "$2" work "$3" 30000 3000 >"$scratch/result" &
    local worker=$!
    timeout 30 "$1" give "$3" 1001 2000
    wait "$worker"
    diff "$scratch/result" - <<<"jobs 3000, sum $((3000 * 3001 / 2 + 3000))"
}

# Two workers share the jobs, one of them is killed: what it had not released comes to the other.
queue_with_death() { # GIVER WORKER CHANNEL
    timeout -s KILL 1 "$2" work "$3" 20000 &
    local doomed=$!
    timeout 60 "$2" work "$3" 2000 >"$scratch/result" &
    local worker=$!
    timeout 30 "$1" give "$3" 1 500
    wait "$doomed" || true
    timeout 30 "$1" give "$3" 501 500
    wait "$worker"
    grep -qE '^jobs [0-9]+, sum [0-9]+$' "$scratch/result"
    # what the survivor did not wait for, others find; then nothing is left
    timeout 30 "$2" work "$3" 300 >/dev/null
    diff <(timeout 30 "$2" work "$3" 100) - <<<"jobs 0, sum 0"
}

no_pool_is_told() { # PROGRAM
    local status=0
    NUMAPOOL_SOCKET=$scratch/nowhere timeout 30 "$1" give c 1 1 2>"$scratch/errors" || status=$?
    cat "$scratch/errors"
    [ "$status" -eq 1 ] && grep -q "numapoold" "$scratch/errors"
}

number=0
for giver in "${languages[@]}"; do
    for worker in "${languages[@]}"; do
        number=$((number + 1))
        try "jobs from ${giver##*/} to ${worker##*/}" queue "$giver" "$worker" "jobs$number"
        try "${worker##*/} killed while it works for ${giver##*/}" queue_with_death "$giver" "$worker" "deaths$number"
    done
    try "${giver##*/} says the library's sentence" no_pool_is_told "$giver"
done

all_free() {
    "$build_directory/numapoolctl" check
}
try "every slot has one owner afterwards" all_free

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
