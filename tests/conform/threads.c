/* SPDX-License-Identifier: MIT
 *
 * Threads: creating, joining, detaching, attributes, identity.
 */
#include "conform.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *same(void *argument)
{
	return argument;
}

CHECK(thread_returns_value)
{
	EXPECT(in_thread(same, (void *)42L) == (void *)42L);
	return true;
}

static void *exits_deep(void *argument)
{
	pthread_exit(argument);
}

CHECK(thread_exits_with_value)
{
	EXPECT(in_thread(exits_deep, (void *)43L) == (void *)43L);
	return true;
}

CHECK(thread_join_after_end)
{
	pthread_t t = started(same, (void *)1L);

	sleep_ms(20);
	EXPECT(joined(t) == (void *)1L);
	return true;
}

static void *sleeps(void *argument)
{
	sleep_ms((unsigned)(uintptr_t)argument);
	return argument;
}

CHECK(thread_join_before_end)
{
	uint64_t before = now_ms();

	EXPECT(in_thread(sleeps, (void *)50L) == (void *)50L);
	EXPECT(now_ms() - before >= 49);
	return true;
}

static int sleepers;

static void *sleeps_until_all_do(void *argument)
{
	add_one(&sleepers);
	return (void *)(intptr_t)reaches(&sleepers, (int)(intptr_t)argument);
}

CHECK(thread_sleeps_overlap)
{
	enum { COUNT = 50 };
	pthread_t t[COUNT];

	sleepers = 0;
	for (int i = 0; i < COUNT; i++)
		t[i] = started(sleeps_until_all_do, (void *)COUNT);
	for (int i = 0; i < COUNT; i++)
		EXPECT(joined(t[i]));
	return true;
}

static int told;

static void *sleeps_until_told(void *argument)
{
	return reaches(&told, 1) ? argument : NULL;
}

static pthread_t started_until_told(void *argument)
{
	__atomic_store_n(&told, 0, __ATOMIC_SEQ_CST);
	return started(sleeps_until_told, argument);
}

static void *counts(void *argument)
{
	add_one(argument);
	return NULL;
}

CHECK(thread_thousand)
{
	enum { COUNT = 1000 };
	static pthread_t t[COUNT];
	int count = 0;

	for (int i = 0; i < COUNT; i++)
		t[i] = started(counts, &count);
	for (int i = 0; i < COUNT; i++)
		joined(t[i]);
	EXPECT(count == COUNT);
	return true;
}

static void *nests(void *argument)
{
	intptr_t depth = (intptr_t)argument;

	if (depth == 0)
		return (void *)1L;
	return (void *)((intptr_t)in_thread(nests, (void *)(depth - 1)) +
	                (intptr_t)in_thread(nests, (void *)(depth - 1)));
}

CHECK(thread_creates_threads)
{
	EXPECT(in_thread(nests, (void *)6L) == (void *)64L);
	return true;
}

static void *joins(void *argument)
{
	return joined(*(pthread_t *)argument);
}

CHECK(thread_joined_by_another)
{
	pthread_t t = started(sleeps, (void *)20L);

	EXPECT(in_thread(joins, &t) == (void *)20L);
	return true;
}

CHECK(thread_detach)
{
	int count = 0;
	pthread_t t = started(counts, &count);

	EXPECT(pthread_detach(t) == 0);
	EXPECT(reaches(&count, 1));
	return true;
}

CHECK(thread_created_detached)
{
	int count = 0, state;
	pthread_attr_t a;
	pthread_t t;

	EXPECT(pthread_attr_init(&a) == 0);
	EXPECT(pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED) == 0);
	EXPECT(pthread_attr_getdetachstate(&a, &state) == 0 && state == PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < 100; i++)
		EXPECT(pthread_create(&t, &a, counts, &count) == 0);
	EXPECT(reaches(&count, 100));
	EXPECT(pthread_attr_destroy(&a) == 0);
	return true;
}

CHECK(thread_join_detached_is_an_error)
{
	pthread_t t = started_until_told(NULL);

	EXPECT(pthread_detach(t) == 0);
	EXPECT(pthread_join(t, NULL) == EINVAL);
	EXPECT(pthread_detach(t) == EINVAL);
	add_one(&told);
	return true;
}

