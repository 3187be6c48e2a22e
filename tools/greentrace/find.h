/* SPDX-License-Identifier: MIT
 *
 * Processes with green threads: all of them, or those of a name.
 */
#ifndef FIND_H
#define FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What a process was executing: after another exec(3) it is looked at again. */
struct seen {
	pid_t pid;
	dev_t device;
	ino_t file;
};

/* Processes that were looked into: none is twice, unless by name, until it has a runtime. */
struct found {
	struct seen *seen; /* by ascending pid */
	size_t seen_count;
	pid_t *news; /* found by the last look */
	size_t news_count;
};

/* Those that were not found before and have a runtime; name: the kernel's name for the
 * process, or the last part of its program's path; NULL: any.  Not this process.  EXIT_OK,
 * or a problem that has been reported. */
int find_news(struct found *f, const char *name);
void find_free(struct found *f);

/* The one process with that name, which need not have a runtime.  EXIT_OK, or a problem that
 * has been reported. */
int find_one(const char *name, pid_t *pid);

/* Whatever it is that may not be looked at has none. */
bool find_has_runtime(pid_t pid);

/* complain() is silent meanwhile: most processes have none. */
extern bool find_looks;

#endif
