#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# On four nodes of unequal sizes and distances, one of them memory-only, and a network card and a disk on node 1: slots do
# not drift and are not lost, come from the nearest node or from none, are on the receiver's node when they are messages,
# and are counted exactly; memory is where each policy wants it; killing processes on all nodes changes none of this.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${NUMAPOOL_BUILD:-$here/../../build}
programs=(drift drift_mutant order counts policies messages kills)
options=(--node "cpus=0-1,memory=448M" --node "cpus=2,memory=192M" --node "cpus=3,memory=448M" --node "memory=256M"
    --distance 0-1=14 --distance 0-2=23 --distance 0-3=27 --distance 1-2=19 --distance 1-3=12 --distance 2-3=31
    --huge "2M@0=8" --nic node=1 --nvme node=1 --limit 170
    --env "NUMAPOOL_BUILD=$build" --env "NUMAPOOL_TEST_SECONDS=${NUMAPOOL_TEST_SECONDS:-10}"
    --env "NUMAPOOL_TEST_PERCENT=${NUMAPOOL_TEST_PERCENT:-100}"
    --file "$build/numapoold" --file "$build/numapoolctl")
for program in "${programs[@]}"; do
    options+=(--file "$build/tests/guest/$program")
done
exec "$here/guest" "${options[@]}" -- "$here/in_turn" "${programs[@]/#/$build/tests/guest/}"
