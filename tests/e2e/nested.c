/* SPDX-License-Identifier: MIT
 *
 * A green thread some calls deep that has been switched away and back, for
 * debuggers to look at.
 */
#include <stdio.h>

#include "green.h"

#define KEPT __attribute__((noinline, noclone))

KEPT static int leaf(int n)
{
	green_yield();
	__asm__ volatile("" ::: "memory");
	return n + 1;
}

KEPT static int middle(int n)
{
	green_sleep(1000000);
	return leaf(n) + 1;
}

KEPT static void *entry(void *arg)
{
	int n = middle(0) + 1;

	printf("%d\n", n);
	return arg;
}

static void *begin(void *arg)
{
	green_t thread;

	if (green_spawn(&thread, NULL, entry, arg) || green_join(thread, NULL))
		return NULL;
	return arg;
}

int main(void)
{
	return green_run(begin, NULL, NULL) ? 1 : 0;
}
