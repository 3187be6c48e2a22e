/* SPDX-License-Identifier: MIT
 *
 * Prints for each way of waiting how many pages its stack has of a thread that waits so.  It
 * knows nothing of green threads.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 33, STACK = 64 << 10, PAGES = STACK / 4096, OTHERS = 3 };

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER, mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static int pipe_ends[2], sockets[2];
static _Atomic int waiting;

static void sleeps(void)
{
	struct timespec long_time = { .tv_sec = 1000 };

	nanosleep(&long_time, NULL);
}

static void locks(void)
{
	pthread_mutex_lock(&held);
}

static void waits_for_condition(void)
{
	pthread_mutex_lock(&mutex);
	for (;;)
		pthread_cond_wait(&never, &mutex);
}

static void reads(void)
{
	char byte;

	if (read(pipe_ends[0], &byte, 1) < 0)
		abort();
}

static void receives(void)
{
	char byte;

	if (recv(sockets[0], &byte, 1, 0) < 0)
		abort();
}

static void polls(void)
{
	struct pollfd one = { .fd = pipe_ends[0], .events = POLLIN };

	poll(&one, 1, -1);
}

struct start {
	void (*wait)(void);
	char *stack;
};

static void *begins(void *argument)
{
	struct start *start = argument;
	pthread_attr_t attributes;
	size_t size = 0;

	if (pthread_getattr_np(pthread_self(), &attributes) ||
	    pthread_attr_getstack(&attributes, (void **)&start->stack, &size) || size != STACK)
		abort();
	pthread_attr_destroy(&attributes);
	waiting++;
	start->wait();
	return NULL;
}

/* As the kernel's table says it, in memory or swapped out. */
static int pages(const char *stack)
{
	const uint64_t there = (uint64_t)3 << 62;
	uint64_t entries[PAGES];
	int count = 0, fd = open("/proc/self/pagemap", O_RDONLY);

	if (pread(fd, entries, sizeof(entries), (off_t)((uintptr_t)stack / 4096 * 8)) !=
	    sizeof(entries))
		abort();
	close(fd);
	for (int i = 0; i < PAGES; i++)
		count += (entries[i] & there) != 0;
	return count;
}

/* The most, but for a few: what is done once takes more (a symbol is resolved, a table
 * grows). */
static void measure(const char *name, void (*wait)(void))
{
	static struct start starts[THREADS];
	pthread_attr_t attributes;
	int with[PAGES + 1] = { 0 }, most = PAGES;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	waiting = 0;
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;
		starts[i].wait = wait;
		if (pthread_create(&thread, &attributes, begins, &starts[i]))
			abort();
		while (waiting <= i)
			usleep(1000);
	}
	usleep(50000);
	for (int i = 0; i < THREADS; i++)
		with[pages(starts[i].stack)]++;
	for (int more = with[most]; more <= OTHERS; more += with[--most])
		;
	printf("%s %d\n", name, most);
}

int main(void)
{
	if (pipe(pipe_ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
		return 1;
	pthread_mutex_lock(&held);
	measure("nanosleep", sleeps);
	measure("mutex", locks);
	measure("condition", waits_for_condition);
	measure("read", reads);
	measure("recv", receives);
	measure("poll", polls);
	fflush(stdout);
	_exit(0);
}
