/* SPDX-License-Identifier: MIT
 *
 * greentrace: where green threads give up their CPU, and what keeps them from it.
 */
#include "dump.h"
#include "find.h"
#include "flight_view.h"
#include "greenps.h"
#include "options.h"
#include "probes.h"
#include "rights.h"
#include "run.h"

#include <stdarg.h>
#include <stdio.h>

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

int main(int argc, char **argv)
{
	struct options options;
	int status = options_parse(&options, argc, argv);

	if (status != EXIT_OK || options.done)
		return status;
	switch (options.command) {
	case CHECK:
		return check();
	case FLIGHT:
		return flight_show(&options);
	case PROBES:
		return probes_list(options.pid, options.json);
	case DUMP:
		return dump(options.pid, options.json);
	case REPORT:
		return report(&options);
	default:
		return run(&options);
	}
}
