/* SPDX-License-Identifier: MIT
 *
 * The end of a process that cannot go on.
 */
#include "fatal.h"
#include "fdtab.h"
#include "flight.h"
#include "symbol.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define LOST_MAX 8 /* descriptors named */

void fatal_report_thread(struct report *r, struct symbols *s, const struct gt *gt)
{
	const struct gt_ext *ext = atomic_load_explicit(&gt->ext, memory_order_acquire);
	char name[64];

	report_str(r, "green thread ");
	report_handle(r, gt_handle(gt));
	report_str(r, " ");
	if (ext && ext->name[0])
		report_quoted(r, ext->name, sizeof(ext->name));
	else if (symbol_name(s, gt_function(gt), name, sizeof(name)))
		report_quoted(r, name, sizeof(name));
	else
		report_hex(r, gt_function(gt));
}

void fatal_report_origin(struct report *r, struct symbols *s, const struct gt *gt)
{
	report_str(r, "spawned at ");
	if (gt_origin(gt))
		symbol_report(s, r, gt_origin(gt), true);
	else
		report_str(r, "green_serve");
}

/* Whom it happened to. */
static void report_caller(struct report *r, struct symbols *s)
{
	struct worker *w = worker_self();
	struct gt *gt = gt_self();

	if (!w)
		return;
	report_str(r, "  on worker ");
	report_number(r, w->id);
	report_str(r, " (OS thread ");
	report_number(r, w->tid);
	report_str(r, ")");
	if (gt) {
		report_str(r, ", in ");
		fatal_report_thread(r, s, gt);
		report_str(r, ", ");
		fatal_report_origin(r, s, gt);
	}
	report_str(r, "\n");
}

void (*fatal_hook)(void);

_Noreturn void fatal_abort(void)
{
	if (fatal_hook)
		fatal_hook();
	abort();
}

static _Noreturn void finish(struct report *r, const char *remedy)
{
	struct symbols symbols;

	report_str(r, "\n");
	symbols_begin(&symbols);
	report_caller(r, &symbols);
	report_str(r, "  remedy: ");
	report_str(r, remedy);
	report_str(r, "\n");
	flight_report(r, &symbols, worker_self());
	symbols_end(&symbols);
	report_end(r);
	fatal_abort();
}

_Noreturn void fatal(const char *what, const char *remedy)
{
	struct report r;

	report_begin(&r, 2);
	report_str(&r, "libgreen: fatal: ");
	report_str(&r, what);
	finish(&r, remedy);
}

/* Names those of the runtime's descriptors that are not open any more. */
static void report_lost(struct report *r)
{
	int named = 0;

	for (uint32_t fd = 0; fd < fdtab_size && named < LOST_MAX; fd++)
		if (fd_is_private((int)fd) && sys3(SYS_fcntl, fd, F_GETFD, 0) == -EBADF) {
			report_str(r, named++ ? ", " : " ");
			report_number(r, fd);
		}
	if (!named)
		report_str(r, " (its number has been given to another file since)");
}

_Noreturn void fatal_lost_fd(struct worker *w)
{
	struct report r;

	report_begin(&r, 2);
	report_str(&r, "libgreen: fatal: the program closed a descriptor that the runtime needs "
	               "(engine ");
	report_str(&r, rt.engine->name);
	report_str(&r, " of worker ");
	report_number(&r, w->id);
	report_str(&r, "):");
	report_lost(&r);
	finish(&r, "close only what you opened; a child process that closes everything before it "
	           "calls exec does no harm, nor need it: these are close-on-exec");
}
