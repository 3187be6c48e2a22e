/* SPDX-License-Identifier: MIT
 *
 * echo: a TCP server on green threads gives back what it gets.
 *
 * The server runs in a child process (echo_server.c), the clients in others;
 * with --in-process both are green threads of one runtime (echo_inside.c).
 * Every byte of every answer is compared.
 */
#include "echo.h"

#include "child.h"
#include "load.h"
#include "proc.h"
#include "progress.h"
#include "watchdog.h"

#include <stdlib.h>
#include <string.h>

#define DESCRIPTORS_KEPT 64

/* The bytes of a connection's request: a pattern that carries its number, so
 * that another connection's or an older answer is not taken for the right one. */
static size_t echo_request(struct load *load, struct load_conn *conn, const char **bytes)
{
	uint64_t stamp = conn->sequence << 24 | (uint64_t)(uint32_t)conn->fd;
	memcpy(load->scratch, &stamp, sizeof(stamp));
	*bytes = load->scratch;
	return load->size;
}

static int echo_receive(struct load *load, struct load_conn *conn, const char *data, size_t size)
{
	const char *expected;
	echo_request(load, conn, &expected);
	if (!size)
		return LOAD_FAILED + ERROR_CLOSED;
	if (conn->got + size > load->size)
		return LOAD_FAILED + ERROR_PROTOCOL;
	if (memcmp(data, expected + conn->got, size) != 0)
		return LOAD_FAILED + ERROR_BODY;
	conn->got += (uint32_t)size;
	return conn->got == load->size ? LOAD_DONE : LOAD_MORE;
}

static const struct load_protocol echo_protocol = {
	.request = echo_request,
	.receive = echo_receive,
};

void echo_fill(char *message, size_t size)
{
	for (size_t i = 0; i < size; i++)
		message[i] = (char)(i * 7 + 1);
}

/* Any server that gives back what it gets, by a command. */
static int start_command(struct server *server, const struct options *options)
{
	char *command;
	if (asprintf(&command, "exec %s", options->server) < 0)
		return EXIT_CANNOT;
	char *argv[] = { (char *)"sh", (char *)"-c", command, NULL };
	int status = server_start(server, argv, options);
	free(command);
	return status;
}

static int start_server(struct server *server, const struct options *options)
{
	char size[24], workers[24];
	if (options->server)
		return start_command(server, options);
	snprintf(size, sizeof(size), "%u", echo_size(options));
	snprintf(workers, sizeof(workers), "%u", (unsigned)options->workers);
	char *argv[] = { (char *)child_self(),
		         (char *)"echo-server",
		         (char *)"--size",
		         size,
		         (char *)"--engine",
		         (char *)(options->engine ? options->engine : "auto"),
		         options->workers ? (char *)"--workers" : NULL,
		         workers,
		         NULL };
	return server_start(server, argv, options);
}

static void result_server(struct result *result, const struct server *server)
{
	char engine[32] = "", stacks[32] = "";
	unsigned workers = 0;
	if (sscanf(server->note, "workers=%u engine=%31s stacks=%31s", &workers, engine, stacks) <
	    3)
		return;
	result_number(result, "workers", workers);
	result_text(result, "engine", engine);
	result_text(result, "stacks", stacks);
}

static int measure(struct load *load, struct result *result, const struct options *options)
{
	struct server server;
	watchdog_phase("starting the server", watchdog_limit_s());
	int status = start_server(&server, options);
	if (status)
		return status;
	result_server(result, &server);
	result_number(result, "connections", (double)load->connections);
	result_number(result, "size", load->size);
	result_text(result, "mode", "processes");
	status = load_resolve(load, server.host, server.port);
	if (!status)
		status = load_measure(load, &server, result, options);
	int stopped = server_stop(&server);
	result_summary(result);
	return status ? status : stopped;
}

/* The server needs a descriptor for each connection, and a few others. */
static int check_descriptors(uint64_t connections)
{
	uint64_t limit = proc_raise_nofile();
	if (connections + DESCRIPTORS_KEPT <= limit)
		return 0;
	fprintf(stderr,
	        "greenbench: echo: %llu connections need %llu descriptors in the server, "
	        "RLIMIT_NOFILE is %llu; raise it with ulimit -Hn, or give --connections %llu\n",
	        (unsigned long long)connections,
	        (unsigned long long)(connections + DESCRIPTORS_KEPT), (unsigned long long)limit,
	        (unsigned long long)(limit > DESCRIPTORS_KEPT ? limit - DESCRIPTORS_KEPT : 1));
	return EXIT_CANNOT;
}

static int run_processes(const struct options *options)
{
	struct load load = {
		.bench = "echo",
		.protocol = &echo_protocol,
		.connections = options->connections ? options->connections : ECHO_CONNECTIONS,
		.clients = (unsigned)options->clients,
		.rate = options->rate,
		.timeout_s = options->timeout_s > 0 ? options->timeout_s : 10,
		.size = echo_size(options),
	};
	int error = check_descriptors(load.connections);
	if (error)
		return error;
	struct result result;
	unsigned rounds = options->rounds ? (unsigned)options->rounds : 5;
	load.scratch = malloc(load.size);
	if (!load.scratch || result_open(&result, "echo", options->json, rounds) < 0) {
		fputs("greenbench: echo: no memory\n", stderr);
		free(load.scratch);
		return EXIT_CANNOT;
	}
	echo_fill(load.scratch, load.size);
	int status = measure(&load, &result, options);
	result_close(&result);
	free(load.scratch);
	return status;
}

static int echo_run(const struct options *options)
{
	if (options->size > ECHO_SIZE_MAX)
		return options_bad("size", "at most 16384 for echo");
	if (!options->in_process)
		return run_processes(options);
	if (options->rate || options->clients || options->server)
		return options_bad(options->rate     ? "rate"
		                   : options->server ? "server"
		                                     : "clients",
		                   "cannot be combined with --in-process; leave one out");
	return echo_inside(options);
}

const struct bench bench_echo = {
	.name = "echo",
	.about = "A TCP echo server on green threads, in a child process; the clients are epoll\n"
		 "loops in others.  Requests per second, server CPU a request, latencies; all\n"
		 "bytes are compared.\n"
		 "--connections: default 64.  --size: of a message (default 64).\n"
		 "--in-process: clients are green threads of the same runtime, so that the\n"
		 "figures for 1, 2 … workers can be compared on a small machine.\n"
		 "--server: another server, which prints \"listening on HOST:PORT\".",
	.accepts = "connections size warmup clients rate timeout in-process server",
	.examples = "  greenbench echo --connections 1000 --workers 1\n"
		    "  greenbench echo --engine epoll --rate 50000 --json\n"
		    "  greenbench echo --server 'greenrun examples/threaded_echo'\n"
		    "  greenbench scale echo --connections 256\n",
	.run = echo_run,
};
