/* SPDX-License-Identifier: MIT
 *
 * Tracing from beginning to end: the commands that attach, and those that read what such
 * a one has recorded.
 */
#ifndef RUN_H
#define RUN_H

#include "options.h"

enum {
	EXIT_BROKEN = 1,       /* a contract */
	EXIT_INCONCLUSIVE = 3, /* it may have been broken: something was missed */
};

/* The exit status.  report: of a recording. */
int run(const struct options *o);
int report(const struct options *o);

#endif
