/* SPDX-License-Identifier: MIT
 * Static trace points (sys/sdt.h) of provider `numapool`, on slow paths only: a nop each until perf, bpftrace or gdb looks. */
#ifndef NP_CORE_PROBE_H
#define NP_CORE_PROBE_H

#ifdef HAVE_SYS_SDT_H
#include <sys/sdt.h>
#define NP_PROBE2(name, first, second) DTRACE_PROBE2(numapool, name, first, second)
#else
#define NP_PROBE2(name, first, second) ((void)(first), (void)(second))
#endif

#endif
