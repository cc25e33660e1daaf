#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Where pools are put, by each policy, on imagined nodes: by a daemon's configuration and by its admins. What they are on stands in
# numapoolctl's tables; that imagined nodes prove nothing about real ones is why the same is done in guests. Takes the directory of
# the build from NUMAPOOL_BUILD, or as its argument. The last line is "N passed, N failed".
set -euo pipefail

build=${1:-${NUMAPOOL_BUILD:-.}}
build=$(cd "$build" && pwd)
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

# shellcheck source=tests/tools/script_help.sh
. "$(dirname "${BASH_SOURCE[0]}")/script_help.sh"

# The same by a thread on node 0 or 1, each of which has one CPU.
run_on() { # NODE STATUS ARGUMENT...
    local node=$1 wanted=$2 status=0
    shift 2
    timeout -k 5 60 taskset -c "$node" "$ctl" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
    [ "$status" -eq "$wanted" ] || { printf 'numapoolctl %s: exit status %s, not %s\n' "$*" "$status" "$wanted"; return 1; }
}
logged() { grep -qE -e "$1" "$scratch/log"; }

# Nodes and tiers of a pool's arenas, and slots of each: "0:0=50 1:0=50 2:1=10".
layout() { # POOL
    local count i nodes tiers text=
    timeout -k 5 60 "$ctl" --json pools "$1" >"$scratch/pools" && timeout -k 5 60 "$ctl" --json stats "$1" >"$scratch/stats" || return 1
    count=$("$help" query pools.0.arenas <"$scratch/pools")
    for ((i = 0; i < count; i++)); do
        nodes=$("$help" query "pools.0.nodes.$i" <"$scratch/pools")
        tiers=$("$help" query "pools.0.tiers.$i" <"$scratch/pools")
        text="$text $nodes:$tiers=$("$help" query "pools.0.nodes.$i.slots" <"$scratch/stats")"
    done
    printf '%s\n' "${text# }"
}
lies() { [ "$(layout "$1")" = "$2" ] || { printf 'pool %s lies on %s, not %s\n' "$1" "$(layout "$1")" "$2"; return 1; }; }
is_placed() { # POOL PLACEMENT STRICT
    run 0 --json pools "$1" && is pools.0.placement "$2" && is pools.0.strict "$3"
}

start_daemon() { # ARGUMENT...
    taskset -c 0 "$build/numapoold" --log=info "$@" 2>"$scratch/log" &
    daemon=$!
    wait_for "$ctl" pools >"$scratch/out" 2>"$scratch/err" || { cat "$scratch/log"; return 1; }
}
end_daemon() {
    local status=0
    kill -TERM "$daemon"
    wait "$daemon" || status=$?
    daemon=
    return "$status"
}
worker_pid() { tr ' ' '\n' <"/proc/$daemon/task/$daemon/children" | head -n 1; }

# A client on one node that sends to itself: its lane is there.
on_node_of_receiver() { # NODE
    local status=0
    rm -f "$scratch/in" "$scratch/client"
    mkfifo "$scratch/in"
    taskset -c "$1" "$help" hold even 1 1 1 <"$scratch/in" >"$scratch/client" 2>&1 &
    client=$!
    exec 7>"$scratch/in"
    wait_for grep -q ready "$scratch/client" && run 0 --json channels even && is channels.0.lanes.0.node "$1" &&
        is channels.0.lanes.0.receiver_node "$1" || status=1
    exec 7>&-
    wait "$client" || status=1
    client=
    return "$status"
}

cpus=$(nproc)
if [ "$cpus" -lt 2 ] || ! taskset -c 1 true 2>/dev/null; then
    echo "NOT RUN: two CPUs that can be chosen are needed, for a thread on each of two nodes; there are $cpus"
    echo "0 passed, 0 failed"
    exit 0
fi

# Two nodes, a third of slower memory, all of unequal distance; 3 is nearer to 0 than 1 is, and has no CPU that there is.
cat >"$scratch/machine" <<'MACHINE'
node 0 memory=16M cpus=0
node 1 memory=64M cpus=1
node 2 memory=32M
node 3 memory=32M
distance 0 1 = 21
distance 0 2 = 40
distance 1 2 = 45
distance 0 3 = 50
distance 1 3 = 40
MACHINE
export NUMAPOOL_TOPOLOGY=$scratch/machine

# ---- the configuration

