/* SPDX-License-Identifier: MIT
 * The thread's last failure, as a sentence. */
#ifndef NP_CORE_ERROR_H
#define NP_CORE_ERROR_H

/* Records the sentence and returns `code` (a negative errno), so that callers write `return np_error(-ENOENT, "...")`. */
__attribute__((format(printf, 2, 3))) int np_error(int code, const char *format, ...);

/* The same for hot failures: no formatting. `sentence` must live for ever. */
int np_error_static(int code, const char *sentence);

/* Puts "prefix: " before the sentence that is there. Returns code. */
__attribute__((format(printf, 2, 3))) int np_error_within(int code, const char *format, ...);

const char *np_error_sentence(void);

#endif
