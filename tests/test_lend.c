/* SPDX-License-Identifier: MIT
 *
 * Every call that hands memory to the kernel takes it from the stack of another
 * thread that hibernates, and gets it right: in both modes of userfaultfd, from
 * green threads, OS threads and the offload pool.
 */
#include "sockets.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/un.h>

#define AFTER GREEN_MS(1)
#define DEPTH 4 /* stacks that one call takes memory from */

/* What lies on the stack of a parked thread. */
struct room {
	char buf[64];
	struct iovec iov[2];
	struct msghdr msg;
	struct sockaddr_storage addr;
	socklen_t size;
	struct pollfd pfd;
	off_t offset;
};

static struct host {
	green_sem_t sem;
	struct room *_Atomic room;
	green_t thread;
} hosts[DEPTH];

static void *hold_room(void *arg)
{
	struct host *self = arg;
	struct room room;

	memset(&room, 0, sizeof(room));
	atomic_store(&self->room, &room);
	CHECK_EQ(green_sem_wait(&self->sem), 0);
	atomic_store(&self->room, NULL);
	return NULL;
}

/* Nothing but the hosts' stacks can sleep while this looks. */
static void hosts_asleep(void)
{
	struct green_info info;

	do {
		REQUIRE_EQ(green_info(&info), 0);
		if (info.stacks_hibernated < DEPTH)
			green_sleep(GREEN_MS(2));
	} while (info.stacks_hibernated < DEPTH);
}

/* ---- the calls ------------------------------------------------------------------ */

static struct pair stream, packets;
static int file, listener;

static struct room *room(int i)
{
	return atomic_load(&hosts[i].room);
}

static void reads(void)
{
	CHECK_EQ(write(stream.a, "bytes", 5), 5);
	CHECK_EQ(green_read(stream.b, room(0)->buf, 64), 5);
	CHECK_STR(room(0)->buf, "bytes");
}

static void writes(void)
{
	char buf[64] = "";

	CHECK_EQ(green_write(stream.a, room(0)->buf, 5), 5);
	CHECK_EQ(read(stream.b, buf, 64), 5);
	CHECK_STR(buf, "bytes");
}

/* More stacks than a loan has names for. */
static void reads_vectors(void)
{
	struct iovec iov[DEPTH];

	for (int i = 0; i < DEPTH; i++)
		iov[i] = (struct iovec){ room(i)->buf, 2 };
	CHECK_EQ(write(stream.a, "abcdefgh", 8), 8);
	CHECK_EQ(green_readv(stream.b, iov, DEPTH), 8);
	for (int i = 0; i < DEPTH; i++)
		CHECK_EQ(memcmp(room(i)->buf, &"abcdefgh"[2 * i], 2), 0);
}

static void reads_file(void)
{
	CHECK_EQ(pwrite(file, "stored", 6, 0), 6);
	CHECK_EQ(green_pread(file, room(0)->buf, 6, 0), 6);
	CHECK_EQ(memcmp(room(0)->buf, "stored", 6), 0);
	CHECK_EQ(green_pwrite(file, room(1)->buf, 2, 0), 2);
}

/* A datagram that meets EFAULT is gone. */
static void receives(void)
{
	CHECK_EQ(write(packets.a, "datagram", 8), 8);
	CHECK_EQ(green_recv(packets.b, room(0)->buf, 64, 0), 8);
	CHECK_EQ(memcmp(room(0)->buf, "datagram", 8), 0);
}

static void receives_at_once(void)
{
	CHECK_EQ(write(packets.a, "datagram", 8), 8);
	CHECK_EQ(green_recv(packets.b, room(1)->buf, 64, MSG_DONTWAIT), 8);
	CHECK_EQ(memcmp(room(1)->buf, "datagram", 8), 0);
}

static void receives_from(void)
{
	room(1)->size = sizeof(room(1)->addr);
	hosts_asleep();
	CHECK_EQ(write(packets.a, "datagram", 8), 8);
	CHECK_EQ(green_recvfrom(packets.b, room(0)->buf, 64, 0, (struct sockaddr *)&room(1)->addr,
	                        &room(1)->size),
	         8);
}

