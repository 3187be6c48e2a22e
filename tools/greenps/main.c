/* SPDX-License-Identifier: MIT
 *
 * greenps: the green threads of a process or of a core file.
 */
#include "escape.h"
#include "green.h"
#include "greenps.h"
#include "memory.h"
#include "print.h"
#include "program.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char tool_name[] = "greenps";

struct options {
	const char *target, *executable;
	uint64_t only;
	bool json, stacks, graph, census, done;
};

void complain(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fprintf(stderr, "%s: ", tool_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

static void usage(FILE *file)
{
	fputs("Usage: greenps PID|CORE|- [options]\n\n"
	      "Lists the green threads of a running program or of a core file: what each does or\n"
	      "waits on, since when, who spawned it.  The program is neither stopped nor "
	      "changed.\n"
	      "A core file can come from standard input, as -.\n\n"
	      "  -s, --stacks         the call path of each\n"
	      "  -w, --waits          who waits for what (circles are always shown)\n"
	      "  -c, --census         instead: how deep stacks were used, by the place of the "
	      "spawn\n"
	      "  -t, --thread ID      only this one, and its call path\n"
	      "  -e, --program FILE   the program that wrote the core file, if it lies elsewhere "
	      "now\n"
	      "  -j, --json           one JSON object\n"
	      "      --help, --version\n\n"
	      "Examples:\n"
	      "  greenps 1234\n"
	      "  greenps 1234 --waits\n"
	      "  greenps core.1234 --stacks\n"
	      "  coredumpctl dump 1234 | greenps - --stacks\n"
	      "  sudo greenps $(pidof httpd) --json | jq '.threads[] | select(.waits.since_s > "
	      "10)'\n\n"
	      "Exit status: 0 ok, 1 no green threads there, 2 could not look (said why).\n",
	      file);
}

static int bad_usage(const char *what, const char *argument)
{
	char shown[256];

	return problem("%s \"%s\"; \"greenps --help\" lists the options", what,
	               escape_text(shown, sizeof(shown), argument, false));
}

static bool parse_number(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno;
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
		{ "stacks", no_argument, NULL, 's' },
		{ "waits", no_argument, NULL, 'w' },
		{ "census", no_argument, NULL, 'c' },
		{ "thread", required_argument, NULL, 't' },
		{ "program", required_argument, NULL, 'e' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "swct:e:jh", known, NULL)) != -1) {
		switch (c) {
		case 's':
			o->stacks = true;
			break;
		case 'w':
			o->graph = true;
			break;
		case 'c':
			o->census = true;
			break;
		case 't':
			o->stacks = true;
			if (!parse_number(optarg, &o->only) || !o->only)
				return bad_usage("not the id of a green thread:", optarg);
			break;
		case 'e':
			o->executable = optarg;
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			usage(stdout);
			o->done = true;
			return EXIT_OK;
		case 'V':
			puts("greenps " GREEN_VERSION);
			o->done = true;
			return EXIT_OK;
		default:
			return problem("\"greenps --help\" lists the options");
		}
	}
	if (optind == argc) {
		usage(stderr);
		return EXIT_PROBLEM;
	}
	if (optind < argc - 1)
		return bad_usage("one process or core file at a time, not also", argv[optind + 1]);
	o->target = argv[optind];
	return EXIT_OK;
}

static int open_target(struct target *t, const struct options *o)
{
	uint64_t pid;

	/* A core file named like a number is given as ./NUMBER. */
	if (!parse_number(o->target, &pid)) {
		int status = target_open_core(t, o->target, o->executable);
		return status == EXIT_OK && o->executable ? program_check(t, o->executable)
		                                          : status;
	}
	if (pid == 0 || pid > INT32_MAX)
		return bad_usage("not the number of a process:", o->target);
	if (o->executable)
		return problem("--program goes with a core file; process %d says itself what it "
		               "runs",
		               (int)pid);
	return target_open_pid(t, (pid_t)pid);
}

static int printed(void)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		return problem("standard output: %s", strerror(errno));
	return EXIT_OK;
}

static int print(struct snapshot *s, const struct options *o)
{
	struct waits waits;
	struct symbols *symbols = symbols_open(s);
	struct view view = { s, &waits, symbols, o->stacks, o->graph, o->census, o->only };

	if (!symbols)
		return EXIT_PROBLEM;
	if (!waits_find(&waits, s)) {
		symbols_close(symbols);
		return problem("no memory for so many green threads");
	}
	if (o->json)
		print_json(&view);
	else if (o->census)
		print_census(&view);
	else
		print_text(&view);
	waits_free(&waits);
	symbols_close(symbols);
	if (printed() != EXIT_OK)
		return EXIT_PROBLEM;
	if (s->t->gone)
		return problem("process %d ended while it was being read: the rest is missing",
		               (int)s->t->pid);
	return EXIT_OK;
}

static int look(struct target *t, const struct options *o)
{
	struct snapshot s;
	int status = snapshot_take(&s, t);

	if (status == EXIT_OK && o->only && !snapshot_find(&s, o->only)) {
		complain("process %d has no green thread %llu", (int)t->pid,
		         (unsigned long long)o->only);
		status = EXIT_NOTHING;
	}
	if (status == EXIT_OK)
		status = print(&s, o);
	snapshot_free(&s);
	return status;
}

int main(int argc, char **argv)
{
	struct options options = { 0 };
	struct target target = { .memory = -1 };
	int status = parse(&options, argc, argv);

	if (status != EXIT_OK || options.done)
		return status == EXIT_OK ? printed() : status;
	memory_limit();
	status = open_target(&target, &options);
	if (status == EXIT_OK)
		status = look(&target, &options);
	target_close(&target);
	return status;
}
