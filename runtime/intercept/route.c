/* SPDX-License-Identifier: MIT
 *
 * The table of ways, and unwinding the new ones.
 */
#include "intercept/route.h"
#include "intercept/switch_why.h"
#include "intercept/thread.h"
#include "intercept/user.h"
#include "intercept/wait.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/auxv.h>
#include <unwind.h>

#define ROUTES 4096u
#define HEADS 1024u
#define DEPTH_MAX 62u
#define OWN_MAX 16u           /* frames of the runtime below the call */
#define DISTANCE_MAX 0x100000 /* from the stack pointer */

struct route {
	uintptr_t pc;   /* of the call */
	uintptr_t site; /* the program's */
	uint32_t next;  /* + 1 */
	uint32_t depth;
	struct {
		uintptr_t address; /* returned to; */
		uint32_t at;       /* lies there above the stack pointer */
	} back[DEPTH_MAX];
};

#define SWITCHES(name, has_file_) [SYS_##name] = { SWITCH_##name, has_file_ },
const struct route_kind route_kinds[CALL_NR_MAX] = {
#include "intercept/switch_list.h"
};
#undef SWITCHES

static struct {
	struct route *_Atomic all; /* NULL: nobody asked yet, or no memory */
	_Atomic uint32_t used;
	_Atomic uint32_t heads[HEADS]; /* + 1 */
	uintptr_t main_start, main_end;
} routes;

/* ---- objects ------------------------------------------------------------------ */

/* Which file's code that is: where it is mapped; 0: none, or nobody knows. */
#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern __typeof__(_dl_find_object) _dl_find_object __attribute__((weak));

static uintptr_t object_of(uintptr_t pc, uintptr_t *end)
{
	struct dl_find_object object;

	if (!_dl_find_object || _dl_find_object((void *)pc, &object) < 0)
		return 0;
	*end = (uintptr_t)object.dlfo_map_end;
	return (uintptr_t)object.dlfo_map_start;
}
#else
static uintptr_t object_of(uintptr_t pc, uintptr_t *end)
{
	(void)pc;
	*end = 0;
	return 0;
}
#endif

static bool is_main(uintptr_t pc)
{
	return pc >= routes.main_start && pc < routes.main_end;
}

/* ---- unwinding ---------------------------------------------------------------- */

struct walk {
	const struct call *c;
	struct route *route;
	uintptr_t made_in; /* the object that makes the call */
	uintptr_t other;   /* the first frame of another one; 0: none so far */
	unsigned own;
	bool found; /* the call; */
	bool whole; /* all frames up to the program's, or the last */
};

/* Is it to go on behind this frame?  Never where it could not be read: what has no tables
 * of its own is not looked for below them. */
static bool look_at_object(struct walk *w, uintptr_t pc)
{
	uintptr_t end, object = object_of(pc, &end);

	if (!object)
		return false;
	if (is_main(pc)) {
		w->route->site = pc;
		w->whole = true;
		return false;
	}
	if (!w->made_in)
		w->made_in = object;
	if (object != w->made_in && !w->other)
		w->other = pc;
	return true;
}

