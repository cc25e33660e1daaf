#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# numapoolctl doctor: each finding is made true, and false. What files say is made by trees that stand for /proc and /sys, what system
# calls say by taking them away. Takes the directory of the build from NUMAPOOL_BUILD, or as its argument. The last line is
# "N passed, N failed".
set -euo pipefail

build=$(cd "${1:-${NUMAPOOL_BUILD:-.}}" && pwd)
source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
ctl=$build/numapoolctl
help=$build/tests/tools/doctor_help
scratch=$(mktemp -d)
chmod 755 "$scratch"
export NUMAPOOL_SOCKET=$scratch/socket
unset XDG_RUNTIME_DIR NUMAPOOL_DOCTOR_ROOT NUMAPOOL_TOPOLOGY
passed=0
failed=0
daemon=
group=
declare -A seen_ok=() seen_other=()

clean_up() {
    if [ -n "$daemon" ]; then kill -TERM "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true; fi
    if [ -n "$group" ]; then rmdir "$group" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap clean_up EXIT

# shellcheck source=tests/tools/doctor_trees.sh
. "$source_directory/tests/tools/doctor_trees.sh"

# ---- looking

# Runs doctor on a tree ("": on the machine), with something taken away; its findings are in $scratch/lines, its status is $status.
status=0
options=()
search=$PATH
look() { # TREE [LOSS...]
    local root=$1 before=()
    shift
    [ "$#" -eq 0 ] || before=("$help" run "$@" --)
    [ -z "$root" ] || before=(env "PATH=$search" "NUMAPOOL_DOCTOR_ROOT=$scratch/$root" "${before[@]}")
    status=0
    timeout -k 5 60 "${before[@]}" "$ctl" "${options[@]}" --json doctor >"$scratch/out" 2>"$scratch/err" || status=$?
    "$help" lines <"$scratch/out" >"$scratch/lines" 2>>"$scratch/err" || {
        printf 'no document (status %s): %s\n' "$status" "$(cat "$scratch/err")"
        : >"$scratch/lines"
    }
    cat "$scratch/lines" >>"$scratch/all"
}

# ---- the generic promises

good_tree good
look ""
cp "$scratch/lines" "$scratch/here"
cut -f1 "$scratch/here" | grep -v '^worst$' >"$scratch/names"
try "it looks at this machine without a daemon" "[ \"\$(wc -l <'$scratch/names')\" -gt 30 ]" "[ $status -le 1 ]"
look good
worst() { grep '^worst' "$scratch/lines" | cut -f2; }
try "the exit status is that of the worst finding" "[[ \$(worst):$status = @(ok|note):0 ]]"
try "a tree on which all is well has no warning" "[ $status -eq 0 ]" "! grep -E '	(warning|error)	' '$scratch/lines'"
for name in kernel proc container capabilities nodes distances cpus cpuset numa_balancing demotion zone_reclaim node_memory cgroup_memory \
    overcommit swap hugepages_2m hugepages_1g cgroup_hugetlb clock mappings pmem emulated_topology; do
    expect "all is well" "$name" ok "" -
done
for name in memory_files populate pidfd futex membarrier io_uring memory_policy; do
    expect "this kernel has it" "$name" ok "" -
done
expect "what is found is what is there" nodes ok "2 of 2 nodes: 0 (8 GiB, CPUs 0-1), 1 (8 GiB, CPUs 2-3)"
expect "and how far" distances ok "from node 0: 10 21; from node 1: 21 10"
expect "and how far" distances ok "every other node is equally far"
expect "pages of each node" hugepages_2m ok "node 0: 512 of 512 free, node 1: 512 of 512 free"

status=0
"$ctl" doctor >"$scratch/text" 2>&1 || status=$?
try "people get a line for each finding, and a sum" \
    "grep -qE '^[0-9]+ ok, [0-9]+ notes, [0-9]+ warnings, [0-9]+ errors\$' '$scratch/text'" \
    "[ \$(grep -cE '^(ok|note|warning|error) +[a-z_0-9]+: .+; .+' '$scratch/text') -eq $(wc -l <"$scratch/names") ]"
status=0
"$ctl" doctor pay >"$scratch/text" 2>&1 || status=$?
try "it takes no pool" "[ $status -eq 64 ]"

# ---- what files say: nodes, and what moves pages

good_tree several
put "$node/online" 0-2,5
put "$node/has_memory" 0-2
put "$node/has_cpu" 0-1,5
put_node 0 0-1 8192 "10 21 40 21" 512
put_node 1 2-3 8192 "21 10 30 21" 0
put_node 2 "" 128 "40 31 10 40" 0
put_node 5 "" 0 "10 21 40 10" 0
put /sys/devices/system/cpu/present 0-7
put /proc/sys/kernel/numa_balancing 1
put /proc/sys/vm/zone_reclaim_mode 1
put /sys/kernel/mm/numa/demotion_enabled true
put /sys/devices/virtual/memory_tiering/memory_tier4/nodelist 0-1
put /sys/devices/virtual/memory_tiering/memory_tier22/nodelist 2
put /proc/self/status "Name: numapoolctl
CapEff: 0000000000000000
Seccomp: 2
Seccomp_filters: 1
NoNewPrivs: 1
Cpus_allowed_list: 0-1
Mems_allowed_list: 0"
touch "$tree/.dockerenv"
put /proc/self/mountinfo "22 27 0:21 / /proc rw,relatime - proc proc rw,hidepid=invisible
37 31 0:34 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"
look several
expect "memory alone is noted" nodes note "1 of memory alone"
expect "and no memory" nodes note "node 5 (no memory)"
expect "and gaps" nodes note "their numbers have gaps"
expect "there and back" distances note "takes the nearest other one by these, where its pool allows that; there and back differ"
expect "a distance that is too small" distances note "as near as a node's own"
expect "offline CPUs" cpus note "offline 4-7" "chcpu -e 4-7"
expect "nodes that a cpuset forbids" cpuset note "no memory of nodes 1-2" "echo 0-2 > /sys/fs/cgroup/cpuset/app/cpuset.mems"
expect "CPUs that it forbids" cpuset note "not CPUs 2-3" "taskset -pc 0-3 \$\$"
expect "balancing" numa_balancing note "kernel.numa_balancing 1" "sysctl -w kernel.numa_balancing=0"
expect "demotion" demotion warning "demotion_enabled is true, 2 tiers of memory" \
    "echo false > /sys/kernel/mm/numa/demotion_enabled"
expect "reclaim on the node" zone_reclaim note "vm.zone_reclaim_mode 1" "sysctl -w vm.zone_reclaim_mode=0"
expect "a node with little left" node_memory warning "node 2 has little left" -
expect "none on some nodes" hugepages_2m note "none on nodes 1-2" \
    "for node in 1 2; do echo 15 > /sys/devices/system/node/node\$node/hugepages/hugepages-2048kB/nr_hugepages; done"
expect "no CAP_SYS_NICE on several nodes" capabilities note "cap_sys_nice no" "setcap cap_sys_nice+ep"
expect "Docker, with a filter" container note "docker (/.dockerenv); seccomp mode 2, 1 filter; no new privileges" "docker run"
expect "hidden processes" proc note "hidepid=invisible" "mount -o remount,hidepid=0 /proc"

good_tree forbidden
put "$node/has_memory" 3
put /proc/self/status "Name: numapoolctl
Pid: 12
Cpus_allowed_list: 0-1
Mems_allowed_list: 0-1"
put /sys/fs/cgroup/cpuset/app/cpuset.cpus 0-1
look forbidden
expect "no allowed node has memory" nodes error "pools can have arenas nowhere"
expect "no allowed node has memory" cpuset error "no pool can be made from here" \
    "echo 3 > /sys/fs/cgroup/cpuset/app/cpuset.mems && echo 0-3 > /sys/fs/cgroup/cpuset/app/cpuset.cpus"
put "$node/online" 0-1
put "$node/has_memory" 0-1
put "$node/node0/meminfo" "Node 0 MemTotal: 65536 kB
Node 0 MemFree: 1024 kB"
put "$node/node0/hugepages/hugepages-2048kB/nr_hugepages" 0
look forbidden
expect "no memory for them" hugepages_2m note "too little memory is left there to reserve any" -

good_tree tier
put /sys/kernel/mm/numa/demotion_enabled true
look tier
expect "a kernel before 6.1" demotion warning "demotion_enabled is true;"
put /sys/devices/virtual/memory_tiering/memory_tier4/nodelist 0-1
look tier
expect "one tier" demotion ok "demotion_enabled is true, 1 tier of memory" -

good_tree nodistance
put "$node/node1/distance" "21 10 7"
look nodistance
expect "distances that do not fit" distances note "cannot be told: node1/distance"

good_tree asleep
put /sys/devices/system/cpu/online 0-1
put /sys/devices/system/cpu/present 0-4
put /sys/devices/system/cpu/offline 2-4
put "$node/node1/cpulist" ""
mkdir "$tree$node/node0/cpu4" "$tree$node/node1/cpu2" "$tree$node/node1/cpu3"
put "$node/node1/distance" "31 10"
put /proc/self/status "Name: numapoolctl
Cpus_allowed_list: 0-3
Mems_allowed_list: 0"
look asleep
expect "a node whose CPUs are offline" nodes note "1 whose CPUs are all offline: it counts as memory alone"
expect "there and back" distances note "there and back differ"
expect "one node that a cpuset forbids" cpuset note "no memory of node 1 for this process, every CPU"

good_tree bare
put "$node/has_memory" 0
look bare
expect "a node without memory" nodes note "1 without memory"
put /sys/devices/system/cpu/online 0-3,5
put /sys/devices/system/cpu/present 0-8
look bare
expect "numbers with gaps" cpus note "online 0-3,5, offline 4,6-8" "chcpu -e 4,6-8"

# One node: nothing has anywhere to move to.
good_tree one
put "$node/online" 0
put "$node/has_memory" 0
put "$node/has_cpu" 0
put_node 0 0-3 8192 10 0
put /proc/sys/kernel/numa_balancing 2
put /proc/sys/vm/zone_reclaim_mode 1
put /sys/kernel/mm/numa/demotion_enabled true
look one
expect "one node is one node" nodes ok "all memory is on node 0"
expect "one distance" distances ok "1 node"
expect "nowhere to move to" numa_balancing ok "there is one node"
expect "no slower memory" demotion ok "nowhere to move to"
expect "no next node" zone_reclaim ok "there is one node"
expect "none reserved" hugepages_2m note "none are reserved" \
    "echo 512 > /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"

# ---- limits of the machine and of control groups, version 1

good_tree tight
put /proc/sys/kernel/osrelease 5.10.0-30
put /proc/sys/vm/overcommit_memory 2
put /proc/meminfo "MemTotal: 16777216 kB
MemAvailable: 12582912 kB
CommitLimit: 4194304 kB
Committed_AS: 4190000 kB"
put /proc/sys/vm/max_map_count 4096
put /proc/swaps "Filename Type Size Used Priority
/dev/sda2 partition 2097152 0 -2
/dev/sda3 partition 1048576 0 -3"
put /sys/fs/cgroup/memory/app/memory.limit_in_bytes 134217728
put /sys/fs/cgroup/memory/app/memory.usage_in_bytes 104857600
put /sys/fs/cgroup/hugetlb/app/hugetlb.2MB.limit_in_bytes 4194304
put /sys/fs/cgroup/hugetlb/app/hugetlb.2MB.usage_in_bytes 4194304
put /sys/devices/system/clocksource/clocksource0/current_clocksource hpet
put "$node/node0/hugepages/hugepages-1048576kB/nr_hugepages" 1
put "$node/node1/hugepages/hugepages-1048576kB/nr_hugepages" 0
put /sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages 1
put /run/systemd/container systemd-nspawn
look tight
expect "too old" kernel error "5.10.0-30" "apt-get install linux-image-amd64"
expect "no overcommitting" overcommit warning "of the commit limit 4304 KiB are left" "sysctl -w vm.overcommit_memory=0"
expect "few mappings" mappings warning "vm.max_map_count 4096" "sysctl -w vm.max_map_count=65530"
expect "swap" swap note "2 swap areas, 3072 MiB, vm.swappiness 60" "swapoff -a"
expect "a memory limit of version 1" cgroup_memory error "/sys/fs/cgroup/memory/app/memory.limit_in_bytes leaves" \
    "echo -1 > /sys/fs/cgroup/memory/app/memory.limit_in_bytes"
expect "a hugetlb limit of version 1" cgroup_hugetlb warning "/sys/fs/cgroup/hugetlb/app/hugetlb.2MB.limit_in_bytes leaves 0 bytes" "echo -1 > "
expect "a slow clock" clock note "clock source hpet" \
    "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"
expect "1 GiB pages on one node alone" hugepages_1g note "none on node 1" \
    "echo 1 > /sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages"
expect "a container without a filter" container note "systemd-nspawn; no seccomp filter" -
try "errors make the exit status 1" "[ $status -eq 1 ]" "[ \$(worst) = error ]"

good_tree room
put /proc/sys/vm/overcommit_memory 2
put /sys/fs/cgroup/memory/app/memory.limit_in_bytes 4294967296
look room
expect "a limit with room" cgroup_memory note "leaves" "echo -1 > "
expect "a commit limit with room" overcommit note "of the commit limit 4096 MiB are left" "sysctl -w vm.overcommit_memory=0"
put /proc/meminfo "MemTotal: 16777216 kB
MemAvailable: 12582912 kB"
look room
expect "a commit limit that is not said" overcommit warning "cannot be told: /proc/meminfo does not say" "sysctl -w"

# ---- control groups of version 2, persistent memory, a kernel that says little

good_tree unified
put /proc/self/cgroup "0::/my app's"
put /proc/self/mountinfo "22 27 0:21 / /proc rw - proc proc rw
30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
41 20 259:1 / /mnt/fast rw,relatime - ext4 /dev/nvdimm1 rw,dax=always
40 20 259:0 / /mnt/pmem\\040x rw,relatime - ext4 /dev/pmem0 rw,nodax,dax=never"
put "/sys/fs/cgroup/my app's/memory.max" 1073741824
put "/sys/fs/cgroup/my app's/memory.current" 104857600
put "/sys/fs/cgroup/my app's/hugetlb.2MB.max" 67108864
put "/sys/fs/cgroup/my app's/hugetlb.2MB.current" 2097152
put /sys/bus/nd/devices/region0/numa_node 0
put /sys/bus/nd/devices/region0/target_node 2
put /sys/bus/nd/devices/namespace0.0/mode memory
put /sys/dev/block/259:1/queue/dax 1
put /proc/1/environ container=lxc
look unified
expect "a memory limit of version 2" cgroup_memory warning "memory.max leaves" \
    "echo max > '/sys/fs/cgroup/my app'\\''s/memory.max'"
expect "a hugetlb limit of version 2" cgroup_hugetlb note "hugetlb.2MB.max leaves 62 MiB" \
    "echo max > '/sys/fs/cgroup/my app'\\''s/hugetlb.2MB.max'"
expect "a file system without DAX" pmem note \
    "namespace0.0 fsdax, region0 near node 0 (target node 2), /mnt/fast on /dev/nvdimm1 with DAX, /mnt/pmem x on /dev/pmem0 without DAX" \
    "umount '/mnt/pmem x' && mount -o dax /dev/pmem0 '/mnt/pmem x'"
expect "and one with" pmem note "files on it are mapped without page cache; /mnt/pmem x goes through the page cache"
expect "another container" container note "lxc (/proc/1/environ)"

good_tree many
for number in 1 2 3 4 5 6 7 8; do put "/sys/bus/nd/devices/region$number/numa_node" 1; done
look many
expect "eight are shown" pmem ok "region8 near node 1 (target node ?); pools" -
put /sys/bus/nd/devices/region9/numa_node 1
look many
expect "and not more" pmem ok "region8 near node 1 (target node ?), and so on; pools" -

good_tree raw
put /sys/bus/nd/devices/namespace0.0/mode raw
put "/sys/bus/nd/devices/namespace0.\$(x)/mode" raw
look raw
expect "raw persistent memory" pmem note "namespace0.0 raw" "ndctl create-namespace --force --reconfig=namespace0.0 --mode=fsdax"
put /sys/bus/dax/devices/dax0.0/target_node 3
look raw
expect "a device that could be a node" pmem note "/dev/dax0.0 (target node 3)" "daxctl reconfigure-device --mode=system-ram dax0.0"
ln -s ../../../bus/dax/drivers/kmem "$tree/sys/bus/dax/devices/dax0.0/driver"
put /sys/bus/nd/devices/namespace0.0/mode dax
look raw
expect "a device that is a node" pmem ok "namespace0.0 devdax, dax0.0 is memory of node 3" -

tree=$scratch/empty
mkdir -p "$tree"
look empty
expect "without /proc" proc error "no /proc" "mount -t proc proc /proc"
for name in overcommit mappings cpuset capabilities; do
    expect "what cannot be told is said" "$name" note "cannot be told"
done
expect "what cannot be told is said" cpus note "cannot be told"
expect "what cannot be told is said" node_memory note "cannot be told" -
expect "no transparent huge pages" transparent_huge_pages note "not in this kernel"
expect "a kernel without NUMA is one node" nodes ok "of 1 node:"

good_tree releases
for release in 5.14.21:error 5.15.0:ok 4.19.0:error 6.1.0-9-amd64:ok; do
    put /proc/sys/kernel/osrelease "${release%:*}"
    look releases
    expect "made for 5.15 and later" kernel "${release#*:}" "Linux ${release%:*}"
done

good_tree strange
put /proc/sys/kernel/osrelease $'\e[31mnobody\e[0m'
look strange
expect "what a file says does not command the terminal" kernel note "cannot be told: the kernel's release is '?[31mnobody?[0m'"

# ---- what system calls say

look good refuse=memfd_create:1
expect "memory files refused" memory_files error "memfd_create is refused" "docker run"
look good refuse=memfd_create:22:1:11
expect "a kernel before 6.3" memory_files ok "without MFD_NOEXEC_SEAL" -
good_tree noexec
put /proc/sys/vm/memfd_noexec 2
look noexec refuse=memfd_create:13
expect "a sysctl that refuses them" memory_files error "refused" "sysctl -w vm.memfd_noexec=1"
put /proc/sys/vm/memfd_noexec 1
look noexec refuse=memfd_create:13
expect "not that sysctl" memory_files error "refused" "docker run"
look good refuse=memfd_create:24
expect "no descriptors" memory_files error "refused (Too many open files)" "prlimit --pid \$\$ --nofile="
look good refuse=fcntl:1:1:1033
expect "memory files that cannot be sealed" memory_files error "cannot be sealed" "docker run"
look good refuse=madvise:22:2:23
expect "a kernel before 5.14" populate note "no MADV_POPULATE_WRITE (Invalid argument: this kernel has it not)" "apt-get install linux-image-amd64"
look good refuse=ioctl:25:1:3227543056
expect "a kernel before 6.7" pagemap_scan ok "no PAGEMAP_SCAN (Inappropriate ioctl for device: this kernel has it not)"
look good refuse=pidfd_open:38
expect "a kernel before 5.3" pidfd error ": this kernel has it not)" "apt-get install"
look good refuse=getsockopt:92:2:77
expect "a kernel before 6.5" pidfd ok "without SO_PEERPIDFD"
look good refuse=socketpair:1
expect "no sockets" pidfd error "no socket can be made" "docker run"
look good refuse=socketpair:24
expect "no room for a socket" pidfd error "no socket can be made" "prlimit --pid \$\$ --nofile="
look good refuse=futex_waitv:1
expect "several words cannot be waited for" futex warning "no futex_waitv (Operation not permitted: refused, as by a seccomp filter)" "docker run"
look good refuse=membarrier:1
expect "no barrier" membarrier warning "no membarrier" "docker run"
look good refuse=io_uring_setup:1
expect "a filter" io_uring warning "by a seccomp filter" "docker run"
while read -r code remedy; do
    look good "refuse=io_uring_setup:$code"
    expect "error $code" io_uring warning "io_uring_setup is refused" "$remedy"
done <<'END'
38 apt-get install linux-image-amd64
12 prlimit --pid $$ --memlock=unlimited:unlimited
24 prlimit --pid $$ --nofile=65536:65536
END
look good refuse=io_uring_enter:1
expect "a ring that may not be used" io_uring warning "io_uring_enter is refused"
look good refuse=io_uring_register:1
expect "a ring that does not say what it can" io_uring ok "without waiting for futexes"
good_tree switched
put /proc/sys/kernel/io_uring_disabled 2
look switched refuse=io_uring_setup:1
expect "the sysctl" io_uring warning "kernel.io_uring_disabled is 2" "sysctl -w kernel.io_uring_disabled=0"
put /proc/sys/kernel/io_uring_disabled 1
look switched
expect "the sysctl, for others" io_uring note "to this user" "sysctl -w kernel.io_uring_disabled=0"
look good refuse=mbind:1
expect "several nodes and no binding" memory_policy error "mbind refused" "docker run --cap-add SYS_NICE"
look one refuse=mbind:1
expect "one node and no binding" memory_policy note "nothing is lost"
look good refuse=move_pages:1
expect "pages asked for one by one" memory_policy ok "move_pages refused"
look good refuse=move_pages:1 refuse=get_mempolicy:1
expect "pages that cannot be asked for" memory_policy error "it could prove nothing"
good_tree never
put /sys/kernel/mm/transparent_hugepage/shmem_enabled "always within_size advise [never] deny force"
look never refuse=madvise:22:2:25
expect "no transparent huge pages for memory files" transparent_huge_pages note "pages=thp is refused" \
    "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled"
look good refuse=madvise:22:2:25
expect "none to be had" transparent_huge_pages note "memory may be too fragmented" "echo 1 > /proc/sys/vm/compact_memory"
look "" limit=7:512:512
expect "few open files" open_files warning "RLIMIT_NOFILE 512, up to 512" "prlimit --pid \$\$ --nofile="
look "" limit=7:4096:4096
expect "not enough for full tables" open_files note "up to 4096"
look good "limit=7:1024:$(ulimit -Hn)"
expect "enough" open_files ok "RLIMIT_NOFILE 1024, up to $(ulimit -Hn)" -
look "" limit=9:8589934592:8589934592
expect "little room" address_space warning "RLIMIT_AS 8192 MiB" "prlimit --pid \$\$ --as=unlimited"
look good
expect "all the room" address_space ok "RLIMIT_AS unlimited" -
look several limit=8:65536:65536
expect "little may be locked" memlock warning "RLIMIT_MEMLOCK 64 KiB" "prlimit --pid \$\$ --memlock="
look several limit=8:8388608:8388608
expect "not all may be locked" memlock note "RLIMIT_MEMLOCK 8192 KiB" "prlimit --pid \$\$ --memlock="
look good limit=8:65536:65536
expect "a capability lifts it" memlock ok "CAP_IPC_LOCK lifts"
NUMAPOOL_TOPOLOGY=4x1G look good
expect "imagined nodes" emulated_topology warning "NUMAPOOL_TOPOLOGY=4x1G: IMAGINED" "unset NUMAPOOL_TOPOLOGY"
expect "are not the machine's" nodes ok "2 of 2 nodes"
NUMAPOOL_TOPOLOGY=4xx1G look good
expect "nodes that cannot be imagined" emulated_topology error "no nodes can be made of it" "unset NUMAPOOL_TOPOLOGY"

kernel=$(uname -r)
if [[ $kernel =~ ^([0-9]+)\.([0-9]+) ]] && [ "$((BASH_REMATCH[1] * 100 + BASH_REMATCH[2]))" -ge 607 ]; then
    look never
    expect "asked for, whatever the settings are" transparent_huge_pages ok "2 MiB of a memory file were put on one" -
else
    seen_ok[transparent_huge_pages]=1
    printf 'NOT RUN: transparent huge pages asked for whatever the settings are: Linux %s is older than 6.7\n' "$kernel"
fi

# ---- where the tests of several nodes have what they want

mkdir "$scratch/bin"
printf '#!/bin/sh\n' >"$scratch/bin/qemu-system-x86_64"
printf '#!/bin/sh\n' >"$scratch/bin/busybox"
chmod 755 "$scratch/bin/"*
search=$scratch/bin
look good
expect "qemu and busybox" test_guest ok "qemu-system-x86_64 there, busybox there" -
rm "$scratch/bin/"*
look good
search=$PATH
expect "neither" test_guest note "qemu-system-x86_64 not there, busybox not there" \
    "apt-get install --no-install-recommends qemu-system-x86 busybox-static"

# ---- the socket's place, and the daemon

look good
expect "a place for the socket" socket_directory ok "can be written" -
expect "no daemon" daemon ok "none answers at $scratch/socket" -
options=("--socket=$scratch/not there/socket")
look good
expect "no such directory" socket_directory note "is not there" "install -d -m 0755 '$scratch/not there'"
options=("--socket=$scratch/out/socket")
look good
expect "no directory" socket_directory note "is no directory" "export NUMAPOOL_SOCKET="
options=("--socket=$scratch/$(printf '%0120d' 0)")
look good
expect "a path that is too long" socket_directory error "the kernel takes no more than 107" "export NUMAPOOL_SOCKET="
options=()

start_daemon() { # COMMAND...
    "$@" --log=error --pool pay,size=128,count=1K 2>"$scratch/daemon.log" &
    daemon=$!
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        look good
        if grep -q '^daemon	[a-z]*	answers' "$scratch/lines"; then return; fi
        sleep 0.05
    done
    cat "$scratch/daemon.log"
}
end_daemon() {
    kill -TERM "$daemon"
    wait "$daemon" || true
    daemon=
}
start_daemon "$build/numapoold" --loop=epoll
expect "a daemon that answers" daemon ok "answers at $scratch/socket, on epoll; 1 pool, 1 arena; every page that was looked at was on its node" -
try "the text says so too" "{ '$ctl' doctor >'$scratch/text' || true; }" "grep -qE '^ok +daemon: answers at' '$scratch/text'"
worker=$(tr ' ' '\n' <"/proc/$daemon/task/$daemon/children" | head -n 1)
try "looking changes nothing for the worker" "kill -0 $worker" "'$ctl' check >'$scratch/text'"
if [ "$(id -u)" -eq 0 ]; then
    look good user=65534
    expect "one that does not serve this user" daemon note "does not serve this user"
fi
# Its patrol may look between the two; then it is written once more.
after_patrol() { # MISPLACED STATE TEXT
    local tries
    for ((tries = 0; tries < 20; tries++)); do
        "$help" board "$daemon" "$1" "$2"
        look good
        if grep '^daemon	' "$scratch/lines" | grep -qF "$3"; then return; fi
    done
}
after_patrol 3 0 "3 pages were not"
expect "pages that were elsewhere" daemon warning "3 pages were not on their node when they were last looked at; it serves all the same" \
    "numapoolctl verify"
after_patrol 0 1 "are being moved back"
expect "pages that are being moved back" daemon warning "pages of 1 arena are elsewhere, and are being moved back" "numapoolctl verify"
after_patrol 0 2 "cannot be moved back"
expect "pages that cannot be moved back" daemon warning "cannot be moved back" "numapoolctl verify"
after_patrol 0 3 "not there any more"
expect "a node that is gone" daemon warning "the node of 1 arena is not there any more" "numapoolctl verify"
after_patrol 0 4 "cannot be told"
expect "pages that cannot be asked for" daemon note "where the pages of 1 arena are cannot be told" -
end_daemon
start_daemon "$help" run refuse=io_uring_setup:1 -- "$build/numapoold"
expect "one that was refused io_uring" daemon note "on epoll (io_uring: Operation not permitted)"
end_daemon

make_group() { # CONTROLLER FILE=VALUE...: a control group of version 1, in $group; false where there is none
    local controller=$1 own setting
    shift
    own=$(awk -F: -v controller="$controller" '$2 ~ "(^|,)" controller "(,|$)" { print $3 }' /proc/self/cgroup)
    group=/sys/fs/cgroup/$controller${own%/}/numapool-doctor-$$
    if ! mkdir "$group" 2>/dev/null; then
        printf 'NOT RUN: a real control group of %s: none of version 1 can be made here\n' "$controller"
        return 1
    fi
    for setting in "$@"; do echo "${setting#*=}" >"$group/${setting%%=*}"; done
}
look_in_group() { # the shell that enters it ends there, so that the group can be removed
    (echo "$BASHPID" >"$group/cgroup.procs" && exec timeout -k 5 60 "$ctl" --json doctor >"$scratch/out") || true
    "$help" lines <"$scratch/out" >"$scratch/lines"
    cat "$scratch/lines" >>"$scratch/all"
}
if [ "$(id -u)" -eq 0 ]; then
    mkdir -m 700 "$scratch/private"
    options=("--socket=$scratch/private/socket")
    look "" user=65534
    expect "another user's directory" socket_directory note "may not be written by this user" "export XDG_RUNTIME_DIR=/run/user/65534"
    options=()
    look "" without=23
    expect "a capability that is not there" capabilities ok "cap_sys_nice no"
    look "" container
    expect "in a container of Docker's" container note "seccomp mode 2"
    expect "in a container of Docker's" io_uring warning "by a seccomp filter"
    expect "in a container of Docker's" capabilities ok "cap_sys_nice no, cap_sys_ptrace no, cap_ipc_lock no"
    if make_group memory memory.limit_in_bytes=134217728; then
        look_in_group
        expect "a real one" cgroup_memory warning "numapool-doctor-$$/memory.limit_in_bytes leaves" "echo -1 > $group/memory.limit_in_bytes"
        rmdir "$group"
    fi
    if [ "$(nproc --all)" -gt 1 ] && make_group cpuset cpuset.mems=0 cpuset.cpus=0; then
        look_in_group
        expect "a real one" cpuset note ", not CPUs 1" "> $group/cpuset.cpus"
        bash -c "$(grep '^cpuset	' "$scratch/lines" | cut -f5)"
        look_in_group
        expect "and mended" cpuset ok "every CPU"
        rmdir "$group"
    fi
else
    printf 'NOT RUN: other users, capabilities, containers and control groups: this is not root\n'
fi

# ---- whatever happens

# A daemon with imagined nodes says so wherever it is asked from.
start_daemon env NUMAPOOL_TOPOLOGY=2x256M "$build/numapoold"
expect "imagined nodes of its own" daemon warning "imagined nodes 2x256M"
end_daemon

look good nearly-all
grep -v '^worst' "$scratch/lines" | cut -f1 >"$scratch/refused" || true
try "under a filter that refuses nearly everything every finding is made" "[ $status -eq 1 ]" "diff '$scratch/refused' '$scratch/names'"
for name in memlock open_files address_space; do
    expect "what may not be asked for" "$name" note "cannot be told: RLIMIT_"
done
status=0
"$ctl" --json doctor >/dev/full 2>"$scratch/err" || status=$?
try "an answer that cannot be written is status 2" "[ $status -eq 2 ]"

# ---- all findings

while read -r name; do
    [ -n "${seen_ok[$name]:-}" ] || verdict "$name is never made well" 1
    [ -n "${seen_other[$name]:-}" ] || [ "$name" = pagemap_scan ] || verdict "$name is never made bad" 1
done <"$scratch/names"
page=$source_directory/docs/man/numapoolctl-doctor.1
sed -n '/^\.SH FINDINGS/,/^\.SH STATES/s/^\.B \([a-z_0-9]*\)$/\1/p' "$page" >"$scratch/page"
try "numapoolctl-doctor(1) lists every finding in their order, and no other" "diff '$scratch/names' '$scratch/page'"
wrong=0
known=" apt-get chcpu daxctl docker echo export for install mount ndctl numapoolctl prlimit setcap swapoff sysctl taskset umount unset "
while IFS=$'\t' read -r name state found means remedy; do
    [ "$name" != worst ] || continue
    case $state in ok | note | warning | error) ;; *) wrong=1 ;; esac
    [ -n "$found" ] && [ -n "$means" ] || wrong=1
    [ "$remedy" = - ] && continue
    if [[ $known != *" ${remedy%% *} "* ]] || ! bash -n -c "$remedy" 2>/dev/null || [[ $remedy = *. || $remedy = *"; "[A-Z]* ]]; then
        printf '    no command: %s: %s\n' "$name" "$remedy"
        wrong=1
    fi
done <"$scratch/all"
verdict "every remedy is a command line" "$wrong"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
