#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# On three nodes, the last of them memory-only: a pool spills to it while a node runs low, and comes back.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${NUMAPOOL_BUILD:-$here/../../build}
programs=(tiers drift order counts)
options=(--nodes 3 --limit 100 --env "NUMAPOOL_BUILD=$build" --env "NUMAPOOL_TEST_PERCENT=${NUMAPOOL_TEST_PERCENT:-100}"
    --file "$build/numapoold" --file "$build/numapoolctl")
for program in "${programs[@]}"; do
    options+=(--file "$build/tests/guest/$program")
done
exec "$here/guest" "${options[@]}" -- "$here/in_turn" "${programs[@]/#/$build/tests/guest/}"
