#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# numapoolctl numa against a real daemon with clients on the wrong node, each in another way, on imagined nodes: its figures are those
# that the clients have counted themselves, and its sentences name the reason. Takes the directory of the build from NUMAPOOL_BUILD, or as its
# argument. The last line is "N passed, N failed".
set -euo pipefail

build=${1:-${NUMAPOOL_BUILD:-.}}
ctl=$build/numapoolctl
program=$build/tests/tools/numa_client
query=$build/tests/tools/ctl_help
scratch=$(mktemp -d)
export NUMAPOOL_SOCKET=$scratch/socket
unset XDG_RUNTIME_DIR NUMAPOOL_TOPOLOGY
passed=0
failed=0
daemon=
clients=()

mapfile -t cpus < <(taskset -pc $$ | sed 's/.*: //' | tr ',' '\n' | awk -F- '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }')
if [ "${#cpus[@]}" -lt 2 ]; then
    printf 'NOT RUN: threads on two nodes want two CPUs, and this process may use one\n1 passed, 0 failed\n'
    exit 0
fi
a=${cpus[0]}
b=${cpus[1]}

end_clients() {
    exec 7>&- 8>&- || true
    local client
    for client in "${clients[@]}"; do
        kill -KILL "$client" 2>/dev/null || true
        { wait "$client" || true; } 2>/dev/null # the shell need not say that it was killed
    done
    clients=()
}
end_daemon() {
    end_clients
    if [ -n "$daemon" ]; then
        kill -TERM "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    fi
    daemon=
}
trap 'end_daemon; rm -rf "$scratch"' EXIT

verdict() { # WHAT STATUS
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok: %s\n' "$1"
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$1"
        tail -n 60 "$scratch/out" "$scratch/err" "$scratch"/told.* 2>/dev/null | sed 's/^/    /' || true
    fi
}
# shellcheck source=tests/tools/script_help.sh
. "$(dirname "${BASH_SOURCE[0]}")/script_help.sh"
value() { "$query" query "$1" <"$scratch/out"; }
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
wait_for() { # COMMAND...: until it succeeds; 30 s
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        if "$@"; then return 0; fi
        sleep 0.05
    done
    return 1
}
daemon_answers() { "$ctl" pools >"$scratch/out" 2>"$scratch/err"; }

start_daemon() { # TOPOLOGY ARGUMENT...
    end_daemon
    export NUMAPOOL_TOPOLOGY=$1
    shift
    "$build/numapoold" --log=error "$@" 2>"$scratch/daemon.log" &
    daemon=$!
    wait_for daemon_answers || { cat "$scratch/daemon.log"; return 1; }
}

is_ready() { [ -e "$scratch/told.$1" ] && [ "$(grep -c '^ready$' "$scratch/told.$1")" -ge "$2" ]; }

# One at a time, at descriptor 7; a second one at 8.
start_client() { # STEP...: until it waits
    begin_client 7 "$@"
}
begin_client() { # DESCRIPTOR POOL STEP...
    local number=$1
    shift
    rm -f "$scratch/in.$number" "$scratch/told.$number"
    mkfifo "$scratch/in.$number"
    "$program" "$@" <"$scratch/in.$number" >"$scratch/told.$number" 2>&1 &
    clients+=($!)
    client=$!
    if [ "$number" -eq 7 ]; then exec 7>"$scratch/in.7"; else exec 8>"$scratch/in.8"; fi
    wait_for is_ready "$number" 1 || { cat "$scratch/told.$number"; return 1; }
}

