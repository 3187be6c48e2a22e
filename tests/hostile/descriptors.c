/* SPDX-License-Identifier: MIT
 *
 * A process that closes what it does not know, and that changes its limits while its
 * threads run.
 */
#include "hostile.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int ends[2];

static void *reads_a_byte(void *unused)
{
	char byte = 0;
	long n = read(ends[0], &byte, 1);

	(void)unused;
	say("who read meanwhile: %ld %c", n, n == 1 ? byte : '-');
	return NULL;
}

/* One thread waits at a descriptor meanwhile, which is closed as well. */
static void close_while_waiting(void (*close_all)(void))
{
	if (pipe(ends))
		return;
	int keep = dup2(ends[1], 2);
	pthread_t t = started(reads_a_byte, NULL);

	sleep_ms(5);
	close_all();
	say_result("the old number", write(ends[1], "y", 1));
	if (write(keep, "x", 1) != 1)
		say_result("write", -1);
	joined(t);
	say_result("the next is the lowest", open("/dev/null", O_RDWR));
	say_threads_work();
}

static void by_closefrom(void)
{
	closefrom(3);
}

CASE(closefrom)
{
	close_while_waiting(by_closefrom);
	by_closefrom();
	say_threads_work();
}

static void by_close_range(void)
{
	say_result("close_range", close_range(3, ~0u, 0));
}

CASE(close_range)
{
	close_while_waiting(by_close_range);
}

static void by_close_range_unshared(void)
{
	say_result("close_range", close_range(3, ~0u, CLOSE_RANGE_UNSHARE));
}

CASE(close_range_unshared)
{
	close_while_waiting(by_close_range_unshared);
}

static void by_number(void)
{
	struct rlimit limit;
	int closed = 0;

	getrlimit(RLIMIT_NOFILE, &limit);
	for (int fd = 3; fd < (int)limit.rlim_cur; fd++)
		closed += close(fd) == 0;
	say("closed %d", closed);
}

CASE(close_each)
{
	close_while_waiting(by_number);
}

/* As sshd, libvirt and others do. */
static void by_directory(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	while ((e = readdir(d)))
		if (atoi(e->d_name) > 2 && atoi(e->d_name) != dirfd(d))
			close(atoi(e->d_name));
	closedir(d);
}

CASE(close_those_listed)
{
	close_while_waiting(by_directory);
}

CASE(close_on_exec_all)
{
	if (pipe(ends))
		return;
	say_result("close_range", close_range(3, ~0u, CLOSE_RANGE_CLOEXEC));
	say_result("flags", fcntl(ends[0], F_GETFD));
	say_threads_work();
}

CASE(close_even_the_first_three)
{
	int out = fcntl(1, F_DUPFD, 100);

	for (int fd = 0; fd < 100; fd++)
		close(fd);
	int a = open("/dev/null", O_RDWR), b = dup(a), c = socket(AF_UNIX, SOCK_STREAM, 0);
	if (a != 0 || b != 1 || c != 2)
		_exit(9);
	dup2(out, 1);
	say_threads_work();
}

static void *own_uid(void *uid)
{
	sleep_ms(3);
	*(uid_t *)uid = getuid();
	return NULL;
}

/* Over every number, its own and those of others. */
CASE(dup_onto_each)
{
	int refused = 0;

	for (int fd = 3; fd < 800; fd++)
		refused += dup2(0, fd) != fd;
	say("refused %d", refused);
	by_number();
	say_threads_work();
}

/* Both of what a daemon does; the second is not to rest on what the first has closed. */
CASE(closefrom_and_setuid)
{
	if (getuid() != 0)
		return say("SKIP: needs root");
	by_number();
	closefrom(3);
	say_result("setuid", setuid(65534));
	uid_t in_threads[5] = { 0 };
	pthread_t t[5];
	for (int i = 0; i < 5; i++)
		t[i] = started(own_uid, &in_threads[i]);
	for (int i = 0; i < 5; i++)
		joined(t[i]);
	for (int i = 0; i < 5; i++)
		say("uid %d", (int)in_threads[i]);
	say_result("a file of root's", open("/etc/shadow", O_RDONLY));
}

/* ---- limits --------------------------------------------------------------------- */

static void limit_to(int which, rlim_t soft)
{
	struct rlimit l;

	getrlimit(which, &l);
	l.rlim_cur = soft;
	if (setrlimit(which, &l))
		say_result("setrlimit", -1);
}

