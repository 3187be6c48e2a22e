/* SPDX-License-Identifier: MIT
 *
 * The command line.
 */
#include "options.h"
#include "escape.h"
#include "find.h"
#include "green.h"
#include "greenps.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
	"Usage: greentrace [-p PID | --name NAME | -a | -- COMMAND...] [options] [INTERVAL "
	"[COUNT]]\n"
	"       greentrace sites [-p PID | -- COMMAND...] [options]\n"
	"       greentrace record FILE [-p PID | -- COMMAND...] [options]\n"
	"       greentrace report FILE [options]\n"
	"       greentrace dump -p PID [-j]\n"
	"       greentrace flight -p PID [-n N] [-j]\n"
	"       greentrace probes -p PID [-j]\n"
	"       greentrace check\n\n"
	"Shows where green threads of a running program give up their CPU, for how long, and\n"
	"what keeps a CPU from switching.  sites: every call that may switch, whether it did or\n"
	"not.  record: all of it to a file, from which report makes each view, on any machine.\n"
	"dump: all green threads and their call paths.  flight: what happened before.\n"
	"probes: those that the program has.  check: what this machine allows.\n\n"
	"  -p, --pid PID          the process, by its number or name; or -- COMMAND... to start "
	"one\n"
	"      --name NAME        all processes of that name\n"
	"  -a, --all              all processes with green threads\n"
	"  -d, --duration S       stop after S seconds\n"
	"  -c, --summary          one table at the end\n"
	"  -H, --hist             a histogram of each switch point in the table\n"
	"  -k, --stacks           the call path of each switch point in the table\n"
	"  -w, --wakers           below each switch point who woke, over several hops\n"
	"  -s, --sort KEY         total (default), count, max, mean, queued\n"
	"  -n, --top N            rows (20)\n"
	"      --filter TEXT      only rows with this text\n"
	"  -T, --timestamp        the time of day above each table\n"
	"  -j, --json             a JSON object on each line\n"
	"      --sites            (report) the map of calls, as of \"greentrace sites\"\n"
	"      --entries          (record) calls that may switch, for --sites and --check\n"
	"      --blocked MS       workers that a system call or page fault blocked that long\n"
	"      --hog MS           green threads that computed that long without a switch\n"
	"      --runq             how long workers waited for a CPU\n"
	"      --io               where the time of waits for io_uring goes\n"
	"      --syscalls         system calls that the runtime did not make\n"
	"      --faults           new pages of stacks\n"
	"      --folded FILE      time away by call path, for flame graphs\n"
	"      --flame FILE       the same as a page of HTML\n"
	"      --running          both of the time that green threads ran\n"
	"      --perfetto FILE    a timeline for ui.perfetto.dev\n"
	"      --buffer MB        for records, a power of two (32)\n"
	"      --help, --version\n\n"
	"Contracts: exit status 1 when broken, 3 when something was missed\n"
	"      --lock FILE        (sites) write the set of calls that may switch\n"
	"      --check FILE       (sites) no others than those in FILE\n"
	"      --assert-no-yield FUNCTION  no call that may switch below it\n"
	"      --assert-no-blocked MS      no worker was blocked that long\n"
	"      --assert-no-hog MS          no green thread computed that long\n"
	"      --assert-max-runq US        no worker waited longer for a CPU\n\n"
	"Examples:\n"
	"  greentrace -p $(pidof httpd) 1\n"
	"  greentrace -c -d 10 -p $(pidof httpd) --blocked 1 --hog 20\n"
	"  greentrace sites --lock switches.lock -- ./server --selftest\n\n"
	"Exit status: 0 ok, 1 a contract was broken, 2 a problem (said), 3 inconclusive.\n";

