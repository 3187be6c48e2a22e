/* SPDX-License-Identifier: MIT
 *
 * Opening a userfaultfd, and what can be asked of it.
 */
#include "uffd.h"
#include "arch/cpu.h"
#include "arch/sys.h"
#include "keeper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFDIO_MOVE /* Linux 6.8 */
struct uffdio_move {
	uint64_t dst, src, len, mode;
	int64_t move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

static struct {
	struct uffd_config config;
	int fd;
	enum uffd_mode mode;
	bool can_protect, can_move;
	_Atomic bool lost; /* the program has closed it: the keeper does the work */
	size_t page;
	char reason[128];
} uffd = { .fd = -1 };

char uffd_zeros[UFFD_PAGE_MAX];

/* ---- asking ----------------------------------------------------------------- */

static long control(unsigned long request, void *argument)
{
	if (likely(!atomic_load_explicit(&uffd.lost, memory_order_relaxed))) {
		long r = sys3(SYS_ioctl, uffd.fd, request, argument);
		/* The latter: its number has been given to some other file. */
		if (likely(r != -EBADF && r != -ENOTTY))
			return r;
		atomic_store_explicit(&uffd.lost, true, memory_order_relaxed);
	}
	return keeper_ask(request, argument);
}

int uffd_register(void *start, size_t size)
{
	struct uffdio_register r = { .range = { (uintptr_t)start, size },
		                     .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (uffd.can_protect)
		r.mode |= UFFDIO_REGISTER_MODE_WP;
	return (int)control(UFFDIO_REGISTER, &r);
}

static int copy(void *to, const void *from, size_t size, uint64_t mode)
{
	struct uffdio_copy c = {
		.dst = (uintptr_t)to, .src = (uintptr_t)from, .len = size, .mode = mode
	};
	long r;

	do
		r = control(UFFDIO_COPY, &c);
	while (r == -EAGAIN);
	return (int)r;
}

int uffd_copy(void *to, const void *from, size_t size)
{
	return copy(to, from, size, 0);
}

int uffd_copy_quietly(void *to, const void *from, size_t size)
{
	return copy(to, from, size, UFFDIO_COPY_MODE_DONTWAKE);
}

int uffd_zero(void *start, size_t size)
{
	struct uffdio_zeropage z = { .range = { (uintptr_t)start, size } };
	uint64_t end = z.range.start + size;

	while (z.range.start < end) {
		z.range.len = end - z.range.start;
		z.zeropage = 0;
		long r = control(UFFDIO_ZEROPAGE, &z);
		if (r == 0)
			return 0;
		if (r == -EAGAIN && z.zeropage > 0)
			z.range.start += (uint64_t)z.zeropage;
		else if (r == -EEXIST)
			z.range.start += uffd.page;
		else if (r != -EAGAIN)
			return (int)r;
	}
	return 0;
}

int uffd_protect(void *start, size_t size, bool on)
{
	struct uffdio_writeprotect w = { .range = { (uintptr_t)start, size },
		                         .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };
	long r;

	do
		r = control(UFFDIO_WRITEPROTECT, &w);
	while (r == -EAGAIN);
	return (int)r;
}

int uffd_move(void *to, void *from, size_t size)
{
	struct uffdio_move m = { .dst = (uintptr_t)to, .src = (uintptr_t)from, .len = size };
	long r;

	do
		r = control(UFFDIO_MOVE, &m);
	while (r == -EAGAIN);
	return (int)r;
}

int uffd_wake(void *start, size_t size)
{
	struct uffdio_range range = { (uintptr_t)start, size };

	return (int)control(UFFDIO_WAKE, &range);
}

/* ---- opening ---------------------------------------------------------------- */

static int open_new(bool user)
{
	int flags = O_CLOEXEC | O_NONBLOCK | (user ? UFFD_USER_MODE_ONLY : 0);
	int fd = (int)sys1(SYS_userfaultfd, flags);

	if (fd >= 0 || user)
		return fd;
	int dev = (int)sys3(SYS_open, "/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);
	if (dev < 0)
		return fd;
	fd = (int)sys3(SYS_ioctl, dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	sys1(SYS_close, dev);
	return fd;
}

/* Everything that is needed later, on a page of no other use. */
static int try_out(void)
{
	size_t size = 2 * uffd.page;
	long error;
	char *pages = sys_map(size, 0, &error);

	if (!pages)
		return (int)error;
	uffd.can_protect = !uffd.config.no_protect;
	int r = uffd_register(pages, size);
	if (r < 0 && uffd.can_protect) {
		uffd.can_protect = false;
		r = uffd_register(pages, size);
	}
	if (r == 0)
		r = uffd_copy(pages, uffd_zeros, uffd.page);
	if (r == 0)
		r = uffd_zero(pages, size);
	if (r == 0 && uffd.can_protect)
		uffd.can_protect = uffd_protect(pages, size, true) == 0;
	if (r == 0 && !uffd.config.no_move)
		uffd.can_move = sys3(SYS_madvise, pages, size, MADV_DONTNEED) == 0 &&
		                uffd_copy(pages, uffd_zeros, uffd.page) == 0 &&
		                uffd_move(pages + uffd.page, pages, uffd.page) == 0;
	sys_unmap(pages, size);
	return r;
}

static int open_mode(bool user)
{
	struct uffdio_api api = { .api = UFFD_API, .features = user ? UFFD_FEATURE_SIGBUS : 0 };
	int fd = open_new(user);

	if (fd < 0)
		return fd;
	uffd.fd = uffd.config.keep_fd ? uffd.config.keep_fd(fd) : fd;
	atomic_store_explicit(&uffd.lost, false, memory_order_relaxed);
	int r = (int)sys3(SYS_ioctl, uffd.fd, UFFDIO_API, &api);
	if (r == 0)
		r = try_out();
	if (r < 0)
		uffd_close();
	else
		uffd.mode = user ? UFFD_USER : UFFD_KERNEL;
	return r;
}

static void explain(const char *what, int error)
{
	snprintf(uffd.reason, sizeof(uffd.reason), "%s: %s", what, strerrordesc_np(-error));
}

enum uffd_mode uffd_open(const struct uffd_config *config)
{
	uffd.config = *config;
	uffd.page = (size_t)sysconf(_SC_PAGESIZE);
	uffd.reason[0] = 0;
	assert(uffd.page <= UFFD_PAGE_MAX);
	int r;
	if (config->none) {
		snprintf(uffd.reason, sizeof(uffd.reason),
		         "userfaultfd is not asked for, or switched off");
		return UFFD_NONE;
	}
	if (config->no_kernel)
		snprintf(uffd.reason, sizeof(uffd.reason), "userfaultfd_kernel is switched off");
	else if ((r = open_mode(false)) == 0)
		return uffd.mode;
	else
		explain("userfaultfd for kernel faults", r);
	if ((r = open_mode(true)) < 0)
		explain("userfaultfd", r);
	return r < 0 ? UFFD_NONE : uffd.mode;
}

void uffd_close(void)
{
	if (uffd.fd >= 0 && !atomic_load_explicit(&uffd.lost, memory_order_relaxed)) {
		if (uffd.config.drop_fd)
			uffd.config.drop_fd(uffd.fd);
		else
			sys1(SYS_close, uffd.fd);
	}
	uffd.fd = -1;
	uffd.mode = UFFD_NONE;
	uffd.can_protect = false;
	uffd.can_move = false;
}

bool uffd_reopen_in_child(void)
{
	uffd_close();
	keeper_forget();
	return open_mode(true) == 0;
}

enum uffd_mode uffd_renew(void)
{
	struct uffd_config config = uffd.config;

	uffd_close();
	return uffd_open(&config);
}

bool uffd_is_lost(void)
{
	struct uffdio_range nothing = { 0, 0 };
	long r = sys3(SYS_ioctl, uffd.fd, UFFDIO_WAKE, &nothing);

	if (r == -EBADF || r == -ENOTTY)
		atomic_store_explicit(&uffd.lost, true, memory_order_relaxed);
	return atomic_load_explicit(&uffd.lost, memory_order_relaxed);
}

int uffd_start(void (*touched)(void *address))
{
	return keeper_start(uffd.fd, uffd.mode == UFFD_KERNEL ? touched : NULL);
}

void uffd_stop(void)
{
	keeper_stop();
}

const char *uffd_reason(void)
{
	return uffd.reason;
}

bool uffd_can_protect(void)
{
	return uffd.can_protect;
}

bool uffd_can_move(void)
{
	return uffd.can_move;
}

bool uffd_sees_calls(void)
{
	return keeper_has_handler();
}
