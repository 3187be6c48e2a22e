/* SPDX-License-Identifier: MIT
 *
 * select(2) and pselect6(2): sets of descriptors become a list for poll, and the real
 * call, without a time, says what is ready.
 */
#include "intercept/wait.h"
#include "io_buffer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/time.h>

#define WORD_BITS (8 * sizeof(unsigned long))
#define SETS 3 /* to read, to write, exceptions */

/* What a set of the kernel's waits for. */
static const short set_events[SETS] = { POLLIN | POLLRDNORM | POLLRDBAND,
	                                POLLOUT | POLLWRNORM | POLLWRBAND, POLLPRI };

/* The sets as they were given, and the list for poll, in one I/O buffer. */
struct sets {
	size_t words; /* of each */
	unsigned long *given[SETS], *asked[SETS];
	struct pollfd *fds;
	unsigned count, room;
};

/* Shares out the buffer; false: too many descriptors for it. */
static bool sets_layout(struct sets *s, char *buffer, int nfds)
{
	size_t room = IO_BUFFER_SIZE;

	s->words = ((size_t)nfds + WORD_BITS - 1) / WORD_BITS;
	for (unsigned i = 0; i < SETS; i++) {
		size_t size = s->words * sizeof(unsigned long);
		if (size > room)
			return false;
		s->asked[i] = (unsigned long *)(void *)buffer;
		buffer += size;
		room -= size;
	}
	s->fds = (struct pollfd *)(void *)buffer;
	s->room = (unsigned)(room / sizeof(struct pollfd));
	s->count = 0;
	return true;
}

static bool is_set(const struct sets *s, unsigned set, int fd)
{
	return s->given[set] && s->asked[set][(size_t)fd / WORD_BITS] >> (size_t)fd % WORD_BITS & 1;
}

/* False: more descriptors than there is room for. */
static bool sets_list(struct sets *s, int nfds)
{
	for (int fd = 0; fd < nfds; fd++) {
		short events = 0;

		for (unsigned i = 0; i < SETS; i++)
			if (is_set(s, i, fd))
				events |= set_events[i];
		if (!events)
			continue;
		if (s->count == s->room)
			return false;
		s->fds[s->count++] = (struct pollfd){ .fd = fd, .events = events };
	}
	return true;
}

static void sets_copy(const struct sets *s, bool back)
{
	for (unsigned i = 0; i < SETS; i++) {
		if (!s->given[i])
			continue;
		void *to = back ? s->given[i] : s->asked[i];
		const void *from = back ? s->asked[i] : s->given[i];
		memcpy(to, from, s->words * sizeof(unsigned long));
	}
}

/* The real call, with the sets as they were given. */
static long select_now(const struct call *c)
{
	struct timeval none = { 0, 0 };

	return sys5(SYS_select, c->arg[0], c->arg[1], c->arg[2], c->arg[3], &none);
}

/* Nothing is ready: the kernel has emptied the sets, s->asked has them. */
static long select_wait(struct io_call *io, const struct call *c, struct sets *s, int64_t until)
{
	for (;;) {
		long r = io_poll_until(io, s->fds, s->count, until);
		if (r == IO_INTERRUPTED && !wait_was_signalled())
			continue;
		if (r < 0)
			return r;
		sets_copy(s, true);
		r = select_now(c);
		if (r != 0 || until <= sys.now())
			return r;
	}
}

/* As select(2), but for IO_INTERRUPTED. */
static long select_until(struct call *c, int64_t until, bool wait)
{
	int nfds = (int)c->arg[0];
	struct io_call io;
	struct sets s;

	wait_begin(&io, c, -1);
	if (nfds < 0 || !wait) {
		io_went_on(&io);
		return select_now(c);
	}
	/* A bad pointer ends the call here, while it holds nothing. */
	for (unsigned i = 0; nfds > 0 && i < SETS; i++)
		if (c->arg[1 + i])
			(void)*(volatile unsigned long *)c->arg[1 + i];
	char *buffer = io_buffer_get();
	if (!buffer)
		return -ENOMEM;
	/* What the kernel would not look at either. */
	if ((uint32_t)nfds > fdtab_size)
		nfds = (int)fdtab_size;
	for (unsigned i = 0; i < SETS; i++)
		s.given[i] = (unsigned long *)c->arg[1 + i];
	long r = -ENOMEM;
	if (sets_layout(&s, buffer, nfds)) {
		sets_copy(&s, false);
		r = select_now(c);
		if (r == 0)
			r = sets_list(&s, nfds) ? select_wait(&io, c, &s, until) : -ENOMEM;
		if (r == IO_INTERRUPTED || r == -ENOMEM)
			sets_copy(&s, true); /* an error leaves them as they were */
	}
	io_buffer_put(buffer);
	io_call_end(&io);
	return r == IO_INTERRUPTED ? CALL_RESTARTNOHAND : r;
}

long call_select(struct call *c)
{
	struct timeval *limit = (struct timeval *)c->arg[4];
	int64_t until = GREEN_FOREVER;

	if (limit) {
		/* The kernel takes more than a second of microseconds. */
		if (limit->tv_sec < 0 || limit->tv_usec < 0)
			return -EINVAL;
		struct timespec ts = { limit->tv_sec + limit->tv_usec / 1000000,
			               limit->tv_usec % 1000000 * 1000 };
		until = wait_deadline(wait_duration(&ts));
	}
	bool wait = !limit || limit->tv_sec || limit->tv_usec;
	long r = select_until(c, until, wait);
	if (limit && wait) {
		struct timespec left = wait_left(until);
		*limit = (struct timeval){ left.tv_sec, left.tv_nsec / 1000 };
	}
	return r;
}

struct mask_arg { /* of pselect6(2) */
	const void *mask;
	size_t size;
};

long call_pselect6(struct call *c)
{
	struct timespec *limit = (struct timespec *)c->arg[4];
	const struct mask_arg *mask = (const struct mask_arg *)c->arg[5];
	int64_t until = GREEN_FOREVER;

	if (limit) {
		int64_t ns = wait_duration(limit);
		if (ns < 0)
			return ns;
		until = wait_deadline(ns);
	}
	if (mask && mask->mask) {
		long r = signal_mask_for_call(mask->mask, mask->size);
		if (r < 0)
			return r;
	}
	bool wait = !limit || limit->tv_sec || limit->tv_nsec;
	long r = select_until(c, until, wait);
	if (limit && wait)
		*limit = wait_left(until);
	return r;
}