enum {
	OPTION_NAME = 256,
	OPTION_FILTER,
	OPTION_SITES,
	OPTION_RUNNING,
	OPTION_ENTRIES,
	OPTION_BLOCKED,
	OPTION_HOG,
	OPTION_RUNQ,
	OPTION_IO,
	OPTION_SYSCALLS,
	OPTION_FAULTS,
	OPTION_FOLDED,
	OPTION_FLAME,
	OPTION_PERFETTO,
	OPTION_BUFFER,
	OPTION_LOCK,
	OPTION_CHECK,
	OPTION_NO_YIELD,
	OPTION_NO_BLOCKED,
	OPTION_NO_HOG,
	OPTION_MAX_RUNQ,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option known[] = {
	{ "pid", required_argument, NULL, 'p' },
	{ "name", required_argument, NULL, OPTION_NAME },
	{ "all", no_argument, NULL, 'a' },
	{ "filter", required_argument, NULL, OPTION_FILTER },
	{ "duration", required_argument, NULL, 'd' },
	{ "summary", no_argument, NULL, 'c' },
	{ "hist", no_argument, NULL, 'H' },
	{ "stacks", no_argument, NULL, 'k' },
	{ "sort", required_argument, NULL, 's' },
	{ "top", required_argument, NULL, 'n' },
	{ "timestamp", no_argument, NULL, 'T' },
	{ "json", no_argument, NULL, 'j' },
	{ "sites", no_argument, NULL, OPTION_SITES },
	{ "entries", no_argument, NULL, OPTION_ENTRIES },
	{ "blocked", required_argument, NULL, OPTION_BLOCKED },
	{ "hog", required_argument, NULL, OPTION_HOG },
	{ "runq", no_argument, NULL, OPTION_RUNQ },
	{ "io", no_argument, NULL, OPTION_IO },
	{ "syscalls", no_argument, NULL, OPTION_SYSCALLS },
	{ "faults", no_argument, NULL, OPTION_FAULTS },
	{ "folded", required_argument, NULL, OPTION_FOLDED },
	{ "flame", required_argument, NULL, OPTION_FLAME },
	{ "running", no_argument, NULL, OPTION_RUNNING },
	{ "perfetto", required_argument, NULL, OPTION_PERFETTO },
	{ "wakers", no_argument, NULL, 'w' },
	{ "buffer", required_argument, NULL, OPTION_BUFFER },
	{ "lock", required_argument, NULL, OPTION_LOCK },
	{ "check", required_argument, NULL, OPTION_CHECK },
	{ "assert-no-yield", required_argument, NULL, OPTION_NO_YIELD },
	{ "assert-no-blocked", required_argument, NULL, OPTION_NO_BLOCKED },
	{ "assert-no-hog", required_argument, NULL, OPTION_NO_HOG },
	{ "assert-max-runq", required_argument, NULL, OPTION_MAX_RUNQ },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ 0 },
};

static int bad(const char *what, const char *text)
{
	char shown[256];

	return problem("%s \"%s\"; \"greentrace --help\" lists the options", what,
	               escape_text(shown, sizeof(shown), text, false));
}

bool parse_scaled(const char *text, double factor, uint64_t *value)
{
	char *end;

	errno = 0;
	double number = strtod(text, &end);
	if (end == text || *end || errno || !isfinite(number) || number < 0 ||
	    number * factor > 9e18)
		return false;
	*value = (uint64_t)(number * factor);
	return true;
}

/* In nanoseconds, and not 0, which stands for "not asked for". */
static int time_option(const char *text, double ns, uint64_t *value)
{
	if (!parse_scaled(text, ns, value) || *value == 0)
		return bad("not a time above 0:", text);
	return EXIT_OK;
}

static int number_option(const char *text, uint64_t max, uint64_t *value)
{
	if (!parse_scaled(text, 1, value) || *value == 0 || *value > max ||
	    strspn(text, "0123456789") != strlen(text))
		return bad("not a number that fits here:", text);
	return EXIT_OK;
}

static int order_option(struct options *o, const char *text)
{
	static const char *const names[] = { "total", "count", "max", "mean", "queued" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0) {
			o->order = (enum sites_order)i;
			return EXIT_OK;
		}
	return bad("cannot sort by", text);
}

static int buffer_option(struct options *o, const char *text)
{
	uint64_t mb;

	if (number_option(text, 1024, &mb) != EXIT_OK)
		return EXIT_PROBLEM;
	o->buffer = mb << 20;
	return (mb & (mb - 1)) ? bad("not a power of two:", text) : EXIT_OK;
}

static int pid_option(struct options *o, const char *text)
{
	uint64_t pid;

	if (*text && (text[0] < '0' || text[0] > '9'))
		return find_one(text, &o->pid);
	if (number_option(text, INT32_MAX, &pid) != EXIT_OK)
		return EXIT_PROBLEM;
	o->pid = (pid_t)pid;
	return EXIT_OK;
}

