/* SPDX-License-Identifier: MIT
 *
 * What the parts of the echo bench share.
 */
#ifndef ECHO_H
#define ECHO_H

#include "bench.h"
#include "green.h"

#include <stddef.h>

#define ECHO_CONNECTIONS 64
#define ECHO_SIZE_MAX 16384 /* fits a green thread's stack and the socket's buffers */

static inline unsigned echo_size(const struct options *options)
{
	return options->size ? (unsigned)options->size : 64;
}

/* A message that is not all the same. */
void echo_fill(char *message, size_t size);

/* What serves one connection with messages of this size. */
green_serve_fn echo_handler(size_t size);

/* Server and clients as green threads of one runtime; an exit status. */
int echo_inside(const struct options *options);

#endif
