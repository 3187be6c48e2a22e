/* SPDX-License-Identifier: MIT
 *
 * Cancellation: where it takes effect, and what runs when it does.
 */
#include "conform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int ready, cleaned, asked;

static void cleans(void *argument)
{
	(void)argument;
	add_one(&cleaned);
}

/* Starts run(), waits until it has added to ready and had time to block, and cancels it:
 * did it end by that, with its clean-up done? */
static bool is_cancelled(void *(*run)(void *), void *argument)
{
	pthread_t t;

	ready = cleaned = asked = 0;
	t = started(run, argument);
	EXPECT(reaches(&ready, 1));
	let_block();
	EXPECT(pthread_cancel(t) == 0);
	add_one(&asked);
	EXPECT(joined(t) == PTHREAD_CANCELED);
	EXPECT(cleaned == 1);
	return true;
}

/* A thread that blocks in one call, with a clean-up around it. */
#define BLOCKS_IN(name, call)                       \
	static void *name(void *argument)           \
	{                                           \
		(void)argument;                     \
		pthread_cleanup_push(cleans, NULL); \
		add_one(&ready);                    \
		(void)(call);                       \
		pthread_cleanup_pop(0);             \
		return NULL;                        \
	}

static int pipes[2];
static sem_t semaphore;
static pthread_t main_thread;

BLOCKS_IN(in_sleep, sleep(10))
BLOCKS_IN(in_pause, pause())
BLOCKS_IN(in_read, read(pipes[0], &(char){ 0 }, 1))
BLOCKS_IN(in_poll, poll(NULL, 0, 10000))
BLOCKS_IN(in_select, select(0, NULL, NULL, NULL, &(struct timeval){ 10, 0 }))
BLOCKS_IN(in_sem_wait, sem_wait(&semaphore))
BLOCKS_IN(in_join, pthread_join(main_thread, NULL))
BLOCKS_IN(in_epoll, epoll_wait(*(int *)argument, &(struct epoll_event){ 0 }, 1, 10000))
BLOCKS_IN(in_accept, accept(*(int *)argument, NULL, NULL))
BLOCKS_IN(in_recv, recv(*(int *)argument, &(char){ 0 }, 1, 0))
BLOCKS_IN(in_waitpid, waitpid(*(pid_t *)argument, NULL, 0))

CHECK(cancel_in_sleep)
{
	return is_cancelled(in_sleep, NULL);
}

CHECK(cancel_in_pause)
{
	return is_cancelled(in_pause, NULL);
}

CHECK(cancel_in_read)
{
	bool good;

	EXPECT(pipe(pipes) == 0);
	good = is_cancelled(in_read, NULL);
	close(pipes[0]);
	close(pipes[1]);
	return good;
}

CHECK(cancel_in_poll)
{
	return is_cancelled(in_poll, NULL);
}

CHECK(cancel_in_select)
{
	return is_cancelled(in_select, NULL);
}

CHECK(cancel_in_sem_wait)
{
	EXPECT(sem_init(&semaphore, 0, 0) == 0);
	EXPECT(is_cancelled(in_sem_wait, NULL));
	EXPECT(sem_destroy(&semaphore) == 0);
	return true;
}

CHECK(cancel_in_join)
{
	main_thread = pthread_self();
	return is_cancelled(in_join, NULL);
}

CHECK(cancel_in_epoll_wait)
{
	int epoll = epoll_create1(0);
	bool good;

	EXPECT(epoll >= 0);
	good = is_cancelled(in_epoll, &epoll);
	close(epoll);
	return good;
}

CHECK(cancel_in_accept)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0);
	bool good;

	EXPECT(s >= 0 && bind(s, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(s, 5) == 0);
	good = is_cancelled(in_accept, &s);
	close(s);
	return good;
}

CHECK(cancel_in_recv)
{
	int s[2];
	bool good;

	EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	good = is_cancelled(in_recv, &s[0]);
	close(s[0]);
	close(s[1]);
	return good;
}

CHECK(cancel_in_waitpid)
{
	pid_t pid = fork();
	bool good;

	EXPECT(pid >= 0);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	good = is_cancelled(in_waitpid, &pid);
	kill(pid, SIGKILL);
	EXPECT(waitpid(pid, NULL, 0) == pid);
	return good;
}

/* ---- with a mutex ----------------------------------------------------------- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void cleans_and_unlocks(void *argument)
{
	(void)argument;
	if (pthread_mutex_trylock(&mutex) == EBUSY) /* it was taken again */
		add_one(&cleaned);
	pthread_mutex_unlock(&mutex);
}

static void *in_cond_wait(void *argument)
{
	pthread_mutex_lock(&mutex);
	pthread_cleanup_push(cleans_and_unlocks, NULL);
	add_one(&ready);
	for (;;) {
		if (argument) {
			struct timespec late = in_ms(CLOCK_REALTIME, 10000);
			pthread_cond_timedwait(&cond, &mutex, &late);
		} else {
			pthread_cond_wait(&cond, &mutex);
		}
	}
	pthread_cleanup_pop(1);
	return NULL;
}

CHECK(cancel_in_cond_wait)
{
	EXPECT(is_cancelled(in_cond_wait, NULL));
	EXPECT(pthread_mutex_trylock(&mutex) == 0);
	EXPECT(pthread_mutex_unlock(&mutex) == 0);
	return true;
}

CHECK(cancel_in_cond_timedwait)
{
	EXPECT(is_cancelled(in_cond_wait, (void *)1L));
	EXPECT(pthread_mutex_trylock(&mutex) == 0);
	EXPECT(pthread_mutex_unlock(&mutex) == 0);
	return true;
}