/* Options that set one member each, and do nothing else. */
static const struct setting {
	int option;
	enum { FLAG, TEXT, TIME } kind;
	size_t member;
	double unit; /* of a time: nanoseconds */
} settings[] = {
	{ 'a', FLAG, offsetof(struct options, many), 0 },
	{ 'c', FLAG, offsetof(struct options, summary), 0 },
	{ 'H', FLAG, offsetof(struct options, histograms), 0 },
	{ 'k', FLAG, offsetof(struct options, stacks), 0 },
	{ 'w', FLAG, offsetof(struct options, wakers), 0 },
	{ 'T', FLAG, offsetof(struct options, timestamps), 0 },
	{ 'j', FLAG, offsetof(struct options, json), 0 },
	{ OPTION_SITES, FLAG, offsetof(struct options, map), 0 },
	{ OPTION_ENTRIES, FLAG, offsetof(struct options, entries), 0 },
	{ OPTION_RUNQ, FLAG, offsetof(struct options, queued), 0 },
	{ OPTION_IO, FLAG, offsetof(struct options, requests), 0 },
	{ OPTION_SYSCALLS, FLAG, offsetof(struct options, syscalls), 0 },
	{ OPTION_FAULTS, FLAG, offsetof(struct options, faults), 0 },
	{ OPTION_RUNNING, FLAG, offsetof(struct options, running), 0 },
	{ OPTION_FILTER, TEXT, offsetof(struct options, filter), 0 },
	{ OPTION_FOLDED, TEXT, offsetof(struct options, folded), 0 },
	{ OPTION_FLAME, TEXT, offsetof(struct options, flame), 0 },
	{ OPTION_PERFETTO, TEXT, offsetof(struct options, perfetto), 0 },
	{ OPTION_LOCK, TEXT, offsetof(struct options, lock), 0 },
	{ OPTION_CHECK, TEXT, offsetof(struct options, check), 0 },
	{ OPTION_NO_YIELD, TEXT, offsetof(struct options, no_yield), 0 },
	{ 'd', TIME, offsetof(struct options, duration_ns), 1e9 },
	{ OPTION_BLOCKED, TIME, offsetof(struct options, blocked_ns), 1e6 },
	{ OPTION_HOG, TIME, offsetof(struct options, hog_ns), 1e6 },
	{ OPTION_NO_BLOCKED, TIME, offsetof(struct options, no_blocked_ns), 1e6 },
	{ OPTION_NO_HOG, TIME, offsetof(struct options, no_hog_ns), 1e6 },
	{ OPTION_MAX_RUNQ, TIME, offsetof(struct options, max_queued_ns), 1e3 },
};

static int set(struct options *o, const struct setting *s)
{
	void *member = (char *)o + s->member;

	switch (s->kind) {
	case FLAG:
		*(bool *)member = true;
		return EXIT_OK;
	case TEXT:
		*(const char **)member = optarg;
		return EXIT_OK;
	case TIME:
		return time_option(optarg, s->unit, member);
	}
	return EXIT_PROBLEM;
}

static int one_option(struct options *o, int c)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (settings[i].option == c)
			return set(o, &settings[i]);
	switch (c) {
	case 'p':
		return pid_option(o, optarg);
	case 's':
		return order_option(o, optarg);
	case 'n':
		return number_option(optarg, 1000000, &o->rows);
	case OPTION_BUFFER:
		return buffer_option(o, optarg);
	case OPTION_NAME:
		o->many = true;
		o->name = optarg;
		return EXIT_OK;
	case OPTION_HELP:
		fputs(help, stdout);
		o->done = true;
		return EXIT_OK;
	case OPTION_VERSION:
		puts("greentrace " GREEN_VERSION);
		o->done = true;
		return EXIT_OK;
	default:
		return problem("\"greentrace --help\" lists the options");
	}
}

/* [FILE] [INTERVAL [COUNT]] */
static int operands(struct options *o, int argc, char **argv)
{
	int i = optind;

	if (o->command == RECORD || o->command == REPORT) {
		if (i == argc)
			return problem("record and report take the name of a file");
		o->file = argv[i++];
	}
	if (o->command != TOP && i < argc)
		return bad("not understood:", argv[i]);
	if (i < argc && strchr("0123456789.", argv[i][0]) == NULL)
		return bad("neither a command nor an interval:", argv[i]);
	if (i < argc && time_option(argv[i++], 1e9, &o->interval_ns) != EXIT_OK)
		return EXIT_PROBLEM;
	if (i < argc && number_option(argv[i++], UINT64_MAX / 4, &o->count) != EXIT_OK)
		return EXIT_PROBLEM;
	return i < argc ? bad("not understood:", argv[i]) : EXIT_OK;
}

