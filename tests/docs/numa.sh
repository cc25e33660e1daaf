#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# docs/operations.md, "Who is on the wrong node?", shows what numapoolctl numa says of three clients on imagined nodes: the same as it says when they are
# started here, but for the process, the user and the blanks between columns. Needs the build tree of $NUMAPOOL_BUILD; numa.sh --show prints
# what it says, to be put there. The last line is "N passed, N failed".
set -euo pipefail

source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
build=$(cd "${NUMAPOOL_BUILD:-$source_directory/build}" && pwd)
document=$source_directory/docs/operations.md
scratch=$(mktemp -d)
export NUMAPOOL_SOCKET=$scratch/socket NUMAPOOL_TOPOLOGY=2x64M
unset XDG_RUNTIME_DIR
show=${1:-}
daemon=
client=
passed=0
failed=0

mapfile -t cpus < <(taskset -pc $$ | sed 's/.*: //' | tr ',' '\n' | awk -F- '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }')
if [ "${#cpus[@]}" -lt 2 ]; then
    printf 'NOT RUN: threads on two nodes want two CPUs, and this process may use one\n1 passed, 0 failed\n'
    exit 0
fi

end() {
    exec 7>&- || true
    [ -z "$client" ] || kill -KILL "$client" 2>/dev/null || true
    [ -z "$client" ] || wait "$client" 2>/dev/null || true
    client=
}
end_daemon() {
    end
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$daemon" ] || wait "$daemon" 2>/dev/null || true
    daemon=
}
trap 'end_daemon; rm -rf "$scratch"' EXIT

start_daemon() { # POOL: with none of whom others have counted anything
    end_daemon
    rm -f "$scratch/ready"
    mkfifo "$scratch/ready"
    "$build/numapoold" --log=error --ready-fd=3 "--pool=$1" 3>"$scratch/ready" </dev/null &
    daemon=$!
    local line=none
    IFS= read -r line <"$scratch/ready" && [ -z "$line" ]
}

# A program called as the text has it, which then waits.
start_client() { # NAME STEP...
    local name=$1 tries
    shift
    end
    for ((tries = 0; tries < 600; tries++)); do # until the one before has gone
        if "$build/numapoolctl" --json clients | grep -q '"clients": \[\]'; then break; fi
        sleep 0.05
    done
    cp "$build/tests/tools/numa_client" "$scratch/$name"
    rm -f "$scratch/in" "$scratch/told"
    mkfifo "$scratch/in"
    "$scratch/$name" "$@" wait <"$scratch/in" >"$scratch/told" 2>&1 &
    client=$!
    exec 7>"$scratch/in"
    for ((tries = 0; tries < 600; tries++)); do
        if grep -qs '^ready$' "$scratch/told"; then return 0; fi
        sleep 0.05
    done
    cat "$scratch/told"
    return 1
}

block() { # NAME
    awk -v mark="<!-- numa:$1 -->" '
        $0 == mark { found = 1; next }
        found && /^```/ { if (inside) exit; inside = 1; next }
        inside' "$document"
}

# As everybody would see it who was user "payments" and started the program as process 4711.
as_shown() {
    sed -E -e "s/\\b$client\\b/4711/g" -e "s/\\b$(id -un)\\b/payments/g" -e 's/ +/ /g' -e 's/^ //; s/ $//'
}

compare() { # NAME COMMAND...
    local name=$1
    shift
    "$@" >"$scratch/said" 2>&1 || true
    if [ -n "$show" ]; then
        printf '<!-- numa:%s -->\n```\n' "$name"
        sed -E -e "s/\\b$client\\b/$(printf "%${#client}s" 4711)/g" "$scratch/said"
        printf '```\n'
    fi
    if diff <(block "$name" | as_shown) <(as_shown <"$scratch/said") >"$scratch/difference" && [ -s "$scratch/said" ]; then
        passed=$((passed + 1))
        printf 'PASS operations.md shows what numapoolctl says: %s\n' "$name"
    else
        failed=$((failed + 1))
        printf 'FAIL operations.md shows something else than numapoolctl says: %s\n' "$name"
        sed 's/^/    /' "$scratch/difference"
    fi
}

start_daemon pay,size=128,count=32K
start_client gateway pay on "${cpus[1]}" open 0 take 16000
compare by-number "$build/numapoolctl" numa pay

start_daemon pay,size=128,node_slots=32768:0
start_client ledger pay on "${cpus[1]}" open own take 20000
compare homeless "$build/numapoolctl" numa pay
"$build/numapoolctl" pool grow pay --node=1 --count=32768 >"$scratch/grown"
start_client ledger pay on "${cpus[1]}" open own take 20000
compare at-home "$build/numapoolctl" numa pay

start_daemon pay,size=128,count=32K
start_client archive pay on "${cpus[0]}" open own take 16384 take 6000
compare ran-empty "$build/numapoolctl" numa pay

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
