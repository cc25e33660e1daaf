#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every public header compiles by itself, twice in one unit, as C99, C11 and C++11 without a warning; and its inline
# functions do when they are used. Takes CC and CXX from the environment.
set -euo pipefail

source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
read -r -a c_compiler <<<"${CC:-cc}"
read -r -a cxx_compiler <<<"${CXX:-}"
warnings=(-Wall -Wextra -Wshadow -pedantic -pedantic-errors -Werror -fsyntax-only "-I$source_directory/include")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0

try() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        printf 'ok: %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$what"
    fi
}

each_standard() { # NAME C99_UNIT C11_UNIT CXX_UNIT
    local options=("${warnings[@]}")
    # liburing.h, which it includes, asks for it
    [[ $1 != *uring.h ]] || options+=(-D_GNU_SOURCE)
    try "$1 as C99" "${c_compiler[@]}" "${options[@]}" -std=c99 -x c "$2"
    try "$1 as C11" "${c_compiler[@]}" "${options[@]}" -std=c11 -x c "$3"
    if [ "${#cxx_compiler[@]}" -ne 0 ]; then
        try "$1 as C++11" "${cxx_compiler[@]}" "${options[@]}" -std=c++11 -x c++ "$4"
    else
        printf 'left out: %s as C++11 (no C++ compiler)\n' "$1"
    fi
}

for header in "$source_directory"/include/numapool.h "$source_directory"/include/numapool/*.h; do
    [ -e "$header" ] || continue
    name=${header#"$source_directory"/include/}
    printf '#include <%s>\n#include <%s>\ntypedef int nothing_else;\n' "$name" "$name" >"$scratch/unit.c"
    each_standard "$name" "$scratch/unit.c" "$scratch/unit.c" "$scratch/unit.c"
done
unit=$source_directory/tests/unit/header_
each_standard "use of numapool.h" "${unit}c99.c" "${unit}c11.c" "${unit}cxx.cc"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
