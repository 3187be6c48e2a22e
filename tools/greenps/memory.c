/* SPDX-License-Identifier: MIT
 *
 * The limit is the kernel's, on all private memory that can be written.
 */
#include "memory.h"

#include <malloc.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

static struct rlimit before;
static bool limited;

void memory_limit(void)
{
	/* libdw may look for the end of a name behind what was allocated for the section that it
	 * is in.  There is the size of the next block then, and no end of the memory. */
	mallopt(M_MMAP_MAX, 0);
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	if (pages <= 0 || size <= 0 || getrlimit(RLIMIT_DATA, &before) != 0)
		return;
	struct rlimit now = before;
	now.rlim_cur = (rlim_t)pages / 2 * (rlim_t)size;
	if (now.rlim_cur < before.rlim_cur)
		limited = setrlimit(RLIMIT_DATA, &now) == 0;
}

void memory_unlimit(void)
{
	if (limited)
		setrlimit(RLIMIT_DATA, &before);
}
