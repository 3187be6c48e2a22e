/* SPDX-License-Identifier: MIT
 *
 * The pool of I/O buffers: a few are kept, the rest is mapped when needed.
 */
#include "io_buffer.h"
#include "spin.h"

#include <stdbool.h>

#define BUFFERS_KEPT 64

struct buffer {
	struct buffer *next;
};

static struct {
	struct spin lock;
	struct buffer *free;
	unsigned count;
} buffers;

void io_buffer_forked(void)
{
	buffers.free = NULL;
	buffers.count = 0;
	spin_unlock(&buffers.lock);
}

void *io_buffer_get(void)
{
	long error;

	spin_lock(&buffers.lock);
	struct buffer *b = buffers.free;
	if (b) {
		buffers.free = b->next;
		buffers.count--;
	}
	spin_unlock(&buffers.lock);
	if (b)
		return b;
	b = sys_map(IO_BUFFER_SIZE, 0, &error);
	if (b)
		sys_name(b, IO_BUFFER_SIZE, "green: I/O buffer");
	return b;
}

void io_buffer_put(void *buffer)
{
	struct buffer *b = buffer;

	if (!b)
		return;
	spin_lock(&buffers.lock);
	bool keep = buffers.count < BUFFERS_KEPT;
	if (keep) {
		b->next = buffers.free;
		buffers.free = b;
		buffers.count++;
	}
	spin_unlock(&buffers.lock);
	if (!keep)
		sys_unmap(b, IO_BUFFER_SIZE);
}
