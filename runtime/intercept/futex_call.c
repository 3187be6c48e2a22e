/* SPDX-License-Identifier: MIT
 *
 * futex(2) and futex_waitv(2): which operation with which arguments.
 *
 * Not here: in link mode, priority inheritance, which the kernel does by the tids of OS
 * threads, and in either the requeueing that goes with it, which libc has not used since 2.25.
 * The program is told that this kernel has none.
 */
#include "intercept/blocking.h"
#include "intercept/call.h"
#include "intercept/futex.h"
#include "intercept/futex_pi.h"
#include "intercept/link.h"
#include "intercept/shared.h"
#include "intercept/thread.h"
#include "intercept/user.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <time.h>

#define SECOND_NS 1000000000

/* As CLOCK_MONOTONIC: a time of that clock, of the wall clock, or from now. */
static int deadline_of(const struct timespec *ts, bool relative, bool wall, int64_t *deadline_ns)
{
	*deadline_ns = GREEN_FOREVER;
	if (!ts)
		return 0;
	if (ts->tv_sec < 0 || (unsigned long)ts->tv_nsec >= SECOND_NS)
		return -EINVAL;
	int64_t from = 0;
	if (relative) {
		from = sys.now();
	} else if (wall) {
		struct timespec there;
		clock_gettime(CLOCK_REALTIME, &there);
		from = sys.now() - (there.tv_sec * SECOND_NS + there.tv_nsec);
	}
	if (ts->tv_sec < (GREEN_FOREVER - from) / SECOND_NS - 1)
		*deadline_ns = from + ts->tv_sec * SECOND_NS + ts->tv_nsec;
	return 0;
}

/* Without FUTEX_PRIVATE_FLAG: may somebody outside wake it?  In link mode that may be the
 * kernel, when an OS thread ends that libc waits for: the word is its tid. */
static bool is_woken_outside(const struct call *c)
{
	if (c->arg[1] & FUTEX_PRIVATE_FLAG)
		return false;
	return link_on ? !tid_is_green((int)c->arg[2]) : shared_has((uintptr_t)c->arg[0]);
}

static long wait_in_kernel(const struct call *c, bool timed)
{
	if (link_on) /* to its end: see futex.h */
		return blocking_call_to_end(c);
	long r = blocking_call(c);

	return r != IO_INTERRUPTED ? r : timed ? CALL_RESTART_BLOCK : CALL_RESTARTSYS;
}

static long do_wait(const struct call *c, bool relative, bool wall, uint32_t bits)
{
	int64_t deadline_ns;
	int r = deadline_of((const struct timespec *)c->arg[3], relative, wall, &deadline_ns);

	if (r < 0 || bits == 0)
		return -EINVAL;
	if (unlikely(is_woken_outside(c)))
		return wait_in_kernel(c, deadline_ns != GREEN_FOREVER);
	return futex_wait((const void *)c->arg[0], (uint32_t)c->arg[2], bits, deadline_ns,
	                  (void *)c->pc);
}

static uint32_t count_of(long n)
{
	return (int)n < 1 ? 1 : (uint32_t)n; /* as the kernel: at least one */
}

static long do_wake(const struct call *c, uint32_t bits, bool shared)
{
	if (bits == 0)
		return -EINVAL;
	return futex_wake((const void *)c->arg[0], count_of(c->arg[2]), bits, shared);
}

/* Those who wait in the kernel are not moved but woken, all of them: they look again. */
static long do_requeue(const struct call *c, bool compare, bool shared)
{
	int wake = (int)c->arg[2], requeue = (int)c->arg[3];
	uint32_t expected = (uint32_t)c->arg[5];

	if (wake < 0 || requeue < 0)
		return -EINVAL;
	long r = futex_requeue((const void *)c->arg[0], (const void *)c->arg[4], (uint32_t)wake,
	                       (uint32_t)requeue, compare ? &expected : NULL);
	if (r >= 0 && r < (long)wake + requeue)
		futex_wake_kernel((const void *)c->arg[0], INT_MAX, FUTEX_BITSET_MATCH_ANY, shared);
	return r;
}

static int sign_extended(uint32_t field)
{
	return (int)(field << 20) >> 20;
}

/* The operation on the second word; whether its old value fulfils the condition. */
static int operate(uint32_t code, _Atomic uint32_t *word)
{
	uint32_t unused;
	int operand = sign_extended(code >> 12 & 0xfff), compare = sign_extended(code & 0xfff);
	uint32_t value = (uint32_t)operand;
	int old;

	if (user_load((const void *)word, &unused) < 0)
		return -EFAULT;
	if (code >> 28 & FUTEX_OP_OPARG_SHIFT)
		value = 1u << (operand & 31);
	switch (code >> 28 & 7) {
	case FUTEX_OP_SET:
		old = (int)atomic_exchange(word, value);
		break;
	case FUTEX_OP_ADD:
		old = (int)atomic_fetch_add(word, value);
		break;
	case FUTEX_OP_OR:
		old = (int)atomic_fetch_or(word, value);
		break;
	case FUTEX_OP_ANDN:
		old = (int)atomic_fetch_and(word, ~value);
		break;
	case FUTEX_OP_XOR:
		old = (int)atomic_fetch_xor(word, value);
		break;
	default:
		return -ENOSYS;
	}
	switch (code >> 24 & 0xf) {
	case FUTEX_OP_CMP_EQ:
		return old == compare;
	case FUTEX_OP_CMP_NE:
		return old != compare;
	case FUTEX_OP_CMP_LT:
		return old < compare;
	case FUTEX_OP_CMP_LE:
		return old <= compare;
	case FUTEX_OP_CMP_GT:
		return old > compare;
	case FUTEX_OP_CMP_GE:
		return old >= compare;
	default:
		return -ENOSYS;
	}
}

