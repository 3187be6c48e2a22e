/* SPDX-License-Identifier: MIT
 *
 * Writing, reading and comparing lockfiles.
 */
#include "lockfile.h"
#include "escape.h"
#include "greenps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD                                                                                 \
	"# Calls that may switch: kind, file, function, number of calls.  greentrace sites " \
	"--lock\n"

static struct lock_entry *find(const struct lock *lock, const char *key)
{
	for (size_t i = 0; i < lock->count; i++)
		if (strcmp(lock->all[i].key, key) == 0)
			return &lock->all[i];
	return NULL;
}

static bool add(struct lock *lock, const char *key, unsigned calls)
{
	struct lock_entry *entry = find(lock, key);

	if (!entry) {
		entry = realloc(lock->all, (lock->count + 1) * sizeof(*entry));
		if (!entry)
			return false;
		lock->all = entry;
		entry += lock->count++;
		memset(entry, 0, sizeof(*entry));
		snprintf(entry->key, sizeof(entry->key), "%s", key);
	}
	entry->calls += calls;
	return true;
}

bool lock_add(struct lock *lock, const char *kind, const char *file, const char *function)
{
	char key[sizeof(lock->all->key)], a[40], b[280], c[280];

	/* Tabs and line feeds are escaped like all that is invisible. */
	snprintf(key, sizeof(key), "%s\t%s\t%s", escape_text(a, sizeof(a), kind, false),
	         escape_text(b, sizeof(b), file, false),
	         escape_text(c, sizeof(c), function, false));
	return add(lock, key, 1);
}

void lock_free(struct lock *lock)
{
	free(lock->all);
	memset(lock, 0, sizeof(*lock));
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct lock_entry *)a)->key, ((const struct lock_entry *)b)->key);
}

static int io_problem(const char *file)
{
	char shown[300];
	int error = errno;

	return problem("%s: %s", escape_text(shown, sizeof(shown), file, true), strerror(error));
}

int lock_write(struct lock *lock, const char *file)
{
	FILE *f = fopen(file, "we");

	if (!f)
		return io_problem(file);
	if (lock->count)
		qsort(lock->all, lock->count, sizeof(*lock->all), by_key);
	fputs(HEAD, f);
	for (size_t i = 0; i < lock->count; i++)
		fprintf(f, "%s\t%u\n", lock->all[i].key, lock->all[i].calls);
	bool bad = ferror(f);
	return fclose(f) != 0 || bad ? io_problem(file) : EXIT_OK;
}

/* "kind\tfile\tfunction\tcalls" */
static bool read_line(struct lock *lock, char *line)
{
	char *end, *tab = strrchr(line, '\t');
	unsigned tabs = 0;

	for (const char *c = line; *c; c++)
		tabs += *c == '\t';
	if (tabs != 3 || tab - line >= (ptrdiff_t)sizeof(lock->all->key))
		return false;
	unsigned long calls = strtoul(tab + 1, &end, 10);
	if (end == tab + 1 || *end || calls == 0 || calls > 1000000)
		return false;
	*tab = 0;
	return add(lock, line, (unsigned)calls);
}

int lock_read_stream(struct lock *lock, FILE *stream, const char *name)
{
	char *line = NULL, shown[300];
	size_t size = 0, number = 0;
	bool good = true;

	while (good && getline(&line, &size, stream) >= 0) {
		number++;
		line[strcspn(line, "\n")] = 0;
		if (line[0] && line[0] != '#')
			good = read_line(lock, line);
	}
	free(line);
	if (ferror(stream))
		return io_problem(name);
	return good ? EXIT_OK
	            : problem("%s: line %zu is not one of a lockfile",
	                      escape_text(shown, sizeof(shown), name, true), number);
}

int lock_read(struct lock *lock, const char *file)
{
	FILE *f = fopen(file, "re");

	if (!f)
		return io_problem(file);
	int status = lock_read_stream(lock, f, file);
	fclose(f);
	return status;
}

/* "kind in function of file" */
static void say_new(const struct lock_entry *entry, unsigned before)
{
	const char *file = strchr(entry->key, '\t') + 1, *function = strchr(file, '\t') + 1;

	printf("new: %.*s in %s of %.*s", (int)(file - 1 - entry->key), entry->key, function,
	       (int)(function - 1 - file), file);
	if (before)
		printf(": %u calls, %u before", entry->calls, before);
	printf("\n");
}

size_t lock_compare(const struct lock *before, struct lock *now)
{
	size_t fresh = 0;

	if (now->count)
		qsort(now->all, now->count, sizeof(*now->all), by_key);
	for (size_t i = 0; i < now->count; i++) {
		const struct lock_entry *old = find(before, now->all[i].key);
		if (old && now->all[i].calls <= old->calls)
			continue;
		say_new(&now->all[i], old ? old->calls : 0);
		fresh++;
	}
	return fresh;
}
