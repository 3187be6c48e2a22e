/* SPDX-License-Identifier: MIT
 *
 * Directing the client processes: ramp, rounds, and what is reported of them.
 */
#include "load.h"

#include "child.h"
#include "green.h"
#include "proc.h"
#include "progress.h"
#include "watchdog.h"

#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DESCRIPTORS_KEPT 64 /* of a client process, for other things */
#define SLICE_NS GREEN_MS(50)

const char *const load_error_names[LOAD_ERRORS] = {
	"connect", "refused", "reset", "closed", "timeout", "status", "length", "body", "protocol",
};

static void mean_loopback(struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
	if (address->ss_family == AF_INET && v4->sin_addr.s_addr == htonl(INADDR_ANY))
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (address->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr))
		v6->sin6_addr = in6addr_loopback;
}

int load_resolve(struct load *load, const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	int error = getaddrinfo(host, port, &hints, &found);
	if (error) {
		fprintf(stderr, "greenbench: %s: cannot find %s port %s: %s\n", load->bench, host,
		        port, gai_strerror(error));
		return EXIT_CANNOT;
	}
	memcpy(&load->address, found->ai_addr, found->ai_addrlen);
	load->address_size = found->ai_addrlen;
	freeaddrinfo(found);
	mean_loopback(&load->address);
	return 0;
}

uint64_t load_share(const struct load *load, unsigned number)
{
	return load->connections / load->clients + (number < load->connections % load->clients);
}

/* One client keeps up with a server on a few CPUs; a big machine needs more,
 * and so do more connections than a process may have descriptors. */
static int choose_clients(struct load *load)
{
	uint64_t limit = proc_raise_nofile();
	uint64_t room = limit > DESCRIPTORS_KEPT ? limit - DESCRIPTORS_KEPT : 1;
	uint64_t need = (load->connections + room - 1) / room;
	uint64_t clients = load->clients;
	if (!clients) {
		long cpus = sysconf(_SC_NPROCESSORS_ONLN);
		clients = cpus > 4 ? (uint64_t)cpus / 4 : 1;
	}
	clients = clients < need ? need : clients;
	clients = clients > load->connections ? load->connections : clients;
	if (clients > CLIENTS_MAX) {
		fprintf(stderr,
		        "greenbench: %s: %llu connections need %llu client processes at "
		        "RLIMIT_NOFILE %llu, at most %d are possible; raise it with ulimit -Hn\n",
		        load->bench, (unsigned long long)load->connections,
		        (unsigned long long)clients, (unsigned long long)limit, CLIENTS_MAX);
		return EXIT_CANNOT;
	}
	load->clients = (unsigned)clients;
	return 0;
}

static int start_clients(struct load *load)
{
	int status = choose_clients(load);
	if (status)
		return status;
	load->shared = mmap(NULL, sizeof(*load->shared), PROT_READ | PROT_WRITE,
	                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	load->latency = hist_set_new(load->clients);
	if (load->shared == MAP_FAILED || !load->latency) {
		fprintf(stderr, "greenbench: %s: no memory\n", load->bench);
		return EXIT_CANNOT;
	}
	atomic_init(&load->shared->body_length, -1);
	for (unsigned i = 0; i < load->clients; i++) {
		load->pids[i] = child_fork();
		if (load->pids[i] == 0)
			_exit(client_main(load, i, load_share(load, i)));
		if (load->pids[i] < 0) {
			fprintf(stderr, "greenbench: %s: cannot fork: %s\n", load->bench,
			        strerror(-load->pids[i]));
			return EXIT_CANNOT;
		}
	}
	return 0;
}

static uint64_t sum_of(const struct load *load, size_t offset)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < load->clients; i++) {
		char *client = (char *)&load->shared->client[i];
		sum += atomic_load_explicit((_Atomic uint64_t *)(client + offset),
		                            memory_order_relaxed);
	}
	return sum;
}
#define SUM(load, field) sum_of((load), offsetof(struct load_client, field))

