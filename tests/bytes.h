/* SPDX-License-Identifier: MIT
 *
 * Bytes for the tests: patterns, pipes and files to send them through.
 */
#ifndef TESTS_BYTES_H
#define TESTS_BYTES_H

#include "harness.h"

#include <fcntl.h>

#define MIB ((size_t)1 << 20)

struct ends {
	int in, out; /* read from in, write to out */
	size_t count;
	ssize_t result;
};

static inline struct ends new_pipe(void)
{
	int fds[2];

	REQUIRE_EQ(pipe2(fds, O_CLOEXEC), 0);
	return (struct ends){ .in = fds[0], .out = fds[1] };
}

static inline void close_ends(struct ends *e)
{
	CHECK_EQ(green_close(e->in), 0);
	CHECK_EQ(green_close(e->out), 0);
}

/* A byte that depends on its place, so that lost and doubled ones show. */
static inline unsigned char pattern(size_t at)
{
	return (unsigned char)(at * 131 + at / 251);
}

static inline void fill(unsigned char *buf, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = pattern(at + i);
}

static inline bool is_pattern(const unsigned char *buf, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++)
		if (buf[i] != pattern(at + i))
			return false;
	return true;
}

static inline int new_file(void)
{
	char name[] = "/tmp/green-io-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	REQUIRE(fd >= 0);
	unlink(name);
	return fd;
}

#endif