CHECK(thread_join_self_is_an_error)
{
	EXPECT(pthread_join(pthread_self(), NULL) == EDEADLK);
	return true;
}

CHECK(thread_tryjoin)
{
	pthread_t t = started_until_told((void *)50L);
	void *result;

	EXPECT(pthread_tryjoin_np(t, &result) == EBUSY);
	add_one(&told);
	for (int i = 0; i < 5000 && pthread_tryjoin_np(t, &result) == EBUSY; i++)
		sleep_ms(1);
	EXPECT(result == (void *)50L);
	return true;
}

CHECK(thread_timedjoin)
{
	pthread_t t = started_until_told((void *)100L);
	struct timespec soon = in_ms(CLOCK_REALTIME, 20), late = in_ms(CLOCK_REALTIME, 20000);
	void *result;

	EXPECT(pthread_timedjoin_np(t, &result, &soon) == ETIMEDOUT);
	add_one(&told);
	EXPECT(pthread_timedjoin_np(t, &result, &late) == 0 && result == (void *)100L);
	return true;
}

CHECK(thread_clockjoin)
{
	pthread_t t = started_until_told((void *)100L);
	struct timespec soon = in_ms(CLOCK_MONOTONIC, 20), late = in_ms(CLOCK_MONOTONIC, 20000);

	EXPECT(pthread_clockjoin_np(t, NULL, CLOCK_MONOTONIC, &soon) == ETIMEDOUT);
	add_one(&told);
	EXPECT(pthread_clockjoin_np(t, NULL, CLOCK_MONOTONIC, &late) == 0);
	return true;
}

/* ---- identity --------------------------------------------------------------- */

static void *own_id(void *argument)
{
	*(pthread_t *)argument = pthread_self();
	return NULL;
}

CHECK(thread_self_is_what_create_returned)
{
	pthread_t seen, t = started(own_id, &seen);

	joined(t);
	EXPECT(pthread_equal(seen, t));
	EXPECT(!pthread_equal(seen, pthread_self()));
	return true;
}

static void *own_tid(void *argument)
{
	(void)argument;
	return (void *)(intptr_t)gettid();
}

CHECK(thread_tid_is_its_own)
{
	intptr_t tid = (intptr_t)in_thread(own_tid, NULL);

	EXPECT(tid > 0 && tid != gettid());
	EXPECT(gettid() == getpid());
	return true;
}

static void *tid_is_stable(void *argument)
{
	pid_t tid = gettid();

	for (int i = 0; i < 100; i++) {
		sched_yield();
		if (i % 10 == 0)
			sleep_ms(1);
		if (gettid() != tid || syscall(SYS_gettid) != tid || getpid() == tid)
			return argument;
	}
	return NULL;
}

CHECK(thread_tid_is_stable)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		t[i] = started(tid_is_stable, (void *)1L);
	for (int i = 0; i < 4; i++)
		EXPECT(joined(t[i]) == NULL);
	return true;
}

/* Where the kernel tells the joiner.  Where there is no such call, nothing is asked. */
static void *sets_tid_address_again(void *argument)
{
	int *address = NULL;

	if (prctl(PR_GET_TID_ADDRESS, &address) != 0)
		return argument;
	bool same = syscall(SYS_set_tid_address, NULL) == gettid() &&
	            syscall(SYS_set_tid_address, address) == gettid();
	return same && *address == gettid() ? argument : NULL;
}

CHECK(thread_tid_address_is_its_own)
{
	EXPECT(in_thread(sets_tid_address_again, (void *)1L) == (void *)1L);
	return true;
}

static void *own_pid(void *argument)
{
	(void)argument;
	return (void *)(intptr_t)getpid();
}

CHECK(thread_pid_is_the_process)
{
	EXPECT((intptr_t)in_thread(own_pid, NULL) == getpid());
	return true;
}

