/* SPDX-License-Identifier: MIT
 *
 * Green threads for greenps and the gdb script to look at.
 *
 *	sights [THREADS]      one of each kind of wait, and a circle of two mutexes; more that
 *	                      sleep, every tenth of which never hibernates
 *	sights --restless     a thousand that sleep for some milliseconds, again and again
 *	sights --churn        threads that spawn, yield, sleep, wake one another and end
 *	sights --served       one of green_serve(), which wakes another again and again, and one
 *	                      of a pool
 *	sights --before       the runtime has not been started
 *	sights --crash        one that aborts, some calls deep
 *
 * Says "ready PID" when all are where they shall be, and ends when standard input
 * does.
 */
#include <green.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define KEPT __attribute__((noinline, noclone))

static green_mutex_t held = GREEN_MUTEX_INIT, left = GREEN_MUTEX_INIT, right = GREEN_MUTEX_INIT;
static green_sem_t never, holding, aimed;
static green_chan_t *channel;
static green_t sleeping;
static int ends[2];
static _Atomic int done, begun;

/* Some frames, each with something that the unwinder must not lose. */
KEPT int deeper(int n, void (*wait)(void))
{
	volatile char room[200];

	memset((char *)room, n, sizeof(room));
	if (n > 0)
		return deeper(n - 1, wait) + room[n];
	wait();
	__asm__ volatile("" ::: "memory");
	return room[0];
}

static void sleep_long(void)
{
	green_sleep(GREEN_S(100000));
}

static void *sleeper(void *arg)
{
	deeper(4, sleep_long);
	return arg;
}

static void *reader(void *arg)
{
	char c;

	green_read(ends[0], &c, 1);
	return arg;
}

static void *holder(void *arg)
{
	green_mutex_lock(&held);
	green_sem_post(&holding);
	green_sleep(GREEN_S(100000));
	return arg;
}

static void *crasher(void *arg)
{
	deeper(2, abort);
	return arg;
}

static void *locker(void *arg)
{
	green_mutex_lock(&held);
	return arg;
}

static void *joiner(void *arg)
{
	green_join(sleeping, NULL);
	return arg;
}

static void *receiver(void *arg)
{
	int n;

	green_chan_recv(channel, &n);
	return arg;
}

static void *poster(void *arg)
{
	green_sem_wait(&never);
	return arg;
}

/* Each takes its own, waits until the other has, and asks for the other's. */
static void *circle(void *arg)
{
	green_mutex_t *mine = arg, *others = mine == &left ? &right : &left;

	green_mutex_lock(mine);
	green_sem_post(&holding);
	green_sem_wait(&aimed);
	green_mutex_lock(others);
	return arg;
}

static void *waits_for_input(void *arg)
{
	char c;

	while (read(0, &c, 1) > 0)
		;
	done = 1;
	return arg;
}

static green_t start(const char *name, green_fn fn, void *arg)
{
	green_t thread;
	struct green_attr attr = { .name = name };

	if (green_spawn(&thread, &attr, fn, arg))
		abort();
	return thread;
}

static void start_sleeper(bool awake)
{
	green_t thread;
	struct green_attr attr = { .hibernate_after_ns = awake ? GREEN_FOREVER : 0 };

	if (green_spawn(&thread, &attr, sleeper, NULL))
		abort();
}

static void say_ready(void)
{
	printf("ready %d\n", (int)getpid());
	if (fflush(stdout)) { /* nobody would ever know */
		perror("cannot say that all is ready");
		_exit(1);
	}
}

static void *each_kind(void *arg)
{
	int more = *(int *)arg;
	green_t circles[2];

	channel = green_chan_new(sizeof(int), 0);
	sleeping = start("sleeper", sleeper, NULL);
	start("reader", reader, NULL);
	start("holder", holder, NULL);
	green_sem_wait(&holding);
	start("locker", locker, NULL);
	start("joiner", joiner, NULL);
	start("receiver", receiver, NULL);
	start("evil\x1b[31m\"\n\xff", poster, NULL);
	start(NULL, poster, NULL);
	circles[0] = start("circle left", circle, &left);
	circles[1] = start("circle right", circle, &right);
	green_sem_wait(&holding);
	green_sem_wait(&holding);
	green_sem_post(&aimed);
	green_sem_post(&aimed);
	for (int i = 0; i < more; i++)
		start_sleeper(i % 10 == 0);
	green_sleep(GREEN_MS(50)); /* those who look wait for it, too */
	say_ready();
	if (more < 0)
		start("crasher", crasher, NULL);
	green_offload(waits_for_input, NULL, NULL);
	(void)circles;
	_exit(0);
}

