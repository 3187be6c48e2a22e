/* SPDX-License-Identifier: MIT
 *
 * green_blocking_begin() and green_blocking_end(): without a worker, code is any OS
 * thread's.
 */
#include "arch/base.h"
#include "green.h"
#include "intercept/intercept.h"
#include "scheduler.h"

#include <errno.h>

/* The green thread's: its OS thread runs nothing else meanwhile, so that one that shares
 * its TLS block cannot come in between. */
static __thread uint16_t depth;
static __thread struct worker *worker; /* what the GS base was, too */

int green_blocking_begin(void)
{
	if (!intercept_on || depth++ > 0)
		return 0;
	worker = worker_hide();
	bypass_begin();
	return 0;
}

int green_blocking_end(void)
{
	if (!intercept_on)
		return 0;
	if (!depth)
		return -EINVAL;
	if (--depth > 0)
		return 0;
	bypass_end(worker);
	worker_unhide(worker);
	return 0;
}
