#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Tests of other suites on the oldest kernel that is supported, 6.1, on two nodes: no futex operations of io_uring, no
# PAGEMAP_SCAN, no MFD_NOEXEC_SEAL, no SO_PEERPIDFD. What these are replaced by there is what runs here.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=${NUMAPOOL_SOURCE:-$here/../..}
build=${NUMAPOOL_BUILD:-$source/build}
data=${NUMAPOOL_DATA:-$source/tests/data}
programs=("$build"/tests/unit/test_{access,arena,blocks,broadcast,channel,check,checks,directed,fork,grow,holes,identity}
    "$build"/tests/unit/test_{inflight,keys,lane,loop,orphans,placement,pool,process,readonly,repairs,settle}
    "$build"/tests/unit/test_{shield,sleep,small,stats,store,thread_magazine,threads_lanes,waitset,waitset_members,wire}
    "$build"/tests/crash/{keys,readonly,worker})
options=(--nodes 2 --kernel 6.1 --memory 512M --limit 150 --env "NUMAPOOL_BUILD=$build" --env "NUMAPOOL_DATA=$data"
    --env "NUMAPOOL_SOURCE=$source" --env NUMAPOOL_TEST_PERCENT=1 --env CK_TIMEOUT_MULTIPLIER=10
    --file "$build/numapoold" --file "$build/numapoolctl" --file "$data" --file "$here/payments")
for part in demo gateway ledger send validator; do
    options+=(--file "$build/docs/examples/payments/numapool-payments-$part")
done
for program in "${programs[@]}"; do
    options+=(--file "$program")
done
exec "$here/guest" "${options[@]}" -- "$here/in_turn" "${programs[@]}" \
    "$here/payments $build/docs/examples/payments/numapool-payments-demo $data/ppd-mixed-debit-credit.ach"
