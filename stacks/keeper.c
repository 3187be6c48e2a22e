/* SPDX-License-Identifier: MIT
 *
 * The two threads of keeper.h.
 */
#include "keeper.h"
#include "arch/cpu.h"
#include "arch/os_thread.h"
#include "arch/sys.h"
#include "spin.h"

#include <errno.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define KEEPER_STACK ((size_t)256 << 10)
#define NEW_HANDLER 0ul /* a request that is none of the kernel's */

enum { IDLE, ASKED, ANSWERED, STOPPED, FAILED };

static struct {
	pthread_t thread, handler;
	int uffd, bell; /* in the keeper's table */
	void (*handle)(void *address);
	_Atomic bool there;
	_Atomic int tid, handler_tid; /* 0: has not begun */
	_Atomic bool handling;        /* the handler is in the middle of something */
	_Atomic uint32_t state;       /* futex: IDLE -> ASKED -> ANSWERED -> IDLE */
	struct spin asking;           /* one question at a time */
	unsigned long request;
	void *argument;
	long answer;
	int error;
} keeper;

static void say(uint32_t state)
{
	/* Release pairs with the acquires of those who wait for a state. */
	atomic_store_explicit(&keeper.state, state, memory_order_release);
	sys_futex_wake((const uint32_t *)&keeper.state, INT_MAX);
}

static void wait_while(uint32_t state)
{
	while (atomic_load_explicit(&keeper.state, memory_order_acquire) == state)
		sys_futex_wait((const uint32_t *)&keeper.state, state, INT64_MAX);
}

static int own_tid(void)
{
	return (int)sys0(SYS_gettid);
}

long keeper_ask(unsigned long request, void *argument)
{
	if (!atomic_load_explicit(&keeper.there, memory_order_acquire))
		return -EBADF;
	/* The handler has the keeper's table, and must not wait for who is asking. */
	if (own_tid() == atomic_load_explicit(&keeper.handler_tid, memory_order_relaxed))
		return sys3(SYS_ioctl, keeper.uffd, request, argument);
	spin_lock(&keeper.asking);
	if (atomic_load_explicit(&keeper.state, memory_order_relaxed) == STOPPED) {
		spin_unlock(&keeper.asking);
		return -EBADF;
	}
	keeper.request = request;
	keeper.argument = argument;
	say(ASKED);
	wait_while(ASKED);
	long answer = keeper.answer;
	/* Nobody waits for this one: the next question changes it again. */
	atomic_store_explicit(&keeper.state, IDLE, memory_order_release);
	spin_unlock(&keeper.asking);
	return answer;
}

/* ---- the handler ------------------------------------------------------------ */

/* Sees to those who wait; they may be many at once. */
static void answer_faults(void)
{
	struct uffd_msg messages[16];
	long bytes;

	while ((bytes = sys3(SYS_read, keeper.uffd, messages, sizeof(messages))) > 0)
		for (size_t i = 0; i < (size_t)bytes / sizeof(messages[0]); i++)
			if (messages[i].event == UFFD_EVENT_PAGEFAULT)
				keeper.handle((void *)(uintptr_t)messages[i].arg.pagefault.address);
}

static void *handler_thread(void *unused)
{
	struct pollfd fds[2] = { { .fd = keeper.uffd, .events = POLLIN },
		                 { .fd = keeper.bell, .events = POLLIN } };

	(void)unused;
	atomic_store_explicit(&keeper.handler_tid, own_tid(), memory_order_relaxed);
	while (!(fds[1].revents & POLLIN)) {
		sys3(SYS_poll, fds, 2, -1);
		atomic_store_explicit(&keeper.handling, true, memory_order_relaxed);
		if (fds[0].revents & POLLIN)
			answer_faults();
		/* Release pairs with the acquire in keeper_watch(). */
		atomic_store_explicit(&keeper.handling, false, memory_order_release);
	}
	return NULL;
}

/* ---- the keeper ------------------------------------------------------------- */

/* A table that holds the userfaultfd and nothing else.  Not being allowed one
 * leaves the program's: it then must not close all it has. */
static bool own_table(void)
{
	if (sys1(SYS_unshare, CLONE_FILES) < 0)
		return false;
	if (keeper.uffd > 0)
		sys3(SYS_close_range, 0, keeper.uffd - 1, 0);
	sys3(SYS_close_range, keeper.uffd + 1, ~0u, 0);
	return true;
}

