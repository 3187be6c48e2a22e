/* SPDX-License-Identifier: MIT
 *
 * A TCP echo server: one green thread per connection, plain reads and writes.
 *
 *	echo [ADDRESS]		host:port, :port, [v6]:port or unix:/path
 *
 * Stop it with ^C.
 */
#include <green.h>

#include <stdio.h>
#include <string.h>

static void echo(int fd, void *unused)
{
	char buf[2048];
	ssize_t n;

	(void)unused;
	while ((n = green_recv(fd, buf, sizeof(buf), 0)) > 0)
		if (green_send(fd, buf, (size_t)n, 0) < 0)
			break;
}

static void *serve(void *arg)
{
	const char *address = arg;
	int fd = green_listen(address, 0);

	if (fd < 0) {
		fprintf(stderr,
		        "echo: cannot listen on %s: %s; usage: echo [host:port | :port | "
		        "[v6]:port | unix:/path]\n",
		        address, strerror(-fd));
		return arg;
	}
	printf("listening on port %d\n", green_port(fd));
	fflush(stdout);
	int result = green_serve(fd, echo, NULL, NULL);
	fprintf(stderr, "echo: %s\n", strerror(-result));
	return arg;
}

int main(int argc, char **argv)
{
	char address[] = "127.0.0.1:7007";
	int result = green_run(serve, argc > 1 ? argv[1] : address, NULL);

	if (result < 0)
		fprintf(stderr, "echo: %s\n", green_error());
	return 1;
}
