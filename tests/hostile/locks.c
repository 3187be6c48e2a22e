/* SPDX-License-Identifier: MIT
 *
 * Mutexes that processes share, and whose owners end in any way; those that inherit priority.
 */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct shared {
	pthread_mutex_t robust, recursive;
	int locked, done;
};

static char path[64];

static struct shared *mapped(const char *file)
{
	int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, sizeof(struct shared)) == 0)
		p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED) {
		say_result("mmap", -1);
		_exit(99);
	}
	return p;
}

static struct shared *made(void)
{
	pthread_mutexattr_t a;

	snprintf(path, sizeof(path), "/tmp/hostile-locks.%d", (int)getpid());
	struct shared *s = mapped(path);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	say("recursive: %s", strerrorname_np(pthread_mutex_init(&s->recursive, &a)));
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_NORMAL);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	say("robust: %s", strerrorname_np(pthread_mutex_init(&s->robust, &a)));
	return s;
}

/* ---- an owner that ends ------------------------------------------------------------- */

static void end_by(const char *way)
{
	if (strcmp(way, "exit") == 0)
		_exit(0);
	if (strcmp(way, "exec") == 0)
		execl("/bin/sh", "sh", "-c", "exit 0", NULL);
	if (strcmp(way, "fault") == 0)
		*(int volatile *)8 = 1;
	raise(strcmp(way, "term") == 0 ? SIGTERM : SIGKILL);
}

static void *locks_for_ever(void *shared)
{
	struct shared *s = shared;

	pthread_mutex_lock(&s->robust);
	set(&s->locked, 1);
	for (;;)
		pause();
	return NULL;
}

static void lock_and_end(struct shared *s)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	started(locks_for_ever, s);
	reaches(&s->locked, 1);
	sleep_ms(10); /* somebody waits for it by now */
	end_by(part_argument());
}

PART(robust_owner)
{
	lock_and_end(mapped(getenv("HOSTILE_FILE")));
}

static void *locks(void *shared)
{
	struct shared *s = shared;
	int r = pthread_mutex_lock(&s->robust);

	say("lock: %s", strerrorname_np(r));
	if (r == EOWNERDEAD)
		r = pthread_mutex_consistent(&s->robust);
	if (r == 0)
		pthread_mutex_unlock(&s->robust);
	return NULL;
}

CASE(robust_owner_in_another_process)
{
	static const char *const ways[] = { "kill", "term", "exit", "exec", "fault" };
	struct shared *s = made();

	setenv("HOSTILE_FILE", path, 1);
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		set(&s->locked, 0);
		pid_t pid = part_started("robust_owner", ways[i]);
		if (!reaches(&s->locked, 1))
			say("it is not locked");
		in_thread(locks, s);
		locks(s);
		say_end_of(ways[i], pid);
	}
	unlink(path);
}

/* A child that is forked goes on with a thread of the kernel. */
CASE(robust_owner_in_a_child)
{
	struct shared *s = made();

	for (int i = 0; i < 2; i++) {
		set(&s->locked, 0);
		pid_t pid = fork();
		if (pid == 0) {
			pthread_mutex_lock(&s->robust);
			set(&s->locked, 1);
			sleep_ms(10);
			end_by(i ? "exit" : "kill");
		}
		reaches(&s->locked, 1);
		in_thread(locks, s);
		say_end_of("child", pid);
	}
	unlink(path);
}

/* The owner's process ends while those that it has forked go on. */
PART(robust_owner_with_a_child)
{
	struct shared *s = mapped(getenv("HOSTILE_FILE"));

	if (fork() == 0) {
		reaches(&s->done, 1);
		_exit(0);
	}
	lock_and_end(s);
}

CASE(robust_owner_that_leaves_a_child)
{
	struct shared *s = made();

	setenv("HOSTILE_FILE", path, 1);
	pid_t pid = part_started("robust_owner_with_a_child", "kill");
	reaches(&s->locked, 1);
	in_thread(locks, s);
	set(&s->done, 1);
	say_end_of("the owner", pid);
	unlink(path);
}

/* ---- the same thread? ------------------------------------------------------------------ */

static void *holds_recursive(void *shared)
{
	struct shared *s = shared;

	pthread_mutex_lock(&s->recursive);
	pthread_mutex_lock(&s->recursive);
	set(&s->locked, 1);
	reaches(&s->done, 1);
	pthread_mutex_unlock(&s->recursive);
	pthread_mutex_unlock(&s->recursive);
	return NULL;
}

PART(recursive_owner)
{
	in_thread(holds_recursive, mapped(getenv("HOSTILE_FILE")));
}

static void *tries_recursive(void *shared)
{
	struct shared *s = shared;
	int r = pthread_mutex_trylock(&s->recursive);

	if (r == 0)
		pthread_mutex_unlock(&s->recursive);
	return (void *)(intptr_t)r;
}

