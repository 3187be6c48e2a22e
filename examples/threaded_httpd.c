/* SPDX-License-Identifier: MIT
 *
 * A small HTTP/1.1 server the classic way, for comparison with httpd: one POSIX
 * thread per connection, blocking calls, no libgreen.
 *
 *	threaded_httpd [--listen HOST:PORT] [--root DIR] [--status]
 *
 * It does what a fair comparison needs and no more: GET and HEAD of static
 * files with keep-alive and pipelining, and /_status.  Threads get small stacks
 * (64 KiB), head and small body go out in one call, nothing is allocated per
 * request.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STACK_SIZE 65536
#define HEAD_MAX 4096
#define SMALL_FILE_MAX 4096
#define IDLE_TIMEOUT_S 60

static int root_fd;
static atomic_size_t connections;
static atomic_ullong requests;

static void die(const char *what)
{
	fprintf(stderr, "threaded_httpd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool send_all(int fd, const char *data, size_t len, int flags)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, flags | MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static int print_head(char *out, size_t size, const char *status, const char *type,
                      long long length, bool keep)
{
	return snprintf(out, size,
	                "HTTP/1.1 %s\r\nServer: threaded-httpd\r\nContent-Type: %s\r\n"
	                "Content-Length: %lld\r\n%s\r\n",
	                status, type, length, keep ? "" : "Connection: close\r\n");
}

static bool send_page(int fd, const char *status, const char *type, const char *page, bool keep)
{
	char out[1024];
	int len = print_head(out, sizeof(out), status, type, (long long)strlen(page), keep);

	len += snprintf(out + len, sizeof(out) - (size_t)len, "%s", page);
	return send_all(fd, out, (size_t)len, 0) && keep;
}

static bool send_status(int fd, bool keep)
{
	char proc[4096], page[512];
	int proc_fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = proc_fd >= 0 ? read(proc_fd, proc, sizeof(proc) - 1) : 0;

	close(proc_fd);
	proc[n > 0 ? n : 0] = '\0';
	const char *rss = strstr(proc, "VmRSS:"), *tables = strstr(proc, "VmPTE:");
	const char *threads = strstr(proc, "Threads:");
	snprintf(page, sizeof(page),
	         "{\"engine\":\"pthreads\",\"connections\":%zu,\"requests\":%llu,"
	         "\"rss_bytes\":%lld,\"page_table_bytes\":%lld,\"os_threads\":%lld,\"cpu_us\":%lld}"
	         "\n",
	         connections, (unsigned long long)requests, rss ? atoll(rss + 6) * 1024 : 0,
	         tables ? atoll(tables + 6) * 1024 : 0, threads ? atoll(threads + 8) : 0,
	         (long long)clock() * 1000000 / CLOCKS_PER_SEC);
	return send_page(fd, "200 OK", "application/json", page, keep);
}

/* A file by one open, one send when it is small, else by sendfile. */
static bool send_file(int fd, const char *name, bool head_only, bool keep)
{
	char out[512 + SMALL_FILE_MAX];
	int file = openat(root_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	off_t offset = 0;
	bool sent;

	if (file < 0 || fstat(file, &st) != 0 || !S_ISREG(st.st_mode)) {
		if (file >= 0)
			close(file);
		return send_page(fd, "404 Not Found", "text/plain", "404 Not Found\n", keep);
	}
	int len = print_head(out, 512, "200 OK", "application/octet-stream", st.st_size, keep);
	bool small = !head_only && st.st_size <= SMALL_FILE_MAX;
	ssize_t n = small ? pread(file, out + len, (size_t)st.st_size, 0) : 0;
	sent = send_all(fd, out, (size_t)len + (n > 0 ? (size_t)n : 0),
	                head_only || small ? 0 : MSG_MORE);
	while (sent && !small && !head_only && offset < st.st_size)
		sent = sendfile(fd, file, &offset, (size_t)(st.st_size - offset)) > 0;
	close(file);
	return sent && keep && (!small || n == st.st_size);
}

/* Answers the request whose head is the text.  False: close. */
static bool answer(int fd, char *head)
{
	char *method_end = strchr(head, ' ');
	char *path = method_end ? method_end + 1 : NULL;
	char *path_end = path ? strpbrk(path, " ?\r\n") : NULL;
	bool keep = strstr(head, " HTTP/1.1\r\n") && !strcasestr(head, "\nconnection: close");

	if (!path_end || *path != '/' || strcasestr(head, "\ntransfer-encoding:") ||
	    strcasestr(head, "\ncontent-length:"))
		return send_page(fd, "400 Bad Request", "text/plain", "400 Bad Request\n", false);
	*method_end = *path_end = '\0';
	bool head_only = strcmp(head, "HEAD") == 0;
	atomic_fetch_add_explicit(&requests, 1, memory_order_relaxed);
	if (!head_only && strcmp(head, "GET") != 0)
		return send_page(fd, "501 Not Implemented", "text/plain", "501\n", false);
	if (strcmp(path, "/_status") == 0)
		return send_status(fd, keep);
	if (strstr(path, "/."))
		return send_page(fd, "404 Not Found", "text/plain", "404 Not Found\n", keep);
	path += strspn(path, "/");
	return send_file(fd, *path != '\0' ? path : "index.html", head_only, keep);
}

static void serve(int fd)
{
	char buf[HEAD_MAX + 1];
	size_t len = 0;
	bool keep = true;

	while (keep) {
		ssize_t n = recv(fd, buf + len, HEAD_MAX - len, 0);
		char *at = buf, *end;

		if (n <= 0)
			return;
		len += (size_t)n;
		buf[len] = '\0';
		while (keep && (end = strstr(at, "\r\n\r\n"))) {
			end[2] = '\0'; /* the empty line's CR */
			keep = answer(fd, at);
			at = end + 4;
		}
		len -= (size_t)(at - buf);
		memmove(buf, at, len);
		if (len == HEAD_MAX)
			keep = send_page(fd, "431 Request Header Fields Too Large", "text/plain",
			                 "431\n", false);
	}
}

static void *connection(void *arg)
{
	int fd = (int)(long)arg, on = 1;
	struct timeval timeout = { .tv_sec = IDLE_TIMEOUT_S };

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	serve(fd);
	close(fd);
	atomic_fetch_sub(&connections, 1);
	return NULL;
}

static void accept_connections(int listening)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (;;) {
		int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0) {
			usleep(errno == EMFILE ? 10000 : 0);
			continue;
		}
		atomic_fetch_add(&connections, 1);
		if (pthread_create(&thread, &attr, connection, (void *)(long)fd) != 0) {
			atomic_fetch_sub(&connections, 1);
			send_page(fd, "503 Service Unavailable", "text/plain", "503\n", false);
			close(fd);
		}
	}
}

