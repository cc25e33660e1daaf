#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# That tests/guest/guest makes the machine that was asked for, and brings back what the command said and how it ended.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${NUMAPOOL_BUILD:-$here/../../build}
guest=$here/guest
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
status=0

check() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s: %s\n' "$what" "$*"
    fi
}

# A guest, or an attempt: its output in $work/output, what the runner said in $work/errors, its status in $status.
try() { # ARGUMENT...
    status=0
    "$guest" "$@" >"$work/output" 2>"$work/errors" || status=$?
}
ended_with() { # STATUS
    [ "$status" -eq "$1" ] || {
        printf 'status %d; it said: %s\n' "$status" "$(head -n 30 "$work/errors")"
        return 1
    }
}
said() { grep -qE -e "$1" "$work/errors"; }
printed() { grep -qxF -e "$1" "$work/output"; }
fact() { # LINE
    grep -qxF -e "$1" "$work/out/facts" || {
        grep -F -e "${1%% *} " "$work/out/facts" || printf 'no such fact\n'
        return 1
    }
}
# As much as was asked for, of which the kernel keeps a part.
memory_of() { # NODE MIB
    local kib
    kib=$(sed -n "s/^memory$1 //p" "$work/out/facts")
    printf 'node %d has %s KiB\n' "$1" "$kib" >&2
    [ "$kib" -le $(($2 * 1024)) ] && [ "$kib" -gt $(($2 * 768 - 65536)) ]
}

# ---- what needs no boot

try
check "without a command" ended_with 120
try --node cpu=0 -- true
check "an unknown field" ended_with 120
check "the sentence names it" said "there is no 'cpu'"
try --file "$work/nothing" -- true
check "a file that is not there" ended_with 120
NUMAPOOL_GUEST_CACHE=$work/empty try -- true
check "no kernel" ended_with 121
check "the sentence says what brings it" said 'tests/guest/fetch'
mkdir "$work/programs"
for program in env busybox ldd bash; do
    ln -s "$(command -v $program)" "$work/programs/"
done
printf '#!/bin/sh\nexec %s "$@"\n' "$(python3 -c 'import sys; print(sys.executable)')" >"$work/programs/python3"
chmod +x "$work/programs/python3"
PATH=$work/programs try -- true
check "no qemu" ended_with 121
check "the sentence says how to have it" said 'apt-get install .*qemu-system-x86'
check "fetch knows the kernels" test "$("$here/fetch" 2.4 2>/dev/null || echo $?)" = 2
mkdir -p "$work/cache/fetch.killed" "$work/archive"
printf '#!/bin/sh\necho "  Depends: linux-image-there"\n' >"$work/archive/apt-cache"
printf '#!/bin/sh\necho half >linux-image-there_1.deb\n' >"$work/archive/apt-get"
chmod +x "$work/archive/"*
status=0
PATH=$work/archive:$PATH NUMAPOOL_GUEST_CACHE=$work/cache "$here/fetch" 6.12 >"$work/output" 2>"$work/errors" || status=$?
check "half a package" ended_with 1
check "the sentence names it" said 'linux-image-6.12-cloud-amd64 cannot be unpacked'
check "nothing is left of it, nor of one that was killed" test "$(ls "$work/cache")" = lock
try --limit 0.5 -- true
check "the time limit" ended_with 124
check "it is named" said 'limit of 0.5 s'

# ---- one machine with all of it

cat >"$work/facts.sh" <<'SCRIPT'
#!/bin/sh
exec 3>&1 >/out/facts 2>/dev/null
fact() { echo "$*"; }
cd /sys/devices/system/node
fact online "$(cat online)"
fact has_cpu "$(cat has_cpu)"
for node in 0 1 2 3; do
    fact "distance$node" "$(cat node$node/distance)"
    fact "cpus$node" "$(cat node$node/cpulist)"
    fact "small_pages$node" "$(cat node$node/hugepages/hugepages-2048kB/nr_hugepages)"
    fact "large_pages$node" "$(cat node$node/hugepages/hugepages-1048576kB/nr_hugepages)"
    fact "memory$node" "$(sed -n 's/.*MemTotal: *\([0-9]*\) kB/\1/p' node$node/meminfo)"
done
fact clock "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
fact nic "$(cat /sys/class/net/eth0/device/numa_node)"
fact nvme "$(cat /sys/class/nvme/nvme0/device/numa_node)"
fact mount "$(grep ' /mnt/nvdimm0 ' /proc/mounts | grep -o 'ext4 .*dax=always' | cut -d' ' -f1)"
fact persistence "$(cat /sys/bus/nd/devices/region0/persistence_domain)"
raw=/sys/block/$(readlink /dev/nvdimm2)
fact raw "$(cat "$raw/queue/dax") $(($(cat "$raw/size") / 2048))"
fact devdax "$([ -c /dev/nvdimm3 ] && echo character)"
fact environment "$GIVEN $TAKEN"
fact nobody "$(su -s /bin/sh nobody -c 'id -u')"
fact loopback "$(ping -c 1 127.0.0.1 | grep -c 'bytes from')"
systems='/dev/shm tmpfs|/dev/pts devpts|/dev/hugepages hugetlbfs|/sys/fs/cgroup cgroup2'
fact filesystems "$(cut -d' ' -f2,3 /proc/mounts | grep -cE "^($systems)$")"
fact directory "$(pwd -P) $OLDPWD"
for block in node3/memory[0-9]*; do
    echo offline >"$block/state"