cat >"$scratch/conf" <<'CONF'
[pool even]
size = 64
count = 1001
[pool memory]
size = 64
count = 1000
placement = memory
[pool said]
size = 64
node_slots = 100:0
node_slots = 30
strict = yes
[pool local]
size = 64
count = 1000
placement = local
[pool spills]
size = 64
count = 100
spill = 11
CONF
try "a daemon makes what its configuration says" "start_daemon --config='$scratch/conf'"
try "even: the same on each ordinary node" "lies even '0:0=501 1:0=500'" "is_placed even even false"
try "memory: a node of 16 MiB and one of 64" "lies memory '0:0=200 1:0=800'" "is_placed memory memory false"
try "explicit: as it was said, on slow memory too" "lies said '0:0=100 2:0=30'" "is_placed said explicit true"
try "local: on the daemon's node" "lies local '0:0=1000'" "is_placed local local false"
try "spilling: besides, on memory-only nodes" "lies spills '0:0=50 1:0=50 2:1=6 3:1=5'" "run 0 --json pools spills" "is pools.0.spill_slots 11" \
    "logged \"pool 'spills': 111 slots .* on nodes 0, 1, to spill to 2, 3\""
try "every page is where it should be, as far as imagined nodes go" "run 0 verify"
try "the next worker finds them as they were" "kill -KILL \$(worker_pid)" "wait_for logged 'was taken over'" "wait_for run 0 pools" \
    "lies spills '0:0=50 1:0=50 2:1=6 3:1=5'" "is_placed said explicit true"

# ---- admins

try "an admin's local pool is on the admin's node" "run_on 1 0 pool create mine --size=64 --count=500 --placement=local" "lies mine '1:0=500'"
try "and grows there" "run_on 0 0 pool grow mine --count=10" "lies mine '1:0=500 1:0=10'"
try "memory and explicit by the command line" "run 0 pool create m --size=64 --count=10 --placement=memory" "lies m '0:0=2 1:0=8'" \
    "run 0 pool create x --size=64 --node-slots=0,5,0,6 --placement=explicit" "lies x '1:0=5 3:0=6'"
try "spilling and growing to spill to more" "run 0 pool create s --size=64 --count=10 --spill=4" "lies s '0:0=5 1:0=5 2:1=2 3:1=2'" \
    "run 0 pool grow s --count=3 --node=3" "lies s '0:0=5 1:0=5 2:1=2 3:1=2 3:1=3'"
try "growth goes where it has fewest" "run 0 pool create g --size=64 --count=7" "lies g '0:0=4 1:0=3'" "run 0 pool grow g --count=9" \
    "lies g '0:0=4 1:0=3 1:0=9'" "run 0 pool grow g --count=1" "lies g '0:0=4 1:0=3 1:0=9 0:0=1'"

# 16 MiB are too few for 12 MiB more and what is there: the rest is on the node that is next, and the log says so.
try "what does not fit goes to the nearest" "run_on 0 0 pool create wide --size=64K --count=400 --placement=local" \
    "[[ \$(layout wide) =~ ^0:0=[0-9]+\ 1:0=[0-9]+$ ]]" "logged \"pool 'wide': node 0 has room for [0-9]+ of 400 slots: [0-9]+ are on node 1\"" \
    "is_placed wide local false"
try "strict fails instead, with node and remedy" "run_on 0 2 pool create tight --size=64K --count=400 --placement=local --strict" \
    "complains 'node 0'" "complains 'make it smaller|free memory'" "run 2 pools tight"
try "even pools never go elsewhere" "run 2 pool create tight --size=64K --count=1000" "complains 'node 0'"
try "a strict pool that fits is there, and is called so" "run 0 pool destroy wide" "run_on 1 0 pool create tight --size=64 --count=10 --placement=local --strict" \
    "lies tight '1:0=10'" "is_placed tight local true"
try "no device of that name" "run 2 pool create d --size=64 --count=10 --near=no-such-device" "complains \"'no-such-device'\""
try "strict and spilling exclude each other" "run 2 pool create d --size=64 --count=10 --strict --spill=1" "complains strict"
try "a node that is not there" "run 2 pool create d --size=64 --node-slots=0,0,0,0,7" "complains 'node 4: there is no such node'" \
    "run 2 pool grow g --count=1 --node=9" "complains 'node 9'"
try "a wrong command line is 64" "run 64 pool create d --size=64 --count=1 --placement=near" "run 64 pool create d --size=64 --count=1 --placement=here" \
    "run 64 pool create d --size=64 --count=1 --placement=even --near=eth0" "run 64 pool grow g --count=1 --strict"

# ---- lanes

try "lanes are on their receiver's node" "on_node_of_receiver 1" "on_node_of_receiver 0"

try "the daemon ends in order" "end_daemon"

# ---- what cannot be is refused before anything is made

try "a daemon without memory-only nodes does not spill" \
    "! NUMAPOOL_TOPOLOGY=2x64M timeout 30 '$build/numapoold' --pool=p,size=64,count=10,spill=5 2>'$scratch/log'" "logged 'cannot spill'"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