static int start_thread(pthread_t *thread, void *(*fn)(void *), const char *name)
{
	int r = (int)sys_fault(SYS_clone);

	if (r == 0)
		r = os_thread_start(thread, fn, NULL, KEEPER_STACK, true);
	if (r == 0)
		pthread_setname_np(*thread, name);
	return r;
}

static int start_handler(void)
{
	atomic_store_explicit(&keeper.handler_tid, 0, memory_order_relaxed);
	return start_thread(&keeper.handler, handler_thread, "green-faults");
}

static int first_handler(void)
{
	keeper.bell = (int)sys2(SYS_eventfd2, 0, EFD_CLOEXEC);
	return keeper.bell < 0 ? keeper.bell : start_handler();
}

/* In place of one that has ended. */
static int next_handler(void)
{
	pthread_join(keeper.handler, NULL);
	return start_handler();
}

static void stop_handler(void)
{
	uint64_t one = 1;

	sys3(SYS_write, keeper.bell, &one, sizeof(one));
	pthread_join(keeper.handler, NULL);
	sys1(SYS_close, keeper.bell);
}

static long answer(void)
{
	if (keeper.request == NEW_HANDLER)
		return next_handler();
	return sys3(SYS_ioctl, keeper.uffd, keeper.request, keeper.argument);
}

static void *keeper_thread(void *unused)
{
	(void)unused;
	atomic_store_explicit(&keeper.tid, own_tid(), memory_order_relaxed);
	bool own = own_table();
	keeper.error = keeper.handle ? first_handler() : 0;
	if (keeper.error < 0) {
		say(FAILED);
		return NULL;
	}
	say(IDLE);
	for (;;) {
		uint32_t state = atomic_load_explicit(&keeper.state, memory_order_acquire);
		if (state == STOPPED)
			break;
		if (state == ASKED) {
			keeper.answer = answer();
			say(ANSWERED);
		} else {
			wait_while(state);
		}
	}
	if (keeper.handle)
		stop_handler();
	/* Now: the kernel closes what a thread leaves open only after it can be
	 * joined, and the next userfaultfd has to find the arenas unregistered. */
	if (own)
		sys1(SYS_close, keeper.uffd);
	return NULL;
}

int keeper_start(int uffd, void (*handle)(void *address))
{
	keeper.uffd = uffd;
	keeper.handle = handle;
	atomic_store_explicit(&keeper.state, ASKED, memory_order_relaxed); /* to start */
	int r = start_thread(&keeper.thread, keeper_thread, "green-keeper");
	if (r < 0)
		return r;
	wait_while(ASKED);
	if (atomic_load_explicit(&keeper.state, memory_order_acquire) == FAILED) {
		pthread_join(keeper.thread, NULL);
		return keeper.error;
	}
	atomic_store_explicit(&keeper.there, true, memory_order_release);
	return 0;
}

void keeper_stop(void)
{
	if (!atomic_load_explicit(&keeper.there, memory_order_relaxed))
		return;
	atomic_store_explicit(&keeper.there, false, memory_order_release);
	/* The handler may be asking: not in the middle of that. */
	spin_lock(&keeper.asking);
	say(STOPPED);
	spin_unlock(&keeper.asking);
	pthread_join(keeper.thread, NULL);
}

static bool has_ended(int tid)
{
	return tid && sys3(SYS_tgkill, sys0(SYS_getpid), tid, 0) == -ESRCH;
}

int keeper_watch(void)
{
	if (!atomic_load_explicit(&keeper.there, memory_order_acquire))
		return 0;
	/* What it was asked last, or will be, nobody answers. */
	if (has_ended(atomic_load_explicit(&keeper.tid, memory_order_relaxed)))
		return -EOWNERDEAD;
	if (!keeper.handle ||
	    !has_ended(atomic_load_explicit(&keeper.handler_tid, memory_order_relaxed)))
		return 0;
	if (atomic_load_explicit(&keeper.handling, memory_order_acquire) ||
	    keeper_ask(NEW_HANDLER, NULL) < 0)
		return -EOWNERDEAD;
	return 1;
}

bool keeper_has_handler(void)
{
	return atomic_load_explicit(&keeper.there, memory_order_acquire) && keeper.handle;
}

unsigned keeper_threads(void)
{
	if (!atomic_load_explicit(&keeper.there, memory_order_acquire))
		return 0;
	return keeper.handle ? 2 : 1;
}

void keeper_forget(void)
{
	atomic_store_explicit(&keeper.there, false, memory_order_relaxed);
	atomic_store_explicit(&keeper.state, IDLE, memory_order_relaxed);
	spin_unlock(&keeper.asking);
}
