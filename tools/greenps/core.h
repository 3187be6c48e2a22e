/* SPDX-License-Identifier: MIT
 *
 * struct core: a core file's memory and its threads' registers.
 */
#ifndef CORE_H
#define CORE_H

#include "target.h"

#define CORE_REGISTERS 17 /* DWARF numbers 0 to 16 of x86-64; the last is the pc */

struct core_thread {
	pid_t tid;
	uint64_t registers[CORE_REGISTERS];
};

bool core_read(struct target *t, uint64_t address, void *buf, size_t size);
const char *core_path(const struct core *core);
int core_fd(const struct core *core);

/* How the program's file began, up to size bytes, as the core file itself has it; 0: it has
 * nothing of it. */
size_t core_program_head(const struct target *t, void *buf, size_t size);

/* The OS thread's registers; NULL: no such thread. */
const struct core_thread *core_thread(const struct core *core, pid_t tid);

void core_close(struct core *core);

#endif
