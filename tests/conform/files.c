/* SPDX-License-Identifier: MIT
 *
 * Files, their locks, queues of messages, and what libc does with them by itself: stdio,
 * names of hosts and users.
 */
#include "conform.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* A new empty file that has no name any more once it is closed by the caller. */
static int new_file(char path[64])
{
	int fd;

	snprintf(path, 64, "%s", "/tmp/green-conform-XXXXXX");
	fd = mkstemp(path);
	return fd;
}

CHECK(file_positions)
{
	char path[64], bytes[8];
	int fd = new_file(path);
	struct iovec v = { bytes, 4 };

	EXPECT(fd >= 0 && unlink(path) == 0);
	EXPECT(pwrite(fd, "0123456789", 10, 0) == 10 && lseek(fd, 0, SEEK_CUR) == 0);
	EXPECT(pread(fd, bytes, 4, 6) == 4 && memcmp(bytes, "6789", 4) == 0);
	EXPECT(pread(fd, bytes, 4, 10) == 0);
	EXPECT(preadv(fd, &v, 1, 2) == 4 && bytes[0] == '2' && pwritev(fd, &v, 1, 10) == 4);
	EXPECT(fsync(fd) == 0 && fdatasync(fd) == 0 && ftruncate(fd, 3) == 0);
	EXPECT(lseek(fd, 0, SEEK_END) == 3);
	close(fd);
	EXPECT(fsync(-1) == -1 && errno == EBADF);
	return true;
}

struct lock_test {
	char path[64];
	int mode; /* 0 flock, 1 open file description, 2 its own descriptor */
	int order, refused;
};

static bool lock(int fd, int mode, bool wait)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (mode == 0)
		return flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB) == 0;
	return fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &l) == 0;
}

static void *locks_and_holds(void *argument)
{
	struct lock_test *t = argument;
	int fd = open(t->path, O_RDWR);
	bool good = fd >= 0 && lock(fd, t->mode, true);

	add_one(&t->order);
	good = good && reaches(&t->refused, 1);
	sleep_ms(30);
	good = good && value_of(&t->order) == 1;
	close(fd);
	return (void *)(intptr_t)good;
}

static bool lock_waits(int mode)
{
	struct lock_test test = { .mode = mode };
	int fd = new_file(test.path);
	pthread_t t;

	EXPECT(fd >= 0);
	t = started(locks_and_holds, &test);
	EXPECT(reaches(&test.order, 1));
	EXPECT(!lock(fd, mode, false) && (errno == EAGAIN || errno == EWOULDBLOCK));
	add_one(&test.refused);
	EXPECT(lock(fd, mode, true));
	add_one(&test.order);
	EXPECT(joined(t));
	close(fd);
	EXPECT(unlink(test.path) == 0);
	return true;
}

CHECK(flock_waits)
{
	return lock_waits(0);
}

CHECK(open_file_lock_waits)
{
	return lock_waits(1);
}

/* Locks of the process: its threads are one. */
CHECK(process_lock_is_the_process)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[64];
	int fd = new_file(path), other = open(path, O_RDWR);

	EXPECT(fd >= 0 && other >= 0 && unlink(path) == 0);
	EXPECT(fcntl(fd, F_SETLKW, &l) == 0 && fcntl(other, F_SETLKW, &l) == 0);
	EXPECT(lockf(fd, F_TLOCK, 0) == 0 && lockf(fd, F_ULOCK, 0) == 0);
	close(fd);
	close(other);
	return true;
}

static void *opens_to_write(void *argument)
{
	int fd;

	sleep_ms(30);
	fd = open(argument, O_WRONLY);
	if (fd < 0 || write(fd, "f", 1) != 1)
		return NULL;
	close(fd);
	return (void *)1L;
}

CHECK(fifo_open_waits)
{
	char path[64], byte = 0;
	int fd = new_file(path);
	pthread_t t;

	EXPECT(fd >= 0 && close(fd) == 0 && unlink(path) == 0 && mkfifo(path, 0600) == 0);
	EXPECT(open(path, O_WRONLY | O_NONBLOCK) == -1 && errno == ENXIO);
	t = started(opens_to_write, path);
	fd = open(path, O_RDONLY);
	EXPECT(fd >= 0 && read(fd, &byte, 1) == 1 && byte == 'f');
	EXPECT(joined(t));
	close(fd);
	EXPECT(unlink(path) == 0);
	return true;
}

/* ---- queues ----------------------------------------------------------------- */

static void *sends_to_queue(void *argument)
{
	sleep_ms(30);
	return (void *)(intptr_t)(mq_send(*(mqd_t *)argument, "hello", 5, 3) == 0);
}

CHECK(posix_queue_waits)
{
	struct mq_attr a = { .mq_maxmsg = 2, .mq_msgsize = 16 };
	char name[64], bytes[16];
	struct timespec soon;
	unsigned priority;
	pthread_t t;
	mqd_t q;

	snprintf(name, sizeof(name), "/green-conform-%d", (int)getpid());
	q = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &a);
	if (q == (mqd_t)-1 && errno == ENOSYS)
		SKIP("no message queues here");
	EXPECT(q != (mqd_t)-1 && mq_unlink(name) == 0);
	t = started(sends_to_queue, &q);
	EXPECT(mq_receive(q, bytes, sizeof(bytes), &priority) == 5 && priority == 3);
	EXPECT(joined(t));
	soon = in_ms(CLOCK_REALTIME, 30);
	EXPECT(mq_timedreceive(q, bytes, sizeof(bytes), NULL, &soon) == -1 && errno == ETIMEDOUT);
	EXPECT(mq_close(q) == 0);
	return true;
}

