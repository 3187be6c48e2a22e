/* SPDX-License-Identifier: MIT
 *
 * Choosing among the views.
 */
#include "present.h"
#include "greenps.h"
#include "timeline.h"
#include "view.h"

#include <errno.h>
#include <string.h>

void present(struct trace *t, bool interval)
{
	const struct options *o = t->options;

	trace_count(t);
	if (o->json) {
		view_json(t, interval);
	} else {
		if (o->map)
			view_sites(t);
		else
			view_table(t, interval);
		printf("\n");
	}
	fflush(stdout);
}

int present_files(struct trace *t)
{
	const struct options *o = t->options;
	int status = EXIT_OK;

	if (o->folded)
		status = folded_write(t, o->folded);
	if (o->flame && status == EXIT_OK)
		status = flame_write(t, o->flame);
	if (t->timeline && status == EXIT_OK)
		status = timeline_end(t->timeline);
	return status;
}

int present_end(void)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		return problem("standard output: %s", strerror(errno));
	return EXIT_OK;
}
