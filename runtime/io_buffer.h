/* SPDX-License-Identifier: MIT
 *
 * Buffers of 64 KiB that lie on no stack: for what the kernel or the offload
 * pool works on while a green thread waits, or when it has given up waiting.
 */
#ifndef IO_BUFFER_H
#define IO_BUFFER_H

#include <stddef.h>

#define IO_BUFFER_SIZE ((size_t)64 << 10)

void *io_buffer_get(void);        /* NULL: no memory; contents undefined */
void io_buffer_put(void *buffer); /* NULL is ignored */

/* In a forked child: begins anew (another thread may have been changing it). */
void io_buffer_forked(void);

#endif
