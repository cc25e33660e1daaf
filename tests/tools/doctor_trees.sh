#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Verdicts, and trees that stand for a machine, below $scratch: doctor.sh reads this.
# shellcheck disable=SC2034 # and what is counted here
: "${scratch:?doctor.sh says where}"

# ---- verdicts

verdict() { # WHAT STATUS
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok: %s\n' "$1"
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$1"
    fi
}

# All of its conditions, each a command.
try() { # WHAT CONDITION...
    local what=$1 condition
    shift
    for condition in "$@"; do
        if ! eval "$condition"; then
            printf '    not so: %s\n' "$condition"
            verdict "$what" 1
            return
        fi
    done
    verdict "$what" 0
}

# What the last look found: its state, a text in what was found or what it means, and one in the remedy ("-": none is wanted).
expect() { # WHAT NAME STATE TEXT [REMEDY]
    local line name state found means remedy ok=0
    line=$(grep -e "^$2	" "$scratch/lines" || true)
    IFS=$'\t' read -r name state found means remedy <<<"$line"
    [ "$state" = "$3" ] || ok=1
    [[ "$found; $means" = *"$4"* ]] || ok=1
    if [ "$#" -gt 4 ]; then
        if [ "$5" = - ]; then [ "$remedy" = - ] || ok=1; else [[ $remedy = *"$5"* ]] || ok=1; fi
    fi
    if [ "$3" = ok ]; then seen_ok[$2]=1; else seen_other[$2]=1; fi
    [ "$ok" -eq 0 ] || printf '    %s\n' "${line:-no line}"
    verdict "$2: $1" "$ok"
}

# ---- trees

tree=
put() { # PATH CONTENT: below the tree
    mkdir -p "$tree${1%/*}"
    printf '%s\n' "$2" >"$tree$1"
}
node=/sys/devices/system/node
put_node() { # NUMBER CPULIST MIB DISTANCES HUGE_PAGES
    put "$node/node$1/cpulist" "$2"
    put "$node/node$1/distance" "$4"
    put "$node/node$1/meminfo" "Node $1 MemTotal: $(($3 * 1024)) kB
Node $1 MemFree: $(($3 * 512)) kB
Node $1 Inactive(file): 0 kB
Node $1 SReclaimable: 0 kB"
    put "$node/node$1/hugepages/hugepages-2048kB/nr_hugepages" "$5"
    put "$node/node$1/hugepages/hugepages-2048kB/free_hugepages" "$5"
}

# A machine on which all is well: two nodes, huge pages on both.
good_tree() { # NAME
    tree=$scratch/$1
    put /proc/sys/kernel/osrelease 6.12.1-test
    put /proc/sys/kernel/numa_balancing 0
    put /proc/sys/kernel/io_uring_disabled 0
    put /proc/sys/vm/overcommit_memory 0
    put /proc/sys/vm/max_map_count 65530
    put /proc/sys/vm/zone_reclaim_mode 0
    put /proc/sys/vm/swappiness 60
    put /proc/swaps "Filename Type Size Used Priority"
    put /proc/meminfo "MemTotal: 16777216 kB
MemFree: 8388608 kB
MemAvailable: 12582912 kB
CommitLimit: 8388608 kB
Committed_AS: 4194304 kB"
    put /proc/self/status "Name: numapoolctl
Pid: 1234
CapEff: 000001ffffffffff
NoNewPrivs: 0
Seccomp: 0
Seccomp_filters: 0
Cpus_allowed_list: 0-3
Mems_allowed_list: 0-1"
    put /proc/self/cgroup "4:memory:/app
3:hugetlb:/app
2:cpuset:/app
0::/"
    put /proc/self/mountinfo "22 27 0:21 / /proc rw,relatime - proc proc rw
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb
37 31 0:34 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"
    put /sys/fs/cgroup/memory/app/memory.limit_in_bytes 9223372036854771712
    put /sys/fs/cgroup/memory/app/memory.usage_in_bytes 1048576
    put /sys/fs/cgroup/hugetlb/app/hugetlb.2MB.limit_in_bytes 9223372036852678656
    put /sys/fs/cgroup/hugetlb/app/hugetlb.2MB.usage_in_bytes 0
    put /sys/devices/system/clocksource/clocksource0/current_clocksource tsc
    put /sys/devices/system/clocksource/clocksource0/available_clocksource "tsc hpet acpi_pm"
    put /sys/devices/system/cpu/online 0-3
    put /sys/devices/system/cpu/present 0-3
    put "$node/online" 0-1
    put "$node/has_memory" 0-1
    put "$node/has_cpu" 0-1
    put_node 0 0-1 8192 "10 21" 512
    put_node 1 2-3 8192 "21 10" 512
    put /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 1024
    put /sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages 0
    put /sys/kernel/mm/numa/demotion_enabled false
    put /sys/kernel/mm/transparent_hugepage/enabled "always [madvise] never"
    put /sys/kernel/mm/transparent_hugepage/shmem_enabled "always within_size [advise] never deny force"
    mkdir -p "$tree/sys/bus/nd/devices"
}