static int open_all(void)
{
	int n = 0;

	while (open("/dev/null", O_RDONLY) >= 0)
		n++;
	say_result("open", -1);
	return n;
}

CASE(limit_of_descriptors_raised)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	limit_to(RLIMIT_NOFILE, l.rlim_max < 3000 ? l.rlim_max : 3000);
	say("opened %d", open_all() > 900);
	by_number();
	rlim_t most = l.rlim_max < 65536 ? l.rlim_max : 65536;
	if (most > l.rlim_cur) {
		limit_to(RLIMIT_NOFILE, most);
		say_result("the last", dup2(0, (int)most - 1) == (int)most - 1);
	}
	say_threads_work();
}

static void *waits_for_a_child(void *unused)
{
	pid_t pid = fork();

	(void)unused;
	if (pid == 0) {
		sleep_ms(5);
		_exit(3);
	}
	say_end_of("a child without descriptors left", pid);
	return NULL;
}

CASE(limit_of_descriptors_lowered)
{
	limit_to(RLIMIT_NOFILE, 40);
	int n = open_all();
	say("opened %d", n);
	sleep_ms(1);
	in_thread(waits_for_a_child, NULL);
	close(10);
	say_result("the one that was closed", open("/dev/null", O_RDONLY));
	close(10);
	close(11);
	say_threads_work();
}

static int came;

static void counts(int sig)
{
	(void)sig;
	add_one(&came);
}

static void *writes_too_much(void *unused)
{
	char path[] = "/tmp/hostile.XXXXXX", page[4096] = "";
	int fd = mkstemp(path);

	(void)unused;
	unlink(path);
	say_result("write", write(fd, page, sizeof(page)));
	say_result("write", write(fd, page, sizeof(page)));
	say("SIGXFSZ came: %d", came);
	say_result("pwrite", pwrite(fd, page, sizeof(page), 8000));
	say("SIGXFSZ came: %d", came);
	say_result("ftruncate", ftruncate(fd, 10000));
	say("SIGXFSZ came: %d", came);
	say_result("fallocate", posix_fallocate(fd, 0, 10000));
	say("SIGXFSZ came: %d", came);
	close(fd);
	return NULL;
}

CASE(limit_of_file_size)
{
	handle(SIGXFSZ, counts, 0);
	limit_to(RLIMIT_FSIZE, 5000);
	writes_too_much(NULL);
	in_thread(writes_too_much, NULL);
	handle(SIGXFSZ, SIG_IGN, 0);
	in_thread(writes_too_much, NULL);
}

CASE(limit_of_file_size_ends)
{
	limit_to(RLIMIT_FSIZE, 5000);
	limit_to(RLIMIT_CORE, 0);
	in_thread(writes_too_much, NULL);
}

static void on_cpu_limit(int sig)
{
	(void)sig;
	say("SIGXCPU");
	_exit(4);
}

static void *computes(void *unused)
{
	for (volatile unsigned long i = 0;; i++)
		(void)i;
	return unused;
}

CASE(limit_of_cpu_time)
{
	handle(SIGXCPU, on_cpu_limit, 0);
	limit_to(RLIMIT_CPU, 1);
	in_thread(computes, NULL);
}

static void *waits_for_the_child(void *child)
{
	say_end_of("a child", *(pid_t *)child);
	return NULL;
}

/* Whatever the waits rest on is not among what the program closes. */
CASE(close_while_children_are_waited_for)
{
	pid_t child = fork();

	if (child == 0)
		for (;;)
			pause();
	pthread_t t = started(waits_for_the_child, &child);
	sleep_ms(5);
	by_number();
	closefrom(3);
	kill(child, SIGTERM);
	joined(t);
}

static void *broken_pipe(void *unused)
{
	int p[2];

	(void)unused;
	if (pipe(p))
		return NULL;
	close(p[0]);
	say_result("write", write(p[1], "x", 1));
	say("SIGPIPE came: %d", came);
	return NULL;
}

CASE(broken_pipe)
{
	handle(SIGPIPE, counts, 0);
	in_thread(broken_pipe, NULL);
	handle(SIGPIPE, SIG_IGN, 0);
	in_thread(broken_pipe, NULL);
	handle(SIGPIPE, SIG_DFL, 0);
	in_thread(broken_pipe, NULL);
}
