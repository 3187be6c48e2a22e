/* SPDX-License-Identifier: MIT
 *
 * Connections by name: green_connect_host(), green_listen(), green_port().
 *
 * Numbers are turned into addresses on the spot; names go to getaddrinfo(3) on
 * the offload pool, which may read files, ask servers, and allocate.
 */
#include "io_buffer.h"
#include "io_socket.h"
#include "offload.h"
#include "trace.h"
#include "worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#define ADDRESSES_MAX 16
#define HOST_MAX 256 /* a DNS name has at most 253 characters */
#define BACKLOG_DEFAULT 4096

struct target {
	char host[HOST_MAX];
	char port[6];
	bool any;     /* no host: all addresses */
	bool v6;      /* in brackets */
	bool numeric; /* only numbers are allowed */
	int error;    /* of the lookup */
	unsigned count;
	struct address {
		socklen_t size;
		union {
			struct sockaddr any;
			struct sockaddr_in in;
			struct sockaddr_in6 in6;
			struct sockaddr_un un;
		} at;
	} addresses[ADDRESSES_MAX];
};
_Static_assert(sizeof(struct target) <= IO_BUFFER_SIZE, "a target fits into a buffer");

/* ---- text ------------------------------------------------------------------------- */

/* Digits only, 0 … 65,535. */
static int parse_port(const char *text, uint16_t *port)
{
	unsigned value = 0;
	size_t n = strlen(text);

	if (n == 0 || n > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(*text - '0');
	}
	if (value > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)value;
	return 0;
}

/* Splits "host:port", ":port" and "[v6]:port". */
static int split(const char *text, struct target *t, uint16_t *port)
{
	const char *host = text, *end, *colon;

	if (*text == '[') {
		host = text + 1;
		end = strchr(host, ']');
		if (!end || end == host || end[1] != ':')
			return -EINVAL;
		colon = end + 1;
		t->v6 = true;
	} else {
		end = colon = strchr(text, ':');
		if (!colon || strchr(colon + 1, ':'))
			return -EINVAL; /* a v6 address needs its brackets */
	}
	size_t n = (size_t)(end - host);
	if (n >= sizeof(t->host) || parse_port(colon + 1, port) < 0)
		return -EINVAL;
	memcpy(t->host, host, n);
	t->host[n] = '\0';
	t->any = n == 0;
	memcpy(t->port, colon + 1, strlen(colon + 1) + 1);
	return 0;
}

/* ---- addresses ---------------------------------------------------------------------- */

static void add_v4(struct target *t, struct in_addr host, uint16_t port)
{
	struct address *a = &t->addresses[t->count++];

	a->size = sizeof(a->at.in);
	a->at.in = (struct sockaddr_in){ .sin_family = AF_INET,
		                         .sin_port = htons(port),
		                         .sin_addr = host };
}

static void add_v6(struct target *t, struct in6_addr host, uint16_t port)
{
	struct address *a = &t->addresses[t->count++];

	a->size = sizeof(a->at.in6);
	a->at.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
		                           .sin6_port = htons(port),
		                           .sin6_addr = host };
}

static int add_unix(struct target *t, const char *path)
{
	struct address *a = &t->addresses[0];
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(a->at.un.sun_path))
		return -EINVAL;
	memset(&a->at.un, 0, sizeof(a->at.un));
	a->at.un.sun_family = AF_UNIX;
	memcpy(a->at.un.sun_path, path, n + 1);
	a->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	t->count = 1;
	return 0;
}

/* On the offload pool. */
static void *look_up(void *arg)
{
	struct target *t = arg;
	struct addrinfo hints = { .ai_family = t->v6 ? AF_INET6 : AF_UNSPEC,
		                  .ai_socktype = SOCK_STREAM,
		                  .ai_flags = AI_NUMERICSERV |
		                              (t->numeric ? AI_NUMERICHOST : AI_ADDRCONFIG) };
	struct addrinfo *list = NULL;

	errno = 0;
	switch (getaddrinfo(t->host, t->port, &hints, &list)) {
	case 0:
		break;
	case EAI_MEMORY:
		t->error = -ENOMEM;
		return NULL;
	default:
		t->error = t->numeric ? -EINVAL : -EHOSTUNREACH;
		/* It could not ask: libc says EAI_NONAME then, too. */
		if (errno == EMFILE || errno == ENFILE)
			t->error = -errno;
		return NULL;
	}
	for (struct addrinfo *ai = list; ai && t->count < ADDRESSES_MAX; ai = ai->ai_next) {
		struct address *a = &t->addresses[t->count];
		if (ai->ai_addrlen > sizeof(a->at))
			continue;
		memcpy(&a->at, ai->ai_addr, ai->ai_addrlen);
		a->size = ai->ai_addrlen;
		t->count++;
	}
	freeaddrinfo(list);
	t->error = t->count ? 0 : -EHOSTUNREACH;
	return NULL;
}

