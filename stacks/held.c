/* SPDX-License-Identifier: MIT
 *
 * Asking the kernel what it holds.
 */
#include "held.h"
#include "arch/cpu.h"
#include "arch/sys.h"
#include "uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

bool held_any(void)
{
	static const char name[] = "\nVmPin:";
	char text[2048];
	long fd = sys3(SYS_open, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return true;
	long n = sys3(SYS_read, fd, text, sizeof(text) - 1);
	sys1(SYS_close, fd);
	text[n > 0 ? n : 0] = 0;
	const char *at = strstr(text, name);
	if (!at)
		return true;
	at += sizeof(name) - 1;
	at += strspn(at, " \t");
	return at[0] != '0' || at[1] != ' ';
}

int held_take(void *page, void *place)
{
	int r = uffd_move(place, page, UFFD_PAGE_MAX);

	if (r != -EBUSY)
		return r;
	/* Or it is still shared with a forked child: writing to it ends that. */
	if ((r = uffd_protect(page, UFFD_PAGE_MAX, false)) < 0)
		return r;
	cpu_touch(page);
	return uffd_move(place, page, UFFD_PAGE_MAX);
}
