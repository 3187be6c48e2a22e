/* SPDX-License-Identifier: MIT
 *
 * The set of optional features of feature.h.
 */
#include "feature.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const char *const names[FEATURE_COUNT] = {
	[FEATURE_IO_URING] = "io_uring",
	[FEATURE_SINGLE_ISSUER] = "single_issuer",
	[FEATURE_DEFER_TASKRUN] = "defer_taskrun",
	[FEATURE_RING_FD] = "ring_fd",
	[FEATURE_RESTRICTIONS] = "restrictions",
	[FEATURE_MULTISHOT_POLL] = "multishot_poll",
	[FEATURE_URING_FUTEX] = "uring_futex",
	[FEATURE_SUBMIT_ALL] = "submit_all",
	[FEATURE_COOP_TASKRUN] = "coop_taskrun",
	[FEATURE_USERFAULTFD] = "userfaultfd",
	[FEATURE_USERFAULTFD_KERNEL] = "userfaultfd_kernel",
	[FEATURE_UFFD_WP] = "uffd_wp",
	[FEATURE_UFFD_MOVE] = "uffd_move",
	[FEATURE_GUARD_INSTALL] = "guard_install",
	[FEATURE_MPROTECT_GUARD] = "mprotect_guard",
	[FEATURE_RWF_NOWAIT] = "rwf_nowait",
	[FEATURE_EPOLL_PWAIT2] = "epoll_pwait2",
	[FEATURE_XSAVEC] = "xsavec",
};

static unsigned switched_off;       /* written before any worker exists */
static _Atomic unsigned known, had; /* by whoever tried */

int feature_parse(const char *list, char *bad, size_t size)
{
	while (list && *list) {
		size_t n = strcspn(list, ",");
		unsigned f;

		for (f = 0; f < FEATURE_COUNT; f++)
			if (n == strlen(names[f]) + 1 && list[0] == '-' &&
			    memcmp(list + 1, names[f], n - 1) == 0)
				break;
		if (f == FEATURE_COUNT) {
			snprintf(bad, size, "%.*s", (int)(n < 64 ? n : 64), list);
			return -EINVAL;
		}
		switched_off |= 1u << f;
		list += n + (list[n] == ',');
	}
	return 0;
}

void feature_reset(void)
{
	switched_off = 0;
	atomic_store_explicit(&known, 0, memory_order_relaxed);
	atomic_store_explicit(&had, 0, memory_order_relaxed);
}

bool feature_on(enum feature f)
{
	return !(switched_off & 1u << f);
}

void feature_set(enum feature f, bool have)
{
	if (have)
		atomic_fetch_or_explicit(&had, 1u << f, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&had, ~(1u << f), memory_order_relaxed);
	atomic_fetch_or_explicit(&known, 1u << f, memory_order_relaxed);
}

void feature_list(char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = 0;
	for (unsigned f = 0; f < FEATURE_COUNT && at < size; f++) {
		bool used = feature_on(f) &&
		            (atomic_load_explicit(&had, memory_order_relaxed) & 1u << f);
		if (!used && feature_on(f) &&
		    !(atomic_load_explicit(&known, memory_order_relaxed) & 1u << f))
			continue; /* nobody has had to find out */
		int n = snprintf(buf + at, size - at, "%s%c%s", at ? " " : "", used ? '+' : '-',
		                 names[f]);
		at += n > 0 ? (size_t)n : 0;
	}
}
