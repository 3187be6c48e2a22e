/* SPDX-License-Identifier: MIT
 *
 * A client that watches what becomes of the others while one request keeps a
 * worker of the server busy.
 *
 *	stuckprobe PORT CONNECTIONS PATH WATCH_MS
 *
 * Opens keep-alive connections and has PATH answered on each.  Then it asks for
 * /_spin on one more, and waits until that has begun.  From then on each connection
 * asks for PATH again and again, and new connections are opened: for WATCH_MS and
 * until the server has found the worker stuck.  Whoever has been answered, and each
 * new connection, is waited for; only then the spin is told to end.  So nothing but
 * the timeouts depends on how fast the machine is.  Prints, one a line:
 *
 *	spin_ms N       from the spin's beginning until it was told to end
 *	answered N      connections that got an answer meanwhile
 *	cut_off N       those among them that later waited until the spin's end
 *	late_us N       the longest wait of an answer on them
 *	new N           new connections opened meanwhile
 *	new_answered N  those among them that got an answer meanwhile
 *	found_stuck N   how often the server found a worker stuck meanwhile
 *	afterwards N    connections that got an answer in the end
 *	gap_ms N        the longest time that this program itself was not run
 *
 * Exit status: 0, or 1 for an error, which is printed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NEW_MAX 50
#define NEW_EVERY_US 20000
#define AGAIN_US 30000 /* a connection's pause between two requests */
#define STATUS "/_status"
#define TIMEOUT_US 30000000
#define SPIN_MS 60000 /* unless it is told to end, which is earlier by all timeouts */

struct client {
	int fd;
	bool waiting, is_new;
	int64_t sent_us;     /* the last request */
	int64_t answered_us; /* the last answer */
	int answers;         /* since the spin began */
	size_t len;
	char buf[2048];
};

static struct client *clients;
static struct pollfd *polls;
static int count, opened, port;
static const char *path;
static int64_t watch_us, late_us, gap_us;
static int stuck_before, stuck_now; /* how often, by STATUS */

static void die(const char *what)
{
	fprintf(stderr, "stuckprobe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static struct client *open_client(bool is_new)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)port),
	};
	struct client *c = &clients[opened];
	int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->is_new = is_new;
	polls[opened++] = (struct pollfd){ c->fd, POLLIN, 0 };
	return c;
}

static void ask(struct client *c, const char *what)
{
	char request[256];
	c->sent_us = now_us();
	int n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", what);

	if (send(c->fd, request, (size_t)n, MSG_NOSIGNAL) != n)
		die("send");
	c->waiting = true;
	c->len = 0;
}

/* Reads what there is. */
static bool receive(struct client *c)
{
	ssize_t n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0)
		die("receive");
	c->len += (size_t)n;
	c->buf[c->len] = '\0';
	return true;
}

/* Reads what there is; true when the answer is whole. */
static bool answered(struct client *c)
{
	if (!receive(c))
		return false;
	const char *body = strstr(c->buf, "\r\n\r\n");
	const char *length = strstr(c->buf, "Content-Length: ");
	if (!body)
		return false;
	if (strncmp(c->buf, "HTTP/1.1 200", 12) != 0 || !length)
		die(c->buf);
	if (c->len < (size_t)(body + 4 - c->buf) + strtoul(length + 16, NULL, 10))
		return false;
	c->waiting = false;
	c->answered_us = now_us();
	c->answers++;
	return true;
}

/* Takes answers for up to 5 ms. */
static void listen_to_all(void)
{
	if (poll(polls, (nfds_t)opened, 5) < 0)
		die("poll");
	for (int i = 0; i < opened; i++)
		if (polls[i].revents && clients[i].waiting)
			answered(&clients[i]);
}

/* Of those who wait; settled_only: of the new ones and those who have been answered. */
static int waiting(bool settled_only)
{
	int n = 0;

	for (int i = settled_only; i < opened; i++) {
		const struct client *c = &clients[i];
		n += c->waiting && (!settled_only || c->is_new || c->answers > 0);
	}
	return n;
}

static void await_all(void)
{
	int64_t end_us = now_us() + TIMEOUT_US;

	while (waiting(false) && now_us() < end_us)
		listen_to_all();
}

/* One after the other, so that the server has reason to share them evenly. */
static void open_all(void)
{
	for (int i = 0; i < count; i++) {
		ask(open_client(false), path);
		await_all();
		if (waiting(false))
			die("a connection is not answered");
		clients[i].answers = 0;
	}
}