static void receives_message(void)
{
	struct room *r = room(3);

	r->iov[0] = (struct iovec){ room(0)->buf, 4 };
	r->iov[1] = (struct iovec){ room(1)->buf, 60 };
	r->msg = (struct msghdr){ .msg_name = &room(2)->addr,
		                  .msg_namelen = sizeof(room(2)->addr),
		                  .msg_iov = r->iov,
		                  .msg_iovlen = 2 };
	hosts_asleep();
	CHECK_EQ(write(packets.a, "datagram", 8), 8);
	CHECK_EQ(green_recvmsg(packets.b, &r->msg, 0), 8);
	CHECK_EQ(memcmp(room(1)->buf, "gram", 4), 0);
}

static void sends(void)
{
	char buf[64];

	CHECK_EQ(green_send(packets.a, room(0)->buf, 64, 0), 64);
	CHECK_EQ(read(packets.b, buf, 64), 64);
	hosts_asleep();
	struct msghdr msg = { .msg_iov = &(struct iovec){ room(1)->buf, 64 }, .msg_iovlen = 1 };
	CHECK_EQ(green_sendmsg(packets.a, &msg, 0), 64);
	CHECK_EQ(read(packets.b, buf, 64), 64);
}

static void sends_to(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof(at);
	char byte;

	int to = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(bind(to, (struct sockaddr *)&at, size), 0);
	CHECK_EQ(getsockname(to, (struct sockaddr *)&at, &size), 0);
	int from = green_socket(AF_INET, SOCK_DGRAM, 0);
	memcpy(&room(0)->addr, &at, size);
	hosts_asleep();
	CHECK_EQ(green_sendto(from, "x", 1, 0, (struct sockaddr *)&room(0)->addr, size), 1);
	CHECK_EQ(read(to, &byte, 1), 1);
	close(to);
	CHECK_EQ(green_close(from), 0);
}

static void connects_and_accepts(void)
{
	struct sockaddr_in at;
	socklen_t size = sizeof(at);

	CHECK_EQ(getsockname(listener, (struct sockaddr *)&at, &size), 0);
	memcpy(&room(0)->addr, &at, size);
	room(1)->size = sizeof(room(1)->addr);
	hosts_asleep();
	int fd = green_socket(AF_INET, SOCK_STREAM, 0);
	CHECK_EQ(green_connect(fd, (struct sockaddr *)&room(0)->addr, size), 0);
	int peer = green_accept(listener, (struct sockaddr *)&room(1)->addr, &room(1)->size, 0);
	CHECK_GE(peer, 0);
	CHECK_EQ(room(1)->size, size);
	CHECK_EQ(green_close(peer), 0);
	CHECK_EQ(green_close(fd), 0);
}

static void opens(void)
{
	strcpy(room(0)->buf, "/dev/null");
	hosts_asleep();
	int fd = green_open(room(0)->buf, O_RDONLY | O_CLOEXEC, 0);
	CHECK_GE(fd, 0);
	CHECK_EQ(green_close(fd), 0);
	hosts_asleep();
	fd = green_open(room(0)->buf, O_RDONLY | O_CREAT | O_CLOEXEC, 0600); /* by the pool */
	CHECK_GE(fd, 0);
	CHECK_EQ(green_close(fd), 0);
}

static void polls(void)
{
	room(0)->pfd = (struct pollfd){ .fd = stream.a, .events = POLLOUT };
	room(1)->pfd = (struct pollfd){ .fd = stream.a, .events = POLLIN };
	hosts_asleep();
	CHECK_EQ(green_poll(&room(0)->pfd, 1, 0), 1);
	CHECK_EQ(room(0)->pfd.revents, POLLOUT);
	CHECK_EQ(green_poll(&room(1)->pfd, 1, 20), 0);
}

static void sends_file(void)
{
	char buf[8];

	CHECK_EQ(pwrite(file, "stored", 6, 0), 6);
	room(0)->offset = 2;
	hosts_asleep();
	CHECK_EQ(green_sendfile(stream.a, file, &room(0)->offset, 4), 4);
	CHECK_EQ(room(0)->offset, 6);
	CHECK_EQ(read(stream.b, buf, 8), 4);
}

