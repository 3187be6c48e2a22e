/* SPDX-License-Identifier: MIT
 *
 * The echo server, as the child process of the echo bench: "greenbench
 * echo-server", not listed in the help.
 */
#include "echo.h"
#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void serve_with(int fd, char *buf, size_t size)
{
	for (;;) {
		ssize_t n = green_recv(fd, buf, size, 0);
		if (n <= 0 || green_send(fd, buf, (size_t)n, 0) != n)
			return;
	}
}

/* Two functions, so that a connection with small messages does not touch the
 * pages of a large buffer. */
static void serve_small(int fd, void *arg)
{
	char buf[1024];
	(void)arg;
	serve_with(fd, buf, sizeof(buf));
}

static void serve_large(int fd, void *arg)
{
	char buf[ECHO_SIZE_MAX];
	(void)arg;
	serve_with(fd, buf, sizeof(buf));
}

green_serve_fn echo_handler(size_t size)
{
	return size <= 1024 ? serve_small : serve_large;
}

struct serve_state {
	int status;
	size_t size;
};

static void *serve(void *arg)
{
	struct green_info info;
	struct serve_state *state = arg;
	int fd = green_listen("127.0.0.1:0", 0);
	if (fd < 0) {
		fprintf(stderr, "greenbench: echo: cannot listen: %s\n", strerror(-fd));
		return NULL;
	}
	green_info(&info);
	printf("listening on 127.0.0.1:%d workers=%u engine=%s stacks=%s\n", green_port(fd),
	       info.workers, info.engine, info.stacks);
	fflush(stdout);
	int error = green_serve(fd, echo_handler(state->size), NULL, NULL);
	if (error)
		fprintf(stderr, "greenbench: echo: the server failed: %s\n", strerror(-error));
	else
		state->status = 0;
	green_close(fd);
	return NULL;
}

static int server_run(const struct options *options)
{
	struct green_options green = run_green_options(options);
	struct serve_state state = { EXIT_CANNOT, echo_size(options) };
	signal(SIGTERM, SIG_DFL); /* that is how it is ended */
	int error = green_init(&green);
	if (!error)
		error = green_run(serve, &state, NULL);
	if (error)
		fprintf(stderr, "greenbench: echo: %s\n", green_error());
	return state.status;
}

const struct bench bench_echo_server = {
	.name = "echo-server",
	.about = "The server of the echo bench.",
	.accepts = "size",
	.examples = "",
	.run = server_run,
	.hidden = true,
};
