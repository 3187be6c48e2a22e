/* SPDX-License-Identifier: MIT
 *
 * Opening files below the root.
 *
 * The kernel keeps us inside (RESOLVE_BENEATH), so nothing depends on how
 * cleverly names are checked.  A lookup is tried with RESOLVE_CACHED first: it
 * succeeds at once or says that a disk has to be waited for, and that is done
 * on the offload pool while this worker goes on.
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <green.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

/* A special file must not be waited for nor become our terminal. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* Renames that race with a lookup make the kernel say EAGAIN. */
#define ATTEMPTS_MAX 16

static int root_fd = -1;
static bool walking;    /* no openat2() here */
static bool has_cached; /* RESOLVE_CACHED is known (Linux 5.12) */

static int open_beneath(const char *name, unsigned long long resolve)
{
	struct open_how how = {
		.flags = OPEN_FLAGS,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve,
	};
	long fd = syscall(SYS_openat2, root_fd, name, &how, sizeof(how));

	return fd >= 0 ? (int)fd : -errno;
}

/* Opens one part of a name in dir, and closes dir. */
static int descend(int dir, const char *part, size_t len, int flags)
{
	char name[NAME_MAX + 1];
	int fd = -ENAMETOOLONG;

	if (len <= NAME_MAX) {
		memcpy(name, part, len);
		name[len] = '\0';
		fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC);
		fd = fd >= 0 ? fd : -errno;
	}
	close(dir);
	return fd;
}

/* Goes down part by part and follows no symbolic link.  path_decode() lets no
 * ".." through; this refuses it once more. */
static int open_walking(const char *name)
{
	int dir = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);

	if (dir < 0)
		return -errno;
	for (;;) {
		size_t len = strcspn(name, "/");

		if (len == 2 && name[0] == '.' && name[1] == '.') {
			close(dir);
			return -EXDEV;
		}
		if (name[len] == '\0')
			return descend(dir, len > 0 ? name : ".", len > 0 ? len : 1, OPEN_FLAGS);
		dir = descend(dir, name, len, O_PATH | O_DIRECTORY);
		if (dir < 0)
			return dir;
		name += len + 1;
	}
}

struct lookup {
	const char *name;
	int fd;
};

/* Runs on the offload pool: may wait for a disk. */
static void *look_up(void *arg)
{
	struct lookup *lookup = arg;
	int attempts = 0;

	if (walking) {
		lookup->fd = open_walking(lookup->name);
		return NULL;
	}
	do
		lookup->fd = open_beneath(lookup->name, 0);
	while (lookup->fd == -EAGAIN && ++attempts < ATTEMPTS_MAX);
	return NULL;
}

static int open_name(const char *name)
{
	struct lookup lookup = { .name = name, .fd = -EAGAIN };
	int result;

	if (has_cached) {
		lookup.fd = open_beneath(name, RESOLVE_CACHED);
		if (lookup.fd != -EAGAIN)
			return lookup.fd;
	}
	result = green_offload(look_up, &lookup, NULL);
	return result < 0 ? result : lookup.fd;
}

int files_open(const char *name, struct stat *st)
{
	int fd = open_name(*name != '\0' ? name : ".");

	if (fd >= 0 && fstat(fd, st) != 0) {
		int error = errno;

		green_close(fd);
		return -error;
	}
	return fd;
}

int files_init(const char *root, bool by_walking)
{
	int fd;

	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return -errno;
	fd = by_walking ? -ENOSYS : open_beneath(".", 0);
	/* Seccomp filters that are older than the call say EPERM. */
	walking = fd == -ENOSYS || fd == -EPERM;
	if (fd >= 0)
		close(fd);
	fd = walking ? -ENOSYS : open_beneath(".", RESOLVE_CACHED);
	has_cached = fd >= 0 || fd == -EAGAIN;
	if (fd >= 0)
		close(fd);
	return 0;
}
