/* SPDX-License-Identifier: MIT
 *
 * Starting and ending the server under test.
 */
#include "server.h"

#include "bench.h"
#include "child.h"
#include "green.h"
#include "progress.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_NS GREEN_S(15)
#define STOP_S 15

bool server_split(const char *address, char *host, size_t host_size, char *port, size_t port_size)
{
	const char *colon = strrchr(address, ':');
	if (!colon || colon == address || !colon[1])
		return false;
	const char *first = address;
	size_t length = (size_t)(colon - address);
	if (*first == '[' && colon[-1] == ']') {
		first++;
		length -= 2;
	}
	snprintf(host, host_size, "%.*s", (int)length, first);
	snprintf(port, port_size, "%s", colon + 1);
	return true;
}

static void set_environment(const struct options *options)
{
	char workers[24];
	if (options->workers) {
		snprintf(workers, sizeof(workers), "%u", (unsigned)options->workers);
		setenv("GREEN_WORKERS", workers, 1);
	}
	if (options->engine)
		setenv("GREEN_ENGINE", options->engine, 1);
}

static void run_server(char *const *argv, int output, const struct options *options)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	dup2(null, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	signal(SIGPIPE, SIG_DFL);
	set_environment(options);
	execvp(argv[0], argv);
	fprintf(stderr, "greenbench: cannot run %s: %m\n", argv[0]);
	_exit(127);
}

/* One line from the server, in time. */
static bool read_line(int fd, char *line, size_t size, int64_t deadline)
{
	for (size_t at = 0; at + 1 < size;) {
		int64_t left = deadline - green_now();
		struct pollfd pollfd = { .fd = fd, .events = POLLIN };
		if (left <= 0 || poll(&pollfd, 1, (int)(left / GREEN_MS(1)) + 1) <= 0)
			return false;
		if (read(fd, line + at, 1) != 1)
			return false;
		if (line[at] == '\n') {
			line[at] = '\0';
			return true;
		}
		at++;
	}
	return false;
}

static bool wait_until_ready(struct server *server)
{
	static const char words[] = "listening on ";
	int64_t deadline = green_now() + START_NS;
	char line[512];
	while (read_line(server->output, line, sizeof(line), deadline)) {
		char *at = strstr(line, words);
		if (!at)
			continue;
		char *address = at + strlen(words), *end = address + strcspn(address, " \t,\r");
		if (*end)
			snprintf(server->note, sizeof(server->note), "%s", end + 1);
		*end = '\0';
		if (!strncmp(address, "http://", 7))
			address += 7;
		return server_split(address, server->host, sizeof(server->host), server->port,
		                    sizeof(server->port));
	}
	return false;
}

/* Whatever else the server prints is taken away, lest it block on a full pipe. */
static void *drain(void *arg)
{
	char buf[4096];
	while (read(*(int *)arg, buf, sizeof(buf)) > 0)
		;
	return NULL;
}

static void start_drain(struct server *server)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, drain, &server->output) == 0)
		pthread_detach(thread);
}

int server_start(struct server *server, char *const *argv, const struct options *options)
{
	int fds[2];
	*server = (struct server){ .output = -1, .ours = true };
	if (pipe2(fds, O_CLOEXEC) < 0) {
		fprintf(stderr, "greenbench: cannot start a server: %m\n");
		return EXIT_CANNOT;
	}
	server->pid = child_fork();
	if (server->pid == 0)
		run_server(argv, fds[1], options);
	close(fds[1]);
	server->output = fds[0];
	if (server->pid > 0 && wait_until_ready(server)) {
		start_drain(server);
		return 0;
	}
	fprintf(stderr,
	        "greenbench: the server did not say \"listening on ADDRESS:PORT\" on its "
	        "standard output within %d s, or ended before: %s\n",
	        (int)(START_NS / GREEN_S(1)),
	        argv[2] && !strcmp(argv[0], "sh") ? argv[2] : argv[0]);
	if (server->pid > 0) {
		kill(server->pid, SIGKILL);
		child_wait(server->pid, 5);
	}
	server->pid = 0;
	return EXIT_CANNOT;
}

static int complain(int status)
{
	progress_clear();
	if (WIFSIGNALED(status))
		fprintf(stderr, "greenbench: the server was ended by signal %d (%s)\n",
		        WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		fprintf(stderr, "greenbench: the server ended with status %d\n",
		        WEXITSTATUS(status));
	return EXIT_WRONG;
}

bool server_alive(struct server *server)
{
	int status;
	if (!server->ours || !server->pid || !child_ended(server->pid, &status))
		return true;
	server->pid = 0;
	complain(status);
	return false;
}

int server_stop(struct server *server)
{
	if (!server->ours || !server->pid)
		return 0;
	pid_t pid = server->pid;
	server->pid = 0;
	kill(pid, SIGTERM);
	int status = child_wait(pid, STOP_S);
	if (WIFSIGNALED(status) ? WTERMSIG(status) == SIGTERM : WEXITSTATUS(status) == 0)
		return 0;
	return complain(status);
}