static void *names_itself(void *argument)
{
	char name[16] = "";

	(void)argument;
	if (pthread_setname_np(pthread_self(), "conform") ||
	    pthread_getname_np(pthread_self(), name, sizeof(name)))
		return NULL;
	return (void *)(intptr_t)(strcmp(name, "conform") == 0);
}

CHECK(thread_name)
{
	EXPECT(in_thread(names_itself, NULL));
	EXPECT(pthread_setname_np(pthread_self(), "longer than fifteen") == ERANGE);
	return true;
}

CHECK(thread_name_of_another)
{
	pthread_t t = started_until_told(NULL);
	char name[16] = "";
	int set = pthread_setname_np(t, "other"), got = pthread_getname_np(t, name, sizeof(name));

	add_one(&told);
	joined(t);
	EXPECT(set == 0);
	EXPECT(got == 0 && strcmp(name, "other") == 0);
	return true;
}

CHECK(thread_kill_zero)
{
	pthread_t t = started_until_told(NULL);

	EXPECT(pthread_kill(t, 0) == 0);
	add_one(&told);
	joined(t);
	return true;
}

/* ---- attributes and stacks -------------------------------------------------- */

static void *uses_stack(void *argument)
{
	size_t size = (size_t)argument;
	volatile char *bytes = __builtin_alloca(size);

	for (size_t i = 0; i < size; i += 512)
		bytes[i] = (char)i;
	sleep_ms(1);
	for (size_t i = 0; i < size; i += 512)
		if (bytes[i] != (char)i)
			return NULL;
	return argument;
}

CHECK(thread_default_stack_is_large)
{
	pthread_attr_t a;
	size_t size;

	EXPECT(pthread_getattr_default_np(&a) == 0);
	EXPECT(pthread_attr_getstacksize(&a, &size) == 0);
	pthread_attr_destroy(&a);
	if (size < 1024 * 1024)
		SKIP("the limit on the stack is small");
	EXPECT(in_thread(uses_stack, (void *)(size / 2)) == (void *)(size / 2));
	return true;
}

CHECK(thread_stack_size_is_respected)
{
	const size_t size = 2 << 20;
	pthread_attr_t a;
	pthread_t t;
	size_t found;

	EXPECT(pthread_attr_init(&a) == 0);
	EXPECT(pthread_attr_setstacksize(&a, size) == 0);
	EXPECT(pthread_attr_getstacksize(&a, &found) == 0 && found == size);
	EXPECT(pthread_attr_setstacksize(&a, 100) == EINVAL);
	EXPECT(pthread_create(&t, &a, uses_stack, (void *)(size - 100000)) == 0);
	EXPECT(joined(t) == (void *)(size - 100000));
	pthread_attr_destroy(&a);
	return true;
}

CHECK(thread_smallest_stack)
{
	pthread_attr_t a;
	pthread_t t;

	EXPECT(pthread_attr_init(&a) == 0);
	EXPECT(pthread_attr_setstacksize(&a, (size_t)PTHREAD_STACK_MIN) == 0);
	EXPECT(pthread_create(&t, &a, same, (void *)5L) == 0);
	EXPECT(joined(t) == (void *)5L);
	pthread_attr_destroy(&a);
	return true;
}

static void *address_of_local(void *argument)
{
	char here;

	sleep_ms(1);
	*(uintptr_t *)argument = (uintptr_t)&here;
	return NULL;
}

CHECK(thread_on_a_given_stack)
{
	const size_t size = 256 * 1024;
	char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t where = 0;
	pthread_attr_t a;
	pthread_t t;

	EXPECT(stack != MAP_FAILED);
	EXPECT(pthread_attr_init(&a) == 0 && pthread_attr_setstack(&a, stack, size) == 0);
	for (int i = 0; i < 10; i++) {
		EXPECT(pthread_create(&t, &a, address_of_local, &where) == 0);
		joined(t);
		EXPECT(where >= (uintptr_t)stack && where < (uintptr_t)stack + size);
		memset(stack, 0xee, size); /* nobody uses it any more */
	}
	EXPECT(munmap(stack, size) == 0);
	pthread_attr_destroy(&a);
	return true;
}