static void (*const calls[])(void) = {
	reads,    writes,           reads_vectors,        reads_file,
	receives, receives_at_once, receives_from,        receives_message,
	sends,    sends_to,         connects_and_accepts, opens,
	polls,    sends_file,
};

/* ---- who makes them --------------------------------------------------------------- */

static void make(unsigned i)
{
	hosts_asleep();
	calls[i]();
}

static void start_hosts(void)
{
	struct sockaddr_in at;

	for (int i = 0; i < DEPTH; i++) {
		hosts[i].sem = (green_sem_t)GREEN_SEM_INIT(0);
		hosts[i].thread = start_green(hold_room, &hosts[i]);
		while (!room(i))
			green_sleep(GREEN_MS(1));
	}
	stream = new_pair(SOCK_STREAM);
	packets = new_pair(SOCK_DGRAM);
	file = memfd_create("test_lend", MFD_CLOEXEC);
	listener = new_listener(0, 5, &at);
}

static void end_hosts(void)
{
	for (int i = 0; i < DEPTH; i++) {
		green_sem_post(&hosts[i].sem);
		join_green(hosts[i].thread);
	}
	close_pair(&stream);
	close_pair(&packets);
	CHECK_EQ(green_close(file), 0);
	CHECK_EQ(green_close(listener), 0);
}

static void *in_green(void *unused)
{
	(void)unused;
	start_hosts();
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		make(i);
	end_hosts();
	return NULL;
}

static void *make_all(void *unused)
{
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		make(i);
	return unused;
}

static void *in_os_thread(void *unused)
{
	start_hosts();
	join_os(start_os(make_all, NULL));
	end_hosts();
	return unused;
}

/* On the pool a job's own accesses bring stacks back; its plain system calls are
 * its own affair. */
static void *touch_rooms(void *unused)
{
	hosts_asleep();
	for (int i = 0; i < DEPTH; i++)
		room(i)->buf[0]++;
	return unused;
}

static void *in_pool(void *unused)
{
	start_hosts();
	CHECK_EQ(green_offload(touch_rooms, NULL, NULL), 0);
	for (int i = 0; i < DEPTH; i++)
		CHECK_EQ(room(i)->buf[0], 1);
	end_hosts();
	return unused;
}

/* Waits with a buffer of another: that one's stack stays for so long. */
static void *receive_into(void *buf)
{
	return (void *)(intptr_t)green_recv(packets.b, buf, 64, 0);
}

static void *while_waiting(void *unused)
{
	struct green_info info;

	start_hosts();
	for (int i = 0; i < 20; i++) {
		hosts_asleep();
		green_t t = start_green(receive_into, room(0)->buf);
		await_parked(t);
		green_sleep(5 * AFTER);
		CHECK_EQ(write(packets.a, "datagram", 8), 8);
		CHECK_EQ((intptr_t)join_green(t), 8);
		CHECK_EQ(memcmp(room(0)->buf, "datagram", 8), 0);
	}
	hosts_asleep(); /* nothing is left pinned */
	CHECK_EQ(green_info(&info), 0);
	end_hosts();
	return unused;
}

/* ---- modes ------------------------------------------------------------------------ */

static void in_modes(green_fn fn)
{
	static const char *const modes[] = { "-userfaultfd_kernel", "" };
	unsigned runs = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct green_options options = { .features = modes[i],
			                         .hibernate_after_ns = AFTER };
		struct green_info info;
		REQUIRE_EQ(green_init(&options), 0);
		REQUIRE_EQ(green_info(&info), 0);
		REQUIRE_EQ(green_fini(), 0);
		if (!strstr(info.features, "+uffd_wp") ||
		    (i == 1 && strcmp(info.stacks, "userfaultfd-kernel")))
			continue;
		CHECK_EQ(run_green_with(&options, fn, NULL, NULL), 0);
		runs++;
	}
	if (!runs)
		SKIP("no userfaultfd");
}

TEST(a_green_thread_lends)
{
	in_modes(in_green);
}

TEST(an_os_thread_lends)
{
	in_modes(in_os_thread);
}

TEST(the_pool_touches)
{
	in_modes(in_pool);
}

TEST(a_loan_lasts_as_long_as_the_wait)
{
	in_modes(while_waiting);
}
