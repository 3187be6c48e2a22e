/* SPDX-License-Identifier: MIT
 *
 * Asking the kernel: a duplicate of the socket knows its addresses, in whatever network
 * namespace it is; all else has a name in /proc.
 */
#include "descriptor_text.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void address_text(char *to, size_t size, const struct sockaddr_storage *from, socklen_t n)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)from;
	const struct sockaddr_un *un = (const struct sockaddr_un *)from;
	char host[INET6_ADDRSTRLEN] = "?";

	switch (from->ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &four->sin_addr, host, sizeof(host));
		snprintf(to, size, "%s:%u", host, ntohs(four->sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof(host));
		snprintf(to, size, "[%s]:%u", host, ntohs(six->sin6_port));
		break;
	case AF_UNIX:
		if (n > offsetof(struct sockaddr_un, sun_path) && un->sun_path[0])
			snprintf(to, size, "unix %.*s", (int)sizeof(un->sun_path), un->sun_path);
		else
			snprintf(to, size, "unix");
		break;
	default:
		snprintf(to, size, "socket of family %u", from->ss_family);
	}
}

/* The peer's address, or what it listens on or is bound to. */
static int socket_text(char *to, size_t size, int pidfd, int fd)
{
	struct sockaddr_storage address;
	socklen_t n = sizeof(address);
	int listens = 0;
	socklen_t length = sizeof(listens);
	int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	if (copy < 0)
		return -1;
	memset(&address, 0, sizeof(address));
	getsockopt(copy, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length);
	int r = listens ? -1 : getpeername(copy, (struct sockaddr *)&address, &n);
	if (r != 0) {
		n = sizeof(address);
		r = getsockname(copy, (struct sockaddr *)&address, &n);
	}
	close(copy);
	if (r != 0)
		return -1;
	int used = snprintf(to, size, "%d: %s", fd, listens ? "listening on " : "");
	address_text(to + used, size - (size_t)used, &address, n);
	return 0;
}

void descriptor_text(char *to, size_t size, pid_t pid, int pidfd, int fd)
{
	char path[64], name[PATH_MAX];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
	ssize_t n = readlink(path, name, sizeof(name) - 1);
	name[n > 0 ? n : 0] = 0;
	if (n <= 0)
		snprintf(to, size, "%d", fd);
	else if (strncmp(name, "socket:", 7) == 0 && socket_text(to, size, pidfd, fd) == 0)
		return;
	else if (strncmp(name, "pipe:", 5) == 0 || strncmp(name, "socket:", 7) == 0)
		snprintf(to, size, "%d: %.*s", fd, (int)strcspn(name, ":"), name);
	else
		snprintf(to, size, "%d: %s", fd, name);
}
