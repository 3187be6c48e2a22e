/* SPDX-License-Identifier: MIT
 *
 * greenbench: benchmarks of libgreen, and load for servers.
 */
#include "bench.h"
#include "child.h"
#include "green.h"
#include "proc.h"
#include "progress.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_S 60

const struct bench *const benches[] = {
	&bench_yield,  &bench_spawn, &bench_pingpong,    &bench_chan,
	&bench_skynet, &bench_park,  &bench_grow,        &bench_timer,
	&bench_echo,   &bench_http,  &bench_intercept,   &bench_link,
	&bench_scale,  &bench_all,   &bench_echo_server, &bench_intercept_calls,
	NULL,
};

const struct bench *bench_find(const char *name)
{
	for (const struct bench *const *bench = benches; *bench; bench++)
		if (!strcmp((*bench)->name, name))
			return *bench;
	return NULL;
}

static void usage(FILE *file)
{
	fputs("Usage: greenbench NAME [options]\n\n", file);
	for (const struct bench *const *bench = benches; *bench; bench++)
		if (!(*bench)->hidden)
			fprintf(file, "  %-10s %.*s\n", (*bench)->name,
			        (int)strcspn((*bench)->about, "\n"), (*bench)->about);
	fputs("\n\"greenbench NAME --help\" lists the options of one.  Common ones: --workers N,\n"
	      "--engine io_uring|epoll, --rounds N, --duration S, --json.  greenbench --version.\n"
	      "Exit status: 0 ok, 1 a result was wrong or errors occurred, 2 bad usage,\n"
	      "3 cannot run here.  Measured by the clock of this machine: close other programs.\n",
	      file);
}

static bool wants_help(const char *argument)
{
	return !strcmp(argument, "--help") || !strcmp(argument, "-h") || !strcmp(argument, "help");
}

/* scale BENCH [options]: the options are that bench's. */
static int parse_scale(struct options *options, int argc, char **argv)
{
	if (argc < 1 || argv[0][0] == '-')
		return options_parse(options, &bench_scale, argc, argv);
	options->inner = bench_find(argv[0]);
	if (!options->inner || options->inner->hidden || options->inner == &bench_scale ||
	    options->inner == &bench_all) {
		fprintf(stderr,
		        "greenbench: scale: \"%s\" is not a bench that can be swept; "
		        "\"greenbench --help\" lists them\n",
		        argv[0]);
		return EXIT_USAGE;
	}
	options->inner_argv = argv + 1;
	options->inner_argc = argc - 1;
	return options_parse(options, options->inner, argc - 1, argv + 1);
}

/* The status, or that what was printed did not arrive. */
static int printed(int status)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	/* An error of an earlier write has been noted, but not which. */
	fprintf(stderr, "greenbench: standard output: %s\n",
	        errno ? strerror(errno) : "some of it could not be written");
	return EXIT_WRONG;
}

/* A socket or pipe of ours shall not be what is printed into when standard output was
 * closed. */
static void keep_standard(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd >= 0)
		close(fd);
}

static int run(const struct bench *bench, const struct options *options)
{
	if (options->help) {
		options_help(bench);
		return printed(EXIT_OK);
	}
	child_init();
	proc_raise_nofile(); /* servers that are started inherit it */
	progress_init(options->progress);
	int error = watchdog_start(bench->name, options->limit_s > 0 ? options->limit_s : LIMIT_S);
	if (error) {
		fprintf(stderr, "greenbench: the watchdog cannot be started: %s\n",
		        strerror(-error));
		return EXIT_CANNOT;
	}
	int status = bench->run(options);
	return printed(status);
}

int main(int argc, char **argv)
{
	keep_standard();
	if (argc < 2 || wants_help(argv[1])) {
		usage(argc < 2 ? stderr : stdout);
		return argc < 2 ? EXIT_USAGE : printed(EXIT_OK);
	}
	if (!strcmp(argv[1], "--version")) {
		puts("greenbench " GREEN_VERSION);
		return printed(EXIT_OK);
	}
	const struct bench *bench = bench_find(argv[1]);
	if (argv[1][0] == '-') {
		fprintf(stderr,
		        "greenbench: \"%s\" stands before the bench; give greenbench NAME "
		        "[options]\n",
		        argv[1]);
		return EXIT_USAGE;
	}
	if (!bench) {
		fprintf(stderr,
		        "greenbench: there is no bench named \"%s\"; \"greenbench --help\" "
		        "lists them\n",
		        argv[1]);
		return EXIT_USAGE;
	}
	struct options options = { 0 };
	int status = bench == &bench_scale ? parse_scale(&options, argc - 2, argv + 2)
	                                   : options_parse(&options, bench, argc - 2, argv + 2);
	if (status == 0 && bench->prepare && !options.help)
		status = bench->prepare();
	return status ? status : run(bench, &options);
}