/* How often the server has found a worker stuck: from the answer to STATUS. */
static int stuck_figure(const struct client *c)
{
	const char *figure = strstr(c->buf, "\"stuck\":");

	if (!figure)
		die("no figure of stuck workers");
	return atoi(figure + 8);
}

static void begin_spin(struct client *c)
{
	static const char processing[] = "HTTP/1.1 102 Processing\r\n\r\n";
	int64_t end_us = now_us() + TIMEOUT_US;
	char spin_path[64];

	ask(c, STATUS);
	await_all();
	if (c->waiting)
		die("the status is not answered");
	stuck_before = stuck_figure(c);
	snprintf(spin_path, sizeof(spin_path), "/_spin?ms=%d", SPIN_MS);
	ask(c, spin_path);
	while (!receive(c)) {
		if (now_us() > end_us)
			die("the spin does not begin");
		usleep(1000);
	}
	if (strcmp(c->buf, processing) != 0)
		die(c->buf);
	c->len = 0;
}

/* Having no more to say ends it. */
static void end_spin(const struct client *c)
{
	if (shutdown(c->fd, SHUT_WR) != 0)
		die("shutdown");
}

/* The first new connection asks for the status. */
static void ask_again(int64_t now, int64_t *next_new_us)
{
	if (now >= *next_new_us && opened < count + NEW_MAX) {
		struct client *c = open_client(true);
		ask(c, opened == count + 1 ? STATUS : path);
		*next_new_us = now + NEW_EVERY_US;
	}
	for (int i = 1; i < opened; i++)
		if (!clients[i].waiting && now - clients[i].answered_us > AGAIN_US)
			ask(&clients[i], i == count ? STATUS : path);
}

static void listen_to_others(void)
{
	if (poll(polls, (nfds_t)opened, 5) < 0)
		die("poll");
	if (polls[0].revents)
		die("the spin has ended of its own");
	for (int i = 1; i < opened; i++) {
		struct client *c = &clients[i];
		if (!polls[i].revents || !c->waiting || !answered(c))
			continue;
		if (c->answered_us - c->sent_us > late_us)
			late_us = c->answered_us - c->sent_us;
		if (i == count)
			stuck_now = stuck_figure(c);
	}
}

static bool seen_enough(int64_t watched_us)
{
	return watched_us >= watch_us && opened == count + NEW_MAX && stuck_now > stuck_before;
}

static void watch(void)
{
	int64_t began_us = now_us(), now = began_us, next_new_us = began_us;
	bool enough = false;

	while (now - began_us < TIMEOUT_US && !(enough && !waiting(true))) {
		enough = enough || seen_enough(now - began_us);
		if (!enough)
			ask_again(now, &next_new_us);
		listen_to_others();
		const int64_t before = now;
		now = now_us();
		if (now - before > gap_us)
			gap_us = now - before;
	}
}

static void report(int64_t spin_us)
{
	int ever = 0, cut_off = 0, new_answered = 0, now_waiting = 0;

	for (int i = 1; i < opened; i++) {
		const struct client *c = &clients[i];
		if (c->is_new) {
			new_answered += c->answers > 0;
		} else if (c->answers > 0) {
			ever++;
			cut_off += c->waiting;
		}
	}
	end_spin(&clients[0]);
	await_all();
	for (int i = 1; i < opened; i++)
		now_waiting += clients[i].waiting;
	printf("spin_ms %lld\nanswered %d\ncut_off %d\nlate_us %lld\nnew %d\nnew_answered %d\n"
	       "found_stuck %d\nafterwards %d\ngap_ms %lld\n",
	       (long long)spin_us / 1000, ever, cut_off, (long long)late_us, opened - count,
	       new_answered, stuck_now - stuck_before, count - 1 - now_waiting,
	       (long long)gap_us / 1000);
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "Usage: stuckprobe PORT CONNECTIONS PATH WATCH_MS\n");
		return 1;
	}
	port = atoi(argv[1]);
	count = atoi(argv[2]) + 1;
	path = argv[3];
	watch_us = atoi(argv[4]) * INT64_C(1000);
	clients = calloc((size_t)(count + NEW_MAX), sizeof(*clients));
	polls = calloc((size_t)(count + NEW_MAX), sizeof(*polls));
	if (!clients || !polls)
		die("calloc");
	open_all();
	begin_spin(&clients[0]);
	int64_t began_us = now_us();
	watch();
	report(now_us() - began_us);
	return 0;
}
