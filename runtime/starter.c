/* SPDX-License-Identifier: MIT
 *
 * The thread of starter.h.
 */
#include "starter.h"
#include "arch/os_thread.h"
#include "arch/sys.h"
#include "offload.h"
#include "options.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#define AGAIN_NS GREEN_MS(10) /* after a thread that could not be made */

#define STOP 1u
#define ASK 2u

static struct {
	pthread_t thread;
	_Atomic uint32_t begun; /* futex */
	_Atomic uint32_t asked; /* futex: STOP, and above a count of starter_ask() */
} starter;

static void *starter_thread(void *unused)
{
	(void)unused;
	sys2(SYS_prctl, PR_SET_NAME, "green-starter");
	cpus_unbind();
	if (offload_start_hook)
		offload_start_hook();
	atomic_store_explicit(&starter.begun, 1, memory_order_release);
	sys_futex_wake((const uint32_t *)&starter.begun, 1);
	for (;;) {
		/* Acquire pairs with the releases of starter_ask() and starter_stop(). */
		uint32_t asked = atomic_load_explicit(&starter.asked, memory_order_acquire);
		if (asked & STOP)
			return NULL;
		bool all = offload_grow();
		sys_futex_wait((const uint32_t *)&starter.asked, asked,
		               all ? INT64_MAX : sys.now() + AGAIN_NS);
	}
}

int starter_start(void)
{
	atomic_store_explicit(&starter.asked, 0, memory_order_relaxed);
	atomic_store_explicit(&starter.begun, 0, memory_order_relaxed);
	int r = os_thread_start(&starter.thread, starter_thread, NULL, 0, true);
	while (r == 0 && !atomic_load_explicit(&starter.begun, memory_order_acquire))
		sys_futex_wait((const uint32_t *)&starter.begun, 0, INT64_MAX);
	return r;
}

void starter_ask(void)
{
	atomic_fetch_add_explicit(&starter.asked, ASK, memory_order_release);
	sys_futex_wake((const uint32_t *)&starter.asked, 1);
}

void starter_stop(void)
{
	atomic_fetch_or_explicit(&starter.asked, STOP, memory_order_release);
	sys_futex_wake((const uint32_t *)&starter.asked, 1);
	pthread_join(starter.thread, NULL);
}
