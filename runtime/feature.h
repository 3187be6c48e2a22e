/* SPDX-License-Identifier: MIT
 *
 * Features of the kernel and the CPU that are used when they are there.  Each
 * is probed by trying, and can be switched off by name (GREEN_FEATURES=-name),
 * so that an older kernel can be imitated.
 */
#ifndef FEATURE_H
#define FEATURE_H

#include <stdbool.h>
#include <stddef.h>

enum feature {
	FEATURE_IO_URING,
	FEATURE_SINGLE_ISSUER,
	FEATURE_DEFER_TASKRUN,
	FEATURE_RING_FD,
	FEATURE_RESTRICTIONS,
	FEATURE_MULTISHOT_POLL,
	FEATURE_URING_FUTEX,
	FEATURE_SUBMIT_ALL,
	FEATURE_COOP_TASKRUN,
	FEATURE_USERFAULTFD,
	FEATURE_USERFAULTFD_KERNEL,
	FEATURE_UFFD_WP,
	FEATURE_UFFD_MOVE,
	FEATURE_GUARD_INSTALL,
	FEATURE_MPROTECT_GUARD,
	FEATURE_RWF_NOWAIT,
	FEATURE_EPOLL_PWAIT2,
	FEATURE_XSAVEC,
	FEATURE_COUNT,
};

/* Reads "-name,-name"; NULL: nothing.  0, or -EINVAL with the unknown word
 * copied to bad. */
int feature_parse(const char *list, char *bad, size_t size);
void feature_reset(void);

/* False when switched off.  True does not promise that the kernel has it:
 * that is what its user finds out, and records by feature_set(). */
bool feature_on(enum feature f);
void feature_set(enum feature f, bool have);

/* "+name -name …" for green_info(). */
void feature_list(char *buf, size_t size);

#endif
