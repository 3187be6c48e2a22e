/* SPDX-License-Identifier: MIT
 *
 * Lines of /proc.
 */
#include "lines.h"
#include "arch/sys.h"

#include <fcntl.h>

bool lines_open(struct lines *l, const char *path)
{
	l->have = l->at = 0;
	l->fd = sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	return l->fd >= 0;
}

void lines_close(struct lines *l)
{
	sys1(SYS_close, l->fd);
}

static int next_char(struct lines *l)
{
	if (l->at == l->have) {
		long n = sys3(SYS_read, l->fd, l->buf, sizeof(l->buf));
		if (n <= 0)
			return -1;
		l->have = (size_t)n;
		l->at = 0;
	}
	return (unsigned char)l->buf[l->at++];
}

bool lines_next(struct lines *l, char *line, size_t size)
{
	size_t n = 0;
	int c;

	while ((c = next_char(l)) >= 0 && c != '\n')
		if (n + 1 < size)
			line[n++] = (char)c;
	line[n] = 0;
	return c >= 0 || n > 0;
}

uintptr_t lines_hex(const char **at)
{
	uintptr_t n = 0;

	for (;; ++*at) {
		char c = **at;
		if (c >= '0' && c <= '9')
			n = n << 4 | (uintptr_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			n = n << 4 | (uintptr_t)(c - 'a' + 10);
		else
			return n;
	}
}
