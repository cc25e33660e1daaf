#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What a compiler does not look at. Takes no arguments; the last line is "N passed, N failed".
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
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

# Files of the project: what git tracks or would; without git (a tarball) what is not built.
list_files() {
    if [ -e .git ] && command -v git >/dev/null; then
        git -c safe.directory="$PWD" ls-files --cached --others --exclude-standard
    else
        find . -path ./build -prune -o -path ./.build-aux -prune -o -path ./autom4te.cache -prune -o -type f -print |
            sed 's,^\./,,' | grep -vE '^(configure~?|aclocal\.m4|Makefile\.in)$'
    fi
}
existing() { while IFS= read -r file; do [ ! -f "$file" ] || printf '%s\n' "$file"; done; }

mapfile -t files < <(list_files | existing | sort)
mapfile -t texts < <(printf '%s\n' "${files[@]}" | grep -vE '\.(ach|png|svg|bin|json)$')
mapfile -t c_files < <(printf '%s\n' "${files[@]}" | grep -E '\.(c|h|cc)$')
scripts=()
pythons=()
for file in "${files[@]}"; do
    IFS= read -r line <"$file" 2>/dev/null || line=
    if [[ $line =~ ^'#!'.*(bash|/sh|env\ sh)$ ]]; then scripts+=("$file"); fi
    if [[ $line =~ ^'#!'.*python3?$ || $file == *.py ]]; then pythons+=("$file"); fi
done
mapfile -t sources < <(printf '%s\n' "${c_files[@]}" "${scripts[@]}" "${pythons[@]}" configure.ac Makefile.am .gitignore |
    cat - <(printf '%s\n' "${files[@]}" | grep -E '\.(map|pc\.in|mk|awk)$') | sort -u)

matches() { # PATTERN FILE...: FILE:LINE:TEXT of those that match, or nothing
    local pattern=$1
    shift
    [ "$#" -gt 0 ] || return 0
    grep -nHE -- "$pattern" "$@" || [ "$?" -eq 1 ]
}

without_licence() {
    for file in "${sources[@]}"; do
        head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT' || printf '%s\n' "$file"
    done
}
verdict "each source names its licence in its first lines" "$(without_licence)"

too_long() {
    local lines
    for file in "${sources[@]}"; do
        [ "$file" != Makefile.am ] || continue # lists
        lines=$(wc -l <"$file")
        [ "$lines" -le 600 ] || printf '%s: %d lines\n' "$file" "$lines"
    done
}
verdict "no source is longer than 600 lines" "$(too_long)"

verdict "no tabs and no trailing blanks in C" "$(matches $'\t|[ ]+$' "${c_files[@]}")"

# Every operation on an atomic says its order: the plain forms mean sequential consistency without saying so.
operations='(load|store|exchange|compare_exchange_(weak|strong)|fetch_(add|sub|or|and|xor)|flag_(test_and_set|clear))'
verdict "atomic operations name their memory order" \
    "$(matches "\\batomic_${operations}[[:space:]]*\\(|\\b__sync_[a-z]" "${c_files[@]}")"

# The brackets keep these patterns from finding themselves.
verdict "nothing is left to be done later" \
    "$(matches '\b([T]ODO|[F]IXME|[X]XX|[H]ACK)\b|\b[f]or now\b|[N]ot implemented|not [i]mplemented|[p]laceholder|\b[s]tubbed?\b' \
        "${texts[@]}")"

verdict "no paths of somebody's machine, no package hosts" \
    "$(matches '(^|[^A-Za-z0-9_.>)}])/([w]ork|[h]ome|[r]oot|[U]sers)/|[b]ash_jobs|[d]eb\.debian\.org|[p]ypi\.org|[a]rtifactory' \
        "${texts[@]}")"

verdict "the library does not end its process" \
    "$(mapfile -t library < <(printf '%s\n' "${c_files[@]}" | grep -E '^src/(core|numa|channel|service|persist)/')
    matches '(^|[^A-Za-z0-9_])(abort|exit|_exit|quick_exit)[[:space:]]*\(' "${library[@]}")"

verdict "the top level holds nothing else" \
    "$(printf '%s\n' "${files[@]}" |
        grep -vE '^((src|include|tools|tests|docs)/|(configure\.ac|Makefile\.am|README\.md|LICENSE)$|\.)' || true)"

# What Makefile.am names exists, and each file that it should name it does; a test program is named without its .c.
lists_and_tree() {
    local named file
    named=$(sed 's/#.*//' Makefile.am | grep -oE '(^|[[:space:]])(src|include|tools|tests|docs|\.ci)/[A-Za-z0-9_./-]+' | tr -d ' \t' |
        sort -u)
    while IFS= read -r file; do
        case $file in
        src/numapool.pc | *.la) ;; # made
        *.*) [ -e "$file" ] || printf 'named in Makefile.am but not there: %s\n' "$file" ;;
        esac
    done <<<"$named"
    for file in "${c_files[@]}" "${scripts[@]}" "${pythons[@]}"; do
        grep -qxF -e "$file" -e "${file%.c}" <<<"$named" || printf 'not named in Makefile.am: %s\n' "$file"
    done
}
verdict "the lists of Makefile.am and the tree agree" "$(lists_and_tree)"

not_executable() {
    for file in "${scripts[@]}"; do
        [ -x "$file" ] || printf '%s\n' "$file"
    done
}
verdict "scripts can be executed" "$(not_executable)"

if command -v shellcheck >/dev/null; then
    verdict "shellcheck" "$(shellcheck "${scripts[@]}" 2>&1 || true)"
else
    printf 'left out: shellcheck (not installed)\n'
fi

if command -v python3 >/dev/null; then
    verdict "python compiles" "$(python3 -c 'import sys
for name in sys.argv[1:]:
    compile(open(name, encoding="utf-8").read(), name, "exec")' "${pythons[@]}" 2>&1 || true)"
else
    printf 'left out: python (not installed)\n'
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
