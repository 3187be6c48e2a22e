/* SPDX-License-Identifier: MIT
 *
 * A program that looks sessions up in a library, libsession (session.c): its version 2 reads
 * them from a file each time.
 */
#include "planted.h"

int session_user(int id);

KEPT static int handle(int id)
{
	int user = session_user(id);

	NO_JUMP;
	return user;
}

static void *serve(void *arg)
{
	int sum = 0;

	for (int i = 0; i < 50; i++) {
		green_yield();
		sum += handle(i);
	}
	return sum == 50 ? arg : "another user";
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, serve);
}
