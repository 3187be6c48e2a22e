/* SPDX-License-Identifier: MIT
 *
 * Looking through /proc.
 */
#include "find.h"
#include "escape.h"
#include "greenps.h"
#include "layout.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool find_looks;

/* ---- one process -------------------------------------------------------------- */

static bool is_called(pid_t pid, const char *name)
{
	char path[64], text[PATH_MAX];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	ssize_t n = readlink(path, text, sizeof(text) - 1);
	if (n > 0) {
		text[n] = 0;
		char *deleted = strstr(text, " (deleted)");
		if (deleted)
			*deleted = 0;
		const char *slash = strrchr(text, '/');
		if (strcmp(slash ? slash + 1 : text, name) == 0)
			return true;
	}
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = 0;
	fclose(f);
	text[strcspn(text, "\n")] = 0;
	return strcmp(text, name) == 0;
}

bool find_has_runtime(pid_t pid)
{
	struct target target;
	struct layout *layout = malloc(sizeof(*layout));
	bool found;

	if (!layout)
		return false;
	find_looks = true;
	found = target_open_pid(&target, pid) == EXIT_OK && layout_find(layout, &target) == EXIT_OK;
	find_looks = false;
	target_close(&target);
	free(layout);
	return found;
}

/* ---- all of them ------------------------------------------------------------------ */

static int ascending(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
}

static bool add(pid_t **list, size_t *count, pid_t pid)
{
	if ((*count & (*count - 1)) == 0) {
		pid_t *more = realloc(*list, (*count ? 2 * *count : 1) * sizeof(pid_t));
		if (!more)
			return false;
		*list = more;
	}
	(*list)[(*count)++] = pid;
	return true;
}

/* The processes there are now, in ascending order.  False: no memory, or no /proc. */
static bool list_processes(pid_t **list, size_t *count)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	bool ok = dir != NULL;

	*list = NULL;
	*count = 0;
	while (ok && (entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]) && atoi(entry->d_name) != getpid())
			ok = add(list, count, atoi(entry->d_name));
	if (dir)
		closedir(dir);
	if (ok && *count)
		qsort(*list, *count, sizeof(pid_t), ascending);
	return ok;
}

static bool is_seen(const struct found *f, pid_t pid)
{
	return f->seen_count > 0 &&
	       bsearch(&pid, f->seen, f->seen_count, sizeof(pid), ascending) != NULL;
}

int find_news(struct found *f, const char *name)
{
	pid_t *now;
	size_t count;
	bool ok = list_processes(&now, &count);

	f->news_count = 0;
	for (size_t i = 0; i < count && ok; i++)
		if (!is_seen(f, now[i]) && (!name || is_called(now[i], name)) &&
		    find_has_runtime(now[i]))
			ok = add(&f->news, &f->news_count, now[i]);
	/* Those that have ended are forgotten: their numbers may be given away again. */
	free(f->seen);
	f->seen = now;
	f->seen_count = count;
	return ok ? EXIT_OK
	          : problem("the processes in /proc cannot be listed: %s", strerror(errno));
}

void find_free(struct found *f)
{
	free(f->seen);
	free(f->news);
	memset(f, 0, sizeof(*f));
}

int find_one(const char *name, pid_t *pid)
{
	char shown[256];
	pid_t *now, first = 0;
	size_t count, matches = 0;

	if (!list_processes(&now, &count)) {
		free(now);
		return problem("the processes in /proc cannot be listed: %s", strerror(errno));
	}
	for (size_t i = 0; i < count; i++)
		if (is_called(now[i], name) && matches++ == 0)
			first = now[i];
	free(now);
	*pid = first;
	escape_text(shown, sizeof(shown), name, true);
	if (matches == 0)
		return problem("there is no process called %s", shown);
	if (matches > 1)
		return problem("%zu processes are called %s, the first of them %d: -p takes a "
		               "number too, and --name %s means all of them",
		               matches, shown, (int)first, shown);
	return EXIT_OK;
}
