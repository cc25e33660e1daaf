#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What test_doctor.sh runs in guests: looks at the machine as it is, makes it worse, has doctor's own commands mend it, and looks
# again. Each look is a file of lines in /out.
set -u

look() { # NAME
    numapoolctl --json doctor >/out/json
    echo "$?" >"/out/$1.status"
    doctor_help lines </out/json >"/out/$1"
}
# Carries out what the last look NAME says about FINDING. $$ is this shell.
mend() { # NAME FINDING
    command=$(grep "^$2	" "/out/$1" | cut -f5)
    echo "$2	$command" >>/out/commands
    eval "$command" >>/out/commands 2>&1 || echo "$2: status $?" >>/out/commands
}

export NUMAPOOL_SOCKET=/tmp/numapool.sock
look first
[ "$1" = all ] || exit 0

echo 1 >/proc/sys/kernel/numa_balancing
echo 1 >/proc/sys/vm/zone_reclaim_mode
echo true >/sys/kernel/mm/numa/demotion_enabled
echo 2 >/proc/sys/vm/overcommit_memory
echo 1000 >/proc/sys/vm/max_map_count
# Whether what doctor says of the two is so.
mount -t debugfs debugfs /sys/kernel/debug
for knob in scan_delay_ms scan_period_min_ms; do echo 50 >"/sys/kernel/debug/sched/numa_balancing/$knob"; done
moved balancing >/out/balancing 2>&1
for controller in cpuset memory hugetlb; do echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control; done
mkdir /sys/fs/cgroup/moved
moved demotion >/out/demotion 2>&1

echo 0 >/sys/devices/system/cpu/cpu3/online
umount /mnt/nvdimm0 && mount -t ext4 /dev/nvdimm0 /mnt/nvdimm0
mkdir /sys/fs/cgroup/tight
echo 0 >/sys/fs/cgroup/tight/cpuset.mems
echo 0-1 >/sys/fs/cgroup/tight/cpuset.cpus
echo 100M >/sys/fs/cgroup/tight/memory.max
echo 2M >/sys/fs/cgroup/tight/hugetlb.2MB.max
echo $$ >/sys/fs/cgroup/tight/cgroup.procs
look worse
for finding in numa_balancing zone_reclaim demotion overcommit mappings cpus cgroup_memory cgroup_hugetlb pmem; do
    mend worse "$finding"
done
look halfway # the CPU that came back is not in what was allowed before
mend halfway cpuset
look allowed
mend allowed hugepages_2m
look mended

# Under a real daemon, which does not bring them back.
echo true >/sys/kernel/mm/numa/demotion_enabled
(echo 0 >/sys/fs/cgroup/moved/cgroup.procs && exec numapoold --patrol=0 --log=error --pool pay,size=4096,count=1K 2>/out/daemon.log) &
tries=0
while [ "$tries" -lt 100 ]; do
    look daemon
    grep -q '^daemon	[a-z]*	answers' /out/daemon && break
    sleep 0.1
    tries=$((tries + 1))
done
tries=0
while [ "$tries" -lt 20 ] && numapoolctl verify >/out/verify 2>&1; do
    echo 16M >/sys/fs/cgroup/moved/memory.reclaim 2>/dev/null
    tries=$((tries + 1))
done
look strayed
kill %1
wait
