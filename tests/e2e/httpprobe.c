/* SPDX-License-Identifier: MIT
 *
 * A client that does to a server what curl and wrk do not: bytes one by one,
 * half-closed sockets, resets, slow reading, sockets handed over.
 *
 *	httpprobe send [--bytewise] [--half-close] [--slow-read] PORT
 *		Sends standard input, prints what comes back until the server
 *		closes.
 *	httpprobe reset PORT COUNT
 *		COUNT times: sends standard input, reads a little, resets.
 *	httpprobe hold PORT COUNT
 *		Opens COUNT connections, sends standard input on each, prints
 *		"ready" when each has been answered, and then for how many
 *		milliseconds all of them stayed open.
 *	httpprobe listen COMMAND...
 *		Runs COMMAND with a listening socket as descriptor 3, as a
 *		service manager does.
 *
 * Exit status: 0; 1 for an error of its own; 3 when the server reset the
 * connection; 4 when it took longer than 20 s.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX (1 << 20)
#define TIMEOUT_S 20

static char input[INPUT_MAX];
static size_t input_len;

static void die(const char *what)
{
	perror(what);
	exit(errno == ECONNRESET || errno == EPIPE ? 3 : errno == EAGAIN ? 4 : 1);
}

static void read_input(void)
{
	input_len = fread(input, 1, sizeof(input), stdin);
	if (ferror(stdin) || input_len == sizeof(input)) {
		fprintf(stderr, "httpprobe: standard input is too long\n");
		exit(1);
	}
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)port),
	};
}

static int connect_to(int port, int receive_buffer)
{
	struct sockaddr_in address = loopback(port);
	struct timeval timeout = { .tv_sec = TIMEOUT_S };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (receive_buffer > 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("connect");
	return fd;
}

/* Sends the input in pieces of step bytes.  A server that has heard enough may
 * close before the end: what it said is what counts. */
static void send_input(int fd, size_t step)
{
	size_t at = 0;

	while (at < input_len) {
		size_t len = input_len - at < step ? input_len - at : step;
		ssize_t n = send(fd, input + at, len, MSG_NOSIGNAL);

		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return;
		if (n < 0)
			die("send");
		at += (size_t)n;
		if (step < input_len)
			usleep(200);
	}
}

static int cmd_send(int argc, char **argv)
{
	bool bytewise = false, half_close = false, slow_read = false;
	static char buf[65536];
	ssize_t n;

	for (; argc > 1; argc--, argv++) {
		bytewise |= strcmp(argv[0], "--bytewise") == 0;
		half_close |= strcmp(argv[0], "--half-close") == 0;
		slow_read |= strcmp(argv[0], "--slow-read") == 0;
	}
	read_input();
	int fd = connect_to(atoi(argv[0]), slow_read ? 4096 : 0);
	send_input(fd, bytewise ? 1 : sizeof(input));
	if (half_close)
		shutdown(fd, SHUT_WR);
	while ((n = recv(fd, buf, slow_read ? 8192 : sizeof(buf), 0)) > 0) {
		fwrite(buf, 1, (size_t)n, stdout);
		if (slow_read)
			usleep(2000);
	}
	fflush(stdout);
	if (n < 0)
		die("recv");
	return 0;
}

static int cmd_reset(int port, int count)
{
	struct linger hard = { .l_onoff = 1 };
	char buf[100];

	read_input();
	for (int i = 0; i < count; i++) {
		int fd = connect_to(port, 4096);

		send_input(fd, sizeof(input));
		if (recv(fd, buf, sizeof(buf), 0) <= 0)
			die("recv");
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
	}
	return 0;
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static int cmd_hold(int port, int count)
{
	int *fds = calloc((size_t)count, sizeof(*fds));
	static char buf[65536];

	if (!fds)
		die("calloc");
	read_input();
	for (int i = 0; i < count; i++) {
		fds[i] = connect_to(port, 0);
		send_input(fds[i], sizeof(input));
		if (input_len > 0 && recv(fds[i], buf, sizeof(buf), 0) <= 0)
			die("recv");
	}
	printf("ready\n");
	fflush(stdout);
	long long began = now_ms();
	for (int i = 0; i < count; i++) {
		ssize_t n;

		while ((n = recv(fds[i], buf, sizeof(buf), 0)) > 0)
			;
		if (n < 0)
			die("recv");
		close(fds[i]);
	}
	printf("%lld\n", now_ms() - began);
	free(fds);
	return 0;
}

static int cmd_listen(char **command)
{
	struct sockaddr_in address = loopback(0);
	char pid[32];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(fd, 128) != 0 || dup2(fd, 3) != 3)
		die("listen");
	if (fd != 3)
		close(fd);
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	execvp(command[0], command);
	die(command[0]);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "send") == 0)
		return cmd_send(argc - 2, argv + 2);
	if (argc == 4 && strcmp(argv[1], "reset") == 0)
		return cmd_reset(atoi(argv[2]), atoi(argv[3]));
	if (argc == 4 && strcmp(argv[1], "hold") == 0)
		return cmd_hold(atoi(argv[2]), atoi(argv[3]));
	if (argc >= 3 && strcmp(argv[1], "listen") == 0)
		return cmd_listen(argv + 2);
	fprintf(stderr, "Usage: httpprobe send|reset|hold|listen ...; see its source\n");
	return 1;
}
