/* SPDX-License-Identifier: MIT
 *
 * The process of heir.h.
 */
#include "intercept/heir.h"
#include "arch/base.h"
#include "fdtab.h"
#include "intercept/robust.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#define STACK_SIZE ((size_t)64 << 10)

static struct {
	char *stack;
	int ends[2]; /* the heir reads from the first; the second is the process's */
} heir = { .ends = { -1, -1 } };

/* ---- is one needed? ------------------------------------------------------------------ */

struct dynamic {
	const Elf64_Sym *symbols;
	const char *strings;
	const Elf64_Rela *relocations[2];
	size_t counts[2];
};

/* libc has made these addresses, but for those of the kernel's own object. */
static const void *address_in(const struct dl_phdr_info *info, Elf64_Addr value)
{
	return (const void *)(value < info->dlpi_addr ? value + info->dlpi_addr : value);
}

static void look_at(struct dynamic *d, const struct dl_phdr_info *info, const Elf64_Dyn *entry)
{
	for (; entry->d_tag != DT_NULL; entry++)
		switch (entry->d_tag) {
		case DT_SYMTAB:
			d->symbols = address_in(info, entry->d_un.d_ptr);
			break;
		case DT_STRTAB:
			d->strings = address_in(info, entry->d_un.d_ptr);
			break;
		case DT_RELA:
			d->relocations[0] = address_in(info, entry->d_un.d_ptr);
			break;
		case DT_RELASZ:
			d->counts[0] = entry->d_un.d_val / sizeof(Elf64_Rela);
			break;
		case DT_JMPREL:
			d->relocations[1] = address_in(info, entry->d_un.d_ptr);
			break;
		case DT_PLTRELSZ:
			d->counts[1] = entry->d_un.d_val / sizeof(Elf64_Rela);
			break;
		}
}

/* By these an owner makes a mutex robust, or usable again. */
static bool is_of_robust_mutexes(const char *name)
{
	return strcmp(name, "pthread_mutex_consistent") == 0 ||
	       strcmp(name, "pthread_mutex_consistent_np") == 0 ||
	       strcmp(name, "pthread_mutexattr_setrobust") == 0 ||
	       strcmp(name, "pthread_mutexattr_setrobust_np") == 0;
}

static int names_one(struct dl_phdr_info *info, size_t size, void *unused)
{
	struct dynamic d;

	(void)size, (void)unused;
	memset(&d, 0, sizeof(d));
	for (unsigned i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			look_at(&d, info,
			        (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr));
	if (!d.symbols || !d.strings)
		return 0;
	for (unsigned i = 0; i < 2; i++)
		for (size_t j = 0; d.relocations[i] && j < d.counts[i]; j++) {
			size_t symbol = ELF64_R_SYM(d.relocations[i][j].r_info);
			if (symbol && is_of_robust_mutexes(d.strings + d.symbols[symbol].st_name))
				return 1;
		}
	return 0;
}

/* ---- the heir -------------------------------------------------------------------------- */

static void wake_one(const void *word)
{
	sys3(SYS_futex, word, FUTEX_WAKE, 1);
}

/* Alone in its process, on a stack of its own, with the TLS of who made it: so it touches
 * none, and calls nothing of libc.  All signals are blocked. */
static void inherit_all(void)
{
	char byte;

	base_set_gs(NULL);
	/* What is sent to the program's group or session is not for it; what it has as a copy
	 * is nobody's. */
	sys0(SYS_setsid);
	sys2(SYS_prctl, PR_SET_NAME, "green-heir");
	sys2(SYS_dup2, heir.ends[0], 0);
	sys3(SYS_close_range, 1, UINT_MAX, 0);
	while (sys3(SYS_read, 0, &byte, 1) == -EINTR)
		;
	for (uint32_t i = 1; i < gt_high(); i++)
		/* Acquire pairs with the release that gave it the tid. */
		if (atomic_load_explicit(&threads[i].tid, memory_order_acquire))
			robust_deaths(&threads[i], wake_one);
	for (;;)
		sys1(SYS_exit_group, 0);
}

static bool make_pipe(void)
{
	int ends[2];

	if (sys2(SYS_pipe2, ends, O_CLOEXEC) < 0)
		return false;
	heir.ends[0] = fd_private(ends[0]);
	heir.ends[1] = fd_private(ends[1]);
	return true;
}

void heir_start(void)
{
	const uint64_t all = ~(uint64_t)0;
	uint64_t before;
	long error = 0;

	if (!dl_iterate_phdr(names_one, NULL))
		return;
	heir.stack = sys_map(STACK_SIZE, SYS_MAP_STACK, &error);
	if (!heir.stack || !make_pipe())
		return;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
	/* No signal tells the program when it has ended, and wait(2) does not know it. */
	heir_clone(CLONE_VM | CLONE_UNTRACED, heir.stack + STACK_SIZE - 64, inherit_all);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
	fd_private_close(heir.ends[0]);
}

void heir_forked(const struct call *c)
{
	long flags = c->nr == SYS_clone3  ? *(const long *)c->arg[0]
	             : c->nr == SYS_clone ? c->arg[0]
	                                  : 0;

	if (heir.ends[1] >= 0 && !(flags & CLONE_FILES))
		sys1(SYS_close, heir.ends[1]);
}
