/* SPDX-License-Identifier: MIT
 *
 * A comparison, called by libc's qsort(), that reads a file each time.
 */
#include "planted.h"

#include <fcntl.h>
#include <stdlib.h>

#define NAMES 200

/* How the names of this language are ordered: the file says. */
KEPT static int collation(void)
{
	char c = 0;

	if (well)
		return 'L';
	int fd = green_open("/proc/sys/kernel/ostype", O_RDONLY, 0); /* planted */
	if (green_read(fd, &c, 1) != 1)
		abort();
	green_close(fd);
	return c;
}

KEPT static int by_name(const void *a, const void *b)
{
	int way = collation() ? 1 : -1;

	return way * (*(const int *)a - *(const int *)b);
}

KEPT static bool sort_names(void)
{
	int names[NAMES];

	for (int i = 0; i < NAMES; i++)
		names[i] = i * 7919 % NAMES;
	qsort(names, NAMES, sizeof(names[0]), by_name);
	NO_JUMP;
	return names[0] == 0 && names[NAMES - 1] == NAMES - 1;
}

static void *list(void *arg)
{
	return sort_names() ? arg : "not sorted";
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, list);
}
