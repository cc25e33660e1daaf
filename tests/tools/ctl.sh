#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# numapoolctl against a real daemon with real clients. Takes the directory of the build from NUMAPOOL_BUILD, or as its
# argument. The last line is "N passed, N failed".
set -euo pipefail

build=${1:-${NUMAPOOL_BUILD:-.}}
ctl=$build/numapoolctl
help=$build/tests/tools/ctl_help
scratch=$(mktemp -d)
export NUMAPOOL_SOCKET=$scratch/socket
unset XDG_RUNTIME_DIR
passed=0
failed=0
daemon=
client=

clean_up() {
    exec 7>&- || true
    if [ -n "$client" ]; then kill -KILL "$client" 2>/dev/null || true; fi
    if [ -n "$daemon" ]; then kill -TERM "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap clean_up EXIT

verdict() { # WHAT STATUS
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok: %s\n' "$1"
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$1"
        sed 's/^/    /' "$scratch/out" "$scratch/err" 2>/dev/null || true
    fi
}

# shellcheck source=tests/tools/script_help.sh
. "$(dirname "${BASH_SOURCE[0]}")/script_help.sh"
at_least() { [ "$(value "$1")" -ge "$2" ] || { printf '%s is %s, below %s\n' "$1" "$(value "$1")" "$2"; return 1; }; }

# All of its conditions, each a command.
try() { # WHAT CONDITION...
    local what=$1 condition
    shift
    for condition in "$@"; do
        if ! eval "$condition"; then
            printf 'not so: %s\n' "$condition"
            verdict "$what" 1
            return
        fi
    done
    verdict "$what" 0
}

start_daemon() {
    "$build/numapoold" --log=error --pool pay,size=128,count=64K --pool small,size=4096,count=1000 2>"$scratch/daemon.log" &
    daemon=$!
    wait_for daemon_answers || { cat "$scratch/daemon.log"; return 1; }
}
daemon_answers() { "$ctl" pools >"$scratch/out" 2>"$scratch/err" && says '^small '; }

start_client() { # ARGUMENT...: lives until end_client
    rm -f "$scratch/in" "$scratch/client"
    mkfifo "$scratch/in"
    "$help" "$@" <"$scratch/in" >"$scratch/client" 2>&1 &
    client=$!
    exec 7>"$scratch/in"
    wait_for grep -q ready "$scratch/client" || { cat "$scratch/client"; return 1; }
}
end_client() {
    local status=0
    exec 7>&-
    wait "$client" || status=$?
    client=
    return "$status"
}

worker_pid() { tr ' ' '\n' <"/proc/$daemon/task/$daemon/children" | head -n 1; }
nobody_is_there() { "$ctl" --json clients >"$scratch/out" 2>"$scratch/err" && is clients "0 elements" >/dev/null; }

# ---- without a daemon

try "without a daemon it says so, and how to get one" "run 2 pools" \
    "complains 'no numapoold listens at .*: start it'"
try "a wrong command line is 64" "run 64" "run 64 nonsense" "run 64 stats a b" "run 64 --nonsense pools"
try "it says its version and how it is used" "run 0 --version" \
    "says '^numapoolctl \\(numapool\\) [0-9]'" "run 0 --help" "says 'verify'"

# ---- a daemon without clients

start_daemon
try "pools are listed" "run 0 pools" "says '^pay +65,536 +128 B +8 MiB '" "says '^small +1,000 +4 KiB '"
try "pools as JSON" "run 0 --json pools" "is pools.0.pool pay" "is pools.0.slots 65536" "is pools.1.slot_bytes 4096" \
    "is pools.1.clients 0"
try "one pool alone" "run 0 pools small" "! says '^pay '" "says '^small '"
try "a pool that there is not" "run 2 stats nosuch" "complains \"no pool 'nosuch'\""
try "a new pool is all free" "run 0 --json stats pay" "is pools.0.total.slots 65536" "is pools.0.total.free_slots 65536" \
    "is pools.0.total.node all" "is pools.0.total.low_water 65536" "is pools 1\\ elements"
try "metadata is at most 9 bytes a slot" "[ \$(value pools.0.total.metadata_bytes_per_slot | cut -d. -f1) -lt 9 ]"
try "nobody is there" "run 0 --json clients" "is clients '0 elements'" "run 0 channels" "says 'no channels'"
try "check finds nothing" "run 0 check" \
    "says '^pool pay: 65536 slots = 65536 free \\+ 0 held \\+ 0 in flight; every slot has exactly one owner\$'" \
    "says '^pool small: 1000 slots = 1000 free'"
try "every page is on its node" "run 0 verify" "run 0 --json verify pay" "is misplaced_pages 0" "is pools.0.nodes.0.where.0.node 0" \
    "is pools.0.nodes.0.payload_misplaced 0" "is pools.0.nodes.0.words_misplaced 0" "is pools.0.nodes.0.pages_state right"
verify_at_once() { # N: none is turned away
    local asker askers=()
    for ((asker = 0; asker < $1; asker++)); do
        "$ctl" --socket="$NUMAPOOL_SOCKET" verify >"$scratch/asker.$asker" 2>&1 &
        askers+=($!)
    done
    for asker in "${askers[@]}"; do wait "$asker" || return 1; done
}
try "eight who verify at once all have their answer" "verify_at_once 8"

# ---- a client that holds, sends and releases

start_client hold pay 100 50 20
try "who holds how much" "run 0 --json clients" "is clients.0.pid $client" "is clients.0.program ctl_help" \
    "is clients.0.connected true" "is clients.0.pools.0.pool pay" "at_least clients.0.held 100" "is clients.0.in_flight 50" "is clients.0.uid $(id -u)"
try "clients as a table" "run 0 clients" "says '^ +[0-9]+ +$client +ctl_help '"
try "clients of a pool that nobody has open" "run 0 --json clients small" "is clients '0 elements'"
try "how far a lane has come" "run 0 --json channels" "is channels.0.channel ctl.test" "is channels.0.pool pay" \
    "is channels.0.senders 1" "is channels.0.receivers 1" "is channels.0.depth 30" "is channels.0.lanes.0.sent 50" \
    "is channels.0.lanes.0.released 20" "is channels.0.lanes.0.sender_pid $client" "is channels.0.lanes.0.receiver_pid $client" \
    "is channels.0.lanes.0.state active" "is channels.0.lanes.0.redelivered 0" "is channels.0.kind slots" "is channels.0.lanes.0.kind slots"
try "channels as a table" "run 0 channels" "says '^channel ctl.test of pool pay: senders 1, receivers 1, unreleased messages 30\$'"
try "names of others do not command the terminal" "run 0 channels" "says '^channel rude\\?\\[2J\\?2J of pool pay'"
try "stats count the words" "run 0 --json stats pay" "at_least pools.0.total.held 100" "is pools.0.total.in_flight 50" \
    "at_least pools.0.total.refills 1" "at_least daemon.clients_admitted 1"
try "stats as a table" "run 0 stats pay" "says '^pool pay: placement even\$'" "says '^ *all +65,536 '"
try "check adds up" "run 0 --json check pay" "is wrong 0" "is pools.0.in_flight 50" "at_least pools.0.held 100"
kill -KILL "$client"
{ wait "$client" || true; } 2>/dev/null # the shell need not say that it was killed
client=
try "what a killed client held is free again" "wait_for nobody_is_there" "run 0 --json check pay" "is pools.0.held 0" \
    "is pools.0.wrong 0"

# ---- while others are at work

start_client churn pay
quiet=0
for ((round = 0; round < 20; round++)); do
    run 0 check pay || quiet=1
    run 0 channels || quiet=1
    run 0 stats || quiet=1
done
verdict "looking at clients at work finds nothing wrong" "$quiet"
kill -KILL "$(worker_pid)"
try "a worker that is replaced meanwhile is asked again" "run 0 clients" "run 0 check" "run 0 --json stats" \
    "at_least daemon.worker_starts 2"
try "and the client has not noticed" "kill -0 $client" "end_client"

# ---- something wrong

start_client scribble pay 65000
try "a word that was overwritten is found" "run 1 check" "says 'findings: 1\$'" \
    "says '^  pool pay, node [0-9]+, slot [0-9]+: word \\(held by client 999, .*names no live client'" \
    "says '^pool small: .*every slot has exactly one owner\$'" "run 1 --json check pay" "is wrong 1" \
    "is pools.0.findings '1 elements'"
try "made right again, nothing is found" "end_client" "run 0 check"

# ---- the end of the daemon

kill -TERM "$daemon"
wait "$daemon" || true
daemon=
try "a daemon that has ended is not there" "run 2 check" "complains 'no numapoold listens'"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
