/* SPDX-License-Identifier: MIT
 *
 * An old function, made for threads, sleeps for 20 ms between two attempts: with it sleeps
 * everybody else on that worker.
 */
#include "planted.h"

#include <unistd.h>

#define REQUESTS 10

KEPT static bool legacy_send(int attempt)
{
	if (attempt > 0 || well)
		return true;
	usleep(20000); /* planted */
	NO_JUMP;
	return false;
}

KEPT static int request(void)
{
	int attempt = 0;

	while (!legacy_send(attempt))
		attempt++;
	NO_JUMP;
	return attempt;
}

static void *serve(void *arg)
{
	for (int i = 0; i < REQUESTS; i++) {
		green_sleep(GREEN_MS(1));
		request();
	}
	return arg;
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, serve);
}
