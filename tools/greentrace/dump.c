/* SPDX-License-Identifier: MIT
 *
 * What greenps does, by its own code.
 */
#include "dump.h"
#include "greenps.h"
#include "print.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int print(struct snapshot *s, bool json)
{
	struct waits waits;
	struct symbols *symbols = symbols_open(s);
	struct view view = { .s = s, .waits = &waits, .symbols = symbols, .stacks = true };

	if (!symbols)
		return EXIT_PROBLEM;
	if (!waits_find(&waits, s)) {
		symbols_close(symbols);
		return problem("no memory for so many green threads");
	}
	if (json)
		print_json(&view);
	else
		print_text(&view);
	waits_free(&waits);
	symbols_close(symbols);
	if (fflush(stdout) != 0 || ferror(stdout))
		return problem("standard output: %s", strerror(errno));
	if (s->t->gone)
		return problem("process %d ended while it was being read: the rest is missing",
		               (int)s->t->pid);
	return EXIT_OK;
}

int dump(pid_t pid, bool json)
{
	struct target target;
	struct snapshot s;
	int status = target_open_pid(&target, pid);

	if (status == EXIT_OK) {
		status = snapshot_take(&s, &target);
		if (status == EXIT_OK)
			status = print(&s, json);
		snapshot_free(&s);
	}
	target_close(&target);
	return status;
}
