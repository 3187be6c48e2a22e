/* SPDX-License-Identifier: MIT
 *
 * Making the runtime's own OS threads.
 */
#include "arch/os_thread.h"
#include "arch/base.h"
#include "arch/sys.h"

#include <signal.h>
#include <stdint.h>

/* All but those that a thread's own code raises (blocked, they kill, and a touch of a stack
 * that hibernates is one of them), and that by which libc makes each thread repeat setuid(2)
 * & co.: it waits for all. */
static uint64_t deaf_mask(void)
{
	static const int heard[] = {
		SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGNAL_SETXID
	};
	uint64_t mask = ~(uint64_t)0;

	for (size_t i = 0; i < sizeof(heard) / sizeof(heard[0]); i++)
		mask &= ~((uint64_t)1 << (heard[i] - 1));
	return mask;
}

int os_thread_start(pthread_t *thread, void *(*fn)(void *), void *arg, size_t stack, bool deaf)
{
	uint64_t mask = deaf_mask(), before;
	pthread_attr_t attr;

	int r = pthread_attr_init(&attr);
	if (r)
		return -r;
	if (stack)
		pthread_attr_setstacksize(&attr, stack);
	if (deaf)
		sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, sizeof(mask));
	void *gs = bypass_begin();
	r = pthread_create(thread, &attr, fn, arg);
	bypass_end(gs);
	if (deaf)
		sys4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
	pthread_attr_destroy(&attr);
	return -r;
}