/* Fills in the addresses that text stands for, but for a name: -EAGAIN then. */
static int parse(const char *text, struct target *t)
{
	struct in_addr v4;
	struct in6_addr v6;
	uint16_t port;

	memset(t, 0, offsetof(struct target, addresses));
	if (!text)
		return -EINVAL;
	if (strncmp(text, "unix:", 5) == 0)
		return add_unix(t, text + 5);
	if (split(text, t, &port) < 0)
		return -EINVAL;
	if (t->any) {
		add_v6(t, in6addr_any, port);
		add_v4(t, (struct in_addr){ 0 }, port);
	} else if (t->v6 && inet_pton(AF_INET6, t->host, &v6) == 1) {
		add_v6(t, v6, port);
	} else if (!t->v6 && inet_pton(AF_INET, t->host, &v4) == 1) {
		add_v4(t, v4, port);
	}
	t->numeric = t->v6; /* with a scope: "fe80::1%eth0" */
	return t->count ? 0 : -EAGAIN;
}

/* The target of text, in a buffer; NULL and *error.  A caller that is cancelled
 * does not wait for the lookup. */
static struct target *resolve(const char *text, int *error, void *pc)
{
	struct target *t = io_buffer_get();
	bool left = false;

	*error = -ENOMEM;
	if (!t)
		return NULL;
	*error = parse(text, t);
	if (*error == -EAGAIN && gt_self()) {
		*error = offload_leave(look_up, t, io_buffer_put, &left, pc);
		if (left)
			return NULL;
		if (*error == 0)
			*error = t->error;
		else if (*error == -EAGAIN) /* no thread */
			*error = -ENOMEM;
	} else if (*error == -EAGAIN) {
		look_up(t);
		*error = t->error;
	}
	if (*error == 0)
		return t;
	io_buffer_put(t);
	return NULL;
}

/* ---- connecting ---------------------------------------------------------------------- */

/* The socket is this library's own until it is returned, so it may be
 * O_NONBLOCK while it connects; the caller gets it as socket(2) makes it. */
static int connect_one(const struct address *a, void *pc)
{
	struct io_call call;

	int fd = (int)sys3(SYS_socket, a->at.any.sa_family,
	                   SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	fd_made(fd, FD_SOCKET | FD_STREAM);
	io_call_begin(&call, fd, pc);
	long r = io_connect_nonblocking(&call, &a->at.any, a->size);
	if (r == 0)
		r = sys3(SYS_fcntl, fd, F_SETFL, 0);
	if (r < 0) {
		fd_close(fd, pc);
		return (int)r;
	}
	return fd;
}

static int connect_any(const struct target *t, void *pc)
{
	int r = t->any ? -EINVAL : -EHOSTUNREACH;

	for (unsigned i = 0; !t->any && i < t->count; i++) {
		r = connect_one(&t->addresses[i], pc);
		if (r >= 0 || r == -ECANCELED)
			break;
		/* The caller's time is over; or only this address did not answer. */
		struct gt *self = gt_self();
		if (r == -ETIMEDOUT && self && park_check(self) < 0)
			break;
	}
	return r;
}

int green_connect_host(const char *address)
{
	void *pc = PARK_PC;
	int r;

	trace_enter(pc, PARK_IO, (uint64_t)-1);
	struct target *t = resolve(address, &r, pc);
	if (!t)
		return r;
	r = connect_any(t, pc);
	io_buffer_put(t);
	return r;
}

/* ---- listening ----------------------------------------------------------------------- */

static int listen_one(const struct address *a, int backlog)
{
	int on = 1, off = 0;

	int fd = (int)sys3(SYS_socket, a->at.any.sa_family,
	                   SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	if (a->at.any.sa_family != AF_UNIX)
		sys5(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->at.any.sa_family == AF_INET6) {
		bool all = IN6_IS_ADDR_UNSPECIFIED(&a->at.in6.sin6_addr);
		sys5(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_V6ONLY, all ? &off : &on, sizeof(on));
	}
	long r = sys3(SYS_bind, fd, &a->at, a->size);
	if (r == 0)
		r = sys2(SYS_listen, fd, backlog);
	if (r < 0) {
		sys1(SYS_close, fd);
		return (int)r;
	}
	fd_made(fd, FD_SOCKET);
	return fd;
}

int green_listen(const char *address, int backlog)
{
	int r;

	trace_enter(PARK_PC, PARK_IO, (uint64_t)-1);
	struct target *t = resolve(address, &r, PARK_PC);
	if (!t)
		return r;
	if (backlog <= 0)
		backlog = BACKLOG_DEFAULT;
	for (unsigned i = 0; i < t->count; i++) {
		r = listen_one(&t->addresses[i], backlog);
		/* The next one is for hosts without IPv6, and for names of which not
		 * all addresses are this machine's.  A port that is in use is in use:
		 * half of the clients would find the other server. */
		if (r != -EAFNOSUPPORT && r != -EADDRNOTAVAIL)
			break;
	}
	io_buffer_put(t);
	return r;
}

int green_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_storage room;
	} at;
	socklen_t size = sizeof(at);

	if (fd_is_private(fd))
		return -EBADF;
	long r = sys3(SYS_getsockname, fd, &at, &size);
	if (r < 0)
		return (int)r;
	switch (at.any.sa_family) {
	case AF_INET:
		return ntohs(at.in.sin_port);
	case AF_INET6:
		return ntohs(at.in6.sin6_port);
	default:
		return -EINVAL;
	}
}
