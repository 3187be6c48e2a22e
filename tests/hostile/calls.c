/* SPDX-License-Identifier: MIT
 *
 * The calls of calls.h.
 */
#include "calls.h"
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int empty[2], full[2], pair[2], filled[2], other[2], listener, busy_listener, polled;
static int events, timer, signals, watch, locked, queue, semaphores;
static mqd_t posix_queue = -1;
static char directory[] = "/tmp/hostile.XXXXXX", file_path[64], fifo_path[64], socket_path[64];
static pid_t child;
static sem_t semaphore;
static struct sockaddr_un busy_address = { .sun_family = AF_UNIX };
static uint32_t word;
static char buffer[4096];
static struct iovec vector = { buffer, sizeof(buffer) };
static struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

#define FOREVER 1000

static long by_read(void)
{
	return read(empty[0], buffer, 10);
}
static long by_readv(void)
{
	return readv(empty[0], &vector, 1);
}
static long by_write(void)
{
	return write(full[1], buffer, sizeof(buffer));
}
static long by_recv(void)
{
	return recv(pair[0], buffer, 10, 0);
}
static long by_recvmsg(void)
{
	return recvmsg(pair[0], &message, 0);
}
static long by_send(void)
{
	return send(filled[0], buffer, sizeof(buffer), 0);
}
static long by_sendmsg(void)
{
	return sendmsg(filled[0], &message, 0);
}
static long by_accept(void)
{
	return accept(listener, NULL, NULL);
}
static long by_eventfd(void)
{
	return read(events, buffer, 8);
}
static long by_timerfd(void)
{
	return read(timer, buffer, 8);
}
static long by_signalfd(void)
{
	return read(signals, buffer, 128);
}
static long by_inotify(void)
{
	return read(watch, buffer, sizeof(buffer));
}
static long by_pause(void)
{
	return pause();
}
static long by_sem_wait(void)
{
	return sem_wait(&semaphore);
}
static long by_waitpid(void)
{
	return waitpid(child, NULL, 0);
}
static long by_wait(void)
{
	return wait(NULL);
}
static long by_flock(void)
{
	return flock(locked, LOCK_EX);
}
static long by_splice(void)
{
	return splice(empty[0], NULL, other[1], NULL, 10, 0);
}
static long by_tee(void)
{
	return tee(empty[0], other[1], 10, 0);
}
static long by_open_fifo(void)
{
	return open(fifo_path, O_RDONLY | O_CLOEXEC);
}
static long by_mq_receive(void)
{
	return mq_receive(posix_queue, buffer, 4096, NULL);
}

static long by_recvmmsg(void)
{
	struct mmsghdr two[2] = { { .msg_hdr = message }, { .msg_hdr = message } };

	return recvmmsg(pair[0], two, 2, 0, NULL);
}

static long by_connect(void)
{
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long r = connect(s, (struct sockaddr *)&busy_address, sizeof(busy_address));
	int error = errno;

	close(s);
	errno = error;
	return r;
}

static long by_poll(void)
{
	return poll(&(struct pollfd){ empty[0], POLLIN, 0 }, 1, -1);
}

static long by_poll_with_time(void)
{
	return poll(&(struct pollfd){ empty[0], POLLIN, 0 }, 1, FOREVER * 1000);
}

static long by_ppoll(void)
{
	sigset_t none;

	sigemptyset(&none);
	return ppoll(&(struct pollfd){ empty[0], POLLIN, 0 }, 1, NULL, &none);
}

static long by_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(empty[0], &set);
	return select(empty[0] + 1, &set, NULL, NULL, NULL);
}

static long by_pselect(void)
{
	struct timespec t = { FOREVER, 0 };

	return pselect(0, NULL, NULL, NULL, &t, NULL);
}

static long by_epoll_wait(void)
{
	struct epoll_event e;

	return epoll_wait(polled, &e, 1, -1);
}

static long by_epoll_pwait(void)
{
	struct epoll_event e;
	sigset_t none;

	sigemptyset(&none);
	return epoll_pwait(polled, &e, 1, FOREVER * 1000, &none);
}

static long by_nanosleep(void)
{
	struct timespec t = { FOREVER, 0 };

	return nanosleep(&t, &t);
}

static long by_clock_nanosleep(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += FOREVER;
	errno = clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL);
	return errno ? -1 : 0;
}

static long by_sigsuspend(void)
{
	sigset_t none;

	sigemptyset(&none);
	return sigsuspend(&none);
}

static long by_sigwaitinfo(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	return sigwaitinfo(&set, NULL);
}

static long by_sem_timedwait(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += FOREVER;
	return sem_timedwait(&semaphore, &t);
}

static long by_futex(void)
{
	return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static long by_futex_with_time(void)
{
	struct timespec t = { FOREVER, 0 };

	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0);
}

static long by_waitid(void)
{
	siginfo_t info;

	return waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
}

static long lock_by(int command)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10 };

	return fcntl(locked, command, &lock);
}

static long by_process_lock(void)
{
	return lock_by(F_SETLKW);
}
static long by_file_lock(void)
{
	return lock_by(F_OFD_SETLKW);
}

static long by_msgrcv(void)
{
	struct {
		long type;
		char text[64];
	} m;

	return msgrcv(queue, &m, sizeof(m.text), 0, 0);
}

static long by_semop(void)
{
	struct sembuf down = { 0, -1, 0 };

	return semop(semaphores, &down, 1);
}