static long do_wake_op(const struct call *c, bool shared)
{
	int r = operate((uint32_t)c->arg[5], (_Atomic uint32_t *)c->arg[4]);

	if (r < 0)
		return r;
	long woken = futex_wake((const void *)c->arg[0], count_of(c->arg[2]),
	                        FUTEX_BITSET_MATCH_ANY, shared);
	if (r)
		woken += futex_wake((const void *)c->arg[4], count_of(c->arg[3]),
		                    FUTEX_BITSET_MATCH_ANY, shared);
	return woken;
}

#ifndef FUTEX_LOCK_PI2 /* Linux 5.14 */
#define FUTEX_LOCK_PI2 13
#endif

static void *private_word(const struct call *c)
{
	if (unlikely(is_woken_outside(c)))
		futex_refuse_shared_pi();
	return (void *)c->arg[0];
}

/* FUTEX_LOCK_PI knows one clock alone. */
static long do_lock_pi(const struct call *c, bool try, bool wall)
{
	int64_t deadline_ns = GREEN_FOREVER;

	if (!try && deadline_of((const struct timespec *)c->arg[3], false, wall, &deadline_ns) < 0)
		return -EINVAL;
	return futex_lock_pi(private_word(c), try, deadline_ns, (void *)c->pc);
}

static long with_priority(const struct call *c, int op, bool wall)
{
	if (link_on)
		return -ENOSYS;
	switch (op) {
	case FUTEX_LOCK_PI:
		return do_lock_pi(c, false, true);
	case FUTEX_LOCK_PI2:
		return do_lock_pi(c, false, wall);
	case FUTEX_TRYLOCK_PI:
		return do_lock_pi(c, true, false);
	case FUTEX_UNLOCK_PI:
		return futex_unlock_pi(private_word(c));
	default:
		return -ENOSYS;
	}
}

long call_futex(struct call *c)
{
	int op = (int)c->arg[1] & FUTEX_CMD_MASK;
	bool wall = c->arg[1] & FUTEX_CLOCK_REALTIME, shared = !(c->arg[1] & FUTEX_PRIVATE_FLAG);

	if (c->arg[0] & 3)
		return -EINVAL;
	if (wall && op != FUTEX_WAIT && op != FUTEX_WAIT_BITSET && op != FUTEX_LOCK_PI2)
		return -ENOSYS;
	switch (op) {
	case FUTEX_WAIT:
		return do_wait(c, true, wall, FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAIT_BITSET:
		return do_wait(c, false, wall, (uint32_t)c->arg[5]);
	case FUTEX_WAKE:
		return do_wake(c, FUTEX_BITSET_MATCH_ANY, shared);
	case FUTEX_WAKE_BITSET:
		return do_wake(c, (uint32_t)c->arg[5], shared);
	case FUTEX_REQUEUE:
		return do_requeue(c, false, shared);
	case FUTEX_CMP_REQUEUE:
		return do_requeue(c, true, shared);
	case FUTEX_WAKE_OP:
		return do_wake_op(c, shared);
	default:
		return with_priority(c, op, wall);
	}
}

/* ---- futex_waitv ------------------------------------------------------------------ */

static int check_vector(const struct futex_waitv *at, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if ((at[i].flags & ~(uint32_t)FUTEX_PRIVATE_FLAG) != FUTEX_32 || at[i].__reserved ||
		    at[i].uaddr & 3)
			return -EINVAL;
	return 0;
}

long call_futex_waitv(struct call *c)
{
	struct futex_wait waits[FUTEX_WAITV_MAX];
	const struct futex_waitv *at = (const struct futex_waitv *)c->arg[0];
	unsigned count = (unsigned)c->arg[1];
	int64_t deadline_ns;

	if (c->arg[2] || !at || count - 1 >= FUTEX_WAITV_MAX)
		return -EINVAL;
	/* CLOCK_REALTIME is 0, and the only other one that may be asked for. */
	if (c->arg[3] && (int)c->arg[4] != CLOCK_REALTIME && (int)c->arg[4] != CLOCK_MONOTONIC)
		return -EINVAL;
	int r = deadline_of((const struct timespec *)c->arg[3], false,
	                    (int)c->arg[4] == CLOCK_REALTIME, &deadline_ns);
	if (r == 0)
		r = check_vector(at, count);
	return r < 0 ? r : futex_wait_any(waits, at, count, deadline_ns, (void *)c->pc);
}
