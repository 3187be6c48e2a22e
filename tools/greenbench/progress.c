/* SPDX-License-Identifier: MIT
 *
 * The progress line on standard error.
 */
#include "progress.h"

#include "green.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum { NONE, LIVE, LINES } mode;
static int64_t next_ns;
static bool shown;

void progress_init(const char *name)
{
	if (name && !strcmp(name, "lines"))
		mode = LINES;
	else if ((!name || !strcmp(name, "auto")) && isatty(STDERR_FILENO))
		mode = LIVE;
}

void progress(const char *format, ...)
{
	if (mode == NONE)
		return;
	int64_t now = green_now();
	if (now < next_ns)
		return;
	next_ns = now + (mode == LIVE ? GREEN_MS(100) : GREEN_S(1));
	char text[256];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	fprintf(stderr, mode == LIVE ? "\r%s\033[K" : "%s\n", text);
	shown = mode == LIVE;
}

void progress_clear(void)
{
	if (shown)
		fputs("\r\033[K", stderr);
	shown = false;
}
