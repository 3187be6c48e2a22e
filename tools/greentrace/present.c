/* SPDX-License-Identifier: MIT
 *
 * Choosing among the views.
 */
#include "present.h"
#include "escape.h"
#include "greenps.h"
#include "lockfile.h"
#include "timeline.h"
#include "view.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Will it be possible to write the file?  It is not opened: it may be a FIFO. */
static int writable(const char *file)
{
	char shown[300], folder[PATH_MAX];
	struct stat st;
	int error = 0;

	snprintf(folder, sizeof(folder), "%s", file);
	if (stat(file, &st) == 0)
		error = S_ISDIR(st.st_mode) ? EISDIR : eaccess(file, W_OK) ? errno : 0;
	else if (errno != ENOENT || eaccess(dirname(folder), W_OK | X_OK))
		error = errno;
	if (!error)
		return EXIT_OK;
	return problem("%s: %s", escape_text(shown, sizeof(shown), file, true), strerror(error));
}

int present_check(const struct options *o)
{
	const char *const files[] = { o->folded, o->flame, o->perfetto, o->lock,
		                      o->command == RECORD ? o->file : NULL };
	struct lock lock = { 0 };
	int status = EXIT_OK;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && status == EXIT_OK; i++)
		if (files[i])
			status = writable(files[i]);
	if (status == EXIT_OK && o->check)
		status = lock_read(&lock, o->check);
	lock_free(&lock);
	return status;
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
