/* SPDX-License-Identifier: MIT
 *
 * The report at the end of the program.
 */
#include "intercept/tally.h"
#include "fdtab.h"
#include "green.h"
#include "intercept/audit.h"
#include "intercept/call_name.h"
#include "intercept/dispatch.h"
#include "intercept/thread.h"
#include "options.h"
#include "report.h"
#include "scheduler.h"
#include "symbol.h"
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define SITES_SHOWN 12
#define CALLS_SHOWN 10 /* of one kind */
#define AUDIT_MS_MAX 3600000

_Atomic uint64_t *tally_counts;

static struct {
	int fd;
	bool report;
	int64_t audit_ns; /* 0: nobody asked */
	int64_t start_ns;
	_Atomic bool done;
} tally = { .fd = -1 };

int tally_fd(void)
{
	return tally.fd >= 0 ? tally.fd : 2;
}

/* A descriptor of our own, which outlives what the program does with its standard
 * error. */
static int open_report(const char *where)
{
	if (!where || strcmp(where, "-") == 0)
		return fd_private((int)sys3(SYS_fcntl, 2, F_DUPFD_CLOEXEC, 3));
	return fd_private((int)sys4(SYS_openat, AT_FDCWD, where,
	                            O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
}

int tally_options(void)
{
	uint64_t ms = 0;
	int r = options_number("GREEN_AUDIT_MS", false, 0, AUDIT_MS_MAX, &ms);

	tally.audit_ns = GREEN_MS(ms);
	return r < 0 ? r : 0;
}

void tally_start(void)
{
	const char *where = secure_getenv("GREEN_REPORT");
	size_t size = (size_t)rt.workers_count * CALL_NR_MAX * sizeof(*tally_counts);
	long error = 0;

	tally.report = where && *where;
	if (!tally.report && !tally.audit_ns)
		return;
	tally.start_ns = sys.now();
	tally.fd = open_report(tally.report ? where : "-");
	if (tally.report)
		tally_counts = sys_map(size, 0, &error);
	if (tally.audit_ns) {
		audit_limit_ns = tally.audit_ns;
		monitor_also = audit_say;
	}
}

/* ---- calls by kind ------------------------------------------------------------ */

static const char *const kinds[CALL_GROUP_COUNT] = {
	[CALL_NONE] = "not handled",    [CALL_SOCKETS] = "sockets", [CALL_READINESS] = "readiness",
	[CALL_TIME] = "time",           [CALL_FILES] = "files",     [CALL_THREADS] = "threads",
	[CALL_PROCESSES] = "processes", [CALL_SIGNALS] = "signals",
};

static uint64_t count_of(unsigned nr)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < rt.workers_count; w++)
		sum += atomic_load_explicit(&tally_counts[(size_t)w * CALL_NR_MAX + nr],
		                            memory_order_relaxed);
	return sum;
}

static bool is_of(unsigned nr, unsigned kind)
{
	return (calls[nr].name ? calls[nr].group : CALL_NONE) == kind;
}

/* The most frequent one with fewer than `below`, or the same and a higher number. */
static unsigned next_call(unsigned kind, uint64_t below, unsigned after)
{
	uint64_t most = 0;
	unsigned found = CALL_NR_MAX;

	for (unsigned nr = 0; nr < CALL_NR_MAX; nr++) {
		uint64_t n = is_of(nr, kind) ? count_of(nr) : 0;
		if (n > most && (n < below || (n == below && nr > after))) {
			most = n;
			found = nr;
		}
	}
	return found;
}

static void report_kind(struct report *r, unsigned kind)
{
	uint64_t sum = 0, below = UINT64_MAX;
	unsigned shown = 0, at = 0;

	for (unsigned nr = 0; nr < CALL_NR_MAX; nr++)
		sum += is_of(nr, kind) ? count_of(nr) : 0;
	if (!sum)
		return;
	report_str(r, "    ");
	report_str(r, kinds[kind]);
	for (size_t n = strlen(kinds[kind]); n < 13; n++)
		report_str(r, " ");
	report_number(r, (int64_t)sum);
	report_str(r, ":");
	while ((at = next_call(kind, below, at)) < CALL_NR_MAX && shown++ < CALLS_SHOWN) {
		below = count_of(at);
		report_str(r, shown > 1 ? ", " : " ");
		report_str(r, call_name(at));
		report_str(r, " ");
		report_number(r, (int64_t)below);
	}
	report_str(r, at < CALL_NR_MAX ? " …\n" : "\n");
}

