/* SPDX-License-Identifier: MIT
 *
 * Exchanges and each worker's spare ones: last given, first taken, so that the
 * memory is warm.
 */
#include "exchange.h"
#include "local.h"

#include <assert.h>
#include <stdlib.h>

/* Kept per worker; those beyond go back to the heap after a burst. */
#define SPARE_MAX 32

struct exchange *exchange_take(void)
{
	struct local *local = local_here();
	struct exchange *x = local->spare;

	if (x) {
		local->spare = x->next;
		local->spare_count--;
	} else {
		size_t in_size = config.limits.head_max + BODY_WINDOW;

		x = malloc(sizeof(*x) + in_size);
		if (!x)
			return NULL;
		x->in = (char *)(x + 1);
		x->in_size = in_size;
	}
	x->start = x->end = x->at = 0;
	return x;
}

void exchange_give(struct exchange *x)
{
	struct local *local = local_here();

	if (local->spare_count == SPARE_MAX) {
		free(x);
		return;
	}
	x->next = local->spare;
	local->spare = x;
	local->spare_count++;
}

void exchange_begin(struct exchange *x)
{
	assert(x->start <= x->end && x->end <= x->in_size);
	x->at = x->start;
	x->head = 0;
	x->status = 0;
	x->sent = 0;
	memset(&x->body, 0, sizeof(x->body));
	request_init(&x->request, &config.limits);
}

void exchange_compact(struct exchange *x)
{
	memmove(x->in, x->in + x->start, x->end - x->start);
	x->end -= x->start;
	x->at -= x->start;
	x->start = 0;
}
