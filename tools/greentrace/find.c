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
#include <sys/stat.h>
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

/* The list with room for one more; NULL: no memory. */
static void *with_room(void *list, size_t count, size_t size)
{
	return count & (count - 1) ? list : realloc(list, (count ? 2 * count : 1) * size);
}

static bool add(pid_t **list, size_t *count, pid_t pid)
{
	pid_t *more = with_room(*list, *count, sizeof(pid));

	if (!more)
		return false;
	*list = more;
	more[(*count)++] = pid;
	return true;
}

static bool add_seen(struct seen **list, size_t *count, const struct seen *one)
{
	struct seen *more = with_room(*list, *count, sizeof(*one));

	if (!more)
		return false;
	*list = more;
	more[(*count)++] = *one;
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

static struct seen executes(pid_t pid)
{
	struct stat st = { 0 }; /* stays so for one of the kernel's own */
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	if (stat(path, &st) != 0)
		memset(&st, 0, sizeof(st));
	return (struct seen){ pid, st.st_dev, st.st_ino };
}

static bool is_seen(const struct found *f, const struct seen *now)
{
	const struct seen *before = NULL;

	/* They begin with the number, which is what they are ordered by. */
	if (f->seen_count > 0)
		before = bsearch(now, f->seen, f->seen_count, sizeof(*now), ascending);
	return before && before->device == now->device && before->file == now->file;
}

int find_news(struct found *f, const char *name)
{
	struct seen *seen = NULL;
	size_t count, seen_count = 0;
	pid_t *now;
	bool ok = list_processes(&now, &count);

	f->news_count = 0;
	for (size_t i = 0; i < count && ok; i++) {
		struct seen one = executes(now[i]);
		bool known = is_seen(f, &one);
		bool wanted = !known && (!name || is_called(now[i], name));
		bool is_new = wanted && find_has_runtime(now[i]);
		/* To look into one takes long: each once, but for the few of that name. */
		if (is_new)
			ok = add(&f->news, &f->news_count, now[i]);
		if (ok && (known || is_new || !name))
			ok = add_seen(&seen, &seen_count, &one);
	}
	free(now);
	/* Those that have ended are forgotten: their numbers may be given away again. */
	free(f->seen);
	f->seen = seen;
	f->seen_count = seen_count;
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
