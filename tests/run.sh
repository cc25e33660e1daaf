#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh LOG_DIRECTORY [PROGRAM...] [--together PROGRAM...]
# Runs each test program, keeps its output in LOG_DIRECTORY and adds up the checks that it reports: one after the other, those behind
# --together as many at a time as there are processors.
#
# run.sh --count LOG_DIRECTORY LOG...
# Adds up the logs of programs that automake's `make check` ran (their .trs files say which failed).
#
# A program reports by the lines of Check ("100%: Checks: 12, Failures: 0, Errors: 0"), or by a closing line
# "N passed, N failed"; without either it counts as one. NUMAPOOL_TEST_TIMEOUT_S bounds each program (600).
# The last line is "N passed, N failed"; the exit status is not 0 if any failed.
set -euo pipefail

timeout_s=${NUMAPOOL_TEST_TIMEOUT_S:-600}
failures=$(dirname "${BASH_SOURCE[0]}")/failures.awk
passed_total=0
failed_total=0

# Reads a log; prints "PASSED FAILED". Counts that a program prints while failing never hide its exit status.
count_log() { # LOG STATUS
    awk -v status="$2" '
        /%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+/ {
            line = $0
            sub(/.*Checks: /, "", line)
            split(line, number, /[^0-9]+/)
            reported = 1
            bad = number[2] + number[3]
            failed += bad
            passed += number[1] - bad
        }
        /^[0-9]+ passed, [0-9]+ failed$/ { closing = 1; closing_passed = $1; closing_failed = $3 }
        END {
            if (closing && !reported) { reported = 1; passed = closing_passed; failed = closing_failed }
            if (!reported) { passed = (status == 0); failed = (status != 0) }
            if (status != 0 && failed == 0) failed = 1
            print passed + 0, failed + 0
        }' "$1"
}

account() { # NAME LOG STATUS SECONDS
    local passed failed verdict=PASS
    read -r passed failed < <(count_log "$2" "$3")
    passed_total=$((passed_total + passed))
    failed_total=$((failed_total + failed))
    if [ "$failed" -ne 0 ]; then
        verdict=FAIL
        awk -v most=40 -f "$failures" "$2" | sed 's/^/    /'
    fi
    printf '%s %s: %d passed, %d failed%s\n' "$verdict" "$1" "$passed" "$failed" "$4"
    grep -hE '^ *(\*\*\* )?NOT RUN' "$2" | sort -u | sed 's/^ */    /' || true
}

# Of those that are running, by process: name and second of the start.
declare -A running=()
together=1

start_one() { # PROGRAM
    local path=$1
    [[ $path == /* ]] || path=./$path
    timeout -k 10 "$timeout_s" "$path" </dev/null >"$log_directory/$(basename "$path").log" 2>&1 &
    running[$!]="$(basename "$path") $SECONDS"
}

# Waits for the next that ends, and accounts it.
end_one() {
    local process status=0 name start_s
    wait -n -p process "${!running[@]}" || status=$?
    read -r name start_s <<<"${running[$process]}"
    unset "running[$process]"
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        printf 'ended by the time limit of %s s, or killed\n' "$timeout_s" >>"$log_directory/$name.log"
    fi
    account "$name" "$log_directory/$name.log" "$status" " ($((SECONDS - start_s)) s)"
}

if [ "${1:-}" = --count ]; then
    log_directory=$2
    shift 2
    mkdir -p "$log_directory"
    for log in "$@"; do
        status=0
        if [ ! -e "$log" ] || [ ! -e "${log%.log}.trs" ]; then
            printf 'there is no log of it: it was not built, or not run\n' >"$log_directory/$(basename "$log")"
            account "$(basename "$log" .log)" "$log_directory/$(basename "$log")" 1 ""
            continue
        fi
        # 77 is automake's "skipped", which its result file says too.
        result=$(sed -n 's/^:test-result: *//p' "${log%.log}.trs" | head -n 1)
        cp "$log" "$log_directory/"
        case $result in
        PASS | XFAIL) ;;
        SKIP)
            printf 'SKIP %s, which says:\n' "$(basename "$log" .log)"
            tail -n 5 "$log" | sed 's/^/    /'
            continue
            ;;
        *) status=1 ;;
        esac
        account "$(basename "$log" .log)" "$log" "$status" ""
    done
else
    log_directory=$1
    shift
    mkdir -p "$log_directory"
    for program in "$@"; do
        if [ "$program" = --together ]; then
            together=$(nproc)
            continue
        fi
        start_one "$program"
        while [ "${#running[@]}" -ge "$together" ]; do
            end_one
        done
    done
    while [ "${#running[@]}" -gt 0 ]; do
        end_one
    done
fi

printf '%d passed, %d failed\n' "$passed_total" "$failed_total"
[ "$failed_total" -eq 0 ]
