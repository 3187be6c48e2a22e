/* SPDX-License-Identifier: MIT
 *
 * Connections by name: what addresses are taken, what they connect to, and
 * what is refused.
 */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

static const char *const bad_addresses[] = {
	"",
	":",
	"host",
	"host:",
	"127.0.0.1:",
	"127.0.0.1:x",
	"127.0.0.1:65536",
	"127.0.0.1:-1",
	"127.0.0.1:+1",
	"127.0.0.1: 1",
	"127.0.0.1:1 ",
	"127.0.0.1:000001",
	"::1:80",
	"[::1]",
	"[::1]80",
	"[::1:80",
	"[]:80",
	"[127.0.0.1]:80",
	"[host]:80",
	"unix:",
	"1:2:3",
	"127.0.0.1:0x50",
	"127.0.0.1:http",
};

GREEN_TEST(bad_addresses_are_invalid)
{
	char longest[512];

	for (size_t i = 0; i < sizeof(bad_addresses) / sizeof(*bad_addresses); i++) {
		const char *address = bad_addresses[i];
		if (green_listen(address, 0) != -EINVAL || green_connect_host(address) != -EINVAL)
			FAIL("\"%s\" is taken for an address", address);
	}
	CHECK_EQ(green_listen(NULL, 0), -EINVAL);
	CHECK_EQ(green_connect_host(NULL), -EINVAL);
	CHECK_EQ(green_connect_host(":80"), -EINVAL);
	memset(longest, 'a', sizeof(longest));
	strcpy(longest + 400, ":80");
	CHECK_EQ(green_connect_host(longest), -EINVAL);
	memcpy(longest, "unix:/", 6);
	longest[400] = 0;
	CHECK_EQ(green_listen(longest, 0), -EINVAL);
}

static void *send_hello(void *arg)
{
	int fd = green_connect_host(arg);

	if (CHECK_GE(fd, 0)) {
		CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
		CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
		CHECK_EQ(green_send(fd, "hello", 5, 0), 5);
		CHECK_EQ(green_close(fd), 0);
	}
	return NULL;
}

static void meet(int listener, const char *address)
{
	char buf[8];

	green_t client = start_green(send_hello, (void *)(uintptr_t)address);
	int fd = green_accept(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK_GE(fd, 0);
	CHECK_EQ(green_recv(fd, buf, 5, MSG_WAITALL), 5);
	CHECK_EQ(memcmp(buf, "hello", 5), 0);
	CHECK_EQ(green_close(fd), 0);
	join_green(client);
}

static void meet_on(const char *listen_at, const char *connect_to)
{
	char address[128];

	int fd = green_listen(listen_at, 0);
	if (!CHECK_GE(fd, 0))
		return;
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	int port = green_port(fd);
	CHECK_GT(port, 0);
	snprintf(address, sizeof(address), "%s:%d", connect_to, port);
	meet(fd, address);
	/* A second one cannot have the port. */
	snprintf(address, sizeof(address), "%.*s:%d", (int)(strrchr(listen_at, ':') - listen_at),
	         listen_at, port);
	CHECK_EQ(green_listen(address, 0), -EADDRINUSE);
	CHECK_EQ(green_close(fd), 0);
	/* But at once when it has gone, TIME_WAIT or not. */
	fd = green_listen(address, 5);
	CHECK_GE(fd, 0);
	CHECK_EQ(green_port(fd), port);
	CHECK_EQ(green_close(fd), 0);
	snprintf(address, sizeof(address), "%s:%d", connect_to, port);
	CHECK_EQ(green_connect_host(address), -ECONNREFUSED);
}

static bool has_ipv6(void)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool there = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0;

	if (fd >= 0)
		close(fd);
	return there;
}

GREEN_TEST(ipv4)
{
	meet_on("127.0.0.1:0", "127.0.0.1");
}

GREEN_TEST(all_addresses)
{
	meet_on(":0", "127.0.0.1");
}

GREEN_TEST(ipv6)
{
	if (!has_ipv6())
		SKIP("no IPv6 on this machine");
	meet_on("[::1]:0", "[::1]");
	meet_on(":0", "[::1]");
}

