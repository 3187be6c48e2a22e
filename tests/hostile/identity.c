/* SPDX-License-Identifier: MIT
 *
 * Who the process is: one identity for all of its threads, whichever of them changes it.
 * Of use to root alone.
 */
#include "hostile.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534
#define THREADS 6

static int go;

static void *says_who(void *file)
{
	uid_t r, e, s;
	gid_t gr, ge, gs, groups[8];
	char *line = file;

	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		sleep_ms(1);
	getresuid(&r, &e, &s);
	getresgid(&gr, &ge, &gs);
	int n = getgroups(8, groups);
	int fd = open(line, O_RDONLY);
	bool opened = fd >= 0;
	if (opened)
		close(fd);
	char *text = NULL;
	if (asprintf(&text, "uid %d %d %d gid %d %d %d groups %d %d, file %s", (int)r, (int)e,
	             (int)s, (int)gr, (int)ge, (int)gs, n, n > 0 ? (int)groups[0] : -1,
	             opened ? "opened" : "refused") < 0)
		return NULL;
	return text;
}

/* What each OS thread of the process is, as the kernel has it. */
static void say_tasks(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	char path[300], line[200];
	int tasks = 0, as_we = 0;

	while (d && (e = readdir(d))) {
		unsigned id[4] = { 0 };
		FILE *f;
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		if (!(f = fopen(path, "r")))
			continue;
		while (fgets(line, sizeof(line), f) && strncmp(line, "Name:\tiou-", 10) != 0)
			if (sscanf(line, "Uid: %u %u %u %u", id, id + 1, id + 2, id + 3) == 4)
				break;
		fclose(f);
		if (strncmp(line, "Name:", 5) == 0) /* of the kernel's, for a ring */
			continue;
		tasks++;
		as_we += id[0] == getuid() && id[1] == geteuid();
	}
	if (d)
		closedir(d);
	say("tasks as we are: %s", tasks && tasks == as_we ? "all" : "not all");
}

static char secret[64];

static void *changes(void *change)
{
	((void (*)(void))change)();
	return NULL;
}

/* Threads that were there before, and one that comes later, before and after main() or a
 * thread has changed it. */
static void change_identity(void (*change)(void), bool by_thread)
{
	pthread_t t[THREADS];

	set(&go, 0);
	for (int i = 0; i < THREADS; i++)
		t[i] = started(says_who, secret);
	sleep_ms(2);
	if (by_thread)
		in_thread(changes, (void *)change);
	else
		change();
	set(&go, 1);
	char *mine = says_who(secret);
	say("%s", mine);
	for (int i = 0; i < THREADS; i++) {
		char *others = joined(t[i]);
		if (strcmp(others, mine) != 0)
			say("but a thread: %s", others);
		free(others);
	}
	char *later = in_thread(says_who, secret);
	if (strcmp(later, mine) != 0)
		say("but a later one: %s", later);
	free(later);
	free(mine);
	say_tasks();
}

static bool is_root(void)
{
	if (getuid() != 0) {
		say("SKIP: needs root");
		return false;
	}
	/* Where nobody may look from here on. */
	snprintf(secret, sizeof(secret), "/tmp/hostile-secret.%d", (int)getpid());
	int fd = open(secret, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		say_result("open", -1);
	close(fd);
	return true;
}

static void no_effective_user(void)
{
	say_result("setegid", setegid(NOBODY));
	say_result("seteuid", seteuid(NOBODY));
}

static void root_again(void)
{
	say_result("seteuid", seteuid(0));
	say_result("setegid", setegid(0));
}

static void no_groups(void)
{
	gid_t groups[2] = { 7, 8 };

	say_result("setgroups", setgroups(2, groups));
	say_result("setresgid", setresgid(NOBODY, NOBODY, NOBODY));
}

static void no_user(void)
{
	say_result("setresuid", setresuid(NOBODY, NOBODY, NOBODY));
}

static void root_for_ever(void)
{
	say_result("setuid", setuid(0));
	say_result("setgid", setgid(0));
	say_result("setgroups", setgroups(0, NULL));
}

/* Who gives up all rights cannot remove the file: a child that keeps them does. */
static pid_t removes_secret(int *told)
{
	int ends[2];
	char byte;

	if (pipe(ends))
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 && unlink(secret) == 0 ? 0 : 1);
	}
	close(ends[0]);
	*told = ends[1];
	return pid;
}

