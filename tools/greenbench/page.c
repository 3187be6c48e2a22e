/* SPDX-License-Identifier: MIT
 *
 * The cost of a page of plain memory.
 */
#include "page.h"

#include <math.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE ((size_t)4096)
#define SLOT ((size_t)65536)
#define SLOTS ((size_t)8192)

static double thread_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

double page_fault_ns(void)
{
	char *memory = mmap(NULL, SLOTS * SLOT, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NAN;
	madvise(memory, SLOTS * SLOT, MADV_NOHUGEPAGE);
	double begin = thread_cpu_ns();
	for (size_t i = 1; i <= SLOTS; i++)
		*(volatile char *)(memory + i * SLOT - PAGE) = 1;
	double took = thread_cpu_ns() - begin;
	munmap(memory, SLOTS * SLOT);
	return took / (double)SLOTS;
}