GREEN_TEST(names_are_looked_up_beside)
{
	if (!localhost_known())
		SKIP("this system does not know localhost");
	meet_on("localhost:0", "localhost");
}

GREEN_TEST(a_name_that_does_not_exist)
{
	int r = green_connect_host("no-such-host.invalid:80");

	CHECK_EQ(r, -EHOSTUNREACH);
	CHECK_EQ(green_listen("no-such-host.invalid:80", 0), -EHOSTUNREACH);
}

/* Not -EHOSTUNREACH, as if there were no such host. */
GREEN_TEST(a_name_when_descriptors_run_out)
{
	struct rlimit before, none;

	REQUIRE_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 0, before.rlim_max };
	REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_EQ(green_connect_host("localhost:1"), -EMFILE);
	CHECK_EQ(green_listen("localhost:0", 0), -EMFILE);
	REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

GREEN_TEST(local_sockets)
{
	char dir[] = "/tmp/green-net-XXXXXX", address[64];
	struct stat st;

	REQUIRE(mkdtemp(dir) != NULL);
	snprintf(address, sizeof(address), "unix:%s/socket", dir);
	CHECK_EQ(green_connect_host(address), -ENOENT);
	int fd = green_listen(address, 0);
	CHECK_GE(fd, 0);
	CHECK_EQ(green_port(fd), -EINVAL);
	meet(fd, address);
	CHECK_EQ(green_listen(address, 0), -EADDRINUSE);
	CHECK_EQ(green_close(fd), 0);
	CHECK_EQ(stat(address + 5, &st), 0); /* it is the program's to remove */
	CHECK_EQ(green_connect_host(address), -ECONNREFUSED);
	unlink(address + 5);
	rmdir(dir);
}

GREEN_TEST(ports_of_what_has_none)
{
	int fds[2];

	REQUIRE_EQ(pipe(fds), 0);
	CHECK_EQ(green_port(fds[0]), -ENOTSOCK);
	CHECK_EQ(green_port(-1), -EBADF);
	close(fds[0]);
	close(fds[1]);
	int fd = green_socket(AF_INET, SOCK_STREAM, 0);
	CHECK_EQ(green_port(fd), 0); /* not bound */
	green_close(fd);
}

static void *connect_cancelled(void *arg)
{
	green_cancel(green_self());
	return (void *)(intptr_t)green_connect_host(arg);
}

GREEN_TEST(a_cancelled_connect)
{
	char address[64];
	int before = open("/dev/null", O_RDONLY), after;

	close(before);
	int fd = green_listen("127.0.0.1:0", 0);
	snprintf(address, sizeof(address), "127.0.0.1:%d", green_port(fd));
	CHECK_EQ((int)(intptr_t)join_green(start_green(connect_cancelled, address)), -ECANCELED);
	green_close(fd);
	after = open("/dev/null", O_RDONLY);
	CHECK_EQ(after, before); /* nothing is left open */
	close(after);
}

static void *accept_in_os_thread(void *arg)
{
	char buf[8];
	int fd = green_accept(*(int *)arg, NULL, NULL, 0);

	CHECK_GE(fd, 0);
	CHECK_EQ(green_recv(fd, buf, 8, MSG_WAITALL), 5);
	CHECK_EQ(green_close(fd), 0);
	return NULL;
}

TEST(in_os_threads)
{
	char address[64];

	int fd = green_listen("127.0.0.1:0", 0);
	CHECK_GE(fd, 0);
	snprintf(address, sizeof(address), "127.0.0.1:%d", green_port(fd));
	pthread_t t = start_os(accept_in_os_thread, &fd);
	send_hello(address);
	join_os(t);
	CHECK_EQ(green_close(fd), 0);
}

/* As a handle is before green_serve() has run. */
GREEN_TEST(no_server_yet)
{
	CHECK_EQ(green_serve_stop(NULL, GREEN_S(1)), -EINVAL);
	CHECK_EQ(green_serve_connections(NULL), 0);
}
