/* SPDX-License-Identifier: MIT
 *
 * Loading libraries: the loader waits for a disk with its locks held, which whoever makes a
 * thread needs, too.
 */
#include "conform.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

/* A copy of a library, of which no page is in memory where the file system lets go of them. */
static int cold_copy(const char *library, char path[64])
{
	struct link_map *map = NULL;
	void *handle = dlopen(library, RTLD_NOW);
	int from = -1, to;

	snprintf(path, 64, "%s", "/tmp/green-conform-XXXXXX");
	to = mkstemp(path);
	if (handle && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0)
		from = open(map->l_name, O_RDONLY);
	if (from >= 0 && to >= 0)
		while (sendfile(to, from, NULL, 1 << 20) > 0)
			;
	close(from);
	int r = to < 0 || fsync(to) < 0 ? -1 : posix_fadvise(to, 0, 0, POSIX_FADV_DONTNEED);
	close(to);
	return r;
}

static void *loads(void *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL), *cosine = NULL;

	if (handle)
		cosine = dlsym(handle, "cos");
	return handle && dlclose(handle) == 0 ? cosine : NULL;
}

CHECK(library_not_in_memory)
{
	char path[64];

	EXPECT(cold_copy("libm.so.6", path) == 0);
	void *found = in_thread(loads, path);
	EXPECT(unlink(path) == 0);
	EXPECT(found != NULL);
	return true;
}

/* Threads that begin and end while others load. */
CHECK(libraries_not_in_memory_beside_threads)
{
	enum { COUNT = 4 };
	char paths[COUNT][64];
	pthread_t threads[COUNT];
	int good = 0;

	for (int i = 0; i < COUNT; i++)
		EXPECT(cold_copy("libm.so.6", paths[i]) == 0);
	for (int i = 0; i < COUNT; i++)
		threads[i] = started(loads, paths[i]);
	for (int i = 0; i < COUNT; i++)
		good += joined(threads[i]) != NULL;
	for (int i = 0; i < COUNT; i++)
		unlink(paths[i]);
	EXPECT(good == COUNT);
	return true;
}
