#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# install.sh BUILD_DIRECTORY
# Installs into a scratch directory and uses what is there as somebody else's program would: the README's example
# compiles, links (shared and static) and runs in each language; nothing but numapool_ is exported.
set -euo pipefail

source_directory=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build_directory=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0

try() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        printf 'PASS %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n' "$what"
    fi
}

variable() { # NAME: its value in the Makefile
    # shellcheck disable=SC2016 # make expands it
    printf 'print_variable:\n\t@echo $(%s)\n' "$1" |
        make -s --no-print-directory -C "$build_directory" -f Makefile -f - print_variable
}

image=$scratch/image
try "make install" make -s -C "$build_directory" install "DESTDIR=$image"
library_directory=$image$(variable libdir)
program_directory=$image$(variable bindir)
examples_directory=$image$(variable paymentsdir)
include_directory=$image$(variable includedir)
export PKG_CONFIG_PATH=$library_directory/pkgconfig PKG_CONFIG_SYSROOT_DIR=$image
export LD_LIBRARY_PATH=$library_directory

for file in libnumapool.so libnumapool.a pkgconfig/numapool.pc; do
    try "installed: $file" test -e "$library_directory/$file"
done
for file in numapoold numapoolctl; do
    try "installed: $file says its version" "$program_directory/$file" --version
done
for header in "$source_directory"/include/numapool.h "$source_directory"/include/numapool/*.h; do
    name=${header#"$source_directory"/include/}
    try "installed: $name" cmp -s "$header" "$include_directory/$name"
done
for file in numapool-payments-demo numapool-payments-gateway numapool-payments-validator numapool-payments-ledger; do
    try "installed: $file" test -x "$examples_directory/$file"
done

# ---- names

soname=$(readelf -d "$library_directory/libnumapool.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
try "SONAME is libnumapool.so.0" test "$soname" = libnumapool.so.0

exported() {
    nm -D --defined-only --without-symbol-versions "$library_directory/libnumapool.so" |
        awk '$2 != "A" { print $3 }' | sort -u
}
# A declaration may go over several lines; its name is the word before the first parenthesis after NUMAPOOL_API.
declared() {
    cat "$source_directory"/include/numapool.h "$source_directory"/include/numapool/*.h | grep -v '^#' | tr '\n' ' ' |
        grep -oE 'NUMAPOOL_API [^();]*\(' | sed -E 's/.*[ *]([a-z0-9_]+)\($/\1/' | sort -u
}
exports_are_declarations() {
    diff <(declared) <(exported) | sed -n 's/^</declared but not exported:/p; s/^>/exported but not declared:/p' >"$scratch/difference"
    cat "$scratch/difference"
    [ ! -s "$scratch/difference" ]
}
try "exported symbols are the declared ones" exports_are_declarations

static_names_are_ours() {
    local strangers
    strangers=$(nm -g --defined-only "$library_directory/libnumapool.a" 2>/dev/null |
        awk 'NF == 3 && $3 !~ /^(np_|numapool_|_\.stapsdt\.base$)/ { print $3 }' | sort -u)
    [ -z "$strangers" ] || printf 'global in libnumapool.a without np_ or numapool_: %s\n' "$strangers"
    [ -z "$strangers" ]
}
try "names in the static library begin with np_ or numapool_" static_names_are_ours

# ---- the README's example

example=$scratch/hello
awk '/<!-- example:hello -->/ { found = 1 }
     found && /^```c$/ { inside = 1; next }
     inside && /^```/ { exit }
     inside' "$source_directory/README.md" >"$example.c"
try "the README has an example (<!-- example:hello -->)" test -s "$example.c"

read -r -a c_compiler <<<"$(variable CC)"
read -r -a cxx_compiler <<<"$(variable CXX)"
read -r -a flags <<<"$(pkg-config --cflags --libs numapool)"
# Of the static library, everything but the library itself stays shared: not every system has the others static.
read -r -a static_flags <<<"$(pkg-config --cflags --libs --static numapool |
    sed 's/-lnumapool/-Wl,-Bstatic -lnumapool -Wl,-Bdynamic/')"

compile_and_run() { # PROGRAM COMMAND... ; the command's -o is added
    local program=$1
    shift
    "$@" -o "$program" && timeout -k 5 60 "$program" </dev/null
}
try "the README's example in C99" compile_and_run "$example-c99" \
    "${c_compiler[@]}" -std=c99 -Wall -Wextra -Werror "$example.c" "${flags[@]}"
try "the README's example in C11" compile_and_run "$example-c11" \
    "${c_compiler[@]}" -std=c11 -Wall -Wextra -Werror "$example.c" "${flags[@]}"
if [ "${#cxx_compiler[@]}" -ne 0 ]; then
    try "the README's example in C++11" compile_and_run "$example-cxx" \
        "${cxx_compiler[@]}" -std=c++11 -Wall -Wextra -Werror -x c++ "$example.c" -x none "${flags[@]}"
fi
try "the README's example, static library" compile_and_run "$example-static" \
    "${c_compiler[@]}" -std=c99 "$example.c" "${static_flags[@]}"
# ---- the rules of numapool_process(7) about linking

read -r -a whole_flags <<<"$(pkg-config --cflags --libs --static numapool)"
try "the README's example, wholly static" compile_and_run "$example-whole" \
    "${c_compiler[@]}" -std=c99 -static "$example.c" "${whole_flags[@]}"
cat >"$scratch/unload.c" <<'END'
#include <dlfcn.h>
#include <numapool.h>
#include <stdio.h>
/* Loads, works, unloads with a pool open, and loads again: what was open still is. */
int main(int argc, char **argv)
{
    struct numapool_options options = NUMAPOOL_OPTIONS_INIT;
    struct numapool_pool *pool;
    for (int round = 0; argc == 2 && round < 2; round++) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        int (*create)(struct numapool_pool **, const struct numapool_options *);
        int (*close_pool)(struct numapool_pool *);
        if (!library)
            return fprintf(stderr, "%s\n", dlerror()), 1;
        *(void **)&create = dlsym(library, "numapool_create");
        *(void **)&close_pool = dlsym(library, "numapool_close");
        if (round == 1)
            return close_pool(pool);
        options.name = "p", options.slot_bytes = 64, options.slots = 64;
        if (create(&pool, &options) < 0 || dlclose(library) != 0)
            return 1;
    }
    return 1;
}
END
try "dlopen, dlclose with a pool open, dlopen" "${c_compiler[@]}" -std=c99 "-I$include_directory" -o "$scratch/unload" "$scratch/unload.c" -ldl
try "what was open before dlclose still is" "$scratch/unload" "$library_directory/libnumapool.so"

needs_no_shared_library() { ! readelf -d "$1" | grep -q 'NEEDED.*libnumapool'; }
try "the static one needs no libnumapool.so" needs_no_shared_library "$example-static"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