static long by_semtimedop(void)
{
	struct sembuf down = { 0, -1, 0 };
	struct timespec t = { FOREVER, 0 };

	return semtimedop(semaphores, &down, 1, &t);
}

const struct waiting waiting_calls[] = {
	{ "read", by_read, false },
	{ "readv", by_readv, false },
	{ "write", by_write, false },
	{ "recv", by_recv, false },
	{ "recvmsg", by_recvmsg, false },
	{ "recvmmsg", by_recvmmsg, false },
	{ "send", by_send, false },
	{ "sendmsg", by_sendmsg, false },
	{ "accept", by_accept, false },
	{ "connect", by_connect, false },
	{ "eventfd", by_eventfd, false },
	{ "timerfd", by_timerfd, false },
	{ "signalfd", by_signalfd, false },
	{ "inotify", by_inotify, false },
	{ "poll", by_poll, false },
	{ "poll with a time", by_poll_with_time, false },
	{ "ppoll", by_ppoll, false },
	{ "select", by_select, false },
	{ "pselect", by_pselect, false },
	{ "epoll_wait", by_epoll_wait, true },
	{ "epoll_pwait", by_epoll_pwait, true },
	{ "nanosleep", by_nanosleep, false },
	{ "clock_nanosleep", by_clock_nanosleep, false },
	{ "pause", by_pause, false },
	{ "sigsuspend", by_sigsuspend, false },
	{ "sigwaitinfo", by_sigwaitinfo, true },
	{ "sem_wait", by_sem_wait, false },
	{ "sem_timedwait", by_sem_timedwait, false },
	{ "futex", by_futex, false },
	{ "futex with a time", by_futex_with_time, false },
	{ "waitpid", by_waitpid, false },
	{ "wait", by_wait, false },
	{ "waitid", by_waitid, false },
	{ "flock", by_flock, false },
	{ "F_SETLKW", by_process_lock, false },
	{ "F_OFD_SETLKW", by_file_lock, false },
	{ "open of a FIFO", by_open_fifo, false },
	{ "msgrcv", by_msgrcv, false },
	{ "semop", by_semop, true },
	{ "semtimedop", by_semtimedop, true },
	{ "mq_receive", by_mq_receive, false },
	{ "splice", by_splice, false },
	{ "tee", by_tee, false },
};
const unsigned waiting_count = sizeof(waiting_calls) / sizeof(waiting_calls[0]);

/* ---- what they wait at ---------------------------------------------------------------- */

static void fill(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (write(fd, buffer, sizeof(buffer)) > 0)
		;
	fcntl(fd, F_SETFL, flags);
}

/* A child that holds the locks, and does not end before it is killed. */
static void hold_locks(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10 };
	int ready[2];
	char byte;

	if (pipe(ready))
		abort();
	child = fork();
	if (child == 0) {
		int fd = open(file_path, O_RDWR | O_CLOEXEC);
		bool good = flock(fd, LOCK_EX) == 0 && fcntl(fd, F_SETLK, &lock) == 0;
		if (good && write(ready[1], "", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	if (read(ready[0], &byte, 1) != 1)
		abort();
	close(ready[0]);
	close(ready[1]);
}

static void prepare_sockets(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	snprintf(busy_address.sun_path, sizeof(busy_address.sun_path), "%s/busy", directory);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	busy_listener = socket(AF_UNIX, SOCK_STREAM, 0);
	int first = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 5) ||
	    bind(busy_listener, (struct sockaddr *)&busy_address, sizeof(busy_address)) ||
	    listen(busy_listener, 0) ||
	    connect(first, (struct sockaddr *)&busy_address, sizeof(busy_address)))
		abort();
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, filled))
		abort();
	fill(filled[0]);
}

static void prepare_queues(void)
{
	struct mq_attr attributes = { .mq_maxmsg = 2, .mq_msgsize = 4096 };
	char name[32];

	queue = msgget(IPC_PRIVATE, 0600);
	semaphores = semget(IPC_PRIVATE, 1, 0600);
	snprintf(name, sizeof(name), "/hostile.%d", (int)getpid());
	posix_queue = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
	mq_unlink(name);
	if (queue < 0 || semaphores < 0 || posix_queue < 0)
		abort();
}

void waiting_prepare(void)
{
	struct epoll_event e = { .events = EPOLLIN };
	sigset_t set;

	if (!mkdtemp(directory) || pipe(empty) || pipe(full) || pipe(other))
		abort();
	snprintf(file_path, sizeof(file_path), "%s/file", directory);
	snprintf(fifo_path, sizeof(fifo_path), "%s/fifo", directory);
	fill(full[1]);
	prepare_sockets();
	prepare_queues();
	locked = open(file_path, O_RDWR | O_CREAT, 0600);
	if (locked < 0 || mkfifo(fifo_path, 0600))
		abort();
	hold_locks();
	polled = epoll_create1(0);
	epoll_ctl(polled, EPOLL_CTL_ADD, empty[0], &e);
	events = eventfd(0, 0);
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	watch = inotify_init();
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, 0);
	sem_init(&semaphore, 0, 0);
}

void waiting_clean(void)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	msgctl(queue, IPC_RMID, NULL);
	semctl(semaphores, 0, IPC_RMID);
	unlink(file_path);
	unlink(fifo_path);
	unlink(socket_path);
	unlink(busy_address.sun_path);
	rmdir(directory);
}
