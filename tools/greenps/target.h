/* SPDX-License-Identifier: MIT
 *
 * struct target: the process or core file that is looked at, as memory to read
 * and mappings to walk.
 *
 * Nothing in it is trusted, and a live one changes while it is read: every read
 * can fail, and no length or count from it is used unchecked.
 */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct mapping { /* of a file */
	uint64_t start, end, offset;
	char *path;
};

struct core;

struct target {
	pid_t pid;
	char program[256];      /* name, as the kernel has it, or path */
	const char *executable; /* --program, NULL: whatever the core says */
	struct mapping *mappings;
	size_t mappings_count;
	struct core *core; /* NULL: a live process */
	int memory;        /* its /proc/PID/mem */
	bool by_pid;       /* it is not ours to open: read by process_vm_readv() */
	bool gone;         /* it ended while it was being read */
};

/* EXIT_OK, or a problem that has been reported. */
int target_open_pid(struct target *t, pid_t pid);
int target_open_core(struct target *t, const char *path, const char *executable);
void target_close(struct target *t);

/* All of size bytes, or false. */
bool target_read(struct target *t, uint64_t address, void *buf, size_t size);

/* Nanoseconds of CLOCK_MONOTONIC now; 0 for a core, which does not say. */
int64_t target_now(const struct target *t);

/* A mapping more; path is copied.  False: no memory. */
bool target_add_mapping(struct target *t, const struct mapping *m);

#endif
