/* SPDX-License-Identifier: MIT
 *
 * Descriptors of OS threads that are no workers, so that they can wait for
 * green threads and be waited for.
 */
#include "foreign.h"
#include "park.h"
#include "worker.h"

#include <errno.h>
#include <pthread.h>

static __thread struct gt *this_foreign;
static pthread_key_t foreign_key;
static pthread_once_t foreign_once = PTHREAD_ONCE_INIT;

static void foreign_free(void *gt)
{
	this_foreign = NULL;
	gt_free(NULL, gt);
}

static void foreign_key_new(void)
{
	pthread_key_create(&foreign_key, foreign_free);
}

static struct gt *foreign_new(void)
{
	pthread_once(&foreign_once, foreign_key_new);
	if (gt_table_init(GT_INDEX_MASK) < 0 && gt_table_init(1u << 16) < 0)
		return NULL;
	struct gt *gt = gt_alloc(NULL);
	if (!gt)
		return NULL;
	gt_set_kind(gt, GT_KIND_FOREIGN);
	gt->fn = NULL;
	gt->stack = STACK_NONE;
	atomic_store_explicit(&gt->state, GT_RUNNING, memory_order_relaxed);
	atomic_fetch_or_explicit(&gt->id, GT_LIVE | GT_FOREIGN, memory_order_release);
	this_foreign = gt;
	pthread_setspecific(foreign_key, gt);
	return gt;
}

static never_inline struct gt *foreign_self(void)
{
	return this_foreign ? this_foreign : foreign_new();
}

never_inline struct gt *foreign_existing(void)
{
	return this_foreign;
}

struct gt *park_self(void)
{
	struct gt *gt = gt_self();

	return gt ? gt : foreign_self();
}