/* ---- the rest ----------------------------------------------------------------- */

static void report_slow_sites(struct report *r)
{
	const struct dispatch_site *sites = dispatch_sites();
	struct symbols symbols;
	unsigned shown = 0;

	report_str(r, "  slow path      ");
	report_number(r, (int64_t)dispatch_count());
	report_str(r, " calls that only dispatch saw\n");
	symbols_begin(&symbols);
	for (unsigned i = 0; i < DISPATCH_SITES && shown < SITES_SHOWN; i++) {
		uintptr_t pc = atomic_load_explicit(&sites[i].pc, memory_order_relaxed);
		if (!pc)
			continue;
		shown++;
		report_str(r, "    ");
		report_number(r,
		              (int64_t)atomic_load_explicit(&sites[i].count, memory_order_relaxed));
		report_str(r, " ");
		report_str(r, call_name(atomic_load_explicit(&sites[i].nr, memory_order_relaxed)));
		report_str(r, " at ");
		symbol_report(&symbols, r, (const void *)pc, true);
		report_str(r, "\n");
	}
	symbols_end(&symbols);
}

/* Lines of /proc/self/status, in kB there, read without the C library. */
static void report_memory(struct report *r)
{
	static const struct {
		const char *key, *what;
	} lines[] = { { "\nVmRSS:", "resident " },
		      { "\nVmHWM:", ", at most " },
		      { "\nVmPTE:", ", page tables " } };
	char text[2048];
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? 0 : sys3(SYS_read, (int)fd, text, sizeof(text) - 1);

	if (fd >= 0)
		sys1(SYS_close, (int)fd);
	text[n > 0 ? n : 0] = 0;
	report_str(r, "  memory         ");
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const char *at = strstr(text, lines[i].key);
		report_str(r, lines[i].what);
		report_kib(r, at ? strtoul(at + strlen(lines[i].key), NULL, 10) * 1024 : 0);
	}
	report_str(r, "\n");
}

static void report_numbers(struct report *r, const struct green_info *info)
{
	static const char *const names[] = {
		"  threads        ",         " created, ", " at most at once, ",
		" alive\n  switches       ", " on ",       " workers, "
	};
	const uint64_t numbers[] = { info->spawns,
		                     atomic_load_explicit(&threads_peak, memory_order_relaxed),
		                     atomic_load_explicit(&threads_alive, memory_order_relaxed),
		                     info->switches, info->workers };

	report_str(r, names[0]);
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		report_number(r, (int64_t)numbers[i]);
		report_str(r, names[i + 1]);
	}
	report_number(r, (int64_t)info->steals);
	report_str(r, " thefts, engine ");
	report_str(r, info->engine);
	report_str(r, "\n");
}

static void report_head(struct report *r)
{
	char name[16] = "";
	struct green_intercept_info info;
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? 0 : sys3(SYS_read, (int)fd, name, sizeof(name) - 1);

	if (fd >= 0)
		sys1(SYS_close, (int)fd);
	if (n > 0 && name[n - 1] == '\n')
		name[n - 1] = 0;
	report_str(r, "greenrun: report of ");
	report_quoted(r, name, sizeof(name));
	report_str(r, " (");
	report_number(r, sys0(SYS_getpid));
	report_str(r, "), ");
	report_since(r, sys.now() - tally.start_ns);
	report_str(r, "\n");
	if (green_intercept_info(&info) == 0) {
		report_str(r, "  interception   ");
		report_str(r, info.text);
		report_str(r, "\n");
	}
}

void tally_end(void)
{
	trace_end();
	struct green_info info;
	struct report r;

	if ((!tally.report && !tally.audit_ns) ||
	    atomic_exchange_explicit(&tally.done, true, memory_order_relaxed))
		return;
	if (tally.audit_ns && !tally.report) {
		audit_say();
		return;
	}
	report_begin(&r, tally_fd());
	report_head(&r);
	if (green_info(&info) == 0)
		report_numbers(&r, &info);
	report_str(&r, "  calls\n");
	for (unsigned kind = 0; tally_counts && kind < CALL_GROUP_COUNT; kind++)
		report_kind(&r, (kind + 1) % CALL_GROUP_COUNT); /* those not handled last */
	report_slow_sites(&r);
	report_memory(&r);
	if (tally.audit_ns)
		audit_report(&r);
	report_end(&r);
}

/* ---- where it is called ------------------------------------------------------- */

long call_exit_group(struct call *c)
{
	(void)c;
	tally_end();
	return CALL_PASS;
}