static uint64_t errors(const struct load *load, int kind)
{
	return sum_of(load, offsetof(struct load_client, errors) +
	                            (size_t)kind * sizeof(_Atomic uint64_t));
}

static uint64_t all_errors(const struct load *load)
{
	uint64_t sum = 0;
	for (int kind = 0; kind < LOAD_ERRORS; kind++)
		sum += errors(load, kind);
	return sum;
}

static void print_errors(const struct load *load)
{
	progress_clear();
	fprintf(stderr, "greenbench: %s: errors:", load->bench);
	for (int kind = 0; kind < LOAD_ERRORS; kind++)
		if (errors(load, kind))
			fprintf(stderr, " %s %llu", load_error_names[kind],
			        (unsigned long long)errors(load, kind));
	int error = 0;
	for (unsigned i = 0; i < load->clients && !error; i++)
		error = atomic_load_explicit(&load->shared->client[i].last_errno,
		                             memory_order_relaxed);
	fprintf(stderr, "%s%s%s\n", error ? " (last: " : "", error ? strerror(error) : "",
	        error ? ")" : "");
}

/* All still there: the server and the clients. */
static bool healthy(struct load *load, struct server *server)
{
	bool well = server_alive(server);
	for (unsigned i = 0; i < load->clients; i++) {
		int status;
		if (!load->pids[i] || !child_ended(load->pids[i], &status))
			continue;
		load->pids[i] = 0;
		fprintf(stderr, "greenbench: %s: client process %u ended early\n", load->bench, i);
		well = false;
	}
	return well;
}

static void sleep_ns(int64_t ns)
{
	struct timespec time = { ns / GREEN_S(1), ns % GREEN_S(1) };
	nanosleep(&time, NULL);
}

static int ramp_failed(const struct load *load, const struct server *server, uint64_t open)
{
	if (all_errors(load))
		print_errors(load);
	progress_clear();
	fprintf(stderr, "greenbench: %s: only %llu of %llu connections could be opened\n",
	        load->bench, (unsigned long long)open, (unsigned long long)load->connections);
	uint64_t limit = proc_raise_nofile();
	if (server->ours && load->connections + DESCRIPTORS_KEPT > limit)
		fprintf(stderr,
		        "greenbench: %s: RLIMIT_NOFILE is %llu, too few for the server; raise it "
		        "with ulimit -Hn, or give fewer --connections\n",
		        load->bench, (unsigned long long)limit);
	return EXIT_WRONG;
}

static int ramp(struct load *load, struct server *server)
{
	double limit_s = fmax(watchdog_limit_s(), (double)load->connections / 500);
	watchdog_phase("opening connections", limit_s + 10);
	int64_t deadline = green_now() + (int64_t)(limit_s * 1e9);
	for (uint64_t open; (open = SUM(load, open)) < load->connections;) {
		progress("%s: %llu of %llu connections open", load->bench, (unsigned long long)open,
		         (unsigned long long)load->connections);
		if (!healthy(load, server))
			return EXIT_WRONG;
		/* A server that is not there, or answers nonsense, is not tried for long. */
		bool hopeless = !open && all_errors(load) > load->connections + 100;
		if (green_now() > deadline || hopeless)
			return ramp_failed(load, server, open);
		sleep_ns(GREEN_MS(5));
	}
	return 0;
}

/* Lets the load run for a while. */
static int wait_while_running(struct load *load, struct server *server, double seconds,
                              const char *what)
{
	int64_t begin = green_now(), end = begin + (int64_t)(seconds * 1e9);
	watchdog_phase(what, seconds + watchdog_limit_s());
	for (int64_t now = begin; now < end; now = green_now()) {
		progress("%s: %s, %llu connections open, %llu errors", load->bench, what,
		         (unsigned long long)SUM(load, open), (unsigned long long)all_errors(load));
		sleep_ns(end - now < SLICE_NS ? end - now : SLICE_NS);
		if (!healthy(load, server))
			return EXIT_WRONG;
	}
	return 0;
}

