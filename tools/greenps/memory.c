/* SPDX-License-Identifier: MIT
 *
 * The limit is the kernel's, on all private memory that can be written.  Beside a sanitizer
 * whose shadow is such memory, tens of terabytes of it, malloc() refuses what is too much.
 */
#include "memory.h"
#include "arch/cpu.h"

#include <malloc.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(GREEN_ASAN) || defined(GREEN_TSAN)

#if defined(GREEN_ASAN)
#define DEFAULT_OPTIONS __asan_default_options
#else
#define DEFAULT_OPTIONS __tsan_default_options
#endif

#if !defined(FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION) /* the fuzzer of symbols has its own */
/* The sanitizer asks for them. */
__attribute__((visibility("default"))) const char *DEFAULT_OPTIONS(void);
const char *DEFAULT_OPTIONS(void)
{
	return "max_allocation_size_mb=1024:allocator_may_return_null=1";
}
#endif

void memory_limit(void)
{
}

void memory_unlimit(void)
{
}

#else

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

#endif