/* Some threads each, of which none may be taken for the other process's. */
CASE(recursive_mutex_of_two_processes)
{
	struct shared *s = made();
	int entered = 0;

	setenv("HOSTILE_FILE", path, 1);
	pid_t pid = part_started("recursive_owner", "");
	reaches(&s->locked, 1);
	for (int i = 0; i < 50; i++)
		entered += in_thread(tries_recursive, s) == NULL;
	say("entered %d", entered);
	set(&s->done, 1);
	say_end_of("the owner", pid);
	say("then: %s", strerrorname_np((int)(intptr_t)in_thread(tries_recursive, s)));
	unlink(path);
}

/* ---- priority inheritance ----------------------------------------------------------------- */

static struct {
	pthread_mutex_t mutex;
	int count, came, locked;
} pi;

static void counts(int sig)
{
	(void)sig;
	add_one(&pi.came);
}

static void init_pi(int type, int robust)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	say("setprotocol: %s",
	    strerrorname_np(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT)));
	pthread_mutexattr_settype(&a, type);
	pthread_mutexattr_setrobust(&a, robust);
	say("init: %s", strerrorname_np(pthread_mutex_init(&pi.mutex, &a)));
}

static void *counts_locked(void *unused)
{
	for (int i = 0; i < 300; i++) {
		pthread_mutex_lock(&pi.mutex);
		int now = pi.count;
		if (i % 30 == 0)
			sleep_ms(1);
		pi.count = now + 1;
		pthread_mutex_unlock(&pi.mutex);
	}
	return unused;
}

static void *finds_it_locked(void *unused)
{
	struct timespec soon;

	say("trylock: %s", strerrorname_np(pthread_mutex_trylock(&pi.mutex)));
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 5000000;
	soon.tv_sec += soon.tv_nsec / 1000000000;
	soon.tv_nsec %= 1000000000;
	say("timedlock: %s", strerrorname_np(pthread_mutex_timedlock(&pi.mutex, &soon)));
	say("unlock: %s", strerrorname_np(pthread_mutex_unlock(&pi.mutex)));
	return unused;
}

CASE(priority_inheritance)
{
	pthread_t t[6];

	init_pi(PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
	for (int i = 0; i < 6; i++)
		t[i] = started(counts_locked, NULL);
	for (int i = 0; i < 6; i++)
		joined(t[i]);
	say("counted %d", pi.count);
	pthread_mutex_lock(&pi.mutex);
	in_thread(finds_it_locked, NULL);
	say("again: %s", strerrorname_np(pthread_mutex_lock(&pi.mutex)));
	say("unlock: %s", strerrorname_np(pthread_mutex_unlock(&pi.mutex)));
	say("destroy: %s", strerrorname_np(pthread_mutex_destroy(&pi.mutex)));
}

static void *waits_for_pi(void *unused)
{
	set(&pi.locked, 1);
	say("lock: %s", strerrorname_np(pthread_mutex_lock(&pi.mutex)));
	say("unlock: %s", strerrorname_np(pthread_mutex_unlock(&pi.mutex)));
	return unused;
}

/* Handlers run while it waits, with and without SA_RESTART, and it waits on. */
CASE(priority_inheritance_and_signals)
{
	init_pi(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
	handle(SIGUSR1, counts, 0);
	handle(SIGUSR2, counts, SA_RESTART);
	pthread_mutex_lock(&pi.mutex);
	pthread_t t = started(waits_for_pi, NULL);
	reaches(&pi.locked, 1);
	for (int i = 1; i <= 6; i++) {
		sleep_ms(2);
		pthread_kill(t, i % 2 ? SIGUSR1 : SIGUSR2);
		if (!reaches(&pi.came, i))
			say("no handler");
	}
	say("handlers %d", pi.came);
	pthread_mutex_unlock(&pi.mutex);
	joined(t);
}

static void *locks_pi_and_ends(void *unused)
{
	pthread_mutex_lock(&pi.mutex);
	set(&pi.locked, 1);
	sleep_ms(5);
	return unused;
}

static void *locks_pi_robust(void *unused)
{
	int r = pthread_mutex_lock(&pi.mutex);

	say("lock: %s", strerrorname_np(r));
	if (r == EOWNERDEAD && pthread_mutex_consistent(&pi.mutex))
		say("not consistent");
	if (r == 0 || r == EOWNERDEAD)
		pthread_mutex_unlock(&pi.mutex);
	return unused;
}

CASE(priority_inheritance_and_robust)
{
	pthread_t t[3];

	init_pi(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
	pthread_t owner = started(locks_pi_and_ends, NULL);
	reaches(&pi.locked, 1);
	for (int i = 0; i < 3; i++)
		t[i] = started(locks_pi_robust, NULL);
	joined(owner);
	for (int i = 0; i < 3; i++)
		joined(t[i]);
	in_thread(locks_pi_robust, NULL);
}
