/* SPDX-License-Identifier: MIT
 *
 * One blocking GET.
 */
#include "http_get.h"

#include "http_response.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

struct body {
	char *buf;
	size_t size;
};

static void keep(void *arg, uint64_t offset, const char *data, size_t size)
{
	const struct body *body = arg;
	for (size_t i = 0; i < size && offset + i + 1 < body->size; i++)
		body->buf[offset + i] = data[i];
}

static long receive(int fd, struct body *body)
{
	struct http_response response = { 0 };
	enum http_state state = HTTP_HEAD;
	while (state != HTTP_DONE && state != HTTP_BAD) {
		char data[4096];
		size_t used;
		ssize_t n = recv(fd, data, sizeof(data), 0);
		if (n < 0) {
			http_reset(&response);
			return -errno;
		}
		state = http_feed(&response, data, (size_t)n, &used, keep, body);
	}
	long length = (long)response.length;
	bool good = state == HTTP_DONE && response.status == 200 && response.length < body->size;
	http_reset(&response);
	if (!good)
		return -EPROTO;
	body->buf[length] = '\0';
	return length;
}

long http_get(const struct sockaddr *address, socklen_t address_size, const char *path, char *buf,
              size_t size)
{
	const struct timeval timeout = { .tv_sec = 5 };
	struct body body = { buf, size };
	char request[512];
	int length = snprintf(request, sizeof(request),
	                      "GET %.300s HTTP/1.1\r\nHost: localhost\r\n"
	                      "Connection: close\r\n\r\n",
	                      path);
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	long result = 0;
	if (connect(fd, address, address_size) < 0 ||
	    send(fd, request, (size_t)length, MSG_NOSIGNAL) != length)
		result = -errno;
	if (!result)
		result = receive(fd, &body);
	close(fd);
	return result;
}