/* ---- stacks that come and go ------------------------------------------------- */

static void sleep_briefly(void)
{
	green_sleep(GREEN_MS(1 + green_self() % 64));
}

static void *restless(void *arg)
{
	begun++;
	while (!done)
		deeper(4, sleep_briefly);
	return arg;
}

static void *nap(void *arg)
{
	for (int i = 0; i < 1000; i++)
		start(NULL, restless, NULL);
	while (begun < 1000)
		green_sleep(GREEN_MS(10));
	green_sleep(GREEN_MS(100));
	say_ready();
	green_offload(waits_for_input, NULL, NULL);
	_exit(0);
	return arg;
}

/* ---- those that the library spawns ---------------------------------------------- */

static void served(int fd, void *arg)
{
	(void)fd;
	(void)arg;
	while (!done) {
		green_sleep(GREEN_MS(10));
		green_sem_post(&aimed);
	}
}

static void *serve(void *arg)
{
	green_serve(*(int *)arg, served, NULL, NULL);
	return arg;
}

static void *pooled(void *arg)
{
	return sleeper(arg);
}

static void *aim(void *arg)
{
	while (!done)
		green_sem_wait(&aimed);
	return arg;
}

static void *library_spawns(void *arg)
{
	int fd = green_listen("127.0.0.1:0", 0);
	char address[32];
	green_pool_t *pool = green_pool_new(1);

	start("server", serve, &fd);
	snprintf(address, sizeof(address), "127.0.0.1:%d", green_port(fd));
	if (green_connect_host(address) < 0 || green_pool_spawn(pool, pooled, NULL))
		abort();
	start("aim", aim, NULL);
	for (int i = 0; i < 2; i++)
		green_sem_wait(&aimed);
	say_ready();
	green_offload(waits_for_input, NULL, NULL);
	_exit(0);
	return arg;
}

/* ---- a load ----------------------------------------------------------------- */

static void *brief(void *arg)
{
	green_yield();
	return arg;
}

static void *churn(void *arg)
{
	struct green_attr passing = { .name = "passing \xe2\x80\xae", .detached = true };
	int n;
	green_t thread;

	while (!done) {
		green_spawn(&thread, &passing, brief, NULL);
		if (green_spawn(&thread, NULL, brief, NULL) == 0)
			green_join(thread, NULL);
		green_mutex_lock(&held);
		green_yield();
		green_mutex_unlock(&held);
		green_sleep(1000);
		if (green_chan_trysend(channel, &(int){ 1 }) != 0)
			green_chan_tryrecv(channel, &n);
	}
	return arg;
}

static void *load(void *arg)
{
	channel = green_chan_new(sizeof(int), 4);
	for (int i = 0; i < 50; i++)
		start("churn", churn, NULL);
	say_ready();
	green_offload(waits_for_input, NULL, NULL);
	_exit(0);
	return arg;
}

int main(int argc, char **argv)
{
	int more = argc > 1 ? atoi(argv[1]) : 0;

	/* Where only a parent may look, this lets the test's tools look too. */
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	if (pipe(ends))
		return 1;
	if (argc > 1 && !strcmp(argv[1], "--before")) {
		say_ready();
		waits_for_input(NULL);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--restless"))
		return green_run(nap, NULL, NULL) != 0;
	if (argc > 1 && !strcmp(argv[1], "--served"))
		return green_run(library_spawns, NULL, NULL) != 0;
	if (argc > 1 && !strcmp(argv[1], "--crash"))
		more = -1;
	return green_run(argc > 1 && !strcmp(argv[1], "--churn") ? load : each_kind, &more, NULL) !=
	       0;
}
