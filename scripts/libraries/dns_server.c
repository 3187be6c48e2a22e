/* SPDX-License-Identifier: MIT
 *
 * A name server on 127.0.0.1:53 of a network namespace of its own, whose loopback
 * interface it brings up: that hA-B.… has the address 10.B.(A / 256).(A % 256), and no IPv6,
 * 100 ms after it was asked.  Prints a line when it serves.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define QUEUE 4096
#define PACKET 512
#define HEADER 12
#define DELAY_MS 100

static struct query {
	int64_t due_ms;
	struct sockaddr_in from;
	size_t size;
	uint8_t packet[PACKET];
} queue[QUEUE]; /* all wait as long, so who came first is due first */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool interface_up(int fd)
{
	struct ifreq request = { .ifr_name = "lo" };

	request.ifr_flags = IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

/* The end of the question's name; 0: it has none. */
static size_t end_of_name(const struct query *q)
{
	size_t at = HEADER;

	while (at < q->size && q->packet[at])
		at += q->packet[at] + 1u;
	return at + 5 <= q->size ? at : 0;
}

static void answer(int fd, struct query *q)
{
	static const uint8_t record[] = { 0xc0, HEADER, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4 };
	size_t end = end_of_name(q), size = end + 5;
	unsigned a = 0, b = 0;
	bool is_a = end && q->packet[end + 2] == 1;

	if (!end || size + sizeof(record) + 4 > PACKET)
		return;
	sscanf((const char *)q->packet + HEADER + 1, "h%u-%u", &a, &b);
	q->packet[2] = 0x81; /* an answer, recursion was asked for */
	q->packet[3] = 0x80; /* no error */
	memset(q->packet + 6, 0, 6);
	q->packet[7] = is_a;
	if (is_a) {
		const uint8_t address[] = { 10, (uint8_t)b, (uint8_t)(a / 256), (uint8_t)a };
		memcpy(q->packet + size, record, sizeof(record));
		memcpy(q->packet + size + sizeof(record), address, sizeof(address));
		size += sizeof(record) + sizeof(address);
	}
	sendto(fd, q->packet, size, 0, (struct sockaddr *)&q->from, sizeof(q->from));
}

int main(void)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(53) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	size_t first = 0, last = 0;

	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || !interface_up(fd) || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0)
		return perror("dns_server"), 1;
	puts("serving");
	fflush(stdout);
	for (;;) {
		struct pollfd p = { fd, POLLIN, 0 };
		int64_t left = first == last ? -1 : queue[first % QUEUE].due_ms - now_ms();
		if (first != last && left <= 0) {
			answer(fd, &queue[first++ % QUEUE]);
			continue;
		}
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		struct query *q = &queue[last % QUEUE];
		socklen_t length = sizeof(q->from);
		ssize_t n =
			recvfrom(fd, q->packet, PACKET, 0, (struct sockaddr *)&q->from, &length);
		q->due_ms = now_ms() + DELAY_MS;
		q->size = n > 0 ? (size_t)n : 0;
		last += n > HEADER && last - first < QUEUE - 1;
	}
}
