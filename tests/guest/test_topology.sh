#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Nodes of odd kinds, as libnuma and we see them: one without memory, memory-only ones, a number that is missing, a CPU that
# is offline; what slots do there; and a control group that allows one node alone.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${NUMAPOOL_BUILD:-$here/../../build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seen=$build/tests/unit/test_topology_libnuma
programs=("$seen" "$build/tests/guest/cpuset" "$build/tests/guest/order")
options=(--node "cpus=0,memory=256M" --node "cpus=1-2,memory=256M" --node "cpus=3,memory=0"
    --distance 0-1=21 --distance 0-3=17 --distance 1-3=28
    --nvdimm "file=$work/one,size=256M,node=3,use=ram" --nvdimm "file=$work/other,size=256M,node=4,use=ram"
    --limit 60 --env "NUMAPOOL_BUILD=$build" --file "$build/numapoold" --file "$build/numapoolctl" --file "$here/lose")
for program in "${programs[@]}"; do
    options+=(--file "$program")
done
"$here/guest" "${options[@]}" -- "$here/in_turn" "$seen" "$build/tests/guest/cpuset" "$here/lose node 3" "$seen" \
    "$build/tests/guest/order" "$here/lose cpu 2" "$seen"