/* What is read at both ends of a round. */
struct mark {
	int64_t now_ns, server_ns, clients_ns;
	uint64_t bytes;
};

static struct mark take_mark(const struct load *load, const struct server *server)
{
	struct mark mark = {
		.now_ns = green_now(),
		.server_ns = server->pid ? child_cpu_ns(server->pid) : -1,
		.bytes = SUM(load, bytes),
	};
	for (unsigned i = 0; i < load->clients; i++)
		mark.clients_ns += child_cpu_ns(load->pids[i]);
	return mark;
}

/* A round without a response has nothing to report: it goes on to the first one, or until
 * the clients have counted one that is overdue as an error. */
static int wait_for_response(struct load *load, struct server *server, const char *what)
{
	int64_t end = green_now() + (int64_t)(load->timeout_s * 1e9) + GREEN_S(1);
	uint64_t before = all_errors(load);
	watchdog_phase(what, load->timeout_s + watchdog_limit_s());
	while (!load->latency->total && all_errors(load) == before && green_now() < end) {
		sleep_ns(GREEN_MS(5));
		if (!healthy(load, server))
			return EXIT_WRONG;
		hist_set_look(load->latency);
	}
	return 0;
}

static int measure_round(struct load *load, struct server *server, struct result *result,
                         double seconds)
{
	static char what[64]; /* read by the watchdog's thread */
	snprintf(what, sizeof(what), "round %u of %u", result->round + 1, result->rounds);
	hist_set_look(load->latency);
	struct mark begin = take_mark(load, server);
	if (wait_while_running(load, server, seconds, what))
		return EXIT_WRONG;
	hist_set_look(load->latency);
	if (wait_for_response(load, server, what))
		return EXIT_WRONG;
	struct mark end = take_mark(load, server);
	double elapsed = (double)(end.now_ns - begin.now_ns) / 1e9;
	double requests = (double)load->latency->total;
	bool known = begin.server_ns >= 0 && end.server_ns >= 0;
	double server_us = known ? (double)(end.server_ns - begin.server_ns) / 1e3 : NAN;
	double clients_us = (double)(end.clients_ns - begin.clients_ns) / 1e3;
	result_measure(result, "requests_per_s", "requests/s", requests / elapsed);
	result_measure(result, "server_cpu_us_per_request", "us", server_us / requests);
	result_measure(result, "client_cpu_us_per_request", "us", clients_us / requests);
	result_measure(result, "server_cpus_used", "CPUs", server_us / 1e6 / elapsed);
	result_measure(result, "p50_us", "us", hist_set_us(load->latency, 0.5));
	result_measure(result, "p99_us", "us", hist_set_us(load->latency, 0.99));
	result_measure(result, "p999_us", "us", hist_set_us(load->latency, 0.999));
	result_measure(result, "max_us", "us", hist_set_us(load->latency, 1));
	result_measure(result, "mb_per_s", "MB/s",
	               (double)(end.bytes - begin.bytes) / 1e6 / elapsed);
	result_round(result);
	if (load->latency->total)
		return 0;
	progress_clear();
	fprintf(stderr, "greenbench: %s: no response in %s, for %.1f s\n", load->bench, what,
	        elapsed);
	return EXIT_WRONG;
}

/* Memory of the server, absolute and by connection.  Where each connection has
 * an OS thread, its kernel stack (16 KiB) is memory too that no RSS shows. */
#define KERNEL_STACK_BYTES 16384.0
struct footprint {
	struct proc_memory memory;
	bool known;
};

static struct footprint footprint(const struct server *server)
{
	struct footprint result = { 0 };
	result.known = server->pid && proc_memory(server->pid, &result.memory) == 0;
	return result;
}

