/* SPDX-License-Identifier: MIT
 *
 * Advice about many ranges, by one system call where the kernel can.
 */
#include "advise.h"
#include "arch/sys.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#define ADVISE_SELF (-10000) /* PIDFD_SELF_THREAD: a descriptor need not be open */

/* Learnt from the first refusal; a race only costs one more try. */
static _Atomic bool batch_refused;

static bool is_refusal(long error)
{
	return error == -ENOSYS || error == -EBADF || error == -EINVAL || error == -EPERM;
}

/* Ranges done by one call for all; 0 when the kernel does not do that. */
static unsigned advise_batch(const struct iovec *ranges, unsigned count, int advice)
{
	unsigned done = 0;

	if (count < 2 || atomic_load_explicit(&batch_refused, memory_order_relaxed))
		return 0;
	long bytes = sys5(SYS_process_madvise, ADVISE_SELF, ranges, count, advice, 0);
	if (is_refusal(bytes))
		atomic_store_explicit(&batch_refused, true, memory_order_relaxed);
	while (done < count && bytes >= (long)ranges[done].iov_len)
		bytes -= (long)ranges[done++].iov_len;
	return done;
}

int advise(const struct iovec *ranges, unsigned count, int advice)
{
	unsigned done = advise_batch(ranges, count, advice);

	for (; done < count; done++) {
		long r = sys3(SYS_madvise, ranges[done].iov_base, ranges[done].iov_len, advice);
		if (r < 0)
			return done ? (int)done : (int)r;
	}
	return (int)done;
}
