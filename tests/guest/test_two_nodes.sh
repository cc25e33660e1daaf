#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# On two nodes, under the older kernel: slots do not drift and are not lost, come from where they should, are on the
# receiver's node when they are messages, and are counted exactly.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${NUMAPOOL_BUILD:-$here/../../build}
programs=("$build/tests/unit/test_topology_libnuma" "$build"/tests/guest/{drift,order,counts,messages})
options=(--nodes 2 --kernel 6.1 --limit 100 --env "NUMAPOOL_BUILD=$build"
    --env "NUMAPOOL_TEST_PERCENT=${NUMAPOOL_TEST_PERCENT:-100}"
    --file "$build/numapoold" --file "$build/numapoolctl")
for program in "${programs[@]}"; do
    options+=(--file "$program")
done
exec "$here/guest" "${options[@]}" -- "$here/in_turn" "${programs[@]}"
