/* SPDX-License-Identifier: MIT
 *
 * What the tests of green_sync.h share: a test made both by a green thread and
 * by an OS thread without a runtime, threads of either kind, lists of waiters.
 */
#ifndef TESTS_SYNC_H
#define TESTS_SYNC_H

#include "harness.h"
#include "waiter.h"

/* The function is a green_fn, and looks at green_self() where it matters. */
#define GREEN(function)              \
	GREEN_TEST(function##_green) \
	{                            \
		function(NULL);      \
	}
#define BOTH(function)          \
	TEST(function##_plain)  \
	{                       \
		function(NULL); \
	}                       \
	GREEN(function)

/* A green thread or, with os, an OS thread. */
struct thread {
	green_t green;
	pthread_t os;
	bool is_os;
};

static HARNESS_UNUSED struct thread thread_start(bool os, green_fn fn, void *arg)
{
	struct thread t = { .is_os = os };
	if (os)
		t.os = start_os(fn, arg);
	else
		t.green = start_green(fn, arg);
	return t;
}

static HARNESS_UNUSED void *thread_join_os(void *thread)
{
	return join_os(*(pthread_t *)thread);
}

static HARNESS_UNUSED void thread_join(struct thread *t)
{
	if (!t->is_os)
		CHECK_EQ(green_join(t->green, NULL), 0);
	else /* which a worker must not wait for */
		CHECK_EQ(green_offload(thread_join_os, &t->os, NULL), 0);
}

static HARNESS_UNUSED unsigned list_length(uint32_t *lock, struct green_wait_list *list)
{
	unsigned n = 0;
	spin_lock(spin_of(lock));
	for (struct green_waiter *w = list->first; w; w = w->next)
		n++;
	spin_unlock(spin_of(lock));
	return n;
}

/* Until n wait in an object of a public type. */
#define AWAIT_WAITERS(object, n) WAIT_FOR(list_length(&(object)->lock, &(object)->waiters) == (n))

#endif
