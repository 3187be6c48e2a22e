/* SPDX-License-Identifier: MIT
 *
 * The rungs of the guard ladder: probing and installing.
 */
#include "guard.h"
#include "advise.h"
#include "arch/compat.h"
#include "arch/sys.h"
#include "checker.h"
#include "uffd.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

static struct {
	enum stack_rung rung;
	bool later;
	size_t size, page;
	_Atomic uint32_t protected; /* by mprotect, all classes */
	_Atomic size_t missing;
} guards;

/* Does this kernel install guards?  Found out on a page of no other use. */
static bool probe_install(size_t size)
{
	long error;
	void *scratch = sys_map(size, SYS_MAP_NORESERVE, &error);

	if (!scratch)
		return false;
	long r = sys3(SYS_madvise, scratch, size, MADV_GUARD_INSTALL);
	sys_unmap(scratch, size);
	return r == 0;
}

/* Below the first two rungs. */
static enum stack_rung older_rung(const struct stacks_config *config, size_t size)
{
	if (!config->no_guard_install && probe_install(size))
		return STACK_RUNG_GUARD_INSTALL;
	return config->no_mprotect ? STACK_RUNG_NONE : STACK_RUNG_MPROTECT;
}

static enum uffd_mode open_uffd(const struct stacks_config *config)
{
	struct uffd_config want = {
		.none = config->no_userfaultfd || !CHECKER_ALLOWS_FAULTS,
		.no_kernel = config->no_userfaultfd_kernel,
		.no_protect = config->no_write_protect,
		.no_move = config->no_move,
		.keep_fd = config->keep_fd,
		.drop_fd = config->drop_fd,
	};

	return uffd_open(&want);
}

void guard_init(const struct stacks_config *config, size_t size, bool valgrind)
{
	enum uffd_mode mode;

	guards.size = size;
	guards.later = false;
	guards.page = (size_t)sysconf(_SC_PAGESIZE);
	atomic_store_explicit(&guards.protected, 0, memory_order_relaxed);
	atomic_store_explicit(&guards.missing, 0, memory_order_relaxed);
	if (valgrind)
		guards.rung = STACK_RUNG_NONE;
	else if ((mode = open_uffd(config)) != UFFD_NONE)
		guards.rung = mode == UFFD_KERNEL ? STACK_RUNG_USERFAULTFD_KERNEL
		                                  : STACK_RUNG_USERFAULTFD;
	else
		guards.rung = older_rung(config, size);
	guards.later = config->watch_later && guard_by_uffd() && uffd_can_protect() &&
	               older_rung(config, size) == STACK_RUNG_GUARD_INSTALL;
	if (config->or_never && guard_by_uffd() && !guards.later) {
		uffd_close();
		guards.rung = older_rung(config, size);
	}
}

/* As long as they are not watched, slots have the guards of another rung. */
static enum stack_rung rung_of(const struct arena *a, uint32_t slot)
{
	bool unwatched = guards.later && !arena_is_watched(a, slot);

	return unwatched ? STACK_RUNG_GUARD_INSTALL : guards.rung;
}

void guard_fini(void)
{
	if (guard_by_uffd())
		uffd_close();
}

int guard_renew(void)
{
	enum uffd_mode mode = uffd_renew();

	if (mode == UFFD_NONE)
		return -EBADF;
	guards.rung = mode == UFFD_KERNEL ? STACK_RUNG_USERFAULTFD_KERNEL : STACK_RUNG_USERFAULTFD;
	return 0;
}

static int install_batch(struct arena *a, const uint32_t *slots, unsigned count)
{
	struct iovec ranges[ADVISE_MAX];

	for (unsigned i = 0; i < count; i++)
		ranges[i] = (struct iovec){ arena_slot(a, slots[i]), guards.size };
	int done = advise(ranges, count, MADV_GUARD_INSTALL);
	for (unsigned i = 0; i < count && (int)i < done; i++)
		arena_settle(a, slots[i]);
	return done == (int)count ? 0 : done < 0 ? done : -ENOMEM;
}

/* Protects the slot's guard while the process can afford it. */
static bool protect(struct arena *a, uint32_t slot)
{
	if (guards.rung != STACK_RUNG_MPROTECT)
		return false;
	if (atomic_load_explicit(&guards.protected, memory_order_relaxed) >= STACK_MPROTECT_MAX)
		return false;
	if (sys3(SYS_mprotect, arena_slot(a, slot), guards.size, PROT_NONE) < 0)
		return false;
	atomic_fetch_add_explicit(&guards.protected, 1, memory_order_relaxed);
	return true;
}

int guard_install(struct arena *a, const uint32_t *slots, unsigned count)
{
	uint32_t bare[ADVISE_MAX];
	unsigned n = 0;

	assert(count <= ADVISE_MAX);
	if (guard_by_uffd() && !guards.later)
		return 0;
	for (unsigned i = 0; i < count; i++)
		if (rung_of(a, slots[i]) > STACK_RUNG_USERFAULTFD && !arena_is_settled(a, slots[i]))
			bare[n++] = slots[i];
	if (!n)
		return 0;
	if (guards.later || guards.rung == STACK_RUNG_GUARD_INSTALL)
		return install_batch(a, bare, n);
	for (unsigned i = 0; i < n; i++) {
		if (!protect(a, bare[i]))
			atomic_fetch_add_explicit(&guards.missing, 1, memory_order_relaxed);
		arena_settle(a, bare[i]);
	}
	return 0;
}

int guard_open(struct arena *a, uint32_t slot, char *page)
{
	size_t size = guards.page;
	long r;

	arena_unsettle(a, slot);
	switch (rung_of(a, slot)) {
	case STACK_RUNG_GUARD_INSTALL:
		return (int)sys3(SYS_madvise, page, size, MADV_GUARD_REMOVE);
	case STACK_RUNG_MPROTECT:
		return (int)sys3(SYS_mprotect, page, size, PROT_READ | PROT_WRITE);
	case STACK_RUNG_NONE:
		return -EOPNOTSUPP;
	default: /* it has been made deadly: stack_guard_deadly() */
		r = sys3(SYS_mprotect, page, size, PROT_READ | PROT_WRITE);
		return r < 0 ? (int)r : uffd_zero(page, size);
	}
}

int guard_close(struct arena *a, uint32_t slot)
{
	char *low = arena_slot(a, slot);

	arena_settle(a, slot);
	switch (rung_of(a, slot)) {
	case STACK_RUNG_GUARD_INSTALL: /* drops what is there */
		return (int)sys3(SYS_madvise, low, guards.size, MADV_GUARD_INSTALL);
	case STACK_RUNG_MPROTECT:
		sys3(SYS_madvise, low, guards.size, MADV_DONTNEED);
		return (int)sys3(SYS_mprotect, low, guards.size, PROT_NONE);
	case STACK_RUNG_NONE:
		return 0;
	default: /* missing, and accessible: one VMA with the rest again */
		sys3(SYS_madvise, low, guards.size, MADV_DONTNEED);
		return (int)sys3(SYS_mprotect, low, guards.size, PROT_READ | PROT_WRITE);
	}
}

void guard_forget(struct arena *a, uint32_t slot)
{
	sys3(SYS_madvise, arena_slot(a, slot), guards.size, MADV_GUARD_REMOVE);
}

bool guard_later(void)
{
	return guards.later;
}

enum stack_rung guard_rung(void)
{
	return guards.rung;
}

size_t guard_size(void)
{
	return guards.size;
}

size_t guard_missing(void)
{
	return atomic_load_explicit(&guards.missing, memory_order_relaxed);
}
