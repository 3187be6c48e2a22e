/* SPDX-License-Identifier: MIT
 *
 * A thread that has next to nothing to do, and always waits for the run queue: on its
 * worker are others that compute for 30 ms between two yields.
 */
#include "planted.h"

#define INDEXERS 8
#define PARTS 10

static _Atomic bool over;

KEPT static void index_part(void)
{
	compute(well ? GREEN_US(20) : GREEN_MS(30)); /* culprit */
	NO_JUMP;
}

static void *indexer(void *arg)
{
	while (!over) {
		index_part();
		green_yield();
	}
	return arg;
}

KEPT static void send_part(void)
{
	green_yield(); /* planted */
	NO_JUMP;
}

static void *download(void *arg)
{
	green_t indexers[INDEXERS];

	for (int i = 0; i < INDEXERS; i++)
		if (green_spawn(&indexers[i], NULL, indexer, NULL) != 0)
			return "no thread";
	for (int i = 0; i < PARTS; i++)
		send_part();
	over = true;
	for (int i = 0; i < INDEXERS; i++)
		green_join(indexers[i], NULL);
	return arg;
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, download);
}
