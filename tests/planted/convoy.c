/* SPDX-License-Identifier: MIT
 *
 * A lock convoy: sales are counted under a mutex, and whoever holds it writes the journal
 * too.  So all wait for the disk, one after the other.
 */
#include "planted.h"

#define SELLERS 16
#define SALES 20

static green_mutex_t lock = { 0 };
static unsigned sold;

/* As slow as a disk that is asked to be sure. */
KEPT static void journal_append(void)
{
	green_sleep(GREEN_MS(1)); /* holder */
	NO_JUMP;
}

KEPT static void sell(void)
{
	green_mutex_lock(&lock); /* planted */
	sold++;
	if (well)
		green_mutex_unlock(&lock);
	journal_append();
	if (!well)
		green_mutex_unlock(&lock);
	NO_JUMP;
}

static void *seller(void *arg)
{
	for (int i = 0; i < SALES; i++)
		sell();
	return arg;
}

static void *shop(void *arg)
{
	green_t sellers[SELLERS];

	for (int i = 0; i < SELLERS; i++)
		if (green_spawn(&sellers[i], NULL, seller, NULL) != 0)
			return "no thread";
	for (int i = 0; i < SELLERS; i++)
		green_join(sellers[i], NULL);
	return sold == SELLERS * SALES ? arg : "sales were lost";
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, shop);
}
