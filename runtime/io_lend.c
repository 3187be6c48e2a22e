/* SPDX-License-Identifier: MIT
 *
 * Lending the memory of a call to the kernel.
 */
#include "hibernate.h"
#include "io_wait.h"

#include <limits.h>

int io_lend(struct io_call *call, const void *memory)
{
	int r = stack_lend(&call->loan, memory, call->self ? call->self->stack : STACK_NONE);

	if (r < 0)
		io_call_end(call);
	return r;
}

int io_lend_iov(struct io_call *call, const struct iovec *iov, size_t count)
{
	int r = 0;

	/* Of more the kernel does not look at one. */
	if (!hibernate_is_ready() || count > IOV_MAX)
		return 0;
	r = io_lend(call, iov);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = io_lend(call, iov[i].iov_base);
	return r;
}

int io_lend_msg(struct io_call *call, const struct msghdr *msg)
{
	int r;

	if (!hibernate_is_ready())
		return 0;
	if ((r = io_lend(call, msg)) < 0 || (r = io_lend(call, msg->msg_name)) < 0 ||
	    (r = io_lend(call, msg->msg_control)) < 0)
		return r;
	return io_lend_iov(call, msg->msg_iov, msg->msg_iovlen);
}
