/* SPDX-License-Identifier: MIT
 *
 * echo --in-process: server and clients are green threads of one runtime.
 *
 * One worker then uses one CPU for both sides, which makes the figures for
 * different numbers of workers comparable on a machine with few CPUs.
 */
#include "echo.h"
#include "proc.h"
#include "run.h"
#include "stats.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DESCRIPTORS_KEPT 100

struct inside {
	struct sockaddr_in address;
	uint64_t connections;
	size_t size;
	int64_t round_ns, warmup_ns;
	int listener;
	bool started;
	struct green_serve *server;
	green_t server_thread;
	struct hist_set *latency; /* by worker */
	_Atomic bool stop;
	_Atomic uint64_t open, errors, wrong;
	_Atomic int last_error;
	green_wg_t clients;
};

static struct inside inside;

static void note_error(int error)
{
	atomic_fetch_add_explicit(&inside.errors, 1, memory_order_relaxed);
	atomic_store_explicit(&inside.last_error, error, memory_order_relaxed);
}

static int receive_all(int fd, char *buf, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = green_recv(fd, buf + at, size - at, 0);
		if (n <= 0)
			return n ? (int)n : -ECONNRESET;
		at += (size_t)n;
	}
	return 0;
}

static int exchange(int fd, uint64_t stamp, char *out, char *in)
{
	echo_fill(out, inside.size);
	while (!atomic_load_explicit(&inside.stop, memory_order_relaxed)) {
		stamp++;
		memcpy(out, &stamp, sizeof(stamp));
		int64_t begin = green_now();
		ssize_t n = green_send(fd, out, inside.size, 0);
		if (n != (ssize_t)inside.size)
			return n < 0 ? (int)n : -EIO;
		int error = receive_all(fd, in, inside.size);
		if (error)
			return error;
		hist_add(&inside.latency->each[green_worker()], green_now() - begin);
		if (memcmp(in, out, inside.size) != 0)
			atomic_fetch_add_explicit(&inside.wrong, 1, memory_order_relaxed);
	}
	return 0;
}

static int exchange_small(int fd, uint64_t stamp)
{
	char out[1024], in[1024];
	return exchange(fd, stamp, out, in);
}

static int exchange_large(int fd, uint64_t stamp)
{
	char out[ECHO_SIZE_MAX], in[ECHO_SIZE_MAX];
	return exchange(fd, stamp, out, in);
}

static void *client(void *arg)
{
	const int on = 1;
	int fd = green_socket(AF_INET, SOCK_STREAM, 0);
	int error = fd < 0 ? fd
	                   : green_connect(fd, (struct sockaddr *)&inside.address,
	                                   sizeof(inside.address));
	if (!error) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		atomic_fetch_add_explicit(&inside.open, 1, memory_order_relaxed);
		error = inside.size <= 1024 ? exchange_small(fd, (uint64_t)arg << 40)
		                            : exchange_large(fd, (uint64_t)arg << 40);
	}
	if (error)
		note_error(error);
	if (fd >= 0) {
		/* A reset: no TIME_WAIT is left behind for the next run. */
		const struct linger reset = { .l_onoff = 1 };
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		green_close(fd);
	}
	green_wg_done(&inside.clients);
	return NULL;
}

static void *server(void *arg)
{
	struct green_serve_options options = { .handle = &inside.server };
	int error = green_serve(inside.listener, echo_handler(inside.size), NULL, &options);
	if (error)
		note_error(error);
	return arg;
}

static int start(struct run *run)
{
	inside.started = true;
	if (run_spawn(run, &inside.server_thread, NULL, server, NULL))
		return run->status;
	struct green_attr attr = { .detached = true };
	for (uint64_t i = 0; i < inside.connections; i++) {
		green_wg_add(&inside.clients, 1);
		if (run_spawn(run, NULL, &attr, client, (void *)i)) {
			green_wg_done(&inside.clients);
			return run->status;
		}
	}
	while (atomic_load_explicit(&inside.open, memory_order_relaxed) < inside.connections) {
		int error = atomic_load_explicit(&inside.last_error, memory_order_relaxed);
		if (error)
			return run_wrong(run, "connecting failed: %s", strerror(-error));
		green_sleep(GREEN_MS(1));
	}
	green_sleep(inside.warmup_ns);
	return 0;
}