# What the client itself has told of a node, by the library's call.
told() { # COUNTER NODE
    sed -n "s/^node $2:.* $1 \\([0-9]*\\).*/\\1/p" "$scratch/told.7" | tail -n 1
}
# All that it has told stands in the document of its pool, too.
agrees() { # NODE...
    local node place counter key
    for node in "$@"; do
        for counter in local remote foreign spilled homeless home_returns followed; do
            for ((place = 0; place < 8; place++)); do
                [ "$(value "pools.0.clients.0.nodes.$place.node")" != "$node" ] || break
            done
            key=pools.0.clients.0.nodes.$place.$counter
            [ -n "$(told "$counter" "$node")" ] || { printf 'the client told nothing of node %s\n' "$node"; return 1; }
            is "$key" "$(told "$counter" "$node")" || return 1
        done
    done
}
cause_is() { is pools.0.clients.0.diagnosis.cause "$1"; }
sentence_has() { [[ "$(value pools.0.clients.0.diagnosis.sentence)" == *"$1"* ]] || { value pools.0.clients.0.diagnosis.sentence; return 1; }; }
is_gone() { "$ctl" --json clients >"$scratch/out" 2>"$scratch/err" && is clients "0 elements" >/dev/null; }

# ---- two nodes

start_daemon 2x64M --pool=pay,size=128,count=32K --pool=one,size=128,node_slots=16384:0
try "nodes that are imagined are told in the first line, and in the document" "run 0 numa" "says '^NODES ARE IMAGINED \\(2x64M\\)'" \
    "run 0 --json numa" "is topology.emulated true" "is topology.name 2x64M" "is pools.0.pool pay" "is pools.1.pool one" \
    "is pools.0.nodes.1.slots 16384" "is pools.0.nodes.1.free_slots 16384" "is pools.1.nodes.1.slots 0" \
    "is pools.0.total.slots 32768" "is per_second false" "run 0 stats" "says '^NODES ARE IMAGINED \\(2x64M\\)'"
try "one pool alone, one that there is not, and a wrong command line" "run 0 --json numa one" "is pools '1 elements'" \
    "run 2 numa none" "complains \"no pool 'none'\"" "run 64 numa --interval=x" "run 64 stats --interval=1" "run 64 numa --count=2"

start_client pay on "$a" open own take 1000 threads "$b" tell wait
try "who takes of its own node: local, and nothing to say" "run 0 --json numa pay" "is pools.0.clients '1 elements'" \
    "is pools.0.clients.0.pid $client" "is pools.0.clients.0.program numa_client" "is pools.0.clients.0.nodes.0.local 1000" \
    "is pools.0.clients.0.total.remote 0" "is pools.0.clients.0.diagnosis null" "agrees 0 1" "[ \"\$(told emulated 0)\" = 1 ]"
try "where its threads are" "is pools.0.clients.0.threads.0.node 0" "is pools.0.clients.0.threads.0.threads 1" \
    "is pools.0.clients.0.threads.1.node 1" "is pools.0.clients.0.threads_text '0:1 1:1'" "is pools.0.clients.0.threads_unreadable null" \
    "run 0 clients" "says ' threads on '" "says '^ +[0-9]+ +$client .* 0:1 1:1 '" "run 0 --json clients" "is clients.0.threads.1.node 1"
try "as a table" "run 0 numa pay" "says '^pool pay\$'" "says '^0 +16,384 +[0-9,]+ +1,000 +0 +0 +0 +0 +0 +0 +0\$'" \
    "says '^ *[0-9]+ +$client +numa_client .* 0:1 1:1 +0 +1,000 +0 '"
end_clients
try "what the gone have counted stays" "wait_for is_gone" "run 0 --json numa pay" "is pools.0.nodes.0.local 1000" \
    "is pools.0.departed.total.local 1000" "is pools.0.clients '0 elements'" "run 0 numa pay" "says '^ *gone .* 0 +1,000 '"

start_client pay on "$b" open 0 take 1000 tell wait
try "a magazine of another node by its number" "run 0 --json numa pay" "cause_is by_number" "agrees 0 1" \
    "is pools.0.clients.0.nodes.0.remote 1000" \
    "sentence_has 'runs on node 1 and takes 100 % of its slots from node 0'" "sentence_has NUMAPOOL_OWN_NODE" \
    "is pools.0.clients.0.diagnosis.as_it_should_be false" "run 0 numa pay" "says '^client [0-9]+ \\(numa_client, process $client\\) runs on node 1 and'"
