/* SPDX-License-Identifier: MIT
 *
 * http: keep-alive connections to any HTTP server, one GET after the other on
 * each.
 *
 * Of every response the status and the length of the body are checked, with
 * --verify-body its bytes too.
 */
#include "green.h"
#include "http_get.h"
#include "http_response.h"
#include "json.h"
#include "load.h"
#include "target.h"
#include "watchdog.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BODY_KEPT_MAX (1u << 20) /* of the first body, to compare the others with */
#define STATUS_SIZE 8192

struct http_bench {
	struct load load; /* first: the probe gets its address */
	struct target target;
	char before[STATUS_SIZE], after[STATUS_SIZE]; /* the status page; "": none */
	int64_t before_ns, after_ns;
};

static size_t http_request(struct load *load, struct load_conn *conn, const char **bytes)
{
	(void)conn;
	*bytes = load->request;
	return load->request_size;
}

/* The first body is kept, the others are compared with it. */
struct body_check {
	struct load *load;
	bool differs;
};

static void check_body(void *arg, uint64_t offset, const char *data, size_t size)
{
	struct body_check *check = arg;
	struct load *load = check->load;
	if (offset + size > BODY_KEPT_MAX)
		size = offset < BODY_KEPT_MAX ? (size_t)(BODY_KEPT_MAX - offset) : 0;
	if (!size)
		return;
	if (offset + size > load->body_size) {
		/* Only the first response makes it longer: others have its length. */
		char *grown = realloc(load->body, offset + size);
		if (!grown)
			return;
		load->body = grown;
		memcpy(load->body + offset, data, size);
		load->body_size = offset + size;
		return;
	}
	check->differs |= memcmp(load->body + offset, data, size) != 0;
}

static int judge(struct load *load, const struct http_response *response)
{
	if (response->status != load->status)
		return LOAD_FAILED + ERROR_STATUS;
	int64_t length = (int64_t)response->length, first = -1;
	/* Relaxed: the value itself is all there is. */
	if (!atomic_compare_exchange_strong_explicit(&load->shared->body_length, &first, length,
	                                             memory_order_relaxed, memory_order_relaxed) &&
	    first != length)
		return LOAD_FAILED + ERROR_LENGTH;
	return response->close ? LOAD_DONE_CLOSE : LOAD_DONE;
}

static int http_receive(struct load *load, struct load_conn *conn, const char *data, size_t size)
{
	struct body_check check = { .load = load };
	size_t used;
	enum http_state state = http_feed(&conn->http, data, size, &used,
	                                  load->verify_body ? check_body : NULL, &check);
	if (check.differs)
		return LOAD_FAILED + ERROR_BODY;
	if (state == HTTP_BAD)
		return LOAD_FAILED + (size ? ERROR_PROTOCOL : ERROR_CLOSED);
	if (state != HTTP_DONE)
		return LOAD_MORE;
	return used < size ? LOAD_FAILED + ERROR_PROTOCOL : judge(load, &conn->http);
}

static const struct load_protocol http_protocol = {
	.request = http_request,
	.receive = http_receive,
};

static int make_request(struct http_bench *bench)
{
	const struct target *target = &bench->target;
	bool v6 = strchr(target->host, ':');
	int size = asprintf(&bench->load.request,
	                    "GET %s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: greenbench\r\n\r\n",
	                    target->path, v6 ? "[" : "", target->host, v6 ? "]" : "", target->port);
	if (size < 0)
		return EXIT_CANNOT;
	bench->load.request_size = (size_t)size;
	return 0;
}

/* The status page, as one line; "" when there is none. */
static void get_status(const struct http_bench *bench, char *buf)
{
	const struct load *load = &bench->load;
	long size = http_get((const struct sockaddr *)&load->address, load->address_size,
	                     bench->target.status_path, buf, STATUS_SIZE);
	for (char *at = buf; size > 0 && *at; at++)
		if ((unsigned char)*at < ' ')
			*at = ' ';
	while (size > 0 && buf[size - 1] == ' ')
		buf[--size] = '\0';
	if (size < 2 || buf[0] != '{' || buf[size - 1] != '}')
		buf[0] = '\0';
}

