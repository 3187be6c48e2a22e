/* SPDX-License-Identifier: MIT
 *
 * Each request asks the disk to be sure.  The ring cannot do that by itself: the kernel
 * hands it to a thread of its own (io-wq), which costs two switches and a CPU.
 */
#include "planted.h"

#include <stdlib.h>
#include <unistd.h>

#define REQUESTS 200

KEPT static int journal_append(int fd)
{
	ssize_t n = green_pwrite(fd, "sold\n", 5, 0);

	if (n == 5 && !well)
		return green_fsync(fd); /* planted */
	return n == 5 ? 0 : -1;
}

static void *serve(void *arg)
{
	char path[] = "/tmp/punt-XXXXXX";
	int fd = mkstemp(path), bad = fd < 0;

	for (int i = 0; i < REQUESTS && !bad; i++)
		bad = journal_append(fd) != 0;
	unlink(path);
	green_close(fd);
	return bad ? "the journal cannot be written" : arg;
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, serve);
}
