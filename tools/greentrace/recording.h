/* SPDX-License-Identifier: MIT
 *
 * A recording: a file with all that a trace has taken in, and the symbols for it, so that
 * each view can be made from it later and on another machine.
 *
 * It is a struct recording_head and parts, each of a struct recording_part and so many
 * bytes.  Numbers are little endian.  Symbols and call paths come before what names them
 * by their number, which is how many of the kind came before.  The last part is
 * PART_END: without it the file is cut short.  A reader passes over parts of kinds that
 * it does not know; what it knows is understood as a whole or refused.
 */
#ifndef RECORDING_H
#define RECORDING_H

#include "functions.h"
#include "trace.h"

#define RECORDING_MAGIC "greentr"
#define RECORDING_VERSION 2u
#define RECORDING_PART_MAX (1u << 20)
#define RECORDING_NONE UINT32_MAX /* no path */

struct recording_head {
	char magic[8];
	uint32_t version;
	uint32_t head_size; /* of this, which may grow */
};

enum recording_kind {
	PART_PROCESS = 1, /* struct part_process: the first one */
	PART_CLOCK,       /* struct part_clock: of the records that follow */
	PART_SYMBOL,      /* struct part_symbol */
	PART_PATH,        /* numbers of symbols, innermost first */
	PART_RECORDS,     /* struct part_records, records, struct part_function */
	PART_STACK,       /* struct part_stack */
	PART_SMALL,       /* struct event_small */
	PART_DESCRIPTOR,  /* struct part_descriptor */
	PART_ENTRY,       /* struct part_entry */
	PART_END,         /* struct part_end */
	PART_REQUEST,     /* struct event_request */
	PART_SYSCALL,     /* struct part_syscall */
};

struct recording_part {
	uint32_t kind, size; /* without this */
};

enum recording_flag { /* of what was looked for */
	              RECORDED_ENTRIES = 1,
	              RECORDED_QUEUED = 2,
	              RECORDED_NO_KERNEL = 4, /* what the kernel does could not be seen */
	              RECORDED_SYSCALLS = 8,
	              RECORDED_FAULTS = 16,
	              RECORDED_REQUESTS = 32,
};

struct part_process {
	int64_t started_ns; /* CLOCK_MONOTONIC */
	uint64_t blocked_ns, hog_ns;
	uint32_t pid, flags;
	char program[256];
	char whys[LAYOUT_NAMES][24];
};

struct part_clock {
	uint64_t started_ticks;
	uint64_t ticks; /* and the same moment in nanoseconds */
	int64_t ns;
	double ns_per_tick;
	uint32_t nanoseconds; /* ticks are that */
	uint32_t reserved;
};

struct part_symbol {
	uint64_t pc;
	uint32_t is_return, reserved;
	struct symbol symbol;
};

struct part_records {
	uint64_t time_ns, ticks;
	uint32_t tid, count, functions, reserved;
};

struct part_function { /* of the threads that woke */
	uint64_t fn;
	uint32_t index, reserved;
};

struct part_stack {
	uint32_t kind, tid;
	int32_t syscall;
	uint32_t path; /* its number, or RECORDING_NONE */
	uint64_t time_ns, thread, ns, site, why;
};

struct part_descriptor {
	uint64_t site, why;
	char text[DESCRIPTOR_TEXT];
};

struct part_entry {
	struct entry_key key;
	uint64_t count;
};

struct part_syscall {
	struct syscall_key key;
	uint64_t count;
};

struct part_end {
	int64_t stopped_ns;
	uint64_t lost;
};

/* ---- writing ------------------------------------------------------------------ */

struct recording;

/* Of t, which has been started; it stays the caller's.  EXIT_OK, or a problem that has been
 * reported. */
int recording_create(struct recording **recording, struct trace *t, const char *file);

/* What goes wrong is remembered, and reported at the end. */
void recording_records(struct recording *r, const struct event_records *e);
void recording_stack(struct recording *r, const struct event_stack *e, const struct path *path);
void recording_small(struct recording *r, const struct event_small *e);
void recording_request(struct recording *r, const struct event_request *e);
void recording_syscall(struct recording *r, const struct syscall_key *key, uint64_t n);
void recording_descriptor(struct recording *r, uint64_t site, uint64_t why, const char *text);
void recording_entry(struct recording *r, const struct entry_key *key, uint64_t n);

/* Ends the file.  EXIT_OK, or a problem that has been reported; *size: its bytes. */
int recording_finish(struct recording *r, uint64_t *size);

/* ---- reading ------------------------------------------------------------------ */

/* All of the file into *t, which is empty but for its options.  EXIT_OK; EXIT_INCOMPLETE,
 * said: the file ends too early, and what it has is there; or a problem that has been
 * reported. */
#define EXIT_INCOMPLETE (-1)
int recording_read(struct trace *t, FILE *file, const char *name);

#endif