static void change_all(bool by_thread)
{
	int fd = -1;

	if (!is_root())
		return;
	pid_t remover = removes_secret(&fd);
	change_identity(no_effective_user, by_thread);
	change_identity(root_again, by_thread);
	change_identity(no_groups, by_thread);
	change_identity(no_user, by_thread);
	change_identity(root_for_ever, by_thread);
	say_threads_work();
	close(fd);
	say_end_of("who removes the file", remover);
}

CASE(identity_by_main)
{
	change_all(false);
}

CASE(identity_by_a_thread)
{
	change_all(true);
}

/* Two at once: whatever comes out, it is one for all. */
static void *swaps(void *unused)
{
	for (int i = 0; i < 20; i++)
		if (setreuid((uid_t)-1, i % 2 ? 0 : NOBODY))
			say_result("setreuid", -1);
	return unused;
}

CASE(identity_by_several_at_once)
{
	pthread_t t[3];

	if (!is_root())
		return;
	for (int i = 0; i < 3; i++)
		t[i] = started(swaps, NULL);
	for (int i = 0; i < 3; i++)
		joined(t[i]);
	say("at last %d", (int)geteuid());
	say_tasks();
	unlink(secret);
}

/* Linux's own: that of the calling thread alone. */
static int refused;

static void *as_somebody(void *user)
{
	uid_t u = (uid_t)(intptr_t)user;
	int same = 0;

	syscall(SYS_setfsgid, u);
	syscall(SYS_setfsuid, u);
	for (int i = 0; i < 20; i++) {
		sleep_ms(1);
		same += setfsuid((uid_t)-1) == (int)u && setfsgid((gid_t)-1) == (int)u;
	}
	int fd = open(secret, O_RDONLY);
	set(&refused, fd < 0 && errno == EACCES);
	return (void *)(intptr_t)same;
}

CASE(file_system_identity_of_a_thread)
{
	if (!is_root())
		return;
	pthread_t t = started(as_somebody, (void *)(intptr_t)NOBODY);
	int same = 0;
	for (int i = 0; i < 20; i++) {
		sleep_ms(1);
		same += setfsuid((uid_t)-1) == 0;
	}
	say("we stay root: %d", same);
	say("the thread stays nobody: %d", (int)(intptr_t)joined(t));
	say("it may not open: %d", refused);
	int fd = open(secret, O_RDONLY);
	say_result("open by root", fd < 0 ? fd : 0);
	unlink(secret);
}

static void *is_somebody(void *user)
{
	int same = 0;

	for (int i = 0; i < 10; i++) {
		sched_yield();
		same += setfsuid((uid_t)-1) == (int)(intptr_t)user;
	}
	return (void *)(intptr_t)same;
}

static void *is_one_of_many(void *user)
{
	uid_t u = (uid_t)(intptr_t)user;
	int same = 0;

	setfsuid(u);
	for (int i = 0; i < 10; i++) {
		sleep_ms(i % 3);
		same += setfsuid((uid_t)-1) == (int)u;
	}
	same += (int)(intptr_t)in_thread(is_somebody, user);
	return (void *)(intptr_t)same;
}

/* As a file server has them; and what one of them starts is as it is. */
CASE(file_system_identities_of_many)
{
	pthread_t t[20];
	int same = 0;

	if (!is_root())
		return;
	for (intptr_t i = 0; i < 20; i++)
		t[i] = started(is_one_of_many, (void *)(1000 + i));
	for (int i = 0; i < 20; i++)
		same += (int)(intptr_t)joined(t[i]);
	say("as they were: %d, root: %d", same, setfsuid((uid_t)-1));
	setfsuid(1000);
	say_result("seteuid", seteuid(NOBODY));
	say("by another call: %d", setfsuid((uid_t)-1));
	say_result("seteuid", seteuid(0));
	say("and back: %d", setfsuid((uid_t)-1));
	unlink(secret);
}