static int check(struct run *run)
{
	uint64_t wrong = atomic_load_explicit(&inside.wrong, memory_order_relaxed);
	uint64_t errors = atomic_load_explicit(&inside.errors, memory_order_relaxed);
	int error = atomic_load_explicit(&inside.last_error, memory_order_relaxed);
	if (wrong)
		return run_wrong(run, "%llu answers had other bytes", (unsigned long long)wrong);
	if (errors)
		return run_wrong(run, "%llu connections failed, the last with: %s",
		                 (unsigned long long)errors, strerror(-error));
	if (!inside.latency->total)
		return run_wrong(run, "no answer at all");
	return 0;
}

static int inside_round(struct run *run, void *arg)
{
	(void)arg;
	if (!inside.started)
		return start(run);
	hist_set_look(inside.latency);
	run_mark(run);
	double begin = (double)green_now(), cpu = run_cpu_ns();
	green_sleep(inside.round_ns);
	double elapsed = (double)green_now() - begin;
	cpu = run_cpu_ns() - cpu;
	hist_set_look(inside.latency);
	double requests = (double)inside.latency->total;
	result_measure(&run->result, "requests_per_s", "requests/s", requests * 1e9 / elapsed);
	result_measure(&run->result, "ops_per_s", "requests/s", requests * 1e9 / elapsed);
	result_measure(&run->result, "server_cpu_us_per_request", "us", NAN);
	result_measure(&run->result, "cpu_us_per_request", "us, both sides", cpu / 1e3 / requests);
	result_measure(&run->result, "p50_us", "us", hist_set_us(inside.latency, 0.5));
	result_measure(&run->result, "p99_us", "us", hist_set_us(inside.latency, 0.99));
	result_measure(&run->result, "p999_us", "us", hist_set_us(inside.latency, 0.999));
	run_costs(run, requests);
	return check(run);
}

static void stop(void)
{
	atomic_store_explicit(&inside.stop, true, memory_order_relaxed);
	green_wg_wait(&inside.clients);
	if (inside.server)
		green_serve_stop(inside.server, GREEN_S(5));
	green_join(inside.server_thread, NULL);
}

static int inside_body(struct run *run)
{
	uint64_t limit = proc_raise_nofile();
	if (2 * inside.connections + DESCRIPTORS_KEPT > limit)
		return run_cannot(run,
		                  "%llu connections need %llu descriptors, RLIMIT_NOFILE is "
		                  "%llu; give --connections %llu",
		                  (unsigned long long)inside.connections,
		                  (unsigned long long)(2 * inside.connections + DESCRIPTORS_KEPT),
		                  (unsigned long long)limit,
		                  (unsigned long long)((limit - DESCRIPTORS_KEPT) / 2));
	inside.listener = green_listen("127.0.0.1:0", 0);
	if (inside.listener < 0)
		return run_cannot(run, "cannot listen: %s", strerror(-inside.listener));
	inside.address = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)green_port(inside.listener)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	inside.latency = hist_set_new(run->workers);
	if (!inside.latency)
		return run_cannot(run, "no memory for the histogram");
	result_number(&run->result, "connections", (double)inside.connections);
	result_number(&run->result, "size", (double)inside.size);
	result_text(&run->result, "mode", "in-process");
	run->timed = true;
	run_rounds(run, inside_round, NULL);
	stop();
	green_close(inside.listener);
	hist_set_free(inside.latency);
	return run->status;
}

int echo_inside(const struct options *options)
{
	double seconds = options->duration_s > 0 ? options->duration_s : 1;
	double warmup_s = options->warmup_s > 0 ? options->warmup_s : 0.5;
	inside.round_ns = (int64_t)(seconds * 1e9);
	inside.warmup_ns = (int64_t)(warmup_s * 1e9);
	inside.size = echo_size(options);
	inside.connections = options->connections ? options->connections : ECHO_CONNECTIONS;
	return run_bench(options, "echo", inside_body);
}
