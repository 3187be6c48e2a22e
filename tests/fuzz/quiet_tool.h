/* SPDX-License-Identifier: MIT
 *
 * What greentrace's main() gives to its other parts, for fuzzers of these: complaints are
 * formatted, and go nowhere.
 */
#ifndef FUZZ_QUIET_TOOL_H
#define FUZZ_QUIET_TOOL_H

#include "greenps.h"

#include <stdarg.h>
#include <stdio.h>

const char tool_name[] = "fuzz";

void complain(const char *format, ...)
{
	char text[2048];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
}

#endif
