/* SPDX-License-Identifier: MIT
 *
 * The program of the README: ten thousand naps at once.
 */
#include <green.h>
#include <stdio.h>

static void *nap(void *unused)
{
	green_sleep(GREEN_S(1)); /* reads like blocking; others run meanwhile */
	return unused;
}

static void *start(void *unused)
{
	static green_t naps[10000];
	int64_t began_ns = green_now();

	for (int i = 0; i < 10000; i++)
		green_spawn(&naps[i], NULL, nap, NULL);
	for (int i = 0; i < 10000; i++)
		green_join(naps[i], NULL);
	printf("10000 naps of 1 s took %.2f s\n", (double)(green_now() - began_ns) / 1e9);
	return unused;
}

int main(void)
{
	if (green_run(start, NULL, NULL) == 0)
		return 0;
	fprintf(stderr, "%s\n", green_error());
	return 1;
}
