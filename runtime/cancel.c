/* SPDX-License-Identifier: MIT
 *
 * Cancellation, shields and deadline scopes.
 */
#include "worker.h"

#include <errno.h>

int green_cancel(green_t thread)
{
	int r = gt_set_flag(thread, GT_CANCELLED);

	if (r < 0)
		return r;
	/* The flag first, then the look (park.h).  A descriptor that has moved on
	 * to another life since is protected by its park sequence: only a thread
	 * whose own flag is set is ended. */
	struct gt *gt = gt_at((uint32_t)thread & GT_INDEX_MASK);
	if (gt_has(gt, GT_CANCELLED))
		park_cancel(gt);
	return 0;
}

bool green_cancelled(void)
{
	struct gt *self = gt_self();

	return self && park_check_slow(self) == -ECANCELED;
}

/* Without memory for an extension there is no scope to shield from, and the
 * begin does nothing; the end then finds the same. */
void green_shield_begin(struct green_shield *shield)
{
	struct gt *self = park_self();
	struct gt_ext *ext = self ? gt_ext(self) : NULL;

	shield->saved_deadline_ns = GREEN_FOREVER;
	if (!ext)
		return;
	shield->saved_deadline_ns = ext->deadline_ns;
	ext->deadline_ns = GREEN_FOREVER;
	ext->shield++;
}

void green_shield_end(struct green_shield *shield)
{
	struct gt *self = park_self();

	if (!self || !self->ext || !self->ext->shield)
		return;
	self->ext->deadline_ns = shield->saved_deadline_ns;
	self->ext->shield--;
}

void green_deadline_begin(struct green_deadline *scope, int64_t timeout_ns)
{
	struct gt *self = park_self();
	struct gt_ext *ext = self ? gt_ext(self) : NULL;
	int64_t now = timeout_ns == GREEN_FOREVER ? 0 : sys.now();

	scope->own_deadline_ns = GREEN_FOREVER;
	scope->outer_deadline_ns = GREEN_FOREVER;
	if (timeout_ns <= 0)
		scope->own_deadline_ns = now;
	else if (timeout_ns < GREEN_FOREVER - now)
		scope->own_deadline_ns = now + timeout_ns;
	if (!ext)
		return;
	scope->outer_deadline_ns = ext->deadline_ns;
	if (scope->own_deadline_ns < ext->deadline_ns)
		ext->deadline_ns = scope->own_deadline_ns;
}

bool green_deadline_end(struct green_deadline *scope)
{
	struct gt *self = park_self();

	if (self && self->ext)
		self->ext->deadline_ns = scope->outer_deadline_ns;
	return scope->own_deadline_ns != GREEN_FOREVER && sys.now() >= scope->own_deadline_ns;
}
