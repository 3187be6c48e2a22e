/* SPDX-License-Identifier: MIT
 *
 * What each worker keeps for itself: no locks, no atomics that contend.
 *
 * A green thread that is not migratable stays on one worker, and its worker
 * runs nobody else between two calls that may switch.  So a handler may change
 * its worker's struct like a plain variable, as long as it makes no such call
 * halfway.  (That is also why an OS thread must not: local_here() gives it
 * worker 0's, which is right in tests that have no worker.)
 */
#ifndef HTTPD_LOCAL_H
#define HTTPD_LOCAL_H

#include "date.h"

struct exchange;

struct local {
	struct exchange *spare; /* exchanges that nobody uses, see exchange.c */
	unsigned spare_count;
	_Atomic uint64_t requests; /* written here, read by /_status anywhere */
	int64_t date_seconds;      /* what date[] says */
	char date[DATE_LEN];
} __attribute__((aligned(64)));

/* Makes room for that many workers.  0 or -ENOMEM.  Before the first handler. */
int local_init(unsigned workers);

/* That of the caller's worker; valid until the caller switches. */
struct local *local_here(void);

/* The time now, as the Date field has it. */
struct slice local_date(void);

void local_count_request(void);

/* Requests of all workers. */
uint64_t local_requests(void);

#endif