end_clients

rude=$scratch/$(printf 'rude\033[2J\302\2332J')
cp "$program" "$rude"
program=$rude
start_client pay on "$b" open 0 take 1000 wait
program=$build/tests/tools/numa_client
no_command() { ! grep -q "$(printf '\033')" "$scratch/out" && ! grep -q "$(printf '\302\233')" "$scratch/out"; }
try "the name of a program does not command the terminal" "run 0 numa pay" "says 'rude.*2J'" no_command "run 0 clients" no_command \
    "run 0 --json numa pay" "cause_is by_number" no_command
end_clients

start_client one on "$b" open own take 1000 tell wait
try "a node without slots of the pool" "run 0 --json numa one" "cause_is homeless" "agrees 0" "is pools.0.clients.0.nodes.0.homeless 1000" \
    "sentence_has 'because the pool has none on node 1, where it runs: numapoolctl pool grow one --node=1 --count=16384'"
end_clients
try "what the sentence says to do helps" "run 0 pool grow one --node=1 --count=16384"
start_client one on "$b" open own take 1000 tell wait
try "so that the next client is at home" "run 0 --json numa one" "is pools.0.clients.0.diagnosis null" "agrees 0 1" \
    "is pools.0.clients.0.nodes.1.local 1000"
end_clients

start_client pay on "$a" open own take 16384 take 4000 tell wait
try "a node that ran empty" "run 0 --json numa pay" "cause_is ran_empty" "agrees 0 1" "is pools.0.clients.0.nodes.0.foreign 4000" \
    "is pools.0.clients.0.nodes.1.spilled 4000" "is pools.0.clients.0.nodes.1.remote 4000" \
    "sentence_has 'most from node 1, because node 0 had none left: numapoolctl pool grow pay --node=0 --count=16384'"
end_clients

start_client pay on "$a" open own hop "$a" "$b" 40 tell wait
try "threads that move" "run 0 --json numa pay" "cause_is moving" "agrees 0 1" "sentence_has 'pin them'" \
    "[ \$((\$(told followed 0) + \$(told followed 1))) -ge 20 ]"
end_clients

start_client pay on "$a" open own take 1000 hand "$b" 1000 tell wait
try "slots that its own threads give back on another node" "run 0 --json numa pay" "cause_is handed_over" "agrees 0 1" \
    "is pools.0.clients.0.nodes.0.home_returns 1000" "is pools.0.clients.0.diagnosis.as_it_should_be false" "sentence_has 'without a channel'"
end_clients

begin_client 8 pay on "$b" open own receiver pay.out wait receive 1000 wait
receiving=$client
start_client pay on "$a" open 0 through pay.out send 1000 tell wait
echo go >&8
received() { wait_for is_ready 8 2; }
place_of() { # PID: of the client in the document
    local place
    for ((place = 0; place < 4; place++)); do
        if [ "$(value "pools.0.clients.$place.pid")" = "$1" ]; then printf '%s' "$place"; return; fi
    done
}
try "a receiver that gives back a sender's slots does as it should" received "run 0 --json numa pay" \
    "is pools.0.clients.\$(place_of $receiving).diagnosis.as_it_should_be true" \
    "is pools.0.clients.\$(place_of $receiving).diagnosis.cause received" "is pools.0.clients.\$(place_of $receiving).total.local 0"
end_clients

begin_client 8 pay on "$b" open own receiver pay.far wait receive 3000 wait
echo go >&8 # it receives from now on: a lane holds fewer than are sent
start_client pay on "$a" sender pay.far send 3000 tell wait
sending=$client
sender_is() { is "pools.0.clients.$(place_of "$sending").$1" "$2"; }
try "a sender that takes slots where they are received does as it should" received "wait_for is_ready 7 1" \
    "run 0 --json numa pay" "sender_is diagnosis.cause receivers" "sender_is diagnosis.as_it_should_be true" "sender_is total.home_returns 0"
end_clients

# ---- again and again