static void probe(struct load *load, bool begin)
{
	struct http_bench *bench = (struct http_bench *)load;
	if (!bench->target.status_path)
		return;
	get_status(bench, begin ? bench->before : bench->after);
	*(begin ? &bench->before_ns : &bench->after_ns) = green_now();
}

static void result_status(const struct http_bench *bench, struct result *result)
{
	const char *before = bench->before, *after = bench->after;
	char engine[32];
	result_raw(result, "server_status", *after ? after : "null");
	if (json_text(after, "engine", engine, sizeof(engine)))
		result_text(result, "engine", engine);
	double workers = json_number(after, "workers");
	if (!isnan(workers))
		result_number(result, "workers", workers);
	double switches = json_number(after, "switches") - json_number(before, "switches");
	double seconds = (double)(bench->after_ns - bench->before_ns) / 1e9;
	result_measure(result, "server_switches_per_s_per_worker", "switches/s",
	               switches / seconds / workers);
}

static int measure(struct http_bench *bench, struct result *result, const struct options *options)
{
	struct load *load = &bench->load;
	int status = load_resolve(load, bench->target.host, bench->target.port);
	if (!status)
		status = make_request(bench);
	if (status)
		return status;
	result_number(result, "connections", (double)load->connections);
	result_text(result, "path", bench->target.path);
	status = load_measure(load, &bench->target.server, result, options);
	if (result->round)
		result_status(bench, result);
	return status;
}

static int run_with(struct http_bench *bench, const struct options *options)
{
	struct result result;
	unsigned rounds = options->rounds ? (unsigned)options->rounds : 5;
	watchdog_phase("starting the server", watchdog_limit_s());
	int status = target_open(&bench->target, options);
	if (!status && result_open(&result, "http", options->json, rounds) == 0) {
		status = measure(bench, &result, options);
		result_summary(&result);
		result_close(&result);
	}
	int closed = target_close(&bench->target);
	free(bench->load.request);
	return status ? status : closed;
}

static int http_run(const struct options *options)
{
	struct http_bench *bench = calloc(1, sizeof(*bench));
	if (!bench)
		return EXIT_CANNOT;
	bench->load = (struct load){
		.bench = "http",
		.protocol = &http_protocol,
		.connections = options->connections ? options->connections : 1000,
		.clients = (unsigned)options->clients,
		.rate = options->rate,
		.timeout_s = options->timeout_s > 0 ? options->timeout_s : 10,
		.status = options->status ? (int)options->status : 200,
		.verify_body = options->verify_body,
		.probe = probe,
	};
	int status = run_with(bench, options);
	free(bench);
	return status;
}

const struct bench bench_http = {
	.name = "http",
	.about = "Opens keep-alive connections to an HTTP server and sends one GET after the\n"
		 "other on each: requests per second, latencies, errors by kind; status and\n"
		 "length of every body are checked.  The target is --url; or a --server that\n"
		 "is started here and measured (--url may then be just /PATH); or, without\n"
		 "both, examples/httpd beside this program, with a file of --size bytes\n"
		 "(default 1024).\n"
		 "--connections: default 1000.  --rate: latency then counts from when a request\n"
		 "was due.  --workers and --engine reach the server as GREEN_WORKERS and\n"
		 "GREEN_ENGINE.",
	.accepts = "connections warmup url server pid status-path size clients rate timeout status "
		   "verify-body",
	.examples =
		"  greenbench http --connections 10000\n"
		"  greenbench http --url http://127.0.0.1:8080/ --connections 500 --rate 20000\n"
		"  greenbench http --server \"examples/httpd --listen 127.0.0.1:0 --root .\" "
		"--url /README.md --json\n",
	.run = http_run,
};
