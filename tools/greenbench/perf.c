/* SPDX-License-Identifier: MIT
 *
 * Counting instructions through perf_event_open(2).
 */
#include "perf.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <math.h>
#include <sys/syscall.h>
#include <unistd.h>

static int perf_fd = -1;

void perf_open(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_HARDWARE,
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_kernel = 1, /* all that an ordinary user may count */
		.exclude_hv = 1,
		.inherit = 1,
	};
	if (perf_fd < 0)
		perf_fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

double perf_read(void)
{
	uint64_t count;
	if (perf_fd < 0 || read(perf_fd, &count, sizeof(count)) != sizeof(count))
		return NAN;
	return (double)count;
}
