#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The benchmark runs through, for a moment each, and reports what it should; nothing here is said of times. Takes the directory of the
# build from NUMAPOOL_BUILD, or as its argument. The last line is "N passed, N failed".
set -euo pipefail

build=$(cd "${1:-${NUMAPOOL_BUILD:-.}}" && pwd)
bench=$build/tests/bench/bench
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0
cpu=$(grep -oE "^Cpus_allowed_list:.*" /proc/self/status | grep -oE "[0-9]+" | head -n 1)
unset NUMAPOOL_SOCKET XDG_RUNTIME_DIR

check() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$scratch/said" 2>&1; then
        passed=$((passed + 1))
        printf 'ok: %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$what"
        tail -n 30 "$scratch/said" | sed 's/^/    /'
    fi
}

# An option or file that cannot be: one line on standard error, nothing measured, a status that says whose fault it is.
refused() { # STATUS PART ARGUMENT...
    local wanted=$1 part=$2 status=0
    shift 2
    "$bench" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
    printf 'bench %s: status %d\n' "$*" "$status"
    cat "$scratch/out" "$scratch/err"
    [ "$status" -eq "$wanted" ] && [ ! -s "$scratch/out" ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] &&
        grep -qF -- "$part" "$scratch/err"
}

each_name_is_there_once() {
    "$bench" --list >"$scratch/list"
    awk '{ print $1 }' "$scratch/list" >"$scratch/names"
    cat "$scratch/names"
    [ -s "$scratch/names" ] && [ -z "$(sort "$scratch/names" | uniq -d)" ] && ! grep -qvxE '[a-z0-9_]+' "$scratch/names"
}

# Every benchmark, whatever it is; an interrupt of one must not leave its daemon behind.
all_run_through() {
    timeout -k 10 550 "$bench" --seconds 0.02 --slices 1 --json "$scratch/all.json" --markdown "$scratch/all.md" \
        --plots "$scratch/plots" --histograms >"$scratch/table" 2>"$scratch/left_out"
    cat "$scratch/left_out"
    tail -n 1 "$scratch/table"
    tail -n 1 "$scratch/table" | grep -qxE '[0-9]+ of [0-9]+ figures reached'
}

json_has_each_name() {
    python3 - "$scratch/all.json" "$scratch/names" "$scratch/left_out" <<'PYTHON'
import json, re, sys
rows = json.load(open(sys.argv[1]))
assert isinstance(rows, list)
keys = {"name", "params", "unit", "median", "p99", "p999", "floor", "ratio", "target", "met", "machine"}
for row in rows:
    assert keys <= row.keys(), (row["name"], keys - row.keys())
    least = 0 if row["unit"] == "gaps a second" else 1e-9  # in a moment there may be none
    assert row["median"] >= least and row["floor"] >= least and row["ratio"] >= least, row
    assert row["params"]["cpus"] in ("one", "near", "far", "mixed"), row
    assert (row["met"] is None) == (not row["target"]), row
found = {row["name"] for row in rows}
# What measures by itself may report more than one row, whose names begin with its own.
missing = {name for name in open(sys.argv[2]).read().split() if not any(row.startswith(name) for row in found)}
left_out = set(re.findall(r"so ([a-z0-9_]+) is not measured", open(sys.argv[3]).read()))
assert missing <= left_out, missing - left_out
PYTHON
}

table_and_document_have_each_name() {
    python3 - "$scratch/all.json" "$scratch/table" "$scratch/all.md" <<'PYTHON'
import json, sys
table, document = open(sys.argv[2]).read().splitlines(), open(sys.argv[3]).read()
for row in json.load(open(sys.argv[1])):
    assert any(line.split()[:2] == [row["name"], row["params"]["cpus"]] for line in table), row["name"]
    assert "| `%s` | %s" % (row["name"], row["params"]["cpus"]) in document, row["name"]
PYTHON
}

# Those named and no others.
selects() { # NAME...
    "$bench" --seconds 0.01 --slices 1 --json "$scratch/one.json" "$1" >"$scratch/out"
    python3 -c 'import json, sys
found = {row["name"] for row in json.load(open(sys.argv[1]))}
assert found == set(sys.argv[3:]), (sys.argv[2], found)' "$scratch/one.json" "$@"
}

compares_with_itself() {
    "$bench" --seconds 0.02 --slices 3 --json "$scratch/one.json" get_put_inline >"$scratch/out"
    "$bench" --seconds 0.02 --slices 3 --baseline "$scratch/one.json" get_put_inline bulk_32 >"$scratch/out"
    cat "$scratch/out"
    grep -qE '^  [01] moved, [01] did not, 1 are not in it$' "$scratch/out"
}

