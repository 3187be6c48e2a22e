/* SPDX-License-Identifier: MIT
 *
 * greentrace: where green threads give up their CPU, and what keeps them from it.
 */
#include "dump.h"
#include "find.h"
#include "flight_view.h"
#include "greenps.h"
#include "memory.h"
#include "options.h"
#include "present.h"
#include "probes.h"
#include "rights.h"
#include "run.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

const char tool_name[] = "greentrace";

void complain(const char *format, ...)
{
	va_list arguments;

	if (find_looks)
		return;
	fflush(stdout);
	fprintf(stderr, "%s: ", tool_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

/* A map or a file of ours shall not be what is printed into when standard output was
 * closed.  The command that is started finds it closed. */
static void keep_standard(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd >= 0)
		close(fd);
}

static int act(const struct options *o)
{
	memory_limit();
	switch (o->command) {
	case CHECK:
		return check();
	case FLIGHT:
		return flight_show(o);
	case PROBES:
		return probes_list(o->pid, o->json);
	case DUMP:
		return dump(o->pid, o->json);
	case REPORT:
		return report(o);
	default:
		return run(o);
	}
}

int main(int argc, char **argv)
{
	struct options options;
	int status, printed;

	keep_standard();
	status = options_parse(&options, argc, argv);
	if (status == EXIT_OK && !options.done)
		status = act(&options);
	if (status == EXIT_PROBLEM)
		return status;
	printed = present_end();
	return printed == EXIT_OK ? status : printed;
}