start_client pay on "$a" open own wait take 5000 wait
( sleep 0.7; echo go >&7 ) &
try "what was counted in each interval, per second" "run 0 --json numa pay --interval=0.5 --count=4" \
    "[ \$(wc -l <$scratch/out) -eq 4 ]" "python3 -c 'import json, sys
reports = [json.loads(line) for line in open(sys.argv[1])]
assert all(report[\"per_second\"] and report[\"seconds\"] >= 0.5 for report in reports), reports
moved = [report[\"pools\"][0][\"clients\"][0][\"total\"][\"local\"] * report[\"seconds\"] for report in reports]
assert abs(sum(moved) - 5000) < 5 and min(moved) < 5, moved' $scratch/out"
try "as a table" "run 0 numa pay --interval=0.05 --count=2" "[ \$(grep -c '^counts per second, in the last' $scratch/out) -eq 2 ]"
end_clients

# ---- counters that somebody has written over, and the worker's death

start_client pay on "$a" open own take 1000 scribble wait
valid() { python3 -m json.tool <"$scratch/out" >/dev/null; }
try "counters written over are odd, and nothing more" "run 0 --json numa pay" "valid" "cause_is unbelievable" \
    "is pools.0.clients.0.nodes.0.local 9223372036854775807" "is pools.0.total.local 9223372036854775807" "run 0 numa pay" \
    "says 'counts that cannot be true'" "run 0 --json stats pay" "valid" \
    "is pools.0.total.local 9223372036854775807" "is pools.0.total.spilled 9223372036854775807" "run 0 stats" "run 0 numa pay --interval=0.05 --count=2"
end_clients
try "neither are those of who has gone" "wait_for is_gone" "run 0 --json numa pay" "valid" "run 0 numa pay" "run 0 --json stats pay" "valid"

run 0 --json numa one
before=$(value pools.0.departed.nodes.0.remote)
start_client one on "$b" open 0 take 1000 wait take 500 tell wait
worker=$(tr ' ' '\n' <"/proc/$daemon/task/$daemon/children" | head -n 1)
kill -KILL "$worker"
try "a worker's death forgets no count" "wait_for daemon_answers" "run 0 --json numa one" "is pools.0.clients.0.pid $client" \
    "is pools.0.clients.0.nodes.0.remote 1000" "echo go >&7" "wait_for is_ready 7 2" "run 0 --json numa one" \
    "is pools.0.clients.0.nodes.0.remote 1500" "cause_is by_number" "agrees 0 1"
kill -KILL "$client"
{ wait "$client" || true; } 2>/dev/null # the shell need not say that it was killed
try "nor does the client's" "wait_for is_gone" "run 0 --json numa one" "is pools.0.departed.nodes.0.remote $((before + 1500))"
end_clients

# ---- a memory-only node

start_daemon 2x64M+1x64M --pool=pay,size=128,count=8K,spill=8K
start_client pay on "$a" open own take 3900 take 20 take 20 take 20 take 20 take 20 take 20 tell wait
try "a memory-only node is told as such" "run 0 numa pay" "says '^2, memory only +8,192 '" "run 0 --json numa pay" \
    "is pools.0.nodes.2.memory_only true" "is pools.0.nodes.0.memory_only false" "agrees 0 1 2"
try "slots of it while the own node runs low" "[ \$(value pools.0.clients.0.nodes.2.spilled) -gt 0 ]" \
    "is pools.0.clients.0.nodes.2.tiered \$(value pools.0.clients.0.nodes.2.spilled)"
end_clients

# ---- a node without memory

cat >"$scratch/machine" <<MACHINE
node 0 memory=64M cpus=$a
node 1 cpus=$b
MACHINE
start_daemon "$scratch/machine" --pool=pay,size=128,count=8K
start_client pay on "$b" open own take 1000 tell wait
try "a node without memory cannot be given slots" "run 0 --json numa pay" "cause_is homeless" "agrees 0" \
    "sentence_has 'node 1, where it runs, has no memory: run it on node 0'"
end_clients

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
