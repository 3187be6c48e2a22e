/* SPDX-License-Identifier: MIT
 *
 * struct trace: what has been seen of a process so far.
 */
#ifndef TRACE_H
#define TRACE_H

#include "clock.h"
#include "names.h"
#include "options.h"
#include "session.h"
#include "sites.h"

/* Where a worker did not switch: in a system call (its number; -1: a page fault), or
 * computing.  Or where it made a system call past the runtime, or touched a new page. */
struct stop {
	enum event_kind
		kind; /* EVENT_BLOCKED, EVENT_HOG; EVENT_SYSCALL, EVENT_FAULT, EVENT_GROWN */
	int syscall;
	struct path *path;   /* NULL: unknown */
	struct histogram ns; /* EVENT_FAULT, EVENT_GROWN: bytes below the top of the stack */
	uint64_t seen;       /* EVENT_SYSCALL, EVENT_FAULT, EVENT_GROWN: how often */
	struct stop *next;
};

struct syscall_place { /* one of those that a stop has */
	struct syscall_key key;
	struct stop *stop;
};

struct hog { /* as it goes on: of one worker */
	uint32_t tid;
	uint64_t switches, ns;
	struct stop *stop;
};

#define HOGS_MAX 1024
#define DESCRIPTORS_TOLD 4 /* of one switch point */
#define DESCRIPTOR_TEXT 200

struct descriptor { /* that was used at a switch point */
	uint64_t site, why;
	char text[DESCRIPTOR_TEXT]; /* "7: 127.0.0.1:80", not escaped */
};

struct look { /* at the table: the options', until a key changes it */
	enum sites_order order;
	const char *filter; /* only rows with this text in them; NULL: all */
};

struct trace {
	const struct options *options;
	const struct look *look;
	bool settled;
	struct session session; /* of a recording: what it says of it */
	struct tick_clock clock;
	struct names *names;
	struct sites sites;
	struct site *last; /* found */
	/* The function of the thread with that index; 0: not known. */
	uint64_t (*function_of)(struct trace *t, uint32_t index);
	struct functions *functions;            /* live */
	struct batch_functions *read_functions; /* of a recording */
	uint64_t read_lost;
	struct timeline *timeline;   /* NULL: nobody needs one */
	struct recording *recording; /* that is being written; NULL: none */
	struct stop *stops;
	struct syscall_place *places;
	size_t places_count;
	struct hog hogs[HOGS_MAX];
	unsigned hogs_count;
	struct histogram queued;
	struct descriptor *descriptors;
	size_t descriptors_count;
	struct path *forbidden; /* the first call path through the forbidden function */
	uint64_t forbidden_seen, forbidden_cut; /* and those not unwound so far */
	uint64_t records;
	uint64_t started_ticks;
	int64_t started_ns, marked_ns, polled_ns, stopped_ns; /* 0: not yet */
};

/* Attaches to the process for what the options ask for; pid 0: starts the command.  Both of
 * the others stay the caller's.  EXIT_OK, or a problem that has been reported. */
int trace_start(struct trace *t, const struct options *o, const struct look *look, pid_t pid);

/* Takes what has arrived; false: the process has ended. */
bool trace_poll(struct trace *t, int ms);

/* Counts that are kept in the kernel, as they are now. */
void trace_count(struct trace *t);

/* The time is up: what happens from now on is not counted. */
void trace_end(struct trace *t);

/* Detaches and takes the rest. */
void trace_stop(struct trace *t);
void trace_free(struct trace *t);

/* Since it was started, until it was stopped. */
double trace_seconds(const struct trace *t);

/* Records and other things that did not arrive. */
uint64_t trace_lost(const struct trace *t);

#endif