static int listen_on(char *address)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	char *colon = strrchr(address, ':');
	int fd, on = 1;

	if (colon)
		*colon = '\0';
	if (!colon || getaddrinfo(address, colon + 1, &hints, &found) != 0) {
		fprintf(stderr, "threaded_httpd: --listen takes HOST:PORT\n");
		exit(2);
	}
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 4096) != 0)
		die("--listen");
	freeaddrinfo(found);
	return fd;
}

int main(int argc, char **argv)
{
	char address[128] = "127.0.0.1:8080";
	const char *root = ".";
	struct sockaddr_in bound = { 0 };
	socklen_t len = sizeof(bound);
	struct rlimit limit;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--listen") == 0 && i + 1 < argc)
			snprintf(address, sizeof(address), "%s", argv[++i]);
		else if (strcmp(argv[i], "--root") == 0 && i + 1 < argc)
			root = argv[++i];
		else if (strcmp(argv[i], "--status") != 0) {
			bool help = strcmp(argv[i], "--help") == 0;
			fprintf(help ? stdout : stderr,
			        "Usage: threaded_httpd [--listen HOST:PORT] [--root DIR]\n");
			return help ? 0 : 2;
		}
	}
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		die("--root");
	int listening = listen_on(address);
	getsockname(listening, (struct sockaddr *)&bound, &len);
	printf("listening on %s:%d\n", address, ntohs(bound.sin_port));
	fflush(stdout);
	accept_connections(listening);
}
