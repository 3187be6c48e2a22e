/* SPDX-License-Identifier: MIT
 *
 * How libelf, libdw and libbpf get at files: copies of them are what they map.  Who may
 * write a file that is mapped here may cut it short, and SIGBUS ends who looks there; or
 * change what has been checked and is looked at again.  What has been read stays.
 *
 * And they open regular files alone: which others, may stand in one of them, or in a core
 * file, and opening a pipe waits, opening a device does whatever that device does.
 *
 * These libraries have no option for either.  But they call mmap(2) and open(2), and find
 * those here before libc's.
 */
#include "files.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COPY_MAX ((size_t)64 << 20)
#define FOR_LIBRARIES __attribute__((visibility("default")))

/* Under their own names libc's headers may have them inline. */
void *map_for_libraries(void *address, size_t size, int protection, int flags, int fd,
                        off_t offset) __asm__("mmap") FOR_LIBRARIES;
int open_for_libraries(const char *path, int flags, ...) __asm__("open") FOR_LIBRARIES;

static void *map(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

/* With a zero behind it, if it is whole pages in one more that nobody unmaps: libdw looks for
 * the end of names until there is one, also behind the table that they are in. */
static void *map_copy(size_t size, int fd, off_t offset)
{
	char *copy =
		map(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t done = 0;
	ssize_t n = 1;

	if (copy == MAP_FAILED)
		return MAP_FAILED;
	while (done < size && (n = pread(fd, copy + done, size - done, offset + (off_t)done)) > 0)
		done += (size_t)n;
	if (n >= 0)
		return copy;
	munmap(copy, size + 1);
	return MAP_FAILED;
}

/* Of a larger one, or where there is no memory for a copy, they read those parts that they
 * need. */
void *map_for_libraries(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	if (fd < 0 || (flags & MAP_TYPE) != MAP_PRIVATE || (protection & PROT_EXEC))
		return map(address, size, protection, flags, fd, offset);
	if (size <= COPY_MAX)
		return map_copy(size, fd, offset);
	errno = ENODEV;
	return MAP_FAILED;
}

/* First by its place alone, which does nothing to it. */
int file_open_regular(const char *path)
{
	int place = openat(AT_FDCWD, path, O_PATH | O_CLOEXEC), fd = -1, error = ENOENT;
	char same[40];
	struct stat st;

	if (place < 0)
		return -1;
	/* Upon ENOENT they look elsewhere. */
	if (fstat(place, &st) == 0 && S_ISREG(st.st_mode)) {
		snprintf(same, sizeof(same), "/proc/self/fd/%d", place);
		fd = openat(AT_FDCWD, same, O_RDONLY | O_CLOEXEC);
		error = errno;
	}
	close(place);
	errno = error;
	return fd;
}

/* The tools' own calls come here too: each has O_CLOEXEC, and looks at what it has opened. */
int open_for_libraries(const char *path, int flags, ...)
{
	va_list arguments;
	int mode = 0;

	if (flags == O_RDONLY)
		return file_open_regular(path);
	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(arguments, flags);
		mode = va_arg(arguments, int);
		va_end(arguments);
	}
	return openat(AT_FDCWD, path, flags, mode);
}

bool file_is_cut_short(int fd)
{
	Elf64_Ehdr e = { 0 };
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return false;
	ssize_t n = pread(fd, &e, sizeof(e), 0);
	if (n < 0 || memcmp(e.e_ident, ELFMAG, n < SELFMAG ? (size_t)n : SELFMAG) != 0)
		return false;
	uint64_t size = (uint64_t)st.st_size, headers = (uint64_t)e.e_shnum * e.e_shentsize;

	return n < (ssize_t)sizeof(e) || e.e_shoff > size || headers > size - e.e_shoff;
}