static void *in_mutex_lock(void *argument)
{
	(void)argument;
	pthread_cleanup_push(cleans, NULL);
	add_one(&ready);
	pthread_mutex_lock(&mutex); /* no cancellation point */
	add_one(&ready);
	pthread_mutex_unlock(&mutex);
	pthread_testcancel();
	pthread_cleanup_pop(0);
	return NULL;
}

CHECK(cancel_not_in_mutex_lock)
{
	pthread_t t;

	ready = cleaned = 0;
	EXPECT(pthread_mutex_lock(&mutex) == 0);
	t = started(in_mutex_lock, NULL);
	EXPECT(reaches(&ready, 1));
	EXPECT(pthread_cancel(t) == 0);
	sleep_ms(20);
	EXPECT(cleaned == 0);
	EXPECT(pthread_mutex_unlock(&mutex) == 0);
	EXPECT(joined(t) == PTHREAD_CANCELED);
	EXPECT(ready == 2 && cleaned == 1);
	return true;
}

/* ---- states and types ------------------------------------------------------- */

static void *disables(void *argument)
{
	int old;

	(void)argument;
	if (pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old) || old != PTHREAD_CANCEL_ENABLE)
		return (void *)1L;
	pthread_cleanup_push(cleans, NULL);
	add_one(&ready);
	reaches(&asked, 1);
	pthread_testcancel();
	add_one(&ready); /* not cancelled yet */
	pthread_setcancelstate(old, NULL);
	pthread_testcancel();
	add_one(&ready);
	pthread_cleanup_pop(0);
	return NULL;
}

CHECK(cancel_disabled)
{
	EXPECT(is_cancelled(disables, NULL));
	EXPECT(ready == 2);
	return true;
}

static void *computes(void *argument)
{
	(void)argument;
	pthread_cleanup_push(cleans, NULL);
	/* NOLINTNEXTLINE(concurrency-thread-canceltype-asynchronous): it is what is tested */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	add_one(&ready);
	for (volatile unsigned long i = 0;; i++)
		;
	pthread_cleanup_pop(0);
	return NULL;
}

CHECK(cancel_asynchronous)
{
	return is_cancelled(computes, NULL);
}

static void *tests_for_cancel(void *argument)
{
	(void)argument;
	pthread_cleanup_push(cleans, NULL);
	add_one(&ready);
	for (;;) {
		pthread_testcancel();
		sched_yield();
	}
	pthread_cleanup_pop(0);
	return NULL;
}

CHECK(cancel_testcancel)
{
	return is_cancelled(tests_for_cancel, NULL);
}

static void *cancels_itself(void *argument)
{
	(void)argument;
	pthread_cleanup_push(cleans, NULL);
	pthread_cancel(pthread_self());
	add_one(&ready);
	pthread_testcancel();
	add_one(&ready);
	pthread_cleanup_pop(0);
	return NULL;
}

CHECK(cancel_self)
{
	ready = cleaned = 0;
	EXPECT(in_thread(cancels_itself, NULL) == PTHREAD_CANCELED);
	EXPECT(ready == 1 && cleaned == 1);
	return true;
}

static int order[4], order_count;

static void notes_order(void *argument)
{
	order[order_count++] = (int)(intptr_t)argument;
}

static void *pushes_three(void *argument)
{
	(void)argument;
	pthread_cleanup_push(notes_order, (void *)1L);
	pthread_cleanup_push(notes_order, (void *)2L);
	pthread_cleanup_push(notes_order, (void *)3L);
	add_one(&ready);
	sleep(10);
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return NULL;
}

CHECK(cancel_cleans_up_in_reverse_order)
{
	pthread_t t;

	ready = order_count = 0;
	t = started(pushes_three, NULL);
	EXPECT(reaches(&ready, 1));
	EXPECT(pthread_cancel(t) == 0);
	EXPECT(joined(t) == PTHREAD_CANCELED);
	EXPECT(order_count == 3 && order[0] == 3 && order[1] == 2 && order[2] == 1);
	return true;
}

static pthread_key_t key;

static void *sets_key_and_sleeps(void *argument)
{
	pthread_setspecific(key, argument);
	add_one(&ready);
	sleep(10);
	return NULL;
}

CHECK(cancel_runs_key_destructors)
{
	pthread_t t;

	ready = cleaned = 0;
	EXPECT(pthread_key_create(&key, cleans) == 0);
	t = started(sets_key_and_sleeps, (void *)1L);
	EXPECT(reaches(&ready, 1));
	EXPECT(pthread_cancel(t) == 0);
	EXPECT(joined(t) == PTHREAD_CANCELED);
	EXPECT(cleaned == 1);
	EXPECT(pthread_key_delete(key) == 0);
	return true;
}

CHECK(cancel_many_at_once)
{
	enum { COUNT = 100 };
	pthread_t t[COUNT];

	ready = cleaned = 0;
	for (int i = 0; i < COUNT; i++)
		t[i] = started(in_sleep, NULL);
	EXPECT(reaches(&ready, COUNT));
	for (int i = 0; i < COUNT; i++)
		EXPECT(pthread_cancel(t[i]) == 0);
	for (int i = 0; i < COUNT; i++)
		EXPECT(joined(t[i]) == PTHREAD_CANCELED);
	EXPECT(cleaned == COUNT);
	return true;
}

static void *exits_cleaning(void *argument)
{
	pthread_cleanup_push(cleans, NULL);
	pthread_exit(argument);
	pthread_cleanup_pop(0);
	return NULL;
}

CHECK(exit_cleans_up)
{
	cleaned = 0;
	EXPECT(in_thread(exits_cleaning, (void *)9L) == (void *)9L);
	EXPECT(cleaned == 1);
	return true;
}
