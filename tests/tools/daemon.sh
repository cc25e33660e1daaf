#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# numapoold as an operator meets it: starting, ending, being started twice, what is wrong with options, files, memory and sockets. Takes
# the directory of the build from NUMAPOOL_BUILD, or as its argument. The last line is "N passed, N failed".
set -euo pipefail

build=${1:-${NUMAPOOL_BUILD:-.}}
build=$(cd "$build" && pwd)
ctl=$build/numapoolctl
scratch=$(mktemp -d)
chmod 755 "$scratch"
socket=$scratch/socket
export NUMAPOOL_SOCKET=$socket
unset XDG_RUNTIME_DIR
small=p,size=128,count=1000
passed=0
failed=0
daemon=
other=
group=

clean_up() {
    if [ -n "$daemon" ]; then kill -KILL "$daemon" 2>/dev/null || true; fi
    if [ -n "$other" ]; then kill -KILL "$other" 2>/dev/null || true; fi
    if [ -n "$group" ]; then rmdir "$group" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap clean_up EXIT

# shellcheck source=tests/tools/script_help.sh
. "$(dirname "${BASH_SOURCE[0]}")/script_help.sh"

# Runs numapoold to its end; its output and errors are in $scratch/out and $scratch/err.
ends() { # STATUS ARGUMENT...
    local wanted=$1 status=0
    shift
    timeout -k 5 60 "$build/numapoold" "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
    [ "$status" -eq "$wanted" ] || { printf 'numapoold %s: exit status %s, not %s\n' "$*" "$status" "$wanted"; return 1; }
}
wrong() { ends 64 "$@"; }
one_sentence() { [ "$(grep -c . "$scratch/err")" -eq 1 ]; }
one_error() { [ "$(grep -c ' error: ' "$scratch/err")" -eq 1 ]; }
nothing_is_left() { [ ! -e "$socket" ] && [ ! -e "$socket.lock" ]; }

answers() { "$ctl" --json pools >"$scratch/pools" 2>/dev/null; }
is_over() { ! kill -0 "$1" 2>/dev/null; }

clear_away() { # what a promise that was not kept has left
    if [ -n "$daemon" ]; then
        { kill -KILL "$daemon" && wait "$daemon"; } 2>/dev/null || true
    fi
    daemon=
}
start() { # ARGUMENT...: in the background, until it answers
    clear_away
    "$build/numapoold" "$@" >"$scratch/out" 2>"$scratch/err" &
    daemon=$!
    wait_for answers
}
ended_with() { # STATUS
    local status=0
    wait "$daemon" 2>/dev/null || status=$?
    daemon=
    [ "$status" -eq "$1" ] || { printf 'exit status %s, not %s\n' "$status" "$1"; return 1; }
}
end() {
    kill -TERM "$daemon"
    ended_with 0
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
config() { printf '%s\n' "$@" >"$scratch/conf"; }
mode_of() { stat -c %a "$1"; }

# ---- the command line

try "it says its version and how it is used" "ends 0 --version" "says '^numapoold [0-9]'" "ends 0 --help" "says '--pool=SPEC'" \
    "! says '--worker'"
try "an option that there is not" "wrong --nonsense" "nothing_is_left"
try "a word that is no option" "wrong nonsense" "one_sentence" "complains \"'nonsense' is not understood\""
for spec in "p" "p,size=128" "p,count=1" "p,size=0,count=1" "p,size=128,count=x" "p,size=128,count=1,nonsense=1" \
    "p,size=128,count=1,pages=4m" ",size=128,count=1" "a b,size=128,count=1" "p,size=128,size=128,count=1" "p,size=1G,count=1G"; do
    try "the pool '$spec' is refused in one sentence" "wrong --pool '$spec'" "one_sentence" "complains '^numapoold: --pool: .*p'" \
        "nothing_is_left"
done
try "a pool given twice" "wrong --pool $small --pool $small" "one_sentence" "complains \"pool 'p' is given twice\""
try "limits out of range" "wrong --clients 0" "one_sentence" "complains 'clients'" "wrong --lanes 65536" "complains '1 to 65535'" \
    "wrong --clients 1x" "complains \"^numapoold: --clients: '1x' is no number\""
try "a level of log that there is not" "wrong --log loud" "one_sentence" "complains 'error, warn, info or debug'"
try "a place for the log that there is not" "wrong --log-to nowhere" "one_sentence" "complains 'auto, stderr or journal'"
try "nothing that it can run on" "wrong --loop kqueue" "one_sentence" "complains 'auto, io_uring or epoll'"
try "a socket's path that is too long" "wrong --socket /$(printf 'x%.0s' {1..200})" "one_sentence" "complains 'choose a shorter one'"
try "a descriptor that is not open" "wrong --ready-fd 99" "one_sentence" "complains '^numapoold: --ready-fd: '"
try "an option that is the daemon's own" "wrong --worker=nonsense" "one_sentence"

# ---- the file

try "a file that is not there" "wrong --config '$scratch/nosuch'" "one_sentence" "complains '/nosuch: cannot be opened: No such file'"
try "a directory for a file" "wrong --config '$scratch'" "one_sentence" "complains 'cannot be read'"
config "[daemon]" "clients = 10" "nonsense = 1"
try "a setting that there is not is named by its line" "wrong --config '$scratch/conf'" "one_sentence" \
    "complains '^numapoold: $scratch/conf:3: '" "nothing_is_left"
config "# pools" "" "[pool p]" "size = 128" "count = many"
try "a value that is none is named by its line" "wrong --config '$scratch/conf'" "one_sentence" "complains '/conf:5: count=many of pool .p. '"
config "[pool p]" "size = 128" "[daemon]" "clients = 5"
try "a pool without count is named by its line" "wrong --config '$scratch/conf'" "one_sentence" "complains '/conf:1: pool .p. has no count'"
config "clients = 5"
try "a setting outside of sections" "wrong --config '$scratch/conf'" "one_sentence" "complains '/conf:1: .*before any section'"
config "[nonsense]"
try "a section that there is not" "wrong --config '$scratch/conf'" "one_sentence" "complains '/conf:1: the section \\[nonsense\\]'"
config "[pool p]" "size = 128" "count = 10"
try "a pool in the file and on the command line" "wrong --config '$scratch/conf' --pool $small" "one_sentence" "complains 'given twice'"
try "two files" "wrong --config '$scratch/conf' --config '$scratch/conf'" "one_sentence" "complains 'given twice'"
config "[daemon]" "socket = $scratch/elsewhere" "clients = 7" "log = error" "" "[pool filed]" "size = 64" "count = 2K"
try "file and command line together, and the command line wins" "start --config '$scratch/conf' --socket '$socket' --pool $small" \
    "[ ! -e '$scratch/elsewhere' ]" "grep -q filed '$scratch/pools'" "grep -q '\"p\"' '$scratch/pools'" "end" \
    "[ ! -s '$scratch/err' ]" "nothing_is_left"

# ---- one daemon

try "it starts, and only its user may connect" "start --pool $small" "[ \$(mode_of '$socket') = 600 ]" \
    "[ \$(mode_of '$socket.lock') = 600 ]" "[ \$(head -n 1 '$socket.lock') = \$daemon ]"
mv "$scratch/err" "$scratch/err.first"
try "a second one at the same path is refused, and harms nothing" "ends 1 --pool $small" "one_error" "complains 'another numapoold serves'" \
    "answers"
mv "$scratch/err.first" "$scratch/err"
try "a worker that is killed is replaced" "kill_worker" "grep -q '\"p\"' '$scratch/pools'" "complains 'another takes over'" \
    "complains 'taken over'"
try "SIGTERM ends it in order" "end" "nothing_is_left"
start_attended() { # a shell's background would have it ignore SIGINT
    clear_away
    env --default-signal=INT "$build/numapoold" --pool "$small" >"$scratch/out" 2>"$scratch/err" &
    daemon=$!
    wait_for answers
}
try "SIGINT to both halves, as from a terminal, too" "start_attended" "kill -INT \$daemon \$(worker_of \$daemon)" "ended_with 0" \
    "nothing_is_left"

start --pool "$small"
worker=$(worker_of "$daemon")
kill -STOP "$worker"
try "SIGTERM ends it although its worker does nothing any more" "end" "complains 'does not end: it is killed'" "is_over $worker" \
    "nothing_is_left"

start --pool "$small"
worker=$(worker_of "$daemon")
clear_away
try "a keeper that is killed takes its worker with it" "wait_for is_over $worker"
try "what is left is a socket and a lock file, which the next one takes over" "[ -S '$socket' ]" "[ -e '$socket.lock' ]" \
    "start --pool $small" "end" "nothing_is_left"

start --pool "$small"
kill -STOP "$daemon"
kill -KILL "$(worker_of "$daemon")"
kill -CONT "$daemon"
try "a worker that dies while its keeper is stopped is replaced" "wait_for answers" "end"

# ---- how it may be started

try "readiness is told once, when the pools are there" "exec 8>'$scratch/ready'" "start --ready-fd 8 --pool $small" "exec 8>&-" \
    "wait_for test -s '$scratch/ready'" "kill_worker" "[ \$(wc -c <'$scratch/ready') -eq 1 ]" "end"
start_bare() {
    clear_away
    "$build/numapoold" --pool "$small" <&- >&- 2>&- &
    daemon=$!
    wait_for answers
}
try "without standard descriptors" "start_bare" "kill_worker" "\"\$ctl\" check >'$scratch/out'" "end"
start_deaf() {
    clear_away
    (
        trap '' CHLD HUP INT
        exec "$build/numapoold" --pool "$small" >"$scratch/out" 2>"$scratch/err"
    ) &
    daemon=$!
    wait_for answers
}
try "signals that were ignored stay ignored, but for its own child's end" "start_deaf" "kill -HUP \$daemon" "kill_worker" \
    "kill -HUP \$(worker_of \$daemon)" "kill_worker" "end" "nothing_is_left"
try "in a directory that it makes, and removes" "NUMAPOOL_SOCKET=$scratch/made/s start --socket '$scratch/made/s' --pool $small" \
    "[ \$(mode_of '$scratch/made/s') = 600 ]" "end" "[ ! -e '$scratch/made' ]"
try "not in a directory that there is no place for" "ends 1 --socket '$scratch/no/such/s'" "one_error" "complains 'by --socket'"

# ---- what is in the way

clear_away
rm -f "$socket" "$socket.lock"
printf 'precious\n' >"$socket"
try "a file at the socket's path stays" "ends 1 --pool $small" "one_error" "complains 'is no socket: remove it'" \
    "grep -q precious '$socket'" "[ ! -e '$socket.lock' ]"
rm -f "$socket"
ln -s "$scratch/precious" "$socket.lock"
try "a link in place of the lock file is not followed" "ends 1 --pool $small" "one_error" "[ ! -e '$scratch/precious' ]"
rm -f "$socket.lock"
if command -v python3 >/dev/null; then
    python3 -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind(sys.argv[1])
s.listen(4)
time.sleep(60)' "$socket" &
    other=$!
    wait_for test -S "$socket" || true
    try "another program's socket stays" "ends 1 --pool $small" "one_error" "complains 'another program listens'" "[ -S '$socket' ]"
    kill -KILL "$other"
    wait "$other" 2>/dev/null || true
    other=
    try "and is taken over when that program is dead" "[ -S '$socket' ]" "start --pool $small" "end" "nothing_is_left"
else
    leave_out "another program's socket (no python3)"
fi

# ---- what the system does not give

try "memory that there is not is refused in one sentence with a remedy" "ends 78 --pool p,size=1M,count=32M" "one_error" \
    "complains \"payload of pool 'p' on node [0-9]+ needs .* to spare: make it smaller\"" "nothing_is_left"
try "one pool too large leaves nothing of the others" "ends 78 --pool $small --pool q,size=1M,count=32M" "one_error" "nothing_is_left"
try "huge pages that there are not" "ends 78 --pool p,size=2M,count=1M,pages=2m" "one_error" \
    "complains 'nr_hugepages'" "nothing_is_left"
enter_and_run() { # GROUP STATUS ARGUMENT...
    local group=$1 wanted=$2 status=0
    shift 2
    (
        echo "$BASHPID" >"$group/cgroup.procs"
        exec timeout -k 5 60 "$build/numapoold" "$@" >"$scratch/out" 2>"$scratch/err"
    ) || status=$?
    [ "$status" -eq "$wanted" ] || { printf 'exit status %s, not %s\n' "$status" "$wanted"; return 1; }
}
make_group() { # a cgroup of 64 MiB, by whichever version there is
    local root
    if [ "$(id -u)" -ne 0 ]; then return 1; fi
    for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
        group=$root/numapool-test-$$
        mkdir "$group" 2>/dev/null || continue
        if echo 67108864 >"$group/memory.limit_in_bytes" || echo 67108864 >"$group/memory.max"; then return 0; fi 2>/dev/null
        rmdir "$group"
    done
    group=
    return 1
}
if make_group; then
    try "a cgroup's limit is found before the kernel has to kill" "enter_and_run '$group' 78 --pool p,size=4K,count=64K" "one_error" \
        "complains 'limit $group/memory.* leaves .*: make it smaller or raise the limit'" "nothing_is_left"
    wait_for rmdir "$group" 2>/dev/null || true
    group=
else
    leave_out "a cgroup's limit (no memory cgroup can be made here)"
fi

# ---- as an ordinary user

as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null && as_nobody test -x "$build/numapoold" 2>/dev/null; then
    mkdir "$scratch/theirs"
    chown 65534 "$scratch/theirs"
    start_theirs() {
        clear_away
        setpriv --reuid=65534 --regid=65534 --clear-groups "$build/numapoold" --socket "$scratch/theirs/s" --pool "$small" \
            >"$scratch/out" 2>"$scratch/err" &
        daemon=$!
        wait_for as_nobody env NUMAPOOL_SOCKET="$scratch/theirs/s" "$ctl" check >/dev/null 2>&1
    }
    try "as an ordinary user" "start_theirs" "[ \$(stat -c %u '$scratch/theirs/s') = 65534 ]"
    try "which nobody else can connect to but root, who may everything" "[ \$(mode_of '$scratch/theirs/s') = 600 ]" \
        "NUMAPOOL_SOCKET=$scratch/theirs/s \"\$ctl\" pools >/dev/null"
    try "and in order to its end" "end" "[ ! -e '$scratch/theirs/s' ]"
    try "where a user may not write he is told so" "! as_nobody '$build/numapoold' --socket '$scratch/s' --pool $small 2>'$scratch/err'" \
        "one_error" "complains 'Permission denied.*choose a directory'"

    # ---- users of access lists

    as() { local user=$1; shift; setpriv --reuid="$user" --regid="$user" --clear-groups "$@"; }
    refused() { ! as "$1" "$ctl" pools >"$scratch/out.ctl" 2>"$scratch/ctl" && grep -q "$2" "$scratch/ctl"; }
    refusals() { "$ctl" --json stats | tr -d ' \n' | sed -n 's/.*"requests_refused":\([0-9]*\).*/\1/p'; }
    try "without lists the socket is the daemon's user's alone" "start --pool '$small'" "[ \$(mode_of '$socket') = 600 ]" \
        "refused 65534 'user'" "end"
    config '[daemon]' 'admin = 65533' "socket = $socket" '[pool p]' 'size = 128' 'count = 1000' 'direct = @65531' 'readonly = 65534'
    try "with lists everybody can connect" "start --config '$scratch/conf'" "[ \$(mode_of '$socket') = 666 ]"
    try "an admin of the daemon may look at everything" "as 65533 '$ctl' pools >/dev/null" "as 65533 '$ctl' check >/dev/null"
    try "whoever has a right at a pool may not look" "refused 65534 'user 65534 may not look at this daemon'" \
        "refused 65531 'user 65531 may not look'"
    try "whoever has none is told so, once for each connection" "refused 65532 'no access list of it names user 65532'"
    try "refusals are counted and logged" "[ \$(refusals) -eq 3 ]" "complains 'process [0-9]* of user 65532 is refused'"
    flood() { local i; for ((i = 0; i < 30; i++)); do refused 65532 'no access list' || return 1; done; }
    try "many are counted and few are logged" "flood" "[ \$(refusals) -eq 33 ]" "[ \$(grep -c 'is refused' '$scratch/err') -eq 10 ]"
    try "and another worker refuses the same" "kill_worker" "[ \$(mode_of '$socket') = 666 ]" "refused 65532 'no access list'" \
        "as 65533 '$ctl' pools >/dev/null" "end"
    try "who an access list names must exist" "wrong --pool '$small,direct=no-such-user'" "one_sentence" \
        "complains \"direct of pool 'p': 'no-such-user' is no user\"" "wrong --admin @no-such-group" "complains 'is no group'"
    mkdir -m 700 "$scratch/narrow"
    NUMAPOOL_SOCKET=$scratch/narrow/s
    try "a directory on the way that lets no others through is named" "start --socket '$NUMAPOOL_SOCKET' --pool '$small,readonly=65534'" \
        "complains \"directory '$scratch/narrow' lets none of them through\"" "end"
    NUMAPOOL_SOCKET=$socket
else
    leave_out "as an ordinary user (needs root, setpriv and a build that others may read)"
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
