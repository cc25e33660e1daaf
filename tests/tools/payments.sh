#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Payments over TCP: every record that was sent gets its one reply, whole or split, from several at once; a sender that leaves in the
# middle of a record and a gateway that is killed leave no slot behind. Needs the build tree of $NUMAPOOL_BUILD.
set -euo pipefail

source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
build_directory=$(cd "${NUMAPOOL_BUILD:-$source_directory/build}" && pwd)
data=${NUMAPOOL_DATA:-$source_directory/tests/data}
programs=$build_directory/docs/examples/payments
scratch=$(mktemp -d)
export NUMAPOOL_SOCKET=$scratch/socket
passed=0
failed=0
pids=()

cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap cleanup EXIT

expect() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$scratch/log" 2>&1; then
        passed=$((passed + 1))
        printf 'PASS %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n' "$what"
        sed 's/^/    /' "$scratch/log" "$scratch"/*.err 2>/dev/null | tail -n 40
    fi
}

background() { # NAME COMMAND...: its output goes to NAME.out and NAME.err
    local name=$1
    shift
    "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" </dev/null &
    pids+=("$!")
}

# The port that a program says it listens on.
port_in() { # FILE
    local port
    for _ in $(seq 100); do
        port=$(sed -n 's/.* port \([0-9]*\).*/\1/p' "$1" | head -n 1)
        [ -z "$port" ] || break
        sleep 0.05
    done
    printf '%s' "$port"
}

start() { # CONNECTIONS that the gateway ends after, OPTION of the ledger...
    local connections=$1
    shift
    : >"$scratch/ledger.err"
    : >"$scratch/gateway.err"
    background ledger "$programs/numapool-payments-ledger" --reply 127.0.0.1:0 "$@"
    ledger=${pids[-1]}
    background validator "$programs/numapool-payments-validator"
    validator=${pids[-1]}
    background gateway "$programs/numapool-payments-gateway" --listen 127.0.0.1:0 --connections "$connections"
    gateway=${pids[-1]}
    replies=$(port_in "$scratch/ledger.err")
    port=$(port_in "$scratch/gateway.err")
}

finish() { # STATUS: the ledger's
    local status=0
    wait "$ledger" || status=$?
    kill "$validator"
    wait "$validator" "$gateway" || true
    [ "$status" -eq "$1" ] || printf 'the ledger ended with %s instead of %s\n' "$status" "$1"
    [ "$status" -eq "$1" ]
}


send() { # OPTION|FILE...
    timeout 60 "$programs/numapool-payments-send" --replies "$replies" "$port" "$@"
}

all_free() {

    for _ in $(seq 100); do
        if "$build_directory/numapoolctl" check --json >"$scratch/check" && ! "$build_directory/numapoolctl" stats --json |
            grep -E '"(held|in_flight)": [1-9]' >"$scratch/rest"; then
            return 0
        fi
        sleep 0.05
    done
    cat "$scratch/check" "$scratch/rest"
    return 1
}

ways() { # the gateway's report, as "in place, completed, copied"
    sed -n 's/.*records: \([0-9]*\) came whole into a slot, \([0-9]*\) were completed in it, \([0-9]*\) copied.*/\1 \2 \3/p' "$scratch/gateway.err"
}

records_are() { # AWK CONDITION on p (in place), c (completed), k (copied)
    ways | tee /dev/stderr | awk "{ p = \$1; c = \$2; k = \$3; found = 1; fine = $1 } END { exit !(found && fine) }"
}

status=0
"$programs/numapool-payments-gateway" --listen 1:2:3 >"$scratch/out" 2>&1 </dev/null || status=$?
expect "without a daemon the gateway says so" test "$status" -eq 1

background daemon "$build_directory/numapoold" --socket "$NUMAPOOL_SOCKET" --pool pay,size=128,count=4K --log info
for _ in $(seq 100); do [ ! -S "$NUMAPOOL_SOCKET" ] || break; sleep 0.05; done
sleep 0.2

# ---- whole records
start 1
expect "ten thousand payments over one connection get a reply each" send "$data/ppd-10010-records.ach"
expect "and are posted, with the totals that their sender states" finish 0
expect "most of them stay in the slot that the kernel put them into" records_are 'p > c + k'
expect "every slot is free" all_free

# ---- records cut by the stream
start 3
expect "records that are cut at every 100 bytes" send --split 100 "$data/ppd-mixed-debit-credit.ach" --repeat 300
expect "and with a prime step" send --split 37 "$data/ppd-mixed-debit-credit.ach" --repeat 50
expect "and slowly" send --split 100 --pause 3 "$data/ppd-mixed-debit-credit.ach" --repeat 10
expect "are put together again" finish 0
expect "in their slots, or by copying what had come too early" records_are 'c + k > 0'
expect "every slot is free" all_free

# ---- several at once, one of which sends damaged ones, one breaks off
start 4
send "$data/ppd-10010-records.ach" >"$scratch/one" 2>&1 &
one=$!
send --split 1000 "$data/ppd-10010-records.ach" >"$scratch/two" 2>&1 &
two=$!
expect "damaged payments are refused, and each has its reply" send --spoil 7 "$data/ppd-mixed-debit-credit.ach" --repeat 100
expect "a sender that leaves in the middle of a record" send --leave 6451 "$data/ppd-10010-records.ach"
expect "the others have all their replies" wait "$one"
expect "all of them" wait "$two"
expect "and the ledger names what is at fault" finish 3
expect "the record that was broken off among it" grep -q "middle of this record" "$scratch/ledger.out"
expect "every slot is free" all_free

# ---- as on a kernel without SEND_ZC
start 1 --copy-replies
expect "replies that are copied" send "$data/ppd-10010-records.ach" --repeat 4
expect "are as many" finish 0
expect "and were copied" grep -q "replies on port .*, copied" "$scratch/ledger.err"
expect "every slot is free" all_free

# ---- a gateway that is killed under load
start 8
send "$data/ppd-10010-records.ach" --repeat 50 --patience 1 >"$scratch/one" 2>&1 &
one=$!
sleep 0.3
kill -KILL "$gateway"
wait "$gateway" 2>/dev/null || true
wait "$one" 2>/dev/null || true
kill "$ledger"
wait "$ledger" || true
kill "$validator"
wait "$validator" || true
background drain "$programs/numapool-payments-validator"
drain=${pids[-1]}
background ledger "$programs/numapool-payments-ledger"
ledger=${pids[-1]}
sleep 0.5 # in which they pass on and post what is left; slots that they have in hand or may take back come back when they end
kill "$drain" "$ledger"
wait "$drain" "$ledger" 2>/dev/null || true
expect "after a gateway was killed with connections open every slot comes back" all_free
expect "and the daemon lives" "$build_directory/numapoolctl" check

# ---- the demonstration, with a daemon of its own
expect "the demonstration over TCP, its validator killed five times" env NUMAPOOL_BUILD="$build_directory" NUMAPOOL_DATA="$data" \
    "$programs/numapool-payments-demo" --listen --repeat 3 --kills 5 --no-progress

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
