/* SPDX-License-Identifier: MIT
 *
 * Ways to run out of a stack, for green threads, and counting the reports of it.
 */
#ifndef OVERFLOWS_H
#define OVERFLOWS_H

#include "harness.h"

#include "stack.h"
#include "worker.h"

#include <alloca.h>
#include <fcntl.h>
#include <sys/mman.h>

static _Atomic int overflow_sink;

/* Keeps the compiler from making memory smaller than it is said to be. */
HARNESS_UNUSED static void overflow_escape(void *memory)
{
	__asm__ volatile("" : : "r"(memory) : "memory");
}

__attribute__((noinline)) static int overflow_recurse(int depth)
{
	volatile char frame[200];

	frame[0] = (char)depth;
	if (depth < 0)
		return 0;
	return overflow_recurse(depth + 1) + frame[0];
}

static void *overflow_by_recursion(void *arg)
{
	overflow_sink = overflow_recurse(0);
	return arg;
}

static void *overflow_by_alloca(void *arg)
{
	size_t size = (size_t)1 << 20;
	char *room = alloca(size);

	overflow_escape(room);
	memset(room, 1, size);
	overflow_escape(room);
	return arg;
}

__attribute__((noinline)) static int overflow_frame(void)
{
	char frame[300000];

	frame[0] = 1;
	overflow_escape(frame);
	return frame[0];
}

static void *overflow_by_frame(void *arg)
{
	overflow_sink = overflow_frame();
	return arg;
}

static int overflow_compare(const void *a, const void *b);

__attribute__((noinline)) static void overflow_sort(void)
{
	int numbers[8] = { 5, 1, 4, 2, 8, 3, 7, 6 };

	qsort(numbers, 8, sizeof(numbers[0]), overflow_compare);
	overflow_escape(numbers);
}

static int overflow_compare(const void *a, const void *b)
{
	overflow_sort();
	return *(const int *)a - *(const int *)b;
}

/* Most of the frames are libc's. */
static void *overflow_in_libc(void *arg)
{
	overflow_sort();
	return arg;
}

__attribute__((noinline)) static int overflow_read(int fd)
{
	char buffer[3000];

	overflow_sink = (int)syscall(SYS_read, fd, buffer, sizeof(buffer));
	return fd < 0 ? 0 : overflow_read(fd) + buffer[overflow_sink & 1];
}

/* A system call has just filled the frame above. */
static void *overflow_by_buffers(void *arg)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	overflow_sink = fd >= 0 ? overflow_read(fd) : 0;
	return arg;
}

/* It is the runtime that meets the guard. */
__attribute__((noinline)) static int overflow_yield(int depth)
{
	volatile char frame[24];

	frame[0] = (char)depth;
	green_yield();
	return depth < 0 ? 0 : overflow_yield(depth + 1) + frame[0];
}

static void *overflow_among_calls(void *arg)
{
	overflow_sink = overflow_yield(0);
	return arg;
}

static const struct {
	const char *name;
	green_fn fn;
} overflows[] = {
	{ "recursion", overflow_by_recursion }, { "alloca", overflow_by_alloca },
	{ "frame", overflow_by_frame },         { "libc", overflow_in_libc },
	{ "buffers", overflow_by_buffers },     { "calls", overflow_among_calls },
};
/* The last of them not under sanitizers: what meets the guard there may be their code,
 * called by the runtime in the middle of a switch, which looks as if the thread had
 * called it. */
#if defined(GREEN_ASAN) || defined(GREEN_TSAN)
#define OVERFLOWS_IN_RUNTIME 0
#else
#define OVERFLOWS_IN_RUNTIME 1
#endif
#define OVERFLOWS (sizeof(overflows) / sizeof(overflows[0]) - 1 + OVERFLOWS_IN_RUNTIME)

/* ---- what is written on standard error ----------------------------------------- */

static int reports_fd = -1, reports_stderr = -1;

/* From here on it goes into a file in memory. */
HARNESS_UNUSED static void reports_begin(void)
{
	fflush(stderr);
	reports_stderr = dup(2);
	reports_fd = memfd_create("reports", MFD_CLOEXEC);
	/* Two workers write at once, and each other's place in it must not matter. */
	REQUIRE_EQ(fcntl(reports_fd, F_SETFL, O_APPEND), 0);
	REQUIRE_GE(dup2(reports_fd, 2), 0);
}

/* All of it; valid until the next call.  Failed checks in it are passed on. */
HARNESS_UNUSED static const char *reports_end(void)
{
	static char *text;
	off_t size = lseek(reports_fd, 0, SEEK_END);

	free(text);
	text = calloc(1, (size_t)size + 1);
	REQUIRE_EQ(pread(reports_fd, text, (size_t)size, 0), size);
	fflush(stderr);
	dup2(reports_stderr, 2);
	close(reports_stderr);
	close(reports_fd);
	if (checks_failed())
		fputs(text, stderr);
	return text;
}

HARNESS_UNUSED static unsigned count_of(const char *text, const char *what)
{
	unsigned count = 0;

	while ((text = strstr(text, what))) {
		count++;
		text += strlen(what);
	}
	return count;
}

#endif
