/* SPDX-License-Identifier: MIT
 *
 * setfsuid(2) and setfsgid(2): who accesses files, the one identity that a thread has of its
 * own by any interface.  The OS thread has to be the green thread's while that runs.
 *
 * Nobody pays for it before the first such call: the hook is installed by that.
 */
#include "intercept/fs_identity.h"
#include "intercept/link.h"
#include "intercept/thread.h"
#include "scheduler.h"

/* What each worker's OS thread is now; as in struct thread. */
static struct {
	uint32_t user, group;
} here[WORKERS_MAX];

static void become(long nr, long ask, uint32_t id)
{
	sys1(nr, id ? (long)id - 1 : sys0(ask));
}

/* On arrival in a green thread. */
static void take_identity(struct worker *w, const struct gt *to)
{
	const struct thread *t = thread_of(to);

	if (unlikely(here[w->id].user != t->fs_user)) {
		become(SYS_setfsuid, SYS_geteuid, t->fs_user);
		here[w->id].user = t->fs_user;
	}
	if (unlikely(here[w->id].group != t->fs_group)) {
		become(SYS_setfsgid, SYS_getegid, t->fs_group);
		here[w->id].group = t->fs_group;
	}
}

static bool in_use(void)
{
	return __atomic_load_n(&sched_switch_hook, __ATOMIC_RELAXED) == take_identity;
}

/* Of the caller, by now: no call says whether it was allowed.  0: as the process. */
static uint32_t identity(long nr, long ask)
{
	uint32_t id = (uint32_t)sys1(nr, -1);

	return id == (uint32_t)sys0(ask) ? 0 : id + 1;
}

static long change(struct call *c, long ask, uint32_t *own, uint32_t *of_worker)
{
	long before = call_real(c);

	*own = *of_worker = identity(c->nr, ask);
	/* Whoever runs this thread elsewhere has it from here. */
	if (*own)
		__atomic_store_n(&sched_switch_hook, take_identity, __ATOMIC_RELEASE);
	return before;
}

long call_setfsuid(struct call *c)
{
	if (link_on)
		return CALL_PASS;
	return change(c, SYS_geteuid, &thread_self()->fs_user, &here[worker_self()->id].user);
}

long call_setfsgid(struct call *c)
{
	if (link_on)
		return CALL_PASS;
	return change(c, SYS_getegid, &thread_self()->fs_group, &here[worker_self()->id].group);
}

bool fs_identity_is_own(void)
{
	const struct thread *t = thread_self();

	return unlikely(t->fs_user | t->fs_group);
}

void fs_identity_reset(bool users, bool groups)
{
	if (likely(!in_use()))
		return;
	for (uint32_t i = 1; i < gt_high(); i++) {
		threads[i].fs_user = users ? 0 : threads[i].fs_user;
		threads[i].fs_group = groups ? 0 : threads[i].fs_group;
	}
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		here[i].user = users ? 0 : here[i].user;
		here[i].group = groups ? 0 : here[i].group;
	}
}
