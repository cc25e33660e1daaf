#!/bin/sh
# SPDX-License-Identifier: MIT
#
# In a guest: pages of a daemon's pools are moved away from outside, nodes go and come, pages are of all kinds. Run by test_pages.sh.
#   pages_scenes.sh moved     two nodes with huge pages and a third of memory alone
#   pages_scenes.sh giant     pages of 1 GiB on node 1
set -u

socket=/tmp/socket
log=/tmp/log
passed=0
failed=0
daemon=

verdict() { # WHAT STATUS
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $1"
        tail -n 12 "$log"
        ctl verify
        ctl stats | grep -e patrol -e 'pages of node' -A 1
    fi
}
expect() { # WHAT COMMAND...
    expected=$1
    shift
    outcome=0
    "$@" >/tmp/now 2>&1 || outcome=$?
    [ ! -s /tmp/now ] || cp /tmp/now /tmp/said # says is silent, and asks about what was said before it
    verdict "$expected" $outcome
}
ctl() { numapoolctl --socket="$socket" "$@"; }
status_is() { # STATUS COMMAND...
    wanted=$1
    shift
    status=0
    "$@" || status=$?
    [ "$status" -eq "$wanted" ]
}
says() { # TEXT COMMAND...
    text=$1
    shift
    "$@" 2>&1 | grep -q -e "$text"
}
begin() { # OPTION... ; PREFIX=command before it
    rm -f /tmp/ready && mkfifo /tmp/ready
    ${PREFIX-} numapoold --socket="$socket" --log-to=stderr --ready-fd=9 "$@" 9>/tmp/ready 2>"$log" &
    daemon=$!
    read -r _ </tmp/ready
}
finish() {
    kill -TERM "$daemon"
    wait "$daemon"
    verdict "the daemon ends in order" $?
}
worker() { tr -d ' ' <"/proc/$daemon/task/$daemon/children"; }
# Waits, for 20 s at most.
until_true() {
    tries=0
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || return 1
        sleep 0.1
    done
}
right() { ctl verify "$@"; }
# State of the arena with that number, as `stats` shows it.
state_is() { # POOL STATE
    ctl --json stats "$1" | grep -q "\"state\": \"$2\""
}
has_nice() { # PROCESS
    caps=$(sed -n 's/^CapEff:[[:space:]]*//p' "/proc/$1/status")
    [ $((0x$caps >> 23 & 1)) -eq 1 ]
}
lacks_nice() {
    for set in CapEff CapPrm CapInh CapAmb CapBnd; do
        caps=$(sed -n "s/^$set:[[:space:]]*//p" "/proc/$1/status")
        [ $((0x$caps >> 23 & 1)) -eq 0 ] || return 1
    done
}
moved_back() { ctl --json stats "$1" | sed -n 's/^.*"moved_back_pages": \([0-9]*\).*$/\1/p' | head -n 1; }

# Pages of a pool go to NODE, and come back: the daemon notices, says so, has them brought back, and nobody's bytes are others. A keeper that
# is stopped brings nothing back before it was looked.
goes_and_comes() { # POOL FILE NODE
    expect "$1: it begins where it should be" until_true right "$1"
    kill -STOP "$daemon"
    stray move "$daemon" "$2" "$3" >/tmp/count 2>&1
    verdict "$1: somebody moves the $2 to node $3 ($(cat /tmp/count))" $?
    expect "$1: verify says that the $2 is elsewhere, by its status" status_is 1 right "$1"
    expect "$1: and names pool, pages and what to do" says "pool $1, node .* elsewhere.*: the daemon " cat /tmp/said
    kill -CONT "$daemon"
    expect "$1: they are brought back" until_true right "$1"
    expect "$1: and the board says that all is right" until_true state_is "$1" right
}

