/* SPDX-License-Identifier: MIT
 *
 * Per-worker state, and the Date field cached in it.
 */
#include "local.h"

#include <assert.h>
#include <errno.h>
#include <green.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

static struct local first;
static struct local *locals = &first;
static unsigned locals_count = 1;

int local_init(unsigned workers)
{
	void *memory;

	assert(workers > 0);
	if (posix_memalign(&memory, sizeof(struct local), workers * sizeof(struct local)) != 0)
		return -ENOMEM;
	memset(memory, 0, workers * sizeof(struct local));
	locals = memory;
	locals_count = workers;
	return 0;
}

struct local *local_here(void)
{
	int worker = green_worker();

	assert(worker < (int)locals_count);
	return &locals[worker > 0 ? worker : 0];
}

struct slice local_date(void)
{
	struct local *local = local_here();
	struct timespec now;

	/* To a tick of the kernel, which is finer than a second by far. */
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != local->date_seconds) {
		local->date_seconds = now.tv_sec;
		date_format(local->date, now.tv_sec);
	}
	return (struct slice){ local->date, DATE_LEN };
}

void local_count_request(void)
{
	struct local *local = local_here();
	uint64_t count = atomic_load_explicit(&local->requests, memory_order_relaxed);

	/* One writer: no read-modify-write needed. */
	atomic_store_explicit(&local->requests, count + 1, memory_order_relaxed);
}

uint64_t local_requests(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < locals_count; i++)
		sum += atomic_load_explicit(&locals[i].requests, memory_order_relaxed);
	return sum;
}
