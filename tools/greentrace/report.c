/* SPDX-License-Identifier: MIT
 *
 * greentrace report: the views of a recording.
 */
#include "contract.h"
#include "escape.h"
#include "greenps.h"
#include "present.h"
#include "recording.h"
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A view of what was not looked for would be empty, which says something else. */
static int judge_views(const struct options *o, const struct wishes *recorded)
{
	const char *missing = o->requests && !recorded->requests   ? "--io"
	                      : o->syscalls && !recorded->syscalls ? "--syscalls"
	                      : o->faults && !recorded->faults     ? "--faults"
	                                                           : NULL;

	return missing ? problem("it was recorded without %s", missing) : EXIT_OK;
}

static int report_from(struct trace *t, const struct options *o, FILE *file)
{
	struct look look = { .order = o->order, .filter = o->filter };

	t->options = o;
	t->look = &look;
	int read = recording_read(t, file, o->file), status;

	if (read != EXIT_OK && read != EXIT_INCOMPLETE)
		return read;
	status = judge_views(o, &t->session.wishes);
	if (status != EXIT_OK)
		return status;
	if (!has_contract(o))
		present(t, false);
	status = present_files(t);
	if (status == EXIT_OK && has_contract(o))
		status = contract_judge(t);
	if (status == EXIT_OK && read == EXIT_OK && o->lock)
		status = contract_lock(t);
	int shown = present_end();
	if (shown != EXIT_OK)
		return shown;
	return status == EXIT_OK && read == EXIT_INCOMPLETE ? EXIT_PROBLEM : status;
}

int report(const struct options *o)
{
	struct trace *t = calloc(1, sizeof(*t));
	char shown[300];
	FILE *file = fopen(o->file, "re");
	int status = present_check(o);

	if (status != EXIT_OK)
		; /* said */
	else if (!file)
		status = problem("%s: %s", escape_text(shown, sizeof(shown), o->file, true),
		                 strerror(errno));
	else if (!t)
		status = problem("no memory");
	else
		status = report_from(t, o, file);
	if (t)
		trace_free(t);
	if (file)
		fclose(file);
	free(t);
	return status;
}