/* What follows "--" is the program to start, and its options are its own. */
static int split(struct options *o, int *argc, char **argv)
{
	for (int i = 1; i < *argc; i++)
		if (strcmp(argv[i], "--") == 0) {
			if (i + 1 == *argc)
				return problem("no command after \"--\"");
			o->argv = argv + i + 1;
			argv[i] = NULL;
			*argc = i;
		}
	return EXIT_OK;
}

static int judge_report(const struct options *o)
{
	if (o->duration_ns || o->blocked_ns || o->hog_ns || o->queued || o->no_yield)
		return problem("report shows what was recorded: -d, --blocked, --hog, --runq and "
		               "--assert-no-yield are for \"greentrace record\", or for none");
	return EXIT_OK;
}

static int judge_record(const struct options *o)
{
	if (o->folded || o->flame || o->perfetto || o->wakers || o->json || o->histograms ||
	    o->lock || o->check || o->no_blocked_ns || o->no_hog_ns || o->max_queued_ns ||
	    o->no_yield || o->summary || o->map)
		return problem("record only records: views and contracts are for \"greentrace "
		               "report\", and what --sites shows is recorded with --entries");
	return EXIT_OK;
}

static int judge(const struct options *o)
{
	bool no_target = o->command == CHECK || o->command == REPORT;

	int targets = (o->pid != 0) + (o->argv != NULL) + o->many;

	if (!no_target && targets != 1)
		return problem("one target is needed: -p PID, --name NAME, -a, or -- COMMAND...; "
		               "\"greentrace --help\" lists the options");
	if (no_target && targets)
		return problem("check and report take no target");
	if ((o->command == PROBES || o->command == FLIGHT || o->command == DUMP) && !o->pid)
		return problem("probes, flight and dump take -p PID");
	if (o->running && !o->folded && !o->flame)
		return problem("--running says what --folded and --flame show");
	if (o->many && (o->command == RECORD || o->folded || o->flame || o->perfetto || o->lock ||
	                o->check || o->no_yield))
		return problem("files and --assert-no-yield are of one process: -p PID");
	if (o->command == RECORD)
		return judge_record(o);
	if (o->entries || (o->map && o->command == TOP))
		return problem("--entries belongs to \"greentrace record\", --sites to "
		               "\"greentrace report\"");
	if (!o->map && (o->lock || o->check))
		return problem("--lock and --check belong to \"greentrace sites\"");
	if (o->lock && o->check)
		return problem("either --lock or --check");
	return o->command == REPORT ? judge_report(o) : EXIT_OK;
}

static enum command command_of(int *argc, char ***argv)
{
	static const struct {
		const char *name;
		enum command command;
	} commands[] = {
		{ "sites", SITES },   { "record", RECORD }, { "report", REPORT }, { "dump", DUMP },
		{ "flight", FLIGHT }, { "probes", PROBES }, { "check", CHECK },
	};

	for (size_t i = 0; *argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp((*argv)[1], commands[i].name) == 0) {
			(*argv)[1] = (*argv)[0]; /* by which getopt_long() complains */
			++*argv;
			--*argc;
			return commands[i].command;
		}
	return TOP;
}

int options_parse(struct options *o, int argc, char **argv)
{
	int c;

	memset(o, 0, sizeof(*o));
	o->buffer = 32 << 20;
	o->command = command_of(&argc, &argv);
	o->map = o->command == SITES;
	int status = split(o, &argc, argv);
	while (status == EXIT_OK && !o->done &&
	       (c = getopt_long(argc, argv, "p:ad:cHkws:n:Tj", known, NULL)) != -1)
		status = one_option(o, c);
	if (status == EXIT_OK && !o->done)
		status = operands(o, argc, argv);
	o->map = o->map || (o->command == REPORT && (o->lock || o->check));
	return status == EXIT_OK && !o->done ? judge(o) : status;
}