static void result_footprint(struct result *result, const struct load *load,
                             const struct footprint *empty, const struct footprint *idle,
                             const struct footprint *loaded)
{
	double conns = (double)load->connections;
	bool known = empty->known && idle->known && loaded->known;
	double base = proc_bytes(&empty->memory);
	double threads = (double)(loaded->memory.threads - empty->memory.threads);
	result_measure(result, "server_bytes_per_connection", "bytes",
	               known ? (proc_bytes(&loaded->memory) - base) / conns : NAN);
	result_measure(result, "server_bytes_per_connection_idle", "bytes",
	               known ? (proc_bytes(&idle->memory) - base) / conns : NAN);
	result_measure(result, "server_kernel_stack_bytes_per_connection", "bytes",
	               known ? threads * KERNEL_STACK_BYTES / conns : NAN);
	result_measure(result, "server_rss_kb", "KiB", known ? (double)loaded->memory.rss_kb : NAN);
	result_measure(result, "server_pte_kb", "KiB", known ? (double)loaded->memory.pte_kb : NAN);
	result_measure(result, "server_threads", "OS threads",
	               known ? (double)loaded->memory.threads : NAN);
}

static void set_phase(struct load *load, enum load_phase phase)
{
	atomic_store_explicit(&load->shared->phase, phase, memory_order_relaxed);
}

static int measure_rounds(struct load *load, struct server *server, struct result *result,
                          const struct options *options)
{
	double seconds = options->duration_s > 0 ? options->duration_s : 1;
	double warmup_s = options->warmup_s > 0 ? options->warmup_s : 0.5;
	set_phase(load, LOAD_RUN);
	int status = wait_while_running(load, server, warmup_s, "warm-up");
	if (!status && load->probe)
		load->probe(load, true);
	while (!status && result->round < result->rounds)
		status = measure_round(load, server, result, seconds);
	if (!status && load->probe)
		load->probe(load, false);
	return status;
}

/* What was sent is to be answered, else it counts as an error: unless the clients are to
 * stop at once. */
static int stop_clients(struct load *load, bool at_once)
{
	double limit_s = 10 + (at_once ? 0 : load->timeout_s);
	int status = 0;
	set_phase(load, at_once ? LOAD_STOP : LOAD_FINISH);
	for (unsigned i = 0; i < load->clients; i++)
		if (load->pids[i] > 0 && child_wait(load->pids[i], limit_s) != 0)
			status = EXIT_WRONG;
	return status;
}

static void result_counts(const struct load *load, struct result *result)
{
	char key[32];
	result_number(result, "errors", (double)all_errors(load));
	for (int kind = 0; kind < LOAD_ERRORS; kind++) {
		snprintf(key, sizeof(key), "errors_%s", load_error_names[kind]);
		result_detail(result, key, (double)errors(load, kind));
	}
	result_detail(result, "reconnects", (double)SUM(load, reconnects));
	result_detail(result, "body_bytes",
	              (double)atomic_load_explicit(&load->shared->body_length,
	                                           memory_order_relaxed));
}

int load_measure(struct load *load, struct server *server, struct result *result,
                 const struct options *options)
{
	struct footprint empty = footprint(server);
	int status = start_clients(load);
	if (status)
		return status;
	result_detail(result, "clients", load->clients);
	status = ramp(load, server);
	struct footprint idle = footprint(server);
	if (!status)
		status = measure_rounds(load, server, result, options);
	struct footprint loaded = footprint(server);
	watchdog_phase("closing connections", load->timeout_s + watchdog_limit_s());
	int stopped = stop_clients(load, status != 0);
	if (result->round) {
		result_footprint(result, load, &empty, &idle, &loaded);
		result_counts(load, result);
	}
	if (!status && all_errors(load)) {
		print_errors(load);
		status = EXIT_WRONG;
	}
	return status ? status : stopped;
}
