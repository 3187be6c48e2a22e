/* SPDX-License-Identifier: MIT
 *
 * What each thread has for itself: keys and their destructors, __thread, errno, locale;
 * and pthread_once.
 */
#include "conform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <netdb.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNT = 20 };

static pthread_key_t key;
static int destroyed;

static void destroys(void *value)
{
	(void)value;
	add_one(&destroyed);
}

static void *keeps_its_value(void *argument)
{
	if (pthread_getspecific(key))
		return NULL;
	pthread_setspecific(key, argument);
	for (int i = 0; i < 20; i++) {
		sleep_ms(1);
		if (pthread_getspecific(key) != argument)
			return NULL;
	}
	return argument;
}

CHECK(key_is_private)
{
	pthread_t t[COUNT];

	destroyed = 0;
	EXPECT(pthread_key_create(&key, destroys) == 0);
	for (intptr_t i = 0; i < COUNT; i++)
		t[i] = started(keeps_its_value, (void *)(i + 1));
	for (intptr_t i = 0; i < COUNT; i++)
		EXPECT(joined(t[i]) == (void *)(i + 1));
	EXPECT(pthread_getspecific(key) == NULL);
	EXPECT(destroyed == COUNT);
	EXPECT(pthread_key_delete(key) == 0);
	return true;
}

static void *clears_its_value(void *argument)
{
	pthread_setspecific(key, argument);
	pthread_setspecific(key, NULL);
	return NULL;
}

CHECK(key_without_value_is_not_destroyed)
{
	destroyed = 0;
	EXPECT(pthread_key_create(&key, destroys) == 0);
	in_thread(clears_its_value, (void *)1L);
	EXPECT(destroyed == 0);
	EXPECT(pthread_key_delete(key) == 0);
	return true;
}

static void destroys_and_sets(void *value)
{
	if (add_one(&destroyed) < 3)
		pthread_setspecific(key, value);
}

static void *sets_key(void *argument)
{
	pthread_setspecific(key, argument);
	return NULL;
}

CHECK(key_destructor_runs_again)
{
	destroyed = 0;
	EXPECT(pthread_key_create(&key, destroys_and_sets) == 0);
	in_thread(sets_key, (void *)1L);
	EXPECT(destroyed == 3);
	EXPECT(pthread_key_delete(key) == 0);
	return true;
}

static void destroys_slowly(void *value)
{
	(void)value;
	sleep_ms(10);
	add_one(&destroyed);
}

CHECK(key_destructor_may_wait)
{
	destroyed = 0;
	EXPECT(pthread_key_create(&key, destroys_slowly) == 0);
	in_thread(sets_key, (void *)1L);
	EXPECT(destroyed == 1); /* joined only after it */
	EXPECT(pthread_key_delete(key) == 0);
	return true;
}

CHECK(key_deleted_is_not_destroyed)
{
	destroyed = 0;
	EXPECT(pthread_key_create(&key, destroys) == 0);
	EXPECT(pthread_setspecific(key, &key) == 0);
	EXPECT(pthread_key_delete(key) == 0);
	EXPECT(pthread_setspecific(key, NULL) == EINVAL);
	EXPECT(destroyed == 0);
	return true;
}

CHECK(key_limit)
{
	static pthread_key_t keys[PTHREAD_KEYS_MAX + 1];
	int count = 0, r = 0;

	while (count <= PTHREAD_KEYS_MAX && !(r = pthread_key_create(&keys[count], NULL)))
		count++;
	for (int i = 0; i < count; i++)
		EXPECT(pthread_key_delete(keys[i]) == 0);
	EXPECT(r == EAGAIN && count > 128);
	return true;
}

/* ---- thread-local storage --------------------------------------------------- */

static __thread int local = 7;
static __thread char large[3000];

static void *keeps_its_locals(void *argument)
{
	int own = (int)(intptr_t)argument, *at = &local;

	if (local != 7 || large[2999])
		return NULL;
	local = own;
	memset(large, own, sizeof(large));
	for (int i = 0; i < 20; i++) {
		sleep_ms(1);
		sched_yield();
		if (local != own || &local != at || large[0] != (char)own ||
		    large[2999] != (char)own)
			return NULL;
	}
	return argument;
}

CHECK(tls_is_private)
{
	pthread_t t[COUNT];

	for (intptr_t i = 0; i < COUNT; i++)
		t[i] = started(keeps_its_locals, (void *)(i + 1));
	for (intptr_t i = 0; i < COUNT; i++)
		EXPECT(joined(t[i]) == (void *)(i + 1));
	EXPECT(local == 7);
	return true;
}

/* Inlined accesses on both sides of calls that wait, with errno's address computed once. */
static void *keeps_its_errno(void *argument)
{
	int own = (int)(intptr_t)argument;

	for (int i = 0; i < 50; i++) {
		errno = own;
		sched_yield();
		if (errno != own)
			return NULL;
		usleep(500);
		if (errno != own)
			return NULL;
	}
	return argument;
}

