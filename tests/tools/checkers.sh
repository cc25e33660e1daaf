#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The checkers that users have find users' mistakes with slots: AddressSanitizer in a program that is linked with the library as it is
# installed, and valgrind around a program that knows nothing of it. Takes the directory of the build from NUMAPOOL_BUILD, or as its
# argument. The last line is "N passed, N failed".
set -euo pipefail

build=$(cd "${1:-${NUMAPOOL_BUILD:-.}}" && pwd)
source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
read -r -a compiler <<<"${CC:-cc}"
scratch=$(mktemp -d)
daemon=
passed=0
failed=0
unset NUMAPOOL_SOCKET XDG_RUNTIME_DIR
export LD_LIBRARY_PATH=$build/.libs

clean_up() {
    if [ -n "$daemon" ]; then kill -TERM "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap clean_up EXIT

compile() { # PROGRAM OPTION...
    local program=$1
    shift
    "${compiler[@]}" -g -O1 -pthread "$@" -I"$source_directory/include" "$source_directory/tests/tools/misuse.c" \
        -L"$build/.libs" -lnumapool -o "$scratch/$program" >"$scratch/compile" 2>&1
}

verdict() { # WHAT STATUS
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok: %s\n' "$1"
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$1"
        head -n 40 "$scratch/out" | sed 's/^/    /'
    fi
}

# A program with a mistake: the report has every PATTERN.
finds() { # WHAT COMMAND -- PATTERN...
    local what=$1 command=() pattern
    shift
    while [ "$1" != -- ]; do
        command+=("$1")
        shift
    done
    shift
    timeout -k 5 120 "${command[@]}" >"$scratch/out" 2>&1 || true
    for pattern; do
        if ! grep -qE -e "$pattern" "$scratch/out"; then
            printf 'no line like: %s\n' "$pattern"
            verdict "$what" 1
            return
        fi
    done
    verdict "$what" 0
}

# A program without: it ends well, and nothing is reported.
quiet() { # WHAT COMMAND...
    local what=$1 status=0
    shift
    timeout -k 5 120 "$@" >"$scratch/out" 2>&1 || status=$?
    [ "$status" -eq 0 ] && [ "$(cat "$scratch/out")" = ended ] || status=1
    verdict "$what" "$status"
}

# ---------------------------------------------------------------- AddressSanitizer

address_sanitizer() {
    local poisoned="AddressSanitizer: use-after-poison" frame="in main .*misuse\.c"
    export ASAN_OPTIONS=detect_leaks=1:fast_unwind_on_malloc=0 # the library has no frame pointers
    quiet "AddressSanitizer: a program without a mistake" "$scratch/with-asan" fine
    finds "AddressSanitizer: read after put" "$scratch/with-asan" read-after-put -- "$poisoned" "^READ of size 1" "$frame"
    finds "AddressSanitizer: write after put" "$scratch/with-asan" write-after-put -- "$poisoned" "^WRITE of size 1" "$frame"
    finds "AddressSanitizer: write after send" "$scratch/with-asan" write-after-send -- "$poisoned" "$frame"
    finds "AddressSanitizer: read after release" "$scratch/with-asan" read-after-release -- "$poisoned" "$frame"
    finds "AddressSanitizer: write beyond the end" "$scratch/with-asan" overrun -- "$poisoned" "$frame"
    export NUMAPOOL_SOCKET=$scratch/socket
    quiet "AddressSanitizer: a pool of the daemon, no mistake" "$scratch/with-asan" fine
    finds "AddressSanitizer: a pool of the daemon, write after send" "$scratch/with-asan" write-after-send -- "$poisoned" "$frame"
    unset NUMAPOOL_SOCKET
    export MISUSE_MALLOC=1
    quiet "AddressSanitizer: blocks of malloc, no mistake" "$scratch/with-asan" fine
    finds "AddressSanitizer: blocks of malloc, read after put" "$scratch/with-asan" read-after-put -- \
        "heap-use-after-free" "freed by" "previously allocated by" "in get .*misuse\.c"
    finds "AddressSanitizer: blocks of malloc, write beyond the end" "$scratch/with-asan" overrun -- "heap-buffer-overflow" "$frame"
    finds "AddressSanitizer: blocks of malloc, a slot never put" "$scratch/with-asan" leak -- \
        "detected memory leaks" "Direct leak of 100 byte" "in get .*misuse\.c"
    unset MISUSE_MALLOC
}

# ---------------------------------------------------------------- valgrind

memcheck=(valgrind -q --leak-check=full --child-silent-after-fork=yes)
valgrind_memcheck() {
    local frame="main \(misuse\.c"
    quiet "valgrind: a program without a mistake" "${memcheck[@]}" "$scratch/plain" fine
    finds "valgrind: read after put" "${memcheck[@]}" "$scratch/plain" read-after-put -- \
        "Invalid read of size 1" "is 0 bytes inside a block of size 100 free'd" "Block was alloc'd at" "$frame"
    finds "valgrind: write after put" "${memcheck[@]}" "$scratch/plain" write-after-put -- \
        "Invalid write of size 1" "is 5 bytes inside a block of size 100 free'd" "$frame"
    finds "valgrind: write after send" "${memcheck[@]}" "$scratch/plain" write-after-send -- \
        "Invalid write of size 1" "is 5 bytes inside a block of size 100 free'd" "numapool_send" "$frame"
    finds "valgrind: read after release" "${memcheck[@]}" "$scratch/plain" read-after-release -- \
        "Invalid read of size 1" "block of size 100 free'd" "$frame"
    finds "valgrind: write beyond the end" "${memcheck[@]}" "$scratch/plain" overrun -- "Invalid write of size 1" "$frame"
    finds "valgrind: a slot looked at before it was written" "${memcheck[@]}" "$scratch/plain" undefined -- \
        "depends on uninitialised value" "$frame"
    finds "valgrind: a slot never put" "${memcheck[@]}" "$scratch/plain" leak -- \
        "100 bytes in 1 blocks are definitely lost" "get \(misuse\.c"
    export MISUSE_MALLOC=1
    quiet "valgrind: blocks of malloc, no mistake" "${memcheck[@]}" "$scratch/plain" fine
    finds "valgrind: blocks of malloc, read after put" "${memcheck[@]}" "$scratch/plain" read-after-put -- \
        "Invalid read of size 1" "block of size 100 free'd" "Block was alloc'd at"
    finds "valgrind: blocks of malloc, a slot never put" "${memcheck[@]}" "$scratch/plain" leak -- \
        "100 bytes in 1 blocks are definitely lost" "get \(misuse\.c"
    unset MISUSE_MALLOC
}

# ---------------------------------------------------------------- all of them

if nm -D "$build/.libs/libnumapool.so" | grep -q ' __[at]san_init'; then
    printf 'the library itself is built with a sanitizer: this is about one that is not\n'
    exit 77
fi
"$build/numapoold" --socket "$scratch/socket" --pool pay,size=100,count=64,checks=sites >"$scratch/daemon" 2>&1 &
daemon=$!
for ((i = 0; i < 100; i++)); do
    [ -S "$scratch/socket" ] && break
    sleep 0.1
done

if compile with-asan -fsanitize=address; then
    address_sanitizer
else
    printf 'NOT RUN: AddressSanitizer, with which %s does not link here\n' "${compiler[0]}"
fi
if ! command -v valgrind >/dev/null; then
    printf 'NOT RUN: valgrind, which is not installed\n'
elif ! compile plain; then
    verdict "misuse.c compiles" 1
elif ! grep -q 'HAVE_VALGRIND_MEMCHECK_H=1' "$build/Makefile"; then
    printf 'NOT RUN: valgrind, which the library was built without the headers of\n'
else
    valgrind_memcheck
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
