#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# numapoolctl pool create, grow and destroy, as an admin meets them, against a real daemon. Takes the directory of the build from
# NUMAPOOL_BUILD, or as its argument. The last line is "N passed, N failed".
set -euo pipefail

build=${1:-${NUMAPOOL_BUILD:-.}}
build=$(cd "$build" && pwd)
ctl=$build/numapoolctl
help=$build/tests/tools/ctl_help
scratch=$(mktemp -d)
chmod 755 "$scratch"
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

logged() { grep -qE -e "$1" "$scratch/log"; }

start_daemon() { # ARGUMENT...
    "$build/numapoold" --log=info "$@" 2>"$scratch/log" &
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
kill_client() {
    kill -KILL "$client"
    { wait "$client" || true; } 2>/dev/null # the shell need not say that it was killed
    exec 7>&-
    client=
}
worker_pid() { tr ' ' '\n' <"/proc/$daemon/task/$daemon/children" | head -n 1; }
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
there_is_no() { run 2 stats "$1" && complains "no pool '$1'"; }

# ---- the command line

try "a wrong command line is 64" "run 64 pool" "run 64 pool create" "run 64 pool nonsense x" "run 64 pool create x" \
    "run 64 pool create x --size=64" "run 64 pool create x --count=5" "run 64 pool create x --size=64 --count=5 --node-slots=5" \
    "run 64 pool grow x" "run 64 pool grow x --count=1 --exact" "run 64 pool destroy x --size=1" "run 64 pool create x y --size=1 --count=1" \
    "run 64 pool create x --size=1Q --count=1" "run 64 pool create x --size=1 --count=1 --pages=4m" "run 64 pools --discard"
try "without a daemon it says so" "run 2 pool create x --size=64 --count=5" "complains 'no numapoold listens'"

# ---- made, enlarged, destroyed

start_daemon --pool pay,size=128,count=1000
try "a pool is made" "run 0 pool create new --size=100 --count=4K --magazine=32 --sharers=3 --exact --low-watermark=50" \
    "says '^pool new: 4,096 slots are there\$'" "run 0 --json pools new" "is pools.0.slots 4096" "is pools.0.slot_bytes 100" \
    "is pools.0.magazine_slots 32" "is pools.0.sharers 3" "is pools.0.exact_counts true" "is pools.0.low_watermark 50" \
    "is pools.0.state open" "is pools.0.arenas 1" "run 0 check new" "says 'every slot has exactly one owner'" "run 0 verify new"
try "and that is logged, with who asked for it" "logged \"pool 'new': process [0-9]+ of user $(id -u) asks to make it\"" \
    "logged \"pool 'new': 4096 slots of 100 bytes\""
try "not twice" "run 2 pool create new --size=100 --count=4K" "complains \"there is a pool 'new' already\""
try "slots on one node alone" "run 0 pool create one --size=64 --node-slots=77" "run 0 --json pools one" "is pools.0.slots 77"
try "what cannot be had is said" "run 2 pool create much --size=1M --count=4M" "complains 'make it smaller'" "there_is_no much"
try "a node that there is not" "run 2 pool create far --size=64 --node-slots=0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,5" \
    "complains 'on node 20'" "there_is_no far" "run 2 pool grow new --count=5 --node=20" "complains 'on node 20'"
try "a name that cannot be" "run 2 pool create 'a b' --size=64 --count=1" "complains 'letters, digits'"
try "an access list that names nobody" "run 2 pool create odd --size=64 --count=1 --access=direct=no.such.user" "complains 'no.such.user'" \
    "there_is_no odd"
try "it grows" "run 0 pool grow new --count=1000" "says '^pool new: 1,000 slots more are there\$'" "run 0 --json pools new" \
    "is pools.0.slots 5096" "is pools.0.arenas 2" "is pools.0.node_count 1" "run 0 check new" "says '^pool new: 5096 slots = 5096 free'"
try "what there is not does not grow" "run 2 pool grow nothing --count=1" "complains \"no pool 'nothing'\""
try "as JSON" "run 0 --json pool create j --size=64 --count=10" "is pool j" "is done created" "run 0 --json pool grow j --count=3" \
    "is done grown" "is slots 3" "run 0 --json pool destroy j" "is done destroyed"
try "it is destroyed" "run 0 pool destroy one" "says '^pool one: destroyed\$'" "there_is_no one" "run 2 pool destroy one"

# ---- in use

start_client hold new 10 5 0
try "a pool that is open is not destroyed" "run 2 pool destroy new --discard" "complains '1 clients have pool .new. open'" "run 0 pools new"
try "it grows while it is used" "run 0 pool grow new --count=500" "run 0 check new" "says '^pool new: 5596 slots'"
try "when it is unused it ends" "run 0 pool destroy new --when-unused" "says 'ends when nobody has it open any more'" \
    "run 0 --json pools new" "is pools.0.state ending" "run 2 pool grow new --count=5" "complains 'going to be destroyed'" \
    "run 2 pool create new --size=64 --count=5" "complains 'ends when nobody'" "! \"$help\" hold new 1 0 0 </dev/null >\"$scratch/err\" 2>&1" \
    "complains 'going to be destroyed'"
kill -KILL "$(worker_pid)"
try "the next worker knows that too" "wait_for run 0 --json pools new" "is pools.0.state ending" "run 0 check new"
kill_client
try "and when its last client has died it is gone" "wait_for there_is_no new" "logged \"pool 'new' of 5596 slots is destroyed\"" \
    "logged 'messages that waited in it for a receiver are lost'" "run 0 channels" "says 'no channels'"
start_client hold pay 0 5 0
kill_client
try "messages that wait keep a pool" "wait_for run 2 pool destroy pay" "complains '5 messages wait'" "run 0 pool destroy pay --discard" \
    "there_is_no pay"
kill -KILL "$(worker_pid)"
try "what was destroyed does not come back with another worker" "wait_for run 0 --json pools" "is pools '0 elements'"
try "a place is used again, more often than there are places" \
    'for ((i = 0; i < 70; i++)); do run 0 pool create p --size=64 --count=10 && run 0 pool destroy p || exit 1; done'

# ---- who may

if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    chmod 666 "$NUMAPOOL_SOCKET"
    try "another user may not" "! as_nobody \"$ctl\" pool create his --size=64 --count=5 2>\"$scratch/err\"" "complains '65534'" "there_is_no his"
    run 0 pool create shared --size=64 --count=100 --access='direct=65534'
    try "who may only use a pool may not change it" "! as_nobody \"$ctl\" pool grow shared --count=5 2>\"$scratch/err\"" \
        "complains 'user 65534 may not enlarge this pool'" "! as_nobody \"$ctl\" pool destroy shared 2>\"$scratch/err\"" \
        "! as_nobody \"$ctl\" pool create his --size=64 --count=5 2>\"$scratch/err\"" "complains 'user 65534 may not make pools'"
    run 0 pool create theirs --size=64 --count=100 --access='admin=65534'
    try "an admin of a pool may enlarge and destroy it, and make none" "as_nobody \"$ctl\" pool grow theirs --count=5" \
        "! as_nobody \"$ctl\" pool create his --size=64 --count=5 2>\"$scratch/err\"" "as_nobody \"$ctl\" pool destroy theirs" "there_is_no theirs"
    end_daemon
    start_daemon --admin=65534
    try "an admin of the daemon may make pools, which are his" "as_nobody \"$ctl\" pool create his --size=64 --count=5" "run 0 --json pools his" \
        "is pools.0.uid 65534" "as_nobody \"$ctl\" pool destroy his"
else
    leave_out "what other users may: only root can become another, by setpriv"
fi

# ---- the end while memory is being made

"$ctl" pool create large --size=4K --count=100K >"$scratch/out" 2>"$scratch/err" &
asked=$!
wait_for logged "pool 'large': process [0-9]+ of user [0-9]+ asks to make it"
try "the daemon ends in order while it makes memory" "end_daemon"
kill -KILL "$asked" 2>/dev/null || true
{ wait "$asked" || true; } 2>/dev/null

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