CHECK(errno_is_private)
{
	pthread_t t[COUNT];

	for (intptr_t i = 0; i < COUNT; i++)
		t[i] = started(keeps_its_errno, (void *)(i + 1000));
	for (intptr_t i = 0; i < COUNT; i++)
		EXPECT(joined(t[i]) == (void *)(i + 1000));
	return true;
}

static void *fails_at_calls(void *argument)
{
	bool even = (intptr_t)argument % 2;

	for (int i = 0; i < 200; i++) {
		if (even && (close(-1) != -1 || errno != EBADF))
			return NULL;
		if (!even && (open("/nonexistent/file", O_RDONLY) != -1 || errno != ENOENT))
			return NULL;
		sched_yield();
	}
	return (void *)1L;
}

CHECK(errno_of_failing_calls)
{
	pthread_t t[8];

	for (intptr_t i = 0; i < 8; i++)
		t[i] = started(fails_at_calls, (void *)i);
	for (int i = 0; i < 8; i++)
		EXPECT(joined(t[i]));
	return true;
}

static void *takes_a_locale(void *argument)
{
	locale_t own = newlocale(LC_ALL_MASK, "C", NULL), global = uselocale(NULL);
	bool good;

	(void)argument;
	if (!own || global != LC_GLOBAL_LOCALE)
		return NULL;
	uselocale(own);
	sleep_ms(10);
	good = uselocale(NULL) == own;
	uselocale(LC_GLOBAL_LOCALE);
	freelocale(own);
	return good ? (void *)1L : NULL;
}

CHECK(locale_is_private)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		t[i] = started(takes_a_locale, NULL);
	sleep_ms(5);
	EXPECT(uselocale(NULL) == LC_GLOBAL_LOCALE);
	for (int i = 0; i < 4; i++)
		EXPECT(joined(t[i]));
	return true;
}

static void *keeps_h_errno(void *argument)
{
	h_errno = (int)(intptr_t)argument;
	sleep_ms(5);
	return (void *)(intptr_t)h_errno;
}

CHECK(h_errno_is_private)
{
	pthread_t t[4];

	for (intptr_t i = 0; i < 4; i++)
		t[i] = started(keeps_h_errno, (void *)(i + 1));
	for (intptr_t i = 0; i < 4; i++)
		EXPECT(joined(t[i]) == (void *)(i + 1));
	return true;
}

/* Registers that calls may not change, and those that compilers keep across system calls. */
static void *keeps_vectors(void *argument)
{
	double start = (double)(intptr_t)argument, sum = start;
	double values[16];

	for (int i = 0; i < 16; i++)
		values[i] = start * i;
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 16; i++)
			values[i] += 1;
		if (round % 20 == 0)
			sleep_ms(1);
		else
			sched_yield();
		sum += 1;
	}
	for (int i = 0; i < 16; i++)
		if (values[i] != start * i + 200)
			return NULL;
	return sum == start + 200 ? argument : NULL;
}

CHECK(floating_point_is_private)
{
	pthread_t t[8];

	for (intptr_t i = 0; i < 8; i++)
		t[i] = started(keeps_vectors, (void *)(i + 1));
	for (intptr_t i = 0; i < 8; i++)
		EXPECT(joined(t[i]) == (void *)(i + 1));
	return true;
}

/* ---- once ------------------------------------------------------------------- */

static int once_count;
static pthread_once_t once_slow;

static void once_slowly(void)
{
	sleep_ms(30);
	add_one(&once_count);
}

static void *does_once(void *argument)
{
	(void)argument;
	pthread_once(&once_slow, once_slowly);
	return (void *)(intptr_t)value_of(&once_count);
}

CHECK(once_runs_once)
{
	pthread_t t[COUNT];

	once_count = 0;
	once_slow = (pthread_once_t)PTHREAD_ONCE_INIT;
	for (int i = 0; i < COUNT; i++)
		t[i] = started(does_once, NULL);
	for (int i = 0; i < COUNT; i++)
		EXPECT(joined(t[i]) == (void *)1L); /* nobody before it was done */
	EXPECT(once_count == 1);
	return true;
}

static int once_entered;
static pthread_once_t once_cancelled = PTHREAD_ONCE_INIT;

static void once_waits_first(void)
{
	if (add_one(&once_entered) == 1)
		sleep_ms(10000);
}

static void *does_once_cancelled(void *argument)
{
	(void)argument;
	pthread_once(&once_cancelled, once_waits_first);
	return NULL;
}

CHECK(once_cancelled_runs_again)
{
	pthread_t t;

	once_entered = 0;
	t = started(does_once_cancelled, NULL);
	EXPECT(reaches(&once_entered, 1));
	EXPECT(pthread_cancel(t) == 0);
	EXPECT(joined(t) == PTHREAD_CANCELED);
	in_thread(does_once_cancelled, NULL);
	EXPECT(once_entered == 2);
	return true;
}
