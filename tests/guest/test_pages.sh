#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Pages of pools on machines with several nodes: moved away by others, brought back by the keeper; huge ones of each kind; nodes that go offline and
# come back. The scenes themselves are in pages_scenes.sh. The last line is "N passed, N failed".
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "${NUMAPOOL_BUILD:-$here/../../build}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

boot() { # SCENE OPTION...
    local scene=$1 status=0 here_passed here_failed
    shift
    "$here/guest" "$@" --file "$build/numapoolctl" --file "$build/numapoold" --file "$build/tests/guest/stray" --limit 100 \
        -- "$here/pages_scenes.sh" "$scene" >"$work/$scene" 2>"$work/$scene.errors" || status=$?
    sed '$d' "$work/$scene"
    read -r here_passed _ here_failed _ < <(tail -n 1 "$work/$scene" | grep -E '^[0-9]+ passed, [0-9]+ failed$' || echo "0 x 1 x")
    [ "$status" -le 1 ] || head -n 20 "$work/$scene.errors"
    passed=$((passed + here_passed))
    failed=$((failed + here_failed))
}

boot moved --node cpus=0-1,memory=512M --node cpus=2-3,memory=512M --huge 2M@0=12 --huge 2M@1=12 --nvdimm "file=$work/ram,size=512M,node=2,use=ram"
boot giant --node cpus=0-1,memory=1G --node cpus=2-3,memory=2560M --huge 1G@1=1

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
