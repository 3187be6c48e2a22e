/* SPDX-License-Identifier: MIT
 *
 * Serving and draining: a green thread that accepts, one that reads signals,
 * and, after the first SIGTERM, one that drains.
 *
 * The three are a serial group: they share a worker and never run in parallel,
 * so what they tell one another lies in plain variables.
 */
#include "server.h"
#include "config.h"
#include "connection.h"
#include "idle.h"
#include "log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static struct {
	int listening_fd;
	int signal_fd;
	struct green_serial *group;
	/* Set before the first connection and unset after the last, so that handlers
	 * on other workers can read it, too. */
	struct green_serve *serve;
	green_t acceptor;
	green_t drainer;
	int drained; /* result of green_serve_stop() */
} server;

static int start(green_t *thread, const char *name, green_fn fn)
{
	struct green_attr attr = { .name = name, .serial = server.group };

	return green_spawn(thread, &attr, fn, NULL);
}

/* Requests in flight are finished, idle connections are ended at once. */
static void *drain(void *unused)
{
	idle_drain();
	/* A signal may come before the first connection could. */
	if (server.serve)
		server.drained = green_serve_stop(server.serve, config.drain_timeout_ns);
	else
		green_cancel(server.acceptor);
	return unused;
}

static void *read_signals(void *unused)
{
	struct signalfd_siginfo info;

	while (green_read(server.signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			log_reopen();
			continue;
		}
		if (server.drainer == GREEN_NONE && start(&server.drainer, "drain", drain) == 0)
			continue;
		/* Asked twice: now. */
		log_flush();
		_exit(EXIT_CUT_SHORT);
	}
	return unused;
}

static void *accept_connections(void *unused)
{
	struct green_serve_options options = {
		.concurrency = config.concurrency,
		.handle = &server.serve,
	};
	int result = green_serve(server.listening_fd, connection_serve, NULL, &options);

	server.serve = NULL;
	if (result < 0 && server.drainer == GREEN_NONE)
		fprintf(stderr, "httpd: serving: %s\n", strerror(-result));
	(void)unused;
	return (void *)(intptr_t)result;
}

void *server_run(void *unused)
{
	green_t signals;
	void *result = NULL;

	(void)unused;
	server.group = green_serial_new();
	if (!server.group || start(&server.acceptor, "accept", accept_connections) != 0 ||
	    start(&signals, "signals", read_signals) != 0) {
		fprintf(stderr, "httpd: no memory for the first green threads\n");
		return (void *)(intptr_t)EXIT_FAILED;
	}
	green_detach(signals);
	if (config.log)
		green_go(log_ticker, NULL);
	green_join(server.acceptor, &result);
	if (server.drainer == GREEN_NONE)
		return (void *)(intptr_t)EXIT_FAILED;
	green_join(server.drainer, NULL);
	log_flush();
	return (void *)(intptr_t)(server.drained == 0 ? EXIT_DRAINED : EXIT_CUT_SHORT);
}

size_t server_connections(void)
{
	return server.serve ? green_serve_connections(server.serve) : 0;
}

int server_init(int listening_fd)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	server.listening_fd = listening_fd;
	server.signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	return server.signal_fd >= 0 ? 0 : -errno;
}
