/* SPDX-License-Identifier: MIT
 *
 * An echo server with a thread for each connection, as one would write it with POSIX
 * threads alone: it knows nothing of green threads.  Compare
 *
 *	threaded_echo 7000		greenrun threaded_echo 7000
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *echo(void *argument)
{
	int connection = (int)(intptr_t)argument;
	char bytes[2048];
	ssize_t n;

	while ((n = read(connection, bytes, sizeof(bytes))) > 0)
		for (ssize_t sent = 0, r; sent < n; sent += r)
			if ((r = write(connection, bytes + sent, (size_t)(n - sent))) < 0) {
				close(connection);
				return NULL;
			}
	close(connection);
	return NULL;
}

/* -1: it is none. */
static int port_number(const char *text)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	return *text >= '0' && *text <= '9' && !*end && port <= UINT16_MAX ? (int)port : -1;
}

static int listen_at(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		                       .sin_port = htons((uint16_t)port) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0) {
		close(listener);
		return -1;
	}
	printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return listener;
}

int main(int argc, char **argv)
{
	int port = argc > 1 ? port_number(argv[1]) : 0, listener, connection, error;
	pthread_attr_t attributes;
	pthread_t thread;

	if (port < 0 || argc > 2)
		return fputs("Usage: threaded_echo [PORT]; 0 picks a free one\n", stderr), 2;
	if ((listener = listen_at(port)) < 0)
		return perror("threaded_echo"), 1;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	while ((connection = accept(listener, NULL, NULL)) >= 0 || errno == ECONNABORTED) {
		error = pthread_create(&thread, &attributes, echo, (void *)(intptr_t)connection);
		if (error) {
			fprintf(stderr, "threaded_echo: a thread: %s\n", strerror(error));
			close(connection);
		}
	}
	return perror("threaded_echo: accept"), 1;
}