finds_what_moved() {
    python3 - "$scratch/one.json" "$scratch/moved.json" <<'PYTHON'
import json, sys
rows = json.load(open(sys.argv[1]))
for row in rows:
    row["ratio"] = row["params"]["ratio_p10"] = row["params"]["ratio_p90"] = 1000
json.dump(rows, open(sys.argv[2], "w"))
PYTHON
    "$bench" --seconds 0.02 --slices 3 --baseline "$scratch/moved.json" get_put_inline >"$scratch/out"
    cat "$scratch/out"
    grep -qE '^  get_put_inline +one .*was 1000.000 .*: faster$' "$scratch/out" &&
        grep -qE '^  1 moved, 0 did not, 0 are not in it$' "$scratch/out"
}

shows_histograms() {
    grep -qE '^get_put_inline, one; a sample is ' "$scratch/table" && grep -qE '^ +[0-9.,]+\.\. *[0-9.,]+ \|.*#' "$scratch/table"
}

pictures_are_drawn() {
    local script name
    for script in "$scratch"/plots/*.gnuplot; do
        name=${script%.gnuplot}
        for picture in "$name-ratio.svg" "$name-latency.svg"; do
            tail -n 2 "$picture" | grep -q "</svg>" || { printf '%s is no picture\n' "$picture"; return 1; }
        done
    done
}

child_named() { # NAME: of $measuring; waits for it, 60 s
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        pgrep -P "$measuring" -x "$1" && return 0
        sleep 0.1
    done
    printf 'there is no %s\n' "$1"
    return 1
}

# A benchmark that is ended from outside, as soon as its other end is there, leaves neither daemon nor directory.
ended_from_outside() { # STATUS SIGNAL WHOM
    local status=0 peer
    mkdir -p "$scratch/place"
    TMPDIR=$scratch/place "$bench" --seconds 60 round_trip_128 >"$scratch/out" 2>"$scratch/err" &
    measuring=$!
    # The daemon is a child of that name too until it has become its program; the other end is forked after that.
    if ! child_named numapoold || ! child_named bench; then
        kill "$measuring"
        return 1
    fi
    peer=$(pgrep -P "$measuring" -x bench)
    sleep 0.2
    if [ "$3" = peer ]; then kill "-$2" "$peer"; else kill "-$2" "$measuring"; fi
    wait "$measuring" || status=$?
    printf 'status %d\n' "$status"
    cat "$scratch/err"
    ls "$scratch/place"
    [ "$status" -eq "$1" ] && rmdir "$scratch/place"
}

check "each benchmark has a name of its own" each_name_is_there_once
check "every benchmark runs through" all_run_through
check "the JSON has each of them, but for those that could not be measured and said so" json_has_each_name
sed "s/^bench: /NOT RUN: /" "$scratch/left_out"
check "table and document have each of them" table_and_document_have_each_name
check "histograms of subject and floor are printed" shows_histograms
if command -v gnuplot >/dev/null; then
    check "gnuplot draws each group" pictures_are_drawn
else
    printf 'NOT RUN: pictures, because gnuplot is not installed\n'
fi
check "a name selects that row alone" selects thousand thousand
check "how names begin selects them all" selects 'thousand*' thousand thousand_call thousand_malloc thousand_magazine_1024
check "a run compares with an earlier one" compares_with_itself
check "what moved is named" finds_what_moved
if grep -q "so round_trip_128 is not measured" "$scratch/left_out"; then
    printf 'NOT RUN: what becomes of a benchmark with two ends that is ended from outside, because there is only one CPU\n'
else
    check "one that is terminated cleans up" ended_from_outside 143 TERM lead
    check "one whose other end is killed says so and cleans up" ended_from_outside 1 KILL peer
    check "it has said so" grep -q "process of another end has ended" "$scratch/err"
fi
check "an unknown option is refused" refused 2 "no option --frob" --frob
check "an option without its value is refused" refused 2 "--json needs a value" --json
check "an unknown name is refused" refused 2 "begins with 'no_such'" no_such
check "seconds that are no number are refused" refused 2 "--seconds 2x is not a number from 0.01 to 3600" --seconds 2x
check "too many slices are refused" refused 2 "--slices 5000 is not a number from 1 to 4096" --slices 5000
check "one CPU twice is refused" refused 2 "not two different CPUs" --cpus "$cpu,$cpu"
check "a CPU that is not there is refused" refused 2 "may not run on CPU 1000" --cpus "$cpu,1000"
check "a file that cannot be written is refused before the run" refused 2 "$scratch/none/x cannot be written" --json "$scratch/none/x"
check "pictures into a file are refused" refused 2 "is not a directory" --plots "$bench"
check "a baseline that is not there is refused" refused 2 "cannot be read" --baseline "$scratch/none"
check "a baseline that is none is refused" refused 1 "--baseline $scratch/names: " --baseline "$scratch/names"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
