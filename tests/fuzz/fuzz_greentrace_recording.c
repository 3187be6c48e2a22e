/* SPDX-License-Identifier: MIT
 *
 * Fuzzes greentrace's reader of recordings, and all views that are made from them.
 *
 * Beyond not crashing: nothing that a recording has in it reaches the output raw.
 */
#include "greenps.h"
#include "present.h"
#include "recording.h"
#include "timeline.h"
#include "view.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char tool_name[] = "fuzz";

void complain(const char *format, ...)
{
	char text[2048];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
}

/* What the last bytes of the input choose. */
enum { JSON = 1, MAP = 2, STACKS = 4, EXPENSIVE = 31 };

static void check_text(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = (unsigned char)text[i];
		if ((byte < ' ' && byte != '\n') || byte == 0x7f)
			abort();
	}
}

static void show(struct trace *t)
{
	FILE *before = stdout;
	char *text = NULL;
	size_t size = 0;

	stdout = open_memstream(&text, &size);
	if (stdout) {
		present(t, false);
		fclose(stdout);
		check_text(text, size);
	}
	stdout = before;
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct trace t;
	unsigned choice = size ? data[size - 1] : 0;
	/* Timelines and chains take megabytes each. */
	bool expensive = (size > 1 ? data[size - 2] & EXPENSIVE : 1) == 0;
	const struct options o = {
		.command = REPORT,
		.map = choice & MAP,
		.json = choice & JSON,
		.stacks = choice & STACKS,
		.histograms = choice & STACKS,
		.wakers = expensive,
		.requests = expensive,
		.perfetto = expensive ? "/dev/null" : NULL,
		.folded = choice & STACKS ? "/dev/null" : NULL,
		.flame = choice & STACKS ? "/dev/null" : NULL,
		.rows = 20,
	};
	struct look look = { .order = (enum sites_order)(choice >> 3) % 5 };
	FILE *file = fmemopen((void *)(uintptr_t)data, size ? size : 1, "r");

	if (!file)
		return 0;
	memset(&t, 0, sizeof(t));
	t.options = &o;
	t.look = &look;
	int status = recording_read(&t, file, "input");
	if (status == EXIT_OK || status == EXIT_INCOMPLETE) {
		show(&t);
		present_files(&t);
	}
	trace_free(&t);
	fclose(file);
	return 0;
}
