/* SPDX-License-Identifier: MIT
 *
 * greenrun: runs an unmodified threaded program on green threads.
 */
#include "greenrun.h"
#include "options.h"
#include "preload.h"
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define HWCAP2_FSGSBASE 2u /* bit of AT_HWCAP2 on x86-64 */

int problem(int status, const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fputs("greenrun: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return status;
}

/* Each green thread has a TLS block of its own: user space must be able to switch it. */
static int check_machine(void)
{
	if (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)
		return 0;
	return problem(EXIT_PROBLEM, "this machine does not let programs set the FS base: greenrun "
	                             "needs Linux 5.9 and a CPU with FSGSBASE");
}

static int set_text(const char *name, const char *value)
{
	return value ? setenv(name, value, 1) : 0;
}

static int set_number(const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return value ? setenv(name, text, 1) : 0;
}

/* Who asks for a file learns now that there cannot be one: when the program exits is late. */
static int check_report(const char *report)
{
	int fd;

	if (!report || strcmp(report, "-") == 0)
		return 0;
	fd = open(report, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return problem(EXIT_PROBLEM, "--report %s: %s", report, strerror(errno));
	close(fd);
	return 0;
}

/* A report goes where it was asked for, wherever the program goes. */
static int set_report(const char *report)
{
	char *folder, *path;
	int r;

	if (!report || strcmp(report, "-") == 0 || *report == '/')
		return set_text("GREEN_REPORT", report);
	if (!(folder = getcwd(NULL, 0)))
		return -1;
	r = asprintf(&path, "%s/%s", folder, report);
	free(folder);
	if (r < 0)
		return -1;
	r = setenv("GREEN_REPORT", path, 1);
	free(path);
	return r;
}

#define TUNABLES "GLIBC_TUNABLES"

/* In each thread libc keeps room for the static thread-local storage of libraries that come
 * later (dlopen(3)) and of further namespaces (dlmopen(3)): as little of it as it lets one
 * have, unless the user has set that already, for the last word counts. */
static int set_lean(bool lean)
{
	static const char least[] = "glibc.rtld.nns=1:glibc.rtld.optional_static_tls=0";
	const char *before = getenv(TUNABLES);
	char *all;
	int r;

	if (!lean)
		return 0;
	if (!before || !*before)
		return setenv("GREEN_LEAN", "1", 1) || setenv(TUNABLES, least, 1);
	r = asprintf(&all, "%s:%s", least, before);
	if (r < 0)
		return -1;
	r = setenv("GREEN_LEAN", "1", 1) || setenv(TUNABLES, all, 1);
	free(all);
	return r;
}

/* What the library reads at start; green.7 and greenrun.1 name the variables. */
static int set_environment(const struct options *o)
{
	if (set_number("GREEN_WORKERS", o->serial ? 1 : o->workers) ||
	    set_text("GREEN_ENGINE", o->engine) || set_text("GREEN_INTERCEPT", o->intercept) ||
	    set_number("GREEN_THREAD_STACK", o->stack_size) || set_lean(o->lean) ||
	    set_text("GREEN_PREEMPT", o->serial || o->no_preempt ? "0" : NULL) ||
	    set_number("GREEN_AUDIT_MS", o->audit_ms) || set_report(o->report))
		return problem(EXIT_PROBLEM, "no memory for the environment");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o;
	char path[PATH_MAX];
	int status = options_parse(&o, argc, argv);

	if (status)
		return status;
	if (!o.program)
		return fflush(stdout) == 0
		               ? 0
		               : problem(EXIT_PROBLEM, "standard output: %s", strerror(errno));
	if ((status = program_find(o.program[0], path)))
		return status;
	if (!o.intercept || strcmp(o.intercept, "off") != 0) {
		if ((status = check_machine()) || (status = program_check(path)) ||
		    (status = preload_set()))
			return status;
	}
	if ((status = check_report(o.report)) || (status = set_environment(&o)))
		return status;
	execvp(o.program[0], o.program);
	return problem(errno == ENOENT ? EXIT_ABSENT : EXIT_REFUSED, "%s: %s", path,
	               strerror(errno));
}