struct message {
	long type;
	char text[8];
};

static void *sends_message(void *argument)
{
	struct message m = { 2, "hi" };

	sleep_ms(30);
	return (void *)(intptr_t)(msgsnd(*(int *)argument, &m, sizeof(m.text), 0) == 0);
}

CHECK(system_v_queue_waits)
{
	int q = msgget(IPC_PRIVATE, 0600);
	struct message m;
	pthread_t t;

	EXPECT(q >= 0);
	t = started(sends_message, &q);
	EXPECT(msgrcv(q, &m, sizeof(m.text), 2, 0) == sizeof(m.text) && strcmp(m.text, "hi") == 0);
	EXPECT(joined(t));
	EXPECT(msgrcv(q, &m, sizeof(m.text), 0, IPC_NOWAIT) == -1 && errno == ENOMSG);
	EXPECT(msgctl(q, IPC_RMID, NULL) == 0);
	return true;
}

static void *raises_semaphore(void *argument)
{
	struct sembuf up = { 0, 1, 0 };

	sleep_ms(30);
	return (void *)(intptr_t)(semop(*(int *)argument, &up, 1) == 0);
}

CHECK(system_v_semaphore_waits)
{
	int s = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf down = { 0, -1, 0 };
	struct timespec limit = { 0, 30000000 };
	pthread_t t;

	EXPECT(s >= 0);
	t = started(raises_semaphore, &s);
	EXPECT(semop(s, &down, 1) == 0);
	EXPECT(joined(t));
	EXPECT(semtimedop(s, &down, 1, &limit) == -1 && errno == EAGAIN);
	EXPECT(semctl(s, 0, IPC_RMID) == 0);
	return true;
}

/* ---- stdio ------------------------------------------------------------------ */

static void *prints_later(void *argument)
{
	for (int i = 0; i < 3; i++) {
		sleep_ms(10);
		fprintf(argument, "line %d\n", i);
		fflush(argument);
	}
	fclose(argument);
	return NULL;
}

CHECK(stdio_on_a_pipe)
{
	char line[32];
	int p[2], lines = 0;
	FILE *in, *out;
	pthread_t t;

	EXPECT(pipe(p) == 0 && (in = fdopen(p[0], "r")) && (out = fdopen(p[1], "w")));
	t = started(prints_later, out);
	while (fgets(line, sizeof(line), in))
		EXPECT(line[5] == (char)('0' + lines++));
	EXPECT(lines == 3 && feof(in));
	joined(t);
	fclose(in);
	return true;
}

static void *prints_many(void *argument)
{
	for (int i = 0; i < 500; i++)
		fprintf(argument, "abcdefghij\n");
	return NULL;
}

CHECK(stdio_locks_its_files)
{
	FILE *f = tmpfile();
	char line[32];
	pthread_t t[8];
	int lines = 0;

	EXPECT(f);
	for (int i = 0; i < 8; i++)
		t[i] = started(prints_many, f);
	for (int i = 0; i < 8; i++)
		joined(t[i]);
	rewind(f);
	while (fgets(line, sizeof(line), f)) {
		EXPECT(strcmp(line, "abcdefghij\n") == 0);
		lines++;
	}
	EXPECT(lines == 8 * 500);
	fclose(f);
	return true;
}

static void *allocates(void *argument)
{
	char *kept[64] = { NULL };

	for (unsigned i = 0; i < 20000; i++) {
		unsigned at = i * 7 % 64;
		size_t size = i % 3000 + 1;
		free(kept[at]);
		kept[at] = malloc(size);
		if (!kept[at])
			return NULL;
		memset(kept[at], (int)i, size);
	}
	for (int i = 0; i < 64; i++)
		free(kept[i]);
	return argument;
}

CHECK(malloc_in_threads)
{
	pthread_t t[8];

	for (int i = 0; i < 8; i++)
		t[i] = started(allocates, (void *)1L);
	for (int i = 0; i < 8; i++)
		EXPECT(joined(t[i]));
	return true;
}

/* What looking it up gives in one thread: a bare system has no /etc/hosts. */
static int localhost_error;

static void *looks_up(void *argument)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	char buffer[4096];
	struct passwd entry, *user;
	int error = getaddrinfo("localhost", "80", &hints, &found);
	bool good = error == localhost_error;

	if (error == 0)
		freeaddrinfo(found);
	good = good && getpwuid_r(0, &entry, buffer, sizeof(buffer), &user) == 0 && user;
	return good ? argument : NULL;
}

CHECK(names_are_looked_up)
{
	pthread_t t[20];
	struct addrinfo *found;

	localhost_error = getaddrinfo("localhost", "80", NULL, &found);
	if (localhost_error == 0)
		freeaddrinfo(found);
	for (int i = 0; i < 20; i++)
		t[i] = started(looks_up, (void *)1L);
	for (int i = 0; i < 20; i++)
		EXPECT(joined(t[i]));
	return true;
}
