#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A memory-only node, of an nvdimm that the kernel takes for memory, is taken offline while clients work in slots on it, and
# comes back.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${NUMAPOOL_BUILD:-$here/../../build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/guest" --node cpus=0-1,memory=320M --node cpus=2-3,memory=320M \
    --nvdimm "file=$work/memory,size=384M,node=2,use=ram" --limit 100 --env "NUMAPOOL_BUILD=$build" \
    --file "$build/numapoold" --file "$build/numapoolctl" --file "$build/tests/guest/offline" \
    -- "$here/in_turn" "$build/tests/guest/offline"
