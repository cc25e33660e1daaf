#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# numapoolctl doctor on machines that are not this one: several nodes, one of memory alone, huge pages on one node, persistent memory,
# an older kernel; and that its commands mend what it found. The last line is "N passed, N failed".
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "${NUMAPOOL_BUILD:-$here/../../build}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

verdict() { # WHAT STATUS
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n' "$1"
    fi
}
boot() { # DIRECTORY OPTION...
    local directory=$1 status=0 tools=()
    shift
    for tool in chcpu taskset; do tools+=(--file "$(command -v "$tool")"); done
    mkdir "$work/$directory"
    "$here/guest" "$@" --out "$work/$directory" --file "$build/numapoolctl" --file "$build/numapoold" --file "$build/tests/tools/doctor_help" \
        --file "$build/tests/guest/moved" \
        "${tools[@]}" --limit 100 -- "$here/doctor_scenes.sh" "$directory" >"$work/output" 2>"$work/errors" || status=$?
    verdict "$directory: the guest ran" "$status"
    [ "$status" -ne 0 ] || return 0
    head -n 30 "$work/errors" "$work/output"
    printf '%d passed, %d failed\n' "$passed" "$failed"
    exit 1
}
expect() { # LOOK NAME STATE TEXT [REMEDY]
    local line name state found means remedy wrong=0
    line=$(grep -e "^$2	" "$work/$1" || true)
    IFS=$'\t' read -r name state found means remedy <<<"$line"
    [ "$state" = "$3" ] || wrong=1
    [[ "$found; $means" = *"$4"* ]] || wrong=1
    [ "$#" -lt 5 ] || [[ $remedy = *"$5"* ]] || wrong=1
    [ "$wrong" -eq 0 ] || printf '    %s\n' "${line:-no line}"
    verdict "$1: $name is $3 and says $4" "$wrong"
}

boot all --node cpus=0-1,memory=512M --node cpus=2-3,memory=512M --node memory=256M --distance 0-1=21 --distance 0-2=17 --distance 1-2=28 \
    --huge 2M@1=16 --nvdimm "file=$work/pmem,size=128M,node=0,use=ext4-dax" \
    --nvdimm "file=$work/ram,size=384M,node=3,use=ram"
expect all/first nodes note "4 of 4 nodes: 0 ("
expect all/first nodes note "2 of memory alone"
expect all/first distances ok "from node 0: 10 21 17 20; from node 1: 21 10 28 20; from node 2: 17 28 10 20"
expect all/first cpus ok "online 0-3"
expect all/first memory_policy ok "mbind allowed, get_mempolicy allowed, move_pages allowed"
expect all/first hugepages_2m note "none on nodes 0,2-3" "for node in 0 2 3; do echo "
expect all/first pmem ok "/mnt/nvdimm0 on /dev/pmem0 with DAX"
expect all/first pmem ok "dax1.0 is memory of node 3"
expect all/first cpuset ok "memory of every node, every CPU"
expect all/worse numa_balancing note "kernel.numa_balancing 1"
expect all/worse zone_reclaim note "vm.zone_reclaim_mode 1"
expect all/worse demotion warning "demotion_enabled is true, 2 tiers"
expect all/worse overcommit note "vm.overcommit_memory 2"
expect all/worse mappings warning "vm.max_map_count 1000"
expect all/worse cpus note "offline 3"
expect all/worse nodes note "not used: node 1 (not allowed: cpuset.mems)"
expect all/worse cpuset note "no memory of nodes 1-3 for this process, not CPUs 2"
expect all/worse cgroup_memory warning "/sys/fs/cgroup/tight/memory.max leaves"
expect all/worse cgroup_hugetlb note "/sys/fs/cgroup/tight/hugetlb.2MB.max leaves 2048 KiB"
expect all/worse pmem note "goes through the page cache" "mount -o dax"
moved() { sed -n "s/^$2 \([0-9]*\) of .*/\1/p" "$work/all/$1"; }
printf 'pages moved by balancing: bound %s, others %s; by demotion: bound %s, others %s\n' "$(moved balancing bound)" "$(moved balancing free)" \
    "$(moved demotion bound)" "$(moved demotion free)"
verdict "numa_balancing moves what is not bound" "$([ "$(moved balancing free)" -gt 0 ]; echo $?)"
verdict "numa_balancing leaves what is bound" "$([ "$(moved balancing bound)" -eq 0 ]; echo $?)"
verdict "demotion moves what is bound" "$([ "$(moved demotion bound)" -gt 0 ]; echo $?)"
verdict "warnings are the exit status" "$([ "$(cat "$work/all/worse.status")" = 1 ]; echo $?)"
for name in numa_balancing zone_reclaim demotion overcommit mappings cpus cpuset cgroup_memory cgroup_hugetlb pmem; do
    expect all/mended "$name" ok ""
done
expect all/mended pmem ok "/mnt/nvdimm0 on /dev/nvdimm0 with DAX"
expect all/mended hugepages_2m ok "node 1: 16 of 16 free"
expect all/daemon daemon ok "answers at /tmp/numapool.sock, on io_uring; 1 pool, "
expect all/strayed demotion warning "demotion_enabled is true, 2 tiers"
expect all/strayed daemon warning "elsewhere" "numapoolctl verify"

boot old --kernel 6.1 --nodes 2
expect old/first kernel ok "Linux 6.1"
expect old/first memory_files ok "without MFD_NOEXEC_SEAL"
expect old/first pagemap_scan ok "no PAGEMAP_SCAN"
expect old/first pidfd ok "without SO_PEERPIDFD"
expect old/first io_uring ok "without waiting for futexes"
expect old/first futex ok "futex_waitv"
expect old/first nodes ok "2 of 2 nodes"

[ "$failed" -eq 0 ] || for file in "$work"/all/commands "$work"/all/daemon.log; do sed 's/^/    /' "$file" || true; done
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