static void *stack_bounds(void *argument)
{
	pthread_attr_t a;
	void *low;
	size_t size;
	char here;
	bool good;

	(void)argument;
	if (pthread_getattr_np(pthread_self(), &a) || pthread_attr_getstack(&a, &low, &size))
		return NULL;
	good = &here >= (char *)low && &here < (char *)low + size;
	pthread_attr_destroy(&a);
	return good ? (void *)1L : NULL;
}

CHECK(thread_knows_its_stack)
{
	EXPECT(in_thread(stack_bounds, NULL));
	EXPECT(stack_bounds(NULL));
	return true;
}

CHECK(thread_guard_size)
{
	pthread_attr_t a;
	pthread_t t;
	size_t size;

	EXPECT(pthread_attr_init(&a) == 0 && pthread_attr_setguardsize(&a, 65536) == 0);
	EXPECT(pthread_attr_getguardsize(&a, &size) == 0 && size == 65536);
	EXPECT(pthread_create(&t, &a, same, NULL) == 0);
	joined(t);
	EXPECT(pthread_attr_setguardsize(&a, 0) == 0);
	EXPECT(pthread_create(&t, &a, same, NULL) == 0);
	joined(t);
	pthread_attr_destroy(&a);
	return true;
}

/* ---- scheduling ------------------------------------------------------------- */

CHECK(thread_affinity)
{
	cpu_set_t set;

	EXPECT(pthread_getaffinity_np(pthread_self(), sizeof(set), &set) == 0);
	EXPECT(CPU_COUNT(&set) > 0);
	EXPECT(pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0);
	return true;
}

static void *affinity_in_thread(void *argument)
{
	cpu_set_t set, all;

	(void)argument;
	if (sched_getaffinity(0, sizeof(all), &all))
		return NULL;
	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&set); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		return NULL;
	return (void *)1L;
}

CHECK(thread_sets_affinity)
{
	cpu_set_t before, after;

	EXPECT(sched_getaffinity(0, sizeof(before), &before) == 0);
	EXPECT(in_thread(affinity_in_thread, NULL));
	EXPECT(sched_getaffinity(0, sizeof(after), &after) == 0);
	EXPECT(CPU_EQUAL(&before, &after));
	return true;
}

CHECK(thread_scheduling_parameters)
{
	struct sched_param p;
	int policy;

	EXPECT(pthread_getschedparam(pthread_self(), &policy, &p) == 0);
	EXPECT(policy == SCHED_OTHER && p.sched_priority == 0);
	EXPECT(pthread_setschedparam(pthread_self(), policy, &p) == 0);
	return true;
}

CHECK(thread_cpu_clock)
{
	clockid_t clock;
	struct timespec t;

	EXPECT(pthread_getcpuclockid(pthread_self(), &clock) == 0);
	EXPECT(clock_gettime(clock, &t) == 0);
	EXPECT(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
	return true;
}

CHECK(thread_concurrency)
{
	EXPECT(pthread_setconcurrency(4) == 0);
	EXPECT(pthread_getconcurrency() == 4);
	EXPECT(pthread_setconcurrency(0) == 0);
	return true;
}

/* A thread that spins until another has done something: needs two CPUs or preemption. */
static int spin_flag;

static void *spins(void *argument)
{
	(void)argument;
	while (!value_of(&spin_flag))
		;
	return (void *)1L;
}

CHECK(thread_spins_for_another)
{
	pthread_t t[4];

	spin_flag = 0;
	for (int i = 0; i < 4; i++)
		t[i] = started(spins, NULL);
	sleep_ms(30);
	add_one(&spin_flag);
	for (int i = 0; i < 4; i++)
		EXPECT(joined(t[i]) == (void *)1L);
	return true;
}

static void *yields(void *argument)
{
	for (int i = 0; i < 1000; i++)
		if (sched_yield())
			return NULL;
	return argument;
}

CHECK(thread_yield)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		t[i] = started(yields, (void *)1L);
	for (int i = 0; i < 4; i++)
		EXPECT(joined(t[i]) == (void *)1L);
	EXPECT(sched_getcpu() >= 0);
	return true;
}
