#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What scripts that test numapoolctl and numapoold share: conditions that are tried, and what the program said. For sourcing; who does has
# set $scratch, $ctl and $help, and passed and failed to 0. What he defines after it is his own.

# shellcheck disable=SC2154 # who sources it sets them

# All of its conditions, each a command.
try() { # WHAT CONDITION...
    local what=$1 condition
    shift
    for condition in "$@"; do
        if ! eval "$condition"; then
            failed=$((failed + 1))
            printf 'FAILED: %s\n    not so: %s\n' "$what" "$condition"
            tail -n 40 "$scratch/out" "$scratch/err" "$scratch/log" 2>/dev/null | sed 's/^/    /' || true
            return
        fi
    done
    passed=$((passed + 1))
    printf 'ok: %s\n' "$what"
}
leave_out() { printf 'left out: %s\n' "$1"; }

# Runs numapoolctl; its output and errors are in $scratch/out and $scratch/err.
run() { # STATUS ARGUMENT...
    local wanted=$1 status=0
    shift
    timeout -k 5 60 "$ctl" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
    [ "$status" -eq "$wanted" ] || { printf 'numapoolctl %s: exit status %s, not %s\n' "$*" "$status" "$wanted"; return 1; }
}
says() { grep -qE -e "$1" "$scratch/out"; }
complains() { grep -qE -e "$1" "$scratch/err"; }
value() { "$help" query "$1" <"$scratch/out"; }
is() { [ "$(value "$1")" = "$2" ] || { printf '%s is %s, not %s\n' "$1" "$(value "$1")" "$2"; return 1; }; }

wait_for() { # COMMAND...: until it succeeds; 30 s
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        if "$@"; then return 0; fi
        sleep 0.05
    done
    return 1
}