done
fact emptied "$(cat online) $(cat has_memory)"
ram=$(basename /sys/bus/dax/drivers/kmem/dax*)
echo "$ram" >/sys/bus/dax/drivers/kmem/unbind
fact gone "$(cat online)"
echo "$ram" >/sys/bus/dax/drivers/kmem/bind
fact back "$(cat online) $(cat has_memory)"
echo kept >/mnt/nvdimm0/kept
head -c 3000000 /dev/urandom >/out/random
sleep 1000 & # what is left running does not keep the guest
cat /out/random >&3
exit 7
SCRIPT
chmod +x "$work/facts.sh"
cd "$work"
export TMPDIR=$work/temporary
mkdir "$TMPDIR"
TAKEN="two words" try --node cpus=0-1,memory=256M --node cpus=2,memory=3G --node memory=384M \
    --distance 0-1=31 --distance 2-0=17 --distance 1-2=28 --distance 0-3=40 \
    --huge 2M=3 --huge 2M@2=5 --huge 1G@1=1 --nic node=1 --nvme node=0 --env "GIVEN=it's" --env TAKEN \
    --nvdimm "file=$work/kept.img,size=64M,node=0" --nvdimm "file=$work/ram.img,size=384M,node=3,use=ram" \
    --nvdimm "file=$work/raw.img,size=48M,node=1,use=raw" --nvdimm "file=$work/devdax.img,size=64M,node=1,use=devdax" \
    --out "$work/out" -- "$work/facts.sh"
check "the status of the command" ended_with 7
check "output of some MB is intact" cmp "$work/output" "$work/out/random"
check "its size" test "$(stat -c %s "$work/output")" = 3000000
check "nodes" fact "online 0-3"
check "nodes with CPUs" fact "has_cpu 0-1"
check "distances of node 0" fact "distance0 10 31 17 40"
check "distances of node 1" fact "distance1 31 10 28 20"
check "distances of node 2" fact "distance2 17 28 10 20"
check "CPUs of node 0" fact "cpus0 0-1"
check "CPUs of node 1" fact "cpus1 2"
check "a memory-only node" fact "cpus2 "
check "memory of node 0" memory_of 0 256
check "memory of node 1" memory_of 1 3072
check "memory of node 2" memory_of 2 384
check "an nvdimm as memory of a node of its own" fact "memory3 262144"
check "whose memory can be taken offline" fact "emptied 0-3 0-2"
check "and the node after it" fact "gone 0-2"
check "and come back" fact "back 0-3 0-3"
check "huge pages on each node" fact "small_pages0 3"
check "the same on the second" fact "small_pages1 3"
check "huge pages of one node" fact "small_pages2 5"
check "a page of 1 GiB on its node" fact "large_pages1 1"
check "and on no other" fact "large_pages0 0"
check "a clock that load at boot does not bend" fact "clock hpet"
check "the node of a network card" fact "nic 1"
check "the node of an nvme" fact "nvme 0"
check "ext4 on an nvdimm, with dax" fact "mount ext4"
check "caches are lost with the power" fact "persistence memory_controller"
check "a raw nvdimm" fact "raw 0 48"
check "a dax device" fact "devdax character"
check "the environment" fact "environment it's two words"
check "another user" fact "nobody 65534"
check "the loopback interface" fact "loopback 1"
check "file systems" fact "filesystems 4"
check "the working directory" fact "directory /sys/devices/system/node $work"

# ---- power that is cut; what an nvdimm keeps

# shellcheck disable=SC2016 # the guest expands it
try --nodes 1 --nvdimm "file=$work/kept.img" -- "$build/tests/guest/cut_power" /mnt/nvdimm0/word
check "a program cuts the power" ended_with 123
check "at once" test ! -s "$work/output"
try --kernel 6.1 --nodes 4 --persistence cpu --nvdimm "file=$work/kept.img,node=3,snapshot" --cut '^now' -- \
    sh -c 'uname -r | cut -d. -f1-2; cat /sys/devices/system/node/has_cpu /sys/devices/system/node/node3/distance
        cat /mnt/nvdimm0/kept /sys/bus/nd/devices/region0/persistence_domain
        echo lost >/mnt/nvdimm0/kept; sync; echo now; sleep 1000'
check "a line cuts the power" ended_with 123
check "kernel 6.1" printed 6.1
check "four nodes, the last memory-only" printed 0-2
check "their distances" printed "27 36 31 10"
check "what an nvdimm kept" printed kept
check "caches that survive" printed cpu_cache
# shellcheck disable=SC2016 # the guest expands it
try --nodes 3 --nvdimm "file=$work/kept.img" -- sh -c 'cat /mnt/nvdimm0/kept
    hexdump -n 4 -e "1/4 \"%d\n\"" /mnt/nvdimm0/word
    cat /sys/devices/system/node/node*/distance; kill -SEGV $$'
check "the signal that killed the command" ended_with 139
check "a snapshot is forgotten" printed kept
check "stored before the cut: there; after: not" printed 1
check "three nodes" printed "17 28 10"
try -- power-cut
check "the command power-cut" ended_with 123

# ---- guests that fail

try --nodes 1 --memory 128M --huge 2M=1000 -- true
check "what cannot be had" ended_with 122
check "is named" said 'node 0 has [0-9]+ huge pages of 2048 KiB, not 1000'
try --console "$work/console" -- sh -c 'echo c >/proc/sysrq-trigger'
check "a panic" ended_with 125
check "with the end of the console" said 'Kernel panic'
check "which is kept where it was asked for" grep -q 'Kernel panic' "$work/console"
try --device "-nonsense" -- true
check "what qemu does not know" ended_with 122
check "in its own words" said 'qemu did not start: .*nonsense'
check "nothing is left of guests" test -z "$(ls "$TMPDIR")"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
