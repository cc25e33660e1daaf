/* SPDX-License-Identifier: MIT
 *
 * Sizes that subjects and floors of one process have in common.
 */
#ifndef NP_BENCH_LOCAL_H
#define NP_BENCH_LOCAL_H

#define BENCH_PAIRS 4096u   /* of get and put in one sample */
#define BENCH_THOUSAND 1000u
#define BENCH_BULK 32u
#define BENCH_BULKS 128u    /* of bulk get and bulk put in one sample */

#endif
