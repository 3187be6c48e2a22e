/* SPDX-License-Identifier: MIT
 *
 * Getting a listening socket.
 */
#include "listen.h"
#include "config.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define HANDED_OVER_FD 3

/* Whether the environment hands a socket to this very process; it is meant for
 * us only, so our children shall not see it. */
static bool handed_over(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	bool ours =
		pid && count && strtol(pid, NULL, 10) == getpid() && strtol(count, NULL, 10) > 0;

	if (ours && strtol(count, NULL, 10) > 1)
		fprintf(stderr, "httpd: LISTEN_FDS=%s: only the first socket is used\n", count);
	if (ours) {
		unsetenv("LISTEN_PID");
		unsetenv("LISTEN_FDS");
		unsetenv("LISTEN_FDNAMES");
	}
	return ours;
}

static bool is_listening(int fd)
{
	int listening = 0, type = 0;
	socklen_t len = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

int listen_open(void)
{
	int fd;

	if (handed_over()) {
		if (!is_listening(HANDED_OVER_FD)) {
			fprintf(stderr,
			        "httpd: LISTEN_FDS: descriptor %d is no listening stream "
			        "socket\n",
			        HANDED_OVER_FD);
			return -1;
		}
		fcntl(HANDED_OVER_FD, F_SETFD, FD_CLOEXEC);
		return HANDED_OVER_FD;
	}
	fd = green_listen(config.listen, 0);
	if (fd < 0) {
		fprintf(stderr,
		        "httpd: --listen %s: %s; it takes host:port, :port, [v6]:port or "
		        "unix:/path, and port 0 picks a free one\n",
		        config.listen, strerror(-fd));
		return -1;
	}
	return fd;
}

void listen_describe(int fd, char *out, size_t size)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	} address = { .any.sa_family = AF_UNSPEC };
	socklen_t len = sizeof(address);
	char host[INET6_ADDRSTRLEN];

	getsockname(fd, &address.any, &len);
	if (address.any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &address.v4.sin_addr, host, sizeof(host));
		snprintf(out, size, "%s:%u", host, ntohs(address.v4.sin_port));
	} else if (address.any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &address.v6.sin6_addr, host, sizeof(host));
		snprintf(out, size, "[%s]:%u", host, ntohs(address.v6.sin6_port));
	} else {
		snprintf(out, size, "unix:%.*s", (int)sizeof(address.local.sun_path),
		         address.local.sun_path);
	}
}