moved() {
    # No patrol of its own within the test: verify has one begun.
    begin --patrol=3600 --pool small,size=4096,node_slots=0:300 --pool thp,size=4096,node_slots=2048:2048,pages=thp \
        --pool huge,size=4096,node_slots=0:4096,pages=2m --pool far,size=4096,node_slots=0:0:2000
    expect "pages of 2 MiB are of the node that has them" says '"node": 1,' ctl --json verify huge
    expect "and are 2 MiB" says '"page_bytes": 2097152' ctl --json verify huge
    expect "every page is where it should be" right
    expect "the keeper may move pages" has_nice "$daemon"
    expect "the worker may not, and never will" lacks_nice "$(worker)"
    stray load "$socket" thp 1 >/tmp/load.1 2>&1 &
    load_thp=$!
    stray load "$socket" small 1 >/tmp/load.2 2>&1 &
    load_small=$!
    stray load "$socket" far 2 >/tmp/load.3 2>&1 &
    load_far=$!
    goes_and_comes small "payload of pool 'small' on node 1" 0
    goes_and_comes small "slot words of pool 'small' on node 1" 0
    goes_and_comes thp "payload of pool 'thp' on node 1" 0
    expect "transparent pages come back whole" says '"split_pages": 0' ctl --json verify thp
    goes_and_comes thp "slot words of pool 'thp' on node 0" 1
    goes_and_comes huge "payload of pool 'huge' on node 1" 0
    goes_and_comes far "payload of pool 'far' on node 2" 0
    expect "pages that were moved back are counted" [ "$(moved_back small)" -gt 300 ]

    for setting in never madvise always; do
        echo $setting >/sys/kernel/mm/transparent_hugepage/enabled
        case $setting in
        never) echo never >/sys/kernel/mm/transparent_hugepage/shmem_enabled ;;
        madvise) echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled ;;
        always) echo always >/sys/kernel/mm/transparent_hugepage/shmem_enabled ;;
        esac
        expect "transparent pages are made while the kernel says $setting" ctl pool create t$setting --size=4K --node-slots=1024,1024 --pages=thp
        expect "each on its node" right t$setting
        expect "and huge" says '"page_bytes": 2097152' ctl --json verify t$setting
        ctl pool destroy t$setting
    done
    expect "what has no pages of 2 MiB on its node is refused" status_is 2 ctl pool create none --size=4K --node-slots=0,40000 --pages=2m
    expect "with the path that mends it" says 'node1/hugepages/hugepages-2048kB/nr_hugepages' cat /tmp/said
    expect "with fallback it is made" ctl pool create none --size=4K --node-slots=0,10000 --pages=2m --fallback
    expect "on its own node all the same" right none
    ctl pool destroy none

    # The worker dies between asking the keeper and hearing of it, or elsewhere in a round: the next one sees to it.
    for kill in 1 2 3; do
        stray move "$daemon" "payload of pool 'thp' on node 0" 1 >/dev/null
        status_is 1 right thp >/dev/null
        kill -KILL "$(worker)"
        expect "a worker that is killed meanwhile ($kill): the next has them brought back" until_true right thp
    done

    # The node of memory alone goes offline; its pages go elsewhere, and nobody is worse off.
    cp "$log" /tmp/log.1
    for block in /sys/devices/system/node/node2/memory*/state; do echo offline >"$block" || echo "cannot take $block offline"; done
    kill -HUP "$daemon"
    status_is 1 right far >/tmp/said 2>&1
    verdict "pages of a node that is offline are elsewhere, and verify says so" $?
    expect "the daemon is there" ctl stats
    for process in $load_thp $load_small $load_far; do expect "clients go on" kill -0 "$process"; done
    for block in /sys/devices/system/node/node2/memory*/state; do echo online_movable >"$block"; done
    kill -HUP "$daemon"
    expect "when the node is back its pages come home" until_true right far
    for process in $load_thp $load_small $load_far; do
        kill -TERM "$process"
        wait "$process"
        verdict "no byte was lost under it: $(cat /tmp/load.*)" $?
    done
    expect "every slot has exactly one owner" ctl check
    finish

    # With nothing but the patrol: nobody asks.
    begin --patrol=1 --pool pay,size=4096,node_slots=0:2000 --pool far,size=4096,node_slots=0:0:1000
    stray move "$daemon" "of pool 'pay' on node 1" 0 >/dev/null
    expect "the patrol notices by itself, and has them brought back" until_true says 'were brought back to node 1' cat "$log"
    expect "and says before that they had strayed" says "pool 'pay': pages of arena 0 are not on node 1" cat "$log"
    expect "then all is right" right
    for block in /sys/devices/system/node/node2/memory*/state; do echo offline >"$block"; done
    expect "a node that has gone is reported" until_true state_is far node_gone
    expect "in the log" says 'node 2, which arena 0 is to be on, is not there any more' cat "$log"
    expect "and on the board" says '"nodes_gone": 4' ctl --json stats
    for block in /sys/devices/system/node/node2/memory*/state; do echo online_movable >"$block"; done
    expect "and when it comes back its pages do" until_true state_is far right
    expect "all of them" right
    finish

    # A keeper that may not.
    PREFIX="stray without-nice" begin --patrol=1 --pool pay,size=4096,node_slots=0:2000
    stray load "$socket" pay 1 >/tmp/load.1 2>&1 &
    load_pay=$!
    expect "a keeper without the right says so when it starts" says 'cannot be brought back: give the daemon CAP_SYS_NICE' cat "$log"
    stray move "$daemon" "payload of pool 'pay' on node 1" 0 >/dev/null
    expect "pages that clients have mapped are stuck" until_true state_is pay stuck
    expect "and the log says what is wanted" says 'AmbientCapabilities=CAP_SYS_NICE' cat "$log"
    expect "verify says so too" status_is 1 right pay
    kill -TERM $load_pay
    wait $load_pay
    verdict "its clients go on: $(cat /tmp/load.1)" $?
    finish
}

giant() {
    begin --patrol=3600 --pool pay,size=4096,node_slots=0:1000,pages=1g
    expect "a page of 1 GiB is on its node" right pay
    expect "and is one" says '"page_bytes": 1073741824' ctl --json verify pay
    expect "no second one is to be had" status_is 2 ctl pool create more --size=4K --node-slots=1000 --pages=1g
    expect "with pages and path in the sentence" says 'needs 1 pages of 1 GiB on node 0, where 0 are free: reserve 1 more in .*node0/hugepages/hugepages-1048576kB' \
        cat /tmp/said
    expect "with fallback smaller ones are taken" ctl pool create more --size=4K --node-slots=1000 --pages=1g --fallback
    expect "on their node" right more
    stray load "$socket" pay 1 >/tmp/load.1 2>&1 &
    load_pay=$!
    until_true says 'pay' ctl clients
    kill -TERM $load_pay
    wait $load_pay
    verdict "a client works on it: $(cat /tmp/load.1)" $?
    finish
}

"$1"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
