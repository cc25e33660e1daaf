#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Imagined nodes as an operator meets them: what the daemon says of them, who is refused, what they have left, and SIGHUP. Takes the
# directory of the build from NUMAPOOL_BUILD, or as its argument. The last line is "N passed, N failed".
set -euo pipefail

build=${1:-${NUMAPOOL_BUILD:-.}}
build=$(cd "$build" && pwd)
ctl=$build/numapoolctl
scratch=$(mktemp -d)
export NUMAPOOL_SOCKET=$scratch/socket
unset XDG_RUNTIME_DIR NUMAPOOL_TOPOLOGY
passed=0
failed=0
daemon=

clean_up() {
    if [ -n "$daemon" ]; then kill -KILL "$daemon" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap clean_up EXIT

# shellcheck source=tests/tools/script_help.sh
. "$(dirname "${BASH_SOURCE[0]}")/script_help.sh"

answers() { "$ctl" --json pools >"$scratch/pools" 2>/dev/null; }
logged() { grep -qE -e "$1" "$scratch/log"; }
logged_times() { [ "$(grep -cE -e "$2" "$scratch/log")" -ge "$1" ]; }
is_over() { ! kill -0 "$1" 2>/dev/null; }
start() { # ARGUMENT...: in the background, until it answers
    "$build/numapoold" "$@" 2>"$scratch/log" &
    daemon=$!
    wait_for answers
}
end() {
    local status=0
    kill -TERM "$daemon"
    wait "$daemon" || status=$?
    daemon=
    [ "$status" -eq 0 ]
}
worker_of() { tr -d ' ' <"/proc/$1/task/$1/children"; }
replaced() { # PID: there is a worker, and it is not this one
    local now
    now=$(worker_of "$daemon")
    [ -n "$now" ] && [ "$now" != "$1" ]
}
kill_worker() {
    local before
    before=$(worker_of "$daemon")
    kill -KILL "$before"
    wait_for replaced "$before" && wait_for answers
}
run() { "$@" >"$scratch/out" 2>"$scratch/err"; }
refuses() { # SENTENCE COMMAND...
    local part=$1
    shift
    if run "$@"; then return 1; fi
    grep -qE -e "$part" "$scratch/err"
}
create() { # NAME MIB-ON-EACH...
    local name=$1
    shift
    local IFS=,
    run "$ctl" pool create "$name" --size 1M --node-slots "$*"
}
create_fails() { # SENTENCE NAME MIB-ON-EACH...
    local part=$1
    shift
    if create "$@"; then return 1; fi
    grep -qE -e "$part" "$scratch/err"
}

# ---- who imagines what

imagining() { NUMAPOOL_TOPOLOGY=$1 "${@:2}"; }

try "a daemon says what it imagines, and that it proves nothing" "imagining 2x64M start --pool pay,size=4096,count=1000" \
    "logged 'nodes: IMAGINED \(2x64M\), nothing here is proof: 2 of 2 nodes: 0 \(64 MiB'" \
    "run \"\$ctl\" stats" "says '^NODES ARE IMAGINED \(2x64M\): nothing here is proof'" \
    "run \"\$ctl\" --json stats" "tr -d ' \n' <'$scratch/out' | grep -qE '\"topology\":\{\"emulated\":true,\"name\":\"2x64M\"\}'"
try "who does not imagine is told what to set" "create_fails 'numapoold.s nodes are imagined, and this process has the machine.s own: set NUMAPOOL_TOPOLOGY=2x64M for it' x 1"
try "who imagines others is told what to set" "imagining 4x64M create_fails 'this process imagines others: set NUMAPOOL_TOPOLOGY=2x64M' x 1"
try "who imagines the same is let in" "imagining 2x64M create x 1" "imagining 2x64M run \"\$ctl\" pool destroy x"
printf 'node 1 memory=64M # sic\nnode 0 memory=64M\n' >"$scratch/other"
try "a mistake in the variable is told with file and line" "imagining '$scratch/other' create_fails 'no node has CPUs' x 1" \
    "printf 'nodes\n' >>'$scratch/other'" "imagining '$scratch/other' create_fails '/other:3: .nodes.: a line begins with' x 1"
try "whoever only looks may imagine what he likes" "imagining 7x1G run \"\$ctl\" --json stats" "says 2x64M"

# ---- what a node has left

try "a pool that does not fit is refused by the node's size" "imagining 2x64M create_fails 'on node 1, which is imagined with 64 MiB' big 10 70" \
    "imagining 2x64M create_fails 'on node 0, which is imagined with 64 MiB .* has 6[0-9] MiB left' next 63 1" \
    "imagining 2x64M create big 10 50" "imagining 2x64M create_fails 'on node 1, which is imagined with 64 MiB .* has 1[0-9] MiB left' next 1 20"
try "what is kept counts for the next worker too" "kill_worker" \
    "imagining 2x64M create_fails 'on node 1, which is imagined with 64 MiB .* has 1[0-9] MiB left' next 1 20" \
    "imagining 2x64M create_fails 'on node 0, which is imagined with 64 MiB .* has 5[0-9] MiB left' next 60 1"
try "what is destroyed does not" "imagining 2x64M run \"\$ctl\" pool destroy big" "imagining 2x64M create next 1 50" \
    "imagining 2x64M create_fails 'on node 1' more 1 20" "imagining 2x64M run \"\$ctl\" pool destroy next" "imagining 2x64M create more 1 50"
try "verify agrees with where it is imagined to be" "run \"\$ctl\" verify" "run \"\$ctl\" check"
try "it ends" "end"

# ---- the machine's own

try "a daemon on the machine's own nodes says which" "start --pool pay,size=4096,count=1000" \
    "logged 'info: nodes: [0-9]+ of [0-9]+ nodes?: 0 \([0-9.]+ [GM]iB, '" "run \"\$ctl\" stats" "! says IMAGINED" \
    "run \"\$ctl\" --json stats" "tr -d ' \n' <'$scratch/out' | grep -qE '\"topology\":\{\"emulated\":false,\"name\":null\}'"
try "who imagines is refused there" "imagining 2x64M create_fails 'numapoold.s are the machine.s own: unset the variable' x 1" "create x 1"
try "SIGHUP has them looked at again" "kill -HUP \$daemon" "wait_for logged 'looked at again, and nothing has changed'" "answers" \
    "kill -HUP \$(worker_of \$daemon)" "wait_for logged_times 2 'looked at again, and nothing has changed'" "answers" \
    "kill_worker" "kill -HUP \$daemon" "wait_for logged_times 3 'nothing has changed'"
try "it ends" "end"

# ---- a file that changes

rounds() { "$ctl" --json stats | tr -d ' \n' | sed -n 's/.*"patrol_rounds":\([0-9]*\).*/\1/p'; }
has_rounds() { [ "$(rounds)" -ge "$1" ]; }
rounds_pass() { wait_for has_rounds $(($(rounds) + $1)); }
file() { printf '%s\n' "$@" >"$scratch/file"; }
file "node 0 memory=64M cpus=0-8191" "node 5 memory=64M"
try "nodes that come and go are noticed on SIGHUP" "imagining '$scratch/file' start --pool pay,size=4096,count=1000" \
    "file 'node 0 memory=64M cpus=0-8191' 'node 7 memory=32M'" "kill -HUP \$daemon" \
    "wait_for logged 'warn: nodes: looked at again: node 5 is gone; node 7 has come \(32 MiB\)'" "answers" \
    "imagining '$scratch/file' create x 1" "imagining '$scratch/file' create_fails 'node' y 0 0 0 0 0 1"
try "a mistake in it changes nothing" "file 'node 0 memory=much cpus=0'" "kill -HUP \$daemon" \
    "wait_for logged 'warn: nodes: looked at again, in vain; they stay as they were: .*/file:1: '" "answers"
try "the next worker goes by what is there then" "file 'node 0 memory=64M cpus=0-8191' 'node 9 memory=64M'" "kill_worker" \
    "logged 'the imagined nodes of .*file are others than those of the worker before'" "imagining '$scratch/file' create z 1"
try "it ends" "end"
try "a mistake is told once, however often the patrol looks, and again when somebody asks" "file 'node 0 memory=64M cpus=0'" \
    "imagining '$scratch/file' start --patrol=1 --pool pay,size=4096,count=1000" "file 'node 0 memory=much cpus=0'" \
    "wait_for logged 'in vain.*much'" "rounds_pass 3" "! logged_times 2 'in vain'" "kill -HUP \$daemon" \
    "wait_for logged_times 2 'in vain'" "file 'node 0 memory=more cpus=0'" "wait_for logged 'in vain.*more'" \
    "file 'node 0 memory=64M cpus=0'" "rounds_pass 2" "file 'node 0 memory=more cpus=0'" \
    "wait_for logged_times 2 'in vain.*more'" "end"
try "a mistake at the start is told, and that is all" "file 'node 0 memory=much cpus=0'" \
    "! imagining '$scratch/file' timeout -k 5 60 '$build/numapoold' --pool pay,size=4096,count=1000 2>'$scratch/log'" \
    "logged 'error: .*/file:1: .much. is no memory of a node: 1M to 64T'" "[ \"\$(grep -c ' error: ' '$scratch/log')\" -eq 1 ]"

# ---- the terminal that it was started on

on_a_terminal() { # runs the daemon on a terminal; closes that once the daemon answers, after a SIGHUP that somebody sends
    python3 -B - "$build/numapoold" "$scratch/log" <<'PYTHON'
import os, pty, signal, sys, time
program, log = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.execv(program, [program, "--pool", "pay,size=4096,count=1000"])
def await_log(text):
    for _ in range(1200):
        if text in open(log).read():
            return
        time.sleep(0.05)
    sys.exit(f"the log never says {text!r}")
await_log("ready at")
os.kill(child, signal.SIGHUP)
await_log("nothing has changed")
if os.waitpid(child, os.WNOHANG) != (0, 0):
    sys.exit("it ended when it was sent SIGHUP")
os.close(terminal)
for _ in range(1200):
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid == child:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.05)
os.kill(child, signal.SIGKILL)
sys.exit("it did not end with its terminal")
PYTHON
}
if command -v python3 >/dev/null; then
    try "SIGHUP that is sent has nodes looked at, on a terminal too; the terminal's end ends the daemon" "on_a_terminal"
else
    leave_out "the end of a terminal (there is no python3)"
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
