/* SPDX-License-Identifier: MIT
 *
 * Finds libgreenrun.so beside the tool, installed or in the build folder, and puts it
 * into LD_PRELOAD, in front of what is there.
 */
#include "preload.h"
#include "greenrun.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libgreenrun.so"

/* Where it may lie, as seen from the folder of the tool. */
static const char *const places[] = {
	"", /* the build folder */
	"../lib/",
	"../lib/x86_64-linux-gnu/",
	"../lib64/",
};

static int library_find(char found[PATH_MAX])
{
	char folder[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
	char *slash;

	if (n < 0)
		return problem(EXIT_PROBLEM, "/proc/self/exe: %s", strerror(errno));
	folder[n] = 0;
	slash = strrchr(folder, '/');
	if (slash)
		slash[1] = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s%s" LIBRARY, folder, places[i]);
		if (access(path, R_OK) == 0 && realpath(path, found))
			return 0;
	}
	return problem(EXIT_PROBLEM,
	               LIBRARY
	               " is neither in %s nor in the folder lib beside it: build or install it",
	               folder);
}

/* Is the library one of the words of a list as LD_PRELOAD is one? */
static int listed(const char *list, const char *library)
{
	size_t length = strlen(library);

	while (*list) {
		size_t n = strcspn(list, ": ");
		if (n == length && memcmp(list, library, n) == 0)
			return 1;
		list += n + !!list[n];
	}
	return 0;
}

int preload_set(void)
{
	const char *before = getenv("LD_PRELOAD");
	char library[PATH_MAX], *list;
	int status = library_find(library), failed;

	if (status)
		return status;
	/* The dynamic linker knows no escape for what separates the words. */
	if (strpbrk(library, ": "))
		return problem(EXIT_PROBLEM,
		               "%s: its path has a colon or a space, which LD_PRELOAD cannot "
		               "express: move it",
		               library);
	if (!before || !*before)
		failed = setenv("LD_PRELOAD", library, 1);
	else if (listed(before, library))
		failed = 0;
	else if (asprintf(&list, "%s:%s", library, before) < 0)
		failed = -1;
	else {
		failed = setenv("LD_PRELOAD", list, 1);
		free(list);
	}
	return failed ? problem(EXIT_PROBLEM, "no memory for the environment") : 0;
}