static _Unwind_Reason_Code take_frame(struct _Unwind_Context *context, void *arg)
{
	struct walk *w = arg;
	struct route *r = w->route;
	uintptr_t pc = _Unwind_GetIP(context), slot = _Unwind_GetCFA(context) - sizeof(pc);

	if (!w->found) {
		w->found = pc == w->c->pc;
		if (!w->found)
			return ++w->own < OWN_MAX ? _URC_NO_REASON : _URC_NORMAL_STOP;
	} else if (pc == 0) {
		return _URC_NORMAL_STOP;
	} else {
		if (r->depth == DEPTH_MAX || slot < w->c->sp || slot - w->c->sp > DISTANCE_MAX ||
		    *(const uintptr_t *)slot != pc)
			return _URC_NORMAL_STOP;
		r->back[r->depth].address = pc;
		r->back[r->depth++].at = (uint32_t)(slot - w->c->sp);
	}
	return look_at_object(w, pc) ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

/* A thread that nothing of the program is below: the first library that is not the one
 * which makes the call. */
static bool unwind(struct route *r, const struct call *c)
{
	struct walk w = { .c = c, .route = r };

	r->pc = r->site = c->pc;
	r->depth = 0;
	bool ended = _Unwind_Backtrace(take_frame, &w) == _URC_END_OF_STACK;
	if (!w.whole && w.other)
		r->site = w.other;
	return w.whole || (w.found && ended && r->depth);
}

/* ---- the table ---------------------------------------------------------------- */

static _Atomic uint32_t *head_of(const struct call *c)
{
	/* Stacks of threads begin alike in their pages: other ways have other depths. */
	uint64_t hash = (c->pc ^ (c->sp & 0xff0) << 32) * 0x9e3779b97f4a7c15u;

	return &routes.heads[hash >> 54];
}

static bool same_way(const struct route *r, const struct call *c)
{
	for (uint32_t i = 0; i < r->depth; i++) {
		const uintptr_t *slot = (const uintptr_t *)(c->sp + r->back[i].at);
		uint32_t half;
		/* Another way, it may be beyond the stack. */
		if (user_load(slot, &half) < 0 || *slot != r->back[i].address)
			return false;
	}
	return true;
}

static struct route *find(struct route *all, _Atomic uint32_t *head, const struct call *c)
{
	/* Acquire: pairs with the release of add(). */
	uint32_t i = atomic_load_explicit(head, memory_order_acquire);

	for (; i; i = all[i - 1].next)
		if (all[i - 1].pc == c->pc && same_way(&all[i - 1], c))
			return &all[i - 1];
	return NULL;
}

static void add(struct route *all, _Atomic uint32_t *head, const struct route *fresh)
{
	uint32_t i = atomic_fetch_add_explicit(&routes.used, 1, memory_order_relaxed);

	if (i >= ROUTES) {
		atomic_store_explicit(&routes.used, ROUTES, memory_order_relaxed);
		return;
	}
	all[i] = *fresh;
	all[i].next = atomic_load_explicit(head, memory_order_relaxed);
	/* Release: pairs with the acquire of find(). */
	while (!atomic_compare_exchange_weak_explicit(head, &all[i].next, i + 1,
	                                              memory_order_release, memory_order_relaxed))
		;
}

static struct route *table(void)
{
	/* Acquire: pairs with the release below. */
	struct route *all = atomic_load_explicit(&routes.all, memory_order_acquire), *none = NULL;
	size_t size = ROUTES * sizeof(*all);
	long error;

	if (likely(all))
		return all;
	all = sys_map(size, 0, &error);
	if (!all)
		return NULL;
	sys_name(all, size, "green: routes");
	if (atomic_compare_exchange_strong_explicit(&routes.all, &none, all, memory_order_release,
	                                            memory_order_acquire))
		return all;
	sys_unmap(all, size);
	return none;
}

static uintptr_t site_of(const struct call *c)
{
	struct route *all = table(), fresh;
	_Atomic uint32_t *head = head_of(c);

	if (!all || is_main(c->pc))
		return c->pc;
	const struct route *r = find(all, head, c);
	if (likely(r))
		return r->site;
	if (unwind(&fresh, c))
		add(all, head, &fresh);
	return fresh.site;
}

/* ---- for tracers ---------------------------------------------------------------- */

/* The call that it is in; NULL: none. */
static struct trace_call *call_of(struct gt *self)
{
	struct thread *t = thread_of(self);
	const struct call *c = t->call;

	if (!c)
		return NULL;
	if (t->placed != c) {
		t->place = (struct trace_call){
			.site = (void *)site_of(c),
			.why = route_kinds[c->rax & (CALL_NR_MAX - 1)].why,
		};
		t->placed = c;
	}
	return &t->place;
}

static bool may_switch(const struct call *c)
{
	unsigned op = (unsigned)c->arg[1] & FUTEX_CMD_MASK;

	switch (c->nr) {
	case SYS_futex:
		return op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET;
	case SYS_fcntl:
		return c->arg[1] == F_SETLKW || c->arg[1] == F_OFD_SETLKW;
	default:
		return route_kinds[c->nr].why != 0;
	}
}

/* As the runtime calls what it waits for there. */
static enum park_why own_why(const struct call *c)
{
	switch (c->nr) {
	case SYS_futex:
	case SYS_futex_waitv:
		return PARK_FUTEX;
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
		return PARK_SLEEP;
	default:
		return PARK_IO;
	}
}

void route_entered(const struct call *c)
{
	if (may_switch(c))
		trace_enter(call_pc(c), own_why(c),
		            route_kinds[c->nr].has_file ? (uint64_t)(int64_t)(int)c->arg[0]
		                                        : (uint64_t)-1);
}

static _Unwind_Reason_Code stop_here(struct _Unwind_Context *context, void *unused)
{
	(void)context, (void)unused;
	return _URC_NORMAL_STOP;
}

/* What the unwinder does once it does now: whoever waited for that in the middle of a wait
 * of its own would lose that one. */
void route_start(void)
{
	_Unwind_Backtrace(stop_here, NULL);
	routes.main_start = object_of(getauxval(AT_ENTRY), &routes.main_end);
	trace_call_hook = call_of;
}
