/* SPDX-License-Identifier: MIT
 *
 * The command line.
 */
#include "config.h"
#include "server.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct config config = {
	.listen = "127.0.0.1:8080",
	.root = ".",
	.limits = { .head_max = 8192, .target_max = TARGET_MAX, .fields_max = FIELDS_MAX },
	.body_max = 16 << 20,
	.idle_timeout_ns = GREEN_S(60),
	.header_timeout_ns = GREEN_S(10),
	.body_timeout_ns = GREEN_S(30),
	.write_timeout_ns = GREEN_S(30),
	.drain_timeout_ns = GREEN_S(10),
};

static const char help[] =
	"Usage: httpd [OPTION]...\n"
	"A HTTP/1.1 server on green threads: static files, and /echo, which returns\n"
	"what is sent to it.\n"
	"\n"
	"  --listen ADDR          host:port, :port, [v6]:port or unix:/path\n"
	"                         (127.0.0.1:8080); port 0 picks a free one\n"
	"  --root DIR             directory of the files (.)\n"
	"  --workers N            worker threads (one per CPU)\n"
	"  --engine E             auto, io_uring or epoll (auto)\n"
	"  --concurrency N        most connections at once (no limit)\n"
	"  --max-header BYTES     of a request's head, 1024 to 65536 (8192)\n"
	"  --max-body BYTES       of a request's body (16777216)\n"
	"  --header-timeout MS    for a whole head (10000)\n"
	"  --body-timeout MS      for the next byte of a body (30000)\n"
	"  --write-timeout MS     for the client to take a byte (30000)\n"
	"  --idle-timeout MS      for the next request of a connection (60000)\n"
	"  --drain-timeout MS     for requests in flight after SIGTERM (10000)\n"
	"  --log FILE             access log in combined format; - is standard output\n"
	"  --status               serve /_status: the runtime's figures as JSON\n"
	"  --debug                serve /_spin?ms=N (burns CPU, until the client sends more)\n"
	"                         and /_sleep?ms=N\n"
	"  --help                 this text\n"
	"\n"
	"Prints \"listening on ADDRESS\" when it is ready.  Longer targets than 4096 bytes\n"
	"get status 414, longer heads or more than 100 fields 431, longer bodies 413,\n"
	"slow requests 408.\n"
	"\n"
	"LISTEN_PID, LISTEN_FDS  when they name this process: its descriptor 3, a\n"
	"                        listening socket, is taken over and --listen ignored\n"
	"GREEN_*                 of the runtime, see man 7 green; GREEN_WORKERS and\n"
	"                        GREEN_ENGINE override --workers and --engine\n"
	"\n"
	"SIGTERM, SIGINT  stop accepting, finish what is in flight, exit; a second one\n"
	"                 exits at once\n"
	"SIGHUP           open the log file anew\n"
	"\n"
	"Exit status: 0 stopped by a signal, all requests finished; 1 could not start or\n"
	"go on; 2 bad option; 3 stopped with requests cut short.\n";

static void usage_error(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "httpd: --%s: '%s' is not %s; see httpd --help\n", option, value, wanted);
	exit(EXIT_USAGE);
}

static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	char wanted[80];
	char *end = NULL;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < min ||
	    value > max) {
		snprintf(wanted, sizeof(wanted), "a number from %llu to %llu",
		         (unsigned long long)min, (unsigned long long)max);
		usage_error(option, text, wanted);
	}
	return value;
}

static enum green_engine engine(const char *option, const char *text)
{
	static const char *const names[] = {
		[GREEN_ENGINE_AUTO] = "auto",
		[GREEN_ENGINE_URING] = "io_uring",
		[GREEN_ENGINE_EPOLL] = "epoll",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0)
			return (enum green_engine)i;
	usage_error(option, text, "auto, io_uring or epoll");
	return GREEN_ENGINE_AUTO;
}

static const struct option options[] = {
	{ "listen", required_argument, NULL, 'l' },
	{ "root", required_argument, NULL, 'r' },
	{ "workers", required_argument, NULL, 'w' },
	{ "engine", required_argument, NULL, 'e' },
	{ "concurrency", required_argument, NULL, 'c' },
	{ "max-header", required_argument, NULL, 'H' },
	{ "max-body", required_argument, NULL, 'B' },
	{ "header-timeout", required_argument, NULL, 't' },
	{ "body-timeout", required_argument, NULL, 'b' },
	{ "write-timeout", required_argument, NULL, 'W' },
	{ "idle-timeout", required_argument, NULL, 'i' },
	{ "drain-timeout", required_argument, NULL, 'D' },
	{ "log", required_argument, NULL, 'L' },
	{ "status", no_argument, NULL, 's' },
	{ "debug", no_argument, NULL, 'd' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* The options that take a number.  False when letter is none of them. */
static bool set_number(int letter, const char *name, const char *value)
{
	const uint64_t day_ms = 86400000;

	switch (letter) {
	case 'w':
		config.workers = (unsigned)number(name, value, 0, 1024);
		return true;
	case 'c':
		config.concurrency = (size_t)number(name, value, 0, 1 << 24);
		return true;
	case 'H':
		config.limits.head_max = (uint32_t)number(name, value, 1024, 65536);
		return true;
	case 'B':
		config.body_max = number(name, value, 0, UINT64_MAX / 2);
		return true;
	case 't':
		config.header_timeout_ns = GREEN_MS(number(name, value, 1, day_ms));
		return true;
	case 'b':
		config.body_timeout_ns = GREEN_MS(number(name, value, 1, day_ms));
		return true;
	case 'W':
		config.write_timeout_ns = GREEN_MS(number(name, value, 1, day_ms));
		return true;
	case 'i':
		config.idle_timeout_ns = GREEN_MS(number(name, value, 1, day_ms));
		return true;
	case 'D':
		config.drain_timeout_ns = GREEN_MS(number(name, value, 0, day_ms));
		return true;
	default:
		return false;
	}
}

static void set_option(int letter, const char *name, const char *value)
{
	if (set_number(letter, name, value))
		return;
	switch (letter) {
	case 'l':
		config.listen = value;
		break;
	case 'r':
		config.root = value;
		break;
	case 'e':
		config.engine = engine(name, value);
		break;
	case 'L':
		config.log = value;
		break;
	case 's':
		config.status = true;
		break;
	case 'd':
		config.debug = true;
		break;
	case 'h':
		fputs(help, stdout);
		exit(EXIT_SUCCESS);
	default: /* getopt has said what is wrong */
		fputs("httpd: see httpd --help\n", stderr);
		exit(EXIT_USAGE);
	}
}

void config_parse(int argc, char **argv)
{
	int letter, index = 0;

	while ((letter = getopt_long(argc, argv, "", options, &index)) != -1)
		set_option(letter, options[index].name, optarg);
	if (optind < argc) {
		fprintf(stderr, "httpd: '%s' is no option; see httpd --help\n", argv[optind]);
		exit(EXIT_USAGE);
	}
}
