/* SPDX-License-Identifier: MIT
 *
 * Calls that wait, one a kind: each is set up so that it waits for ever.
 */
#ifndef CALLS_H
#define CALLS_H

#include <stdbool.h>

struct waiting {
	const char *name;
	long (*call)(void); /* returns when a signal ends it */
	bool stop_ends_it;  /* SIGSTOP and SIGCONT may, natively: signal(7) */
};

extern const struct waiting waiting_calls[];
extern const unsigned waiting_count;

/* Makes what they wait at.  Before any of them; once. */
void waiting_prepare(void);
/* Removes what would stay behind. */
void waiting_clean(void);

#endif
