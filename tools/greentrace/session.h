/* SPDX-License-Identifier: MIT
 *
 * struct session: one process, with the BPF programs attached to it, and what they send.
 */
#ifndef SESSION_H
#define SESSION_H

#include "events.h"
#include "layout.h"
#include "rights.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FILE_MAX (64 + 4096)

/* What is to be attached. */
struct wishes {
	bool switches;       /* all parks: the batches of records */
	bool stacks;         /* a stack for each new switch point, and now and then another */
	bool entries;        /* calls that may switch, whether they parked or not */
	uint64_t blocked_ns; /* workers blocked for that long; 0: do not look */
	uint64_t hog_ns;     /* workers that computed for that long; 0 */
	bool queued;         /* how long workers wait for a CPU */
	bool syscalls;       /* those that were not intercepted */
	bool faults;         /* new pages of stacks */
	bool requests;       /* of io_uring */
	uint64_t forbidden_start, forbidden_end; /* code that may not switch; end 0: none */
	uint64_t buffer;                         /* bytes for records: a power of two */
};

struct session {
	pid_t pid;
	bool launched; /* by this process */
	int pidfd;
	struct target target;
	struct layout layout;
	uint64_t workers_count;
	char file[FILE_MAX]; /* that has the runtime, in a way that can be opened */
	struct rights rights;
	bool same_pids;            /* its PID namespace is that of this process, */
	bool pids_are_the_kernels; /* and both are in the first one */
	struct wishes wishes;
	bool no_kernel_views; /* for lack of type information */
	struct attachment *attachment;
	bool refreshed;
	bool behind; /* more has been sent than was handed over */
};

/* What arrives; it is only good during the call. */
struct receiver {
	void (*records)(void *arg, const struct event_records *e);
	void (*stack)(void *arg, const struct event_stack *e);
	void (*small)(void *arg, const struct event_small *e);
	void (*request)(void *arg, const struct event_request *e);
	void *arg;
};

/* Finds the runtime in the process.  EXIT_OK, or a problem that has been reported. */
int session_open(struct session *s, pid_t pid, bool launched);
void session_close(struct session *s);

/* A program that was started here may move its own data after its entry point: looks again
 * where they are, once it runs. */
void session_refresh(struct session *s);

/* The tid that this process knows the worker by; 0: none.  kernel_tid: in the first
 * namespace. */
pid_t session_tid(struct session *s, pid_t kernel_tid, uint64_t worker);

/* Loads and attaches.  EXIT_OK, or a problem that has been reported; views of the kernel
 * that cannot be had are said and left out. */
int session_attach(struct session *s, const struct wishes *wishes, const struct receiver *r);

/* Hands over what has been sent; waits up to ms for something.  False: the process has
 * ended, and everything has been handed over. */
bool session_poll(struct session *s, int ms);

/* Takes the probes out again, and hands over the rest. */
void session_detach(struct session *s);

#endif
